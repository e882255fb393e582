/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image that the strict opener refuses, made one that it opens.
 *
 * Room: qcow2/repair. Only what a repair can do without: where the refcount
 * table is (an empty one stands in for it), snapshots, the part of the L1
 * table that a file that was cut has not got. Everything else that is wrong
 * with a header (no L1 table, features that nobody knows, sizes) is final:
 * qcow2_open says what. Stand-ins lie behind the end of the file and are gone
 * when the image is open. Specification: "Header".
 */
#include "repair_impl.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

enum {
    OFF_L1_ENTRIES = 36,
    OFF_L1 = 40,
    OFF_REFTABLE = 48,
    OFF_REFTABLE_CLUSTERS = 56,
    OFF_SNAPSHOTS_NR = 60,
    OFF_SNAPSHOTS = 64,
    OFF_INCOMPATIBLE = 72,
};

struct fields {
    uint8_t sector[QCOW2_SECTOR_LEN];
    uint32_t cluster_len;
    uint64_t behind; /* the next place behind the end of the file */
};

static bool is_in_file(const struct qcow2_repair *r, const struct fields *f,
                       uint64_t off, uint64_t len)
{
    return off != 0 && off % f->cluster_len == 0 && off < r->old_len &&
           len > 0 && len <= IMG_OFF_MAX - off &&
           img_align_down(off + len - 1, f->cluster_len) < r->old_len;
}

static void reftable_prepare(struct qcow2_repair *r, struct fields *f)
{
    uint64_t off = img_load_be64(f->sector + OFF_REFTABLE);
    uint32_t clusters = img_load_be32(f->sector + OFF_REFTABLE_CLUSTERS);

    if (clusters <= QCOW2_MAX_REFTABLE_LEN / f->cluster_len &&
        is_in_file(r, f, off, (uint64_t)clusters * f->cluster_len)) {
        return;
    }
    r->is_reftable_lost = true;
    img_store_be64(f->sector + OFF_REFTABLE, f->behind);
    img_store_be32(f->sector + OFF_REFTABLE_CLUSTERS, 1);
    f->behind += f->cluster_len;
    qcow2_repair_tell(r,
                      &(struct qcow2_repair_told){
                          .kind = QCOW2_REPAIR_HEADER,
                          .off = OFF_REFTABLE,
                      },
                      "refcount_table_offset: found %llu for %u clusters, not "
                      "in the file: all refcounts are made anew",
                      (unsigned long long)off, clusters);
}

/* An L1 table that begins in the file is read as far as it is there. */
static void l1_prepare(struct qcow2_repair *r, struct fields *f)
{
    uint64_t off = img_load_be64(f->sector + OFF_L1);
    uint64_t len = (uint64_t)img_load_be32(f->sector + OFF_L1_ENTRIES) * 8;

    if (off == 0 || off % f->cluster_len != 0 || off >= r->old_len ||
        len > QCOW2_MAX_L1_LEN || off + len <= r->old_len) {
        return;
    }
    r->min_len = off + len;
    f->behind = img_align_up(img_max(f->behind, r->min_len), f->cluster_len);
}

static void l1_tell(struct qcow2_repair *r)
{
    const struct qcow2_header *header = &r->header;
    uint64_t first = (r->old_len - header->l1_off) / 8;

    qcow2_repair_tell(
        r,
        &(struct qcow2_repair_told){
            .kind = QCOW2_REPAIR_TABLE,
            .off = header->l1_off,
            .is_lost = true,
            .has_guest = true,
            .guest_off = first * header->l2_covers_len,
            .guest_len = (header->l1_entries - first) * header->l2_covers_len,
        },
        "L1 table: entries from %llu on are missing, the file "
        "ends at %llu",
        (unsigned long long)first, (unsigned long long)r->old_len);
}

static void snapshots_drop(struct qcow2_repair *r, uint32_t nr, uint64_t off,
                           const char *why)
{
    qcow2_repair_tell(r,
                      &(struct qcow2_repair_told){
                          .kind = QCOW2_REPAIR_SNAPSHOT,
                          .off = nr > 0 ? OFF_SNAPSHOTS_NR : OFF_SNAPSHOTS,
                          .is_lost = nr > 0,
                      },
                      "snapshots: found %u in a table at %llu: %s", nr,
                      (unsigned long long)off, why);
}

/* The snapshot table: NR and OFF as they are, then as they will be. */
static int snapshots_prepare(struct qcow2_repair *r, struct fields *f,
                             uint32_t *nr, uint64_t *off, struct img_error *err)
{
    uint32_t found = *nr;

    if (found == 0 && *off % f->cluster_len == 0) {
        return 0;
    }
    if (found > 0 && is_in_file(r, f, *off, 1) && !r->header.has_data_file) {
        *nr = (uint32_t)img_min(found, QCOW2_MAX_SNAPSHOTS);
        if (qcow2_repair_salvage_snapshots(r, *off, nr, err)) {
            return -1;
        }
        if (r->snapshot_table) {
            *off = f->behind;
            f->behind += img_align_up(r->snapshot_table_len, f->cluster_len);
        }
        if (*nr > 0) {
            return 0;
        }
    } else {
        snapshots_drop(r, found, *off,
                       found == 0 ? "no multiple of the cluster size"
                       : r->header.has_data_file
                           ? "none can be with an external data file"
                           : "it lies past the end of the file");
    }
    *nr = 0;
    *off = 0;
    return 0;
}

/* Decode the header, for the time being without snapshots. */
static int header_decode(struct qcow2_repair *r, const struct fields *f,
                         struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    uint8_t *first = img_calloc(1, f->cluster_len, err);
    size_t got = 0;

    if (!first ||
        img_file_read_padded(r->file, first, f->cluster_len, 0, &got, err)) {
        return -1;
    }
    memcpy(first, f->sector, QCOW2_SECTOR_LEN);
    img_store_be32(first + OFF_SNAPSHOTS_NR, 0);
    img_store_be64(first + OFF_SNAPSHOTS, 0);
    return qcow2_header_decode(first, got, &r->header, err);
}

int qcow2_repair_prepare(struct qcow2_repair *r, struct img_error *err)
{
    struct fields f = {.behind = 0};
    uint32_t snapshots_nr;
    uint64_t snapshots_off;
    size_t got = 0;

    if (img_file_read_padded(r->file, f.sector, sizeof(f.sector), 0, &got,
                             err)) {
        return -1;
    }
    f.cluster_len = qcow2_header_peek_cluster_len(f.sector, got);
    if (f.cluster_len == 0) {
        return img_fail(err, IMG_FORMAT, "no qcow2 header to repair");
    }
    f.behind = img_align_up(r->old_len, f.cluster_len);
    snapshots_nr = img_load_be32(f.sector + OFF_SNAPSHOTS_NR);
    snapshots_off = img_load_be64(f.sector + OFF_SNAPSHOTS);
    l1_prepare(r, &f);
    reftable_prepare(r, &f);
    if (header_decode(r, &f, err) ||
        snapshots_prepare(r, &f, &snapshots_nr, &snapshots_off, err)) {
        return -1;
    }
    if (r->min_len > 0) {
        l1_tell(r);
    }
    img_store_be32(f.sector + OFF_SNAPSHOTS_NR, snapshots_nr);
    img_store_be64(f.sector + OFF_SNAPSHOTS, snapshots_off);
    if (img_file_resize(r->staged, img_max(f.behind, r->old_len), err) ||
        img_file_write(r->staged, f.sector, img_min(got, sizeof(f.sector)), 0,
                       err)) {
        return -1;
    }
    return r->snapshot_table && snapshots_nr > 0
               ? img_file_write(r->staged, r->snapshot_table,
                                r->snapshot_table_len, snapshots_off, err)
               : 0;
}
