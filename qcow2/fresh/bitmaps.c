/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent bitmaps of a new image (specification: "Bitmaps").
 *
 * Room: qcow2/fresh. Bits and table of a bitmap are written when it is added;
 * the directory, which tells of them, with the last tables. Clusters of bits
 * that are all 0 have no place.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "fresh_impl.h"

#define TYPE_DIRTY_TRACKING 1u

void fresh_bitmaps_fini(struct fresh_bitmaps *bitmaps)
{
    for (uint32_t i = 0; i < bitmaps->nr; i++) {
        free((void *)(uintptr_t)bitmaps->entries[i].name);
    }
    free(bitmaps->entries);
}

static int check_name(const struct qcow2_fresh *fresh, const char *name,
                      struct img_error *err)
{
    size_t len = strlen(name);

    if (len == 0 || len > QCOW2_MAX_BITMAP_NAME_LEN) {
        return img_fail(err, IMG_USAGE,
                        "bitmap name: found %zu bytes, expected 1 to %u", len,
                        QCOW2_MAX_BITMAP_NAME_LEN);
    }
    for (uint32_t i = 0; i < fresh->bitmaps.nr; i++) {
        if (strcmp(fresh->bitmaps.entries[i].name, name) == 0) {
            return img_fail(err, IMG_USAGE,
                            "bitmap name: found it twice, expected once");
        }
    }
    return 0;
}

static int check_bits(const struct qcow2_fresh *fresh,
                      const struct qcow2_fresh_bitmap *bitmap,
                      struct img_error *err)
{
    uint64_t granularity = bitmap->granularity;
    uint64_t bits, len;

    if (granularity < 1ull << QCOW2_MIN_BITMAP_GRANULARITY_BITS ||
        granularity > 1ull << QCOW2_MAX_BITMAP_GRANULARITY_BITS ||
        (granularity & (granularity - 1)) != 0) {
        return img_fail(err, IMG_USAGE,
                        "bitmap granularity: found %" PRIu64
                        ", expected a power of two from %llu to %llu",
                        granularity, 1ull << QCOW2_MIN_BITMAP_GRANULARITY_BITS,
                        1ull << QCOW2_MAX_BITMAP_GRANULARITY_BITS);
    }
    if (fresh->header.virtual_len == 0) {
        return img_fail(err, IMG_USAGE,
                        "bitmap: found a disk of 0 bytes, expected a longer"
                        " one");
    }
    bits = img_div_up(fresh->header.virtual_len, granularity);
    len = img_div_up(bits, 8);
    if (bitmap->bits_len != len) {
        return img_fail(err, IMG_USAGE,
                        "bitmap: found %" PRIu64 " bytes, expected %" PRIu64
                        " for %" PRIu64 " bits",
                        bitmap->bits_len, len, bits);
    }
    return 0;
}

static int check_limits(const struct qcow2_fresh *fresh, uint64_t table_entries,
                        struct img_error *err)
{
    uint64_t max_entries =
        img_min(QCOW2_MAX_BITMAP_TABLE_ENTRIES,
                QCOW2_MAX_BITMAP_PHYSICAL_LEN >> fresh->header.cluster_bits);

    if (fresh->header.version < 3) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "bitmap: found one for a version 2 image, expected"
                        " version 3");
    }
    if (fresh->bitmaps.nr == QCOW2_MAX_BITMAPS) {
        return img_fail(err, IMG_LIMIT,
                        "bitmaps: found more than %u, expected at most %u",
                        QCOW2_MAX_BITMAPS, QCOW2_MAX_BITMAPS);
    }
    if (table_entries > max_entries) {
        return img_fail(err, IMG_LIMIT,
                        "bitmap: found bits for %" PRIu64
                        " clusters, expected at most %" PRIu64
                        "; a larger granularity needs less",
                        table_entries, max_entries);
    }
    return 0;
}

/* The directory as long as it is with one entry of ENTRY_LEN more. */
static int check_directory(const struct qcow2_fresh *fresh, uint64_t entry_len,
                           struct img_error *err)
{
    uint64_t len = entry_len;

    for (uint32_t i = 0; i < fresh->bitmaps.nr; i++) {
        len += fresh->bitmaps.entries[i].entry_len;
    }
    if (len > QCOW2_MAX_BITMAP_DIRECTORY_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "bitmap directory: found %" PRIu64
                        " bytes, expected at most %u",
                        len, QCOW2_MAX_BITMAP_DIRECTORY_LEN);
    }
    return 0;
}

/* A header that tells of bitmaps still fits into the first cluster. */
static int announce(struct qcow2_fresh *fresh, struct img_error *err)
{
    bool had_bitmaps = fresh->extensions.has_bitmaps;

    fresh->extensions.has_bitmaps = true;
    if (fresh_encode(fresh, err) < 0) {
        fresh->extensions.has_bitmaps = had_bitmaps;
        return -1;
    }
    return 0;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

/* Bits of one cluster and its entry in the table. */
static int store_bits(struct qcow2_fresh *fresh, const uint8_t *bits,
                      size_t len, uint8_t *entry, struct img_error *err)
{
    uint32_t cluster_len = fresh->header.cluster_len;
    uint64_t off;

    if (is_zero(bits, len)) {
        return 0;
    }
    if (fresh_host_take(&fresh->host, 1, &off, err) < 0) {
        return -1;
    }
    /* The first cluster's buffer is free until the end. */
    memcpy(fresh->first, bits, len);
    memset(fresh->first + len, 0, cluster_len - len);
    img_store_be64(entry, off);
    return img_file_write(fresh->file, fresh->first, cluster_len, off, err);
}

static int store_bitmap(struct qcow2_fresh *fresh,
                        const struct qcow2_fresh_bitmap *bitmap,
                        struct qcow2_bitmap *entry, struct img_error *err)
{
    uint32_t cluster_len = fresh->header.cluster_len;
    uint64_t clusters =
        img_div_up((uint64_t)entry->table_entries * 8, cluster_len);
    size_t table_len = clusters * cluster_len;
    IMG_AUTO(img_free_ptr) uint8_t *table = img_alloc_aligned(table_len, err);

    if (table == NULL) {
        return -1;
    }
    memset(table, 0, table_len);
    for (uint32_t i = 0; i < entry->table_entries; i++) {
        uint64_t at = (uint64_t)i * cluster_len;

        if (store_bits(fresh, bitmap->bits + at,
                       img_min(cluster_len, bitmap->bits_len - at),
                       table + (size_t)i * 8, err) < 0) {
            return -1;
        }
    }
    if (fresh_host_take(&fresh->host, clusters, &entry->table_off, err) < 0) {
        return -1;
    }
    return img_file_write(fresh->file, table, table_len, entry->table_off, err);
}

/* Room for one entry more. */
static int grow(struct fresh_bitmaps *bitmaps, struct img_error *err)
{
    struct qcow2_bitmap *entries;

    /* Room for 1, 2, 4, ... entries. */
    if ((bitmaps->nr & (bitmaps->nr - 1)) != 0) {
        return 0;
    }
    entries = reallocarray(bitmaps->entries,
                           bitmaps->nr == 0 ? 1 : (size_t)bitmaps->nr * 2,
                           sizeof(*entries));
    if (entries == NULL) {
        return img_fail_memory(err);
    }
    bitmaps->entries = entries;
    return 0;
}

/* May BITMAP be added? Its entry, all but where its table is. */
static int check_bitmap(const struct qcow2_fresh *fresh,
                        const struct qcow2_fresh_bitmap *bitmap,
                        struct qcow2_bitmap *entry, struct img_error *err)
{
    uint64_t table_entries =
        img_div_up(bitmap->bits_len, fresh->header.cluster_len);

    if (check_name(fresh, bitmap->name, err) < 0 ||
        check_bits(fresh, bitmap, err) < 0 ||
        check_limits(fresh, table_entries, err) < 0) {
        return -1;
    }
    *entry = (struct qcow2_bitmap){
        .table_entries = (uint32_t)table_entries,
        .flags = bitmap->flags & QCOW2_BITMAP_FLAG_AUTO,
        .type = TYPE_DIRTY_TRACKING,
        .granularity_bits = (uint8_t)__builtin_ctzll(bitmap->granularity),
        .name_len = (uint16_t)strlen(bitmap->name),
    };
    qcow2_bitmap_encode(entry, NULL);
    return check_directory(fresh, entry->entry_len, err);
}

int qcow2_fresh_bitmap_add(struct qcow2_fresh *fresh,
                           const struct qcow2_fresh_bitmap *bitmap,
                           struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *name = NULL;
    struct qcow2_bitmap entry;

    if (fresh_check_open(fresh, err) < 0 ||
        check_bitmap(fresh, bitmap, &entry, err) < 0 ||
        announce(fresh, err) < 0 || grow(&fresh->bitmaps, err) < 0) {
        return -1;
    }
    name = img_strndup(bitmap->name, entry.name_len, err);
    if (name == NULL) {
        return -1;
    }
    if (store_bitmap(fresh, bitmap, &entry, err) < 0) {
        fresh->is_broken = true;
        return -1;
    }
    entry.name = img_steal(&name);
    fresh->bitmaps.entries[fresh->bitmaps.nr++] = entry;
    return 0;
}

int fresh_bitmaps_finish(struct qcow2_fresh *fresh, struct img_error *err)
{
    struct fresh_bitmaps *bitmaps = &fresh->bitmaps;
    struct qcow2_extensions *x = &fresh->extensions;
    uint64_t len = 0, clusters, room, at = 0;
    IMG_AUTO(img_free_ptr) uint8_t *directory = NULL;

    for (uint32_t i = 0; i < bitmaps->nr; i++) {
        len += bitmaps->entries[i].entry_len;
    }
    x->has_bitmaps = bitmaps->nr > 0;
    if (!x->has_bitmaps) {
        return 0;
    }
    fresh->header.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
    clusters = img_div_up(len, fresh->header.cluster_len);
    room = clusters << fresh->header.cluster_bits;
    directory = img_alloc_aligned(room, err);
    if (directory == NULL) {
        return -1;
    }
    memset(directory, 0, room);
    for (uint32_t i = 0; i < bitmaps->nr; i++) {
        qcow2_bitmap_encode(&bitmaps->entries[i], directory + at);
        at += bitmaps->entries[i].entry_len;
    }
    x->bitmaps_nr = bitmaps->nr;
    x->bitmap_directory_len = len;
    if (fresh_host_take(&fresh->host, clusters, &x->bitmap_directory_off, err) <
        0) {
        return -1;
    }
    return img_file_write(fresh->file, directory, room, x->bitmap_directory_off,
                          err);
}
