/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many pieces are in flight: see pace.h.
 */
#include "pace.h"

#include <string.h>
#include <sys/resource.h>

#include <img/checked.h>

#define WINDOW_FIRST 2u
/* A round is as many pieces as are kept in flight. Twice as many after
   so many rounds with sleep in a row, one less after so many without. */
#define SLEPT_ROUNDS 2u
#define CALM_ROUNDS 8u

void chain_pace_init(struct chain_pace *pace, unsigned window_max)
{
    memset(pace, 0, sizeof(*pace));
    pace->window_max = window_max;
    pace->window = (unsigned)img_min(WINDOW_FIRST, window_max);
}

long chain_pace_sleeps(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

void chain_pace_waited(struct chain_pace *pace, long before)
{
    pace->has_slept |= chain_pace_sleeps() != before;
}

static void end_round(struct chain_pace *pace)
{
    if (pace->has_slept) {
        pace->slept_rounds++;
        pace->calm_rounds = 0;
    } else {
        pace->calm_rounds++;
        pace->slept_rounds = 0;
    }
    if (pace->slept_rounds == SLEPT_ROUNDS) {
        pace->window = (unsigned)img_min(2ull * pace->window, pace->window_max);
        pace->slept_rounds = 0;
    } else if (pace->calm_rounds == CALM_ROUNDS) {
        pace->window -= pace->window > 1;
        pace->calm_rounds = 0;
    }
    pace->round_nr = 0;
    pace->has_slept = false;
}

void chain_pace_step(struct chain_pace *pace)
{
    if (++pace->round_nr >= pace->window) {
        end_round(pace);
    }
}
