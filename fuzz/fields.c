/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding the fields of an image: see fields.h. */
#include <string.h>

#include "fields.h"

/* More of each says nothing new, and would crowd out the others. */
#define EXTENSIONS_MAX 32u
#define TABLE_MAX 64u
#define LIST_MAX 8u
#define TEXT_MAX 64u

#define OFFSET_MASK 0x00fffffffffffe00ull

struct header_field {
    uint8_t off, width, kind;
};
static const struct header_field header_fields[] = {
    {HEADER_VERSION, 4, FIELD_NUMBER},
    {HEADER_BACKING_OFF, 8, FIELD_POINTER},
    {HEADER_BACKING_LEN, 4, FIELD_LEN},
    {HEADER_CLUSTER_BITS, 4, FIELD_NUMBER},
    {HEADER_SIZE, 8, FIELD_LEN},
    {HEADER_CRYPT, 4, FIELD_NUMBER},
    {HEADER_L1_ENTRIES, 4, FIELD_NUMBER},
    {HEADER_L1_OFF, 8, FIELD_POINTER},
    {HEADER_REFTABLE_OFF, 8, FIELD_POINTER},
    {HEADER_REFTABLE_CLUSTERS, 4, FIELD_NUMBER},
    {HEADER_SNAPSHOTS_NR, 4, FIELD_NUMBER},
    {HEADER_SNAPSHOTS_OFF, 8, FIELD_POINTER},
    /* Version 3 from here on. */
    {HEADER_INCOMPATIBLE, 8, FIELD_FLAGS},
    {HEADER_COMPATIBLE, 8, FIELD_FLAGS},
    {HEADER_AUTOCLEAR, 8, FIELD_FLAGS},
    {HEADER_REFCOUNT_ORDER, 4, FIELD_NUMBER},
    {HEADER_HEADER_LEN, 4, FIELD_LEN},
    {HEADER_COMPRESSION, 1, FIELD_NUMBER},
};

uint64_t field_load(const uint8_t *p, unsigned width)
{
    uint64_t value = 0;

    while (width-- > 0) {
        value = value << 8 | *p++;
    }
    return value;
}

void field_store(uint8_t *p, unsigned width, uint64_t value)
{
    while (width-- > 0) {
        p[width] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t load(const struct fields *f, uint64_t off, unsigned width)
{
    return off < f->len && width <= f->len - off
               ? field_load(f->data + off, width)
               : 0;
}

/* False: it does not lie in the image, or there are enough. */
static bool add(struct fields *f, uint64_t off, unsigned width, int kind)
{
    if (off >= f->len || width > f->len - off || f->nr == FIELDS_MAX) {
        return false;
    }
    f->items[f->nr++] =
        (struct field){(uint32_t)off, (uint8_t)width, (uint8_t)kind};
    f->of_kind[kind]++;
    return true;
}

static void add_text(struct fields *f, uint64_t off, uint64_t len)
{
    for (uint64_t i = 0; i < len && i < TEXT_MAX; i++) {
        add(f, off + i, 1, FIELD_TEXT);
    }
}

/* The used entries of a table, and some of the others. */
static void add_l2(struct fields *f, uint64_t off)
{
    unsigned nr = f->cluster_len / f->l2_entry_len;

    for (unsigned i = 0, added = 0; i < nr && added < TABLE_MAX; i++) {
        uint64_t at = off + (uint64_t)i * f->l2_entry_len;

        if (load(f, at, 8) == 0 && i % 16 != 0) {
            continue;
        }
        added++;
        if (!add(f, at, 8, FIELD_L2)) {
            return;
        }
        if (f->l2_entry_len == 16) {
            add(f, at + 8, 8, FIELD_SUBS);
        }
    }
}

static void add_l1(struct fields *f, uint64_t off, uint64_t entries)
{
    for (uint64_t i = 0; i < entries && i < TABLE_MAX; i++) {
        uint64_t l2_off = load(f, off + i * 8, 8) & OFFSET_MASK;

        if (!add(f, off + i * 8, 8, FIELD_ENTRY)) {
            return;
        }
        if (l2_off != 0) {
            add_l2(f, l2_off);
        }
    }
}

static void add_reftable(struct fields *f)
{
    uint64_t off = load(f, HEADER_REFTABLE_OFF, 8);
    uint64_t clusters = f->len / f->cluster_len + 1;
    uint64_t used = (clusters * f->refcount_bits + 7) / 8;

    for (unsigned i = 0; i < LIST_MAX; i++) {
        uint64_t block = load(f, off + i * 8, 8) & OFFSET_MASK;

        if (!add(f, off + i * 8, 8, FIELD_ENTRY)) {
            return;
        }
        for (uint64_t b = 0; block != 0 && b < used && b < f->cluster_len;
             b++) {
            add(f, block + b, 1, FIELD_REFCOUNT);
        }
    }
}

static void add_bitmaps(struct fields *f, uint64_t off)
{
    for (unsigned i = 0; i < LIST_MAX; i++) {
        uint64_t table = load(f, off, 8);
        uint64_t name_len = load(f, off + 18, 2);

        if (!add(f, off, 8, FIELD_POINTER)) {
            return;
        }
        add(f, off + 8, 4, FIELD_NUMBER);
        add(f, off + 12, 4, FIELD_FLAGS);
        add(f, off + 16, 1, FIELD_NUMBER);
        add(f, off + 17, 1, FIELD_NUMBER);
        add(f, off + 18, 2, FIELD_LEN);
        add(f, off + 20, 4, FIELD_LEN);
        add_text(f, off + 24, name_len);
        for (uint64_t e = 0; e < LIST_MAX && table != 0; e++) {
            add(f, table + e * 8, 8, FIELD_ENTRY);
        }
        off += (24 + load(f, off + 20, 4) + name_len + 7) & ~7ull;
    }
}

static void add_extensions(struct fields *f)
{
    uint64_t off = f->version == 2 ? 72 : load(f, HEADER_HEADER_LEN, 4);

    f->extensions_end = off;
    for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
        uint32_t type = (uint32_t)load(f, off, 4);
        uint64_t len = load(f, off + 4, 4);

        if (off + 8 > f->cluster_len || !add(f, off, 4, FIELD_TYPE)) {
            return;
        }
        f->extensions_end = off;
        if (type == 0) {
            return;
        }
        add(f, off + 4, 4, FIELD_LEN);
        if (type == 0x23852875) {
            add(f, off + 8, 4, FIELD_NUMBER);
            add(f, off + 16, 8, FIELD_LEN);
            add(f, off + 24, 8, FIELD_POINTER);
            add_bitmaps(f, load(f, off + 24, 8));
        } else {
            add_text(f, off + 8, len);
        }
        off += 8 + ((len + 7) & ~7ull);
    }
}

static void add_snapshots(struct fields *f)
{
    uint64_t off = load(f, HEADER_SNAPSHOTS_OFF, 8);
    uint64_t nr = load(f, HEADER_SNAPSHOTS_NR, 4);

    for (uint64_t i = 0; i < nr && i < LIST_MAX; i++) {
        uint64_t id_len = load(f, off + 12, 2);
        uint64_t name_len = load(f, off + 14, 2);
        uint64_t extra_len = load(f, off + 36, 4);

        if (!add(f, off, 8, FIELD_POINTER)) {
            return;
        }
        add(f, off + 8, 4, FIELD_NUMBER);
        add(f, off + 12, 2, FIELD_LEN);
        add(f, off + 14, 2, FIELD_LEN);
        add(f, off + 16, 4, FIELD_NUMBER);
        add(f, off + 20, 4, FIELD_NUMBER);
        add(f, off + 24, 8, FIELD_NUMBER);
        add(f, off + 32, 4, FIELD_LEN);
        add(f, off + 36, 4, FIELD_LEN);
        for (uint64_t x = 0; x + 8 <= extra_len && x < TEXT_MAX; x += 8) {
            add(f, off + 40 + x, 8, FIELD_LEN);
        }
        add_text(f, off + 40 + extra_len, id_len + name_len);
        add_l1(f, load(f, off, 8), load(f, off + 8, 4));
        off += (40 + extra_len + id_len + name_len + 7) & ~7ull;
    }
}

bool fields_find(const uint8_t *data, size_t len, struct fields *out)
{
    uint64_t bits, order;

    out->nr = 0;
    memset(out->of_kind, 0, sizeof(out->of_kind));
    out->data = data;
    out->len = len;
    if (len < 112) {
        return false;
    }
    out->version = data[HEADER_VERSION + 3] == 2 ? 2 : 3;
    bits = field_load(data + HEADER_CLUSTER_BITS, 4);
    out->cluster_len = 1u << (bits >= 9 && bits <= 21 ? bits : 16);
    order = field_load(data + HEADER_REFCOUNT_ORDER, 4);
    out->refcount_bits = 1u << (out->version == 2 || order > 6 ? 4 : order);
    out->l2_entry_len =
        out->version == 3 && (data[HEADER_INCOMPATIBLE + 7] & 0x10) ? 16 : 8;
    for (size_t i = 0; i < sizeof(header_fields) / sizeof(header_fields[0]);
         i++) {
        const struct header_field *field = &header_fields[i];

        if (field->off < HEADER_INCOMPATIBLE || out->version == 3) {
            add(out, field->off, field->width, field->kind);
        }
    }
    add_extensions(out);
    add_text(out, load(out, HEADER_BACKING_OFF, 8),
             load(out, HEADER_BACKING_LEN, 4));
    add_l1(out, load(out, HEADER_L1_OFF, 8), load(out, HEADER_L1_ENTRIES, 4));
    add_snapshots(out);
    add_reftable(out);
    return true;
}
