/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A header that is not refused, tables that are clean: see sound.h. */
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "sound.h"

#define OFFSET_MASK 0x00fffffffffffe00ull
#define COPIED (1ull << 63)
#define COMPRESSED (1ull << 62)
#define ZERO 1ull

/* So many tables are walked: L1 entries may name one table over and over. */
#define TABLES_MAX 1024u
#define SNAPSHOTS_MAX 16u
#define BITMAPS_MAX 16u

enum role {
    ROLE_HEADER = 1,
    ROLE_L1 = 2,
    ROLE_L2 = 4,
    ROLE_REFTABLE = 8,
    ROLE_REFBLOCK = 16,
    ROLE_SNAPSHOTS = 32,
    ROLE_BITMAPS = 64,
    ROLE_DATA = 128,
    ROLE_COMPRESSED = 256,
};

struct walk {
    uint8_t *data;
    size_t len;
    bool is_fixing;  /* bad entries become 0 */
    bool is_marking; /* second pass: COPIED is set, nothing is counted */
    bool is_active;  /* the table is the active one's */
    bool is_bad;     /* too much, or not to be put right */
    bool has_data_file, is_extended;
    uint32_t version, cluster_bits, cluster_len, refcount_bits;
    size_t nr; /* clusters */
    uint32_t *counts;
    uint16_t *roles;
    uint8_t *owners; /* active entries that own the cluster: 0, 1 or more */
    unsigned tables;
};

static uint64_t load(const struct walk *w, uint64_t off, unsigned width)
{
    return off < w->len && width <= w->len - off
               ? field_load(w->data + off, width)
               : 0;
}

static void store(struct walk *w, uint64_t off, unsigned width, uint64_t value)
{
    if (off < w->len && width <= w->len - off) {
        field_store(w->data + off, width, value);
    }
}

/* [OFF, OFF + LEN) is referred to once more. */
static void refer(struct walk *w, uint64_t off, uint64_t len, unsigned role)
{
    uint64_t idx = off / w->cluster_len;

    if (w->is_marking || len == 0) {
        return;
    }
    if (off >= w->len || len > w->len - off + w->cluster_len) {
        w->is_bad = true;
        return;
    }
    for (; idx <= (off + len - 1) / w->cluster_len && idx < w->nr; idx++) {
        w->counts[idx]++;
        w->roles[idx] = (uint16_t)(w->roles[idx] | role);
        if (w->is_active && (role & (ROLE_L2 | ROLE_DATA))) {
            w->owners[idx] = w->owners[idx] ? 2 : 1;
        }
    }
}

static bool leads_nowhere(const struct walk *w, uint64_t off)
{
    return off % w->cluster_len != 0 || off >= w->len;
}

static uint64_t with_copied(const struct walk *w, uint64_t entry)
{
    uint64_t idx = (entry & OFFSET_MASK) / w->cluster_len;

    entry &= ~COPIED;
    return w->is_active && idx < w->nr && w->counts[idx] == 1 ? entry | COPIED
                                                              : entry;
}

static void walk_compressed(struct walk *w, uint64_t at, uint64_t entry)
{
    unsigned shift = 62 - (w->cluster_bits - 8);
    uint64_t off = entry & ((1ull << shift) - 1);
    uint64_t sectors = (entry >> shift & ((1ull << (62 - shift)) - 1)) + 1;
    uint64_t end = (off & ~511ull) + sectors * 512;

    if (w->is_fixing && (w->has_data_file || off >= w->len)) {
        store(w, at, 8, 0);
        return;
    }
    if (w->is_fixing && end > w->len) {
        /* The last one may pass the end by some sectors, not by clusters. */
        sectors = (w->len - (off & ~511ull) + 511) / 512;
        end = (off & ~511ull) + sectors * 512;
        entry = COMPRESSED | (sectors - 1) << shift | off;
    }
    if (w->is_fixing) {
        store(w, at, 8, entry & ~COPIED);
    }
    refer(w, off & ~511ull, end - (off & ~511ull), ROLE_COMPRESSED);
}

static void fix_subclusters(struct walk *w, uint64_t at, bool has_place)
{
    uint64_t subs = load(w, at, 8);
    uint32_t alloc = has_place ? (uint32_t)subs : 0;
    uint32_t zero = (uint32_t)(subs >> 32) & ~alloc;

    store(w, at, 8, (uint64_t)zero << 32 | alloc);
}

static void walk_l2_entry(struct walk *w, uint64_t at)
{
    uint64_t entry = load(w, at, 8);
    uint64_t off = entry & OFFSET_MASK;

    if (entry & COMPRESSED) {
        walk_compressed(w, at, entry);
        if (w->is_fixing && w->is_extended) {
            store(w, at + 8, 8, 0);
        }
        return;
    }
    if (w->is_fixing) {
        bool keeps_zero = w->version == 3 && !w->is_extended;

        entry &= COPIED | OFFSET_MASK | (keeps_zero ? ZERO : 0);
        if (off == 0 || (!w->has_data_file && leads_nowhere(w, off))) {
            entry &= keeps_zero ? ZERO : 0;
        }
        off = entry & OFFSET_MASK;
        if (!w->has_data_file && off != 0 && w->is_marking) {
            entry = with_copied(w, entry);
        }
        store(w, at, 8, entry);
        if (w->is_extended) {
            fix_subclusters(w, at + 8, off != 0);
        }
    }
    if (off != 0 && !w->has_data_file) {
        refer(w, off, w->cluster_len, ROLE_DATA);
    }
}

static void walk_l1(struct walk *w, uint64_t l1_off, uint64_t entries)
{
    unsigned step = w->is_extended ? 16 : 8;

    refer(w, l1_off, entries * 8, ROLE_L1);
    for (uint64_t i = 0; i < entries && l1_off + i * 8 < w->len; i++) {
        uint64_t entry = load(w, l1_off + i * 8, 8);
        uint64_t off = entry & OFFSET_MASK;

        if (w->is_fixing) {
            entry = leads_nowhere(w, off) ? 0 : entry & (COPIED | OFFSET_MASK);
            if (w->is_marking && entry != 0) {
                entry = with_copied(w, entry);
            }
            store(w, l1_off + i * 8, 8, entry);
            off = entry & OFFSET_MASK;
        }
        if (off == 0) {
            continue;
        }
        if (w->tables++ == TABLES_MAX) {
            w->is_bad = true;
            return;
        }
        refer(w, off, w->cluster_len, ROLE_L2);
        for (uint64_t at = 0; at < w->cluster_len; at += step) {
            walk_l2_entry(w, off + at);
        }
    }
}

static void walk_snapshots(struct walk *w)
{
    uint64_t first = load(w, HEADER_SNAPSHOTS_OFF, 8);
    uint64_t nr = load(w, HEADER_SNAPSHOTS_NR, 4);
    uint64_t off = first;

    w->is_bad |= nr > SNAPSHOTS_MAX;
    for (uint64_t i = 0; i < nr && !w->is_bad; i++) {
        walk_l1(w, load(w, off, 8), load(w, off + 8, 4));
        off += 40 + load(w, off + 12, 2) + load(w, off + 14, 2) +
               load(w, off + 36, 4);
        off = (off + 7) & ~7ull;
    }
    refer(w, first, nr > 0 ? off - first : 0, ROLE_SNAPSHOTS);
}

static void walk_bitmaps(struct walk *w, uint64_t at)
{
    uint64_t nr = load(w, at, 4);
    uint64_t len = load(w, at + 8, 8);
    uint64_t off = load(w, at + 16, 8);

    refer(w, off, len, ROLE_BITMAPS);
    w->is_bad |= nr > BITMAPS_MAX;
    for (uint64_t i = 0; i < nr && !w->is_bad; i++) {
        uint64_t table = load(w, off, 8);
        uint64_t entries = load(w, off + 8, 4);

        refer(w, table, entries * 8, ROLE_BITMAPS);
        for (uint64_t e = 0; e < entries && !w->is_bad; e++) {
            uint64_t cluster = load(w, table + e * 8, 8) & OFFSET_MASK;

            refer(w, cluster, cluster ? w->cluster_len : 0, ROLE_BITMAPS);
        }
        off += 24 + load(w, off + 18, 2) + load(w, off + 20, 4);
        off = (off + 7) & ~7ull;
    }
}

static void walk_extensions(struct walk *w)
{
    uint64_t off = w->version == 2 ? 72 : load(w, HEADER_HEADER_LEN, 4);
    bool has_bitmaps = load(w, HEADER_AUTOCLEAR, 8) & 1;

    for (unsigned i = 0; i < 32 && off + 8 <= w->cluster_len; i++) {
        uint32_t type = (uint32_t)load(w, off, 4);

        if (type == 0) {
            return;
        }
        if (type == 0x23852875 && w->version == 3 && has_bitmaps) {
            walk_bitmaps(w, off + 8);
        } else if (type == 0x0537be77) {
            refer(w, load(w, off + 8, 8), load(w, off + 16, 8), ROLE_HEADER);
        }
        off += 8 + ((load(w, off + 4, 4) + 7) & ~7ull);
    }
}

static void walk_refcounts(struct walk *w)
{
    uint64_t off = load(w, HEADER_REFTABLE_OFF, 8);
    uint64_t len = load(w, HEADER_REFTABLE_CLUSTERS, 4) * w->cluster_len;

    refer(w, off, len, ROLE_REFTABLE);
    for (uint64_t at = 0; at < len && off + at < w->len; at += 8) {
        uint64_t block = load(w, off + at, 8);

        if (w->is_fixing && leads_nowhere(w, block)) {
            store(w, off + at, 8, 0);
            block = 0;
        }
        refer(w, block, block ? w->cluster_len : 0, ROLE_REFBLOCK);
    }
}

static void walk_all(struct walk *w)
{
    w->tables = 0;
    refer(w, 0, w->cluster_len, ROLE_HEADER);
    w->is_active = true;
    walk_l1(w, load(w, HEADER_L1_OFF, 8), load(w, HEADER_L1_ENTRIES, 4));
    w->is_active = false;
    walk_snapshots(w);
    walk_extensions(w);
    walk_refcounts(w);
}

static void walk_fini(struct walk *w)
{
    free(w->counts);
    free(w->roles);
    free(w->owners);
}

/* False: there is nothing to be walked. Release with walk_fini. */
static bool walk_init(struct walk *w, uint8_t *data, size_t len)
{
    uint64_t order;

    memset(w, 0, sizeof(*w));
    w->data = data;
    w->len = len;
    if (len < 512) {
        return false;
    }
    w->version = (uint32_t)load(w, HEADER_VERSION, 4);
    w->cluster_bits = (uint32_t)load(w, HEADER_CLUSTER_BITS, 4);
    order = w->version == 3 ? load(w, HEADER_REFCOUNT_ORDER, 4) : 4;
    if (w->version < 2 || w->version > 3 || w->cluster_bits < 9 ||
        w->cluster_bits > 21 || order > 6) {
        return false;
    }
    w->cluster_len = 1u << w->cluster_bits;
    w->refcount_bits = 1u << order;
    if (w->version == 3) {
        uint64_t incompatible = load(w, HEADER_INCOMPATIBLE, 8);

        w->is_extended = incompatible & 16;
        w->has_data_file = incompatible & 4;
    }
    w->nr = (len + w->cluster_len - 1) / w->cluster_len;
    w->counts = calloc(w->nr, sizeof(*w->counts));
    w->roles = calloc(w->nr, sizeof(*w->roles));
    w->owners = calloc(w->nr, 1);
    return w->counts && w->roles && w->owners;
}

static void refcount_store(struct walk *w, uint64_t block, uint64_t idx,
                           uint64_t value)
{
    unsigned bits = w->refcount_bits;

    if (bits >= 8) {
        store(w, block + idx * (bits / 8), bits / 8, value);
    } else {
        uint64_t at = block + idx * bits / 8;
        unsigned shift = (unsigned)(idx * bits % 8);
        uint64_t mask = ((1ull << bits) - 1) << shift;

        store(w, at, 1, (load(w, at, 1) & ~mask) | value << shift);
    }
}

/* Can every count be written where it belongs, and harms nothing there? */
static bool can_be_counted(const struct walk *w)
{
    uint64_t table = load(w, HEADER_REFTABLE_OFF, 8);
    uint64_t table_len = load(w, HEADER_REFTABLE_CLUSTERS, 4) * w->cluster_len;
    uint64_t per_block = (uint64_t)w->cluster_len * 8 / w->refcount_bits;

    for (uint64_t i = 0; i < w->nr; i++) {
        uint64_t at = i / per_block * 8;

        if (w->counts[i] != 0 &&
            (at >= table_len || load(w, table + at, 8) == 0)) {
            return false;
        }
        if (w->refcount_bits < 32 && w->counts[i] >> w->refcount_bits != 0) {
            return false;
        }
        if ((w->roles[i] & ROLE_REFBLOCK) &&
            (w->roles[i] != ROLE_REFBLOCK || w->counts[i] != 1)) {
            return false;
        }
    }
    return true;
}

static void write_counts(struct walk *w)
{
    uint64_t table = load(w, HEADER_REFTABLE_OFF, 8);
    uint64_t table_len = load(w, HEADER_REFTABLE_CLUSTERS, 4) * w->cluster_len;
    uint64_t per_block = (uint64_t)w->cluster_len * 8 / w->refcount_bits;

    for (uint64_t i = 0; i < w->nr; i++) {
        if (w->roles[i] == ROLE_REFBLOCK) {
            size_t at = i * w->cluster_len;
            size_t left = w->len - at;

            memset(w->data + at, 0,
                   left < w->cluster_len ? left : w->cluster_len);
        }
    }
    for (uint64_t i = 0; i < w->nr && i / per_block * 8 < table_len; i++) {
        uint64_t block = load(w, table + i / per_block * 8, 8);

        if (block != 0) {
            refcount_store(w, block, i % per_block, w->counts[i]);
        }
    }
}

bool sound_tables(uint8_t *data, size_t len)
{
    struct walk w;
    bool is_done = false;

    if (walk_init(&w, data, len)) {
        w.is_fixing = true;
        walk_all(&w);
        if (!w.is_bad && can_be_counted(&w)) {
            write_counts(&w);
            w.is_marking = true;
            walk_all(&w);
            is_done = true;
        }
    }
    walk_fini(&w);
    return is_done;
}

/*
 * Are clusters counted that lie beyond the end of the file? No check looks
 * there; when the file grows they are leaks that nobody made.
 */
static bool counts_beyond(const struct walk *w)
{
    uint64_t table = load(w, HEADER_REFTABLE_OFF, 8);
    uint64_t table_len = load(w, HEADER_REFTABLE_CLUSTERS, 4) * w->cluster_len;
    uint64_t per_block = (uint64_t)w->cluster_len * 8 / w->refcount_bits;

    for (uint64_t at = 0; at < table_len && table + at < w->len; at += 8) {
        uint64_t block = load(w, table + at, 8);
        uint64_t first = at / 8 * per_block;
        uint64_t skip = w->nr > first ? w->nr - first : 0;
        uint64_t bit = skip * w->refcount_bits;

        for (; block != 0 && bit / 8 < w->cluster_len; bit = (bit | 7) + 1) {
            if (load(w, block + bit / 8, 1) >> bit % 8 != 0) {
                return true;
            }
        }
    }
    return false;
}

bool sound_is_layered(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    struct walk w;
    bool is_layered = false;

    if (copy == NULL) {
        return false;
    }
    memcpy(copy, data, len);
    if (walk_init(&w, copy, len)) {
        walk_all(&w);
        is_layered = !w.is_bad && !counts_beyond(&w);
        for (size_t i = 0; i < w.nr; i++) {
            is_layered &= (w.roles[i] & (w.roles[i] - 1)) == 0;
            is_layered &= w.owners[i] <= 1;
        }
    }
    walk_fini(&w);
    free(copy);
    return is_layered;
}

bool sound_has_data_file(const uint8_t *data, size_t len)
{
    return len >= 112 && data[HEADER_VERSION + 3] == 3 &&
           (data[HEADER_INCOMPATIBLE + 7] & 4);
}
