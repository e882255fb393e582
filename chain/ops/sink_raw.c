/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sink that is a raw image: see mover.h. Guest offsets are the file's.
 */
#include "mover.h"

/* A file system's usual block. Where zeros have to be made, and not only left
   out, asking for short ones costs more than writing them. */
#define GRANULE 4096u
#define GRANULE_NOT_ZERO 65536u

static int raw_data(struct chain_sink *sink, uint64_t off, uint64_t len,
                    struct qcow2_place *out, struct img_error *err)
{
    (void)err;
    *out = (struct qcow2_place){
        .file = ((struct chain_raw_sink *)sink)->file,
        .host_off = off,
        .len = len,
    };
    return 0;
}

static int raw_zero(struct chain_sink *sink, uint64_t off, uint64_t len,
                    bool *as_data, struct img_error *err)
{
    const struct chain_raw_sink *raw = (struct chain_raw_sink *)sink;

    *as_data = false;
    if (raw->is_zero) {
        return 0;
    }
    if (img_file_zero(raw->file, off, len, IMG_ZERO_UNMAP, err) != 0) {
        img_error_set_path(err, img_file_path(raw->file));
        return -1;
    }
    return 0;
}

static const struct chain_sink_ops raw_ops = {
    .data = raw_data,
    .zero = raw_zero,
};

void chain_raw_sink_init(struct chain_raw_sink *sink, struct img_file *file,
                         bool is_zero)
{
    *sink = (struct chain_raw_sink){
        .sink = {.ops = &raw_ops,
                 .granule = is_zero ? GRANULE : GRANULE_NOT_ZERO},
        .file = file,
        .is_zero = is_zero,
    };
}
