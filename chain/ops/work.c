/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Computing on parcels: see work.h.
 */
#include "work.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/hash.h>
#include <img/memory.h>

#include "diff.h"

void chain_work_fini(struct chain_work *work)
{
    chain_inflate_fini(&work->inflate);
    qcow2_deflater_free(work->deflater);
    free(work->last_unit);
    work->deflater = NULL;
    work->last_unit = NULL;
}

static int inflate_all(struct chain_work *work, struct chain_parcel *parcel,
                       struct img_error *err)
{
    for (size_t i = 0; i < parcel->fetches_nr; i++) {
        const struct chain_fetch *fetch = &parcel->fetches[i];
        const struct chain_read *read = &fetch->read;
        if (!read->image) {
            continue;
        }
        const struct chain_window *window = &parcel->windows[fetch->window];
        const uint8_t *stored = parcel->stored + window->buf_off +
                                (read->unit.host_off - window->off);
        if (chain_inflate_read(&work->inflate, read, stored,
                               parcel->buf + read->buf_off, err) != 0) {
            img_error_set_path(err, img_file_path(read->file));
            return -1;
        }
    }
    return 0;
}

/* The part of RUN that begins SKIP bytes on and ends with its aligned unit. */
static struct chain_run cut(const struct chain_run *run, uint64_t skip,
                            uint32_t unit)
{
    struct chain_run part = *run;

    part.guest_off += skip;
    part.buf_off += (uint32_t)skip;
    part.len = img_min(run->len - skip, unit - (part.guest_off & (unit - 1)));
    return part;
}

static bool take_for_zero(struct chain_parcel *parcel, struct chain_run *part)
{
    if (!chain_diff_is_zero(parcel->buf + part->buf_off, part->len)) {
        return false;
    }
    part->kind = CHAIN_RUN_ZERO;
    parcel->found_zero_len += part->len;
    return true;
}

static int search_zeros(struct chain_work *work, struct chain_parcel *parcel,
                        const struct chain_run *run, struct img_error *err)
{
    for (uint64_t done = 0; done < run->len;) {
        struct chain_run part = cut(run, done, work->options->zero_unit);
        (void)take_for_zero(parcel, &part);
        if (chain_parcel_add_out(parcel, &part, err) != 0) {
            return -1;
        }
        done += part.len;
    }
    return 0;
}

/* The bytes of a unit; the disk's last one may be short. */
static const uint8_t *whole_unit(struct chain_work *work,
                                 const struct chain_parcel *parcel,
                                 const struct chain_run *part,
                                 struct img_error *err)
{
    uint32_t unit_len = work->options->unit_len;
    const uint8_t *bytes = parcel->buf + part->buf_off;

    if (part->len == unit_len) {
        return bytes;
    }
    if (!work->last_unit) {
        work->last_unit = img_alloc_aligned(unit_len, err);
        if (!work->last_unit) {
            return NULL;
        }
    }
    memcpy(work->last_unit, bytes, part->len);
    memset(work->last_unit + part->len, 0, unit_len - part->len);
    return work->last_unit;
}

/* Pack PART behind the PACKED_LEN bytes there are; data stays what it is
   where it does not get smaller. */
static int deflate_unit(struct chain_work *work, struct chain_parcel *parcel,
                        struct chain_run *part, uint32_t *packed_len,
                        struct img_error *err)
{
    const struct chain_work_options *options = work->options;
    const uint8_t *bytes = whole_unit(work, parcel, part, err);
    /* Of several units a packed one is smaller than the unit: all fit. */
    size_t room =
        img_min(options->unit_len - 1u, parcel->packed_len - *packed_len);
    size_t len;

    if (!bytes ||
        qcow2_deflate(work->deflater, bytes, options->unit_len,
                      parcel->packed + *packed_len, room, &len, err) != 0) {
        return -1;
    }
    if (len > 0) {
        part->kind = CHAIN_RUN_STORED;
        part->buf_off = *packed_len;
        part->stored_len = (uint32_t)len;
        *packed_len += (uint32_t)len;
    }
    return 0;
}

/* PART becomes its digest. A unit is larger than one, but for the disk's last
   one. */
static int digest_unit(struct chain_parcel *parcel, struct chain_run *part,
                       uint32_t *packed_len, struct img_error *err)
{
    if (parcel->packed_len - *packed_len < IMG_SHA256_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "found a last block of %llu bytes, expected at least "
                        "%u",
                        (unsigned long long)part->len, IMG_SHA256_LEN);
    }
    img_sha256_of(parcel->buf + part->buf_off, (size_t)part->len,
                  parcel->packed + *packed_len);
    part->kind = CHAIN_RUN_STORED;
    part->buf_off = *packed_len;
    part->stored_len = IMG_SHA256_LEN;
    *packed_len += IMG_SHA256_LEN;
    return 0;
}

static int pack_unit(struct chain_work *work, struct chain_parcel *parcel,
                     struct chain_run *part, uint32_t *packed_len,
                     struct img_error *err)
{
    return work->options->digest
               ? digest_unit(parcel, part, packed_len, err)
               : deflate_unit(work, parcel, part, packed_len, err);
}

static int pack_run(struct chain_work *work, struct chain_parcel *parcel,
                    const struct chain_run *run, uint32_t *packed_len,
                    struct img_error *err)
{
    for (uint64_t done = 0; done < run->len;) {
        struct chain_run part = cut(run, done, work->options->unit_len);
        bool is_zero =
            work->options->zero_unit > 0 && take_for_zero(parcel, &part);
        done += part.len;
        if ((!is_zero &&
             pack_unit(work, parcel, &part, packed_len, err) != 0) ||
            chain_parcel_add_out(parcel, &part, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static int do_run(struct chain_work *work, struct chain_parcel *parcel,
                  const struct chain_run *run, uint32_t *packed_len,
                  struct img_error *err)
{
    if (run->kind == CHAIN_RUN_ZERO) {
        return chain_parcel_add_out(parcel, run, err);
    }
    if (work->options->unit_len > 0) {
        return pack_run(work, parcel, run, packed_len, err);
    }
    if (work->options->zero_unit > 0) {
        return search_zeros(work, parcel, run, err);
    }
    return chain_parcel_add_out(parcel, run, err);
}

static int do_all(struct chain_work *work, struct chain_parcel *parcel,
                  struct img_error *err)
{
    const struct chain_work_options *options = work->options;
    uint32_t packed_len = 0;

    if (inflate_all(work, parcel, err) != 0) {
        return -1;
    }
    if (options->unit_len > 0 && !options->digest && !work->deflater &&
        qcow2_deflater_new(options->compression, options->effort,
                           &work->deflater, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < parcel->runs_nr; i++) {
        if (do_run(work, parcel, &parcel->runs[i], &packed_len, err) != 0) {
            return -1;
        }
    }
    return 0;
}

void chain_work_do(struct chain_work *work, struct chain_parcel *parcel)
{
    parcel->is_failed = do_all(work, parcel, &parcel->error) != 0;
}
