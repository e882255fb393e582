/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads: see read.h.
 */
#include "read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <qcow2/inflate.h>

static bool extends_unit(const struct chain_read *read,
                         const struct img_extent *e, uint64_t off)
{
    return read->image && read->file == e->file &&
           read->unit.host_off == e->host_off &&
           read->unit.unit_guest_off == e->unit_guest_off &&
           read->unit.unit_guest_off + read->part_off + read->len == off;
}

static bool extends(const struct chain_read *read,
                    const struct chain_stretch *stretch, uint64_t off,
                    uint32_t buf_off)
{
    const struct img_extent *e = &stretch->e;

    if (read->buf_off + read->len != buf_off) {
        return false;
    }
    if (e->kind == IMG_EXTENT_COMPRESSED) {
        return read->image == stretch->image && extends_unit(read, e, off);
    }
    return !read->image && read->file == e->file &&
           read->host_off + read->len == e->host_off;
}

bool chain_read_extend(struct chain_read *read,
                       const struct chain_stretch *stretch, uint64_t off,
                       uint32_t len, uint32_t buf_off)
{
    if (!extends(read, stretch, off, buf_off)) {
        return false;
    }
    read->len += len;
    return true;
}

void chain_read_init(struct chain_read *read,
                     const struct chain_stretch *stretch, uint64_t off,
                     uint32_t len, uint32_t buf_off)
{
    const struct img_extent *e = &stretch->e;

    memset(read, 0, sizeof(*read));
    read->file = e->file;
    read->host_off = e->host_off;
    read->len = len;
    read->buf_off = buf_off;
    if (e->kind == IMG_EXTENT_COMPRESSED) {
        read->image = stretch->image;
        read->unit = *e;
        read->part_off = (uint32_t)(off - e->unit_guest_off);
    }
}

void chain_inflate_fini(struct chain_inflate *inflate)
{
    if (inflate->inflater) {
        qcow2_inflater_free(inflate->inflater);
    }
    free(inflate->scratch);
    memset(inflate, 0, sizeof(*inflate));
}

static int prepare(struct chain_inflate *inflate, uint32_t unit_len,
                   struct img_error *err)
{
    if (!inflate->inflater &&
        qcow2_inflater_new(&inflate->inflater, err) != 0) {
        return -1;
    }
    if (inflate->scratch_cap >= unit_len) {
        return 0;
    }
    free(inflate->scratch);
    inflate->scratch_cap = 0;
    inflate->scratch = img_alloc_aligned(unit_len, err);
    if (!inflate->scratch) {
        return -1;
    }
    inflate->scratch_cap = unit_len;
    return 0;
}

int chain_inflate_read(struct chain_inflate *inflate,
                       const struct chain_read *read, const void *stored,
                       uint8_t *out, struct img_error *err)
{
    uint32_t unit_len = read->unit.unit_len;
    bool is_whole = read->part_off == 0 && read->len == unit_len;

    if (prepare(inflate, is_whole ? 0 : unit_len, err) != 0) {
        return -1;
    }
    if (is_whole) {
        return img_image_decompress(read->image, inflate->inflater, &read->unit,
                                    stored, out, err);
    }
    if (img_image_decompress(read->image, inflate->inflater, &read->unit,
                             stored, inflate->scratch, err) != 0) {
        return -1;
    }
    memcpy(out, inflate->scratch + read->part_off, read->len);
    return 0;
}

void chain_request_error(const struct img_request *request,
                         struct img_error *err)
{
    bool is_write = request->op == IMG_REQUEST_WRITE;

    img_fail_sys(err, -request->result, "cannot %s %zu bytes",
                 is_write ? "write" : "read", request->len);
    bool is_full =
        is_write && (request->result == -ENOSPC || request->result == -EDQUOT);
    if (err->code != IMG_MEMORY && !is_full) {
        err->code = IMG_IO;
    }
    err->has_off = true;
    err->off = request->off;
    img_error_set_path(err, img_file_path(request->file));
}
