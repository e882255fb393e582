/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the text descriptor of a VMDK. */
#ifndef VMDK_DESC_H
#define VMDK_DESC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

/* QEMU reads as much of a descriptor file; 64 TiB of 2 GiB extents fit. */
#define VMDK_DESC_MAX ((1u << 20) - 1)

/* A line "RW 20480 FLAT "name" 0". */
struct img_vmdk_desc_extent {
    char type[16];
    uint64_t sectors;
    char *name; /* NULL: the type has none (ZERO) */
};

struct img_vmdk_desc {
    char *create_type; /* NULL: not said */
    char *parent_hint; /* NULL: no parent */
    bool has_cid, has_parent_cid;
    uint32_t cid, parent_cid;
    struct img_vmdk_desc_extent *extents;
    size_t extents_nr;
    uint64_t sectors; /* of all extents */
};

/*
 * Read the LEN bytes of TEXT (at most VMDK_DESC_MAX), up to the first NUL. OUT
 * is zeroed by the caller and released by img_vmdk_desc_fini, also after a
 * failure. No file that the text names is opened.
 */
int img_vmdk_desc_decode(const char *text, size_t len,
                         struct img_vmdk_desc *out, struct img_error *err);
void img_vmdk_desc_fini(struct img_vmdk_desc *desc);

#endif
