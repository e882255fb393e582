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

struct l1_key {
    uint64_t l2_off;
    uint32_t idx;
};

static int l1_key_compare(const void *a, const void *b)
{
    const struct l1_key *x = a;
    const struct l1_key *y = b;

    if (x->l2_off != y->l2_off) {
        return x->l2_off < y->l2_off ? -1 : 1;
    }
    return x->idx < y->idx ? -1 : x->idx > y->idx;
}

int qcow2_l1_order(const uint8_t *l1, uint32_t entries, uint32_t **out,
                   uint32_t *nr, struct img_error *err)
{
    uint32_t used = 0;

    *out = NULL;
    *nr = 0;
    for (uint32_t i = 0; i < entries; i++) {
        used += word_at(l1 + (size_t)i * 8) != 0;
    }
    if (used == 0) {
        return 0;
    }
    IMG_AUTO(img_free_ptr)
    struct l1_key *keys = img_calloc(used, sizeof(*keys), err);
    IMG_AUTO(img_free_ptr)
    uint32_t *order = img_calloc(used, sizeof(*order), err);
    if (!keys || !order) {
        return -1;
    }

    bool is_sorted = true;
    uint32_t n = 0;
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t entry = img_load_be64(l1 + (size_t)i * 8);

        if (entry == 0) {
            continue;
        }
        keys[n] = (struct l1_key){entry & QCOW2_ENTRY_OFFSET_MASK, i};
        is_sorted =
            is_sorted && (n == 0 || keys[n - 1].l2_off <= keys[n].l2_off);
        n++;
    }
    if (!is_sorted) {
        qsort(keys, used, sizeof(*keys), l1_key_compare);
    }
    for (uint32_t i = 0; i < used; i++) {
        order[i] = keys[i].idx;
    }
    *out = img_steal(&order);
    *nr = used;
    return 0;
}
