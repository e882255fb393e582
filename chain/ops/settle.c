/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settling without reading: see settle.h.
 *
 * A place in a file is the file's identity (device and inode) and the offset
 * from the file's own beginning, whatever slice of it an image is.
 */
#include "settle.h"

#include <string.h>

#include <img/checked.h>

void chain_stretch_skip(struct chain_stretch *stretch, uint64_t skip)
{
    struct img_extent *e = &stretch->e;

    e->guest_off += skip;
    e->len -= skip;
    if (e->has_host && e->kind != IMG_EXTENT_COMPRESSED) {
        e->host_off += skip;
    }
}

/* Where a place begins and how far the file it is in goes, both counted from
   the beginning of the file on disk. */
static uint64_t absolute_off(const struct img_extent *e, uint64_t *file_end)
{
    uint64_t base = 0;

    (void)img_file_fd(e->file, &base);
    *file_end = base + img_file_len(e->file);
    return base + e->host_off;
}

static bool is_same_place(const struct img_extent *a,
                          const struct img_extent *b, uint64_t len)
{
    uint64_t a_end, b_end;

    if (a->file == b->file) {
        return a->host_off == b->host_off;
    }
    if (!img_file_is_same(a->file, b->file)) {
        return false;
    }
    uint64_t off = absolute_off(a, &a_end);
    /* Past its end each file reads as zeros: slices may end differently. */
    return off == absolute_off(b, &b_end) &&
           (a_end == b_end || img_range_fits(off, len, img_min(a_end, b_end)));
}

/* The same stored unit, seen at the same place of what it inflates to. */
static bool is_same_unit(const struct chain_stretch *a,
                         const struct chain_stretch *b)
{
    return a->e.unit_len == b->e.unit_len &&
           a->e.guest_off - a->e.unit_guest_off ==
               b->e.guest_off - b->e.unit_guest_off &&
           strcmp(a->image->format, b->image->format) == 0;
}

static bool is_same(const struct chain_stretch *a,
                    const struct chain_stretch *b, uint64_t len)
{
    if (a->e.kind != b->e.kind || !a->e.has_host || !b->e.has_host ||
        !a->e.file || !b->e.file) {
        return false;
    }
    if (a->e.kind == IMG_EXTENT_COMPRESSED) {
        return is_same_place(&a->e, &b->e, a->e.host_len) && is_same_unit(a, b);
    }
    return a->e.kind == IMG_EXTENT_DATA && is_same_place(&a->e, &b->e, len);
}

int chain_settle_hole(struct chain_stretch *stretch, uint64_t *len,
                      struct img_error *err)
{
    struct img_extent *e = &stretch->e;
    bool is_hole;
    uint64_t run;

    if (e->kind != IMG_EXTENT_DATA || !e->reads_as_hole || !e->file) {
        return 0;
    }
    if (img_file_next_hole(e->file, e->host_off, *len, &is_hole, &run, err) !=
        0) {
        img_error_set_path(err, img_file_path(e->file));
        return -1;
    }
    if (run == 0) {
        return 0;
    }
    *len = img_min(*len, run);
    if (is_hole) {
        e->kind = IMG_EXTENT_ZERO;
    }
    return 0;
}

static bool is_zero(const struct chain_stretch *stretch)
{
    return stretch->e.kind == IMG_EXTENT_ZERO;
}

static bool is_plain(const struct chain_stretch *stretch)
{
    return stretch->e.kind == IMG_EXTENT_DATA && stretch->e.file;
}

int chain_settle(const struct chain_settler *settler, struct chain_stretch *a,
                 struct chain_stretch *b, enum chain_settled *out,
                 uint64_t *len, struct img_error *err)
{
    *len = img_min(a->e.len, b->e.len);
    *out = CHAIN_SETTLED_NOT;
    if (!settler->no_identity && is_same(a, b, *len)) {
        *out = CHAIN_SETTLED_SAME_FILE;
        return 0;
    }
    if (chain_settle_hole(a, len, err) != 0 ||
        chain_settle_hole(b, len, err) != 0) {
        return -1;
    }
    if (is_zero(a) && is_zero(b)) {
        *out = CHAIN_SETTLED_BOTH_ZERO;
    } else if (settler->physical && is_plain(a) && is_plain(b)) {
        uint64_t run;
        if (chain_physical_is_shared(settler->physical, a->e.file,
                                     a->e.host_off, b->e.file, b->e.host_off,
                                     *len, &run)) {
            *out = CHAIN_SETTLED_SHARED;
        }
        *len = run;
    }
    return 0;
}
