/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress of long work on stderr. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdint.h>

#include "options.h"

/* PHASE (static) names the work in JSON. */
void progress_begin(enum progress_mode mode, const char *phase);
/* Cheap; prints at most twice a second, and when SIGUSR1 came. */
void progress_update(uint64_t done, uint64_t total);
/*
 * The same for work of several phases, PHASE (static) being the present one.
 * With a TOTAL under 2 there is nothing to count, and people are shown what
 * was before.
 */
void progress_phase(const char *phase, uint64_t done, uint64_t total);
/* All is done, whatever was counted. */
void progress_complete(void);
/* The last line, then nothing until the next progress_begin. */
void progress_end(void);
/* Wipe the bar so that a message can be printed in its place. */
void progress_clear(void);

#endif
