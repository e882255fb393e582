/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Undo records: what the header said, to be brought back.
 *
 * Room: qcow2/edit. A record is, in big-endian words:
 *
 *    0  magic, 8 bytes          32  bytes of the first cluster that follow
 *    8  version of the record   36  reserved, 0
 *   12  length of the record    40  those bytes
 *   16  inode of the image;      n  CRC-32 of everything before
 *       0 for a device
 *   24  virtual size
 *
 * Device numbers are left out: they do not outlive a reboot. Only the backing
 * file's name and format and the feature names are brought back. Tables that
 * moved since stay where they are: what the old header says of them is stale.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/inflate.h>

#include "header_switch.h"

static const uint8_t undo_magic[8] = {'i', 'm', 'g', 'u', 'n', 'd', 'o', '\n'};
#define UNDO_VERSION 1u

enum {
    OFF_MAGIC = 0,
    OFF_VERSION = 8,
    OFF_RECORD_LEN = 12,
    OFF_INODE = 16,
    OFF_VIRTUAL_LEN = 24,
    OFF_PAGE_LEN = 32,
    OFF_PAGE = 40,
};
#define CRC_LEN 4u

static int inode_of(struct img_file *file, uint64_t *out, struct img_error *err)
{
    struct img_stamp stamp;

    *out = 0;
    if (img_file_kind(file) == IMG_FILE_BLOCK) {
        return 0;
    }
    if (img_file_stamp(file, &stamp, err)) {
        return -1;
    }
    *out = stamp.ino;
    return 0;
}

int qcow2_edit_undo_record(struct qcow2_edit *edit, uint8_t **out, size_t *len,
                           struct img_error *err)
{
    const struct qcow2_header *h = &edit->header;
    uint64_t page_len = edit->extensions.end_off;
    size_t record_len;
    uint64_t inode;
    uint8_t *record;

    if (h->backing_name_off != 0) {
        page_len = img_max(page_len, h->backing_name_off + h->backing_name_len);
    }
    record_len = OFF_PAGE + page_len + CRC_LEN;
    if (inode_of(edit->file, &inode, err)) {
        return -1;
    }
    record = img_calloc(1, record_len, err);
    if (!record) {
        return -1;
    }
    memcpy(record + OFF_MAGIC, undo_magic, sizeof(undo_magic));
    img_store_be32(record + OFF_VERSION, UNDO_VERSION);
    img_store_be32(record + OFF_RECORD_LEN, (uint32_t)record_len);
    img_store_be64(record + OFF_INODE, inode);
    img_store_be64(record + OFF_VIRTUAL_LEN, h->virtual_len);
    img_store_be32(record + OFF_PAGE_LEN, (uint32_t)page_len);
    memcpy(record + OFF_PAGE, edit->first, page_len);
    img_store_be32(record + record_len - CRC_LEN,
                   qcow2_crc32(record, record_len - CRC_LEN));
    *out = record;
    *len = record_len;
    return 0;
}

/* Is RECORD whole, and one that this program reads? */
static int check_record(const uint8_t *record, size_t len,
                        struct img_error *err)
{
    uint32_t found;

    if (len < OFF_PAGE + CRC_LEN ||
        memcmp(record, undo_magic, sizeof(undo_magic)) != 0) {
        return img_fail(err, IMG_FORMAT,
                        "undo record: found %zu bytes of something else,"
                        " expected a record of imgchain",
                        len);
    }
    found = img_load_be32(record + OFF_VERSION);
    if (found != UNDO_VERSION) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "undo record: found version %" PRIu32 ", expected %u",
                        found, UNDO_VERSION);
    }
    found = img_load_be32(record + OFF_RECORD_LEN);
    if (found != len) {
        return img_fail(err, IMG_CORRUPT,
                        "undo record: found %zu bytes, expected %" PRIu32, len,
                        found);
    }
    found = qcow2_crc32(record, len - CRC_LEN);
    if (found != img_load_be32(record + len - CRC_LEN) ||
        img_load_be32(record + OFF_PAGE_LEN) != len - OFF_PAGE - CRC_LEN) {
        return img_fail(err, IMG_CORRUPT,
                        "undo record: found checksum 0x%08" PRIx32
                        ", expected 0x%08" PRIx32,
                        found, img_load_be32(record + len - CRC_LEN));
    }
    return 0;
}

static int check_file(struct qcow2_edit *edit, const uint8_t *record,
                      struct img_error *err)
{
    uint64_t of_record = img_load_be64(record + OFF_INODE);
    uint64_t inode;

    if (inode_of(edit->file, &inode, err)) {
        return -1;
    }
    if (inode != of_record) {
        return img_fail(err, IMG_CHANGED,
                        "undo record: found one of another file (inode %" PRIu64
                        "), expected inode %" PRIu64,
                        of_record, inode);
    }
    return 0;
}

/* What an undo must find as it was. */
struct field {
    const char *name;
    uint64_t now, then;
};

static int check_fields(const struct header_page *now,
                        const struct header_page *then, struct img_error *err)
{
    const struct qcow2_header *a = &now->header, *b = &then->header;
    const struct field fields[] = {
        {"version", a->version, b->version},
        {"cluster_bits", a->cluster_bits, b->cluster_bits},
        {"size", a->virtual_len, b->virtual_len},
        {"crypt_method", a->crypt_method, b->crypt_method},
        {"l1_size", a->l1_entries, b->l1_entries},
        {"l1_table_offset", a->l1_off, b->l1_off},
        {"nb_snapshots", a->snapshots_nr, b->snapshots_nr},
        {"snapshots_offset", a->snapshots_off, b->snapshots_off},
        {"incompatible_features", a->incompatible, b->incompatible},
        {"refcount_order", a->refcount_order, b->refcount_order},
        {"unknown extensions", now->extensions.unknown_nr,
         then->extensions.unknown_nr},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].now != fields[i].then) {
            return img_fail(err, IMG_CHANGED,
                            "undo record: %s: found %" PRIu64
                            " in the image, expected %" PRIu64
                            " as in the record",
                            fields[i].name, fields[i].now, fields[i].then);
        }
    }
    return 0;
}

/* Names and formats change places between PAGE and THEN. */
static void take_names(struct header_page *page, struct header_page *then)
{
    struct qcow2_extensions *a = &page->extensions, *b = &then->extensions;
    struct qcow2_extensions kept = *a;

    a->backing_name = b->backing_name;
    a->backing_format = b->backing_format;
    a->features = b->features;
    a->features_nr = b->features_nr;
    b->backing_name = kept.backing_name;
    b->backing_format = kept.backing_format;
    b->features = kept.features;
    b->features_nr = kept.features_nr;
}

static int decode_then(const struct qcow2_edit *edit, const uint8_t *record,
                       struct header_page *out, struct img_error *err)
{
    uint32_t page_len = img_load_be32(record + OFF_PAGE_LEN);
    uint32_t len = qcow2_header_peek_cluster_len(record + OFF_PAGE, page_len);
    uint8_t *bytes;

    *out = (struct header_page){0};
    if (len != edit->header.cluster_len || page_len > len) {
        img_fail(err, IMG_CHANGED,
                 "undo record: found clusters of %" PRIu32
                 " bytes, expected %" PRIu32 " as in the image",
                 len, edit->header.cluster_len);
        return -1;
    }
    bytes = img_calloc(1, len, err);
    if (!bytes) {
        return -1;
    }
    memcpy(bytes, record + OFF_PAGE, page_len);
    return header_page_decode(bytes, len, out, err);
}

/* The header without what tells where the name is. */
static bool is_header_same(const struct header_page *a,
                           const struct header_page *b)
{
    uint32_t len = a->header.header_len;
    uint32_t name = 8, name_end = 20; /* backing_file_offset and _size */

    return len == b->header.header_len &&
           memcmp(a->bytes, b->bytes, name) == 0 &&
           memcmp(a->bytes + name_end, b->bytes + name_end, len - name_end) ==
               0;
}

/* The extensions but for the backing format and the feature names. */
static int encode_rest(const struct header_page *page, uint8_t **out,
                       size_t *len, struct img_error *err)
{
    struct qcow2_extensions rest = page->extensions;
    uint32_t room = page->header.cluster_len;

    rest.backing_format = NULL;
    rest.features_nr = 0;
    *out = img_calloc(1, room, err);
    if (!*out) {
        return -1;
    }
    return qcow2_extensions_encode(&page->header, &rest, false, *out, room, len,
                                   err);
}

/*
 * Can the image have the very bytes of the record again? What they refer to
 * is as it was, and they may replace what is there.
 */
static int check_exact(const struct header_page *now, struct header_page *then,
                       bool *out, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *a = NULL;
    IMG_AUTO(img_free_ptr) uint8_t *b = NULL;
    size_t a_len, b_len;

    if (encode_rest(now, &a, &a_len, err) ||
        encode_rest(then, &b, &b_len, err)) {
        return -1;
    }
    *out = is_header_same(now, then) && a_len == b_len &&
           memcmp(a, b, a_len) == 0 && header_page_may_replace(now, then);
    return 0;
}

/* Beyond the first sector what THEN does not use is what is there: NOW may
   use it. */
static void keep_unused(const struct header_page *now, struct header_page *then)
{
    uint64_t len = now->header.cluster_len;
    uint64_t name_off = then->header.backing_name_off;
    uint64_t name_end = name_off + then->header.backing_name_len;
    uint64_t off = img_max(then->extensions.end_off, HEADER_SECTOR_LEN);

    if (name_off != 0 && name_end > off) {
        if (name_off > off) {
            memcpy(then->bytes + off, now->bytes + off, name_off - off);
        }
        off = name_end;
    }
    if (off < len) {
        memcpy(then->bytes + off, now->bytes + off, len - off);
    }
}

static int restore(struct qcow2_edit *edit, struct header_page *then,
                   struct img_error *err)
{
    struct header_page now;
    bool is_exact = false;
    int result = -1;

    if (qcow2_edit_page(edit, &now, err)) {
        return -1;
    }
    keep_unused(&now, then);
    if (check_exact(&now, then, &is_exact, err) == 0) {
        if (is_exact) {
            result = qcow2_edit_store_page(edit, &now, then, err);
        } else {
            take_names(&now, then);
            result = qcow2_edit_switch_header(edit, &now.header,
                                              &now.extensions, err);
        }
    }
    header_page_fini(&now);
    return result;
}

int qcow2_edit_undo(struct qcow2_edit *edit, const uint8_t *record, size_t len,
                    struct img_error *err)
{
    struct header_page now, then;
    int result;

    if (check_record(record, len, err) || check_file(edit, record, err) ||
        qcow2_edit_commit(edit, err) || qcow2_edit_page(edit, &now, err)) {
        return -1;
    }
    if (decode_then(edit, record, &then, err)) {
        header_page_fini(&now);
        return -1;
    }
    result = check_fields(&now, &then, err);
    header_page_fini(&now);
    if (result == 0) {
        result = qcow2_edit_begin_change(edit, err);
    }
    if (result == 0) {
        result = restore(edit, &then, err);
    }
    header_page_fini(&then);
    return result;
}
