/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clusters: new ones, sets of them, references to them.
 *
 * Room: qcow2/repair. What is allocated lies behind everything that is used or
 * counted as used, never in between: what looks free in a broken image may be
 * what somebody still wants to save.
 */
#include "repair_impl.h"

#include <stdlib.h>

#include <img/checked.h>

#define RUNS_MIN 16u
/* Sharing that cannot be counted is copied apart, as much as the file really
   holds (or this): a few entries of a hostile image share without end. */
#define COPIES_MIN_LEN (16u << 20)

int qcow2_repair_alloc(struct qcow2_repair *r, uint64_t nr, uint64_t *cluster,
                       struct img_error *err)
{
    uint64_t end = r->next_cluster + nr;
    uint64_t wanted = end * r->header.cluster_len;
    uint64_t len;

    if (!img_mul(end, r->header.cluster_len, &len) ||
        (img_file_kind(r->file) == IMG_FILE_BLOCK && len > r->old_len)) {
        return img_fail(err, IMG_LIMIT,
                        "no room for %llu clusters behind what is used: found "
                        "%llu bytes, expected at least %llu",
                        (unsigned long long)nr, (unsigned long long)r->old_len,
                        (unsigned long long)wanted);
    }
    if (len > img_file_len(r->staged) && img_file_resize(r->staged, len, err)) {
        return -1;
    }
    *cluster = r->next_cluster;
    r->next_cluster = end;
    return 0;
}

bool qcow2_repair_is_fresh(const struct qcow2_repair *r, uint64_t off)
{
    return off >> r->header.cluster_bits >= r->fresh_start;
}

int qcow2_repair_copy(struct qcow2_repair *r, uint64_t from, uint64_t to,
                      uint64_t len, struct img_error *err)
{
    uint64_t held = img_file_allocated_len(r->file);
    uint64_t max = img_max(held ? held : r->old_len, COPIES_MIN_LEN);

    r->copied_len += len;
    if (r->copied_len > max) {
        return img_fail(err, IMG_LIMIT,
                        "found more to be copied apart than %llu bytes: too "
                        "much is shared that refcounts of %u bits cannot count",
                        (unsigned long long)max,
                        1u << r->header.refcount_order);
    }
    for (uint64_t done = 0; done < len;) {
        size_t some = (size_t)img_min(len - done, r->header.cluster_len);

        if (img_file_read_padded(r->file, r->copy, some, from + done, NULL,
                                 err) ||
            img_file_write(r->staged, r->copy, some, to + done, err)) {
            return -1;
        }
        done += some;
    }
    return 0;
}

int qcow2_runs_add(struct qcow2_runs *runs, uint64_t start, uint64_t end,
                   struct img_error *err)
{
    if (start >= end) {
        return 0;
    }
    if (runs->nr == runs->room) {
        size_t room = runs->room ? runs->room * 2 : RUNS_MIN;
        void *at = realloc(runs->at, room * sizeof(*runs->at));

        if (!at) {
            return img_fail_memory(err);
        }
        runs->at = at;
        runs->room = room;
    }
    runs->at[runs->nr++] = (struct qcow2_run){.start = start, .end = end};
    return 0;
}

static int run_compare(const void *a, const void *b)
{
    const struct qcow2_run *x = a;
    const struct qcow2_run *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

void qcow2_runs_settle(struct qcow2_runs *runs)
{
    size_t nr = 0;

    if (runs->nr == 0) {
        return;
    }
    qsort(runs->at, runs->nr, sizeof(*runs->at), run_compare);
    for (size_t i = 1; i < runs->nr; i++) {
        if (runs->at[i].start <= runs->at[nr].end) {
            runs->at[nr].end = img_max(runs->at[nr].end, runs->at[i].end);
        } else {
            runs->at[++nr] = runs->at[i];
        }
    }
    runs->nr = nr + 1;
}

static int run_has(const void *key, const void *item)
{
    const uint64_t *cluster = key;
    const struct qcow2_run *run = item;

    return *cluster < run->start ? -1 : *cluster >= run->end;
}

struct qcow2_run *qcow2_runs_find(const struct qcow2_runs *runs,
                                  uint64_t cluster)
{
    return runs->nr > 0 ? bsearch(&cluster, runs->at, runs->nr,
                                  sizeof(*runs->at), run_has)
                        : NULL;
}

int qcow2_repair_refer(struct qcow2_repair *r, uint64_t off, uint64_t len,
                       int64_t times, struct img_error *err)
{
    uint32_t bits = r->header.cluster_bits;

    if (len == 0) {
        return 0;
    }
    for (uint64_t c = off >> bits; c <= (off + len - 1) >> bits; c++) {
        uint64_t refs = qcow2_refs_get(&r->refs, c);

        if (times >= 0) {
            refs += img_min((uint64_t)times, UINT64_MAX - refs);
        } else {
            refs -= img_min((uint64_t)-times, refs);
        }
        if (qcow2_refs_set(&r->refs, c, refs, err)) {
            return -1;
        }
    }
    return 0;
}

bool qcow2_repair_is_used(const struct qcow2_repair *r, uint64_t off,
                          uint64_t len)
{
    uint32_t bits = r->header.cluster_bits;

    return len > 0 && !qcow2_refs_is_empty(&r->refs, off >> bits,
                                           ((off + len - 1) >> bits) + 1);
}
