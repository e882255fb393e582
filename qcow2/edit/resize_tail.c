/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last, partial cluster of a disk that is to become longer (specification:
 * "Cluster mapping").
 *
 * Room: qcow2/edit. Behind the end it may hold anything: what was there before
 * the disk was made shorter, or what a longer backing file shows. In a place
 * of the image's own it is zeroed, beyond the end, where nobody looks; else
 * the cluster is written anew, with the guest's bytes up to the end.
 */
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/inflate.h>

#include "resize.h"

struct tail {
    struct qcow2_edit *edit;
    const struct qcow2_resize *resize;
    uint64_t end;      /* of the disk, within a granule or cluster */
    uint64_t span_off; /* what would have to be written whole */
    uint64_t span_len; /* up to the end */
    struct qcow2_l2_entry entry;
    struct img_image *image; /* as it is stored */
};

static int load_entry(struct tail *t, struct img_error *err)
{
    const struct qcow2_header *h = &t->edit->header;
    uint64_t last = t->end - 1;
    struct qcow2_table *table;

    t->entry = (struct qcow2_l2_entry){.kind = QCOW2_CLUSTER_UNALLOCATED};
    if (qcow2_edit_l2_get(t->edit, (uint32_t)(last / h->l2_covers_len), &table,
                          err)) {
        return -1;
    }
    return table ? qcow2_edit_entry_get(
                       t->edit, table,
                       (uint32_t)((last % h->l2_covers_len) >> h->cluster_bits),
                       &t->entry, err)
                 : 0;
}

/* What the granule is that the disk ends in. */
static enum qcow2_cluster_kind kind_at_end(const struct tail *t)
{
    const struct qcow2_header *h = &t->edit->header;
    uint32_t run;

    if (!h->has_extended_l2 || t->entry.kind == QCOW2_CLUSTER_COMPRESSED) {
        return t->entry.kind;
    }
    return qcow2_l2_subcluster_run(
        &t->entry,
        (uint32_t)((t->end - 1) % h->cluster_len / h->subcluster_len), &run);
}

/* Subclusters are shared: no others can be given a place beside them. */
static bool is_shared(const struct tail *t)
{
    const struct qcow2_header *h = &t->edit->header;

    return h->has_extended_l2 && t->entry.alloc != 0 &&
           t->span_off % h->cluster_len == 0;
}

/* Must the granule be written anew? (It has no place of its own.) */
static bool needs_copy(const struct tail *t)
{
    uint64_t granule_end = img_align_up(t->end, t->edit->header.subcluster_len);

    if (t->resize->prealloc != QCOW2_PREALLOC_OFF && is_shared(t)) {
        return true;
    }
    switch (kind_at_end(t)) {
    case QCOW2_CLUSTER_ZERO:
        return false;
    case QCOW2_CLUSTER_UNALLOCATED:
        return granule_end > t->end &&
               (t->resize->backing_len > t->end ||
                t->resize->prealloc != QCOW2_PREALLOC_OFF);
    case QCOW2_CLUSTER_COMPRESSED:
        return true; /* also where only the cluster goes beyond the end */
    case QCOW2_CLUSTER_DATA:
    case QCOW2_CLUSTER_MIXED:
        break;
    }
    return granule_end > t->end;
}

static int read_backing(const struct tail *t, uint8_t *buf, uint64_t len,
                        uint64_t off, struct img_error *err)
{
    const struct qcow2_resize *r = t->resize;
    uint64_t there = off < r->backing_len ? r->backing_len - off : 0;

    there = img_min(there, len);
    memset(buf + there, 0, len - there);
    if (there == 0) {
        return 0;
    }
    if (!r->read_backing) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "the disk ends within a cluster of the backing file,"
                        " which must be read to make it longer");
    }
    return r->read_backing(r->opaque, buf, there, off, err);
}

static int read_compressed(const struct tail *t,
                           const struct img_extent *extent, uint8_t *buf,
                           struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *in = img_calloc(1, extent->host_len, err);
    IMG_AUTO(img_free_ptr) uint8_t *out = img_calloc(1, extent->unit_len, err);
    struct img_inflater *inflater = NULL;
    int result = -1;

    if (in && out && qcow2_inflater_new(&inflater, err) == 0 &&
        img_file_read_padded(extent->file, in, extent->host_len,
                             extent->host_off, NULL, err) == 0) {
        result = img_image_decompress(t->image, inflater, extent, in, out, err);
    }
    if (result == 0) {
        memcpy(buf, out + (extent->guest_off - extent->unit_guest_off),
               extent->len);
    }
    qcow2_inflater_free(inflater);
    return result;
}

static int read_extent(const struct tail *t, const struct img_extent *extent,
                       uint8_t *buf, struct img_error *err)
{
    switch (extent->kind) {
    case IMG_EXTENT_UNALLOCATED:
        return read_backing(t, buf, extent->len, extent->guest_off, err);
    case IMG_EXTENT_ZERO:
        memset(buf, 0, extent->len);
        return 0;
    case IMG_EXTENT_COMPRESSED:
        return read_compressed(t, extent, buf, err);
    case IMG_EXTENT_DATA:
        break;
    }
    return img_file_read_padded(extent->file, buf, extent->len,
                                extent->host_off, NULL, err);
}

/* The guest's bytes of the span. */
static int read_span(struct tail *t, uint8_t *buf, struct img_error *err)
{
    uint64_t end = t->span_off + t->span_len;
    uint64_t off = t->span_off;

    if (qcow2_open(t->edit->file, &(struct qcow2_options){0}, &t->image, err)) {
        return -1;
    }
    if (t->edit->data_file) {
        img_image_set_data_file(t->image, t->edit->data_file);
    }
    while (off < end) {
        struct img_extent extent;

        if (img_image_map(t->image, off, end - off, &extent, err) ||
            read_extent(t, &extent, buf + (off - t->span_off), err)) {
            return -1;
        }
        off += extent.len;
    }
    return 0;
}

/* Nothing is pending: what is stored is what the guest sees. */
static int copy_span(struct tail *t, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *buf = img_calloc(1, t->span_len, err);
    struct qcow2_place place;

    if (!buf || read_span(t, buf, err) ||
        qcow2_edit_place(t->edit, t->span_off, t->span_len, &place, err)) {
        return -1;
    }
    if (place.len < t->span_len) {
        return img_fail(err, IMG_USAGE,
                        "a cluster was placed in more than one piece");
    }
    return img_file_write(place.file, buf, t->span_len, place.host_off, err) ||
                   qcow2_edit_commit(t->edit, err)
               ? -1
               : 0;
}

/* Behind the end of the disk in a place of its own. */
static int zero_behind(struct tail *t, struct img_error *err)
{
    uint64_t len =
        img_align_up(t->end, t->edit->header.subcluster_len) - t->end;
    struct qcow2_place place;

    if (len == 0) {
        return 0;
    }
    return qcow2_edit_place(t->edit, t->end - 1, 1, &place, err) ||
                   img_file_zero(place.file, place.host_off + 1, len,
                                 IMG_ZERO_KEEP, err) ||
                   qcow2_edit_flush(t->edit, err)
               ? -1
               : 0;
}

int qcow2_edit_tail_clear(struct qcow2_edit *edit,
                          const struct qcow2_resize *resize,
                          struct img_error *err)
{
    struct tail t = {
        .edit = edit,
        .resize = resize,
        .end = edit->virtual_len,
    };
    int result = 0;

    if (t.end % edit->header.cluster_len == 0 ||
        (edit->data_file && edit->header.is_data_file_raw)) {
        return 0;
    }
    if (load_entry(&t, err) ||
        qcow2_edit_span(edit, t.end - 1, 1, &t.span_off, &t.span_len, err)) {
        return -1;
    }
    if (t.span_len == 1) { /* it is the image's own */
        return zero_behind(&t, err);
    }
    if (needs_copy(&t)) {
        result = copy_span(&t, err);
    }
    img_image_free(t.image);
    return result;
}
