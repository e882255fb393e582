/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Out of memory while metadata is linked and judged: at each allocation in
   turn, and from each one on. The report is whole, or there is none. */
#include "metadata_fixture.h"
#include "scarce.h"

static struct chain_undefine_request undefine;

static int check(struct chain_report **out)
{
    return chain_metadata_link(snapshots, NULL, &err) < 0
               ? -1
               : chain_metadata_check(&undefine.metadata, out, &err);
}

static int check_undefine(struct chain_report **out)
{
    return chain_undefine_check(&undefine, out, &err);
}

/* The ids and results of a report, one letter each. */
static void describe(const struct chain_report *report, char out[256])
{
    size_t nr = chain_report_len(report);

    ck_assert_uint_lt(nr, 128);
    for (size_t i = 0; i < nr; i++) {
        const struct chain_check *check = chain_report_at(report, i);

        *out++ = check->id[strlen(check->id) - 1];
        *out++ = "pfwsu"[check->result];
    }
    *out = '\0';
}

static void exhaust(int (*call)(struct chain_report **))
{
    char whole[256], found[256];
    struct chain_report *report = NULL;
    long failures = 0;

    unit_ok(call(&report), &err);
    describe(report, whole);
    chain_report_free(report);
    for (int after = 0; after < 2; after++) {
        for (long at = 1;; at++) {
            img_error_clear(&err);
            calls = 0;
            fail_after = after != 0;
            fail_at = at;
            int rc = call(&report);
            fail_at = 0;
            failures += rc < 0;
            if (rc == 0) {
                describe(report, found);
                ck_assert_str_eq(found, whole);
                chain_report_free(report);
            } else {
                ck_assert_msg(err.code == IMG_MEMORY, "allocation %ld: %s", at,
                              err.text);
            }
            if (calls < at) {
                break;
            }
        }
    }
    ck_assert(failures > 0 || !CAN_FAIL);
}

START_TEST(test_check)
{
    begin_metadata();
    add_snapshot("s1", NULL, "base", NULL, "");
    add_snapshot("s2", "s1", "base", "over", "");
    add_snapshot("s3", "s2", "over", "top", "<active>1</active>");
    add_snapshot("s4", "gone", "over", "missing", "");
    unit_ok(chain_metadata_link(snapshots, NULL, &err), &err);
    undefine.metadata = (struct chain_metadata_request){
        .snapshots = snapshots, .domain = domain, .options = &options};
    undefine.managed_save = "/nowhere/g.save";
    exhaust(check);
    exhaust(check_undefine);
    end_metadata();
}
END_TEST

UNIT_SUITE("metadata-memory", test_check)
