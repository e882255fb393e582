/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters of a check: raised one by one and in runs, they count the same. */
#include "unit.h"

#include <stdint.h>
#include <string.h>

#include "../../qcow2/image/counts.h"
#include "random.h"

/* An assertion costs a system call: where there are many, only one that fails
   is made. */
#define CLUSTERS (2u * QCOW2_COUNTS_CHUNK + 100u)

/* What counting by itself would have come to. */
struct model {
    uint64_t counted[CLUSTERS];
    uint64_t max, lost;
};

static void model_add(struct model *model, uint64_t cluster, uint64_t times)
{
    uint64_t fits = model->max - model->counted[cluster];

    fits = fits < times ? fits : times;
    model->counted[cluster] += fits;
    model->lost += times - fits;
}

/* As a check does it: what qcow2_counts_raise leaves is added singly. */
static void raise_run(struct qcow2_counts *counts, uint64_t first, uint64_t nr,
                      uint64_t *lost, struct model *model)
{
    struct img_error err;

    for (uint64_t i = 0; i < nr; i++) {
        model_add(model, first + i, 1);
    }
    for (uint64_t done; nr > 0; first += done, nr -= done) {
        done = qcow2_counts_raise(counts, first, nr);
        if (done > nr) {
            ck_abort_msg("more raised than there are");
        }
        if (done == 0) {
            if (qcow2_counts_add(counts, first, 1, lost, &err)) {
                ck_abort_msg("%s", err.text);
            }
            done = 1;
        }
    }
}

static void rounds(struct random *random, uint64_t max, unsigned nr)
{
    static struct model model;
    struct qcow2_counts counts;
    uint64_t memory = 1u << 20, lost = 0;
    struct img_error err;

    memset(&model, 0, sizeof(model));
    model.max = max;
    unit_ok(qcow2_counts_init(&counts, CLUSTERS, max, &memory, &err), &err);
    for (unsigned round = 0; round < nr; round++) {
        uint64_t first = random_below(random, 40) * 211;
        uint64_t len = random_below(random, 60);

        if (random_below(random, 50) == 0) {
            uint64_t times = random_below(random, 200);

            model_add(&model, first, times);
            unit_ok(qcow2_counts_add(&counts, first, times, &lost, &err), &err);
        }
        len = len < CLUSTERS - first ? len : CLUSTERS - first;
        raise_run(&counts, first, len, &lost, &model);
    }
    for (uint64_t i = 0; i < CLUSTERS; i++) {
        if (qcow2_counts_get(&counts, i) != model.counted[i]) {
            ck_assert_uint_eq(qcow2_counts_get(&counts, i), model.counted[i]);
        }
    }
    ck_assert_uint_eq(lost, model.lost);
    qcow2_counts_fini(&counts);
}

/* 765 times 40 runs over 40 places: bytes run full, and are outgrown. */
START_TEST(test_runs_as_one_by_one)
{
    static const uint64_t max[] = {1, 3, 15, 255, 65535, UINT64_MAX};
    struct random random = {.state = 11};

    for (size_t i = 0; i < sizeof(max) / sizeof(*max); i++) {
        rounds(&random, max[i], 300);
        rounds(&random, max[i], 30600);
    }
}
END_TEST

UNIT_SUITE("qcow2_counts", test_runs_as_one_by_one)
