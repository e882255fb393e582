/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * commit: of the fuzzed image into what it names below, or of a sound overlay
 * into the fuzzed image. The guest sees the same through the overlay, and,
 * as far as the overlay goes, in the base.
 * Arguments: 0 bit 0: the fuzzed image is the base; 1 flags.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/rebase.h>
#include <img/write.h>
#include <qcow2/fresh.h>

#include "folder.h"

#define OVERLAY "overlay.qcow2"
#define OVERLAY_LEN (128u << 10)

enum {
    FLAG_KEEP = 1,
    FLAG_VERIFY = 2,
    FLAG_DRY_RUN = 4,
    FLAG_NAMED = 8,
    FLAG_NO_PROBE = 16,
};

static struct img_file *write_at(const char *name)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE, .writable = true};
    struct img_file *file = NULL;
    struct img_error err = {0};

    folder_put(name, "", 0);
    fuzz_require(img_file_open(folder_path(name), &options, &file, &err) == 0);
    return file;
}

/* Data, zeros and nothing, in clusters of 2 KiB. */
static void put_overlay(void)
{
    static uint8_t bytes[2048];
    struct img_file *file = write_at(OVERLAY);
    struct qcow2_create_options options;
    struct qcow2_fresh *fresh = NULL;
    struct img_error err = {0};

    qcow2_create_options_init(&options);
    options.virtual_len = OVERLAY_LEN;
    options.cluster_len = sizeof(bytes);
    options.backing_name = FUZZ_IMAGE;
    options.backing_format = "qcow2";
    fuzz_require(qcow2_fresh_new(file, NULL, &options, &fresh, &err) == 0);
    for (uint64_t off = 0; off < OVERLAY_LEN; off += 5 * sizeof(bytes)) {
        struct qcow2_place place;

        memset(bytes, (int)(off / sizeof(bytes)) + 1, sizeof(bytes));
        fuzz_require(
            qcow2_fresh_data(fresh, off, sizeof(bytes), &place, &err) == 0);
        fuzz_require(img_file_write(place.file, bytes, sizeof(bytes),
                                    place.host_off, &err) == 0);
        if (off + 2 * sizeof(bytes) < OVERLAY_LEN) {
            fuzz_require(qcow2_fresh_zero(fresh, off + 2 * sizeof(bytes),
                                          sizeof(bytes), &err) == 0);
        }
    }
    fuzz_require(qcow2_fresh_finish(fresh, &err) == 0);
    qcow2_fresh_free(fresh);
    img_file_unref(file);
}

static bool is_prefix(const struct guest *shorter, const struct guest *longer)
{
    return longer->bytes != NULL && longer->len >= shorter->len &&
           memcmp(longer->bytes, shorter->bytes, shorter->len) == 0;
}

/* BEFORE is what the guest saw of TOP; below it is BASE. */
static void require_committed(const char *top, const char *base,
                              const char *base_format,
                              const struct guest *before)
{
    struct guest through = folder_read(top, "qcow2");
    struct guest in_base = folder_read(base, base_format);

    fuzz_require(is_prefix(before, &through));
    fuzz_require(is_prefix(before, &in_base));
    guest_free(&through);
    guest_free(&in_base);
}

static int commit(const char *top, uint8_t flags, char **base)
{
    struct chain_commit_request request = {
        .path = folder_path(top),
        .base = flags & FLAG_NAMED ? folder_path("base.qcow2") : NULL,
        .format = "qcow2",
        .keep_overlay = flags & FLAG_KEEP,
        .verify = flags & FLAG_VERIFY,
        .dry_run = flags & FLAG_DRY_RUN,
        .allow_probe = !(flags & FLAG_NO_PROBE),
        .max_depth = 8,
        .threads = 1,
        .engine = 2,
        .budget_len = 4u << 20,
        .roots = folder_roots(),
    };
    struct chain_commit_result result = {0};
    struct img_error err = {0};
    int ret = chain_commit(&request, &result, &err);

    if (ret < 0) {
        fuzz_require_error(&err);
    }
    *base = result.base;
    result.base = NULL;
    chain_commit_result_fini(&result);
    return ret;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* As what the chain of TOP reads the layer BASE: a file that looks like qcow2
   may be raw there. */
static const char *format_of(const char *top, const char *base)
{
    struct chain *chain = folder_open(top, "qcow2");
    const char *format = NULL;

    for (size_t i = 0; chain != NULL && i < chain_depth(chain); i++) {
        const struct chain_layer *layer = chain_layer_at(chain, i);

        if (strcmp(name_of(chain_layer_path(layer)), name_of(base)) == 0) {
            format = chain_layer_format(layer);
        }
    }
    chain_free(chain);
    fuzz_require(format != NULL);
    return format;
}

static void commit_fuzzed(uint8_t flags, const struct promise *promise)
{
    char *base = NULL;
    int ret = commit(FUZZ_IMAGE, flags, &base);

    promise_require_clean(promise, ret < 0);
    promise_require_contents(promise, promise->guest.len);
    if (ret == 0 && !(flags & FLAG_DRY_RUN) && promise->guest.bytes != NULL) {
        require_committed(FUZZ_IMAGE, name_of(base),
                          format_of(FUZZ_IMAGE, base), &promise->guest);
    }
    free(base);
}

/* Into the fuzzed image, or through it into the base that it names. */
static void commit_onto_fuzzed(uint8_t flags, const struct promise *promise)
{
    struct guest before;
    char *base = NULL;
    int ret;

    put_overlay();
    before = folder_read(OVERLAY, "qcow2");
    ret = commit(OVERLAY, flags, &base);
    promise_require_clean(promise, ret < 0);
    if (promise->guest.bytes != NULL && before.bytes != NULL) {
        fuzz_require(folder_is_clean(OVERLAY, ret < 0));
        if (ret < 0 || (flags & FLAG_DRY_RUN)) {
            require_committed(OVERLAY, OVERLAY, "qcow2", &before);
        } else {
            require_committed(OVERLAY, name_of(base), format_of(OVERLAY, base),
                              &before);
        }
    }
    guest_free(&before);
    free(base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    struct promise promise;

    len = fuzz_args(data, len, args);
    folder_put_bases();
    promise = promise_note(data, len);
    if (args[0] & 1) {
        commit_onto_fuzzed(args[1], &promise);
    } else {
        commit_fuzzed(args[1], &promise);
    }
    promise_free(&promise);
    return 0;
}
