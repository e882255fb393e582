/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L2 tables of a check at a glance, by any thread.
 *
 * Room: qcow2/image. Most of a large image are data clusters as they should
 * be, many of them one behind the other. These are found here, which needs
 * nothing but the table and stored refcounts; what is left is looked at entry
 * by entry. Nothing is counted or told here: the check does so, in its order,
 * so that what it finds does not depend on who was ahead of it.
 */
#include "check_state.h"

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/entry.h>

/* A run is looked for in steps of so many entries, so that a table that
   promises long ones and keeps none costs little more than another. */
#define RUN_STEP 256u
/* So many entries ahead an answer is asked for that may not be in the cache. */
#define NEAR_ENTRIES 32u

/* How many of the NR entries at P are VALUE, VALUE + STEP, and so on. */
static uint64_t run_len(const uint8_t *p, uint64_t nr, uint64_t value,
                        uint64_t step)
{
    uint64_t run = 0;

    for (; run + 4 <= nr; run += 4, p += 32, value += 4 * step) {
        if ((img_load_be64(p) ^ value) |
            (img_load_be64(p + 8) ^ (value + step)) |
            (img_load_be64(p + 16) ^ (value + 2 * step)) |
            (img_load_be64(p + 24) ^ (value + 3 * step))) {
            break;
        }
    }
    for (; run < nr && img_load_be64(p) == value; p += 8, value += step) {
        run++;
    }
    return run;
}

/*
 * How many of the NR entries at P are data clusters one behind the other, in
 * the file, with a stored refcount of 1 that bit 63 says, too; 0: not even the
 * first one is.
 */
static uint64_t run_find(struct qcow2_check *check, const uint8_t *p,
                         uint64_t nr)
{
    const struct qcow2_header *header = &check->q->header;
    uint64_t value = img_load_be64(p);
    uint64_t off = value & QCOW2_ENTRY_OFFSET_MASK;
    uint64_t first = off >> header->cluster_bits;
    uint64_t run = 0;

    if (value != (off | QCOW2_ENTRY_COPIED) || off == 0 ||
        (off & (header->cluster_len - 1u)) || off >= check->file_len ||
        first >= QCOW2_SPAN_CLUSTERS) {
        return 0;
    }
    /* The last cluster of the file may lack its end. */
    nr = img_min(nr, (check->file_len - off + header->cluster_len - 1u) >>
                         header->cluster_bits);
    nr = img_min(nr, qcow2_stored_left(&check->stored, first));
    while (run < nr) {
        uint64_t some = img_min(nr - run, RUN_STEP);
        uint64_t ones = qcow2_stored_ones(
            &check->stored, first + run,
            run_len(p + run * 8, some, value + run * header->cluster_len,
                    header->cluster_len));

        run += ones;
        if (ones < some) {
            break;
        }
    }
    return run;
}

static uint64_t cluster_of(const struct qcow2_header *header, const uint8_t *p)
{
    return (img_load_be64(p) & QCOW2_ENTRY_OFFSET_MASK) >> header->cluster_bits;
}

/* Spans of a table of standard entries: how many there are. */
static uint32_t table_scan(struct qcow2_check *check, const uint8_t *table,
                           uint64_t *spans)
{
    const struct qcow2_header *header = &check->q->header;
    uint64_t entries = header->l2_entries;
    uint64_t look_end = 0; /* of the last span, if it is to be looked at */
    uint32_t nr = 0;

    for (uint64_t i = 0, run; i < entries; i += img_max(run, 1)) {
        const uint8_t *p = table + i * 8;

        if (img_load_be64(p) == 0) {
            run = qcow2_words_equal(p, (size_t)(entries - i), 0);
            continue;
        }
        if (i + NEAR_ENTRIES < entries) {
            __builtin_prefetch(qcow2_stored_place(
                &check->stored,
                cluster_of(header, p + (size_t)NEAR_ENTRIES * 8)));
        }
        run = run_find(check, p, entries - i);
        if (run > 0) {
            spans[nr++] = QCOW2_SPAN_RUN |
                          cluster_of(header, p) << QCOW2_SPAN_BITS | (run - 1);
        } else if (nr > 0 && look_end == i) {
            spans[nr - 1]++;
            look_end = i + 1;
        } else {
            spans[nr++] = i << QCOW2_SPAN_BITS | 1;
            look_end = i + 1;
        }
    }
    return nr;
}

bool qcow2_l2_is_plain(const struct qcow2_check *check,
                       const struct qcow2_l2_visit *visit)
{
    const struct qcow2_header *header = &check->q->header;

    return !check->is_naming && !header->has_extended_l2 &&
           !header->has_data_file && header->refcount_order >= 4 &&
           visit->off != 0 && visit->active_times == 1 &&
           visit->snapshot_times == 0;
}

void qcow2_l2_scan(struct qcow2_check *check, const uint8_t *table,
                   bool is_plain, struct qcow2_l2_scan *out)
{
    if (is_plain) {
        out->nr = table_scan(check, table, out->spans);
        return;
    }
    out->nr = 1;
    out->spans[0] = check->q->header.l2_entries; /* from the first on */
}
