/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One copy, for its own files: copy_source.c (what is copied), copy_plan.c
 * (what it becomes), copy_existing.c (a destination that is there already),
 * copy_run.c (the bytes), copy_bitmaps.c, and copy.c, which puts them in order.
 */
#ifndef CHAIN_OPS_COPY_IMPL_H
#define CHAIN_OPS_COPY_IMPL_H

#include <chain/copy.h>
#include <chain/view.h>
#include <qcow2/fresh.h>

#include "copy_then.h"
#include "creation.h"

/* What the source holds, found by walking its map once. */
struct chain_survey {
    uint64_t data_len, zero_len;
    uint64_t push_len;     /* guest bytes that the mover will be given */
    uint64_t clusters_len; /* of the destination's clusters, or blocks of a
                              raw one, that hold data */
    bool is_cached;        /* most of the data is in the page cache */
};

struct chain_copying {
    const struct chain_copy_request *request;
    struct chain_copy_result *result;
    struct chain_create_request dest; /* the request's, made fit */
    chain_copy_step *then;            /* NULL: nothing; see copy_then.h */
    void *then_opaque;

    struct chain *source;
    struct chain_view *view;
    bool is_shallow; /* and there is a backing file to stand on */
    struct chain_survey survey;

    struct chain_create_plan plan;
    struct chain_creation creation;
    bool is_existing;       /* the destination was there and is written into */
    bool is_edited;         /* and stays an image all the while */
    bool is_blank;          /* and held no cluster of its own */
    char *data_file_name;   /* that it records; NULL: none */
    bool is_data_published; /* a new data file has its name already */
    bool is_begun;          /* the destination is not what it was any more */

    struct qcow2_fresh *fresh;
};

/* copy_source.c */
int chain_copy_open_source(struct chain_copying *copying,
                           struct img_error *err);
/* Open it again with O_DIRECT where that was asked for or is faster. */
int chain_copy_tune_source(struct chain_copying *copying,
                           struct img_error *err);
int chain_copy_survey(struct chain_copying *copying, struct img_error *err);
/*
 * The next range that the mover is to be given, from *off on: whole units of
 * UNIT_LEN. *len 0: there is none any more.
 */
int chain_copy_next(struct chain_copying *copying, uint32_t unit_len,
                    uint64_t *off, uint64_t *len, struct img_error *err);
/* Should the destination be opened with O_DIRECT? */
bool chain_copy_wants_direct(const struct chain_copying *copying);

/* copy_plan.c */
/* IMG_USAGE when PATH leads to a file of the source's chain. */
int chain_copy_check_apart(const struct chain_copying *copying,
                           const char *path, struct img_error *err);
/* Can what is planned hold compressed clusters, if any are asked for? */
int chain_copy_check_compress(const struct chain_copying *copying,
                              struct img_error *err);
int chain_copy_plan_new(struct chain_copying *copying, struct img_error *err);
/* Has the destination room for it? HELD_LEN bytes it has already. */
int chain_copy_check_space(struct chain_copying *copying, uint64_t space_left,
                           uint64_t held_len, struct img_error *err);

/* copy_existing.c: open it, judge it, plan to write into it. */
int chain_copy_open_existing(struct chain_copying *copying,
                             struct img_error *err);
/* copy_run.c: all bytes, and the header. The destination is then complete and
   flushed, but has no name yet. */
int chain_copy_run(struct chain_copying *copying, struct img_error *err);
/* Read both sides and compare. */
int chain_copy_verify(struct chain_copying *copying, struct img_error *err);

/* copy_bitmaps.c */
int chain_copy_check_bitmaps(struct chain_copying *copying,
                             struct img_error *err);
int chain_copy_bitmaps(struct chain_copying *copying, struct img_error *err);

#endif
