/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of big-endian words, as map, usage and check read them.
 * Room: qcow2/image. Specification: "Cluster mapping".
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/entry.h>

#include "radix.h"

int qcow2_table_load(struct qcow2_image *q, uint64_t off, uint64_t entries,
                     uint8_t **out, struct img_error *err)
{
    struct img_file *file = q->image.file;
    uint64_t len;

    /* With a lenient header what is missing of a table is zeros. */
    if (!img_mul(entries, sizeof(uint64_t), &len) ||
        (!q->header.is_lenient &&
         !img_range_fits(off, len,
                         img_file_len(file) + q->header.cluster_len))) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "table of %llu entries passes the end of the file",
                           (unsigned long long)entries);
    }
    IMG_AUTO(img_free_ptr)
    uint8_t *table = img_calloc(1, img_max(len, 1), err);
    if (!table || img_file_read_padded(file, table, len, off, NULL, err)) {
        return -1;
    }
    *out = img_steal(&table);
    return 0;
}

static inline uint64_t word_at(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return word;
}

size_t qcow2_words_equal(const uint8_t *p, size_t nr, uint64_t word)
{
    static const uint8_t zeros[512];
    size_t i = 0;

    /* Empty tables are scanned at memory speed. */
    while (word == 0 && i + sizeof(zeros) / 8 <= nr &&
           memcmp(p + i * 8, zeros, sizeof(zeros)) == 0) {
        i += sizeof(zeros) / 8;
    }
    for (; i + 8 <= nr; i += 8) {
        const uint8_t *q = p + i * 8;
        uint64_t differs = (word_at(q) ^ word) | (word_at(q + 8) ^ word) |
                           (word_at(q + 16) ^ word) | (word_at(q + 24) ^ word) |
                           (word_at(q + 32) ^ word) | (word_at(q + 40) ^ word) |
                           (word_at(q + 48) ^ word) | (word_at(q + 56) ^ word);
        if (differs) {
            break;
        }
    }
    while (i < nr && word_at(p + i * 8) == word) {
        i++;
    }
    return i;
}

int qcow2_fail_entry(struct img_error *err, uint64_t off)
{
    err->has_off = true;
    err->off = off;
    return -1;
}

int qcow2_l1_order_load(struct qcow2_image *q, struct qcow2_l1_order *out,
                        struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    uint32_t used = 0;
    uint8_t *table = NULL;

    *out = (struct qcow2_l1_order){0};
    if (qcow2_table_load(q, header->l1_off, header->l1_entries, &table, err) ||
        !table) {
        return -1;
    }
    out->entries = (uint64_t *)(void *)table;
    for (uint32_t i = 0; i < header->l1_entries; i++) {
        used += out->entries[i] != 0;
    }
    out->idx = img_calloc(img_max(used, 1), sizeof(*out->idx), err);
    if (!out->idx) {
        qcow2_l1_order_fini(out);
        return -1;
    }
    for (uint32_t i = 0; i < header->l1_entries; i++) {
        uint64_t entry = img_load_be64(table + (size_t)i * 8);

        if (entry != 0) {
            out->entries[out->nr] = entry;
            out->idx[out->nr++] = i;
        }
    }
    qcow2_radix_sort_tagged(out->entries, out->idx, QCOW2_ENTRY_OFFSET_MASK,
                            out->nr);
    return 0;
}

void qcow2_l1_order_fini(struct qcow2_l1_order *order)
{
    free(order->entries);
    free(order->idx);
    *order = (struct qcow2_l1_order){0};
}
