/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What will be written: the pages in which the staged file differs, and what
 * each of them holds. Room: qcow2/repair.
 */
#include "repair_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/staged.h>

#define PAGE_MAX_LEN 4096u

uint32_t qcow2_repair_page_len(const struct qcow2_repair *r)
{
    return (uint32_t)img_min(r->header.cluster_len, PAGE_MAX_LEN);
}

static int off_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

static enum qcow2_page_class class_of(const struct qcow2_repair *r,
                                      uint64_t off)
{
    uint64_t cluster = off >> r->header.cluster_bits;
    uint64_t cluster_off = cluster << r->header.cluster_bits;
    uint64_t table_len = (uint64_t)r->reftable_clusters * r->header.cluster_len;

    if (qcow2_repair_is_fresh(r, off)) {
        return QCOW2_PAGE_FRESH;
    }
    if (cluster == 0) {
        return QCOW2_PAGE_HEADER;
    }
    if (r->kept_nr > 0 && bsearch(&cluster_off, r->kept, r->kept_nr,
                                  sizeof(*r->kept), off_compare)) {
        return QCOW2_PAGE_REFBLOCK;
    }
    if (off >= r->reftable_off && off - r->reftable_off < table_len) {
        return QCOW2_PAGE_REFTABLE;
    }
    return qcow2_runs_find(&r->exclusive, cluster) ? QCOW2_PAGE_L1
                                                   : QCOW2_PAGE_ENTRIES;
}

static int page_differs(struct qcow2_repair *r, uint64_t off, uint32_t len,
                        bool *out, struct img_error *err)
{
    uint8_t was[PAGE_MAX_LEN], now[PAGE_MAX_LEN];

    if (img_file_read_padded(r->file, was, len, off, NULL, err) ||
        img_file_read_padded(r->staged, now, len, off, NULL, err)) {
        return -1;
    }
    *out = memcmp(was, now, len) != 0;
    return 0;
}

int qcow2_plan_make(struct qcow2_repair *r, struct qcow2_plan *out,
                    struct img_error *err)
{
    uint64_t staged_len = img_file_len(r->staged);
    IMG_AUTO(img_free_ptr) uint64_t *offs = NULL;
    size_t nr = 0;

    *out = (struct qcow2_plan){.page_len = qcow2_repair_page_len(r)};
    if (img_staged_pages(r->staged, &offs, &nr, err)) {
        return -1;
    }
    out->pages = img_calloc(nr + 1, sizeof(*out->pages), err);
    if (!out->pages) {
        return -1;
    }
    for (size_t i = 0; i < nr && offs[i] < staged_len; i++) {
        bool differs = false;

        if (page_differs(r, offs[i], out->page_len, &differs, err)) {
            qcow2_plan_fini(out);
            return -1;
        }
        if (differs) {
            out->pages[out->nr++] =
                (struct qcow2_page){offs[i], class_of(r, offs[i])};
        }
    }
    return 0;
}

void qcow2_plan_fini(struct qcow2_plan *plan)
{
    free(plan->pages);
    *plan = (struct qcow2_plan){0};
}

void qcow2_refcounts_raise(const struct qcow2_header *header,
                           const uint8_t *floor, uint8_t *counts, uint32_t len)
{
    uint64_t nr = (uint64_t)len * 8 >> header->refcount_order;

    for (uint64_t i = 0; i < nr; i++) {
        uint64_t old = qcow2_refcount_get(header, floor, i);

        if (old > qcow2_refcount_get(header, counts, i)) {
            qcow2_refcount_set(header, counts, i, old);
        }
    }
}
