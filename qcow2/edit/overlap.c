/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which cluster holds which metadata, and writes that are checked against it.
 * Room: qcow2/edit.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "edit_impl.h"

#define PART_BITS 4u
#define PART_MASK ((1u << PART_BITS) - 1u)

static const char *part_name(enum qcow2_part part)
{
    static const char *const names[] = {
        [QCOW2_PART_NONE] = "nothing known",
        [QCOW2_PART_HEADER] = "the header",
        [QCOW2_PART_L1] = "the L1 table",
        [QCOW2_PART_L2] = "an L2 table",
        [QCOW2_PART_REFTABLE] = "the refcount table",
        [QCOW2_PART_REFBLOCK] = "a refcount block",
        [QCOW2_PART_SNAPSHOT_TABLE] = "the snapshot table",
        [QCOW2_PART_SNAPSHOT_L1] = "a snapshot's L1 table",
        [QCOW2_PART_BITMAP_DIRECTORY] = "the bitmap directory",
        [QCOW2_PART_BITMAP_TABLE] = "a bitmap's table",
        [QCOW2_PART_BITMAP] = "a bitmap",
    };

    return names[part];
}

void qcow2_edit_parts_fini(struct qcow2_parts *parts)
{
    free(parts->ranges);
    free(parts->slots);
    *parts = (struct qcow2_parts){0};
}

/* ---- Single clusters. */

static size_t slot_of(const struct qcow2_parts *parts, uint64_t cluster)
{
    /* Fibonacci hashing: the high bits of the product are well mixed. */
    uint64_t hash = cluster * 0x9e3779b97f4a7c15ull;
    size_t at = (size_t)(hash >> 32) & (parts->slots_room - 1);

    while (parts->slots[at] != 0 && parts->slots[at] >> PART_BITS != cluster) {
        at = (at + 1) & (parts->slots_room - 1);
    }
    return at;
}

static int slots_grow(struct qcow2_parts *parts, struct img_error *err)
{
    struct qcow2_parts grown = *parts;

    if (parts->slots_nr * 2 < parts->slots_room) {
        return 0;
    }
    grown.slots_room = parts->slots_room ? parts->slots_room * 2 : 256;
    grown.slots = img_calloc(grown.slots_room, sizeof(*grown.slots), err);
    if (!grown.slots) {
        return -1;
    }
    for (size_t i = 0; i < parts->slots_room; i++) {
        if (parts->slots[i] != 0) {
            grown.slots[slot_of(&grown, parts->slots[i] >> PART_BITS)] =
                parts->slots[i];
        }
    }
    free(parts->slots);
    *parts = grown;
    return 0;
}

static int slot_add(struct qcow2_parts *parts, enum qcow2_part part,
                    uint64_t cluster, struct img_error *err)
{
    if (slots_grow(parts, err)) {
        return -1;
    }
    size_t at = slot_of(parts, cluster);

    parts->slots_nr += parts->slots[at] == 0;
    parts->slots[at] = cluster << PART_BITS | part;
    return 0;
}

/* ---- Ranges. */

/* The first range that ends after CLUSTER. */
static size_t range_find(const struct qcow2_parts *parts, uint64_t cluster)
{
    size_t low = 0;
    size_t high = parts->ranges_nr;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (parts->ranges[mid].end <= cluster) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static int range_add(struct qcow2_parts *parts, struct qcow2_part_range range,
                     struct img_error *err)
{
    size_t at = range_find(parts, range.start);

    if (parts->ranges_nr == parts->ranges_room) {
        size_t room = parts->ranges_room ? parts->ranges_room * 2 : 16;
        void *ranges = realloc(parts->ranges, room * sizeof(range));

        if (!ranges) {
            return img_fail_memory(err);
        }
        parts->ranges = ranges;
        parts->ranges_room = room;
    }
    memmove(parts->ranges + at + 1, parts->ranges + at,
            (parts->ranges_nr - at) * sizeof(range));
    parts->ranges[at] = range;
    parts->ranges_nr++;
    return 0;
}

enum qcow2_part qcow2_edit_part_of(const struct qcow2_edit *edit,
                                   uint64_t cluster)
{
    const struct qcow2_parts *parts = &edit->parts;
    size_t at = range_find(parts, cluster);

    if (at < parts->ranges_nr && parts->ranges[at].start <= cluster) {
        return parts->ranges[at].part;
    }
    return parts->slots_room == 0
               ? QCOW2_PART_NONE
               : (enum qcow2_part)(parts->slots[slot_of(parts, cluster)] &
                                   PART_MASK);
}

/* What, if anything, is known of the first known cluster of RANGE. */
static enum qcow2_part range_taken(const struct qcow2_edit *edit,
                                   struct qcow2_part_range range)
{
    const struct qcow2_parts *parts = &edit->parts;
    size_t at = range_find(parts, range.start);

    if (at < parts->ranges_nr && parts->ranges[at].start < range.end) {
        return parts->ranges[at].part;
    }
    for (uint64_t i = range.start; parts->slots_nr > 0 && i < range.end; i++) {
        uint64_t slot = parts->slots[slot_of(parts, i)];

        if (slot != 0) {
            return (enum qcow2_part)(slot & PART_MASK);
        }
    }
    return QCOW2_PART_NONE;
}

static bool is_single(enum qcow2_part part)
{
    return part == QCOW2_PART_L2 || part == QCOW2_PART_REFBLOCK ||
           part == QCOW2_PART_BITMAP;
}

int qcow2_edit_part_add(struct qcow2_edit *edit, enum qcow2_part part,
                        uint64_t off, uint64_t len, struct img_error *err)
{
    struct qcow2_part_range range = {
        .start = qcow2_edit_cluster_of(edit, off),
        .end = qcow2_edit_cluster_of(
            edit, img_align_up(off + len, edit->header.cluster_len)),
        .part = part,
    };
    enum qcow2_part taken = range_taken(edit, range);

    if (range.start == range.end || (taken == part && is_single(part))) {
        return 0;
    }
    if (taken != QCOW2_PART_NONE) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "%s overlaps %s: found both from %" PRIu64
                           " to %" PRIu64,
                           part_name(part), part_name(taken), off, off + len);
    }
    if (!is_single(part)) {
        return range_add(&edit->parts, range, err);
    }
    for (uint64_t i = range.start; i < range.end; i++) {
        if (slot_add(&edit->parts, part, i, err)) {
            return -1;
        }
    }
    return 0;
}

int qcow2_edit_check_guest(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                           struct img_error *err)
{
    uint64_t end = off + len;

    for (uint64_t at = img_align_down(off, edit->header.cluster_len); at < end;
         at += edit->header.cluster_len) {
        enum qcow2_part found =
            qcow2_edit_part_of(edit, qcow2_edit_cluster_of(edit, at));

        if (found != QCOW2_PART_NONE) {
            img_fail_at(err, IMG_CORRUPT, at,
                        "refused to touch a cluster of guest data: found %s "
                        "there",
                        part_name(found));
            return qcow2_edit_mark_corrupt(edit, err);
        }
    }
    return 0;
}

int qcow2_edit_write(struct qcow2_edit *edit, enum qcow2_part part,
                     const void *buf, size_t len, uint64_t off,
                     struct img_error *err)
{
    uint64_t end = off + len;

    for (uint64_t at = off; at < end;
         at = img_align_down(at, edit->header.cluster_len) +
              edit->header.cluster_len) {
        enum qcow2_part found =
            qcow2_edit_part_of(edit, qcow2_edit_cluster_of(edit, at));

        if (found != part) {
            img_fail_at(err, IMG_CORRUPT, at,
                        "refused to write %s: found %s there", part_name(part),
                        part_name(found));
            return qcow2_edit_mark_corrupt(edit, err);
        }
    }
    return img_file_write(edit->file, buf, len, off, err);
}
