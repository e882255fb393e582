/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding a place for the next header beside the one that is in force
 * (specification: "Header", "Header extensions").
 *
 * Room: qcow2/edit, pure. The extension area is one contiguous list from
 * header_length on, so where it cannot be changed in place it is made to end
 * in the first sector, by leaving the feature name table out, or else to
 * begin elsewhere, by another header_length. The backing name may lie
 * anywhere behind.
 */
#include "header_page.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

/* The header as far as this program knows its fields, in version 3. */
#define KNOWN_HEADER_LEN 112u
/* libvirt 9.0 looks at so many bytes of an image. */
#define LIBVIRT_REACH 33280u
/* An extension's type and length; the end mark has the same. */
#define EXTENSION_HEAD_LEN 8u
/* One name of the feature name table. */
#define FEATURE_LEN 48u

struct range {
    uint64_t begin, end;
};

static bool is_overlapping(struct range a, struct range b)
{
    return img_max(a.begin, b.begin) < img_min(a.end, b.end);
}

static struct range area_of(const struct header_page *page)
{
    return (struct range){page->header.header_len, page->extensions.end_off};
}

static struct range name_of(const struct header_page *page)
{
    uint64_t off = page->header.backing_name_off;

    return (struct range){off, off ? off + page->header.backing_name_len : 0};
}

int header_page_decode(uint8_t *bytes, size_t len, struct header_page *out,
                       struct img_error *err)
{
    *out = (struct header_page){.bytes = bytes};
    if (qcow2_header_decode(bytes, len, &out->header, err) ||
        qcow2_extensions_decode(&out->header, bytes, len, &out->extensions,
                                err)) {
        header_page_fini(out);
        return -1;
    }
    return 0;
}

void header_page_fini(struct header_page *page)
{
    qcow2_extensions_fini(&page->extensions);
    free(page->bytes);
    *page = (struct header_page){0};
}

/* What OLD's readers look at: the header, the list, the name. */
static void used_of(const struct header_page *old, struct range out[2])
{
    out[0] = (struct range){0, old->extensions.end_off};
    out[1] = name_of(old);
}

/* RANGE of BYTES, beyond the first sector: unused in OLD, or the same. */
static bool is_free(const struct header_page *old, const uint8_t *bytes,
                    struct range range)
{
    struct range used[2];

    used_of(old, used);
    range.begin = img_max(range.begin, HEADER_SECTOR_LEN);
    for (size_t i = 0; i < 2; i++) {
        uint64_t begin = img_max(range.begin, used[i].begin);
        uint64_t end = img_min(range.end, used[i].end);

        if (begin < end &&
            memcmp(old->bytes + begin, bytes + begin, end - begin) != 0) {
            return false;
        }
    }
    return true;
}

bool header_page_may_replace(const struct header_page *old,
                             const struct header_page *page)
{
    return is_free(old, page->bytes, area_of(page)) &&
           is_free(old, page->bytes, name_of(page));
}

/* One try to lay out a page. */
struct attempt {
    const struct header_page *old;
    struct qcow2_header header;         /* as wanted; adapted to the page */
    struct qcow2_extensions extensions; /* borrowed parts */
    uint64_t room;      /* bytes of the cluster that may be used */
    uint64_t name_from; /* the name stands behind this */
    uint8_t *bytes;     /* a cluster */
    uint64_t area_end;
};

static void begin_page(struct attempt *a)
{
    memcpy(a->bytes, a->old->bytes, a->old->header.cluster_len);
    memset(a->bytes, 0, HEADER_SECTOR_LEN);
}

/*
 * Last, when the name's place is known. Fields that nobody here knows stay;
 * bytes that become the header's beyond the first sector are cleared when it
 * is in force.
 */
static void put_header(struct attempt *a)
{
    const uint8_t *old = a->old->bytes;
    uint64_t header_len = a->header.header_len;
    uint64_t kept_end = img_min(a->old->header.header_len, header_len);

    qcow2_header_encode(&a->header, a->bytes);
    if (header_len > HEADER_SECTOR_LEN) {
        memcpy(a->bytes + HEADER_SECTOR_LEN, old + HEADER_SECTOR_LEN,
               header_len - HEADER_SECTOR_LEN);
    }
    if (kept_end > KNOWN_HEADER_LEN) {
        memcpy(a->bytes + KNOWN_HEADER_LEN, old + KNOWN_HEADER_LEN,
               kept_end - KNOWN_HEADER_LEN);
    }
}

/* The encoder puts the feature name table last, or leaves it out. */
static bool has_feature_names(const struct attempt *a)
{
    uint64_t table_len = FEATURE_LEN * a->extensions.features_nr;
    uint64_t head = a->area_end - EXTENSION_HEAD_LEN - table_len;

    return table_len < a->area_end - a->header.header_len &&
           img_load_be32(a->bytes + head - EXTENSION_HEAD_LEN) ==
               QCOW2_EXT_FEATURE_NAMES;
}

static bool put_area(struct attempt *a)
{
    uint64_t off = a->header.header_len;
    struct img_error ignored;
    size_t len = 0;

    if (off >= a->room || qcow2_extensions_encode(
                              &a->header, &a->extensions, false, a->bytes + off,
                              a->room - off, &len, &ignored)) {
        return false;
    }
    a->area_end = off + len;
    return (a->extensions.features_nr == 0 || has_feature_names(a)) &&
           is_free(a->old, a->bytes, (struct range){off, a->area_end});
}

/* Where NAME_LEN bytes can stand; 0: nowhere. */
static uint64_t find_name_place(const struct attempt *a, uint64_t name_len)
{
    uint64_t off = img_max(a->area_end, a->name_from);
    struct range used[2];

    used_of(a->old, used);
    for (size_t i = 0; i < 2; i++) {
        struct range beyond = {img_max(off, HEADER_SECTOR_LEN), off + name_len};

        if (beyond.begin < beyond.end && is_overlapping(beyond, used[i])) {
            off = img_align_up(used[i].end, 8);
        }
    }
    return img_range_fits(off, name_len, a->room) ? off : 0;
}

static bool put_name(struct attempt *a)
{
    const struct header_page *old = a->old;
    const char *name = a->extensions.backing_name;
    const char *old_name = old->extensions.backing_name;
    uint64_t name_len = name ? strlen(name) : 0;
    uint64_t off = 0;

    if (name_len > 0) {
        if (old_name && strcmp(name, old_name) == 0 &&
            old->header.backing_name_off >=
                img_max(a->area_end, a->name_from) &&
            img_range_fits(old->header.backing_name_off, name_len, a->room)) {
            off = old->header.backing_name_off;
        } else {
            off = find_name_place(a, name_len);
        }
        if (off == 0) {
            return false;
        }
        memcpy(a->bytes + off, name, name_len);
    }
    a->header.backing_name_off = off;
    a->header.backing_name_len = (uint32_t)name_len;
    return true;
}

/* The old header is as long, or what it has more is empty. */
static bool is_header_short(const struct header_page *old)
{
    for (uint32_t i = KNOWN_HEADER_LEN; i < old->header.header_len; i++) {
        if (old->bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

#define MAX_HEADER_LENS 4u

/* The header lengths to try, the best first. */
static size_t list_header_lens(const struct header_page *old, uint32_t version,
                               uint64_t out[MAX_HEADER_LENS])
{
    size_t nr = 0;

    if (version < 3) {
        out[nr++] = QCOW2_V2_HEADER_LEN;
        return nr;
    }
    if (version == old->header.version) {
        out[nr++] = old->header.header_len;
    }
    if (is_header_short(old)) {
        out[nr++] = KNOWN_HEADER_LEN;
    }
    out[nr++] = img_align_up(old->extensions.end_off, 8);
    if (old->header.backing_name_off != 0) {
        out[nr++] = img_align_up(name_of(old).end, 8);
    }
    return nr;
}

static bool try_page(struct attempt *a)
{
    begin_page(a);
    if (!put_area(a) || !put_name(a)) {
        return false;
    }
    put_header(a);
    return true;
}

/*
 * With the feature name table; or without it, where possible such that there
 * is room for it before the name.
 */
static bool try_header_len(struct attempt *a, bool *is_whole)
{
    size_t features_nr = a->extensions.features_nr;
    uint64_t whole_end;
    bool is_found;

    a->name_from = 0;
    a->area_end = 0;
    *is_whole = true;
    if (try_page(a)) {
        return true;
    }
    if (features_nr == 0) {
        return false;
    }
    *is_whole = false;
    whole_end = a->area_end;
    a->extensions.features_nr = 0;
    a->name_from = whole_end;
    is_found = try_page(a);
    if (!is_found) {
        a->name_from = 0;
        is_found = try_page(a);
    }
    a->extensions.features_nr = features_nr;
    return is_found;
}

static int fail_room(const struct attempt *a, struct img_error *err)
{
    const char *name = a->extensions.backing_name;

    return img_fail(err, IMG_LIMIT,
                    "first cluster: found no room for a backing file name of"
                    " %zu bytes and the header extensions beside what it has"
                    " now, expected the %" PRIu32 " bytes to hold both",
                    name ? strlen(name) : 0, a->old->header.cluster_len);
}

/* Only what finds no room where libvirt looks goes behind. */
static bool try_all(struct attempt *a, bool *is_whole)
{
    uint64_t cluster_len = a->old->header.cluster_len;
    uint64_t rooms[] = {img_min(cluster_len, LIBVIRT_REACH), cluster_len};
    uint64_t header_lens[MAX_HEADER_LENS];
    size_t nr = list_header_lens(a->old, a->header.version, header_lens);

    for (size_t room = 0; room < 2; room++) {
        a->room = rooms[room];
        for (size_t i = 0; i < nr; i++) {
            a->header.header_len = (uint32_t)header_lens[i];
            if (try_header_len(a, is_whole)) {
                return true;
            }
        }
    }
    return false;
}

int header_page_plan(const struct header_page *old,
                     const struct qcow2_header *header,
                     const struct qcow2_extensions *extensions,
                     struct header_page *out, bool *is_whole,
                     struct img_error *err)
{
    struct attempt a = {
        .old = old,
        .header = *header,
        .extensions = *extensions,
        .bytes = img_calloc(1, old->header.cluster_len, err),
    };

    if (!a.bytes) {
        return -1;
    }
    if (a.header.version < 3) {
        a.extensions.features_nr = 0; /* the encoder has none there */
    }
    if (!try_all(&a, is_whole)) {
        free(a.bytes);
        return fail_room(&a, err);
    }
    return header_page_decode(a.bytes, old->header.cluster_len, out, err);
}
