/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Header extensions (specification: "Header extensions", "String header
 * extensions", "Feature name table", "Bitmaps extension", "Full disk
 * encryption header pointer") and the backing file name. Pure: no I/O.
 */
#ifndef QCOW2_EXTENSIONS_H
#define QCOW2_EXTENSIONS_H

#include <qcow2/header.h>

/* An extension this program does not know: kept byte for byte. */
struct qcow2_unknown_extension {
    uint32_t type;
    uint32_t len;
    uint64_t off;  /* of the data in the file */
    uint8_t *data; /* own copy */
};

enum qcow2_feature_kind {
    QCOW2_FEATURE_INCOMPATIBLE = 0,
    QCOW2_FEATURE_COMPATIBLE = 1,
    QCOW2_FEATURE_AUTOCLEAR = 2,
};

struct qcow2_feature_name {
    uint8_t kind; /* enum qcow2_feature_kind, or unknown */
    uint8_t bit;
    char name[47]; /* NUL-terminated here, raw bytes */
};

struct qcow2_extensions {
    char *backing_name;   /* NULL: none */
    char *backing_format; /* NULL: not recorded */
    char *data_file_name; /* NULL: not recorded */
    struct qcow2_feature_name *features;
    size_t features_nr;
    bool has_crypto;
    uint64_t crypto_off, crypto_len;
    bool has_bitmaps; /* the extension is there */
    uint32_t bitmaps_nr;
    uint64_t bitmap_directory_off, bitmap_directory_len;
    struct qcow2_unknown_extension *unknown;
    size_t unknown_nr;
    uint64_t end_off; /* first byte after the last extension and end mark */
    /*
     * For other readers (libvirt looks at the first 33,280 bytes only and
     * does not round extension lengths up to 8): where the text of the
     * backing format begins in the file (0: not recorded) and whether an
     * extension of unaligned length stands before it.
     */
    uint64_t backing_format_off;
    bool is_backing_format_hidden;
};

/*
 * Decode the extensions and the backing name from the first cluster (BUF,
 * LEN bytes of it, as many as the file has). One pass, linear time, each
 * length checked before it is rounded up. Refused as IMG_CORRUPT: a length
 * beyond the area, a known type twice, a backing format over 15 bytes, a
 * NUL byte inside a name, a bitmaps extension that is not 24 bytes or whose
 * reserved field is set, a crypto pointer that is not 16 bytes or stands in
 * an image without LUKS, a LUKS image without one, a data file name without
 * incompatible bit 2, a backing name offset with length 0, inside header or
 * extensions, or beyond the first cluster. Numbers of the bitmaps extension
 * are judged only when the autoclear bit vouches for them. More unknown
 * extensions or feature names than the limits of geometry.h are IMG_LIMIT.
 * An empty backing format counts as not recorded, as in QEMU.
 * On failure nothing is kept. Free with qcow2_extensions_fini.
 */
int qcow2_extensions_decode(const struct qcow2_header *header,
                            const uint8_t *buf, size_t len,
                            struct qcow2_extensions *out,
                            struct img_error *err);
/* Accepts a zeroed or half-made value. */
void qcow2_extensions_fini(struct qcow2_extensions *extensions);

/*
 * IMG_UNSUPPORTED when an incompatible bit is set that this program does not
 * know; the text gives bit numbers and, where the feature name table has
 * them, names (escaped).
 */
int qcow2_features_check(const struct qcow2_header *header,
                         const struct qcow2_extensions *extensions,
                         struct img_error *err);

/*
 * Values to bytes: header, extensions and backing name as the first LEN bytes
 * (a cluster) of an image, at BUF, the rest zeroed. The backing format
 * extension goes first, where every reader finds it, each extension is padded
 * to eight bytes, unknown ones are kept. The feature name table goes last and
 * is left out where it does not fit: FEATURES of EXTENSIONS and, with
 * WITH_FEATURE_NAMES, the names of all features known here (in clusters of at
 * least 8 KiB, as in QEMU). The backing name follows the end mark. Sets
 * HEADER's backing_name_off and backing_name_len. IMG_LIMIT when it does not
 * fit into the cluster.
 */
int qcow2_first_cluster_encode(struct qcow2_header *header,
                               const struct qcow2_extensions *extensions,
                               bool with_feature_names, uint8_t *buf,
                               size_t len, struct img_error *err);

/*
 * Only the extension area, from OFF of a cluster on, as above, end mark
 * included; *out_len is its length. IMG_LIMIT beyond ROOM bytes.
 */
int qcow2_extensions_encode(const struct qcow2_header *header,
                            const struct qcow2_extensions *extensions,
                            bool with_feature_names, uint8_t *buf, size_t room,
                            size_t *out_len, struct img_error *err);

#endif
