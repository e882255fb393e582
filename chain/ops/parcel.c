/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parcels: see parcel.h. No I/O.
 */
#include "parcel.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

/* Stored bytes are read in whole blocks, as direct I/O wants them. */
#define WINDOW_ALIGN 4096u
/* Bytes between two units that are read along rather than apart. */
#define WINDOW_GAP (32ull << 10)
#define WINDOW_MAX_LEN (4ull << 20)

void chain_parcel_free(struct chain_parcel *parcel)
{
    if (!parcel) {
        return;
    }
    free(parcel->runs);
    free(parcel->fetches);
    free(parcel->windows);
    free(parcel->outs);
    free(parcel);
}

void chain_parcel_reset(struct chain_parcel *parcel)
{
    parcel->next = NULL;
    parcel->state = CHAIN_PARCEL_GATHERED;
    parcel->runs_nr = 0;
    parcel->fetches_nr = 0;
    parcel->windows_nr = 0;
    parcel->guest_len = 0;
    parcel->buf_len = 0;
    parcel->has_compressed = false;
    parcel->read_idx = 0;
    parcel->pending = 0;
    parcel->outs_nr = 0;
    parcel->found_zero_len = 0;
    parcel->is_failed = false;
    parcel->out_idx = 0;
    parcel->out_done = 0;
    parcel->place = (struct qcow2_place){0};
}

/* Room for one more of ITEM_LEN bytes behind NR. */
static void *grow(void *array, size_t nr, size_t *cap, size_t item_len,
                  struct img_error *err)
{
    if (nr < *cap) {
        return array;
    }
    size_t wanted = *cap ? *cap * 2 : 16;
    void *larger = realloc(array, wanted * item_len);
    if (!larger) {
        img_fail_memory(err);
        return NULL;
    }
    *cap = wanted;
    return larger;
}

static struct chain_run *add_run(struct chain_parcel *parcel,
                                 struct img_error *err)
{
    struct chain_run *runs = grow(parcel->runs, parcel->runs_nr,
                                  &parcel->runs_cap, sizeof(*runs), err);

    if (!runs) {
        return NULL;
    }
    parcel->runs = runs;
    struct chain_run *run = &runs[parcel->runs_nr++];
    memset(run, 0, sizeof(*run));
    return run;
}

static bool ends_with(const struct chain_parcel *parcel,
                      enum chain_run_kind kind, uint64_t off)
{
    if (parcel->runs_nr == 0) {
        return false;
    }
    const struct chain_run *last = &parcel->runs[parcel->runs_nr - 1];
    return last->kind == kind && last->guest_off + last->len == off;
}

bool chain_parcel_is_open_at(const struct chain_parcel *parcel, uint64_t off)
{
    return ends_with(parcel, CHAIN_RUN_DATA, off);
}

/* LEN bytes at OFF are of KIND; data begins at the buffer's end. */
static int extend_runs(struct chain_parcel *parcel, enum chain_run_kind kind,
                       uint64_t off, uint64_t len, struct img_error *err)
{
    if (!ends_with(parcel, kind, off)) {
        struct chain_run *run = add_run(parcel, err);
        if (!run) {
            return -1;
        }
        run->kind = kind;
        run->guest_off = off;
        run->buf_off = parcel->buf_len;
    }
    parcel->runs[parcel->runs_nr - 1].len += len;
    parcel->guest_len += len;
    return 0;
}

int chain_parcel_add_zero(struct chain_parcel *parcel, uint64_t off,
                          uint64_t len, struct img_error *err)
{
    return extend_runs(parcel, CHAIN_RUN_ZERO, off, len, err);
}

/* Let the last window take in the LEN bytes at OFF, if they lie near. */
static bool extend_window(struct chain_parcel *parcel,
                          const struct img_file *file, uint64_t off,
                          uint64_t len)
{
    if (parcel->windows_nr == 0) {
        return false;
    }
    struct chain_window *window = &parcel->windows[parcel->windows_nr - 1];
    uint64_t begin = img_min(window->off, off);
    uint64_t end = img_max(window->off + window->len, off + len);
    if (window->file != file || end - begin > WINDOW_MAX_LEN ||
        end - begin > window->len + len + WINDOW_GAP) {
        return false;
    }
    window->off = begin;
    window->len = end - begin;
    return true;
}

static int add_window(struct chain_parcel *parcel, const struct img_extent *e,
                      struct img_error *err)
{
    uint64_t off = img_align_down(e->host_off, WINDOW_ALIGN);
    uint64_t end = img_align_up(e->host_off + e->host_len, WINDOW_ALIGN);

    if (extend_window(parcel, e->file, off, end - off)) {
        return 0;
    }
    struct chain_window *windows =
        grow(parcel->windows, parcel->windows_nr, &parcel->windows_cap,
             sizeof(*windows), err);
    if (!windows) {
        return -1;
    }
    parcel->windows = windows;
    windows[parcel->windows_nr++] = (struct chain_window){
        .file = e->file,
        .off = off,
        .len = end - off,
    };
    return 0;
}

static int add_fetch(struct chain_parcel *parcel, uint64_t off, uint32_t len,
                     const struct chain_stretch *stretch, struct img_error *err)
{
    struct chain_fetch *fetches =
        grow(parcel->fetches, parcel->fetches_nr, &parcel->fetches_cap,
             sizeof(*fetches), err);

    if (!fetches) {
        return -1;
    }
    parcel->fetches = fetches;
    struct chain_fetch *fetch = &fetches[parcel->fetches_nr];
    if (!stretch) {
        memset(fetch, 0, sizeof(*fetch));
        fetch->read.len = len;
        fetch->read.buf_off = parcel->buf_len;
        parcel->fetches_nr++;
        return 0;
    }
    chain_read_init(&fetch->read, stretch, off, len, parcel->buf_len);
    if (fetch->read.image) {
        if (add_window(parcel, &stretch->e, err) != 0) {
            return -1;
        }
        fetch->window = (uint32_t)parcel->windows_nr - 1;
        parcel->has_compressed = true;
    }
    parcel->fetches_nr++;
    return 0;
}

static bool extend_fetch(struct chain_parcel *parcel, uint64_t off,
                         uint32_t len, const struct chain_stretch *stretch)
{
    if (parcel->fetches_nr == 0) {
        return false;
    }
    struct chain_read *last = &parcel->fetches[parcel->fetches_nr - 1].read;
    if (!stretch) {
        bool is_fill =
            !last->file && last->buf_off + last->len == parcel->buf_len;
        last->len += is_fill ? len : 0;
        return is_fill;
    }
    return last->file &&
           chain_read_extend(last, stretch, off, len, parcel->buf_len);
}

int chain_parcel_add_data(struct chain_parcel *parcel, uint64_t off,
                          uint32_t len, const struct chain_stretch *stretch,
                          struct img_error *err)
{
    if (!extend_fetch(parcel, off, len, stretch) &&
        add_fetch(parcel, off, len, stretch, err) != 0) {
        return -1;
    }
    if (extend_runs(parcel, CHAIN_RUN_DATA, off, len, err) != 0) {
        return -1;
    }
    parcel->buf_len += len;
    return 0;
}

static uint64_t windows_len(const struct chain_parcel *parcel)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < parcel->windows_nr; i++) {
        sum += parcel->windows[i].len;
    }
    return sum;
}

uint64_t chain_parcel_cost(const struct chain_parcel *parcel, bool packed)
{
    return (packed ? 2ull : 1ull) * parcel->buf_len + windows_len(parcel);
}

static int get_buffers(struct chain_parcel *parcel, bool packed,
                       struct chain_pool *pool, struct img_error *err)
{
    parcel->stored_len = windows_len(parcel);
    parcel->packed_len = packed ? parcel->buf_len : 0;
    if (parcel->buf_len > 0) {
        parcel->buf = chain_pool_get(pool, parcel->buf_len, err);
        if (!parcel->buf) {
            return -1;
        }
    }
    if (parcel->stored_len > 0) {
        parcel->stored = chain_pool_get(pool, parcel->stored_len, err);
        if (!parcel->stored) {
            return -1;
        }
    }
    if (parcel->packed_len > 0) {
        parcel->packed = chain_pool_get(pool, parcel->packed_len, err);
        if (!parcel->packed) {
            return -1;
        }
    }
    return 0;
}

int chain_parcel_load(struct chain_parcel *parcel, bool packed,
                      struct chain_pool *pool, struct img_error *err)
{
    uint64_t at = 0;

    if (get_buffers(parcel, packed, pool, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < parcel->windows_nr; i++) {
        parcel->windows[i].buf_off = at;
        at += parcel->windows[i].len;
    }
    for (size_t i = 0; i < parcel->fetches_nr; i++) {
        const struct chain_read *read = &parcel->fetches[i].read;
        if (!read->file) {
            memset(parcel->buf + read->buf_off, 0, read->len);
        }
    }
    return 0;
}

void chain_parcel_drop_stored(struct chain_parcel *parcel,
                              struct chain_pool *pool)
{
    chain_pool_put(pool, parcel->stored, parcel->stored_len);
    parcel->stored = NULL;
}

void chain_parcel_unload(struct chain_parcel *parcel, struct chain_pool *pool)
{
    chain_parcel_drop_stored(parcel, pool);
    chain_pool_put(pool, parcel->packed, parcel->packed_len);
    chain_pool_put(pool, parcel->buf, parcel->buf_len);
    parcel->packed = NULL;
    parcel->buf = NULL;
}

/* Windows first, then what is read as it is. */
bool chain_parcel_next_read(struct chain_parcel *parcel,
                            struct img_request *request)
{
    memset(request, 0, sizeof(*request));
    request->op = IMG_REQUEST_READ;
    if (parcel->read_idx < parcel->windows_nr) {
        const struct chain_window *window =
            &parcel->windows[parcel->read_idx++];
        request->file = window->file;
        request->buf = parcel->stored + window->buf_off;
        request->len = window->len;
        request->off = window->off;
        return true;
    }
    size_t idx = parcel->read_idx - parcel->windows_nr;
    while (idx < parcel->fetches_nr) {
        const struct chain_read *read = &parcel->fetches[idx++].read;
        if (read->file && !read->image) {
            request->file = read->file;
            request->buf = parcel->buf + read->buf_off;
            request->len = read->len;
            request->off = read->host_off;
            parcel->read_idx = parcel->windows_nr + idx;
            return true;
        }
    }
    parcel->read_idx = parcel->windows_nr + idx;
    return false;
}

static bool continues(const struct chain_run *last, const struct chain_run *run)
{
    return run->kind == last->kind && run->kind != CHAIN_RUN_STORED &&
           last->guest_off + last->len == run->guest_off &&
           (run->kind == CHAIN_RUN_ZERO ||
            last->buf_off + last->len == run->buf_off);
}

int chain_parcel_add_out(struct chain_parcel *parcel,
                         const struct chain_run *run, struct img_error *err)
{
    if (parcel->outs_nr > 0 &&
        continues(&parcel->outs[parcel->outs_nr - 1], run)) {
        parcel->outs[parcel->outs_nr - 1].len += run->len;
        return 0;
    }
    struct chain_run *outs = grow(parcel->outs, parcel->outs_nr,
                                  &parcel->outs_cap, sizeof(*outs), err);
    if (!outs) {
        return -1;
    }
    parcel->outs = outs;
    outs[parcel->outs_nr++] = *run;
    return 0;
}
