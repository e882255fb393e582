/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the headers of sparse VMDK files. */
#ifndef VMDK_SPARSE_H
#define VMDK_SPARSE_H

#include <img/file.h>

#define VMDK_SPARSE_MAGIC "KDMV"
#define VMDK_COWD_MAGIC "COWD"
#define VMDK_MAGIC_LEN 4u

struct img_vmdk_sparse {
    uint64_t sectors;         /* 0: the descriptor tells */
    uint64_t cluster_sectors; /* a "grain" */
    bool is_compressed;
    uint64_t desc_off; /* 0: no descriptor inside */
    uint64_t desc_len;
    /* Of hosted sparse files only, as the header or its footer has them. */
    uint64_t directory_off;
    uint32_t table_entries;
    bool has_footer;
};

/* Read the hosted sparse ("KDMV") header, and its footer if that counts. */
int img_vmdk_sparse_load(struct img_file *file, struct img_vmdk_sparse *out,
                         struct img_error *err);
/* Read the header of an ESX copy-on-write disk ("COWD"). */
int img_vmdk_cowd_load(struct img_file *file, struct img_vmdk_sparse *out,
                       struct img_error *err);

#endif
