/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mutator: see mutate.h. */
#include <stdbool.h>
#include <string.h>

#include "fields.h"
#include "mutate.h"
#include "sound.h"

#define OFFSET_MASK 0x00fffffffffffe00ull
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* An image, without its arguments, and what is known of it. */
struct mutation {
    uint8_t *data;
    size_t len, room;
    uint64_t rng;
    struct fields fields;
};

uint64_t random_below(uint64_t *rng, uint64_t below)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return (*rng >> 11) % below;
}

static uint64_t pick(struct mutation *m, uint64_t below)
{
    return random_below(&m->rng, below);
}

static uint64_t any64(struct mutation *m)
{
    return pick(m, 1ull << 32) << 32 | pick(m, 1ull << 32);
}

/* ---- Fields and their values. */

/* A field of a kind that is chosen first: most fields are refcounts. */
static const struct field *any_field(struct mutation *m)
{
    unsigned kind = (unsigned)pick(m, FIELD_KINDS);
    uint64_t nth;

    for (unsigned i = 0; m->fields.of_kind[kind] == 0; i++) {
        if (i == FIELD_KINDS) {
            return NULL;
        }
        kind = (kind + 1) % FIELD_KINDS;
    }
    nth = pick(m, m->fields.of_kind[kind]);
    for (size_t i = 0; i < m->fields.nr; i++) {
        if (m->fields.items[i].kind == kind && nth-- == 0) {
            return &m->fields.items[i];
        }
    }
    return NULL;
}

static bool is_pointer(const struct field *field)
{
    return field->kind == FIELD_POINTER || field->kind == FIELD_ENTRY ||
           field->kind == FIELD_L2;
}

/* What some other pointer of the image leads to. */
static uint64_t any_offset(struct mutation *m)
{
    for (unsigned i = 0; i < 16; i++) {
        const struct field *field = &m->fields.items[pick(m, m->fields.nr)];
        uint64_t off = field_load(m->data + field->off, field->width);

        if (is_pointer(field) && (off & OFFSET_MASK) != 0) {
            return off & OFFSET_MASK;
        }
    }
    return pick(m, m->len / m->fields.cluster_len + 1) * m->fields.cluster_len;
}

static uint64_t near(struct mutation *m, uint64_t value)
{
    return value + pick(m, 3) - 1;
}

/* Limits, multiples, ends: what a check gets wrong by one. */
static uint64_t boundary(struct mutation *m, uint64_t old)
{
    uint64_t cluster_len = m->fields.cluster_len;

    switch (pick(m, 11)) {
    case 0:
        return pick(m, 3);
    case 1:
        return ~0ull - pick(m, 2);
    case 2:
        return near(m, 1ull << pick(m, 64));
    case 3:
        return near(m, old);
    case 4:
        return pick(m, 2) ? old + cluster_len : old - cluster_len;
    case 5:
        return near(m, pick(m, 2 * m->len / cluster_len + 2) * cluster_len);
    case 6:
        return pick(m, m->len / cluster_len + 2) * cluster_len;
    case 7:
        return near(m, m->len);
    case 8:
        return near(m, (m->len + cluster_len - 1) / cluster_len * cluster_len);
    case 9:
        return any_offset(m);
    default:
        return any64(m) >> pick(m, 64);
    }
}

static const uint32_t extension_types[] = {
    0x00000000, /* end */
    0xe2792aca, /* backing format */
    0x6803f857, /* feature names */
    0x23852875, /* bitmaps */
    0x0537be77, /* crypto header */
    0x44415441, /* data file */
    0x12345678, /* one that nobody knows */
};

/* An entry keeps its flags when its offset changes, or the other way. */
static uint64_t entry_value(struct mutation *m, uint64_t old)
{
    switch (pick(m, 6)) {
    case 0:
        return 0;
    case 1:
        return old ^ (1ull << 63);
    case 2:
        return old ^ (1ull << 62);
    case 3:
        return old ^ 1;
    case 4:
        return old ^ (1ull << pick(m, 64));
    default:
        return (old & ~OFFSET_MASK) | any_offset(m);
    }
}

static uint64_t subclusters(struct mutation *m)
{
    static const uint64_t whole[] = {
        0,
        0xffffffff,
        0xffffffff00000000,
        0x0000ffffffff0000,
        0x5555555500000000,
        0xaaaaaaaa,
        0x8000000000000001,
    };
    uint64_t subs = pick(m, 2) ? any64(m) : whole[pick(m, COUNT_OF(whole))];

    /* Both at once is an error of its own, and wanted seldom. */
    return pick(m, 8) ? subs & ~((subs & 0xffffffff) << 32) : subs;
}

static uint64_t new_value(struct mutation *m, const struct field *field,
                          uint64_t old)
{
    switch ((enum field_kind)field->kind) {
    case FIELD_FLAGS:
        return old ^ 1ull << (pick(m, 8) ? pick(m, 6) : pick(m, 64));
    case FIELD_TYPE:
        return extension_types[pick(m, COUNT_OF(extension_types))];
    case FIELD_POINTER:
        return pick(m, 2) ? any_offset(m) : boundary(m, old);
    case FIELD_ENTRY:
    case FIELD_L2:
        return pick(m, 4) ? entry_value(m, old) : boundary(m, old);
    case FIELD_SUBS:
        return subclusters(m);
    case FIELD_REFCOUNT:
        return pick(m, 2) ? pick(m, 3) : any64(m);
    case FIELD_TEXT:
        return (uint8_t) "\0/.:\\\"{\n\x80\xff%ab"[pick(m, 14)];
    case FIELD_NUMBER:
    case FIELD_LEN:
    case FIELD_KINDS:
    default:
        return boundary(m, old);
    }
}

static void change_field(struct mutation *m)
{
    const struct field *field = any_field(m);

    if (field != NULL) {
        uint64_t old = field_load(m->data + field->off, field->width);

        field_store(m->data + field->off, field->width,
                    new_value(m, field, old));
    }
}

/* Two fields of one width change places, or one gets the other's value. */
static void swap_fields(struct mutation *m)
{
    const struct field *a = any_field(m);
    uint8_t kept[8];

    for (unsigned i = 0; a != NULL && i < 16; i++) {
        const struct field *b = any_field(m);

        if (b == a || b->width != a->width || is_pointer(a) != is_pointer(b)) {
            continue;
        }
        memcpy(kept, m->data + a->off, a->width);
        memmove(m->data + a->off, m->data + b->off, a->width);
        if (pick(m, 2)) {
            memcpy(m->data + b->off, kept, b->width);
        }
        return;
    }
}

/* ---- Clusters. */

static void fill_cluster(struct mutation *m, uint8_t *cluster)
{
    size_t len = m->fields.cluster_len;
    uint64_t from = any_offset(m);

    if (pick(m, 2) && from + len <= m->len) {
        memmove(cluster, m->data + from, len);
    } else {
        memset(cluster, (int)pick(m, 3) * 0x55, len);
    }
}

/* A new cluster at the end, and an entry that leads to it. */
static void grow(struct mutation *m)
{
    uint32_t cluster_len = m->fields.cluster_len;
    size_t begin = (m->len + cluster_len - 1) / cluster_len * cluster_len;
    const struct field *field;

    if (begin > m->room || cluster_len > m->room - begin) {
        return;
    }
    memset(m->data + m->len, 0, begin - m->len);
    fill_cluster(m, m->data + begin);
    m->len = begin + cluster_len;
    for (unsigned i = 0; i < 16; i++) {
        field = any_field(m);
        if (field != NULL && is_pointer(field)) {
            bool has_flags = field->kind != FIELD_POINTER;

            field_store(m->data + field->off, 8,
                        begin | (has_flags && pick(m, 2) ? 1ull << 63 : 0));
            return;
        }
    }
}

/* A compressed entry where there was any: on the stream of another one, with
   more sectors or fewer than it has. */
static void compress_entry(struct mutation *m)
{
    unsigned bits = 0;
    uint64_t sectors, off;

    while (1u << bits < m->fields.cluster_len) {
        bits++;
    }
    for (unsigned i = 0; i < 32; i++) {
        const struct field *field = any_field(m);

        if (field == NULL || field->kind != FIELD_L2) {
            continue;
        }
        sectors = pick(m, 1ull << (bits - 8));
        off = pick(m, 4) ? any_offset(m) : pick(m, m->len);
        off &= (1ull << (62 - (bits - 8))) - 1;
        field_store(m->data + field->off, 8,
                    1ull << 62 | sectors << (62 - (bits - 8)) | off);
        return;
    }
}

static void change_length(struct mutation *m)
{
    uint32_t cluster_len = m->fields.cluster_len;
    size_t len = m->len;

    switch (pick(m, 5)) {
    case 0:
        len -= len > cluster_len ? cluster_len : 0;
        break;
    case 1:
        len -= 1;
        break;
    case 2:
        len = len / cluster_len * cluster_len;
        break;
    case 3:
        len += 1 + pick(m, cluster_len);
        break;
    default:
        len = 1 + pick(m, len);
        break;
    }
    if (len > m->room || len < 512) {
        return;
    }
    if (len > m->len) {
        memset(m->data + m->len, 0, len - m->len);
    }
    m->len = len;
}

/* Some bytes of what a pointer leads to: data, streams, padding. */
static void change_bytes(struct mutation *m)
{
    uint64_t at = pick(m, 4) ? any_offset(m) : pick(m, m->len);
    unsigned nr = 1 + (unsigned)pick(m, 8);

    at += pick(m, pick(m, 2) ? 16 : m->fields.cluster_len);
    for (; nr > 0 && at < m->len; nr--, at++) {
        m->data[at] = (uint8_t)(pick(m, 2) ? m->data[at] ^ 1u << pick(m, 8)
                                           : pick(m, 256));
    }
}

/* ---- The first cluster. */

/* One more extension at the front; what follows moves. */
static void add_extension(struct mutation *m)
{
    static const char *const bodies[] = {"raw", "qcow2", "base.raw", "", "x"};
    uint64_t off = m->fields.version == 2
                       ? 72
                       : field_load(m->data + HEADER_HEADER_LEN, 4);
    const char *body = bodies[pick(m, COUNT_OF(bodies))];
    size_t step = 8 + ((strlen(body) + 7) & ~(size_t)7);
    size_t end =
        m->len < m->fields.cluster_len ? m->len : m->fields.cluster_len;

    if (off > end || step > end - off) {
        return;
    }
    memmove(m->data + off + step, m->data + off, end - off - step);
    memset(m->data + off, 0, step);
    field_store(m->data + off, 4,
                extension_types[pick(m, COUNT_OF(extension_types))]);
    field_store(m->data + off + 4, 4, strlen(body));
    memcpy(m->data + off + 8, body, strlen(body));
    off = field_load(m->data + HEADER_BACKING_OFF, 8);
    if (off != 0) {
        field_store(m->data + HEADER_BACKING_OFF, 8, off + step);
    }
}

static const char json_name[] =
    "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\","
    "\"filename\":\"base.raw\"}}";

static const char json_slice[] =
    "json:{\"driver\":\"raw\",\"offset\":1024,\"size\":\"8192\",\"file\":"
    "{\"driver\":\"file\",\"filename\":\"base.raw\"}}";

static void set_backing_name(struct mutation *m)
{
    static const char *const names[] = {
        "base.raw",      "base.qcow2", "./base.raw", "image.qcow2", "missing",
        "file:base.raw", json_name,    json_slice,   "nbd://host",
    };
    const char *name = names[pick(m, COUNT_OF(names))];
    uint64_t off = m->fields.extensions_end + 8;

    if (pick(m, 4) == 0) {
        field_store(m->data + HEADER_BACKING_OFF, 8, 0);
        return;
    }
    if (off + strlen(name) > m->fields.cluster_len ||
        off + strlen(name) > m->len) {
        return;
    }
    memcpy(m->data + off, name, strlen(name));
    field_store(m->data + HEADER_BACKING_OFF, 8, off);
    field_store(m->data + HEADER_BACKING_LEN, 4, strlen(name));
}

/* Where refcounts cannot be put right, there is a new table at the end, and
   as many blocks as that takes. */
static void make_sound(struct mutation *m)
{
    uint32_t cluster_len = m->fields.cluster_len;
    size_t begin = (m->len + cluster_len - 1) / cluster_len * cluster_len;
    size_t per_block = (size_t)cluster_len * 8 / m->fields.refcount_bits;
    size_t blocks = (begin / cluster_len + 2) / per_block + 1;

    if (sound_tables(m->data, m->len) || blocks > cluster_len / 8 ||
        begin > m->room || (1 + blocks) > (m->room - begin) / cluster_len) {
        return;
    }
    memset(m->data + m->len, 0, begin - m->len + (1 + blocks) * cluster_len);
    field_store(m->data + HEADER_REFTABLE_OFF, 8, begin);
    field_store(m->data + HEADER_REFTABLE_CLUSTERS, 4, 1);
    for (size_t i = 0; i < blocks; i++) {
        field_store(m->data + begin + i * 8, 8, begin + (1 + i) * cluster_len);
    }
    m->len = begin + (1 + blocks) * cluster_len;
    (void)sound_tables(m->data, m->len);
}

static void mutate_image(struct mutation *m)
{
    static void (*const changes[])(struct mutation * m) = {
        change_field,  change_field, change_field,  change_field,
        change_field,  swap_fields,  grow,          compress_entry,
        change_length, change_bytes, add_extension, set_backing_name,
    };
    uint64_t nr = 1 + pick(m, 4);

    while (nr-- > 0 && fields_find(m->data, m->len, &m->fields)) {
        changes[pick(m, COUNT_OF(changes))](m);
    }
    if (pick(m, 16)) {
        sound_header(m->data, m->len, &m->rng);
    }
    if (pick(m, 2) && fields_find(m->data, m->len, &m->fields)) {
        make_sound(m);
    }
}

/* ---- Arguments. */

size_t fuzz_args(const uint8_t *data, size_t len, uint8_t args[FUZZ_ARGS_NR])
{
    memset(args, 0, FUZZ_ARGS_NR);
    if (len < FUZZ_ARGS_LEN || memcmp(data + len - 8, FUZZ_ARGS_MARK, 8) != 0) {
        return len;
    }
    memcpy(args, data + len - FUZZ_ARGS_LEN, FUZZ_ARGS_NR);
    return len - FUZZ_ARGS_LEN;
}

static void mutate_args(struct mutation *m, uint8_t args[FUZZ_ARGS_NR])
{
    uint64_t nr = pick(m, 8) ? 1 + pick(m, 3) : FUZZ_ARGS_NR;

    while (nr-- > 0) {
        args[pick(m, FUZZ_ARGS_NR)] =
            (uint8_t)(pick(m, 2) ? pick(m, 8) : pick(m, 256));
    }
}

size_t fuzz_mutate(uint8_t *data, size_t len, size_t room, uint64_t seed)
{
    static struct mutation m;
    uint8_t args[FUZZ_ARGS_NR];

    if (room < FUZZ_ARGS_LEN) {
        return len;
    }
    m.data = data;
    m.len = fuzz_args(data, len, args);
    m.room = room - FUZZ_ARGS_LEN;
    m.rng = (seed + 1) * 0x9e3779b97f4a7c15ull | 1;
    if (m.len > m.room) {
        m.len = m.room;
    }
    if (pick(&m, 4)) {
        mutate_image(&m);
    }
    if (pick(&m, 2)) {
        mutate_args(&m, args);
    }
    memcpy(data + m.len, args, FUZZ_ARGS_NR);
    memcpy(data + m.len + FUZZ_ARGS_NR, FUZZ_ARGS_MARK, 8);
    return m.len + FUZZ_ARGS_LEN;
}
