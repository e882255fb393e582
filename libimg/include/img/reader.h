/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A reader: pieces of one file, in an order that is known ahead, several of
 * them under way at a time. For one thread; the buffers are the reader's.
 */
#ifndef IMG_READER_H
#define IMG_READER_H

#include <img/engine.h>

struct img_reader;

struct img_piece {
    uint64_t off;
    size_t len;
    const uint8_t *bytes; /* what is missing of the file is zeros */
};

struct img_reader_options {
    struct img_file *file; /* borrowed */
    enum img_engine_kind engine;
    struct img_ring_stock *rings; /* where its ring may come from, or NULL */
    unsigned depth;               /* pieces under way, at least 1 */
    size_t max_len; /* of a piece; DEPTH times this is what is allocated */
    /* Where the next piece is (off, len); false: there is none. */
    bool (*next)(void *opaque, struct img_piece *piece);
    void *opaque;
};

int img_reader_new(const struct img_reader_options *options,
                   struct img_reader **out, struct img_error *err);
/* NULL is fine. Waits for what is under way. */
void img_reader_free(struct img_reader *reader);
/* For IMG_AUTO. */
void img_reader_free_ptr(struct img_reader **reader);

/*
 * The next piece, in the order of next(); its bytes are good until the next
 * call. NULL in *out at the end. IMG_IO when it could not be read.
 */
int img_reader_get(struct img_reader *reader, const struct img_piece **out,
                   struct img_error *err);

#endif
