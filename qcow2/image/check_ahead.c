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
#include <img/thread.h>

#include "slice.h"

/* What is under way at a time, twice as much with threads, and of one read (a
   table, if that is more). */
#define AHEAD_LEN (2u << 20)
#define PIECE_LEN (128u << 10)
/* Of however large tables, with threads. */
#define MIN_PIECES 4u
/* So few tables are read before a ring is set up. */
#define MIN_TABLES 8u
/* Threads are worth their start with so many bytes of tables. */
#define MIN_THREADS_LEN (8u << 20)
/* More than so many do not help: what is counted is counted by one. */
#define THREADS_MAX 8u

/* What was seen in the tables of a piece. */
struct seen {
    uint32_t nr; /* tables */
    struct {
        bool is_plain;
        uint32_t spans_nr;
    } tables[PIECE_LEN / 512];
    uint64_t spans[]; /* of each table, from its first entry on */
};

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
    struct seen *seen = piece->result;
    uint32_t cluster_len = ahead->check->q->header.cluster_len;
    size_t max_len = (size_t)img_max(PIECE_LEN, cluster_len);

    if (!pending_find(ahead)) {
        return false;
    }
    piece->off = ahead->pending.off;
    piece->len = 0;
    seen->nr = 0;
    while (pending_find(ahead) &&
           ahead->pending.off == piece->off + piece->len &&
           piece->len + cluster_len <= max_len) {
        piece->len += cluster_len;
        seen->tables[seen->nr++].is_plain =
            qcow2_l2_is_plain(ahead->check, &ahead->pending);
        ahead->has_pending = false;
    }
    /* For engines that read one piece after the other. */
    qcow2_prefetch(ahead->check->q->image.file, piece->off, piece->len);
    return true;
}

static struct qcow2_l2_scan scan_at(const struct qcow2_ahead *ahead,
                                    struct seen *seen, uint32_t idx)
{
    return (struct qcow2_l2_scan){
        .spans = seen->spans + (size_t)idx * ahead->check->q->header.l2_entries,
        .nr = seen->tables[idx].spans_nr,
    };
}

static void piece_scan(void *opaque, const struct img_piece *piece)
{
    const struct qcow2_ahead *ahead = opaque;
    struct seen *seen = piece->result;

    for (uint32_t i = 0; i < seen->nr; i++) {
        struct qcow2_l2_scan scan = scan_at(ahead, seen, i);

        qcow2_l2_scan(ahead->check,
                      piece->bytes +
                          (size_t)i * ahead->check->q->header.cluster_len,
                      seen->tables[i].is_plain, &scan);
        seen->tables[i].spans_nr = scan.nr;
    }
}

unsigned qcow2_check_depth(size_t max_len, uint64_t len, unsigned threads)
{
    uint64_t least = threads > 0 ? MIN_PIECES : 1;
    uint64_t room = threads > 0 ? 2 * AHEAD_LEN : AHEAD_LEN;
    uint64_t pieces = img_max(room / max_len, least);

    return (unsigned)img_max(img_min(pieces, img_div_up(len, max_len)), 1);
}

unsigned qcow2_check_threads(const struct qcow2_check *check, uint64_t len)
{
    unsigned wish = check->options->threads;

    if (check->is_naming || (wish == 0 && len < MIN_THREADS_LEN)) {
        return 0;
    }
    wish = (unsigned)img_min(img_threads_nr(wish), THREADS_MAX);
    return wish > 1 ? wish : 0;
}

int qcow2_ahead_init(struct qcow2_ahead *ahead, struct qcow2_check *check,
                     struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    size_t max_len = (size_t)img_max(PIECE_LEN, header->cluster_len);
    bool is_small = check->l1.nr < MIN_TABLES;
    uint64_t len = (uint64_t)check->l1.nr * header->cluster_len;
    unsigned threads = qcow2_check_threads(check, len);

    ahead->check = check;
    ahead->is_sparse = img_file_allocated_len(check->q->image.file) <
                       img_align_down(check->file_len, 4096);
    return img_reader_new(
        &(struct img_reader_options){
            .file = check->q->image.file,
            .engine = is_small ? IMG_ENGINE_SYNC : check->options->engine,
            .rings = check->options->rings,
            .depth = qcow2_check_depth(
                max_len, check->q->image.snapshots_nr > 0 ? UINT64_MAX : len,
                threads),
            .max_len = max_len,
            .result_len = sizeof(struct seen) +
                          max_len / header->l2_entry_len * sizeof(uint64_t),
            .next = piece_next,
            .work = piece_scan,
            .opaque = ahead,
            .threads = threads,
        },
        &ahead->reader, err);
}

int qcow2_check_rings(const struct qcow2_check_options *options, bool is_direct,
                      struct img_ring_stock **out, struct img_error *err)
{
    /* Through the page cache one read at a time is as fast. */
    bool is_each = is_direct || options->engine == IMG_ENGINE_URING;
    uint64_t threads = img_min(img_threads_nr(options->threads), THREADS_MAX);

    *out = NULL;
    return options->engine == IMG_ENGINE_SYNC
               ? 0
               : img_ring_stock_new(is_each ? (unsigned)threads : 1,
                                    AHEAD_LEN / PIECE_LEN, out, err);
}

void qcow2_ahead_fini(struct qcow2_ahead *ahead)
{
    img_reader_free(ahead->reader);
    ahead->reader = NULL;
}

int qcow2_ahead_get(struct qcow2_ahead *ahead,
                    const struct qcow2_l2_visit *visit, const uint8_t **out,
                    struct qcow2_l2_scan *scan, struct img_error *err)
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
    *out = NULL;
    if (piece && visit->off >= piece->off) {
        uint64_t off = visit->off - piece->off;

        *out = piece->bytes + off;
        *scan =
            scan_at(ahead, piece->result,
                    (uint32_t)(off >> ahead->check->q->header.cluster_bits));
    }
    return 0;
}
