/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L2 tables of a check, read ahead: those that lie one behind the other in
 * one piece, and several pieces under way.
 *
 * Room: qcow2/image. The order is the one in which the tables are visited, so
 * that a second walk, ahead of the first, says what to read next. It leaves
 * out tables that lie in holes of the file, and alone decides which these are:
 * what is not among the pieces is a hole, even if the file has changed since.
 */
#include "check_state.h"

#include <img/checked.h>

#include "slice.h"

/* What is under way at a time, and of one read (a table, if that is more). */
#define AHEAD_LEN (2u << 20)
#define PIECE_LEN (128u << 10)
/* So few tables are read before a ring is set up. */
#define MIN_TABLES 8u

bool qcow2_ahead_has(const struct qcow2_check *check, uint64_t l2_off)
{
    return l2_off < check->file_len &&
           (l2_off & (check->q->header.cluster_len - 1u)) == 0;
}

/* Is the table at OFF a hole? A file is asked once for each of its runs. */
static bool is_absent(struct qcow2_ahead *ahead, uint64_t off)
{
    uint64_t end = off + ahead->check->q->header.cluster_len;
    struct img_error ignored;

    if (!ahead->is_sparse) {
        return false;
    }
    if (off < ahead->run_begin || off >= ahead->run_end) {
        uint64_t len = 0;

        if (img_file_next_hole(ahead->check->q->image.file, off,
                               IMG_OFF_MAX - off, &ahead->is_hole, &len,
                               &ignored)) {
            ahead->is_sparse = false;
            return false;
        }
        ahead->run_begin = off;
        ahead->run_end = off + len;
    }
    return ahead->is_hole && end <= ahead->run_end;
}

/* Have the next table that is read ahead in PENDING. */
static bool pending_find(struct qcow2_ahead *ahead)
{
    while (!ahead->has_pending) {
        if (!qcow2_l2_walk_next(ahead->check, &ahead->walk, &ahead->pending)) {
            return false;
        }
        ahead->has_pending =
            qcow2_ahead_has(ahead->check, ahead->pending.off) &&
            !is_absent(ahead, ahead->pending.off);
    }
    return true;
}

static bool piece_next(void *opaque, struct img_piece *piece)
{
    struct qcow2_ahead *ahead = opaque;
    uint32_t cluster_len = ahead->check->q->header.cluster_len;
    size_t max_len = (size_t)img_max(PIECE_LEN, cluster_len);

    if (!pending_find(ahead)) {
        return false;
    }
    piece->off = ahead->pending.off;
    piece->len = 0;
    while (pending_find(ahead) &&
           ahead->pending.off == piece->off + piece->len &&
           piece->len + cluster_len <= max_len) {
        piece->len += cluster_len;
        ahead->has_pending = false;
    }
    /* For engines that read one piece after the other. */
    qcow2_prefetch(ahead->check->q->image.file, piece->off, piece->len);
    return true;
}

int qcow2_ahead_init(struct qcow2_ahead *ahead, const struct qcow2_check *check,
                     struct img_error *err)
{
    size_t max_len = (size_t)img_max(PIECE_LEN, check->q->header.cluster_len);
    bool is_small = check->l1.nr < MIN_TABLES;

    ahead->check = check;
    ahead->is_sparse = img_file_allocated_len(check->q->image.file) <
                       img_align_down(check->file_len, 4096);
    return img_reader_new(
        &(struct img_reader_options){
            .file = check->q->image.file,
            .engine = is_small ? IMG_ENGINE_SYNC : check->options->engine,
            .rings = check->options->rings,
            .depth = (unsigned)(AHEAD_LEN / max_len),
            .max_len = max_len,
            .next = piece_next,
            .opaque = ahead,
        },
        &ahead->reader, err);
}

int qcow2_check_rings(enum img_engine_kind engine, struct img_ring_stock **out,
                      struct img_error *err)
{
    *out = NULL;
    return engine == IMG_ENGINE_SYNC
               ? 0
               : img_ring_stock_new(1, (unsigned)(AHEAD_LEN / PIECE_LEN), out,
                                    err);
}

void qcow2_ahead_fini(struct qcow2_ahead *ahead)
{
    img_reader_free(ahead->reader);
    ahead->reader = NULL;
}

int qcow2_ahead_get(struct qcow2_ahead *ahead,
                    const struct qcow2_l2_visit *visit, const uint8_t **out,
                    struct img_error *err)
{
    const struct img_piece *piece = ahead->piece;

    while (!ahead->is_over &&
           (!piece || visit->off >= piece->off + piece->len)) {
        if (img_reader_get(ahead->reader, &piece, err)) {
            return -1;
        }
        ahead->piece = piece;
        ahead->is_over = !piece;
    }
    *out = piece && visit->off >= piece->off
               ? piece->bytes + (visit->off - piece->off)
               : NULL;
    return 0;
}
