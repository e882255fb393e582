/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing the first cluster: header, extensions, backing file name
 * (specification: "Header", "Header extensions").
 *
 * Room: qcow2/codec, pure. The backing format comes first: libvirt looks at
 * the beginning of the area only. The feature name table is the largest and
 * the least needed part: it comes last and only where it fits.
 */
#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/extensions.h>

#include "extension_layout.h"

/* The specification's names of what this program knows, as QEMU has them. */
static const struct qcow2_feature_name known_features[] = {
    {QCOW2_FEATURE_INCOMPATIBLE, 0, "dirty bit"},
    {QCOW2_FEATURE_INCOMPATIBLE, 1, "corrupt bit"},
    {QCOW2_FEATURE_INCOMPATIBLE, 2, "external data file"},
    {QCOW2_FEATURE_INCOMPATIBLE, 3, "compression type"},
    {QCOW2_FEATURE_INCOMPATIBLE, 4, "extended L2 entries"},
    {QCOW2_FEATURE_COMPATIBLE, 0, "lazy refcounts"},
    {QCOW2_FEATURE_AUTOCLEAR, 0, "bitmaps"},
    {QCOW2_FEATURE_AUTOCLEAR, 1, "raw external data"},
};
#define KNOWN_FEATURES_NR (sizeof(known_features) / sizeof(known_features[0]))

/*
 * In smaller clusters there are no names, as in QEMU: they would leave little
 * to a backing file's name.
 */
#define MIN_CLUSTER_LEN_FOR_NAMES 8192u

/* The area so far. */
struct encoder {
    uint8_t *buf;
    size_t room;
    size_t len;
    bool is_full; /* something did not fit */
};

/* Begin an extension of LEN bytes; where its data goes, or NULL. */
static uint8_t *add_item(struct encoder *e, uint32_t type, size_t len)
{
    size_t padded_len = img_align_up(len, 8);
    uint8_t *head = e->buf + e->len;

    if (e->is_full || e->room - e->len < EXTENSION_HEAD_LEN + padded_len) {
        e->is_full = true;
        return NULL;
    }
    img_store_be32(head, type);
    img_store_be32(head + 4, (uint32_t)len);
    memset(head + EXTENSION_HEAD_LEN, 0, padded_len);
    e->len += EXTENSION_HEAD_LEN + padded_len;
    return head + EXTENSION_HEAD_LEN;
}

static void add_bytes(struct encoder *e, uint32_t type, const void *bytes,
                      size_t len)
{
    uint8_t *data = add_item(e, type, len);

    if (data != NULL && len > 0) {
        memcpy(data, bytes, len);
    }
}

static void add_text(struct encoder *e, uint32_t type, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        add_bytes(e, type, text, strlen(text));
    }
}

static void add_crypto(struct encoder *e, const struct qcow2_extensions *x)
{
    uint8_t *data = add_item(e, QCOW2_EXT_CRYPTO, CRYPTO_LEN);

    if (data != NULL) {
        img_store_be64(data, x->crypto_off);
        img_store_be64(data + 8, x->crypto_len);
    }
}

static void add_bitmaps(struct encoder *e, const struct qcow2_extensions *x)
{
    uint8_t *data = add_item(e, QCOW2_EXT_BITMAPS, BITMAPS_LEN);

    if (data != NULL) {
        img_store_be32(data, x->bitmaps_nr);
        img_store_be64(data + 8, x->bitmap_directory_len);
        img_store_be64(data + 16, x->bitmap_directory_off);
    }
}

static bool is_known_feature(const struct qcow2_feature_name *feature)
{
    for (size_t i = 0; i < KNOWN_FEATURES_NR; i++) {
        if (known_features[i].kind == feature->kind &&
            known_features[i].bit == feature->bit) {
            return true;
        }
    }
    return false;
}

static uint8_t *put_features(uint8_t *at,
                             const struct qcow2_feature_name *features,
                             size_t nr, bool with_known)
{
    for (size_t i = 0; i < nr; i++) {
        const struct qcow2_feature_name *f = &features[i];

        if (!with_known && is_known_feature(f)) {
            continue;
        }
        at[0] = f->kind;
        at[1] = f->bit;
        memcpy(at + 2, f->name, FEATURE_NAME_LEN);
        at += FEATURE_LEN;
    }
    return at;
}

/* The table is whole or not there at all; that it is not is no failure. */
static void add_features(struct encoder *e, const struct qcow2_extensions *x,
                         bool with_known)
{
    size_t nr = x->features_nr + (with_known ? KNOWN_FEATURES_NR : 0);
    bool was_full = e->is_full;
    uint8_t *data;

    for (size_t i = 0; with_known && i < x->features_nr; i++) {
        nr -= is_known_feature(&x->features[i]);
    }
    if (nr == 0) {
        return;
    }
    data = add_item(e, QCOW2_EXT_FEATURE_NAMES, nr * FEATURE_LEN);
    if (data == NULL) {
        e->is_full = was_full;
        return;
    }
    if (with_known) {
        data = put_features(data, known_features, KNOWN_FEATURES_NR, true);
    }
    put_features(data, x->features, x->features_nr, !with_known);
}

int qcow2_extensions_encode(const struct qcow2_header *header,
                            const struct qcow2_extensions *extensions,
                            bool with_feature_names, uint8_t *buf, size_t room,
                            size_t *out_len, struct img_error *err)
{
    struct encoder e = {.buf = buf, .room = room};

    if (room < EXTENSION_HEAD_LEN) {
        e.is_full = true;
    } else {
        e.room -= EXTENSION_HEAD_LEN; /* for the end mark */
    }
    add_text(&e, QCOW2_EXT_BACKING_FORMAT, extensions->backing_format);
    if (header->has_data_file) {
        add_text(&e, QCOW2_EXT_DATA_FILE, extensions->data_file_name);
    }
    if (extensions->has_crypto) {
        add_crypto(&e, extensions);
    }
    if (extensions->has_bitmaps) {
        add_bitmaps(&e, extensions);
    }
    for (size_t i = 0; i < extensions->unknown_nr; i++) {
        add_bytes(&e, extensions->unknown[i].type, extensions->unknown[i].data,
                  extensions->unknown[i].len);
    }
    if (header->version >= 3) {
        add_features(&e, extensions,
                     with_feature_names &&
                         header->cluster_len >= MIN_CLUSTER_LEN_FOR_NAMES);
    }
    if (e.is_full) {
        return img_fail(err, IMG_LIMIT,
                        "header extensions: found more than the %zu bytes that"
                        " there is room for in the first cluster",
                        room);
    }
    memset(buf + e.len, 0, EXTENSION_HEAD_LEN);
    *out_len = e.len + EXTENSION_HEAD_LEN;
    return 0;
}

/* What other readers bound, whatever room there is. */
static int check_texts(const struct qcow2_extensions *x, struct img_error *err)
{
    size_t name_len = x->backing_name ? strlen(x->backing_name) : 0;
    size_t format_len = x->backing_format ? strlen(x->backing_format) : 0;

    if (name_len > QCOW2_MAX_BACKING_NAME_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "backing file name: found %zu bytes, expected at most"
                        " %u",
                        name_len, QCOW2_MAX_BACKING_NAME_LEN);
    }
    if (format_len > QCOW2_MAX_BACKING_FORMAT_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "backing format: found %zu bytes, expected at most %u",
                        format_len, QCOW2_MAX_BACKING_FORMAT_LEN);
    }
    return 0;
}

int qcow2_first_cluster_encode(struct qcow2_header *header,
                               const struct qcow2_extensions *extensions,
                               bool with_feature_names, uint8_t *buf,
                               size_t len, struct img_error *err)
{
    size_t name_len =
        extensions->backing_name ? strlen(extensions->backing_name) : 0;
    size_t area_len = 0, room;

    if (check_texts(extensions, err) < 0) {
        return -1;
    }
    if (len < header->header_len || len - header->header_len < name_len) {
        return img_fail(err, IMG_LIMIT,
                        "backing file name: found %zu bytes, expected it to"
                        " have room in the first cluster of %zu bytes",
                        name_len, len);
    }
    memset(buf, 0, len);
    room = len - header->header_len - name_len;
    if (qcow2_extensions_encode(header, extensions, with_feature_names,
                                buf + header->header_len, room, &area_len,
                                err) < 0) {
        return -1;
    }
    header->backing_name_off = 0;
    header->backing_name_len = (uint32_t)name_len;
    if (name_len > 0) {
        header->backing_name_off = header->header_len + area_len;
        memcpy(buf + header->backing_name_off, extensions->backing_name,
               name_len);
    }
    qcow2_header_encode(header, buf);
    return 0;
}
