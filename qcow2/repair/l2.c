/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L2 tables: each is visited once, however many entries name it.
 *
 * Room: qcow2/repair. Entries are put right, and what they refer to is
 * counted. Guest data that is shared more often than a refcount can say gets a
 * place of its own: its bytes are copied as they are. With LUKS that cannot be
 * done: its key stream follows the place.
 * Specification: "Cluster mapping".
 */
#include "repair_impl.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

/* One table, and what it shows. */
struct visit {
    uint64_t off;
    uint64_t times; /* entries of L1 tables that name it */
    bool is_active;
    uint64_t guest_off;
};

static struct qcow2_repair_told told_of(const struct qcow2_repair *r,
                                        const struct visit *visit, uint32_t idx)
{
    return (struct qcow2_repair_told){
        .kind = QCOW2_REPAIR_ENTRY,
        .off = visit->off + (uint64_t)idx * r->header.l2_entry_len,
        .has_guest = visit->is_active,
        .guest_off = visit->guest_off + (uint64_t)idx * r->header.cluster_len,
        .guest_len = r->header.cluster_len,
    };
}

/*
 * Why what FIX refers to cannot stay there; NULL: it can. A table there will
 * have to go (move.c): only the header cannot.
 */
static const char *must_move(struct qcow2_repair *r, const struct visit *visit,
                             const struct qcow2_entry_fix *fix, bool is_zero)
{
    uint32_t bits = r->header.cluster_bits;
    uint64_t last = (fix->ref_off + fix->ref_len - 1) >> bits;

    for (uint64_t c = fix->ref_off >> bits; c <= last; c++) {
        if (qcow2_refs_get(&r->refs, c) + visit->times > r->refcount_max) {
            return "it has more references than a refcount can count";
        }
        if (c == 0 || (is_zero && (qcow2_runs_find(&r->exclusive, c) ||
                                   qcow2_l2_refs_find(&r->tables, c)))) {
            return "something else lies there";
        }
        (void)qcow2_repair_share(r, c);
    }
    return NULL;
}

/* Give what FIX refers to, at FROM, a place of its own. */
static int move(struct qcow2_repair *r, struct qcow2_entry_fix *fix,
                uint64_t *from, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint32_t off_bits = 70 - r->header.cluster_bits;
    uint64_t to;

    if (qcow2_repair_alloc(r, img_div_up(fix->ref_len, cluster_len), &to,
                           err) ||
        qcow2_repair_copy(r, fix->ref_off, to * cluster_len, fix->ref_len,
                          err)) {
        return -1;
    }
    *from = fix->ref_off;
    fix->ref_off = to * cluster_len;
    if (fix->is_compressed) {
        fix->value = QCOW2_ENTRY_COMPRESSED |
                     (img_div_up(fix->ref_len, 512) - 1) << off_bits |
                     fix->ref_off;
    } else {
        fix->value = (fix->value & ~QCOW2_ENTRY_OFFSET_MASK) | fix->ref_off;
    }
    r->needs_flags = true;
    return 0;
}

static int settle_place(struct qcow2_repair *r, const struct visit *visit,
                        uint32_t idx, struct qcow2_entry_fix *fix,
                        struct img_error *err)
{
    const struct qcow2_header *header = &r->header;
    struct qcow2_repair_told told = told_of(r, visit, idx);
    bool is_zero = !fix->is_compressed && !header->has_extended_l2 &&
                   header->version >= 3 && (fix->value & QCOW2_L2_ZERO);
    const char *why =
        r->fixes && fix->ref_len > 0 ? must_move(r, visit, fix, is_zero) : NULL;
    uint64_t from = 0;

    told.kind = QCOW2_REPAIR_MOVE;
    if (why && is_zero) {
        fix->value = QCOW2_L2_ZERO;
        fix->ref_len = 0;
        qcow2_repair_tell(r, &told,
                          "a cluster of zeros gives up its place at "
                          "%llu: %s",
                          (unsigned long long)fix->ref_off, why);
        return 0;
    }
    if (why && header->crypt_method != QCOW2_CRYPT_LUKS) {
        if (move(r, fix, &from, err)) {
            return -1;
        }
        qcow2_repair_tell(r, &told, "data at %llu is copied to %llu: %s",
                          (unsigned long long)from,
                          (unsigned long long)fix->ref_off, why);
    }
    return qcow2_repair_refer(r, fix->ref_off, fix->ref_len,
                              (int64_t)visit->times, err);
}

/* Version 2 has no other way to show zeros over a backing file. */
static int give_zeros(struct qcow2_repair *r, const struct visit *visit,
                      struct qcow2_entry_fix *fix, struct img_error *err)
{
    bool is_full = qcow2_refs_get(&r->refs, r->zero_cluster) + visit->times >
                   r->refcount_max;

    if (!r->header.backing_name_off ||
        r->header.crypt_method != QCOW2_CRYPT_NONE) {
        return 0;
    }
    if ((r->zero_cluster == 0 || is_full) &&
        qcow2_repair_alloc(r, 1, &r->zero_cluster, err)) {
        return -1;
    }
    fix->value = r->zero_cluster * r->header.cluster_len;
    fix->ref_off = fix->value;
    fix->ref_len = r->header.cluster_len;
    r->needs_flags = true;
    return 0;
}

static void entry_tell(struct qcow2_repair *r, const struct visit *visit,
                       uint32_t idx, uint64_t value,
                       const struct qcow2_entry_fix *fix)
{
    struct qcow2_repair_told told = told_of(r, visit, idx);

    told.is_lost = fix->is_lost;
    qcow2_repair_tell(r, &told, "L2 entry 0x%016llx %s: %s",
                      (unsigned long long)value, fix->why,
                      fix->is_lost ? "what cannot be read becomes zeros"
                                   : "put right");
}

static int entry_visit(struct qcow2_repair *r, const struct visit *visit,
                       uint32_t idx, struct img_error *err)
{
    uint32_t entry_len = r->header.l2_entry_len;
    uint8_t *p = r->l2 + (size_t)idx * entry_len;
    uint64_t value = img_load_be64(p);
    uint64_t bitmap = r->header.has_extended_l2 ? img_load_be64(p + 8) : 0;
    struct qcow2_entry_fix fix;

    if (value == 0 && bitmap == 0) {
        return 0;
    }
    qcow2_entry_judge(r, value, bitmap, &fix);
    if (fix.why) {
        entry_tell(r, visit, idx, value, &fix);
        r->needs_flags = true;
    }
    if ((fix.wants_zeros && give_zeros(r, visit, &fix, err)) ||
        settle_place(r, visit, idx, &fix, err)) {
        return -1;
    }
    img_store_be64(p, fix.value);
    if (r->header.has_extended_l2) {
        img_store_be64(p + 8, fix.bitmap);
    }
    return 0;
}

static int table_visit(struct qcow2_repair *r, const struct visit *visit,
                       struct img_error *err)
{
    uint32_t len = r->header.cluster_len;

    if (qcow2_repair_is_wanted(r, err) ||
        img_file_read_padded(r->staged, r->l2, len, visit->off, NULL, err)) {
        return -1;
    }
    memcpy(r->l2_was, r->l2, len);
    for (uint32_t i = 0; i < r->header.l2_entries; i++) {
        if (entry_visit(r, visit, i, err)) {
            return -1;
        }
    }
    return qcow2_repair_stage(r, r->l2_was, r->l2, len, visit->off, err);
}

/* NOLINTBEGIN(readability-non-const-parameter): qcow2_l1_visit */
static int entry_follow(struct qcow2_repair *r,
                        const struct qcow2_l1_table *table, uint32_t idx,
                        uint64_t *entry, struct img_error *err)
{
    uint64_t off = *entry & QCOW2_ENTRY_OFFSET_MASK;
    struct qcow2_l2_ref *ref =
        (off & (r->header.cluster_len - 1u)) == 0
            ? qcow2_l2_refs_find(&r->tables, off >> r->header.cluster_bits)
            : NULL;

    if (!ref || ref->is_visited) {
        return 0;
    }
    ref->is_visited = true;
    return table_visit(r,
                       &(struct visit){
                           .off = off,
                           .times = ref->times,
                           .is_active = table->is_active,
                           .guest_off = idx * r->header.l2_covers_len,
                       },
                       err);
}
/* NOLINTEND(readability-non-const-parameter) */

int qcow2_repair_l2_tables(struct qcow2_repair *r, struct img_error *err)
{
    for (size_t i = 0; i < r->l1_tables_nr; i++) {
        if (qcow2_repair_each_l1(r, &r->l1_tables[i], entry_follow, err)) {
            return -1;
        }
    }
    return 0;
}
