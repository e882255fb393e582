/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L1 tables: the active one and those of snapshots.
 *
 * Room: qcow2/repair. Entries that lead nowhere are emptied; what is left says
 * which L2 tables there are. One that lies in something that will be written
 * as something else (an L1 table, the header), or is shared more often than a
 * refcount can say, is copied for the entry in question.
 * Specification: "Cluster mapping", "Snapshots".
 */
#include "repair_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

/* Bits 0 to 8 and 56 to 62. */
#define RESERVED 0x7f000000000001ffull

int qcow2_repair_each_l1(struct qcow2_repair *r,
                         const struct qcow2_l1_table *table,
                         qcow2_l1_visit *visit, struct img_error *err)
{
    for (uint32_t base = 0; base < table->entries;) {
        uint32_t nr =
            (uint32_t)img_min(table->entries - base, QCOW2_REPAIR_PIECE);
        uint64_t off = table->off + (uint64_t)base * 8;
        size_t len = (size_t)nr * 8;

        if (qcow2_repair_is_wanted(r, err) ||
            img_file_read_padded(r->staged, r->words, len, off, NULL, err)) {
            return -1;
        }
        memcpy(r->words_was, r->words, len);
        for (uint32_t i = 0; i < nr; i++) {
            uint64_t entry = img_load_be64(r->words + (size_t)i * 8);

            if (entry == 0) {
                continue;
            }
            if (visit(r, table, base + i, &entry, err)) {
                return -1;
            }
            img_store_be64(r->words + (size_t)i * 8, entry);
        }
        if (qcow2_repair_stage(r, r->words_was, r->words, len, off, err)) {
            return -1;
        }
        base += nr;
    }
    return 0;
}

static struct qcow2_repair_told told_of(const struct qcow2_repair *r,
                                        const struct qcow2_l1_table *table,
                                        uint32_t idx)
{
    return (struct qcow2_repair_told){
        .kind = QCOW2_REPAIR_TABLE,
        .off = table->off + (uint64_t)idx * 8,
        .has_guest = table->is_active,
        .guest_off = idx * r->header.l2_covers_len,
        .guest_len = r->header.l2_covers_len,
    };
}

static void entry_fix(struct qcow2_repair *r,
                      const struct qcow2_l1_table *table, uint32_t idx,
                      uint64_t *entry)
{
    uint64_t off = *entry & QCOW2_ENTRY_OFFSET_MASK;
    bool is_odd = (off & (r->header.cluster_len - 1u)) != 0;
    struct qcow2_repair_told told = told_of(r, table, idx);

    if (off == 0) {
        qcow2_repair_tell(r, &told,
                          "L1 entry 0x%016llx is emptied: it has "
                          "bits set, but no offset",
                          (unsigned long long)*entry);
        *entry = 0;
    } else if (is_odd || off >= r->old_len) {
        told.is_lost = true;
        qcow2_repair_tell(r, &told,
                          "L1 entry 0x%016llx is emptied: its L2 "
                          "table %s",
                          (unsigned long long)*entry,
                          is_odd ? "is at no multiple of the cluster size"
                                 : "lies past the end of the file");
        *entry = 0;
    } else if (*entry & RESERVED) {
        qcow2_repair_tell(r, &told,
                          "L1 entry 0x%016llx: its reserved bits "
                          "are cleared",
                          (unsigned long long)*entry);
        *entry &= ~RESERVED;
    }
}

/* The first visit: put right, and count the L2 tables. */
static int entry_collect(struct qcow2_repair *r,
                         const struct qcow2_l1_table *table, uint32_t idx,
                         uint64_t *entry, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t off;

    if (r->fixes) {
        entry_fix(r, table, idx, entry);
    }
    off = *entry & QCOW2_ENTRY_OFFSET_MASK;
    if (*entry == 0 || off >= r->old_len) {
        return 0;
    }
    if (off == 0 || (off & (cluster_len - 1u))) {
        /* What such a table refers to is nobody's to free. */
        r->doubt = "what broken L1 entries refer to is not known";
        return 0;
    }
    return qcow2_repair_refer(r, off, cluster_len, 1, err) ||
                   qcow2_l2_refs_add(&r->tables, off >> r->header.cluster_bits,
                                     err)
               ? -1
               : 0;
}

/* The second visit: tables that cannot stay where they are. */
static int entry_move(struct qcow2_repair *r,
                      const struct qcow2_l1_table *table, uint32_t idx,
                      uint64_t *entry, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t off = *entry & QCOW2_ENTRY_OFFSET_MASK;
    uint64_t from = off >> r->header.cluster_bits;
    struct qcow2_run *foreign = qcow2_runs_find(&r->exclusive, from);
    struct qcow2_repair_told told = told_of(r, table, idx);
    struct qcow2_l2_ref *ref = qcow2_l2_refs_find(&r->tables, from);
    uint64_t to, to_off;

    if (!ref ||
        (!foreign && qcow2_refs_get(&r->refs, from) <= r->refcount_max)) {
        return 0;
    }
    if (foreign) {
        foreign->is_shared = true;
    }
    ref->times--;
    told.kind = QCOW2_REPAIR_MOVE;
    told.off = off;
    if (qcow2_repair_alloc(r, 1, &to, err)) {
        return -1;
    }
    to_off = to * cluster_len;
    if (qcow2_repair_copy(r, off, to_off, cluster_len, err) ||
        qcow2_repair_refer(r, off, cluster_len, -1, err) ||
        qcow2_repair_refer(r, to_off, cluster_len, 1, err) ||
        qcow2_l2_refs_add(&r->tables, to, err)) {
        return -1;
    }
    qcow2_repair_tell(r, &told, "L2 table at %llu is copied to %llu: %s",
                      (unsigned long long)off, (unsigned long long)to_off,
                      foreign ? "another table lies there"
                              : "it has more references than a refcount can "
                                "count");
    *entry = to_off | QCOW2_ENTRY_COPIED;
    r->needs_flags = true;
    return 0;
}

/* Header, L1 tables and the crypto header: what stays where it is, and what
   nothing else may be in. */
static int exclusive_mark(struct qcow2_repair *r, uint64_t off, uint64_t len,
                          struct img_error *err)
{
    uint32_t bits = r->header.cluster_bits;

    if (len == 0) {
        return 0;
    }
    /* Beyond the end nothing is counted, as the check has it. */
    if (!r->fixes &&
        (off > r->old_len || len >= r->old_len + r->header.cluster_len - off)) {
        return 0;
    }
    return qcow2_runs_add(&r->exclusive, off >> bits,
                          ((off + len - 1) >> bits) + 1, err) ||
                   qcow2_repair_refer(r, off, len, 1, err)
               ? -1
               : 0;
}

static int exclusives_mark(struct qcow2_repair *r, struct img_error *err)
{
    const struct qcow2_extensions *extensions =
        qcow2_image_extensions(r->image);

    if (exclusive_mark(r, 0, r->header.cluster_len, err) ||
        exclusive_mark(r, extensions->crypto_off, extensions->crypto_len,
                       err)) {
        return -1;
    }
    for (size_t i = 0; i < r->l1_tables_nr; i++) {
        if (exclusive_mark(r, r->l1_tables[i].off,
                           (uint64_t)r->l1_tables[i].entries * 8, err)) {
            return -1;
        }
    }
    qcow2_runs_settle(&r->exclusive);
    return 0;
}

/* Which L1 tables there are. Those of snapshots may overlap in a hostile
   image; more of them than the file has bytes are not looked at. */
static int tables_list(struct qcow2_repair *r, struct img_error *err)
{
    size_t nr = r->image->snapshots_nr;
    uint64_t total = 0;

    r->l1_tables = img_calloc(nr + 1, sizeof(*r->l1_tables), err);
    if (!r->l1_tables) {
        return -1;
    }
    r->l1_tables_nr = nr + 1;
    r->l1_tables[0] = (struct qcow2_l1_table){
        .off = r->header.l1_off,
        .entries = r->header.l1_entries,
        .is_active = true,
    };
    for (size_t i = 0; i < nr; i++) {
        struct qcow2_l1_table *table = &r->l1_tables[i + 1];

        qcow2_image_snapshot_l1(r->image, i, &table->off, &table->entries);
        total += (uint64_t)table->entries * 8;
    }
    if (total > r->old_len) {
        return img_fail(err, IMG_LIMIT,
                        "found snapshots with L1 tables of %llu bytes in all, "
                        "expected at most the file's %llu: they overlap",
                        (unsigned long long)total,
                        (unsigned long long)r->old_len);
    }
    return 0;
}

int qcow2_repair_l1_tables(struct qcow2_repair *r, struct img_error *err)
{
    if (tables_list(r, err)) {
        return -1;
    }
    for (size_t i = 0; i < r->l1_tables_nr; i++) {
        if (qcow2_repair_each_l1(r, &r->l1_tables[i], entry_collect, err)) {
            return -1;
        }
    }
    if (exclusives_mark(r, err)) {
        return -1;
    }
    for (size_t i = 0; r->fixes && i < r->l1_tables_nr; i++) {
        if (qcow2_repair_each_l1(r, &r->l1_tables[i], entry_move, err)) {
            return -1;
        }
    }
    return 0;
}
