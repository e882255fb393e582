/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of a transaction, both kinds. Bit 0 of byte 0: it is decided
 * (says what becomes of each file); bit 1: it is of the kind that is no longer
 * written. What is taken is plain, and written again it is read as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "../chain/ops/journal.h"
#include "fuzz.h"

#define ID "transaction-0123456789abcdef"
#define OLD_ID "snapshot-0123456789abcdef"

static void check_file(const struct chain_journal *j,
                       const struct chain_journal_file *file, bool decided)
{
    fuzz_require(file->folder < j->folders_nr);
    fuzz_require(file->name[0] != '\0' && strchr(file->name, '/') == NULL);
    fuzz_require(strcmp(file->name, ".") != 0 && strcmp(file->name, "..") != 0);
    if (!decided || file->op == CHAIN_JOURNAL_REMOVE) {
        return;
    }
    fuzz_require(strchr(file->temp, '/') == NULL);
    fuzz_require(file->is_staged ||
                 (file->op == CHAIN_JOURNAL_NAME &&
                  chain_journal_is_temp(file->temp, file->name)));
}

static void check_same(const struct chain_journal_file *a,
                       const struct chain_journal_file *b)
{
    fuzz_require(strcmp(a->name, b->name) == 0);
    fuzz_require(a->op == b->op && a->len == b->len);
    fuzz_require(a->is_staged == b->is_staged);
    fuzz_require(a->old_ino == b->old_ino && a->old_len == b->old_len);
    fuzz_require(a->old_mtime_ns == b->old_mtime_ns &&
                 a->old_born_ns == b->old_born_ns);
}

static void check_again(struct chain_journal *j, bool decided)
{
    struct chain_journal again;
    struct img_error err = {0};

    memcpy(j->id, ID, sizeof(ID));
    char *text = chain_journal_encode(j, decided, &err);

    if (text == NULL) {
        /* Escapes make it longer than it was. */
        fuzz_require(err.code == IMG_LIMIT);
        return;
    }
    fuzz_require(chain_journal_decode(text, strlen(text), ID, decided, &again,
                                      &err) == 0);
    fuzz_require(again.folders_nr == j->folders_nr);
    fuzz_require(again.files_nr == j->files_nr);
    for (size_t i = 0; i < j->folders_nr; i++) {
        fuzz_require(strcmp(again.folders[i].path, j->folders[i].path) == 0);
        fuzz_require(again.folders[i].ino == j->folders[i].ino);
    }
    for (size_t i = 0; i < j->files_nr; i++) {
        check_same(&again.files[i], &j->files[i]);
    }
    chain_journal_fini(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct chain_journal journal;
    struct img_error err = {0};
    bool decided, is_old;

    if (len == 0) {
        return 0;
    }
    decided = data[0] & 1;
    is_old = data[0] & 2;
    if (chain_journal_decode((const char *)data + 1, len - 1,
                             is_old ? OLD_ID : ID, decided, &journal,
                             &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    fuzz_require(!is_old || !chain_journal_is_wide(&journal));
    for (size_t i = 0; i < journal.folders_nr; i++) {
        fuzz_require(journal.folders[i].path[0] == '/');
    }
    for (size_t i = 0; i < journal.files_nr; i++) {
        check_file(&journal, &journal.files[i], decided);
    }
    check_again(&journal, decided);
    chain_journal_fini(&journal);
    return 0;
}
