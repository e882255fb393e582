/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering: extents that are pushed become parcels.
 *
 * Data and zeros are told apart in the sink's unit. A unit with any data in it
 * is data: zeros around it are filled in. Zeros at the beginning of a unit
 * wait (the head) until it is known what follows. Where a parcel ends depends
 * on what was pushed alone, never on time.
 */
#include <inttypes.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "mover_impl.h"
#include "settle.h"

/* Bounds of one parcel beside its bytes. */
#define RUNS_MAX 1024u
#define FETCHES_MAX 256u
/* Sharing shorter pieces costs more than copying them. */
#define SHARE_MIN_LEN (64ull << 10)
#define SHARE_ALIGN 4096u

struct chain_parcel *chain_mover_parcel(struct chain_mover *mover,
                                        struct img_error *err)
{
    struct chain_parcel *parcel = mover->spare;

    if (parcel) {
        mover->spare = parcel->next;
    } else {
        parcel = img_calloc(1, sizeof(*parcel), err);
    }
    if (parcel) {
        chain_parcel_reset(parcel);
    }
    return parcel;
}

void chain_mover_recycle(struct chain_mover *mover, struct chain_parcel *parcel)
{
    parcel->next = mover->spare;
    mover->spare = parcel;
}

static struct chain_parcel *open_parcel(struct chain_mover *mover,
                                        struct img_error *err)
{
    if (!mover->open) {
        mover->open = chain_mover_parcel(mover, err);
    }
    return mover->open;
}

static int send_open(struct chain_mover *mover, struct img_error *err)
{
    struct chain_parcel *parcel = img_steal(&mover->open);

    return parcel ? chain_mover_send(mover, parcel, err) : 0;
}

static int add_zero(struct chain_mover *mover, uint64_t off, uint64_t len,
                    struct img_error *err)
{
    if (mover->open && mover->open->runs_nr >= RUNS_MAX &&
        send_open(mover, err) != 0) {
        return -1;
    }
    return open_parcel(mover, err)
               ? chain_parcel_add_zero(mover->open, off, len, err)
               : -1;
}

/* No data follows in the unit of the head. */
static int end_head(struct chain_mover *mover, struct img_error *err)
{
    uint64_t len = mover->head_len;

    mover->head_len = 0;
    return len > 0 ? add_zero(mover, mover->head_off, len, err) : 0;
}

int chain_mover_close_parcel(struct chain_mover *mover, struct img_error *err)
{
    return end_head(mover, err) != 0 ? -1 : send_open(mover, err);
}

static bool is_full(const struct chain_mover *mover)
{
    return mover->open->runs_nr >= RUNS_MAX ||
           mover->open->fetches_nr >= FETCHES_MAX ||
           mover->open->buf_len >= mover->target_len;
}

/*
 * How many of LEN bytes of data at OFF the open parcel takes; 0: it is to be
 * closed first. It ends at a multiple of the block or where the data ends. A
 * compressed unit is not cut where that can be helped.
 */
static uint32_t find_room(const struct chain_mover *mover, uint64_t off,
                          uint64_t len, bool is_compressed)
{
    const struct chain_parcel *open = mover->open;
    uint64_t left =
        mover->target_len - img_min(open->buf_len, mover->target_len);
    uint64_t stop = img_align_down(off + left, mover->block);
    bool may_close =
        open->buf_len > 0 &&
        (!chain_parcel_is_open_at(open, off) || off % mover->block == 0);

    if (may_close && (is_full(mover) || stop <= off ||
                      (is_compressed && stop - off < len))) {
        return 0;
    }
    if (is_compressed) {
        return (uint32_t)len;
    }
    if (stop <= off) {
        stop = img_align_up(off + 1, mover->block);
    }
    return (uint32_t)img_min(len, stop - off);
}

/* STRETCH shows data from OFF on; NULL: zeros that are part of data. */
static int add_data(struct chain_mover *mover, uint64_t off, uint64_t len,
                    const struct chain_stretch *stretch, struct img_error *err)
{
    struct chain_stretch at = {0};
    bool is_compressed = stretch && stretch->e.kind == IMG_EXTENT_COMPRESSED;

    if (stretch) {
        at = *stretch;
    }
    while (len > 0) {
        if (!open_parcel(mover, err)) {
            return -1;
        }
        uint32_t n = find_room(mover, off, len, is_compressed);
        if (n == 0) {
            if (send_open(mover, err) != 0) {
                return -1;
            }
            continue;
        }
        if (chain_parcel_add_data(mover->open, off, n, stretch ? &at : NULL,
                                  err) != 0) {
            return -1;
        }
        chain_stretch_skip(&at, n);
        off += n;
        len -= n;
    }
    return 0;
}

/* Is the unit that OFF lies in data so far? */
static bool is_in_data(const struct chain_mover *mover, uint64_t off)
{
    return off % mover->unit != 0 && mover->head_len == 0 && mover->open &&
           chain_parcel_is_open_at(mover->open, off);
}

static int gather_zero(struct chain_mover *mover, uint64_t off, uint64_t len,
                       struct img_error *err)
{
    uint64_t unit_end = img_align_up(off, mover->unit);
    uint64_t n = img_min(len, unit_end - off);

    if (n > 0) {
        if (is_in_data(mover, off)) {
            if (add_data(mover, off, n, NULL, err) != 0) {
                return -1;
            }
        } else {
            mover->head_len += n;
        }
        off += n;
        len -= n;
    }
    if (off % mover->unit == 0 && end_head(mover, err) != 0) {
        return -1;
    }
    n = img_align_down(len, mover->unit);
    if (n > 0 && add_zero(mover, off, n, err) != 0) {
        return -1;
    }
    if (len > n) {
        mover->head_off = off + n;
        mover->head_len = len - n;
    }
    return 0;
}

static int gather_data(struct chain_mover *mover,
                       const struct chain_stretch *stretch, uint64_t len,
                       struct img_error *err)
{
    uint64_t head_len = mover->head_len;

    mover->head_len = 0;
    if (head_len > 0 &&
        add_data(mover, mover->head_off, head_len, NULL, err) != 0) {
        return -1;
    }
    return add_data(mover, stretch->e.guest_off, len, stretch, err);
}

/* Share the blocks of one place. *done false: it could not be. */
static int share_place(struct chain_mover *mover,
                       const struct chain_stretch *stretch, uint64_t len,
                       uint64_t *shared_len, struct img_error *err)
{
    const struct img_extent *e = &stretch->e;
    struct qcow2_place *place = &mover->given;
    bool is_shared;

    if (mover->sink->ops->data(mover->sink, e->guest_off, len, place, err) !=
        0) {
        return -1;
    }
    mover->given_off = e->guest_off;
    if (img_file_share(place->file, place->host_off, e->file, e->host_off,
                       place->len, &is_shared, err) != 0) {
        img_error_set_path(err, img_file_path(place->file));
        return -1;
    }
    *shared_len = is_shared ? place->len : 0;
    mover->is_sharing = is_shared;
    return 0;
}

static bool can_share(const struct chain_mover *mover,
                      const struct img_extent *e, uint64_t len)
{
    uint64_t base = 0;

    return mover->is_sharing && e->kind == IMG_EXTENT_DATA &&
           len >= SHARE_MIN_LEN && e->guest_off % mover->unit == 0 &&
           img_file_fd(e->file, &base) >= 0 &&
           (base + e->host_off) % SHARE_ALIGN == 0;
}

/*
 * Let the beginning of STRETCH share its blocks instead of being copied; it is
 * cut off. At the first refusal sharing is given up: the place that the sink
 * has given is then used for copying.
 */
static int share(struct chain_mover *mover, struct chain_stretch *stretch,
                 uint64_t *len, struct img_error *err)
{
    uint64_t align = img_max(mover->unit, SHARE_ALIGN);
    uint64_t left = img_align_down(*len, align);

    if (!can_share(mover, &stretch->e, left)) {
        return 0;
    }
    if (chain_mover_close_parcel(mover, err) != 0 ||
        chain_mover_settle(mover, false, err) != 0) {
        return -1;
    }
    while (left > 0 && mover->is_sharing) {
        uint64_t n;
        if (share_place(mover, stretch, left, &n, err) != 0) {
            return -1;
        }
        chain_stretch_skip(stretch, n);
        mover->moved.shared_len += n;
        mover->done_len += n;
        left -= n;
        *len -= n;
    }
    return 0;
}

/* Data, the first LEN bytes of STRETCH; some of it may lie in holes. */
static int push_data(struct chain_mover *mover, struct chain_stretch *stretch,
                     struct img_error *err)
{
    while (stretch->e.len > 0) {
        struct chain_stretch part = *stretch;
        uint64_t len = part.e.len;
        if (chain_settle_hole(&part, &len, err) != 0) {
            return -1;
        }
        chain_stretch_skip(stretch, len);
        if (part.e.kind == IMG_EXTENT_ZERO) {
            if (gather_zero(mover, part.e.guest_off, len, err) != 0) {
                return -1;
            }
            continue;
        }
        if (share(mover, &part, &len, err) != 0 ||
            (len > 0 && gather_data(mover, &part, len, err) != 0)) {
            return -1;
        }
    }
    return 0;
}

static int check_order(struct chain_mover *mover, const struct img_extent *e,
                       struct img_error *err)
{
    bool is_next = mover->is_begun && e->guest_off == mover->end_off;

    if (!is_next && ((mover->is_begun && e->guest_off < mover->end_off) ||
                     mover->end_off % mover->unit != 0 ||
                     e->guest_off % mover->unit != 0)) {
        return img_fail(err, IMG_USAGE,
                        "extents do not come in order and whole units: found "
                        "%" PRIu64 " after %" PRIu64 ", expected multiples of "
                        "%" PRIu32,
                        e->guest_off, mover->end_off, mover->unit);
    }
    mover->is_begun = true;
    mover->end_off = e->guest_off + e->len;
    return is_next ? 0 : end_head(mover, err);
}

static int push(struct chain_mover *mover, struct chain_view *view,
                const struct chain_extent *extent, struct img_error *err)
{
    struct chain_stretch stretch = {.e = extent->e};

    if (check_order(mover, &extent->e, err) != 0) {
        return -1;
    }
    switch (extent->e.kind) {
    case IMG_EXTENT_COMPRESSED:
        stretch.image = chain_layer_image(
            chain_layer_at(chain_view_chain(view), extent->layer));
        return gather_data(mover, &stretch, stretch.e.len, err);
    case IMG_EXTENT_DATA:
        return push_data(mover, &stretch, err);
    case IMG_EXTENT_ZERO:
    case IMG_EXTENT_UNALLOCATED:
        break;
    }
    return gather_zero(mover, extent->e.guest_off, extent->e.len, err);
}

static int fail(struct chain_mover *mover, struct img_error *err)
{
    if (!mover->is_failed) {
        mover->is_failed = true;
        mover->error = *err;
    }
    *err = mover->error;
    return -1;
}

int chain_mover_push(struct chain_mover *mover, struct chain_view *view,
                     const struct chain_extent *extent, struct img_error *err)
{
    if (mover->is_failed) {
        return fail(mover, err);
    }
    if (mover->options.cancel && *mover->options.cancel) {
        img_fail(err, IMG_CANCELLED, "cancelled");
        return fail(mover, err);
    }
    return push(mover, view, extent, err) == 0 ? 0 : fail(mover, err);
}

int chain_mover_push_range(struct chain_mover *mover, struct chain_view *view,
                           uint64_t off, uint64_t len, bool skip_absent,
                           struct img_error *err)
{
    while (len > 0) {
        struct chain_extent extent;
        if (chain_view_at(view, off, len, &extent, err) != 0) {
            return fail(mover, err);
        }
        if ((extent.is_present || !skip_absent) &&
            chain_mover_push(mover, view, &extent, err) != 0) {
            return -1;
        }
        off += extent.e.len;
        len -= extent.e.len;
    }
    return 0;
}

int chain_mover_sync(struct chain_mover *mover, struct img_error *err)
{
    if (mover->is_failed || chain_mover_close_parcel(mover, err) != 0 ||
        chain_mover_settle(mover, true, err) != 0) {
        return fail(mover, err);
    }
    return 0;
}
