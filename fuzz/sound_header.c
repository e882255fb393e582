/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A header that is not refused: see sound.h. */
#include <string.h>

#include "fields.h"
#include "mutate.h"
#include "sound.h"

static void at_most(uint8_t *field, unsigned width, uint64_t limit)
{
    uint64_t value = field_load(field, width);

    if (value > limit) {
        field_store(field, width, value % (limit + 1));
    }
}

static void fix_version3(uint8_t *data, uint64_t *rng)
{
    uint64_t incompatible = field_load(data + HEADER_INCOMPATIBLE, 8);

    at_most(data + HEADER_REFCOUNT_ORDER, 4, 6);
    if (field_load(data + HEADER_HEADER_LEN, 4) != 112) {
        field_store(data + HEADER_HEADER_LEN, 4, 104);
    }
    if (field_load(data + HEADER_HEADER_LEN, 4) == 112) {
        memset(data + HEADER_COMPRESSION + 1, 0, 7);
        data[HEADER_COMPRESSION] &= 1;
        incompatible =
            (incompatible & ~8ull) | (data[HEADER_COMPRESSION] ? 8u : 0u);
    } else {
        incompatible &= ~8ull;
    }
    /* Dirty, corrupt and unknown bits only now and then. */
    incompatible &= random_below(rng, 16) ? 0x1c : 0x1f;
    field_store(data + HEADER_INCOMPATIBLE, 8, incompatible);
    if (!(incompatible & 4)) {
        data[HEADER_AUTOCLEAR + 7] &= (uint8_t)~2u;
    }
}

static void fix_l1(uint8_t *data, size_t len, uint32_t bits, uint64_t *rng)
{
    bool is_extended =
        data[HEADER_VERSION + 3] == 3 && (data[HEADER_INCOMPATIBLE + 7] & 16);
    uint32_t shift = bits + bits - (is_extended ? 4 : 3);
    uint64_t most = len >> bits > 1 ? (len - (1u << bits)) / 8 : 1;
    uint64_t entries = field_load(data + HEADER_L1_ENTRIES, 4);
    uint64_t size;

    /* A disk of 256 KiB is read and compared whole. */
    if (random_below(rng, 8)) {
        at_most(data + HEADER_SIZE, 8, 256u << 10);
    }
    most = most > 4096 ? 4096 : most;
    if (entries == 0 || entries > most) {
        entries = 1 + entries % most;
    }
    size = field_load(data + HEADER_SIZE, 8);
    if (size >> shift >= entries) {
        entries = size >> shift < most ? (size >> shift) + 1 : entries;
        at_most(data + HEADER_SIZE, 8, entries << shift);
    }
    field_store(data + HEADER_L1_ENTRIES, 4, entries);
}

/* A table of LEN bytes begins in the file, behind the header. */
static void place(uint8_t *field, size_t file_len, uint32_t bits, uint64_t len)
{
    uint64_t off = field_load(field, 8) >> bits << bits;
    uint64_t clusters = file_len >> bits;

    if (off == 0 || off >= file_len || len > file_len - off + (1u << bits)) {
        off = clusters > 1 ? 1 + (off >> bits) % (clusters - 1) : 1;
        off <<= bits;
    }
    field_store(field, 8, off);
}

/* What nobody knows is never wrong. */
#define EXTENSION_UNKNOWN 0x12345678u

struct extension_rule {
    uint32_t type;
    uint32_t min_len, max_len;
};
static const struct extension_rule extension_rules[] = {
    {0xe2792aca, 0, 15},  {0x6803f857, 48, 48 * 16}, {0x23852875, 24, 24},
    {0x0537be77, 16, 16}, {0x44415441, 1, 1023},
};
#define RULES (sizeof(extension_rules) / sizeof(extension_rules[0]))

/* May an extension of that type and length be there? */
static bool is_allowed(const uint8_t *data, uint32_t type, uint32_t len,
                       bool seen[RULES])
{
    for (size_t i = 0; i < RULES; i++) {
        const struct extension_rule *rule = &extension_rules[i];

        if (rule->type != type) {
            continue;
        }
        if (seen[i] || len < rule->min_len || len > rule->max_len) {
            return false;
        }
        seen[i] = true;
        return (type != 0x0537be77 || data[HEADER_CRYPT + 3] == 2) &&
               (type != 0x44415441 || sound_has_data_file(data, 112));
    }
    return true;
}

/* Returns where the backing name may begin. */
static uint64_t fix_extensions(uint8_t *data, size_t len, uint32_t bits)
{
    uint64_t end = len < 1u << bits ? len : 1u << bits;
    uint64_t off = data[HEADER_VERSION + 3] == 2
                       ? 72
                       : field_load(data + HEADER_HEADER_LEN, 4);
    bool seen[RULES] = {false};

    while (off + 8 <= end) {
        uint32_t type = (uint32_t)field_load(data + off, 4);
        uint32_t body = (uint32_t)field_load(data + off + 4, 4);

        if (type == 0) {
            return off + 8;
        }
        if (body > end - off - 8) {
            memset(data + off, 0, 8);
            return off + 8;
        }
        if (!is_allowed(data, type, body, seen)) {
            field_store(data + off, 4, EXTENSION_UNKNOWN);
        }
        off += 8 + ((body + 7ull) & ~7ull);
    }
    return off;
}

static void fix_backing(uint8_t *data, size_t len, uint32_t bits, uint64_t min)
{
    uint64_t off = field_load(data + HEADER_BACKING_OFF, 8);
    uint64_t name_len = field_load(data + HEADER_BACKING_LEN, 4) % 1024;
    uint64_t end = len < 1u << bits ? len : 1u << bits;

    if (off != 0 && off < min) {
        off = min;
    }
    if (name_len == 0 || off >= end || name_len > end - off) {
        off = name_len = 0;
    }
    for (uint64_t i = 0; i < name_len; i++) {
        data[off + i] = data[off + i] ? data[off + i] : 'n';
    }
    field_store(data + HEADER_BACKING_OFF, 8, off);
    field_store(data + HEADER_BACKING_LEN, 4, off ? name_len : 0);
}

/* Version 3 wants 16 bytes of extra data at least. */
static void fix_snapshots(uint8_t *data, size_t len, uint32_t bits)
{
    uint64_t off = field_load(data + HEADER_SNAPSHOTS_OFF, 8);
    uint64_t nr = field_load(data + HEADER_SNAPSHOTS_NR, 4) % 6;

    if (off % (1u << bits) != 0 || off == 0 || off + 56 > len ||
        field_load(data + off + 36, 4) > 64 ||
        field_load(data + off + 36, 4) < 16) {
        nr = 0;
    }
    field_store(data + HEADER_SNAPSHOTS_NR, 4, nr);
    if (nr == 0) {
        field_store(data + HEADER_SNAPSHOTS_OFF, 8, 0);
    }
}

static uint32_t fix_cluster_bits(uint8_t *data, uint64_t *rng)
{
    uint32_t bits = (uint32_t)field_load(data + HEADER_CLUSTER_BITS, 4);
    uint32_t most = random_below(rng, 16) ? 16 : 21;

    if (bits < 9 || bits > most) {
        bits = 9 + bits % (most - 8);
    }
    if (bits < 14 && data[HEADER_VERSION + 3] == 3) {
        data[HEADER_INCOMPATIBLE + 7] &= (uint8_t)~16u;
    }
    field_store(data + HEADER_CLUSTER_BITS, 4, bits);
    return bits;
}

void sound_header(uint8_t *data, size_t len, uint64_t *rng)
{
    uint32_t bits;

    if (len < 512) {
        return;
    }
    field_store(data, 4, 0x514649fb);
    if (data[HEADER_VERSION + 3] != 2) {
        field_store(data + HEADER_VERSION, 4, 3);
        fix_version3(data, rng);
    } else {
        field_store(data + HEADER_VERSION, 4, 2);
    }
    bits = fix_cluster_bits(data, rng);
    if (random_below(rng, 16)) {
        field_store(data + HEADER_CRYPT, 4, 0);
    }
    fix_l1(data, len, bits, rng);
    at_most(data + HEADER_REFTABLE_CLUSTERS, 4, 4);
    if (field_load(data + HEADER_REFTABLE_CLUSTERS, 4) == 0) {
        field_store(data + HEADER_REFTABLE_CLUSTERS, 4, 1);
    }
    if (random_below(rng, 16)) {
        place(data + HEADER_L1_OFF, len, bits,
              8 * field_load(data + HEADER_L1_ENTRIES, 4));
        place(data + HEADER_REFTABLE_OFF, len, bits,
              field_load(data + HEADER_REFTABLE_CLUSTERS, 4) << bits);
    }
    if (random_below(rng, 16)) {
        fix_snapshots(data, len, bits);
    }
    if (random_below(rng, 16)) {
        fix_backing(data, len, bits, fix_extensions(data, len, bits));
    }
}
