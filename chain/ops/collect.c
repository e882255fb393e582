/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collecting outcomes: see collect.h.
 */
#include "collect.h"

#include <string.h>

#include <img/checked.h>

#include "diff.h"

/* Progress is told at least so many bytes apart, and 1000 times at most. */
#define PROGRESS_MIN_LEN (4ull << 20)

void chain_collect_init(struct chain_collector *collector,
                        const struct chain_compare_options *options,
                        struct chain_compare_result *result, uint64_t total)
{
    memset(collector, 0, sizeof(*collector));
    collector->options = options;
    collector->result = result;
    collector->total = total;
}

static void tell_progress(struct chain_collector *collector)
{
    const struct chain_compare_options *options = collector->options;

    collector->reported_len = collector->done_len;
    if (options->progress) {
        options->progress(options->opaque, collector->done_len,
                          collector->total);
    }
}

void chain_collect_done(struct chain_collector *collector, uint64_t len)
{
    collector->done_len += len;
    if (collector->done_len - collector->reported_len >=
        img_max(PROGRESS_MIN_LEN, collector->total / 1000)) {
        tell_progress(collector);
    }
}

void chain_collect_proof(struct chain_collector *collector,
                         const struct chain_proof *proof)
{
    struct chain_proof *sum = &collector->result->proof;

    sum->same_file_len += proof->same_file_len;
    sum->both_zero_len += proof->both_zero_len;
    sum->shared_extents_len += proof->shared_extents_len;
    sum->read_len += proof->read_len;
}

static void flush_range(struct chain_collector *collector)
{
    const struct chain_compare_options *options = collector->options;

    if (collector->range_len > 0 && options->difference) {
        options->difference(options->opaque, collector->range_off,
                            collector->range_len);
    }
    collector->range_len = 0;
}

static void add_range(struct chain_collector *collector, uint64_t off,
                      uint64_t len)
{
    if (collector->range_len > 0 &&
        collector->range_off + collector->range_len == off) {
        collector->range_len += len;
        return;
    }
    flush_range(collector);
    collector->range_off = off;
    collector->range_len = len;
}

static void add_ranges(struct chain_collector *collector,
                       const struct chain_piece *piece)
{
    for (uint32_t i = 0; i < piece->segments_nr; i++) {
        const struct chain_segment *segment = &piece->segments[i];
        size_t end = segment->buf_off + segment->len;
        size_t from = segment->buf_off, first, len;
        while (chain_diff_next_run(piece->differs, from, end, &first, &len)) {
            add_range(collector,
                      segment->guest_off + (first - segment->buf_off), len);
            from = first + len;
        }
    }
}

void chain_collect_piece(struct chain_collector *collector,
                         const struct chain_piece *piece)
{
    struct chain_compare_result *result = collector->result;

    chain_collect_proof(collector, &piece->settled);
    result->proof.read_len += piece->read_len;
    if (piece->has_difference && !result->has_difference) {
        result->has_difference = true;
        result->first_difference = piece->first_difference;
    }
    if (piece->differs) {
        add_ranges(collector, piece);
    }
    chain_collect_done(collector, piece->guest_len);
}

void chain_collect_finish(struct chain_collector *collector)
{
    flush_range(collector);
    if (collector->done_len != collector->reported_len) {
        tell_progress(collector);
    }
}
