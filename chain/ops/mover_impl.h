/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mover's state, for its own files: mover_gather.c (what was pushed
 * becomes parcels), mover.c (parcels flow), mover_place.c (outcomes become
 * writes).
 *
 * A parcel is gathered, read, computed, placed and written. All but computing
 * is done by the thread that owns the mover. Parcels are placed in guest
 * order; how many are on their way is bounded by bytes and adapts.
 */
#ifndef CHAIN_OPS_MOVER_IMPL_H
#define CHAIN_OPS_MOVER_IMPL_H

#include "hands.h"
#include "mover.h"
#include "pace.h"

/* One read or write. */
struct chain_io {
    struct img_request request;
    struct chain_parcel *parcel; /* NULL: a write of packed bytes */
    uint8_t *stage;              /* its buffer, given back afterwards */
    struct chain_io *next;       /* of those that are free */
};

/*
 * Packed bytes that follow each other in the file are written together, in
 * whole blocks but for the last, so that no two writes touch one block.
 */
struct chain_stage {
    struct img_file *file; /* NULL: empty */
    uint64_t host_off;     /* of buf, a multiple of the block */
    size_t begin, end;     /* bytes of buf that are to be written */
    uint8_t *buf;
};

struct chain_mover {
    struct chain_sink *sink;
    struct chain_mover_options options;
    uint64_t budget_len;
    uint32_t unit;       /* pushed extents come in this unit */
    uint32_t block;      /* parcels end at multiples of this */
    uint32_t target_len; /* usual length of a parcel's bytes */
    bool is_sharing;
    struct chain_moved moved;
    struct img_error error; /* the first one; nothing goes on after it */
    bool is_failed;

    /* mover_gather.c */
    struct chain_parcel *open;   /* NULL: none */
    uint64_t end_off;            /* all before was pushed */
    uint64_t head_off, head_len; /* zeros of a unit that is not complete */
    struct qcow2_place given;    /* by the sink already, */
    uint64_t given_off;          /* for these guest bytes */
    struct chain_parcel *spare;  /* parcels for use */
    bool is_begun;               /* end_off means something */

    /* mover.c */
    struct img_engine *engine;
    struct chain_io ios[CHAIN_MOVER_DEPTH], *free_ios;
    struct chain_pool pool;
    struct chain_pace pace;
    struct chain_hands hands;
    bool is_working; /* there has been something to compute by threads */
    struct chain_parcel *oldest, **newest; /* not all placed yet */
    struct chain_parcel *placed;           /* being written */
    unsigned parcels_nr;                   /* on their way, placed or not */
    uint64_t in_flight_len;
    uint64_t done_len; /* guest bytes */

    /* mover_place.c */
    struct chain_stage stage;
    uint8_t *zeros; /* for zeros that must be written */
};

/* mover_gather.c: an empty parcel, and back. */
struct chain_parcel *chain_mover_parcel(struct chain_mover *mover,
                                        struct img_error *err);
void chain_mover_recycle(struct chain_mover *mover,
                         struct chain_parcel *parcel);
/* What is gathered so far goes on its way. */
int chain_mover_close_parcel(struct chain_mover *mover, struct img_error *err);

/* mover.c: PARCEL is complete; waits for room. */
int chain_mover_send(struct chain_mover *mover, struct chain_parcel *parcel,
                     struct img_error *err);
/* Wait until all that was sent is placed; ALL: is written. */
int chain_mover_settle(struct chain_mover *mover, bool all,
                       struct img_error *err);
/* The request that IO holds is under way; NULL IO cannot be. */
int chain_mover_submit(struct chain_mover *mover, struct chain_io *io,
                       struct img_error *err);
/* NULL: all are in use. */
struct chain_io *chain_mover_io(struct chain_mover *mover);

/* mover_place.c: place PARCEL, the oldest one, as far as requests are free.
 *done: all of it is. */
int chain_mover_place(struct chain_mover *mover, struct chain_parcel *parcel,
                      bool *done, struct img_error *err);
/* Write what packed bytes wait to be joined by others; *done false: there was
   no free request. */
int chain_mover_flush_stage(struct chain_mover *mover, bool *done,
                            struct img_error *err);

#endif
