/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy: of the fuzzed image to a new file, which then is clean and shows the
 * same; and into the fuzzed image, which then is as clean as before and shows
 * what the source does.
 * Arguments: 0 flags, 1 options, 2 zeros that are looked for, 3
 * bit 0: io_uring.
 */
#include <string.h>

#include <chain/copy.h>

#include "folder.h"

#define NEW "new.img"

enum {
    FLAG_INTO = 1,
    FLAG_SHALLOW = 2,
    FLAG_COMPRESS = 4,
    FLAG_RAW = 8,
    FLAG_VERIFY = 16,
    FLAG_BITMAPS = 32,
    FLAG_TARGET_IS_ZERO = 64,
    FLAG_DRY_RUN = 128,
};

static const char *const words[] = {
    "cluster_size=512", "cluster_size=4k",       "cluster_size=64k",
    "compat=0.10",      "compression_type=zstd", "extended_l2=on",
    "refcount_bits=64", "lazy_refcounts=on",     "preallocation=metadata",
};
#define WORDS (sizeof(words) / sizeof(words[0]))

static void prepare(struct chain_copy_request *request, const uint8_t *args,
                    const char **option)
{
    static const uint64_t sparse[] = {4096, 0, 512, 65536};

    chain_copy_request_init(request);
    *option = words[args[1] % WORDS];
    request->dest.options = option;
    request->dest.options_nr = args[1] < 2 * WORDS ? 1 : 0;
    request->dest.roots = folder_roots();
    request->dest.format = args[0] & FLAG_RAW ? "raw" : "qcow2";
    request->dest.dry_run = args[0] & FLAG_DRY_RUN;
    request->dest.allow_probe = true;
    request->shallow = args[0] & FLAG_SHALLOW;
    request->compress = args[0] & FLAG_COMPRESS;
    request->verify = args[0] & FLAG_VERIFY;
    request->bitmaps = args[0] & FLAG_BITMAPS;
    request->skip_broken_bitmaps = args[2] & 4;
    request->sparse_len = sparse[args[2] % 4];
    request->allow_probe = true;
    request->max_depth = 8;
    request->threads = 1;
    request->engine = args[3] & 1 ? 0 : 2;
    request->budget_len = 4u << 20;
}

/* The new image shows what the fuzzed one does. */
static void require_copied(const char *format, const struct guest *source)
{
    struct guest copied = folder_read(NEW, format);

    fuzz_require(copied.bytes != NULL && copied.len == source->len);
    fuzz_require(memcmp(copied.bytes, source->bytes, source->len) == 0);
    guest_free(&copied);
    if (strcmp(format, "qcow2") == 0) {
        fuzz_require(folder_is_clean(NEW, false));
    }
}

static void copy_fuzzed(struct chain_copy_request *request)
{
    struct chain_copy_result result = {0};
    struct img_error err = {0};
    struct guest source = folder_read(FUZZ_IMAGE, "qcow2");

    request->source = folder_path(FUZZ_IMAGE);
    request->source_format = "qcow2";
    request->dest.path = folder_path(NEW);
    folder_drop(NEW);
    /* A disk of 2^40 bytes is copied like one of 2^20, but for the time. */
    if (source.len > FUZZ_DISK_MAX) {
        request->dest.dry_run = true;
    }
    if (chain_copy(request, &result, &err) < 0) {
        fuzz_require_error(&err);
    } else if (!request->dest.dry_run) {
        fuzz_require(source.bytes != NULL);
        require_copied(request->dest.format, &source);
    }
    chain_copy_result_fini(&result);
    guest_free(&source);
}

static void copy_into_fuzzed(struct chain_copy_request *request,
                             const struct promise *promise, uint8_t flags)
{
    struct chain_copy_result result = {0};
    struct img_error err = {0};
    int ret;

    request->source = folder_path("base.raw");
    request->source_format = "raw";
    request->dest.path = folder_path(FUZZ_IMAGE);
    request->dest.format = "qcow2";
    request->dest.options_nr = 0;
    request->into_existing = true;
    request->shallow = false;
    request->target_is_zero = flags & FLAG_TARGET_IS_ZERO;
    ret = chain_copy(request, &result, &err);
    if (ret < 0) {
        fuzz_require_error(&err);
    }
    promise_require_clean(promise, ret < 0);
    if (ret == 0 && !request->dest.dry_run && promise->is_clean) {
        struct guest now = folder_read(FUZZ_IMAGE, "qcow2");
        struct guest source = folder_read("base.raw", "raw");

        fuzz_require(now.bytes != NULL && now.len >= source.len);
        fuzz_require(memcmp(now.bytes, source.bytes, source.len) == 0);
        guest_free(&now);
        guest_free(&source);
    }
    chain_copy_result_fini(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    struct chain_copy_request request;
    struct promise promise;
    const char *option;

    len = fuzz_args(data, len, args);
    prepare(&request, args, &option);
    folder_put_bases();
    if (args[0] & FLAG_INTO) {
        promise = promise_note(data, len);
        copy_into_fuzzed(&request, &promise, args[0]);
        promise_free(&promise);
    } else {
        folder_put(FUZZ_IMAGE, data, len);
        copy_fuzzed(&request);
    }
    return 0;
}
