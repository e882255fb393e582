/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Out of memory while a chain is relocated: at each allocation in turn, and
   from each one on. It is done, or says so and leaves whole copies only. */
#include "../unit/relocate_fixture.h"
#include "scarce.h"

static void remove_copies(void)
{
    static const char *const names[] = {"new/top", "new/mid", "new/base"};

    for (size_t i = 0; i < 3; i++) {
        (void)unlink(names[i]);
    }
    ck_assert_uint_eq(names_nr("new"), 0);
}

/* Whatever is there is taken for the copies by the next run; looked at once
   for each number of files. */
static void check_left(void)
{
    static bool is_seen[4];
    unsigned left_nr = names_nr("new"), found_nr = 0;

    ck_assert_uint_le(left_nr, 3);
    if (is_seen[left_nr]) {
        remove_copies();
        return;
    }
    is_seen[left_nr] = true;
    unit_ok(relocate(), &err);
    for (size_t i = 0; i < result.nr; i++) {
        found_nr += result.files[i].state == CHAIN_RELOCATED_FOUND;
    }
    ck_assert_uint_eq(found_nr, left_nr);
    remove_copies();
}

START_TEST(test_relocate)
{
    long failures = 0;

    begin();
    make_chain();
    unit_ok(relocate(), &err);
    remove_copies();
    for (int after = 0; after < 2; after++) {
        for (long at = 1;; at++) {
            img_error_clear(&err);
            calls = 0;
            fail_after = after != 0;
            fail_at = at;
            int rc = relocate();
            fail_at = 0;
            failures += rc != 0;
            ck_assert_msg(rc == 0 || err.code == IMG_MEMORY,
                          "allocation %ld: %s: %s", at, err.path, err.text);
            check_left();
            if (calls < at) {
                break;
            }
        }
    }
    ck_assert(failures > 0 || !CAN_FAIL);
    end();
}
END_TEST

UNIT_SUITE("relocate-memory", test_relocate)
