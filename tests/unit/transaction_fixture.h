/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of transactions share: the fixture of the journal, with files
 * in its folders, and a transaction that changes them.
 */
#ifndef TESTS_TRANSACTION_FIXTURE_H
#define TESTS_TRANSACTION_FIXTURE_H

#include <chain/transaction.h>

#include "journal_fixture.h"

static struct chain_transaction *transaction;

static inline void open_transaction(void)
{
    begin();
    make("x/old", "old bytes");
    make("x/doomed", "doomed");
    make("y/patched", "hello world");
    unit_ok(chain_transaction_new(&transaction, &err), &err);
}

static inline void close_transaction(void)
{
    chain_transaction_free(transaction, NULL);
    end();
}

static inline struct chain_change change_of(enum chain_change_kind kind,
                                            const char *path, const char *data)
{
    return (struct chain_change){
        .kind = kind,
        .path = path,
        .data = data,
        .len = data ? strlen(data) : 0,
        .mode = CHAIN_CHANGE_DEFAULT,
        .uid = CHAIN_CHANGE_DEFAULT,
        .gid = CHAIN_CHANGE_DEFAULT,
    };
}

static inline int add(enum chain_change_kind kind, const char *path,
                      const char *data)
{
    struct chain_change change = change_of(kind, path, data);

    if (kind == CHAIN_CHANGE_PATCH) {
        change.old_data = "hello";
    }
    if (kind != CHAIN_CHANGE_NAME && kind != CHAIN_CHANGE_WRITE) {
        unit_ok(chain_change_stamp(&change, &err), &err);
    }
    return chain_transaction_add(transaction, &change, NULL, &err);
}

static inline void add_all(void)
{
    unit_ok(add(CHAIN_CHANGE_NAME, "x/staged", NULL), &err);
    unit_ok(add(CHAIN_CHANGE_WRITE, "y/written", "written"), &err);
    unit_ok(add(CHAIN_CHANGE_REPLACE, "x/old", "new"), &err);
    unit_ok(add(CHAIN_CHANGE_PATCH, "y/patched", "HELLO"), &err);
    unit_ok(add(CHAIN_CHANGE_REMOVE, "x/doomed", NULL), &err);
}

static inline void begin_transaction(void)
{
    unit_ok(chain_transaction_begin(transaction, on_done, NULL, &err), &err);
}

static inline void expect_text(const char *path, const char *want)
{
    char text[64] = "";
    FILE *file = fopen(path, "re");

    ck_assert_msg(file != NULL, "%s", path);
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    ck_assert_str_eq(text, want);
    ck_assert_int_eq(fclose(file), 0);
}

/* What is removed is planned, as a journal has it. */
static inline void note_removed(size_t idx, const char *path)
{
    journal.files[idx].op = CHAIN_JOURNAL_REMOVE;
    ck_assert_int_eq(chain_file_note_old(AT_FDCWD, path, &journal.files[idx]),
                     0);
}

/* A run that is to remove x/doomed and y/doomed, and is dead once its journal
   has its name. */
static inline void run_to_wide_decision(void)
{
    bool is_kept;

    begin();
    make("x/doomed", "doomed");
    make("y/doomed", "doomed");
    unit_ok(chain_journal_init(&journal, 2, 2, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        journal.folders[i].path = strdup(dirs[i]);
        journal.files[i].folder = i;
        journal.files[i].name = strdup("doomed");
        note_removed(i, i ? "y/doomed" : "x/doomed");
    }
    unit_ok(chain_journal_begin(&journal, &err), &err);
    unit_ok(chain_journal_decide(&journal, &is_kept, &err), &err);
    die();
}

#endif
