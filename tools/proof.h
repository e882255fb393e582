/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much of a comparison was settled in which way. */
#ifndef PROOF_H
#define PROOF_H

#include <chain/compare.h>

#include "output.h"

struct img_json *proof_json(const struct chain_proof *proof);
/* One row for each way that settled anything. */
void proof_print(struct output *out, const struct chain_proof *proof);

#endif
