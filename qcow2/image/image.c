/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The qcow2 driver: opening, closing and the small operations.
 *
 * Room: qcow2/image. Opening reads the first cluster once and the snapshot
 * table; nothing that was not checked against the length of the file is
 * believed. Specification: "General", "Header", "Header extensions".
 */
#include <qcow2/image.h>

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/inflate.h>

#include "state.h"

/* What is enough to know the cluster size, and a whole smallest cluster. */
#define PEEK_LEN 512u

static int qcow2_image_decompress(const struct img_image *image,
                                  struct img_inflater *inflater,
                                  const struct img_extent *extent,
                                  const void *in, void *out,
                                  struct img_error *err)
{
    const struct qcow2_image *q = (const struct qcow2_image *)image;

    if (extent->kind != IMG_EXTENT_COMPRESSED) {
        return img_fail(err, IMG_USAGE, "the extent is not compressed");
    }
    if (qcow2_inflate(inflater, (enum qcow2_compression)q->header.compression,
                      in, extent->host_len, out, extent->unit_len, err)) {
        return qcow2_fail_entry(err, extent->host_off);
    }
    return 0;
}

static void qcow2_image_free(struct img_image *image)
{
    struct qcow2_image *q = qcow2_image_of(image);

    qcow2_bitmaps_free(q);
    qcow2_slice_fini(&q->slice);
    qcow2_extensions_fini(&q->extensions);
    free(q->l1);
    free(q->stored);
    img_image_fini(&q->image);
    free(q);
}

const struct img_image_ops qcow2_image_ops = {
    .map = qcow2_image_map,
    .decompress = qcow2_image_decompress,
    .describe = qcow2_image_describe,
    .free = qcow2_image_free,
};

const struct qcow2_header *qcow2_image_header(const struct img_image *image)
{
    return image->ops == &qcow2_image_ops
               ? &((const struct qcow2_image *)image)->header
               : NULL;
}

const struct qcow2_extensions *
qcow2_image_extensions(const struct img_image *image)
{
    return image->ops == &qcow2_image_ops
               ? &((const struct qcow2_image *)image)->extensions
               : NULL;
}

/* The first cluster, as much of it as the file has. */
static int first_cluster_load(struct img_file *file, uint8_t **out, size_t *len,
                              struct img_error *err)
{
    uint8_t head[PEEK_LEN];
    size_t got = 0;

    if (img_file_read_padded(file, head, sizeof(head), 0, &got, err)) {
        return -1;
    }

    uint32_t cluster_len = qcow2_header_peek_cluster_len(head, got);
    size_t want =
        (size_t)img_min(img_max(cluster_len, PEEK_LEN), img_file_len(file));
    IMG_AUTO(img_free_ptr)
    uint8_t *buf = img_calloc(1, img_max(want, PEEK_LEN), err);
    if (!buf) {
        return -1;
    }
    memcpy(buf, head, sizeof(head));
    if (want > sizeof(head) &&
        img_file_read_padded(file, buf + sizeof(head), want - sizeof(head),
                             sizeof(head), &got, err)) {
        return -1;
    }
    *len = want > sizeof(head) ? sizeof(head) + got : got;
    *out = img_steal(&buf);
    return 0;
}

static int extensions_load(struct qcow2_image *q, const uint8_t *buf,
                           size_t len, struct img_error *err)
{
    static const struct qcow2_extensions none;

    if (qcow2_extensions_decode(&q->header, buf, len, &q->extensions, err)) {
        /* An unknown incompatible bit may be why they make no sense. */
        if (q->header.incompatible & ~QCOW2_INCOMPAT_KNOWN) {
            (void)qcow2_features_check(&q->header, &none, err);
        }
        return -1;
    }
    return qcow2_features_check(&q->header, &q->extensions, err);
}

static int copy_name(const char *name, char **out, struct img_error *err)
{
    if (!name) {
        return 0;
    }
    *out = img_strndup(name, strlen(name), err);
    return *out ? 0 : -1;
}

/* What struct img_image tells everybody. */
static int image_fill(struct qcow2_image *q, struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    struct img_image *image = &q->image;

    image->virtual_len = img_align_down(header->virtual_len, 512);
    image->cluster_len = header->cluster_len;
    image->is_dirty = (header->incompatible & QCOW2_INCOMPAT_DIRTY) != 0;
    image->is_corrupt = (header->incompatible & QCOW2_INCOMPAT_CORRUPT) != 0;
    image->wants_data_file = header->has_data_file;
    image->supports_backing = true;
    image->is_encrypted = header->crypt_method != QCOW2_CRYPT_NONE;
    image->is_readable = !image->is_encrypted;
    if (image->is_encrypted) {
        image->unreadable_why =
            img_text(err, "contents are encrypted (%s)",
                     header->crypt_method == QCOW2_CRYPT_LUKS ? "LUKS" : "AES");
        if (!image->unreadable_why) {
            return -1;
        }
    }
    q->l1_off = header->l1_off;
    q->l1_entries = header->l1_entries;
    qcow2_slice_init(&q->slice, header->cluster_len);
    return copy_name(q->extensions.backing_name, &image->backing_name, err) ||
                   copy_name(q->extensions.backing_format,
                             &image->backing_format, err) ||
                   copy_name(q->extensions.data_file_name,
                             &image->data_file_name, err)
               ? -1
               : 0;
}

static int image_load(struct qcow2_image *q,
                      const struct qcow2_options *options,
                      struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *buf = NULL;
    size_t len = 0;

    if (first_cluster_load(q->image.file, &buf, &len, err) ||
        (options && options->is_for_check
             ? qcow2_header_decode_lenient(buf, len, &q->header, err)
             : qcow2_header_decode(buf, len, &q->header, err)) ||
        extensions_load(q, buf, len, err) ||
        qcow2_header_check_file(&q->header, img_file_len(q->image.file), err) ||
        image_fill(q, err)) {
        return -1;
    }
    if (!options) {
        return 0;
    }
    if (qcow2_snapshots_load(q, err)) {
        return -1;
    }
    return options->snapshot ? qcow2_snapshots_select(q, options->snapshot, err)
                             : 0;
}

/* OPTIONS NULL: without the snapshots. */
static int image_open(struct img_file *file,
                      const struct qcow2_options *options,
                      struct img_image **out, struct img_error *err)
{
    struct qcow2_image *q = img_calloc(1, sizeof(*q), err);

    if (!q) {
        return -1;
    }
    q->image.ops = &qcow2_image_ops;
    q->image.format = qcow2_format.name;
    q->image.file = img_file_ref(file);
    if (image_load(q, options, err)) {
        img_error_set_path(err, img_file_path(file));
        qcow2_image_free(&q->image);
        return -1;
    }
    *out = &q->image;
    return 0;
}

int qcow2_open(struct img_file *file, const struct qcow2_options *options,
               struct img_image **out, struct img_error *err)
{
    return image_open(file, options, out, err);
}

int qcow2_open_first(struct img_file *file, struct img_image **out,
                     struct img_error *err)
{
    return image_open(file, NULL, out, err);
}

static bool format_probe(const struct img_probe_bytes *bytes)
{
    return bytes->head_len >= 8 && img_load_be32(bytes->head) == QCOW2_MAGIC &&
           img_load_be32(bytes->head + 4) >= 2;
}

static int format_open(struct img_file *file, struct img_image **out,
                       struct img_error *err)
{
    return qcow2_open(file, &(struct qcow2_options){0}, out, err);
}

const struct img_format qcow2_format = {
    .name = "qcow2",
    .probe = format_probe,
    .open = format_open,
};
