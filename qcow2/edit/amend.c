/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other options for an existing image, as qemu-img amend changes them
 * (specification: "Header", features and refcount_order).
 *
 * Room: qcow2/edit. All that would be refused is refused before anything is
 * written. Then each option is changed by a step of its own that ends with one
 * sector: up to version 3 first, down to version 2 last, when what it cannot
 * have is gone.
 */
#include "amend.h"

#include <inttypes.h>

static uint32_t version_of(const struct qcow2_edit *edit,
                           const struct qcow2_amend_options *options)
{
    return options->version ? options->version : edit->header.version;
}

static uint32_t bits_of(const struct qcow2_edit *edit)
{
    return 1u << edit->header.refcount_order;
}

static int check_values(const struct qcow2_edit *edit,
                        const struct qcow2_amend_options *options,
                        struct img_error *err)
{
    uint32_t version = version_of(edit, options);
    uint32_t bits = options->refcount_bits;

    if (version != 2 && version != 3) {
        return img_fail(err, IMG_USAGE,
                        "compat: found version %" PRIu32
                        ", expected 2 (0.10) or 3 (1.1)",
                        version);
    }
    if (bits > 64 || (bits & (bits - 1)) != 0) {
        return img_fail(err, IMG_USAGE,
                        "refcount_bits: found %" PRIu32
                        ", expected a power of two from 1 to 64",
                        bits);
    }
    if (version == 2 && (bits ? bits : bits_of(edit)) != 16) {
        return img_fail(err, IMG_USAGE,
                        "refcount_bits: found %" PRIu32
                        ", expected 16 with compat=0.10",
                        bits ? bits : bits_of(edit));
    }
    if (version == 2 && options->lazy_refcounts > 0) {
        return img_fail(err, IMG_USAGE,
                        "lazy_refcounts: found on, expected off with"
                        " compat=0.10");
    }
    if (options->data_file_raw > 0 && !edit->header.is_data_file_raw) {
        return img_fail(err, IMG_USAGE,
                        "data_file_raw: found on, expected off: it cannot be"
                        " set on an existing image");
    }
    return 0;
}

int qcow2_edit_amend_check(struct qcow2_edit *edit,
                           const struct qcow2_amend_options *options,
                           struct img_error *err)
{
    if (check_values(edit, options, err)) {
        return -1;
    }
    if (version_of(edit, options) < edit->header.version &&
        qcow2_edit_downgrade_check(edit, err)) {
        return -1;
    }
    return options->refcount_bits
               ? qcow2_edit_width_check(edit, options->refcount_bits, err)
               : 0;
}

/* Feature bits, where they change at all. */
static int store_features(struct qcow2_edit *edit,
                          const struct qcow2_amend_options *options,
                          struct img_error *err)
{
    struct qcow2_header header = edit->header;

    if (options->lazy_refcounts > 0) {
        header.compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
    } else if (options->lazy_refcounts == 0) {
        header.compatible &= ~QCOW2_COMPAT_LAZY_REFCOUNTS;
    }
    if (options->data_file_raw == 0) {
        header.autoclear &= ~QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    }
    if (header.compatible == edit->header.compatible &&
        header.autoclear == edit->header.autoclear) {
        return 0;
    }
    return qcow2_edit_header_store(edit, &header, err);
}

int qcow2_edit_amend(struct qcow2_edit *edit,
                     const struct qcow2_amend_options *options,
                     struct img_error *err)
{
    uint32_t version = version_of(edit, options);
    uint32_t bits = options->refcount_bits;

    if (qcow2_edit_commit(edit, err) ||
        qcow2_edit_amend_check(edit, options, err) ||
        qcow2_edit_begin_change(edit, err)) {
        return -1;
    }
    if (version > edit->header.version && qcow2_edit_upgrade(edit, err)) {
        return -1;
    }
    if (bits != 0 && bits != bits_of(edit) &&
        qcow2_edit_width_change(edit, options, err)) {
        return -1;
    }
    if (edit->header.version >= 3 && store_features(edit, options, err)) {
        return -1;
    }
    return version < edit->header.version
               ? qcow2_edit_downgrade(edit, options, err)
               : 0;
}
