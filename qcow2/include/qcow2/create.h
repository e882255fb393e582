/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a new qcow2 image is to be: qemu-img's create options, with its rules.
 */
#ifndef QCOW2_CREATE_H
#define QCOW2_CREATE_H

#include <qcow2/header.h>

enum qcow2_prealloc {
    QCOW2_PREALLOC_OFF,
    QCOW2_PREALLOC_METADATA, /* every cluster has a place, in a sparse file */
    QCOW2_PREALLOC_FALLOC,   /* and the file system has reserved it */
    QCOW2_PREALLOC_FULL,     /* and it was written with zeros */
};

/* Texts are borrowed. */
struct qcow2_create_options {
    uint64_t virtual_len; /* multiple of 512 */
    uint32_t version;     /* 3 ("1.1") or 2 ("0.10") */
    uint32_t cluster_len; /* 65536 */
    uint32_t refcount_bits;
    bool lazy_refcounts;
    bool extended_l2;
    enum qcow2_compression compression;
    enum qcow2_prealloc prealloc;
    const char *backing_name;   /* the text to record; NULL: none */
    const char *backing_format; /* NULL: do not record one */
    const char *data_file_name; /* the text to record; NULL: none */
    bool data_file_raw;
};

/* QEMU's defaults: version 3, 64 KiB clusters, 16-bit refcounts, zlib. */
void qcow2_create_options_init(struct qcow2_create_options *options);

/*
 * Set one option from qemu-img's -o list: "cluster_size" = "64k", "compat" =
 * "1.1", ... ("size", "backing_file", "backing_fmt" and "data_file" too; the
 * text is borrowed). IMG_USAGE for an unknown name (the text lists what there
 * is) or value.
 */
int qcow2_create_options_set(struct qcow2_create_options *options,
                             const char *name, const char *value,
                             struct img_error *err);

/*
 * Do the options go together? IMG_USAGE, in words that name both sides:
 * version 2 with a version 3 feature, refcount widths, cluster sizes with
 * extended L2, data_file_raw without data file or with a backing file,
 * prealloc with a backing file (only with extended L2), a backing format
 * without a backing file, sizes that need too large an L1 table, ...
 */
int qcow2_create_options_check(const struct qcow2_create_options *options,
                               struct img_error *err);

/*
 * The preallocation that these options come to: data_file_raw wants at least
 * that of metadata, so that the raw file is all there is to know.
 */
enum qcow2_prealloc
qcow2_create_prealloc(const struct qcow2_create_options *options);

/* The header that these options ask for; table offsets and sizes are 0. */
void qcow2_create_header(const struct qcow2_create_options *options,
                         struct qcow2_header *out);

#endif
