/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walking the tables of formats that are only described (room: format).
 *
 * A hole of the file holds entries of zeros, which name nothing: it is passed
 * over in one step, so that the work is bounded by what is really stored.
 */
#include "formats.h"

#include <inttypes.h>

#include <img/checked.h>
#include <img/memory.h>

#define PIECE_LEN (64u << 10)

int img_fail_cut_off(const struct img_file *file, const char *what,
                     uint64_t idx, uint64_t off, uint64_t len,
                     struct img_error *err)
{
    return img_fail(err, IMG_CORRUPT,
                    "%s %" PRIu64 ": found %" PRIu64 " bytes at offset %" PRIu64
                    ", expected inside the file's %" PRIu64
                    " bytes: it is cut off",
                    what, idx, len, off, img_file_len(file));
}

int img_table_walk(struct img_file *file, uint64_t off, uint64_t nr,
                   uint32_t entry_len,
                   int (*entry)(void *opaque, uint64_t idx,
                                const uint8_t *bytes, struct img_error *err),
                   void *opaque, struct img_error *err)
{
    uint64_t len, pos = 0;

    if (!img_mul(nr, entry_len, &len) ||
        !img_range_fits(off, len, img_file_len(file))) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "table of %" PRIu64 " entries: expected inside the "
                           "file's %" PRIu64 " bytes: it is cut off",
                           nr, img_file_len(file));
    }
    IMG_AUTO(img_free_ptr)
    uint8_t *piece = img_calloc(1, img_min(len, PIECE_LEN) + 1, err);
    if (piece == NULL) {
        return -1;
    }
    while (pos < len) {
        size_t step = (size_t)img_min(len - pos, PIECE_LEN);
        bool is_hole = false;
        uint64_t run = 0;

        if (img_file_next_hole(file, off + pos, len - pos, &is_hole, &run,
                               err) < 0) {
            return -1;
        }
        /* An entry that is partly in the hole is read. */
        if (is_hole && run >= entry_len) {
            pos += img_align_down(run, entry_len);
            continue;
        }
        if (img_file_read(file, piece, step, off + pos, err) < 0) {
            return -1;
        }
        for (size_t i = 0; i < step; i += entry_len) {
            if (entry(opaque, (pos + i) / entry_len, piece + i, err) < 0) {
                return -1;
            }
        }
        pos += step;
    }
    return 0;
}
