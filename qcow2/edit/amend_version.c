/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Version 2 to 3 and back (specification: "Header", "Snapshots").
 *
 * Room: qcow2/edit. Version 3 wants the sizes of a snapshot in its extra data:
 * where one has none, a new snapshot table is switched to together with the
 * version. Version 2 has no zero clusters, no features, no bitmaps that
 * anybody could trust: these are gone before, or with the same sector.
 */
#include "amend.h"

#include <inttypes.h>
#include <stdlib.h>

#include <img/memory.h>

#include "bitmaps.h"
#include "header_switch.h"

/* Extra data up to and with the disk's size. */
#define V3_EXTRA_LEN 16u
/* The header that QEMU 5.1 and later write. */
#define V3_HEADER_LEN 112u

static int check_snapshots(const struct qcow2_edit *edit, struct img_error *err)
{
    const struct img_image *image = edit->image;

    for (size_t i = 0; i < image->snapshots_nr; i++) {
        const struct img_snapshot *s = &image->snapshots[i];

        if (s->vm_state_len > UINT32_MAX ||
            s->virtual_len != edit->header.virtual_len) {
            return img_fail(
                err, IMG_UNSUPPORTED,
                "compat=0.10: found an internal snapshot of %" PRIu64
                " bytes with a VM state of %" PRIu64 ", expected the disk's"
                " %" PRIu64 " bytes and a VM state below 4 GiB",
                s->virtual_len, s->vm_state_len, edit->header.virtual_len);
        }
    }
    return 0;
}

int qcow2_edit_downgrade_check(struct qcow2_edit *edit, struct img_error *err)
{
    if (edit->header.has_data_file) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "compat=0.10: found an external data file, expected"
                        " none");
    }
    if (edit->header.compression != QCOW2_COMPRESSION_ZLIB) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "compat=0.10: found compression type zstd, expected"
                        " zlib");
    }
    if (edit->header.incompatible != 0) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "compat=0.10: found incompatible features 0x%" PRIx64
                        ", expected none",
                        edit->header.incompatible);
    }
    return check_snapshots(edit, err);
}

/* Version 2 in one sector; the bitmaps, nobody's now, are given up. */
static int switch_down(struct qcow2_edit *edit, struct img_error *err)
{
    struct edit_bitmaps_switch old;
    struct header_page want = {0};
    int result = -1;

    if (qcow2_edit_bitmaps_list_all(edit, &old, err) == 0 &&
        qcow2_edit_page(edit, &want, err) == 0) {
        want.header.version = 2;
        want.header.incompatible = 0;
        want.header.compatible = 0;
        want.header.autoclear = 0;
        want.extensions.has_bitmaps = false;
        result =
            qcow2_edit_switch_header(edit, &want.header, &want.extensions, err);
    }
    if (result == 0) {
        result = qcow2_edit_bitmaps_drop_old(edit, &old, err) ||
                         qcow2_edit_commit(edit, err)
                     ? -1
                     : 0;
    }
    header_page_fini(&want);
    qcow2_edit_bitmaps_switch_fini(&old);
    return result;
}

int qcow2_edit_downgrade(struct qcow2_edit *edit,
                         const struct qcow2_amend_options *options,
                         struct img_error *err)
{
    return qcow2_edit_expand_zeros(edit, options, err) || switch_down(edit, err)
               ? -1
               : 0;
}

/* The snapshot table as it is stored, and as version 3 wants it. */
struct snapshot_tables {
    uint8_t *old;
    uint64_t old_len;
    uint8_t *bytes;
    uint64_t len; /* of bytes; 0: the old one will do */
};

/* Entries from OLD to BYTES, or, where that is NULL, only their length. */
static int convert(const struct qcow2_edit *edit, struct snapshot_tables *t,
                   bool *is_short, struct img_error *err)
{
    const struct qcow2_header *h = &edit->header;
    uint64_t pos = 0;

    t->len = 0;
    for (uint32_t i = 0; i < h->snapshots_nr; i++) {
        struct qcow2_snapshot s;

        if (qcow2_snapshot_decode(h, t->old + pos, (size_t)(t->old_len - pos),
                                  h->snapshots_off + pos,
                                  img_file_len(edit->file), &s, err)) {
            return -1;
        }
        pos += s.entry_len;
        *is_short |= s.extra_len < V3_EXTRA_LEN;
        qcow2_snapshot_encode(&s, NULL);
        if (t->bytes) {
            qcow2_snapshot_encode(&s, t->bytes + t->len);
        }
        t->len += s.entry_len;
    }
    return 0;
}

static int make_table(struct qcow2_edit *edit, struct snapshot_tables *t,
                      struct img_error *err)
{
    bool is_short = false;

    t->old_len = qcow2_image_snapshot_table_len(edit->image);
    t->old = img_calloc(1, t->old_len, err);
    if (!t->old ||
        img_file_read_padded(edit->file, t->old, t->old_len,
                             edit->header.snapshots_off, NULL, err) ||
        convert(edit, t, &is_short, err)) {
        return -1;
    }
    if (!is_short) {
        t->len = 0;
        return 0;
    }
    if (t->len > QCOW2_MAX_SNAPSHOT_TABLE_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "compat=1.1: found a snapshot table that would be"
                        " %" PRIu64 " bytes long, expected at most %u",
                        t->len, QCOW2_MAX_SNAPSHOT_TABLE_LEN);
    }
    t->bytes = img_calloc(1, t->len, err);
    return t->bytes ? convert(edit, t, &is_short, err) : -1;
}

/* Where the new table is: *off, when there is one. */
static int write_table(struct qcow2_edit *edit, const struct snapshot_tables *t,
                       uint64_t *off, struct img_error *err)
{
    uint64_t cluster_len = edit->header.cluster_len;

    if (t->len == 0) {
        return 0;
    }
    return qcow2_edit_alloc(edit, (t->len + cluster_len - 1) / cluster_len,
                            QCOW2_PART_SNAPSHOT_TABLE, off, err) ||
                   qcow2_edit_write(edit, QCOW2_PART_SNAPSHOT_TABLE, t->bytes,
                                    t->len, *off, err) ||
                   qcow2_edit_commit(edit, err)
               ? -1
               : 0;
}

static int switch_up(struct qcow2_edit *edit, const struct snapshot_tables *t,
                     struct img_error *err)
{
    uint64_t old_off = edit->header.snapshots_off;
    uint64_t off = old_off;
    struct header_page want = {0};
    int result;

    /* The page is that of after: writing may move the refcount table. */
    if (write_table(edit, t, &off, err) || qcow2_edit_page(edit, &want, err)) {
        return -1;
    }
    want.header.version = 3;
    want.header.header_len = V3_HEADER_LEN;
    want.header.snapshots_off = off;
    result =
        qcow2_edit_switch_header(edit, &want.header, &want.extensions, err);
    header_page_fini(&want);
    if (result != 0 || t->len == 0) {
        return result;
    }
    return qcow2_edit_release(edit, old_off, t->old_len, err) ||
                   qcow2_edit_commit(edit, err)
               ? -1
               : 0;
}

int qcow2_edit_upgrade(struct qcow2_edit *edit, struct img_error *err)
{
    struct snapshot_tables tables = {0};
    int result =
        edit->header.snapshots_nr > 0 ? make_table(edit, &tables, err) : 0;

    if (result == 0) {
        result = switch_up(edit, &tables, err);
    }
    free(tables.old);
    free(tables.bytes);
    return result;
}
