/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * amend: the guest of a clean image sees the same afterwards, and the image is
 * clean.
 * Arguments: 0 how many options, 1 to 4 which, 5 bit 0: only a dry run, bit 1:
 * no probing.
 */
#include <chain/amend.h>

#include "folder.h"

static const char *const words[] = {
    "compat=0.10",
    "compat=1.1",
    "lazy_refcounts=on",
    "lazy_refcounts=off",
    "refcount_bits=1",
    "refcount_bits=2",
    "refcount_bits=4",
    "refcount_bits=8",
    "refcount_bits=16",
    "refcount_bits=32",
    "refcount_bits=64",
    "data_file_raw=off",
    "data_file_raw=on",
    "refcount_bits=3",
    "cluster_size=512",
    /* From here on another backing file, and so other contents. */
    "backing_file=base.raw",
    "backing_file=",
    "backing_fmt=raw",
};
#define WORDS (sizeof(words) / sizeof(words[0]))
#define OPTIONS_MAX 4u
#define BACKING_WORDS 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    const char *options[OPTIONS_MAX];
    struct chain_amend_request request = {
        .path = folder_path(FUZZ_IMAGE),
        .format = "qcow2",
        .options = options,
        .roots = folder_roots(),
    };
    struct promise promise;
    struct img_error err = {0};
    bool is_same = true;
    int ret;

    len = fuzz_args(data, len, args);
    request.options_nr = 1 + args[0] % OPTIONS_MAX;
    request.dry_run = args[5] & 1;
    request.allow_probe = !(args[5] & 2);
    for (size_t i = 0; i < request.options_nr; i++) {
        options[i] = words[args[1 + i] % WORDS];
        is_same &= args[1 + i] % WORDS < WORDS - BACKING_WORDS;
    }
    folder_put_bases();
    promise = promise_note(data, len);
    ret = chain_amend(&request, &err);
    if (ret < 0) {
        fuzz_require_error(&err);
    }
    promise_require_clean(&promise, ret < 0);
    if (ret < 0 || is_same) {
        promise_require_contents(&promise, promise.guest.len);
    }
    promise_free(&promise);
    return 0;
}
