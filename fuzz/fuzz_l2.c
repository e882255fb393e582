/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L1, L2 and refcount table entries: after the prefix, 16 bytes for each
 * guest cluster from 0 on.
 */
#include <img/bytes.h>
#include <qcow2/entry.h>
#include <qcow2/refcount.h>

#include "fuzz.h"

#define ITEM_LEN 16u

/* The runs of subclusters add up to a cluster. */
static void check_runs(const struct qcow2_l2_entry *e)
{
    uint32_t idx = 0;

    while (idx < QCOW2_SUBCLUSTERS) {
        uint32_t run = 0;
        enum qcow2_cluster_kind kind = qcow2_l2_subcluster_run(e, idx, &run);

        fuzz_require(kind != QCOW2_CLUSTER_MIXED);
        fuzz_require(run >= 1 && run <= QCOW2_SUBCLUSTERS - idx);
        fuzz_require(kind == e->kind || e->kind == QCOW2_CLUSTER_MIXED);
        fuzz_require(kind != QCOW2_CLUSTER_DATA || e->has_host);
        idx += run;
    }
}

/* What an entry says is what its encoding says. */
static void check_encoded(const struct fuzz_geometry *g,
                          const struct qcow2_l2_entry *e, uint64_t guest_off)
{
    struct qcow2_l2_entry again;
    struct img_error err = {0};
    uint64_t bitmap = 0;
    uint64_t entry = qcow2_l2_encode(&g->header, e, &bitmap);

    fuzz_require(qcow2_l2_decode(&g->header, entry, bitmap, guest_off,
                                 g->file_len, &again, &err) == 0);
    fuzz_require(again.kind == e->kind && again.is_copied == e->is_copied);
    fuzz_require(again.has_host == e->has_host);
    fuzz_require(!e->has_host || again.host_off == e->host_off);
    fuzz_require(again.host_len == e->host_len);
    fuzz_require(again.alloc == e->alloc && again.zero == e->zero);
}

static void decode_l2(const struct fuzz_geometry *g, const uint8_t *item,
                      uint64_t guest_off)
{
    const struct qcow2_header *h = &g->header;
    uint64_t bitmap = h->has_extended_l2 ? img_load_be64(item + 8) : 0;
    struct qcow2_l2_entry e;
    struct img_error err = {0};

    if (qcow2_l2_decode(h, img_load_be64(item), bitmap, guest_off, g->file_len,
                        &e, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    if (e.has_host) {
        fuzz_require(e.host_off < g->file_len);
    }
    if (e.kind == QCOW2_CLUSTER_COMPRESSED) {
        fuzz_require(e.host_len >= 1 && e.host_len <= 2 * h->cluster_len);
    } else {
        fuzz_require(e.host_off % h->cluster_len == 0);
    }
    fuzz_require(e.kind != QCOW2_CLUSTER_DATA || e.has_host);
    fuzz_require(e.kind != QCOW2_CLUSTER_MIXED || h->has_extended_l2);
    if (h->has_extended_l2) {
        check_runs(&e);
    }
    check_encoded(g, &e, guest_off);
}

static void decode_others(const struct fuzz_geometry *g, uint64_t entry)
{
    struct qcow2_l1_entry l1;
    struct img_error err = {0};
    uint64_t off;

    if (qcow2_l1_decode(&g->header, entry, g->file_len, &l1, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        fuzz_require(l1.l2_off == 0 || l1.l2_off < g->file_len);
        fuzz_require(qcow2_l1_encode(&l1) == entry);
    }
    if (qcow2_reftable_decode(&g->header, entry, g->file_len, &off, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        fuzz_require(off == 0 || off < g->file_len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_geometry g;
    uint64_t guest_off = 0;

    if (!fuzz_prefix(data, len, &g)) {
        return 0;
    }
    for (size_t i = FUZZ_PREFIX_LEN; i + ITEM_LEN <= len; i += ITEM_LEN) {
        decode_l2(&g, data + i, guest_off);
        decode_others(&g, img_load_be64(data + i));
        guest_off += g.header.cluster_len;
    }
    return 0;
}
