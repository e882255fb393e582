/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest must see while an image is edited: the bytes of the disk, as
 * they were at the last commit and as they will be after the next.
 */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "image.h"

#define MODEL_SECTOR 512u

struct model {
    uint8_t below; /* what the image does not own reads as */
    uint64_t len;  /* of the disk */
    uint64_t old_len;
    uint8_t *old, *now; /* room for FUZZ_DISK_MAX bytes */
    /* Sectors that were changed more than once since the last commit: what
       was written in between may be seen, too. */
    uint8_t *changes;
};

/* False: the disk is too large, or cannot be read. Free what is there. */
bool model_init(struct model *model, struct img_file *file,
                struct img_file *data_file);
void model_free(struct model *model);
/* [OFF, OFF + LEN) becomes BYTE. */
void model_set(struct model *model, uint64_t off, uint64_t len, uint8_t byte);
/* Another size: what is new reads as zeros. */
void model_resize(struct model *model, uint64_t len);
void model_commit(struct model *model);
/* The image shows what the model has; where it FAILED, that or what it had at
   the last commit. */
void model_require(const struct model *model, struct img_file *file,
                   struct img_file *data_file, bool failed);

#endif
