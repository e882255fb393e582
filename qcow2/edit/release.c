/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving clusters back. Room: qcow2/edit.
 *
 * A release lowers a refcount in the last step of a commit, when the entry
 * that referred to the cluster is gone for good. The floor of its block then
 * keeps it from being used again in this edit; when the edit is closed, what
 * is free below the floors is discarded.
 */
#include <inttypes.h>
#include <stdlib.h>

#include <img/checked.h>

#include "edit_impl.h"

int qcow2_edit_release(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                       struct img_error *err)
{
    struct qcow2_release *last =
        edit->releases_nr ? &edit->releases[edit->releases_nr - 1] : NULL;
    uint64_t first = qcow2_edit_cluster_of(edit, off);

    if (len == 0) {
        return 0;
    }
    uint64_t nr = qcow2_edit_cluster_of(edit, off + len - 1) - first + 1;
    if (last && last->cluster + last->nr == first) {
        last->nr += nr;
        return 0;
    }
    if (!edit->releases || edit->releases_nr == edit->releases_room) {
        size_t room = edit->releases_room ? edit->releases_room * 2 : 64;
        void *releases = realloc(edit->releases, room * sizeof(*last));

        if (!releases) {
            return img_fail_memory(err);
        }
        edit->releases = releases;
        edit->releases_room = room;
    }
    edit->releases[edit->releases_nr++] = (struct qcow2_release){first, nr};
    return 0;
}

static int release_compare(const void *a, const void *b)
{
    const struct qcow2_release *x = a;
    const struct qcow2_release *y = b;

    return x->cluster < y->cluster ? -1 : x->cluster > y->cluster;
}

static int lower_one(struct qcow2_edit *edit, uint64_t cluster,
                     struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint64_t block_idx = cluster / edit->block_entries;
    uint64_t idx = cluster % edit->block_entries;
    struct qcow2_table *block;

    if (qcow2_edit_block_get(edit, block_idx, &block, err)) {
        return -1;
    }
    uint64_t count = block ? qcow2_refcount_get(header, block->bytes, idx) : 0;
    if (count == 0) {
        img_fail_at(err, IMG_CORRUPT, cluster << header->cluster_bits,
                    "refcount: found 0 for a cluster that was in use, expected "
                    "at least 1");
        return qcow2_edit_mark_corrupt(edit, err);
    }
    qcow2_refcount_set(header, block->bytes, idx, count - 1);
    qcow2_edit_block_touch(edit, block, idx);
    if (count == 1) {
        edit->floors[block_idx] =
            (uint32_t)img_max(edit->floors[block_idx], idx + 1);
    }
    return 0;
}

int qcow2_edit_releases_store(struct qcow2_edit *edit, bool *any,
                              struct img_error *err)
{
    *any = edit->releases_nr > 0;
    if (!*any) {
        return 0;
    }
    qsort(edit->releases, edit->releases_nr, sizeof(*edit->releases),
          release_compare);
    for (size_t i = 0; i < edit->releases_nr; i++) {
        const struct qcow2_release *release = &edit->releases[i];

        for (uint64_t j = 0; j < release->nr; j++) {
            /* In this step blocks may go out as they come. */
            if ((edit->blocks.dirty_nr >= edit->blocks.max_nr / 2 &&
                 qcow2_edit_blocks_store(edit, err)) ||
                lower_one(edit, release->cluster + j, err)) {
                return -1;
            }
        }
    }
    edit->releases_nr = 0;
    return qcow2_edit_blocks_store(edit, err);
}

/* The end of the last cluster in use, in clusters. */
static int end_find(struct qcow2_edit *edit, uint64_t *end,
                    struct img_error *err)
{
    for (uint64_t i = edit->reftable_nr; i > 0; i--) {
        struct qcow2_table *block;

        if (qcow2_edit_block_get(edit, i - 1, &block, err)) {
            return -1;
        }
        for (uint64_t j = block ? edit->block_entries : 0; j > 0; j--) {
            if (qcow2_refcount_get(&edit->header, block->bytes, j - 1) != 0) {
                *end = (i - 1) * edit->block_entries + j;
                return 0;
            }
        }
    }
    *end = 0;
    return 0;
}

int qcow2_edit_cut_end(struct qcow2_edit *edit, struct img_error *err)
{
    uint64_t end;

    if (end_find(edit, &end, err)) {
        return -1;
    }
    end <<= edit->header.cluster_bits;
    if (end == 0 || end >= img_file_len(edit->file) ||
        img_file_kind(edit->file) == IMG_FILE_BLOCK) {
        return 0;
    }
    return img_file_resize(edit->file, end, err);
}

/* What is free of block IDX below its floor. */
static void block_discard(struct qcow2_edit *edit, uint64_t idx)
{
    uint64_t first = idx * edit->block_entries;
    uint32_t bits = edit->header.cluster_bits;
    struct qcow2_table *block;
    struct img_error ignored;
    uint64_t run = 0;

    if (qcow2_edit_block_get(edit, idx, &block, &ignored) || !block) {
        return;
    }
    for (uint64_t i = 0; i <= edit->floors[idx]; i++) {
        if (i < edit->floors[idx] &&
            qcow2_refcount_get(&edit->header, block->bytes, i) == 0) {
            run++;
        } else if (run > 0) {
            img_file_discard(edit->file, (first + i - run) << bits,
                             run << bits);
            run = 0;
        }
    }
}

void qcow2_edit_discard_free(struct qcow2_edit *edit)
{
    for (uint64_t i = 0; i < edit->reftable_nr; i++) {
        if (edit->floors[i] > 0) {
            block_discard(edit, i);
        }
    }
}
