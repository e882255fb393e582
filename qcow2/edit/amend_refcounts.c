/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcounts of another width (specification: "Host cluster management").
 *
 * Room: qcow2/edit. A refcount table and blocks of the new width are written
 * whole behind everything that is in use; they count themselves, and what they
 * replace no more. One sector, with table and width, switches to them: there
 * is no instant with a leak.
 */
#include "amend.h"

#include <inttypes.h>
#include <stdlib.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

struct width {
    struct qcow2_edit *edit;
    struct qcow2_header header; /* as it will be */
    uint64_t per_block;         /* clusters that a new block counts */
    uint64_t old_nr;            /* clusters that the old blocks may count */
    uint8_t *is_used;           /* new blocks by index: some count is not 0 */
    uint64_t is_used_nr;
    uint64_t end; /* behind the last cluster in use */
    /* The new structures: the table, then the blocks, ascending. */
    uint64_t start, len; /* clusters */
    uint64_t table_clusters;
};

/* What CLUSTER's count will be, but for the new structures. */
static int count_kept(struct width *w, uint64_t cluster, uint64_t *out,
                      struct img_error *err)
{
    enum qcow2_part part;

    if (qcow2_edit_refcount_get(w->edit, cluster, out, err)) {
        return -1;
    }
    if (*out > 0) {
        part = qcow2_edit_part_of(w->edit, cluster);
        *out -= part == QCOW2_PART_REFTABLE || part == QCOW2_PART_REFBLOCK;
    }
    return 0;
}

static int look_at(struct width *w, uint64_t cluster, struct img_error *err)
{
    uint64_t count;

    if (count_kept(w, cluster, &count, err)) {
        return -1;
    }
    if (count == 0) {
        return 0;
    }
    if (count > qcow2_refcount_max(&w->header)) {
        return img_fail_at(err, IMG_LIMIT, cluster << w->header.cluster_bits,
                           "refcount_bits: found a cluster with refcount"
                           " %" PRIu64 ", expected at most %" PRIu64
                           ", all that %u bits can hold",
                           count, qcow2_refcount_max(&w->header),
                           1u << w->header.refcount_order);
    }
    w->end = img_max(w->end, cluster + 1);
    if (cluster / w->per_block < w->is_used_nr) {
        w->is_used[cluster / w->per_block] = 1;
    }
    return 0;
}

/* Every old block once: which new blocks there must be, and do counts fit? */
static int survey(struct width *w, struct img_error *err)
{
    struct qcow2_edit *edit = w->edit;

    for (uint64_t i = 0; i < edit->reftable_nr; i++) {
        uint64_t first = i * edit->block_entries;

        if (edit->reftable[i] == 0) {
            continue;
        }
        for (uint64_t j = 0; j < edit->block_entries; j++) {
            if (look_at(w, first + j, err)) {
                return -1;
            }
        }
        if (qcow2_edit_check_usable(edit, err)) {
            return -1;
        }
    }
    return 0;
}

static int width_init(struct width *w, struct qcow2_edit *edit, uint32_t bits,
                      struct img_error *err)
{
    *w = (struct width){.edit = edit, .header = edit->header};
    w->header.refcount_order = (uint32_t)__builtin_ctz(bits);
    w->per_block = qcow2_refcount_block_entries(&w->header);
    w->old_nr = edit->reftable_nr * edit->block_entries;
    w->is_used_nr = QCOW2_MAX_REFTABLE_LEN / 8;
    w->is_used = img_calloc(w->is_used_nr, 1, err);
    return w->is_used ? survey(w, err) : -1;
}

int qcow2_edit_width_check(struct qcow2_edit *edit, uint32_t bits,
                           struct img_error *err)
{
    struct width w;
    int result = 0;

    if (bits != 1u << edit->header.refcount_order) {
        result = width_init(&w, edit, bits, err);
        free(w.is_used);
    }
    return result;
}

/* Blocks are needed for the new structures, which need room for the blocks:
   until nothing changes any more. */
static int lay_out(struct width *w, struct img_error *err)
{
    uint32_t cluster_len = w->header.cluster_len;
    bool is_device = img_file_kind(w->edit->file) == IMG_FILE_BLOCK;
    uint64_t before;

    w->start = img_max(w->end, w->edit->hint);
    if (!is_device) {
        w->start = img_max(
            w->start, img_div_up(img_file_len(w->edit->file), cluster_len));
    }
    w->len = 1;
    do {
        uint64_t last = (w->start + w->len - 1) / w->per_block;
        uint64_t blocks = 0;

        if (last >= w->is_used_nr) {
            return img_fail(err, IMG_LIMIT,
                            "refcount_bits: found a file that would need a"
                            " refcount table of more than 8 MiB, expected it"
                            " to be smaller");
        }
        for (uint64_t i = w->start / w->per_block; i <= last; i++) {
            w->is_used[i] = 1;
        }
        for (uint64_t i = 0; i <= last; i++) {
            blocks += w->is_used[i];
        }
        before = w->len;
        w->table_clusters = img_div_up((last + 1) * 8, cluster_len);
        w->len = w->table_clusters + blocks;
    } while (w->len != before);
    return 0;
}

static int fill_block(struct width *w, uint64_t idx, uint8_t *block,
                      struct img_error *err)
{
    for (uint64_t i = 0; i < w->per_block; i++) {
        uint64_t cluster = idx * w->per_block + i;
        uint64_t count = 0;

        if (cluster >= w->start && cluster - w->start < w->len) {
            count = 1;
        } else if (cluster < w->old_nr && count_kept(w, cluster, &count, err)) {
            return -1;
        }
        qcow2_refcount_set(&w->header, block, i, count);
    }
    return 0;
}

static void tell(const struct qcow2_amend_options *options, uint64_t done,
                 uint64_t total)
{
    if (options->progress) {
        options->progress(options->opaque, done, total);
    }
}

static int write_blocks(struct width *w, uint8_t *table,
                        const struct qcow2_amend_options *options,
                        struct img_error *err)
{
    uint32_t cluster_len = w->header.cluster_len;
    uint64_t off = (w->start + w->table_clusters) * cluster_len;
    uint64_t last = (w->start + w->len - 1) / w->per_block;

    for (uint64_t i = 0; i <= last; i++) {
        IMG_AUTO(img_free_ptr) uint8_t *block = NULL;

        tell(options, i, last + 1);
        if (!w->is_used[i]) {
            continue;
        }
        block = img_calloc(1, cluster_len, err);
        if (!block || fill_block(w, i, block, err) ||
            qcow2_edit_check_usable(w->edit, err) ||
            img_file_write(w->edit->file, block, cluster_len, off, err)) {
            return -1;
        }
        img_store_be64(table + i * 8, off);
        off += cluster_len;
    }
    tell(options, last + 1, last + 1);
    return 0;
}

static int write_all(struct width *w, const struct qcow2_amend_options *options,
                     struct img_error *err)
{
    uint64_t table_len = w->table_clusters * w->header.cluster_len;
    uint64_t table_off = w->start * w->header.cluster_len;
    IMG_AUTO(img_free_ptr) uint8_t *table = img_calloc(1, table_len, err);

    if (!table || write_blocks(w, table, options, err) ||
        img_file_write(w->edit->file, table, table_len, table_off, err) ||
        qcow2_edit_part_add(w->edit, QCOW2_PART_REFTABLE, table_off, table_len,
                            err)) {
        return -1;
    }
    w->header.reftable_off = table_off;
    w->header.reftable_clusters = (uint32_t)w->table_clusters;
    return 0;
}

/* The blocks and the table that were replaced are free. */
static void discard_old(struct img_file *file, const uint64_t *blocks,
                        uint64_t nr, const struct qcow2_header *old)
{
    for (uint64_t i = 0; i < nr; i++) {
        if (blocks[i] != 0) {
            img_file_discard(file, blocks[i], old->cluster_len);
        }
    }
    img_file_discard(file, old->reftable_off,
                     (uint64_t)old->reftable_clusters * old->cluster_len);
}

static int switch_width(struct width *w, struct img_error *err)
{
    struct qcow2_edit *edit = w->edit;
    struct qcow2_header old = edit->header;
    uint64_t nr = edit->reftable_nr;
    IMG_AUTO(img_free_ptr) uint64_t *blocks = img_steal(&edit->reftable);

    if (qcow2_edit_header_store(edit, &w->header, err) ||
        qcow2_edit_refcounts_load(edit, err)) {
        return qcow2_edit_abandon(edit);
    }
    discard_old(edit->file, blocks, nr, &old);
    return 0;
}

int qcow2_edit_width_change(struct qcow2_edit *edit,
                            const struct qcow2_amend_options *options,
                            struct img_error *err)
{
    struct width w;
    int result = -1;

    if (width_init(&w, edit, options->refcount_bits, err) == 0 &&
        lay_out(&w, err) == 0) {
        result = write_all(&w, options, err) || switch_width(&w, err)
                     ? qcow2_edit_abandon(edit)
                     : 0;
    }
    free(w.is_used);
    return result;
}
