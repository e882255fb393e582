/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another virtual size, as qemu-img resize gives it: of a qcow2 image, or of a
 * raw file.
 */
#include <inttypes.h>
#include <string.h>

#include <img/checked.h>
#include <img/image.h>
#include <img/memory.h>
#include <img/write.h>

#include "change_target.h"

/* So much is reserved before somebody may cancel again. */
#define RESERVE_LEN (64ull << 20)

static int parse_prealloc(const char *text, enum qcow2_prealloc *out,
                          struct img_error *err)
{
    struct qcow2_create_options options;

    qcow2_create_options_init(&options);
    if (text &&
        qcow2_create_options_set(&options, "preallocation", text, err) < 0) {
        return -1;
    }
    *out = options.prealloc;
    return 0;
}

static int check_size(const struct chain_amend_request *request,
                      uint64_t old_size, enum qcow2_prealloc prealloc,
                      struct img_error *err)
{
    if (request->size == 0) {
        return img_fail(err, IMG_USAGE,
                        "virtual size: found 0 bytes, expected more");
    }
    if (request->size < old_size && !request->shrink) {
        return img_fail(err, IMG_USAGE,
                        "virtual size: found %" PRIu64 " bytes, less than the"
                        " %" PRIu64 " it has; expected --shrink, as all beyond"
                        " the new end will be lost",
                        request->size, old_size);
    }
    if (request->size <= old_size && prealloc != QCOW2_PREALLOC_OFF) {
        return img_fail(err, IMG_USAGE,
                        "preallocation is for growing images only");
    }
    return 0;
}

static int check_raw(const struct chain_change_target *target,
                     enum qcow2_prealloc prealloc, struct img_error *err)
{
    uint64_t len = img_file_len(target->file);

    if (prealloc == QCOW2_PREALLOC_METADATA) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "preallocation: found metadata, expected off, falloc"
                        " or full with a raw image");
    }
    if (img_file_kind(target->file) == IMG_FILE_BLOCK &&
        target->request->size != len) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "virtual size: found %" PRIu64 " bytes, expected the"
                        " %" PRIu64 " that the device has",
                        target->request->size, len);
    }
    if (target->request->size > INT64_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "virtual size: found %" PRIu64
                        " bytes, expected less than 2^63",
                        target->request->size);
    }
    return 0;
}

static int reserve(const struct chain_change_target *target, uint64_t off,
                   bool is_full, struct img_error *err)
{
    const volatile int *cancel = target->request->cancel;
    uint64_t end = target->request->size;

    for (; off < end; off += img_min(RESERVE_LEN, end - off)) {
        if (cancel && *cancel) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
        if (img_file_reserve(target->file, off, img_min(RESERVE_LEN, end - off),
                             is_full, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* What could not be reserved leaves the file as it was. */
static int resize_raw(struct chain_change_target *target,
                      enum qcow2_prealloc prealloc, struct img_error *err)
{
    uint64_t old_len = img_file_len(target->file);
    uint64_t len = target->request->size;
    struct img_error ignored;

    if (len == old_len) {
        return 0;
    }
    if (img_file_resize(target->file, len, err) < 0) {
        return -1;
    }
    if (prealloc != QCOW2_PREALLOC_OFF &&
        reserve(target, old_len, prealloc == QCOW2_PREALLOC_FULL, err) < 0) {
        (void)img_file_resize(target->file, old_len, &ignored);
        return -1;
    }
    return img_file_flush(target->file, err);
}

static int check(struct chain_change_target *target, bool is_raw,
                 enum qcow2_prealloc prealloc, struct img_error *err)
{
    const struct chain_amend_request *request = target->request;

    if (!is_raw && !target->edit) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "format: found %s, expected qcow2 or raw",
                        target->image->format);
    }
    if (check_size(request, target->image->virtual_len, prealloc, err) < 0) {
        return -1;
    }
    if (is_raw) {
        return check_raw(target, prealloc, err);
    }
    /* Resizing begins with the same check. */
    return request->dry_run
               ? chain_resize_edit(target->edit, target->below, request->size,
                                   prealloc, true, err)
               : 0;
}

static int apply(struct chain_change_target *target, bool is_raw,
                 enum qcow2_prealloc prealloc, struct img_error *err)
{
    return is_raw
               ? resize_raw(target, prealloc, err)
               : chain_resize_edit(target->edit, target->below,
                                   target->request->size, prealloc, false, err);
}

int chain_resize(const struct chain_amend_request *request, uint64_t *old_size,
                 struct img_error *err)
{
    struct chain_change_target target;
    enum qcow2_prealloc prealloc;
    bool is_raw;
    int result;

    if (parse_prealloc(request->prealloc, &prealloc, err) < 0 ||
        chain_change_open(request, true, &target, err) < 0) {
        return -1;
    }
    is_raw = strcmp(target.image->format, "raw") == 0;
    *old_size = target.image->virtual_len;
    result = check(&target, is_raw, prealloc, err);
    if (result == 0 && !request->dry_run) {
        result = apply(&target, is_raw, prealloc, err);
    }
    if (result < 0) {
        img_error_set_path(err, request->path);
    }
    chain_change_close(&target);
    return result;
}
