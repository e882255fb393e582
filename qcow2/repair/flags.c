/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bit 63 of the active tables' entries: set where the refcount is 1.
 *
 * Room: qcow2/repair. Entries of snapshots' tables are not judged by it.
 * Where nothing but leaks is repaired the bit is only set: for what is no
 * longer counted twice. Specification: "L1 table entry", "L2 table entry".
 */
#include "repair_impl.h"

#include <string.h>

#include <img/bytes.h>

static uint64_t with_flag(const struct qcow2_repair *r, uint64_t entry,
                          bool is_one)
{
    if (is_one) {
        return entry | QCOW2_ENTRY_COPIED;
    }
    return r->fixes ? entry & ~QCOW2_ENTRY_COPIED : entry;
}

static uint64_t l2_entry_of(const struct qcow2_repair *r, uint64_t entry)
{
    uint64_t off = entry & QCOW2_ENTRY_OFFSET_MASK;

    if (entry & QCOW2_ENTRY_COMPRESSED) {
        return entry;
    }
    if (r->header.has_data_file) {
        return off != 0 ? with_flag(r, entry, true) : entry;
    }
    return off != 0
               ? with_flag(r, entry,
                           qcow2_refs_get(&r->refs,
                                          off >> r->header.cluster_bits) == 1)
               : entry;
}

static int table_settle(struct qcow2_repair *r, uint64_t l2_off,
                        struct img_error *err)
{
    uint32_t len = r->header.cluster_len;
    uint64_t changed = 0;

    if (qcow2_repair_is_wanted(r, err) ||
        img_file_read_padded(r->staged, r->l2, len, l2_off, NULL, err)) {
        return -1;
    }
    memcpy(r->l2_was, r->l2, len);
    for (uint32_t i = 0; i < len; i += r->header.l2_entry_len) {
        uint64_t entry = img_load_be64(r->l2 + i);
        uint64_t wanted = l2_entry_of(r, entry);

        changed += entry != wanted;
        img_store_be64(r->l2 + i, wanted);
    }
    if (changed > 0) {
        qcow2_repair_tell(r,
                          &(struct qcow2_repair_told){
                              .kind = QCOW2_REPAIR_FLAGS,
                              .off = l2_off,
                          },
                          "bit 63 of %llu entr%s of the L2 table at %llu",
                          (unsigned long long)changed,
                          changed == 1 ? "y" : "ies",
                          (unsigned long long)l2_off);
    }
    return qcow2_repair_stage(r, r->l2_was, r->l2, len, l2_off, err);
}

static int entry_settle(struct qcow2_repair *r,
                        const struct qcow2_l1_table *table, uint32_t idx,
                        uint64_t *entry, struct img_error *err)
{
    uint64_t off = *entry & QCOW2_ENTRY_OFFSET_MASK;
    uint64_t cluster = off >> r->header.cluster_bits;
    struct qcow2_l2_ref *ref = (off & (r->header.cluster_len - 1u)) == 0
                                   ? qcow2_l2_refs_find(&r->tables, cluster)
                                   : NULL;
    uint64_t wanted;

    if (!ref) {
        return 0;
    }
    wanted = with_flag(r, *entry, qcow2_refs_get(&r->refs, cluster) == 1);
    if (wanted != *entry) {
        qcow2_repair_tell(r,
                          &(struct qcow2_repair_told){
                              .kind = QCOW2_REPAIR_FLAGS,
                              .off = table->off + (uint64_t)idx * 8,
                          },
                          "bit 63 of an L1 entry");
        *entry = wanted;
    }
    if (!ref->is_visited) {
        return 0;
    }
    ref->is_visited = false;
    return table_settle(r, off, err);
}

bool qcow2_repair_flags_can(const struct qcow2_repair *r)
{
    uint32_t bits = r->header.cluster_bits;
    const struct qcow2_l1_table *l1 = &r->l1_tables[0];
    uint64_t end = l1->off + (uint64_t)l1->entries * 8;

    for (uint64_t off = l1->off; off < end; off += r->header.cluster_len) {
        if (qcow2_refs_get(&r->refs, off >> bits) > 1) {
            return false;
        }
    }
    for (size_t i = 0; i < r->tables.room; i++) {
        const struct qcow2_l2_ref *ref = &r->tables.slots[i];

        if (ref->cluster != 0 &&
            qcow2_refs_get(&r->refs, ref->cluster) > ref->times) {
            return false;
        }
    }
    return true;
}

int qcow2_repair_flags(struct qcow2_repair *r, struct img_error *err)
{
    return r->needs_flags
               ? qcow2_repair_each_l1(r, &r->l1_tables[0], entry_settle, err)
               : 0;
}
