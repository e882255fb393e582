/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many pieces a thread keeps in flight. While its time goes into copying
 * (the page cache has the data) few are best, because they stay in the
 * processor's cache; when it has to sleep for the device, their number
 * doubles up to what it may have.
 */
#ifndef CHAIN_OPS_PACE_H
#define CHAIN_OPS_PACE_H

#include <stdbool.h>

struct chain_pace {
    unsigned window; /* so many now */
    unsigned window_max;
    unsigned round_nr; /* pieces of this round so far */
    bool has_slept;    /* in this round */
    unsigned slept_rounds, calm_rounds;
};

void chain_pace_init(struct chain_pace *pace, unsigned window_max);
/* How often this thread has gone to sleep of its own accord so far: before
   and after waiting. */
long chain_pace_sleeps(void);
/* It waited: BEFORE is what chain_pace_sleeps said then. */
void chain_pace_waited(struct chain_pace *pace, long before);
/* A piece is done. */
void chain_pace_step(struct chain_pace *pace);

#endif
