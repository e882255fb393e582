/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A parcel: guest bytes on their way through the mover.
 *
 * It is gathered as runs (data or zeros, in guest order) and as fetches that
 * bring the bytes of the data runs into one buffer, one run after the other.
 * Computing then turns the runs into outcomes: what a sink is asked to find
 * places for. A parcel belongs to the walking thread, but for the time that
 * it is being computed.
 */
#ifndef CHAIN_OPS_PARCEL_H
#define CHAIN_OPS_PARCEL_H

#include <img/error.h>
#include <qcow2/fresh.h>

#include "pool.h"
#include "read.h"

enum chain_run_kind {
    CHAIN_RUN_ZERO,
    CHAIN_RUN_DATA,
    CHAIN_RUN_STORED, /* one compressed unit; outcomes only */
};

struct chain_run {
    enum chain_run_kind kind;
    uint64_t guest_off, len;
    uint32_t buf_off;    /* in the bytes; stored: in the packed ones */
    uint32_t stored_len; /* stored: bytes that it has become */
};

/* Where bytes of the buffer come from. */
struct chain_fetch {
    struct chain_read read; /* file NULL: they are zeros */
    uint32_t window;        /* compressed: its stored bytes are in there */
};

/* Stored bytes of compressed units that lie near each other, read at once. */
struct chain_window {
    struct img_file *file;
    uint64_t off, len;
    uint64_t buf_off; /* in the parcel's stored bytes */
};

enum chain_parcel_state {
    CHAIN_PARCEL_GATHERED, /* has no memory yet */
    CHAIN_PARCEL_READING,
    CHAIN_PARCEL_WORKING, /* waits for, or is with, a computing thread */
    CHAIN_PARCEL_READY,   /* to be placed, when it is the oldest */
    CHAIN_PARCEL_PLACED,  /* all its writes are under way */
};

struct chain_parcel {
    struct chain_parcel *next;
    enum chain_parcel_state state;

    /* Gathered. */
    struct chain_run *runs;
    struct chain_fetch *fetches;
    struct chain_window *windows;
    size_t runs_nr, runs_cap, fetches_nr, fetches_cap;
    size_t windows_nr, windows_cap;
    uint64_t guest_len;
    uint32_t buf_len;
    bool has_compressed; /* there is something to inflate */

    /* In flight. */
    uint8_t *buf, *stored, *packed;
    size_t stored_len, packed_len;
    size_t read_idx; /* of the next fetch or window to be read */
    unsigned pending;

    /* The outcome of computing. */
    struct chain_run *outs;
    size_t outs_nr, outs_cap;
    uint64_t found_zero_len;
    bool is_failed;
    struct img_error error;

    /* Placing, as far as it has come. */
    size_t out_idx;
    uint64_t out_done;
    struct qcow2_place place; /* what is left of the last one */
};

void chain_parcel_free(struct chain_parcel *parcel);
/* Make it empty; its arrays keep their room. */
void chain_parcel_reset(struct chain_parcel *parcel);

/* [OFF, OFF + LEN) reads as zeros. */
int chain_parcel_add_zero(struct chain_parcel *parcel, uint64_t off,
                          uint64_t len, struct img_error *err);
/* It is data, which STRETCH shows; NULL: zeros that are to be data. */
int chain_parcel_add_data(struct chain_parcel *parcel, uint64_t off,
                          uint32_t len, const struct chain_stretch *stretch,
                          struct img_error *err);
/* Does the last run hold data that ends at OFF? */
bool chain_parcel_is_open_at(const struct chain_parcel *parcel, uint64_t off);

/* Bytes of memory that it needs in flight; PACKED: it will be compressed. */
uint64_t chain_parcel_cost(const struct chain_parcel *parcel, bool packed);
/* Get that memory. Bytes that are known to be zeros are put in. */
int chain_parcel_load(struct chain_parcel *parcel, bool packed,
                      struct chain_pool *pool, struct img_error *err);
/* Give back what inflating has used up; give back all. */
void chain_parcel_drop_stored(struct chain_parcel *parcel,
                              struct chain_pool *pool);
void chain_parcel_unload(struct chain_parcel *parcel, struct chain_pool *pool);

/*
 * The next read that the parcel needs, into REQUEST; false: there is none
 * any more.
 */
bool chain_parcel_next_read(struct chain_parcel *parcel,
                            struct img_request *request);

/* One more outcome; neighbours of a kind become one. */
int chain_parcel_add_out(struct chain_parcel *parcel,
                         const struct chain_run *run, struct img_error *err);

#endif
