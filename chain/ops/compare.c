/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing two views: see chain/compare.h.
 *
 * The calling thread walks both views in lockstep, settles what needs no
 * reading and cuts the rest into pieces; workers read and compare them; the
 * calling thread collects the outcomes in walking order.
 */
#include <chain/compare.h>

#include <string.h>

#include <chain/view.h>
#include <img/checked.h>
#include <img/memory.h>

#include "collect.h"
#include "crew.h"
#include "lockstep.h"
#include "settle.h"

/* How long to wait for a worker before looking whether to stop. */
#define POLL_MS 100u

struct comparison {
    const struct chain_compare_options *options;
    struct chain_lockstep walk;
    struct chain_settler settler;
    struct chain_queue queue;
    struct chain_crew crew;
    struct chain_collector collector;
    struct chain_piece *open;   /* being filled; NULL: none */
    struct chain_proof settled; /* since the last piece was published */
};

static bool is_cancelled(const struct comparison *c)
{
    return c->options->cancel && *c->options->cancel;
}

static bool is_over(struct comparison *c)
{
    return !chain_queue_is_wanted(&c->queue, c->queue.head);
}

/* Collect what is finished, in order. */
static int retire(struct comparison *c, struct img_error *err)
{
    struct chain_piece *piece;

    if (is_cancelled(c)) {
        return img_fail(err, IMG_CANCELLED, "cancelled");
    }
    while ((piece = (struct chain_piece *)chain_queue_retire(&c->queue))) {
        if (chain_queue_is_wanted(&c->queue, piece->task.seq)) {
            chain_collect_piece(&c->collector, piece);
        }
        chain_queue_release(&c->queue);
    }
    return 0;
}

static int open_piece(struct comparison *c, struct img_error *err)
{
    struct chain_task *task = chain_queue_open_task(&c->queue);

    while (!task) {
        if (chain_crew_work(&c->crew, err) != 0) {
            return -1;
        }
        chain_queue_wait(&c->queue, false, POLL_MS);
        if (retire(c, err) != 0) {
            return -1;
        }
        task = chain_queue_open_task(&c->queue);
    }
    c->open = (struct chain_piece *)task;
    chain_piece_reset(c->open);
    return 0;
}

static int publish(struct comparison *c, struct img_error *err)
{
    if (!c->open) {
        return 0;
    }
    c->open->settled = c->settled;
    memset(&c->settled, 0, sizeof(c->settled));
    c->open = NULL;
    chain_queue_publish(&c->queue);
    return chain_crew_hire(&c->crew, err);
}

/* The LEN bytes that BOTH show must be read. *len is how many were taken. */
static int enqueue(struct comparison *c, const struct chain_stretch *both,
                   uint64_t len, uint64_t *taken, struct img_error *err)
{
    bool is_compressed = both[0].e.kind == IMG_EXTENT_COMPRESSED ||
                         both[1].e.kind == IMG_EXTENT_COMPRESSED;

    for (;;) {
        if (!c->open && open_piece(c, err) != 0) {
            return -1;
        }
        uint32_t room =
            chain_piece_room(c->open, c->walk.off, len, is_compressed,
                             c->crew.options.target_len);
        if (room > 0) {
            chain_piece_add(c->open, c->walk.off, room, &both[0], &both[1]);
            *taken = room;
            return 0;
        }
        if (publish(c, err) != 0) {
            return -1;
        }
    }
}

static void settle_done(struct comparison *c, enum chain_settled how,
                        uint64_t len)
{
    if (how == CHAIN_SETTLED_SAME_FILE) {
        c->settled.same_file_len += len;
    } else if (how == CHAIN_SETTLED_BOTH_ZERO) {
        c->settled.both_zero_len += len;
    } else {
        c->settled.shared_extents_len += len;
    }
    chain_collect_done(&c->collector, len);
}

/*
 * What the images' maps cannot tell is a doubt about the images, not a
 * failure of comparing: it is noted after all pieces so far.
 */
static int note_doubt(struct comparison *c, const struct img_error *doubt,
                      struct img_error *err)
{
    if (publish(c, err) != 0) {
        return -1;
    }
    chain_queue_fail(&c->queue, c->queue.head, doubt);
    return 0;
}

/* Go over what is of no interest; then how much of what follows is, or 0: ask
   again. */
static uint64_t skip(struct comparison *c)
{
    uint64_t len = c->walk.end - c->walk.off;

    if (!c->options->skip ||
        !c->options->skip(c->options->opaque, c->walk.off, &len)) {
        return len;
    }
    chain_lockstep_advance(&c->walk, len);
    chain_collect_done(&c->collector, len);
    return 0;
}

/* What both sides show next, at most LEN bytes of it. */
static int load(struct comparison *c, struct chain_stretch *both, uint64_t len,
                struct img_error *err)
{
    if (chain_lockstep_load(&c->walk, both, err) != 0) {
        return -1;
    }
    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        both[side].e.len = img_min(both[side].e.len, len);
    }
    return 0;
}

static int walk(struct comparison *c, struct img_error *err)
{
    struct chain_stretch both[CHAIN_SIDES];
    enum chain_settled how;
    uint64_t len;

    while (c->walk.off < c->walk.end && !is_over(c)) {
        if (is_cancelled(c)) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
        uint64_t wanted = skip(c);
        if (wanted == 0) {
            continue;
        }
        if (load(c, both, wanted, err) != 0 ||
            chain_settle(&c->settler, &both[0], &both[1], &how, &len, err) !=
                0) {
            struct img_error doubt = *err;
            return note_doubt(c, &doubt, err);
        }
        if (how != CHAIN_SETTLED_NOT) {
            settle_done(c, how, len);
        } else if (enqueue(c, both, len, &len, err) != 0) {
            return -1;
        }
        chain_lockstep_advance(&c->walk, len);
    }
    return publish(c, err);
}

/* No more pieces: let the rest be done and collect it. */
static int finish(struct comparison *c, struct img_error *err)
{
    if (chain_crew_work(&c->crew, err) != 0) {
        return -1;
    }
    chain_queue_close(&c->queue);
    while (!chain_queue_is_empty(&c->queue)) {
        chain_queue_wait(&c->queue, true, POLL_MS);
        if (retire(c, err) != 0) {
            return -1;
        }
    }
    if (!is_over(c)) {
        chain_collect_proof(&c->collector, &c->settled);
    }
    chain_collect_finish(&c->collector);
    return 0;
}

static int run(struct comparison *c, struct img_error *err)
{
    if (walk(c, err) != 0 || finish(c, err) != 0) {
        /* Whatever is still in flight is drained, and nothing new begun. */
        chain_queue_set_limit(&c->queue, 0);
        return -1;
    }
    return 0;
}

static int check_unchanged(const struct chain_lockstep *walk,
                           struct img_error *err)
{
    return chain_view_check_unchanged(walk->views[0], err) != 0
               ? -1
               : chain_view_check_unchanged(walk->views[1], err);
}

static void judge(struct comparison *c, struct chain_compare_result *out)
{
    if (chain_queue_is_wanted(&c->queue, c->queue.error_seq)) {
        out->why = c->queue.error;
    }
    bool is_different = out->has_difference || out->is_size_different;
    out->verdict = is_different              ? CHAIN_DIFFERENT
                   : out->why.code != IMG_OK ? CHAIN_UNPROVEN
                                             : CHAIN_IDENTICAL;
    /* What was found in files that changed meanwhile proves nothing. */
    if (check_unchanged(&c->walk, &out->why) != 0) {
        out->verdict = CHAIN_UNPROVEN;
    }
}

static int begin(struct comparison *c, struct chain_view *a,
                 struct chain_view *b, struct chain_compare_result *out,
                 struct img_error *err)
{
    chain_lockstep_init(&c->walk, a, b, c->options->start_off,
                        c->options->limit_len);
    out->len = c->walk.end - c->walk.off;
    chain_collect_init(&c->collector, c->options, out, out->len);
    c->settler.no_identity = c->options->no_identity;
    if (!c->options->no_shared) {
        c->settler.physical = chain_physical_new(err);
        if (!c->settler.physical) {
            return -1;
        }
    }
    if (chain_queue_init(&c->queue, sizeof(struct chain_piece),
                         chain_piece_clear, err) != 0) {
        chain_physical_free(c->settler.physical);
        return -1;
    }
    chain_crew_init(&c->crew, &c->queue, c->options);
    return 0;
}

int chain_compare(struct chain_view *a, struct chain_view *b,
                  const struct chain_compare_options *options,
                  struct chain_compare_result *out, struct img_error *err)
{
    struct comparison c = {.options = options};

    memset(out, 0, sizeof(*out));
    if (begin(&c, a, b, out, err) != 0) {
        return -1;
    }
    out->is_size_different =
        options->strict_size && chain_view_len(a) != chain_view_len(b);
    int rc = 0;
    if (!out->is_size_different || options->all) {
        rc = run(&c, err);
    }
    chain_queue_close(&c.queue);
    chain_crew_fini(&c.crew);
    if (rc == 0) {
        judge(&c, out);
    }
    chain_queue_fini(&c.queue);
    chain_physical_free(c.settler.physical);
    return rc;
}
