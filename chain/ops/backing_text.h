/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a header should record to name a file. */
#ifndef CHAIN_OPS_BACKING_TEXT_H
#define CHAIN_OPS_BACKING_TEXT_H

#include "judge.h"

/*
 * The backing name that leads from the image FROM to the file TARGET:
 * relative to the folder of FROM (shortest, no symbolic links needed) or
 * absolute. In a form that no reader takes for a protocol. Free with free().
 */
char *chain_backing_text(const char *from, const char *target, bool relative,
                         struct img_error *err);

/* The name that the destination of JUDGE should record for its expected
   backing file, in the style asked for; NULL where nothing is expected. */
char *chain_backing_text_expected(const struct chain_judge *judge,
                                  struct img_error *err);

#endif
