/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transactions whose files are changed by others between the decision and the
 * recovery, or while they are made; and calls that fail then.
 */
#include <errno.h>
#include <sys/syscall.h>

#include "transaction_fixture.h"

/* Once so many links are made all others fail, and so does looking at what has
   this name. */
static unsigned good_links = 1000;
static const char *unseen;

int linkat(int fromfd, const char *from, int tofd, const char *to, int flags)
{
    if (good_links == 0) {
        errno = EPERM;
        return -1;
    }
    good_links--;
    return (int)syscall(SYS_linkat, fromfd, from, tofd, to, flags);
}

int statx(int dirfd, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict buf)
{
    if (unseen && good_links == 0 && strcmp(path, unseen) == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_statx, dirfd, path, flags, mask, buf);
}

/* ---- Edits between the decision and the recovery. */

/* A journal of one change of x/f, decided. */
static void decide_alive(enum chain_journal_op op)
{
    bool is_kept;

    begin();
    make("x/f", "old bytes");
    unit_ok(chain_journal_init(&journal, 1, 1, &err), &err);
    struct chain_journal_file *file = &journal.files[0];
    journal.folders[0].path = strdup(dirs[0]);
    file->op = op;
    file->name = strdup("f");
    ck_assert_int_eq(chain_file_note_old(AT_FDCWD, "x/f", file), 0);
    unit_ok(chain_journal_begin(&journal, &err), &err);
    if (op != CHAIN_JOURNAL_REMOVE) {
        char path[512], name[CHAIN_RECORD_NAME_LEN];
        struct stat st;
        snprintf(path, sizeof(path), "x/%s/f",
                 chain_stage_name(journal.id, name));
        make(path, "oldNEW");
        ck_assert_int_eq(stat(path, &st), 0);
        file->is_staged = true;
        file->temp = strdup("f");
        file->ino = st.st_ino;
        file->len = (uint64_t)st.st_size;
    }
    unit_ok(chain_journal_decide(&journal, &is_kept, &err), &err);
}

/* The run is dead. */
static void decide(enum chain_journal_op op)
{
    decide_alive(op);
    die();
}

static void append(const char *path)
{
    FILE *file = fopen(path, "ae");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(" edited", file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void touch_later(const char *path)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = 2000000000}};

    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(test_edited_file_is_not_redone)
{
    static const enum chain_journal_op ops[] = {CHAIN_JOURNAL_REPLACE,
                                                CHAIN_JOURNAL_REMOVE};

    for (size_t i = 0; i < 2; i++) {
        for (int by_time = 0; by_time <= 1; by_time++) {
            decide(ops[i]);
            if (by_time) {
                touch_later("x/f");
            } else {
                append("x/f");
            }
            recover_is_stuck("x", "x/f",
                             "was changed since the transaction was decided");
            expect_text("x/f", by_time ? "old bytes" : "old bytes edited");
            end();
        }
    }
}
END_TEST

START_TEST(test_file_that_grew_is_not_patched)
{
    decide(CHAIN_JOURNAL_PATCH);
    append("x/f");
    recover_is_stuck(
        "x", "x/f", "has another length than when the transaction was decided");
    expect_text("x/f", "old bytes edited");
    ck_assert_int_eq(truncate("x/f", 9), 0);
    recover("x", "f finished;");
    expect("f ", "");
    expect_text("x/f", "NEW bytes");
    end();
}
END_TEST

START_TEST(test_file_that_is_gone_is_let_go)
{
    static const char *const told_of[] = {"f finished;", "", "f removed;"};
    static const enum chain_journal_op ops[] = {
        CHAIN_JOURNAL_REPLACE, CHAIN_JOURNAL_PATCH, CHAIN_JOURNAL_REMOVE};

    for (size_t i = 0; i < 3; i++) {
        decide(ops[i]);
        ck_assert_int_eq(unlink("x/f"), 0);
        recover("x", told_of[i]);
        expect(i == 0 ? "f " : "", "");
        end();
    }
}
END_TEST

/* Without what shows how far it has come nothing is guessed. */
START_TEST(test_stage_that_is_gone)
{
    static const char *const why[] = {
        "the file that a transaction was to give this name has neither this "
        "name nor the one that it was made under",
        "what a transaction was to write into it is gone",
        "the hidden folder for what a transaction removes is not there, or "
        "holds another file"};
    static const enum chain_journal_op ops[] = {
        CHAIN_JOURNAL_REPLACE, CHAIN_JOURNAL_PATCH, CHAIN_JOURNAL_REMOVE};
    char name[CHAIN_RECORD_NAME_LEN], path[256], inside[512];

    for (size_t i = 0; i < 3; i++) {
        decide(ops[i]);
        snprintf(path, sizeof(path), "x/%s",
                 chain_stage_name(journal.id, name));
        snprintf(inside, sizeof(inside), "%s/f", path);
        (void)unlink(inside);
        ck_assert_int_eq(rmdir(path), 0);
        recover_is_stuck("x", "x/f", why[i]);
        expect_text("x/f", "old bytes");
        end();
    }
}
END_TEST

/* ---- A journal that is done. */

/* The inode of what was removed may be that of a file that came since. */
START_TEST(test_done_is_not_looked_at)
{
    char done[256];

    decide(CHAIN_JOURNAL_REMOVE);
    snprintf(done, sizeof(done), "%s", record("x", CHAIN_RECORD_DONE));
    ck_assert_int_eq(rename(record("x", CHAIN_RECORD_JOURNAL), done), 0);
    unit_fails(chain_transaction_settle("x", true, NULL, NULL, &err), &err,
               IMG_CHANGED,
               "a transaction was cut short in this folder: recover first");
    recover("x", "");
    expect("f ", "");
    expect_text("x/f", "old bytes");
    end();
}
END_TEST

START_TEST(test_done_keeps_what_is_not_its_own)
{
    char done[256], name[CHAIN_RECORD_NAME_LEN], path[512];

    decide(CHAIN_JOURNAL_REPLACE);
    snprintf(done, sizeof(done), "%s", record("x", CHAIN_RECORD_DONE));
    ck_assert_int_eq(rename(record("x", CHAIN_RECORD_JOURNAL), done), 0);
    snprintf(path, sizeof(path), "x/%s/.imgchain-old-0",
             chain_stage_name(journal.id, name));
    make(path, "somebody's");
    ck_assert_int_eq(chain_journal_recover("x", &asked, &err), -1);
    expect_text(path, "somebody's");
    ck_assert_int_eq(access(done, F_OK), 0);
    end();
}
END_TEST

/* ---- Calls that fail while all is taken back. */

static void fail_second_link(const char *what)
{
    open_transaction();
    make("x/other", "other bytes");
    unit_ok(add(CHAIN_CHANGE_REPLACE, "x/old", "new"), &err);
    unit_ok(add(CHAIN_CHANGE_REPLACE, "x/other", "new"), &err);
    begin_transaction();
    good_links = 1;
    unseen = what;
    ck_assert_int_eq(chain_transaction_commit(transaction, &err), -1);
    good_links = 1000;
    unseen = NULL;
    chain_transaction_free(transaction, NULL);
}

/* What lies aside may be all that is left of the old file. */
START_TEST(test_old_file_that_cannot_be_seen_is_kept)
{
    fail_second_link("old");
    ck_assert_msg(strstr(err.text, "the transaction is decided") != NULL, "%s",
                  err.text);
    recover("x", "old finished;other finished;");
    expect("doomed old other ", "patched ");
    expect_text("x/old", "new");
    end();
}
END_TEST

/* Only a recovery may take it that somebody wanted that. */
START_TEST(test_target_that_vanished_fails_a_live_run)
{
    static const enum chain_journal_op ops[] = {
        CHAIN_JOURNAL_REPLACE, CHAIN_JOURNAL_PATCH, CHAIN_JOURNAL_REMOVE};
    bool is_undone;

    for (size_t i = 0; i < 3; i++) {
        decide_alive(ops[i]);
        ck_assert_int_eq(unlink("x/f"), 0);
        ck_assert_int_eq(chain_journal_finish(&journal, &is_undone, &err), -1);
        ck_assert_int_eq(err.code, IMG_NOT_FOUND);
        ck_assert_msg(is_undone, "%zu: %s", i, err.text);
        chain_journal_abandon(&journal, NULL);
        expect("", "");
        die();
        end();
    }
}
END_TEST

UNIT_SUITE("transaction-edit", test_edited_file_is_not_redone,
           test_file_that_grew_is_not_patched, test_file_that_is_gone_is_let_go,
           test_stage_that_is_gone, test_done_is_not_looked_at,
           test_done_keeps_what_is_not_its_own,
           test_old_file_that_cannot_be_seen_is_kept,
           test_target_that_vanished_fails_a_live_run)
