/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where guest clusters go (specification: "Cluster mapping", "Extended L2
 * Entries", "External data files").
 *
 * Room: qcow2/fresh. Entries are made in guest order. Without preallocation a
 * cluster that nothing is said of has no entry; with it, it gets a place that
 * reads as zeros (with extended L2: as unallocated, so that a backing file
 * is seen).
 */
#include <inttypes.h>

#include <img/bytes.h>
#include <img/checked.h>

#include "fresh_impl.h"

static uint64_t cluster_floor(const struct qcow2_fresh *fresh, uint64_t off)
{
    return img_align_down(off, fresh->header.cluster_len);
}

static uint64_t cluster_ceil(const struct qcow2_fresh *fresh, uint64_t off)
{
    return img_align_up(off, fresh->header.cluster_len);
}

/* The bits of the subclusters of CLUSTER_OFF's cluster in [BEGIN, END). */
static uint32_t subcluster_bits(const struct qcow2_fresh *fresh,
                                uint64_t cluster_off, uint64_t begin,
                                uint64_t end)
{
    uint64_t from = img_max(begin, cluster_off) - cluster_off;
    uint64_t to =
        img_min(end, cluster_off + fresh->header.cluster_len) - cluster_off;
    uint64_t first = from / fresh->header.subcluster_len;
    uint64_t last = img_div_up(to, fresh->header.subcluster_len);

    return (uint32_t)(((1ull << last) - 1) & ~((1ull << first) - 1));
}

/* Where subclusters are said to be, in the second word of an entry. */
enum {
    SHIFT_ALLOC = 0,
    SHIFT_ZERO = 32,
    SHIFT_NOTHING = 64,
};

/*
 * Say [BEGIN, END) of the guest in the entries: the first cluster's first
 * word is ENTRY, STEP more for each one that follows; the subclusters' bits
 * go where SHIFT says.
 */
static int say(struct qcow2_fresh *fresh, uint64_t begin, uint64_t end,
               uint64_t entry, uint64_t step, unsigned shift,
               struct img_error *err)
{
    bool has_bitmap = fresh->header.has_extended_l2 && shift != SHIFT_NOTHING;
    uint32_t cluster_len = fresh->header.cluster_len;
    uint64_t bits;
    uint8_t *at;

    for (uint64_t off = cluster_floor(fresh, begin); off < end;
         off += cluster_len, entry += step) {
        if (fresh_tables_entry(&fresh->tables, off, &at, err) < 0) {
            return -1;
        }
        img_store_be64(at, entry);
        if (has_bitmap) {
            bits = subcluster_bits(fresh, off, begin, end);
            img_store_be64(at + 8, img_load_be64(at + 8) | bits << shift);
        }
    }
    return 0;
}

/*
 * A place for the clusters of [BEGIN, END), as far as there is one in a row:
 * *end is set to where it ends, *host_off is that of the first cluster.
 */
static int take(struct qcow2_fresh *fresh, uint64_t begin, uint64_t *end,
                uint64_t *host_off, struct img_error *err)
{
    uint32_t bits = fresh->header.cluster_bits;
    uint64_t first = cluster_floor(fresh, begin);
    uint64_t nr = (cluster_ceil(fresh, *end) - first) >> bits;

    if (fresh->data_file != NULL) {
        *host_off = first;
        return 0;
    }
    nr = img_min(nr, fresh_host_run(&fresh->host));
    *end = img_min(*end, first + (nr << bits));
    return fresh_host_take(&fresh->host, nr, host_off, err);
}

/* Give a place to the clusters of [BEGIN, END), multiples of them. */
static int preallocate(struct qcow2_fresh *fresh, uint64_t begin, uint64_t end,
                       struct img_error *err)
{
    while (begin < end) {
        uint64_t run_end = end, host_off;

        if (take(fresh, begin, &run_end, &host_off, err) < 0) {
            return -1;
        }
        if (fresh->data_file == NULL && fresh_wipe(fresh, fresh->file, host_off,
                                                   run_end - begin, err) < 0) {
            return -1;
        }
        if (say(fresh, begin, run_end, host_off | QCOW2_ENTRY_COPIED,
                fresh->header.cluster_len, SHIFT_NOTHING, err) < 0) {
            return -1;
        }
        begin = run_end;
    }
    return 0;
}

int fresh_advance(struct qcow2_fresh *fresh, uint64_t off,
                  struct img_error *err)
{
    uint64_t end = off == fresh->header.virtual_len ? cluster_ceil(fresh, off)
                                                    : cluster_floor(fresh, off);

    if (end > fresh->settled_off) {
        if (fresh->prealloc != QCOW2_PREALLOC_OFF &&
            preallocate(fresh, fresh->settled_off, end, err) < 0) {
            fresh->is_broken = true;
            return -1;
        }
        fresh->settled_off = end;
    }
    fresh->pos = off;
    return 0;
}

/* [.., END) has been dealt with. */
static void settle(struct qcow2_fresh *fresh, uint64_t end)
{
    fresh->pos = end;
    fresh->settled_off = cluster_ceil(fresh, end);
}

static int check_range(const struct qcow2_fresh *fresh, uint64_t off,
                       uint64_t len, uint32_t unit, struct img_error *err)
{
    uint64_t virtual_len = fresh->header.virtual_len;

    if (fresh_check_open(fresh, err) < 0) {
        return -1;
    }
    if (len == 0 || !img_range_fits(off, len, virtual_len) || off % unit != 0 ||
        ((off + len) % unit != 0 && off + len != virtual_len)) {
        return img_fail(err, IMG_USAGE,
                        "new image: found guest range %" PRIu64 " +%" PRIu64
                        ", expected multiples of %" PRIu32 " within %" PRIu64,
                        off, len, unit, virtual_len);
    }
    if (off < fresh->pos) {
        return img_fail(err, IMG_USAGE,
                        "new image: found guest offset %" PRIu64
                        ", expected %" PRIu64 " or more",
                        off, fresh->pos);
    }
    return 0;
}

/* The first word of the entry of the cluster amid which OFF lies, else 0. */
static int find_entry(struct qcow2_fresh *fresh, uint64_t off, uint64_t *entry,
                      struct img_error *err)
{
    uint8_t *at;

    *entry = 0;
    if (off % fresh->header.cluster_len == 0) {
        return 0;
    }
    if (fresh_tables_entry(&fresh->tables, off, &at, err) < 0) {
        return -1;
    }
    *entry = img_load_be64(at);
    return 0;
}

/*
 * What a device has in clusters that are taken, and the caller does not write,
 * shows when the disk is made larger.
 */
static int wipe_end(struct qcow2_fresh *fresh, uint64_t end, uint64_t host_end,
                    struct img_error *err)
{
    if (end % fresh->header.cluster_len == 0 ||
        end != fresh->header.virtual_len || fresh->data_file != NULL) {
        return 0;
    }
    return fresh_wipe(fresh, fresh->file, host_end,
                      cluster_ceil(fresh, end) - end, err);
}

/*
 * A place for [OFF, *END), said in the entries: *end is set to where it ends,
 * *host_off is where OFF goes.
 */
static int place(struct qcow2_fresh *fresh, uint64_t off, uint64_t *end,
                 unsigned shift, uint64_t *host_off, struct img_error *err)
{
    uint32_t cluster_len = fresh->header.cluster_len;
    uint64_t entry, first_off;

    if (find_entry(fresh, off, &entry, err) < 0) {
        return -1;
    }
    if (entry != 0) {
        first_off = entry & QCOW2_ENTRY_OFFSET_MASK;
        *end = img_min(*end, cluster_floor(fresh, off) + cluster_len);
    } else if (take(fresh, off, end, &first_off, err) < 0) {
        return -1;
    }
    *host_off = first_off + off % cluster_len;
    return say(fresh, off, *end, first_off | QCOW2_ENTRY_COPIED, cluster_len,
               shift, err);
}

int qcow2_fresh_data(struct qcow2_fresh *fresh, uint64_t off, uint64_t len,
                     struct qcow2_place *out, struct img_error *err)
{
    uint64_t end = off + len, host_off;

    if (check_range(fresh, off, len, qcow2_fresh_granule(fresh), err) < 0 ||
        fresh_advance(fresh, off, err) < 0) {
        return -1;
    }
    if (place(fresh, off, &end, SHIFT_ALLOC, &host_off, err) < 0 ||
        wipe_end(fresh, end, host_off + (end - off), err) < 0) {
        fresh->is_broken = true;
        return -1;
    }
    settle(fresh, end);
    *out = (struct qcow2_place){
        .file = fresh->data_file != NULL ? fresh->data_file : fresh->file,
        .host_off = host_off,
        .len = end - off,
    };
    return 0;
}

/* Bits of an entry that tell the offset of compressed data. */
static uint32_t compressed_off_bits(const struct qcow2_header *header)
{
    return (uint32_t)img_min(62 - (header->cluster_bits - 8), 56);
}

static int say_compressed(struct qcow2_fresh *fresh, uint64_t off,
                          uint64_t host_off, uint32_t len,
                          struct img_error *err)
{
    struct qcow2_l2_entry entry = {
        .kind = QCOW2_CLUSTER_COMPRESSED,
        .has_host = true,
        .host_off = host_off,
        .host_len = len,
    };
    uint64_t bitmap;

    if (host_off >> compressed_off_bits(&fresh->header) != 0) {
        return img_fail(err, IMG_LIMIT,
                        "compressed cluster: found host offset %" PRIu64
                        ", expected less than 2^%" PRIu32,
                        host_off, compressed_off_bits(&fresh->header));
    }
    return say(fresh, off, off + 1,
               qcow2_l2_encode(&fresh->header, &entry, &bitmap), 0,
               SHIFT_NOTHING, err);
}

int qcow2_fresh_compressed(struct qcow2_fresh *fresh, uint64_t off,
                           uint32_t len, uint64_t *host_off,
                           struct img_error *err)
{
    uint32_t cluster_len = fresh->header.cluster_len;
    uint64_t guest_len = 0;

    if (off < fresh->header.virtual_len) {
        guest_len = img_min(cluster_len, fresh->header.virtual_len - off);
    }
    if (fresh->data_file != NULL) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "compressed cluster: found one with an external data"
                        " file, expected none");
    }
    if (len == 0 || len >= cluster_len) {
        return img_fail(err, IMG_USAGE,
                        "compressed cluster: found %" PRIu32
                        " bytes, expected less than the cluster's %" PRIu32,
                        len, cluster_len);
    }
    if (check_range(fresh, off, guest_len, cluster_len, err) < 0 ||
        fresh_advance(fresh, off, err) < 0) {
        return -1;
    }
    if (fresh_host_pack(&fresh->host, len, host_off, err) < 0 ||
        say_compressed(fresh, off, *host_off, len, err) < 0) {
        fresh->is_broken = true;
        return -1;
    }
    settle(fresh, off + guest_len);
    return 0;
}

/* Zeros of clusters that need no place. */
static int say_zero(struct qcow2_fresh *fresh, uint64_t off, uint64_t *end,
                    struct img_error *err)
{
    uint64_t entry;

    if (find_entry(fresh, off, &entry, err) < 0) {
        return -1;
    }
    if (entry != 0) {
        *end = img_min(*end,
                       cluster_floor(fresh, off) + fresh->header.cluster_len);
    } else if (!fresh->header.has_extended_l2) {
        entry = QCOW2_L2_ZERO;
    }
    return say(fresh, off, *end, entry, 0, SHIFT_ZERO, err);
}

/* Zeros that the backing file must not show through. */
static int hide_backing(struct qcow2_fresh *fresh, uint64_t off, uint64_t end,
                        struct img_error *err)
{
    while (off < end) {
        uint64_t run_end = end, host_off;

        /* Both at once are only had with extended L2. */
        if (fresh->prealloc != QCOW2_PREALLOC_OFF
                ? place(fresh, off, &run_end, SHIFT_ZERO, &host_off, err) < 0
                : say_zero(fresh, off, &run_end, err) < 0) {
            fresh->is_broken = true;
            return -1;
        }
        off = run_end;
    }
    settle(fresh, end);
    return 0;
}

int qcow2_fresh_zero(struct qcow2_fresh *fresh, uint64_t off, uint64_t len,
                     struct img_error *err)
{
    if (check_range(fresh, off, len, qcow2_fresh_granule(fresh), err) < 0) {
        return -1;
    }
    if (fresh->extensions.backing_name == NULL) {
        return fresh_advance(fresh, off + len, err);
    }
    if (fresh->header.version < 3) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "zeros: found a version 2 image with a backing file,"
                        " expected version 3");
    }
    if (fresh_advance(fresh, off, err) < 0) {
        return -1;
    }
    return hide_backing(fresh, off, off + len, err);
}
