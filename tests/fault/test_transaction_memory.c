/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Out of memory at each allocation of a transaction, and from each one on: all
   of it happens, or nothing; if not at once then by a recovery. */
#include <chain/transaction.h>

#include <errno.h>

#include "scarce.h"
#include "scratch.h"

static struct scratch scratch;

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static char first_of(const char *path)
{
    FILE *file = fopen(path, "re");
    int c = file ? fgetc(file) : '-';

    if (file) {
        (void)fclose(file);
    }
    return (char)c;
}

static int add(struct chain_transaction *transaction,
               enum chain_change_kind kind, const char *path,
               struct img_error *err)
{
    struct chain_change change = {.kind = kind,
                                  .path = path,
                                  .data = "new",
                                  .old_data = "old",
                                  .len = 3,
                                  .mode = CHAIN_CHANGE_DEFAULT,
                                  .uid = CHAIN_CHANGE_DEFAULT,
                                  .gid = CHAIN_CHANGE_DEFAULT};

    if (kind != CHAIN_CHANGE_WRITE && chain_change_stamp(&change, err) < 0) {
        return -1;
    }
    return chain_transaction_add(transaction, &change, NULL, err);
}

static int transact(struct img_error *err)
{
    struct chain_transaction *transaction;

    if (chain_transaction_new(&transaction, err) < 0) {
        return -1;
    }
    int r =
        add(transaction, CHAIN_CHANGE_WRITE, "x/written", err) < 0 ||
                add(transaction, CHAIN_CHANGE_REPLACE, "x/old", err) < 0 ||
                add(transaction, CHAIN_CHANGE_PATCH, "y/old", err) < 0 ||
                add(transaction, CHAIN_CHANGE_REMOVE, "y/doomed", err) < 0 ||
                chain_transaction_begin(transaction, NULL, NULL, err) < 0
            ? -1
            : chain_transaction_commit(transaction, err);
    chain_transaction_free(transaction, r < 0 ? err : NULL);
    return r;
}

/* "o" or "n": what there is of each file. */
static void look(char out[5])
{
    out[0] = first_of("x/written") == 'n' ? 'n' : 'o';
    out[1] = first_of("x/old");
    out[2] = first_of("y/old");
    out[3] = first_of("y/doomed") == 'd' ? 'o' : 'n';
    out[4] = '\0';
}

static void attempt(long at)
{
    struct img_error err = {0};
    char found[5];

    put("x/old", "old");
    put("y/old", "old and more");
    put("y/doomed", "doomed");
    (void)unlink("x/written");
    calls = 0;
    fail_at = at;
    int r = transact(&err);
    fail_at = 0;
    ck_assert_msg(r == 0 || err.code == IMG_MEMORY, "allocation %ld: %s", at,
                  err.text);
    img_error_clear(&err);
    unit_ok(chain_transaction_recover("x", NULL, NULL, &err), &err);
    unit_ok(chain_transaction_recover("y", NULL, NULL, &err), &err);
    look(found);
    ck_assert_msg(strcmp(found, "nnnn") == 0 ||
                      (r < 0 && strcmp(found, "oooo") == 0),
                  "allocation %ld: %d, %s", at, r, found);
}

START_TEST(test_each_allocation)
{
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    ck_assert_int_eq(mkdir("x", 0755), 0);
    ck_assert_int_eq(mkdir("y", 0755), 0);
    for (int after = 0; after < 2; after++) {
        fail_after = after != 0;
        for (long at = 1; at == 1 || calls >= at - 1; at++) {
            attempt(at);
        }
    }
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("transaction-memory", test_each_allocation)
