/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging a stranger's image where something cannot be had: what was not read
 * leaves it unjudged, and is no reason to refuse it. What there is to find,
 * with images of every kind: tests/interop/inspect.py.
 */
#include <errno.h>

#include <chain/inspect.h>

#include "chain_fixture.h"
#include "deny.h"

static struct chain_inspect_request request;
static struct chain_report *report;

static void setup(void)
{
    begin();
    tiny_qcow2_write("base", &(struct tiny_qcow2){.clusters = "DDDD"});
    tiny_qcow2_write("image", &(struct tiny_qcow2){.clusters = "DDD."});
    request = (struct chain_inspect_request){
        .path = "image", .fd = -1, .format = "qcow2"};
}

static void teardown(void)
{
    chain_report_free(report);
    end();
}

static void judge(enum chain_judgement expected)
{
    struct chain_inspect_facts facts;

    unit_ok(chain_inspect(&request, &report, &facts, &err), &err);
    ck_assert_int_eq(chain_report_judgement(report), expected);
}

/* Only these checks (LAST may be NULL) are in doubt, because of MESSAGE. */
static void check_doubts(const char *first, const char *last,
                         const char *message)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        if (strcmp(check->id, first) == 0 ||
            (last && strcmp(check->id, last) == 0)) {
            ck_assert_str_eq(check->message, message);
            ck_assert_int_eq(check->result, CHAIN_CHECK_UNPROVEN);
        } else {
            ck_assert_int_ne(check->result, CHAIN_CHECK_UNPROVEN);
        }
    }
}

#define NO_OPENAT2                                                             \
    "cannot be kept inside the allowed folders: the kernel has no openat2 "    \
    "(Linux 5.6)"

/* The first cluster of the disk lies on a broken place of the host's. */
START_TEST(test_disk_not_read)
{
    deny_argument(SYS_pread64, 3, TINY_DATA_OFF, EIO);
    judge(CHAIN_NOT_JUDGED);
    check_doubts("partition-table", "guest-header",
                 "cannot read 1536 bytes: Input/output error (offset 2560)");
}
END_TEST

/* Nothing can be kept inside of a folder: neither a file with roots, nor what
   is below one. */
START_TEST(test_kernel_without_openat2)
{
    request.policy = CHAIN_INSPECT_CHAIN;
    tiny_qcow2_write("image", &(struct tiny_qcow2){.clusters = "DDD.",
                                                   .backing = "base",
                                                   .format = "qcow2"});
    judge(CHAIN_ACCEPTED);
    chain_report_free(report);
    deny_call(SYS_openat2, DENY_ANY, ENOSYS);
    judge(CHAIN_NOT_JUDGED);
    check_doubts("chain-whole", NULL, NO_OPENAT2);
}
END_TEST

START_TEST(test_root_without_openat2)
{
    struct img_roots *roots = NULL;

    unit_ok(img_roots_new(&roots, &err), &err);
    unit_ok(img_roots_add(roots, ".", &err), &err);
    request.roots = roots;
    deny_call(SYS_openat2, DENY_ANY, ENOSYS);
    judge(CHAIN_NOT_JUDGED);
    check_doubts("file-kind", NULL, NO_OPENAT2);
    img_roots_free(roots);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("inspect");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_disk_not_read);
    tcase_add_test(tcase, test_kernel_without_openat2);
    tcase_add_test(tcase, test_root_without_openat2);
    return unit_run("inspect", tcase);
}
