/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of a disk that is edited: see model.h. */
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>

#include "model.h"

static struct img_image *open_image(struct img_file *file,
                                    struct img_file *data_file)
{
    struct qcow2_options options = {0};
    struct img_image *image = NULL;
    struct img_error err = {0};

    if (qcow2_open(file, &options, &image, &err) < 0) {
        fuzz_require_error(&err);
        return NULL;
    }
    if (image->wants_data_file && data_file != NULL) {
        img_image_set_data_file(image, data_file);
    }
    return image;
}

bool model_init(struct model *model, struct img_file *file,
                struct img_file *data_file)
{
    struct img_image *image = open_image(file, data_file);
    bool is_read;

    memset(model, 0, sizeof(*model));
    if (image == NULL) {
        return false;
    }
    /* What a backing file would show, and no backing file. */
    model->below = image->backing_name != NULL ? 0xbb : 0;
    model->len = model->old_len = image->virtual_len;
    model->old = calloc(1, FUZZ_DISK_MAX);
    model->now = calloc(1, FUZZ_DISK_MAX);
    model->changes = calloc(1, FUZZ_DISK_MAX / MODEL_SECTOR);
    fuzz_require(model->old && model->now && model->changes);
    is_read = fuzz_guest_read(image, model->below, model->now);
    img_image_free(image);
    memcpy(model->old, model->now, FUZZ_DISK_MAX);
    return is_read;
}

void model_free(struct model *model)
{
    free(model->old);
    free(model->now);
    free(model->changes);
}

void model_set(struct model *model, uint64_t off, uint64_t len, uint8_t byte)
{
    memset(model->now + off, byte, len);
    for (uint64_t i = off / MODEL_SECTOR;
         i < img_div_up(off + len, MODEL_SECTOR); i++) {
        model->changes[i] = model->changes[i] ? 2 : 1;
    }
}

void model_resize(struct model *model, uint64_t len)
{
    fuzz_require(len <= FUZZ_DISK_MAX);
    if (len > model->len) {
        memset(model->now + model->len, 0, len - model->len);
    }
    model->len = len;
}

void model_commit(struct model *model)
{
    memcpy(model->old, model->now, FUZZ_DISK_MAX);
    memset(model->changes, 0, FUZZ_DISK_MAX / MODEL_SECTOR);
    model->old_len = model->len;
}

/* Each sector of SEEN is new, or, after a failure, old or uncertain. */
static void require_sectors(const struct model *model, const uint8_t *seen,
                            uint64_t len, bool failed)
{
    for (uint64_t off = 0, n; off < len; off += n) {
        n = img_min(MODEL_SECTOR, len - off);
        if (memcmp(seen + off, model->now + off, n) != 0) {
            fuzz_require(failed);
            fuzz_require(model->changes[off / MODEL_SECTOR] == 2 ||
                         memcmp(seen + off, model->old + off, n) == 0);
        }
    }
}

void model_require(const struct model *model, struct img_file *file,
                   struct img_file *data_file, bool failed)
{
    struct img_image *image = open_image(file, data_file);
    uint8_t *seen = malloc(FUZZ_DISK_MAX);

    fuzz_require(image != NULL && seen != NULL);
    fuzz_require(image->virtual_len == model->len ||
                 (failed && image->virtual_len == model->old_len));
    fuzz_require(fuzz_guest_read(image, model->below, seen));
    require_sectors(model, seen, img_min(image->virtual_len, model->len),
                    failed);
    img_image_free(image);
    free(seen);
}
