/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * validate: the fuzzed image as the destination of a snapshot or a copy. One
 * that is accepted as an overlay shows the guest what its source does; the
 * stamp of what was judged is that of the files.
 * Arguments: 0 the operation, 1 flags, 2 the source.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/validate.h>
#include <img/checked.h>

#include "folder.h"

enum {
    FLAG_TARGET_IS_ZERO = 1,
    FLAG_LARGER = 2,
    FLAG_RELATIVE = 4,
    FLAG_DATA_FILE = 8,
    FLAG_PROBED = 16,
};

static void check_texts(const struct chain_report *report)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        fuzz_require(check->id != NULL);
        for (const char *p = check->message; p != NULL && *p != '\0'; p++) {
            fuzz_require((unsigned char)*p >= 0x20 && *p != 0x7f);
        }
    }
}

static void check_stamp(const struct chain_report *report)
{
    struct img_error err = {0};
    char *stamp = chain_report_stamp(report, &err);

    if (stamp == NULL) {
        fuzz_require_error(&err);
    } else {
        fuzz_require(chain_stamp_check(stamp, strlen(stamp), &err) == 0);
    }
    free(stamp);
}

/* The overlay shows what the source does, and zeros beyond it. */
static void require_same(const char *source, const char *format)
{
    struct guest overlay = folder_read(FUZZ_IMAGE, "qcow2");
    struct guest below = folder_read(source, format);

    if (overlay.len <= FUZZ_DISK_MAX) {
        fuzz_require(overlay.bytes != NULL && overlay.len >= below.len);
        fuzz_require(memcmp(overlay.bytes, below.bytes, below.len) == 0);
        for (uint64_t i = below.len; i < overlay.len; i++) {
            fuzz_require(overlay.bytes[i] == 0);
        }
    }
    guest_free(&overlay);
    guest_free(&below);
}

static void validate(const struct chain_validate_request *request,
                     const char *source)
{
    struct chain_report *report = NULL;
    struct img_error err = {0};

    if (chain_validate(request, &report, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    check_texts(report);
    check_stamp(report);
    if (chain_report_judgement(report) == CHAIN_ACCEPTED &&
        request->operation == CHAIN_OP_SNAPSHOT) {
        require_same(source, request->source_format);
    }
    chain_report_free(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    const char *source;
    struct chain_validate_request request = {
        .dest = folder_path(FUZZ_IMAGE),
        .dest_fd = -1,
        .allow_probe = true,
        .roots = folder_roots(),
        .max_depth = 8,
        .compare = {.threads = 1, .engine = 2, .budget_len = 4u << 20},
    };

    len = fuzz_args(data, len, args);
    source = args[2] & 1 ? "base.qcow2" : "base.raw";
    request.operation = (enum chain_operation)(args[0] % 3);
    request.source = folder_path(source);
    request.source_format = args[2] & 1 ? "qcow2" : "raw";
    request.target_is_zero = args[1] & FLAG_TARGET_IS_ZERO;
    request.allow_larger = args[1] & FLAG_LARGER;
    request.require =
        args[1] & FLAG_RELATIVE ? CHAIN_REQUIRE_RELATIVE : CHAIN_REQUIRE_ANY;
    request.allow_data_file = args[1] & FLAG_DATA_FILE;
    request.dest_format = args[1] & FLAG_PROBED ? NULL : "qcow2";
    folder_put_bases();
    folder_put(FUZZ_IMAGE, data, len);
    validate(&request, source);
    return 0;
}
