/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L1 tables in a check, and the order in which L2 tables are visited.
 *
 * Room: qcow2/image. L1 tables are read first and only collect which L2
 * tables there are; these are then visited once each in the order of the
 * file, whichever table and however many entries name them.
 * Specification: "Cluster mapping".
 */
#include "check_state.h"

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/entry.h>

/* Bits 0 to 8 and 56 to 62. */
#define L1_RESERVED 0x7f000000000001ffull

static bool is_odd(const struct qcow2_check *check, uint64_t l2_off)
{
    return (l2_off & (check->q->header.cluster_len - 1u)) != 0;
}

/* What an L1 entry that is not 0 says of itself and of its L2 table. */
static int entry_check(struct qcow2_check *check, uint64_t entry,
                       uint64_t times, uint64_t off, struct qcow2_owner owner,
                       struct img_error *err)
{
    uint64_t l2_off = entry & QCOW2_ENTRY_OFFSET_MASK;

    if (entry & L1_RESERVED) {
        struct qcow2_finding finding =
            qcow2_corruption("l1-reserved-bits", times, off, owner);

        qcow2_check_tell(check, &finding,
                         "L1 entry at %llu: found 0x%016llx, expected bits 0 "
                         "to 8 and 56 to 62 to be 0",
                         (unsigned long long)off, (unsigned long long)entry);
    }
    if (qcow2_check_mark(check, l2_off, check->q->header.cluster_len, times,
                         owner, err)) {
        return -1;
    }
    if (is_odd(check, l2_off)) {
        struct qcow2_finding finding =
            qcow2_corruption("l2-table-unaligned", times, off, owner);

        qcow2_check_tell(check, &finding,
                         "L1 entry at %llu: found an L2 table at %llu, "
                         "expected a multiple of the cluster size",
                         (unsigned long long)off, (unsigned long long)l2_off);
    }
    return 0;
}

/* Bit 63 of an active entry says that the L2 table's refcount is 1. */
static int entry_check_copied(struct qcow2_check *check, uint64_t entry,
                              uint64_t off, struct qcow2_owner owner,
                              struct img_error *err)
{
    uint64_t l2_off = entry & QCOW2_ENTRY_OFFSET_MASK;
    bool is_copied = (entry & QCOW2_ENTRY_COPIED) != 0;
    enum qcow2_stored_answer answer;

    if (l2_off == 0 || check->is_naming) {
        return 0;
    }
    if (qcow2_stored_is_one(&check->stored,
                            l2_off >> check->q->header.cluster_bits, &answer,
                            err)) {
        return -1;
    }
    if (answer != QCOW2_STORED_UNKNOWN &&
        is_copied != (answer == QCOW2_STORED_ONE)) {
        struct qcow2_finding finding =
            qcow2_corruption("l1-copied", 1, off, owner);

        qcow2_check_tell(check, &finding,
                         "L1 entry at %llu: bit 63 is %d, expected %d from "
                         "the refcount of the L2 table at %llu",
                         (unsigned long long)off, is_copied, !is_copied,
                         (unsigned long long)l2_off);
    }
    return 0;
}

int qcow2_check_active(struct qcow2_check *check, struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    struct qcow2_owner table = {QCOW2_OWNER_L1, 0};

    if (qcow2_check_mark(check, header->l1_off,
                         (uint64_t)header->l1_entries * 8, 1, table, err)) {
        return -1;
    }
    for (uint32_t i = 0; i < check->l1.nr; i++) {
        uint32_t idx = check->l1.idx[i];
        uint64_t entry = check->l1.entries[i];
        uint64_t off = header->l1_off + (uint64_t)idx * 8;
        struct qcow2_owner owner = {QCOW2_OWNER_L2,
                                    idx * header->l2_covers_len};

        if (entry_check(check, entry, 1, off, owner, err) ||
            entry_check_copied(check, entry, off, owner, err)) {
            return -1;
        }
    }
    return 0;
}

int qcow2_check_snapshot_entry(struct qcow2_check *check, uint64_t entry,
                               uint64_t times, uint64_t off,
                               struct img_error *err)
{
    struct qcow2_owner owner = {QCOW2_OWNER_SNAPSHOT_L2, 0};
    uint64_t l2_off = entry & QCOW2_ENTRY_OFFSET_MASK;
    uint64_t lost = 0;

    if (entry_check(check, entry, times, off, owner, err)) {
        return -1;
    }
    if (check->is_naming || l2_off >= check->file_len) {
        return 0;
    }
    if (!is_odd(check, l2_off)) {
        return qcow2_counts_add(&check->tables,
                                l2_off >> check->q->header.cluster_bits, times,
                                &lost, err);
    }
    for (; times > 0 && check->odd_tables_nr < QCOW2_CHECK_MAX_ODD_TABLES;
         times--) {
        check->odd_tables[check->odd_tables_nr++] = l2_off;
    }
    return 0;
}

static uint64_t active_off(const struct qcow2_check *check, uint32_t i)
{
    return i < check->l1.nr ? qcow2_l1_order_off(&check->l1, i) : UINT64_MAX;
}

static uint64_t snapshot_off(const struct qcow2_check *check,
                             struct qcow2_l2_walk *walk)
{
    const struct qcow2_counts *tables = &check->tables;

    while (walk->snapshot < tables->clusters_nr) {
        if (qcow2_counts_is_empty(tables, walk->snapshot)) {
            walk->snapshot =
                img_align_down(walk->snapshot, QCOW2_COUNTS_CHUNK) +
                QCOW2_COUNTS_CHUNK;
        } else if (qcow2_counts_get(tables, walk->snapshot) == 0) {
            walk->snapshot++;
        } else {
            return walk->snapshot << check->q->header.cluster_bits;
        }
    }
    return UINT64_MAX;
}

bool qcow2_l2_walk_next(const struct qcow2_check *check,
                        struct qcow2_l2_walk *walk,
                        struct qcow2_l2_visit *visit)
{
    uint64_t from_active = active_off(check, walk->active);
    uint64_t from_snapshot = snapshot_off(check, walk);

    *visit = (struct qcow2_l2_visit){
        .off = img_min(from_active, from_snapshot),
    };
    if (visit->off == UINT64_MAX) {
        return false;
    }
    if (from_active == visit->off) {
        visit->guest_off =
            check->l1.idx[walk->active] * check->q->header.l2_covers_len;
    }
    while (active_off(check, walk->active) == visit->off) {
        visit->active_times++;
        walk->active++;
    }
    if (from_snapshot == visit->off) {
        visit->snapshot_times =
            qcow2_counts_get(&check->tables, walk->snapshot);
        walk->snapshot++;
    }
    return true;
}

static int table_visit(struct qcow2_check *check, struct qcow2_ahead *ahead,
                       const struct qcow2_l2_visit *visit,
                       struct img_error *err)
{
    const uint8_t *table = check->l2;
    uint64_t whole;
    struct qcow2_l2_scan scan = {.spans = &whole};

    if (visit->off >= check->file_len) {
        return 0;
    }
    if (qcow2_ahead_has(check, visit->off)) {
        return qcow2_ahead_get(ahead, visit, &table, &scan, err) ||
                       (table &&
                        qcow2_check_l2(check, visit, table, &scan, err))
                   ? -1
                   : 0;
    }
    if (check->odd_visits_left == 0) {
        return 0;
    }
    check->odd_visits_left--;
    qcow2_l2_scan(check, table, false, &scan);
    return img_file_read_padded(check->q->image.file, check->l2,
                                check->q->header.cluster_len, visit->off, NULL,
                                err) ||
                   qcow2_check_l2(check, visit, table, &scan, err)
               ? -1
               : 0;
}

static int off_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Snapshots' unaligned tables, equal ones together. */
static int odd_tables_visit(struct qcow2_check *check, struct img_error *err)
{
    const uint64_t *off = check->odd_tables;

    qsort(check->odd_tables, check->odd_tables_nr, sizeof(*off), off_compare);
    for (size_t i = 0, next; i < check->odd_tables_nr; i = next) {
        for (next = i; next < check->odd_tables_nr && off[next] == off[i];) {
            next++;
        }
        if (qcow2_check_is_wanted(check, err) ||
            table_visit(check, NULL,
                        &(struct qcow2_l2_visit){
                            .off = off[i],
                            .snapshot_times = next - i,
                        },
                        err)) {
            return -1;
        }
    }
    return 0;
}

int qcow2_check_l2_tables(struct qcow2_check *check, struct img_error *err)
{
    struct qcow2_l2_walk walk = {0};
    struct qcow2_l2_visit visit;
    IMG_AUTO(qcow2_ahead_fini) struct qcow2_ahead ahead = {0};

    check->odd_visits_left = QCOW2_CHECK_MAX_ODD_TABLES;
    if (qcow2_ahead_init(&ahead, check, err)) {
        return -1;
    }
    while (qcow2_l2_walk_next(check, &walk, &visit)) {
        if (qcow2_check_is_wanted(check, err) ||
            table_visit(check, &ahead, &visit, err)) {
            return -1;
        }
        if (check->options->progress && !check->is_naming &&
            walk.active % 16 == 0) {
            check->options->progress(check->options->opaque,
                                     (double)visit.off /
                                         (double)check->file_len);
        }
    }
    return odd_tables_visit(check, err);
}
