/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first cluster: header, extensions, backing name. Room: qcow2/edit.
 *
 * Only the first sector points to things, and one sector is what a disk
 * writes whole: what it will point to is flushed before, then it is written
 * alone, then it is flushed. Specification: "Header", "Header extensions".
 */
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "edit_impl.h"

/* The fields that this program knows end with compression_type. */
#define KNOWN_FIELDS_LEN 105u

/* What CLUSTER says, strictly; *EXTENSIONS is the caller's to release. */
static int first_decode(struct qcow2_edit *edit, const uint8_t *cluster,
                        struct qcow2_header *header,
                        struct qcow2_extensions *extensions,
                        struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;

    if (qcow2_header_decode(cluster, len, header, err) ||
        qcow2_header_check_file(header, img_file_len(edit->file), err) ||
        qcow2_extensions_decode(header, cluster, len, extensions, err)) {
        return -1;
    }
    if (qcow2_features_check(header, extensions, err)) {
        qcow2_extensions_fini(extensions);
        return -1;
    }
    return 0;
}

static int sector_write(struct qcow2_edit *edit, const uint8_t *cluster,
                        struct img_error *err)
{
    return qcow2_edit_flush(edit, err) ||
                   qcow2_edit_write(edit, QCOW2_PART_HEADER, cluster,
                                    QCOW2_SECTOR_LEN, 0, err) ||
                   qcow2_edit_flush(edit, err)
               ? -1
               : 0;
}

int qcow2_edit_first_store(struct qcow2_edit *edit, const uint8_t *cluster,
                           struct img_error *err)
{
    struct qcow2_extensions extensions = {0};
    struct qcow2_header header;
    uint32_t len = edit->header.cluster_len;

    if (memcmp(cluster + QCOW2_SECTOR_LEN, edit->first + QCOW2_SECTOR_LEN,
               len - QCOW2_SECTOR_LEN) != 0) {
        return img_fail(err, IMG_USAGE,
                        "the first cluster differs beyond its first sector");
    }
    if (first_decode(edit, cluster, &header, &extensions, err)) {
        return -1;
    }
    if (sector_write(edit, cluster, err)) {
        qcow2_extensions_fini(&extensions);
        return qcow2_edit_abandon(edit);
    }
    edit->stable_len = img_max(edit->stable_len, img_file_len(edit->file));
    memmove(edit->first, cluster, QCOW2_SECTOR_LEN);
    qcow2_extensions_fini(&edit->extensions);
    edit->extensions = extensions;
    edit->header = header;
    edit->virtual_len = img_align_down(header.virtual_len, QCOW2_SECTOR_LEN);
    return 0;
}

int qcow2_edit_first_prepare(struct qcow2_edit *edit, const uint8_t *cluster,
                             uint32_t off, uint32_t len, struct img_error *err)
{
    if (off < QCOW2_SECTOR_LEN ||
        !img_range_fits(off, len, edit->header.cluster_len)) {
        return img_fail(err, IMG_USAGE,
                        "found bytes %u to %u, expected them in the first "
                        "cluster beyond its first sector",
                        off, off + len);
    }
    if (qcow2_edit_write(edit, QCOW2_PART_HEADER, cluster + off, len, off,
                         err)) {
        return qcow2_edit_abandon(edit);
    }
    memmove(edit->first + off, cluster + off, len);
    return 0;
}

/* A copy of the first cluster with HEADER's fields in it; free with free(). */
static uint8_t *first_with(struct qcow2_edit *edit,
                           const struct qcow2_header *header,
                           struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    IMG_AUTO(img_free_ptr)
    uint8_t *fields = img_calloc(1, header->header_len, err);
    uint8_t *cluster = img_calloc(1, len, err);

    if (!fields || !cluster) {
        img_free_ptr(&cluster);
        return NULL;
    }
    memcpy(cluster, edit->first, len);
    qcow2_header_encode(header, fields);
    memcpy(cluster, fields, img_min(header->header_len, KNOWN_FIELDS_LEN));
    return cluster;
}

int qcow2_edit_header_store(struct qcow2_edit *edit,
                            const struct qcow2_header *header,
                            struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *cluster = first_with(edit, header, err);

    return cluster ? qcow2_edit_first_store(edit, cluster, err) : -1;
}

int qcow2_edit_mark_corrupt(struct qcow2_edit *edit, struct img_error *err)
{
    struct qcow2_header header = edit->header;
    struct img_error ignored;
    uint8_t *cluster = NULL;

    /* Version 2 has no such bit; and what fails twice is left as it is. */
    header.incompatible |= QCOW2_INCOMPAT_CORRUPT;
    if (header.version >= 3 && !edit->is_failed) {
        cluster = first_with(edit, &header, &ignored);
    }
    if (cluster && img_file_write(edit->file, cluster, QCOW2_SECTOR_LEN, 0,
                                  &ignored) == 0) {
        (void)qcow2_edit_flush(edit, &ignored);
    }
    img_free_ptr(&cluster);
    img_error_set_path(err, img_file_path(edit->file));
    return qcow2_edit_abandon(edit);
}
