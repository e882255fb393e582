/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine, private: what a reader is made of.
 *
 * Slots form a ring: pieces are asked for in order from its tail and handed
 * out in order from its head, whichever of them is done first.
 */
#ifndef IMG_READER_IMPL_H
#define IMG_READER_IMPL_H

#include <img/reader.h>

struct img_reader_slot {
    struct img_request request;
    struct img_piece piece;
    uint8_t *buf;
    void *result;
    bool is_done;
};

struct img_reader {
    struct img_reader_options options;
    struct img_engine *engine;     /* NULL: a crew reads */
    struct img_reader_crew *crew;  /* NULL: the engine does, here */
    struct img_reader_slot *slots; /* options.depth of them */
    unsigned head;                 /* the next to be handed out */
    unsigned used;  /* from head on: handed out, under way or done */
    bool is_out;    /* the head was handed out */
    bool is_at_end; /* of the order */
};

/* -- reader_crew.c: threads that read and work. All calls are for the thread
   that the reader belongs to. */

/* NULL: no thread can be had. */
struct img_reader_crew *img_reader_crew_new(struct img_reader *reader);
/* NULL is fine. Waits for what is under way, and leaves the rest undone. */
void img_reader_crew_free(struct img_reader_crew *crew);
/* One more slot is asked for: the next of the ring. */
void img_reader_crew_ask(struct img_reader_crew *crew);
/* Sleep until the reader's head is done. */
int img_reader_crew_wait(struct img_reader_crew *crew, struct img_error *err);

#endif
