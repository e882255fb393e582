/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resize: what stays is what was there, what is new reads as zeros, and a
 * clean image is clean; one that was refused is as before.
 * Arguments: 0 to 2 the size in sectors, 3 flags, 4 preallocation.
 */
#include <chain/amend.h>

#include "folder.h"

enum {
    FLAG_SHRINK = 1,
    FLAG_DRY_RUN = 2,
    FLAG_HUGE = 4,
    FLAG_NEAR = 8,
};

static const char *const preallocs[] = {NULL, "off", "metadata", "falloc",
                                        "full"};

static uint64_t wanted_size(const uint8_t *args, uint64_t old_len)
{
    uint64_t sectors = (uint64_t)args[0] << 8 | args[1];

    if (args[3] & FLAG_NEAR) {
        return (old_len & ~511ull) + sectors % 64 * 512;
    }
    sectors %= 2048;
    /* A size that no table can map, or many tables. */
    return args[3] & FLAG_HUGE ? sectors << (9 + args[2] % 46) : sectors * 512;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    struct chain_amend_request request = {
        .path = folder_path(FUZZ_IMAGE),
        .format = "qcow2",
        .allow_probe = true,
        .roots = folder_roots(),
    };
    struct promise promise;
    struct img_error err = {0};
    uint64_t old_len = 0;
    int ret;

    len = fuzz_args(data, len, args);
    folder_put_bases();
    promise = promise_note(data, len);
    request.size = wanted_size(args, promise.guest.len);
    request.shrink = args[3] & FLAG_SHRINK;
    request.dry_run = args[3] & FLAG_DRY_RUN;
    /* Reserving is for what can be had. */
    if (request.size <= FUZZ_DISK_MAX) {
        request.prealloc =
            preallocs[args[4] % (sizeof(preallocs) / sizeof(preallocs[0]))];
    }
    ret = chain_resize(&request, &old_len, &err);
    if (ret < 0) {
        fuzz_require_error(&err);
    }
    promise_require_clean(&promise, ret < 0);
    promise_require_contents(&promise, ret < 0 || request.dry_run
                                           ? promise.guest.len
                                           : request.size);
    promise_free(&promise);
    return 0;
}
