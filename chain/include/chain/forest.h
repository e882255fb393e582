/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A forest: many images and who backs whom among them, in both directions.
 *
 * Only headers are read, each file is opened once and closed again. Files
 * are told apart by device and inode (or by block device), so that a file
 * with several names is one node.
 */
#ifndef CHAIN_FOREST_H
#define CHAIN_FOREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/file.h>

struct chain_forest;

#define CHAIN_FOREST_NONE SIZE_MAX
/* More files than anybody looks at; a limit because folders are hostile. */
#define CHAIN_FOREST_MAX_FILES 20000u

struct chain_forest_options {
    const struct img_roots *roots;
    bool force_share; /* look at images that are in use */
    bool allow_probe; /* follow backing files of unrecorded format */
    bool recursive;   /* folders in folders, too */
    size_t max_files; /* 0: CHAIN_FOREST_MAX_FILES */
};

/* What is remarkable about a node, as bits. */
enum chain_forest_remark {
    CHAIN_FOREST_MISSING = 1 << 0,    /* the file is not there */
    CHAIN_FOREST_UNREADABLE = 1 << 1, /* see why */
    CHAIN_FOREST_LOOP = 1 << 2,       /* its backing files lead back to it */
    CHAIN_FOREST_UNDECLARED = 1 << 3, /* it does not record its base's format */
    CHAIN_FOREST_WRONG_FORMAT = 1
                                << 4, /* it records another than its base has */
    CHAIN_FOREST_NO_FILE = 1 << 5,    /* its backing name is no local file */
    CHAIN_FOREST_WRITABLE = 1 << 6, /* a base that may be written (mode bits) */
    CHAIN_FOREST_NEWER = 1 << 7,    /* a base changed after an overlay of it */
    CHAIN_FOREST_ORPHAN = 1 << 8,   /* in a folder, no base, no overlays */
};

/* An image, or a file that an image names. All borrowed from the forest. */
struct chain_forest_node {
    char *path;             /* as it was found first, raw bytes */
    const char *format;     /* how it was read; NULL: it was not */
    const char *looks_like; /* what its bytes claim; NULL: not known */
    bool is_probed;         /* format was neither recorded nor given */
    bool is_scanned;        /* found in a folder, not named */
    bool is_hidden;         /* in a folder, of no format anybody knows, and
                               no image names it */
    uint64_t virtual_len, allocated_len;
    char *backing_name;   /* NULL: none */
    char *backing_format; /* NULL: not recorded */
    char *data_path;      /* of its external data file; NULL: none */
    size_t backing;       /* index of its base, or CHAIN_FOREST_NONE */
    size_t first_overlay; /* of the images on it, or CHAIN_FOREST_NONE */
    size_t next_overlay;  /* the next image on the same base */
    unsigned remarks;     /* enum chain_forest_remark */
    char *why;            /* one line; NULL unless UNREADABLE, NO_FILE */
};

int chain_forest_new(const struct chain_forest_options *options,
                     struct chain_forest **out, struct img_error *err);
void chain_forest_free(struct chain_forest *forest);
/*
 * Add a file, or the images in a folder. Fails when PATH itself cannot be
 * looked at, and with IMG_LIMIT beyond max_files; what stands in a folder
 * never fails but becomes a node with a remark.
 */
int chain_forest_add(struct chain_forest *forest, const char *path,
                     struct img_error *err);
/* After the last chain_forest_add: open bases that were not added, draw links.
 */
int chain_forest_link(struct chain_forest *forest, struct img_error *err);

size_t chain_forest_len(const struct chain_forest *forest);
const struct chain_forest_node *
chain_forest_at(const struct chain_forest *forest, size_t idx);

#endif
