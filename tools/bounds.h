/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounds that a caller sets on the whole process, and those it inherits. */
#ifndef BOUNDS_H
#define BOUNDS_H

#include "options.h"

/*
 * Take over --max-time and --max-address-space. When the time is over a
 * command that can be cancelled is (signals_catch); one that cannot, or does
 * not end within GRACE_S seconds, is ended with a message and EXIT_CODE.
 */
int bounds_apply(const struct common_values *common, int exit_code,
                 unsigned grace_s, struct img_error *err);

/* Has the time run out? *SECONDS is how much there was. */
bool bounds_is_time_over(unsigned *seconds);
/* --max-address-space, or 0. */
uint64_t bounds_address_space(void);

#endif
