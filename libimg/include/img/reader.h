/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A reader: pieces of one file, in an order that is known ahead, several of
 * them under way at a time. What is to be worked out of each piece by itself
 * may be done by threads that the reader has; what comes out is handed over in
 * the order of the pieces, whoever was done first.
 *
 * A reader is for one thread; the buffers are the reader's.
 */
#ifndef IMG_READER_H
#define IMG_READER_H

#include <img/engine.h>

struct img_reader;

struct img_piece {
    uint64_t off;
    size_t len;
    const uint8_t *bytes; /* what is missing of the file is zeros */
    void *result;         /* result_len bytes that belong to the piece */
};

struct img_reader_options {
    struct img_file *file; /* borrowed */
    enum img_engine_kind engine;
    struct img_ring_stock *rings; /* where its rings may come from, or NULL */
    unsigned depth;               /* pieces under way, at least 1 */
    size_t max_len;    /* of a piece; DEPTH times this, and RESULT_LEN, is what
                          is allocated */
    size_t result_len; /* 0: none */
    /*
     * Where the next piece is (off, len), and what its result begins with (it
     * holds what an earlier piece left); false: there is none. Calling thread.
     */
    bool (*next)(void *opaque, struct img_piece *piece);
    /* Look at a piece that was read; NULL: nothing to do. Any thread, several
       at a time. */
    void (*work)(void *opaque, const struct img_piece *piece);
    void *opaque;
    /*
     * Threads that read and work; 0: the calling one does. As many as can be
     * had are enough, and none if none can.
     */
    unsigned threads;
};

int img_reader_new(const struct img_reader_options *options,
                   struct img_reader **out, struct img_error *err);
/* NULL is fine. Waits for what is under way. */
void img_reader_free(struct img_reader *reader);
/* For IMG_AUTO. */
void img_reader_free_ptr(struct img_reader **reader);

/*
 * The next piece, in the order of next(), after work(); its bytes and its
 * result are good until the next call. NULL in *out at the end. IMG_IO when it
 * could not be read.
 */
int img_reader_get(struct img_reader *reader, const struct img_piece **out,
                   struct img_error *err);

#endif
