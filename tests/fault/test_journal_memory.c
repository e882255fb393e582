/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Out of memory while a journal of snapshots becomes text: at each allocation
   in turn, and from each one on. The text is whole, or there is none. */
#include "../../chain/ops/journal.h"
#include "scarce.h"
#include "unit.h"

#include <string.h>

static struct chain_journal_folder folders[2] = {
    {.path = (char *)"/one", .ino = 7},
    {.path = (char *)"/two with \xff", .ino = 8},
};
static struct chain_journal_file files[2] = {
    {.folder = 0, .name = (char *)"a", .temp = (char *)".a", .ino = 9},
    {.folder = 1, .name = (char *)"b", .temp = (char *)".b", .ino = 10},
};
static const struct chain_journal journal = {
    .id = "0123456789abcdef",
    .folders = folders,
    .folders_nr = 2,
    .files = files,
    .files_nr = 2,
};

START_TEST(test_text)
{
    struct img_error err = {0};
    char *whole = chain_journal_encode(&journal, true, &err);
    long failures = 0;

    ck_assert_msg(whole != NULL, "%s", err.text);
    for (int after = 0; after < 2; after++) {
        for (long at = 1;; at++) {
            img_error_clear(&err);
            calls = 0;
            fail_after = after != 0;
            fail_at = at;
            char *text = chain_journal_encode(&journal, true, &err);
            fail_at = 0;
            failures += text == NULL;
            ck_assert_msg(text != NULL || err.code == IMG_MEMORY,
                          "allocation %ld: %s", at, err.text);
            ck_assert_msg(text == NULL || strcmp(text, whole) == 0,
                          "allocation %ld: %s", at, text);
            free(text);
            if (calls < at) {
                break;
            }
        }
    }
    ck_assert(failures > 0 || !CAN_FAIL);
    free(whole);
}
END_TEST

UNIT_SUITE("journal-memory", test_text)
