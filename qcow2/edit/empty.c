/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image that holds nothing any more. Room: qcow2/edit.
 *
 * Without snapshots and bitmaps everything goes at once, in two steps, each
 * made by one header write: an empty L1 table in free clusters, after which
 * all but the header, this table and the refcount structures is leaked; then
 * a refcount table, blocks and an L1 table side by side as near to the start
 * of the file as leaked clusters allow, after which nothing is leaked and the
 * file ends there. Else range by range.
 */
#include <stdlib.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "edit_impl.h"

/* Where the new structures go, in clusters. */
struct layout {
    uint64_t start;
    uint64_t table, blocks, l1; /* lengths, in this order */
};

struct span {
    uint64_t start, end; /* clusters in use */
};

static int span_compare(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static uint64_t clusters_of(const struct qcow2_edit *edit, uint64_t len)
{
    return img_div_up(len, edit->header.cluster_len);
}

static uint64_t l1_clusters(const struct qcow2_edit *edit)
{
    return img_max(clusters_of(edit, (uint64_t)edit->header.l1_entries * 8), 1);
}

/* Everything that is still referred to, ascending; free *out with free(). */
static int spans_in_use(const struct qcow2_edit *edit, struct span **out,
                        size_t *nr, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint64_t l1 = qcow2_edit_cluster_of(edit, header->l1_off);
    uint64_t table = qcow2_edit_cluster_of(edit, header->reftable_off);
    struct span *spans = img_calloc(edit->reftable_nr + 3, sizeof(*spans), err);
    size_t n = 0;

    if (!spans) {
        return -1;
    }
    spans[n++] = (struct span){0, 1};
    spans[n++] = (struct span){l1, l1 + l1_clusters(edit)};
    spans[n++] = (struct span){table, table + header->reftable_clusters};
    for (uint64_t i = 0; i < edit->reftable_nr; i++) {
        uint64_t block = qcow2_edit_cluster_of(edit, edit->reftable[i]);

        if (block != 0) {
            spans[n++] = (struct span){block, block + 1};
        }
    }
    qsort(spans, n, sizeof(*spans), span_compare);
    *out = spans;
    *nr = n;
    return 0;
}

/* The first LEN clusters that lie between SPANS. */
static uint64_t gap_find(const struct span *spans, size_t nr, uint64_t len)
{
    uint64_t start = 0;

    for (size_t i = 0; i < nr && spans[i].start < start + len; i++) {
        start = img_max(start, spans[i].end);
    }
    return start;
}

static int layout_find(const struct qcow2_edit *edit, struct layout *layout,
                       struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct span *spans = NULL;
    size_t nr;

    *layout = (struct layout){.table = 1, .blocks = 1};
    layout->l1 = l1_clusters(edit);
    if (spans_in_use(edit, &spans, &nr, err)) {
        return -1;
    }
    for (;;) {
        uint64_t len = layout->table + layout->blocks + layout->l1;
        layout->start = gap_find(spans, nr, len);
        uint64_t blocks = img_div_up(layout->start + len, edit->block_entries);
        uint64_t table = clusters_of(edit, blocks * 8);

        if (blocks <= layout->blocks && table <= layout->table) {
            return 0;
        }
        layout->blocks = img_max(blocks, layout->blocks);
        layout->table = img_max(table, layout->table);
    }
}

/* Block I of the new structures, which end at cluster END. */
static void block_fill(const struct qcow2_edit *edit,
                       const struct layout *layout, uint64_t i, uint8_t *block)
{
    uint64_t first = i * edit->block_entries;
    uint64_t end = layout->start + layout->table + layout->blocks + layout->l1;

    for (uint64_t j = 0; j < edit->block_entries; j++) {
        uint64_t cluster = first + j;
        bool is_used =
            cluster == 0 || (cluster >= layout->start && cluster < end);

        qcow2_refcount_set(&edit->header, block, j, is_used);
    }
}

/* Clusters [START, START + NR) are zeros and hold PART. */
static int zeros_write(struct qcow2_edit *edit, enum qcow2_part part,
                       uint64_t start, uint64_t nr, struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    IMG_AUTO(img_free_ptr) uint8_t *zeros = img_calloc(1, len, err);

    if (!zeros || qcow2_edit_part_add(edit, part, start * len, nr * len, err)) {
        return -1;
    }
    for (uint64_t i = 0; i < nr; i++) {
        if (qcow2_edit_write(edit, part, zeros, len, (start + i) * len, err)) {
            return -1;
        }
    }
    return 0;
}

static int table_write(struct qcow2_edit *edit, const struct layout *layout,
                       struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    uint64_t table_len = layout->table * len;
    uint64_t off = layout->start * len;
    IMG_AUTO(img_free_ptr) uint8_t *table = img_calloc(1, table_len, err);

    if (!table ||
        qcow2_edit_part_add(edit, QCOW2_PART_REFTABLE, off, table_len, err)) {
        return -1;
    }
    for (uint64_t i = 0; i < layout->blocks; i++) {
        img_store_be64(table + i * 8, off + table_len + i * len);
    }
    return qcow2_edit_write(edit, QCOW2_PART_REFTABLE, table, table_len, off,
                            err);
}

static int blocks_write(struct qcow2_edit *edit, const struct layout *layout,
                        struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    uint64_t off = (layout->start + layout->table) * len;
    IMG_AUTO(img_free_ptr) uint8_t *block = img_calloc(1, len, err);

    if (!block || qcow2_edit_part_add(edit, QCOW2_PART_REFBLOCK, off,
                                      layout->blocks * len, err)) {
        return -1;
    }
    for (uint64_t i = 0; i < layout->blocks; i++, off += len) {
        block_fill(edit, layout, i, block);
        if (qcow2_edit_write(edit, QCOW2_PART_REFBLOCK, block, len, off, err)) {
            return -1;
        }
    }
    return 0;
}

/* Only what the header names now is known from here on. */
static int parts_renew(struct qcow2_edit *edit, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint32_t len = header->cluster_len;

    qcow2_edit_parts_fini(&edit->parts);
    return qcow2_edit_part_add(edit, QCOW2_PART_HEADER, 0, len, err) ||
                   qcow2_edit_part_add(edit, QCOW2_PART_L1, header->l1_off,
                                       (uint64_t)header->l1_entries * 8, err) ||
                   qcow2_edit_part_add(
                       edit, QCOW2_PART_REFTABLE, header->reftable_off,
                       (uint64_t)header->reftable_clusters * len, err)
               ? -1
               : 0;
}

static int parts_note_blocks(struct qcow2_edit *edit, struct img_error *err)
{
    for (uint64_t i = 0; i < edit->reftable_nr; i++) {
        if (edit->reftable[i] != 0 &&
            qcow2_edit_part_add(edit, QCOW2_PART_REFBLOCK, edit->reftable[i],
                                edit->header.cluster_len, err)) {
            return -1;
        }
    }
    return 0;
}

/* The second step: small structures near the start of the file. */
static int structures_renew(struct qcow2_edit *edit, struct layout *layout,
                            struct img_error *err)
{
    struct qcow2_header header = edit->header;
    uint32_t len = header.cluster_len;
    uint64_t l1;

    if (parts_renew(edit, err) || parts_note_blocks(edit, err) ||
        layout_find(edit, layout, err)) {
        return -1;
    }
    l1 = layout->start + layout->table + layout->blocks;
    header.reftable_off = layout->start * len;
    header.reftable_clusters = (uint32_t)layout->table;
    header.l1_off = l1 * len;
    return table_write(edit, layout, err) || blocks_write(edit, layout, err) ||
                   zeros_write(edit, QCOW2_PART_L1, l1, layout->l1, err) ||
                   qcow2_edit_header_store(edit, &header, err) ||
                   parts_renew(edit, err)
               ? -1
               : 0;
}

/* Give back what lies before and behind the structures. */
static int file_cut(struct qcow2_edit *edit, const struct layout *layout,
                    struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    uint64_t end =
        (layout->start + layout->table + layout->blocks + layout->l1) * len;
    uint64_t file_len = img_file_len(edit->file);

    img_file_discard(edit->file, len, (layout->start - 1) * len);
    if (edit->data_file && !edit->header.is_data_file_raw) {
        img_file_discard(edit->data_file, 0, img_file_len(edit->data_file));
    }
    if (file_len <= end) {
        return 0;
    }
    if (img_file_kind(edit->file) == IMG_FILE_BLOCK) {
        img_file_discard(edit->file, end, file_len - end);
        return 0;
    }
    return img_file_resize(edit->file, end, err) ||
                   img_file_flush(edit->file, err)
               ? -1
               : 0;
}

static int empty_at_once(struct qcow2_edit *edit, struct img_error *err)
{
    struct layout layout;

    if (edit->header.is_data_file_raw &&
        img_file_zero(edit->data_file, 0, edit->virtual_len, IMG_ZERO_UNMAP,
                      err)) {
        return -1;
    }
    return qcow2_edit_l1_clear(edit, err) ||
                   structures_renew(edit, &layout, err) ||
                   file_cut(edit, &layout, err) ||
                   qcow2_edit_refcounts_load(edit, err)
               ? -1
               : 0;
}

static int empty_by_ranges(struct qcow2_edit *edit, struct img_error *err)
{
    uint64_t covers = edit->header.l2_covers_len;

    for (uint32_t i = 0; i < edit->header.l1_entries; i++) {
        uint64_t off = i * covers;

        if (edit->l1[i] == 0 || off >= edit->virtual_len) {
            continue;
        }
        if (qcow2_edit_discard(edit, off,
                               img_min(covers, edit->virtual_len - off), err) ||
            (qcow2_edit_is_full(edit) && qcow2_edit_commit(edit, err))) {
            return -1;
        }
    }
    return qcow2_edit_commit(edit, err);
}

int qcow2_edit_make_empty(struct qcow2_edit *edit, struct img_error *err)
{
    bool has_bitmaps = edit->extensions.has_bitmaps &&
                       (edit->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS);

    if (qcow2_edit_begin_change(edit, err) || qcow2_edit_commit(edit, err)) {
        return -1;
    }
    if (edit->header.snapshots_nr > 0 || has_bitmaps) {
        return empty_by_ranges(edit, err);
    }
    return empty_at_once(edit, err) ? qcow2_edit_abandon(edit) : 0;
}
