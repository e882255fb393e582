/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zero clusters written out, for version 2 (specification: "Standard Cluster
 * Descriptor", bit 0).
 *
 * Room: qcow2/edit. Every L2 table, the active ones and the snapshots', is
 * changed once and in place, shared or not: for all who refer to it an entry
 * shows zeros before and after. Without a backing file an entry becomes empty;
 * else it gets a cluster of zeros, counted as often as the table is. Zeros and
 * refcounts are stable before the entries, entries before what they gave up
 * loses its refcount.
 */
#include "amend.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

/* The L2 tables of an image. */
struct table_list {
    uint64_t *off;
    size_t nr, room;
};

static int list_add(struct table_list *list, uint64_t off,
                    struct img_error *err)
{
    if (list->nr == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        uint64_t *offs = reallocarray(list->off, room, sizeof(*offs));

        if (!offs) {
            return img_fail_memory(err);
        }
        list->off = offs;
        list->room = room;
    }
    list->off[list->nr++] = off;
    return 0;
}

static int list_snapshot(struct qcow2_edit *edit, size_t idx,
                         struct table_list *list, struct img_error *err)
{
    uint64_t l1_off;
    uint32_t entries;
    IMG_AUTO(img_free_ptr) uint8_t *l1 = NULL;

    qcow2_image_snapshot_l1(edit->image, idx, &l1_off, &entries);
    l1 = img_calloc((size_t)entries + 1, 8, err);
    if (!l1 || img_file_read_padded(edit->file, l1, (size_t)entries * 8, l1_off,
                                    NULL, err)) {
        return -1;
    }
    for (uint32_t i = 0; i < entries; i++) {
        struct qcow2_l1_entry entry;

        if (qcow2_l1_decode(&edit->header, img_load_be64(l1 + (size_t)i * 8),
                            img_file_len(edit->file), &entry, err)) {
            err->has_off = true;
            err->off = l1_off + (uint64_t)i * 8;
            return -1;
        }
        if (entry.l2_off != 0 &&
            (list_add(list, entry.l2_off, err) ||
             qcow2_edit_part_add(edit, QCOW2_PART_L2, entry.l2_off,
                                 edit->header.cluster_len, err))) {
            return -1;
        }
    }
    return 0;
}

static int compare_offs(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Those from FIRST on. */
static void make_unique(struct table_list *list, size_t first)
{
    size_t nr = first;

    if (list->nr > first) {
        qsort(list->off + first, list->nr - first, sizeof(*list->off),
              compare_offs);
    }
    for (size_t i = first; i < list->nr; i++) {
        if (nr == first || list->off[nr - 1] != list->off[i]) {
            list->off[nr++] = list->off[i];
        }
    }
    list->nr = nr;
}

/*
 * The active ones first: while one of them refers to a place that a snapshot
 * has as well, its refcount must not become 1, which asks for a COPIED flag.
 * A table that comes twice has no zero clusters left the second time.
 */
static int list_tables(struct qcow2_edit *edit, struct table_list *list,
                       struct img_error *err)
{
    size_t active_nr;

    for (uint32_t i = 0; i < edit->header.l1_entries; i++) {
        uint64_t off = edit->l1[i] & QCOW2_ENTRY_OFFSET_MASK;

        if (off != 0 && list_add(list, off, err)) {
            return -1;
        }
    }
    active_nr = list->nr;
    for (size_t i = 0; i < edit->image->snapshots_nr; i++) {
        if (list_snapshot(edit, i, list, err)) {
            return -1;
        }
    }
    make_unique(list, active_nr);
    return 0;
}

/* One table that is being changed. */
struct expansion {
    struct qcow2_edit *edit;
    uint64_t off;
    uint64_t refs; /* how often the table is referred to */
    uint8_t *bytes, *before;
    uint32_t first, last; /* entries that changed; first > last: none */
};

/* A cluster of zeros that is counted REFS times. */
static int new_zeros(struct expansion *x, uint64_t *host_off,
                     struct img_error *err)
{
    struct qcow2_edit *edit = x->edit;
    uint32_t cluster_len = edit->header.cluster_len;

    if (qcow2_edit_alloc(edit, 1, QCOW2_PART_NONE, host_off, err)) {
        return -1;
    }
    for (uint64_t i = 1; i < x->refs; i++) {
        if (qcow2_edit_refcount_raise(
                edit, qcow2_edit_cluster_of(edit, *host_off), 1, err)) {
            return -1;
        }
    }
    return img_file_zero(edit->file, *host_off, cluster_len, IMG_ZERO_UNMAP,
                         err);
}

/* A preallocated place that nobody else has can be used. */
static int own_place(struct expansion *x, const struct qcow2_l2_entry *entry,
                     bool *is_own, struct img_error *err)
{
    struct qcow2_edit *edit = x->edit;
    uint64_t count;

    *is_own = false;
    if (!entry->has_host || x->refs != 1) {
        return 0;
    }
    if (qcow2_edit_refcount_get(
            edit, qcow2_edit_cluster_of(edit, entry->host_off), &count, err)) {
        return -1;
    }
    *is_own = count == 1;
    return *is_own ? img_file_zero(edit->file, entry->host_off,
                                   edit->header.cluster_len, IMG_ZERO_KEEP, err)
                   : 0;
}

static int expand_entry(struct expansion *x, struct qcow2_l2_entry *entry,
                        struct img_error *err)
{
    struct qcow2_l2_entry out = {.kind = QCOW2_CLUSTER_UNALLOCATED};
    bool is_own = false;

    if (entry->has_host &&
        qcow2_edit_check_guest(x->edit, entry->host_off,
                               x->edit->header.cluster_len, err)) {
        return -1;
    }
    if (x->edit->extensions.backing_name) {
        if (own_place(x, entry, &is_own, err)) {
            return -1;
        }
        out = (struct qcow2_l2_entry){
            .kind = QCOW2_CLUSTER_DATA,
            .is_copied = x->refs == 1,
            .has_host = true,
            .host_off = entry->host_off,
        };
        if (!is_own && new_zeros(x, &out.host_off, err)) {
            return -1;
        }
    }
    *entry = out;
    return 0;
}

static int decode_entry(const struct expansion *x, const uint8_t *bytes,
                        uint32_t i, struct qcow2_l2_entry *out,
                        struct img_error *err)
{
    struct qcow2_edit *edit = x->edit;
    /* Clusters that were just set aside may lie behind the end. */
    uint64_t limit = img_max(img_file_len(edit->file),
                             edit->hint << edit->header.cluster_bits);

    if (qcow2_l2_decode(&edit->header, img_load_be64(bytes + (size_t)i * 8), 0,
                        0, limit, out, err)) {
        err->has_off = true;
        err->off = x->off + (uint64_t)i * 8;
        return -1;
    }
    return 0;
}

static int expand_entries(struct expansion *x, struct img_error *err)
{
    const struct qcow2_header *h = &x->edit->header;

    x->first = h->l2_entries;
    x->last = 0;
    for (uint32_t i = 0; i < h->l2_entries; i++) {
        struct qcow2_l2_entry entry;
        uint64_t ignored;

        if (decode_entry(x, x->bytes, i, &entry, err)) {
            return -1;
        }
        if (entry.kind != QCOW2_CLUSTER_ZERO) {
            continue;
        }
        if (expand_entry(x, &entry, err)) {
            return -1;
        }
        img_store_be64(x->bytes + (size_t)i * 8,
                       qcow2_l2_encode(h, &entry, &ignored));
        x->first = i < x->first ? i : x->first;
        x->last = i;
    }
    return 0;
}

/* What the entries had before and have no more. */
static int release_places(struct expansion *x, struct img_error *err)
{
    for (uint32_t i = x->first; i <= x->last; i++) {
        struct qcow2_l2_entry was, is;

        if (decode_entry(x, x->before, i, &was, err) ||
            decode_entry(x, x->bytes, i, &is, err)) {
            return -1;
        }
        if (was.kind != QCOW2_CLUSTER_ZERO || !was.has_host ||
            (is.has_host && is.host_off == was.host_off)) {
            continue;
        }
        for (uint64_t ref = 0; ref < x->refs; ref++) {
            if (qcow2_edit_release(x->edit, was.host_off,
                                   x->edit->header.cluster_len, err)) {
                return -1;
            }
        }
    }
    return qcow2_edit_commit(x->edit, err);
}

static int store_entries(struct expansion *x, struct img_error *err)
{
    uint64_t start = img_align_down((uint64_t)x->first * 8, QCOW2_SECTOR_LEN);
    uint64_t end = img_align_up((uint64_t)(x->last + 1) * 8, QCOW2_SECTOR_LEN);

    return qcow2_edit_commit(x->edit, err) || qcow2_edit_flush(x->edit, err) ||
                   qcow2_edit_write(x->edit, QCOW2_PART_L2, x->bytes + start,
                                    end - start, x->off + start, err) ||
                   qcow2_edit_flush(x->edit, err)
               ? -1
               : 0;
}

static int expand_table(struct expansion *x, struct img_error *err)
{
    struct qcow2_edit *edit = x->edit;
    uint32_t cluster_len = edit->header.cluster_len;

    if (qcow2_edit_refcount_get(edit, qcow2_edit_cluster_of(edit, x->off),
                                &x->refs, err) ||
        img_file_read_padded(edit->file, x->bytes, cluster_len, x->off, NULL,
                             err)) {
        return -1;
    }
    memcpy(x->before, x->bytes, cluster_len);
    if (expand_entries(x, err)) {
        return -1;
    }
    if (x->first > x->last) {
        return 0;
    }
    return store_entries(x, err) || release_places(x, err) ? -1 : 0;
}

static int expand_list(struct qcow2_edit *edit, const struct table_list *list,
                       const struct qcow2_amend_options *options,
                       struct img_error *err)
{
    uint32_t cluster_len = edit->header.cluster_len;
    IMG_AUTO(img_free_ptr) uint8_t *bytes = img_calloc(1, cluster_len, err);
    IMG_AUTO(img_free_ptr) uint8_t *before = img_calloc(1, cluster_len, err);
    struct expansion x = {.edit = edit, .bytes = bytes, .before = before};

    if (!bytes || !before) {
        return -1;
    }
    for (size_t i = 0; i < list->nr; i++) {
        if (options->progress) {
            options->progress(options->opaque, i, list->nr);
        }
        x.off = list->off[i];
        if (qcow2_edit_check_usable(edit, err) || expand_table(&x, err)) {
            return -1;
        }
    }
    if (options->progress) {
        options->progress(options->opaque, list->nr, list->nr);
    }
    return 0;
}

int qcow2_edit_expand_zeros(struct qcow2_edit *edit,
                            const struct qcow2_amend_options *options,
                            struct img_error *err)
{
    struct table_list list = {0};
    int result = list_tables(edit, &list, err);

    /* Tables are changed behind the cache's back. */
    qcow2_cache_drop(&edit->l2, NULL);
    if (result == 0) {
        result = expand_list(edit, &list, options, err);
    }
    free(list.off);
    return result == 0 ? 0 : qcow2_edit_abandon(edit);
}
