/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the active L1 table owns: one pass, in which each L2 table is read
 * once however many L1 entries name it.
 * Room: qcow2/image. Specification: "Cluster mapping".
 */
#include "state.h"

#include <stdlib.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/entry.h>

/* Decode one entry that is not empty and count it TIMES times. */
static int usage_entry(const struct qcow2_image *q, const uint8_t *p,
                       uint64_t guest_off, uint64_t times,
                       struct qcow2_usage *out, struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    struct img_file *file = qcow2_data_file(q);
    struct qcow2_l2_entry entry;

    if (qcow2_l2_decode(header, img_load_be64(p),
                        header->has_extended_l2 ? img_load_be64(p + 8) : 0,
                        guest_off, file ? img_file_len(file) : IMG_OFF_MAX,
                        &entry, err)) {
        return -1;
    }
    switch (entry.kind) {
    case QCOW2_CLUSTER_UNALLOCATED:
        if (!entry.has_host) {
            return 0;
        }
        out->data_clusters += times; /* owned, though it shows nothing */
        break;
    case QCOW2_CLUSTER_ZERO:
        out->zero_clusters += times;
        break;
    case QCOW2_CLUSTER_DATA:
    case QCOW2_CLUSTER_MIXED:
        out->data_clusters += times;
        break;
    case QCOW2_CLUSTER_COMPRESSED:
        out->compressed_clusters += times;
        break;
    }
    out->first_guest_off = img_min(out->first_guest_off, guest_off);
    return 0;
}

/* One table, named first by the entry for GUEST_OFF, TIMES times in all. */
static int usage_table(struct qcow2_image *q, uint64_t l2_off,
                       uint64_t guest_off, uint64_t times,
                       struct qcow2_usage *out, struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    size_t words = header->l2_entry_len / 8u;
    uint32_t slice_entries = q->slice.len / header->l2_entry_len;

    for (uint32_t base = 0; base < header->l2_entries; base += slice_entries) {
        uint64_t slice_off = l2_off + (uint64_t)base * header->l2_entry_len;
        const uint8_t *bytes;
        bool is_fresh;

        if (qcow2_slice_get(&q->slice, q->image.file, slice_off, &bytes,
                            &is_fresh, err)) {
            return -1;
        }
        for (uint32_t i = 0; i < slice_entries; i++) {
            const uint8_t *p = bytes + (size_t)i * header->l2_entry_len;
            size_t empty =
                qcow2_words_equal(p, (slice_entries - i) * words, 0) / words;

            i += (uint32_t)empty;
            p += empty * header->l2_entry_len;
            if (i < slice_entries &&
                usage_entry(q, p,
                            guest_off +
                                (uint64_t)(base + i) * header->cluster_len,
                            times, out, err)) {
                return qcow2_fail_entry(
                    err, slice_off + (uint64_t)i * header->l2_entry_len);
            }
        }
    }
    return 0;
}

static int usage_tables(struct qcow2_image *q, const struct qcow2_l1_order *l1,
                        struct qcow2_usage *out, struct img_error *err)
{
    const struct qcow2_header *header = &q->header;

    for (uint32_t i = 0, next; i < l1->nr; i = next) {
        struct qcow2_l1_entry entry = {0};
        uint64_t l2_off = 0;

        for (next = i; next < l1->nr; next++) {
            if (qcow2_l1_decode(header, l1->entries[next],
                                img_file_len(q->image.file), &entry, err)) {
                return qcow2_fail_entry(err, header->l1_off +
                                                 (uint64_t)l1->idx[next] * 8);
            }
            if (next > i && entry.l2_off != l2_off) {
                break;
            }
            l2_off = entry.l2_off;
        }
        if (l2_off != 0 &&
            usage_table(q, l2_off, l1->idx[i] * header->l2_covers_len, next - i,
                        out, err)) {
            return -1;
        }
    }
    return 0;
}

int qcow2_image_usage(struct img_image *image, struct qcow2_usage *out,
                      struct img_error *err)
{
    struct qcow2_image *q = qcow2_image_of(image);
    IMG_AUTO(qcow2_l1_order_fini) struct qcow2_l1_order l1 = {0};

    *out = (struct qcow2_usage){.first_guest_off = UINT64_MAX};
    if (qcow2_l1_order_load(q, &l1, err) || usage_tables(q, &l1, out, err)) {
        return -1;
    }
    if (out->first_guest_off == UINT64_MAX) {
        out->first_guest_off = 0;
    }
    return 0;
}
