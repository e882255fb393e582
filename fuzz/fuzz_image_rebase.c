/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rebase, and its undo record: the guest of a clean image sees the same
 * afterwards, and the image is clean; also when it was refused.
 * Arguments: 0 the new backing file, 1 flags, 2 how names are recorded.
 */
#include <unistd.h>

#include <chain/rebase.h>

#include "folder.h"

enum {
    FLAG_UNSAFE = 1,
    FLAG_VERIFY = 2,
    FLAG_NO_UNDO = 4,
    FLAG_DRY_RUN = 8,
    FLAG_NO_FORMAT = 16,
    FLAG_NO_PROBE = 32,
    FLAG_URING = 64,
    FLAG_FORCE = 128,
};

static const struct {
    const char *name, *format;
} backings[] = {
    {"base.raw", "raw"},
    {"base.qcow2", "qcow2"},
    {"", NULL},
    {"other.raw", "raw"},
    {NULL, NULL},
    {"base.qcow2", "raw"},
    {FUZZ_IMAGE, "qcow2"},
    {"missing", "raw"},
};

static void undo(const struct chain_rebase_request *request, const char *record,
                 const struct promise *promise)
{
    struct img_error err = {0};

    if (chain_rebase_undo(request, record, &err) < 0) {
        fuzz_require_error(&err);
    }
    promise_require_clean(promise, false);
    promise_require_contents(promise, promise->guest.len);
}

static void rebase(const struct chain_rebase_request *request,
                   const struct promise *promise)
{
    struct chain_rebase_result result = {0};
    struct img_error err = {0};
    int ret = chain_rebase(request, &result, &err);

    if (ret < 0) {
        fuzz_require_error(&err);
    }
    promise_require_clean(promise, ret < 0);
    if (ret < 0 || !request->unsafe) {
        promise_require_contents(promise, promise->guest.len);
    }
    if (ret == 0 && result.undo_path != NULL && !request->dry_run) {
        undo(request, result.undo_path, promise);
        (void)unlink(result.undo_path);
    }
    chain_rebase_result_fini(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    size_t nr = sizeof(backings) / sizeof(backings[0]);
    struct chain_rebase_request request = {
        .path = folder_path(FUZZ_IMAGE),
        .format = "qcow2",
        .max_depth = 8,
        .threads = 1,
        .budget_len = 4u << 20,
        .roots = folder_roots(),
    };
    struct promise promise;

    len = fuzz_args(data, len, args);
    request.backing_name = backings[args[0] % nr].name;
    request.backing_format =
        args[1] & FLAG_NO_FORMAT ? NULL : backings[args[0] % nr].format;
    request.unsafe = args[1] & FLAG_UNSAFE;
    request.verify = args[1] & FLAG_VERIFY;
    request.no_undo = args[1] & FLAG_NO_UNDO;
    request.dry_run = args[1] & FLAG_DRY_RUN;
    request.allow_probe = !(args[1] & FLAG_NO_PROBE);
    request.engine = args[1] & FLAG_URING ? 0 : 2;
    request.force = args[1] & FLAG_FORCE;
    request.style = (enum chain_name_style_wish)(args[2] % 3);
    folder_put_bases();
    promise = promise_note(data, len);
    rebase(&request, &promise);
    promise_free(&promise);
    return 0;
}
