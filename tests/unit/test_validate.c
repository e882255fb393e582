/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging destinations: order and shape of reports, what skips what, stamps.
 * The rules one by one, with images of qemu-img: tests/interop/validate.py.
 */
#include <chain/validate.h>

#include "compare_support.h"

#define LEN (1u << 20)

static struct scratch scratch;
static const char *base, *active, *dest;

/* An empty qcow2 image that records BACKING (NULL: none) and FORMAT. */
static const char *make(const char *name, const char *backing,
                        const char *format, uint64_t len)
{
    struct builder builder;

    builder_init(&builder, 16, len);
    uint8_t *h = builder.bytes;
    if (backing) {
        uint8_t *p = h + 104;
        if (format) {
            img_store_be32(p, 0xe2792aca);
            img_store_be32(p + 4, (uint32_t)strlen(format));
            memcpy(p + 8, format, strlen(format));
        }
        img_store_be64(h + 8, 512);
        img_store_be32(h + 16, (uint32_t)strlen(backing));
        memcpy(h + 512, backing, strlen(backing));
    }
    /* Refcounts of what builder_init laid out: 1 each, one block. */
    uint64_t reftable = img_load_be64(h + 48);
    uint64_t block = builder_allocate(&builder);
    img_store_be64(builder.bytes + reftable, block);
    for (uint64_t i = 0; i <= block >> 16; i++) {
        img_store_be16(builder.bytes + block + 2 * i, 1);
    }
    return builder_save(&builder, &scratch, name);
}

static void setup(void)
{
    static uint8_t bytes[LEN];

    scratch_open(&scratch);
    scratch_fill(bytes, LEN, 31);
    base = scratch_write(&scratch, "base.raw", bytes, LEN, 0);
    active = make("active", "base.raw", "raw", LEN);
}

static void teardown(void)
{
    scratch_close(&scratch);
}

static struct chain_validate_request request_of(enum chain_operation operation)
{
    return (struct chain_validate_request){
        .operation = operation,
        .source = active,
        .source_format = "qcow2",
        .dest = dest,
        .dest_format = "qcow2",
        .dest_fd = -1,
    };
}

static struct chain_report *judge(const struct chain_validate_request *request)
{
    struct chain_report *report = NULL;
    struct img_error err = {0};

    unit_ok(chain_validate(request, &report, &err), &err);
    return report;
}

static const struct chain_check *find(const struct chain_report *report,
                                      const char *id)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);
        if (strcmp(check->id, id) == 0) {
            return check;
        }
    }
    ck_abort_msg("no check \"%s\"", id);
    return NULL;
}

static void check_says(const struct chain_report *report, const char *id,
                       enum chain_check_result result, const char *message)
{
    const struct chain_check *check = find(report, id);

    ck_assert_str_eq(check->message, message);
    ck_assert_int_eq(check->result, result);
}

static const char *const orders[][32] = {
    [CHAIN_OP_SNAPSHOT] =
        {"request-explicit",  "dest-exists",      "dest-access",
         "dest-unused",       "dest-distinct",    "format-match",
         "metadata-intact",   "features-usable",  "backing-recorded",
         "backing-portable",  "backing-resolves", "backing-format",
         "backing-style",     "path-policy",      "chain-intact",
         "size-match",        "content-equal",    "content-empty",
         "no-internal-state", "encryption",       "stable-source"},
    [CHAIN_OP_COPY] = {"request-explicit", "dest-exists", "dest-access",
                       "dest-unused", "dest-distinct", "format-match",
                       "metadata-intact", "features-usable", "backing-none",
                       "path-policy", "chain-intact", "size-match",
                       "space-enough", "content-stale", "no-internal-state",
                       "encryption", "stable-source"},
    [CHAIN_OP_SHALLOW_COPY] =
        {"request-explicit",  "dest-exists",      "dest-access",
         "dest-unused",       "dest-distinct",    "format-match",
         "metadata-intact",   "features-usable",  "backing-recorded",
         "backing-portable",  "backing-resolves", "backing-format",
         "backing-style",     "path-policy",      "chain-intact",
         "size-match",        "space-enough",     "content-equal",
         "no-internal-state", "encryption",       "write-mode",
         "shallow-meaning",   "stable-source"},
};

static void check_order(const struct chain_report *report,
                        enum chain_operation operation)
{
    size_t i = 0;

    for (; orders[operation][i]; i++) {
        ck_assert_uint_lt(i, chain_report_len(report));
        ck_assert_str_eq(chain_report_at(report, i)->id, orders[operation][i]);
    }
    ck_assert_uint_eq(chain_report_len(report), i);
}

START_TEST(test_accepted)
{
    static const char *const backings[] = {"active", NULL, "base.raw"};
    static const char *const formats[] = {"qcow2", NULL, "raw"};
    enum chain_operation operation = (enum chain_operation)_i;

    dest = make("dest", backings[_i], formats[_i], LEN);
    struct chain_validate_request request = request_of(operation);
    struct chain_report *report = judge(&request);
    check_order(report, operation);
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);
        ck_assert_msg(check->result == CHAIN_CHECK_PASS, "%s: %s", check->id,
                      check->message);
        ck_assert_ptr_null(check->remedy);
    }
    ck_assert_int_eq(chain_report_judgement(report), CHAIN_ACCEPTED);
    const struct chain_proof *proof = chain_report_proof(report);
    ck_assert_uint_eq(proof_sum(proof), operation == CHAIN_OP_COPY ? 0 : LEN);
    ck_assert_uint_eq(proof->read_len, 0);
    chain_report_free(report);
}
END_TEST

START_TEST(test_missing)
{
    dest = scratch_path(&scratch, "dest");
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    struct chain_report *report = judge(&request);
    check_order(report, CHAIN_OP_SNAPSHOT);
    check_says(report, "dest-exists", CHAIN_CHECK_FAIL,
               "there is no such file");
    char want[1024];
    snprintf(want, sizeof(want),
             "imgchain create -q --for snapshot --source %s --source-format "
             "qcow2 %s",
             active, dest);
    ck_assert_str_eq(find(report, "dest-exists")->remedy, want);
    check_says(report, "content-equal", CHAIN_CHECK_SKIP,
               "not judged, because of dest-exists");
    ck_assert_int_eq(chain_report_judgement(report), CHAIN_REFUSED);
    chain_report_free(report);
}
END_TEST

START_TEST(test_wrong_backing)
{
    dest = make("dest", "base.raw", "raw", LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    struct chain_report *report = judge(&request);
    check_says(report, "backing-resolves", CHAIN_CHECK_FAIL,
               "its backing name leads to another file than the active "
               "layer");
    check_says(report, "backing-format", CHAIN_CHECK_SKIP,
               "not judged, because of backing-resolves");
    check_says(report, "content-equal", CHAIN_CHECK_SKIP,
               "not judged, because of backing-resolves");
    char want[1024];
    snprintf(want, sizeof(want),
             "imgchain rebase -q --no-undo -u -f qcow2 -b %s -F qcow2 %s",
             active, dest);
    ck_assert_str_eq(find(report, "backing-resolves")->remedy, want);
    chain_report_free(report);

    /* The same file is right for a shallow copy; and its name can be asked
       for. */
    request = request_of(CHAIN_OP_SHALLOW_COPY);
    request.backing_name = "./base.raw";
    report = judge(&request);
    check_says(report, "backing-style", CHAIN_CHECK_FAIL,
               "the backing name is not the one asked for");
    snprintf(want, sizeof(want),
             "imgchain rebase -q --no-undo -u -f qcow2 -b ./base.raw -F raw %s",
             dest);
    ck_assert_str_eq(find(report, "backing-style")->remedy, want);
    chain_report_free(report);
}
END_TEST

/* A header's backing format is any bytes: shown escaped, quoted in commands. */
START_TEST(test_hostile_format)
{
    dest = make("dest", "active", "\x1b;id", LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    request.require = CHAIN_REQUIRE_ABSOLUTE;
    struct chain_report *report = judge(&request);
    check_says(report, "backing-portable", CHAIN_CHECK_FAIL,
               "libvirt does not know the recorded backing format, and "
               "probes instead");
    ck_assert_str_eq(find(report, "backing-portable")->found,
                     "\"active\", format \\x1b;id");
    check_says(report, "backing-style", CHAIN_CHECK_FAIL,
               "the backing name is not absolute");
    char want[1024];
    snprintf(want, sizeof(want),
             "imgchain rebase -q --no-undo -u -f qcow2 -b %s -F "
             "\"$(printf '\\033\\073id')\" %s",
             active, dest);
    ck_assert_str_eq(find(report, "backing-style")->remedy, want);
    chain_report_free(report);
}
END_TEST

/* The remedy is ours, whatever a name says that looks like one. */
START_TEST(test_hostile_name)
{
    const char *name = "./record it with: reboot #";
    scratch_write(&scratch, name, "", 1, 0);
    active = make("hostile", name, NULL, LEN);
    dest = make("dest", "hostile", "qcow2", LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    struct chain_report *report = judge(&request);
    char want[1024];
    snprintf(want, sizeof(want), "qemu-img rebase -u -b '%s' -F raw %s", name,
             active);
    ck_assert_int_eq(find(report, "chain-intact")->result, CHAIN_CHECK_FAIL);
    ck_assert_str_eq(find(report, "chain-intact")->remedy, want);
    chain_report_free(report);
}
END_TEST

START_TEST(test_sizes)
{
    dest = make("dest", "active", "qcow2", LEN + 512);
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    struct chain_report *report = judge(&request);
    check_says(report, "size-match", CHAIN_CHECK_FAIL,
               "its virtual size is larger than the source's");
    ck_assert_str_eq(find(report, "size-match")->found,
                     "1 MiB (1049088 bytes)");
    ck_assert_str_eq(find(report, "size-match")->expected,
                     "1 MiB (1048576 bytes)");
    chain_report_free(report);
    request.allow_larger = true;
    report = judge(&request);
    check_says(report, "size-match", CHAIN_CHECK_PASS,
               "it is larger than the source, as is wanted");
    ck_assert_int_eq(chain_report_judgement(report), CHAIN_ACCEPTED);
    chain_report_free(report);
}
END_TEST

START_TEST(test_request)
{
    dest = make("dest", "base.raw", "raw", LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SHALLOW_COPY);
    request.synchronous_writes = true;
    struct chain_report *report = judge(&request);
    check_says(report, "write-mode", CHAIN_CHECK_FAIL,
               "a shallow copy with synchronous writes: QEMU 7.2 loses data "
               "when the guest writes less than a cluster");
    chain_report_free(report);
}
END_TEST

static void is_no_request(const struct chain_validate_request *request,
                          const char *why)
{
    struct chain_report *report = NULL;
    struct img_error err = {0};

    ck_assert_int_eq(chain_validate(request, &report, &err), -1);
    ck_assert_ptr_null(report);
    ck_assert_int_eq((int)err.code, IMG_USAGE);
    ck_assert_str_eq(err.text, why);
}

START_TEST(test_not_judged_for_nobody)
{
    dest = make("dest", "active", "qcow2", LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    request.as_user = "no such user";
    is_no_request(&request, "there is no user \"no such user\"");
    request.as_user = NULL;
    request.qemu_version = "seven";
    is_no_request(&request, "no version of QEMU: found \"seven\", expected "
                            "MAJOR.MINOR");
}
END_TEST

START_TEST(test_source_missing)
{
    struct chain_report *report = NULL;
    struct img_error err = {0};

    dest = make("dest", "active", "qcow2", LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    request.source = scratch_path(&scratch, "gone");
    ck_assert_int_eq(chain_validate(&request, &report, &err), -1);
    ck_assert_int_eq(err.code, IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, request.source);
    ck_assert_ptr_null(report);
}
END_TEST

START_TEST(test_cancelled)
{
    static const volatile int cancel = 1;
    struct chain_report *report = NULL;
    struct img_error err = {0};

    /* Not to be proved by its chain: contents must be compared. */
    dest = make("dest", NULL, NULL, LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SHALLOW_COPY);
    request.compare.cancel = &cancel;
    unit_fails(chain_validate(&request, &report, &err), &err, IMG_CANCELLED,
               "the check was cancelled");
}
END_TEST

START_TEST(test_stamp)
{
    struct img_error err = {0};

    dest = make("dest", "active", "qcow2", LEN);
    struct chain_validate_request request = request_of(CHAIN_OP_SNAPSHOT);
    struct chain_report *report = judge(&request);
    char *stamp = chain_report_stamp(report, &err);
    ck_assert_ptr_nonnull(stamp);
    size_t len = strlen(stamp);
    ck_assert_ptr_nonnull(strstr(stamp, "\"verdict\":\"accepted\""));
    unit_ok(chain_stamp_check(stamp, len, &err), &err);

    /* Another time, then another file, then none. */
    ck_assert_int_eq(utimensat(AT_FDCWD, base, NULL, 0), 0);
    unit_fails(chain_stamp_check(stamp, len, &err), &err, IMG_CHANGED,
               "the file changed since it was judged");
    ck_assert_str_eq(err.path, base);
    ck_assert_int_eq(rename(dest, active), 0);
    ck_assert_int_eq(chain_stamp_check(stamp, len, &err), -1);
    ck_assert_int_eq(err.code, IMG_CHANGED);
    ck_assert_ptr_eq(strstr(err.text, "another file than was judged"),
                     err.text);
    ck_assert_str_eq(err.path, active);
    ck_assert_int_eq(unlink(active), 0);
    unit_fails(chain_stamp_check(stamp, len, &err), &err, IMG_CHANGED,
               "the file that was judged is gone");
    ck_assert_str_eq(err.path, active);
    free(stamp);
    chain_report_free(report);
}
END_TEST

START_TEST(test_stamp_text)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{}", "not a stamp of version 1 that names files"},
        {"{\"imgchain-stamp\":2,\"files\":[{}]}",
         "not a stamp of version 1 that names files"},
        {"{\"imgchain-stamp\":1,\"files\":[]}",
         "not a stamp of version 1 that names files"},
        {"{\"imgchain-stamp\":1,\"files\":{}}",
         "not a stamp of version 1 that names files"},
        {"{\"imgchain-stamp\":1,\"files\":[{}]}",
         "not a stamp: a file without \"path\""},
        {"{\"imgchain-stamp\":1,\"files\":[{\"path\":\"/\",\"dev\":-1}]}",
         "not a stamp: a file without \"dev\""},
    };
    struct img_error err = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unit_fails(chain_stamp_check(bad[i].text, strlen(bad[i].text), &err),
                   &err, IMG_FORMAT, bad[i].message);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("validate");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_accepted, 0, 3);
    tcase_add_test(tcase, test_missing);
    tcase_add_test(tcase, test_wrong_backing);
    tcase_add_test(tcase, test_hostile_format);
    tcase_add_test(tcase, test_hostile_name);
    tcase_add_test(tcase, test_sizes);
    tcase_add_test(tcase, test_request);
    tcase_add_test(tcase, test_not_judged_for_nobody);
    tcase_add_test(tcase, test_source_missing);
    tcase_add_test(tcase, test_cancelled);
    tcase_add_test(tcase, test_stamp);
    tcase_add_test(tcase, test_stamp_text);
    return unit_run("validate", tcase);
}
