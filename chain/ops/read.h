/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads: how guest bytes get from where an extent says they lie into a
 * buffer. Stretches of the same file and of the same compressed unit that
 * follow each other become one read. Pure but for inflating.
 */
#ifndef CHAIN_OPS_READ_H
#define CHAIN_OPS_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/engine.h>
#include <img/image.h>

/* What a view shows of a stretch: zeros, data or part of a unit. */
struct chain_stretch {
    struct img_extent e;           /* cut to the stretch */
    const struct img_image *image; /* of the layer it comes from */
};

struct chain_read {
    struct img_file *file; /* borrowed */
    uint64_t host_off;
    uint32_t len; /* bytes it brings to buf_off */
    uint32_t buf_off;
    /* Compressed: LEN bytes from part_off of the inflated unit. */
    const struct img_image *image; /* NULL: plain bytes */
    struct img_extent unit;
    uint32_t part_off;
};

/* LEN guest bytes at OFF, which STRETCH shows, go to BUF_OFF. */
void chain_read_init(struct chain_read *read,
                     const struct chain_stretch *stretch, uint64_t off,
                     uint32_t len, uint32_t buf_off);
/* The same by making READ longer; false: it cannot be. */
bool chain_read_extend(struct chain_read *read,
                       const struct chain_stretch *stretch, uint64_t off,
                       uint32_t len, uint32_t buf_off);

/* What one thread needs to inflate. Zeroed is empty. */
struct chain_inflate {
    struct img_inflater *inflater; /* made when first needed */
    uint8_t *scratch;              /* one inflated unit */
    size_t scratch_cap;
};

void chain_inflate_fini(struct chain_inflate *inflate);
/* The bytes of READ, which is compressed, to OUT; STORED has its unit's. */
int chain_inflate_read(struct chain_inflate *inflate,
                       const struct chain_read *read, const void *stored,
                       uint8_t *out, struct img_error *err);

/* REQUEST has failed: tell it in words, with the file's path. */
void chain_request_error(const struct img_request *request,
                         struct img_error *err);

#endif
