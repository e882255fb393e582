/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From one first cluster to the next (specification: "Header", "Header
 * extensions").
 *
 * Room: qcow2/edit. What only the next state uses is written and flushed, then
 * the first sector, and flushed: whatever becomes of a write, the image has
 * the old values or the new ones. Where the feature name table is in the way
 * it is left out at first and brought back by a second switch.
 */
#include "header_switch.h"

#include <string.h>

#include <img/memory.h>

int qcow2_edit_page(const struct qcow2_edit *edit, struct header_page *out,
                    struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    uint8_t *bytes = img_calloc(1, len, err);

    *out = (struct header_page){0};
    if (!bytes) {
        return -1;
    }
    memcpy(bytes, edit->first, len);
    return header_page_decode(bytes, len, out, err);
}

/* The bytes beyond the first sector in which PAGE differs from what is. */
static int prepare(struct qcow2_edit *edit, const uint8_t *page,
                   struct img_error *err)
{
    uint32_t start = HEADER_SECTOR_LEN;
    uint32_t end = edit->header.cluster_len;

    while (start < end && page[start] == edit->first[start]) {
        start++;
    }
    while (end > start && page[end - 1] == edit->first[end - 1]) {
        end--;
    }
    if (start >= end) {
        return 0;
    }
    return qcow2_edit_first_prepare(edit, page, start, end - start, err);
}

/* Header bytes without meaning are zeros. They were the list before. */
static int clear_header_rest(struct qcow2_edit *edit, uint32_t old_len,
                             struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    uint32_t end = edit->header.header_len;
    uint32_t start = old_len > HEADER_SECTOR_LEN ? old_len : HEADER_SECTOR_LEN;
    IMG_AUTO(img_free_ptr) uint8_t *page = NULL;

    if (start >= end) {
        return 0;
    }
    page = img_calloc(1, len, err);
    if (!page) {
        return -1;
    }
    memcpy(page, edit->first, len);
    memset(page + start, 0, end - start);
    if (prepare(edit, page, err)) {
        return -1;
    }
    return qcow2_edit_flush(edit, err);
}

int qcow2_edit_store_page(struct qcow2_edit *edit,
                          const struct header_page *old,
                          const struct header_page *page, struct img_error *err)
{
    if (memcmp(old->bytes, page->bytes, old->header.cluster_len) == 0) {
        return 0;
    }
    if (prepare(edit, page->bytes, err) ||
        qcow2_edit_first_store(edit, page->bytes, err) ||
        clear_header_rest(edit, old->header.header_len, err)) {
        return qcow2_edit_abandon(edit);
    }
    return 0;
}

static int switch_once(struct qcow2_edit *edit,
                       const struct qcow2_header *header,
                       const struct qcow2_extensions *extensions,
                       bool *is_whole, struct img_error *err)
{
    struct header_page old = {0}, page = {0};
    int result = -1;

    if (qcow2_edit_page(edit, &old, err) == 0 &&
        header_page_plan(&old, header, extensions, &page, is_whole, err) == 0) {
        result = qcow2_edit_store_page(edit, &old, &page, err);
    }
    header_page_fini(&page);
    header_page_fini(&old);
    return result;
}

int qcow2_edit_switch_header(struct qcow2_edit *edit,
                             const struct qcow2_header *header,
                             const struct qcow2_extensions *extensions,
                             struct img_error *err)
{
    bool is_whole;

    if (switch_once(edit, header, extensions, &is_whole, err)) {
        return -1;
    }
    return is_whole ? 0 : switch_once(edit, header, extensions, &is_whole, err);
}
