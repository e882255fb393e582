/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the two tables of a VHDX file, and items of its metadata. */
#ifndef VHDX_TABLES_H
#define VHDX_TABLES_H

#include <img/file.h>

#define VHDX_GUID_LEN 16u

/* A kind of metadata item: its GUID as it lies in the file. */
struct img_vhdx_item {
    const char *what;
    uint8_t id[VHDX_GUID_LEN];
    uint32_t len; /* bytes of it that must be there */
};

struct img_vhdx_range {
    uint64_t off; /* in the file */
    uint64_t len;
};

struct img_vhdx_metadata {
    struct img_file *file; /* borrowed */
    struct img_vhdx_range region;
    uint8_t *table;
    size_t entries_nr;
};

/* Follow the region table to the metadata table. Release with fini. */
int img_vhdx_metadata_load(struct img_file *file, struct img_vhdx_metadata *out,
                           struct img_error *err);
void img_vhdx_metadata_fini(struct img_vhdx_metadata *metadata);

/* Where the block allocation table is. */
int img_vhdx_bat_find(struct img_file *file, struct img_vhdx_range *out,
                      struct img_error *err);

/* Where the item is; out->len is 0 when the image has none. */
int img_vhdx_item_find(const struct img_vhdx_metadata *metadata,
                       const struct img_vhdx_item *item,
                       struct img_vhdx_range *out, struct img_error *err);

/* The first item->len bytes of an item that every image must have. */
int img_vhdx_item_load(const struct img_vhdx_metadata *metadata,
                       const struct img_vhdx_item *item, uint8_t *out,
                       struct img_error *err);

#endif
