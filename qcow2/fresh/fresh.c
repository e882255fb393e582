/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new image from beginning to end (specification: "General", "Header").
 *
 * Room: qcow2/fresh. The host file: the first cluster, the first refcount
 * block, the L1 table; then data, L2 tables and refcount blocks as they come;
 * at last the refcount table, exactly as long as it must be. Until the first
 * sector is there, after everything else is stable, it is no image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "fresh_impl.h"

#define SECTOR_LEN 512u
/* So much is reserved before somebody may cancel again. */
#define RESERVE_LEN (64ull << 20)

int fresh_wipe(const struct qcow2_fresh *fresh, struct img_file *file,
               uint64_t off, uint64_t len, struct img_error *err)
{
    if (img_file_kind(file) != IMG_FILE_BLOCK || len == 0) {
        return 0;
    }
    return img_file_zero(file, off, len,
                         fresh->prealloc > QCOW2_PREALLOC_METADATA
                             ? IMG_ZERO_KEEP
                             : IMG_ZERO_UNMAP,
                         err);
}

int fresh_encode(struct qcow2_fresh *fresh, struct img_error *err)
{
    return qcow2_first_cluster_encode(&fresh->header, &fresh->extensions, true,
                                      fresh->first, fresh->header.cluster_len,
                                      err);
}

static int copy_text(char **out, const char *text, struct img_error *err)
{
    if (text == NULL) {
        return 0;
    }
    *out = img_strndup(text, strlen(text), err);
    return *out == NULL ? -1 : 0;
}

static int copy_texts(struct qcow2_extensions *x,
                      const struct qcow2_create_options *options,
                      struct img_error *err)
{
    if (copy_text(&x->backing_name, options->backing_name, err) < 0 ||
        copy_text(&x->backing_format, options->backing_format, err) < 0 ||
        copy_text(&x->data_file_name, options->data_file_name, err) < 0) {
        return -1;
    }
    return 0;
}

/* What FILE holds is no image from now on, also after a crash. */
static int destroy_old(struct img_file *file, struct img_error *err)
{
    static const uint8_t zeros[SECTOR_LEN];

    if (img_file_len(file) == 0) {
        return 0;
    }
    if (img_file_write(file, zeros, sizeof(zeros), 0, err) < 0 ||
        img_file_flush(file, err) < 0) {
        return -1;
    }
    if (img_file_kind(file) == IMG_FILE_BLOCK) {
        return 0;
    }
    return img_file_resize(file, 0, err);
}

/* Empty, and as long as the disk. */
static int prepare_data_file(struct qcow2_fresh *fresh, struct img_error *err)
{
    struct img_file *file = fresh->data_file;
    uint64_t len = fresh->header.virtual_len;

    if (img_file_kind(file) != IMG_FILE_BLOCK) {
        if (img_file_resize(file, 0, err) < 0) {
            return -1;
        }
        return img_file_resize(file, len, err);
    }
    if (img_file_len(file) < len) {
        img_fail_sys(err, ENOSPC,
                     "data file: found %" PRIu64 " bytes, expected at least"
                     " %" PRIu64,
                     img_file_len(file), len);
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    /* What has a place and is not written reads as zeros. */
    return fresh->prealloc == QCOW2_PREALLOC_OFF
               ? 0
               : fresh_wipe(fresh, file, 0, len, err);
}

static int check_data_file(const struct qcow2_create_options *options,
                           const struct img_file *data_file,
                           struct img_error *err)
{
    bool is_wanted = options->data_file_name != NULL;

    if (is_wanted == (data_file != NULL)) {
        return 0;
    }
    return img_fail(err, IMG_USAGE, "data file: found %s, expected %s",
                    is_wanted ? "none" : "one", is_wanted ? "one" : "none");
}

static int init(struct qcow2_fresh *fresh,
                const struct qcow2_create_options *options,
                struct img_error *err)
{
    struct qcow2_header *header = &fresh->header;

    qcow2_create_header(options, header);
    header->l1_entries =
        (uint32_t)img_div_up(header->virtual_len, header->l2_covers_len);
    fresh->prealloc = qcow2_create_prealloc(options);
    fresh->first = img_alloc_aligned(header->cluster_len, err);
    if (fresh->first == NULL ||
        copy_texts(&fresh->extensions, options, err) < 0 ||
        fresh_encode(fresh, err) < 0) {
        return -1;
    }
    if (destroy_old(fresh->file, err) < 0 ||
        (fresh->data_file != NULL && prepare_data_file(fresh, err) < 0)) {
        return -1;
    }
    if (fresh_host_init(&fresh->host, fresh->file, header, err) < 0) {
        return -1;
    }
    return fresh_tables_init(&fresh->tables, &fresh->host, err);
}

int qcow2_fresh_new(struct img_file *file, struct img_file *data_file,
                    const struct qcow2_create_options *options,
                    struct qcow2_fresh **out, struct img_error *err)
{
    struct qcow2_fresh *fresh;

    if (qcow2_create_options_check(options, err) < 0 ||
        check_data_file(options, data_file, err) < 0) {
        return -1;
    }
    fresh = img_calloc(1, sizeof(*fresh), err);
    if (fresh == NULL) {
        return -1;
    }
    fresh->file = img_file_ref(file);
    fresh->data_file = data_file == NULL ? NULL : img_file_ref(data_file);
    if (init(fresh, options, err) < 0) {
        qcow2_fresh_free(fresh);
        return -1;
    }
    *out = fresh;
    return 0;
}

void qcow2_fresh_free(struct qcow2_fresh *fresh)
{
    if (fresh == NULL) {
        return;
    }
    fresh_bitmaps_fini(&fresh->bitmaps);
    fresh_tables_fini(&fresh->tables);
    fresh_host_fini(&fresh->host);
    qcow2_extensions_fini(&fresh->extensions);
    img_file_unref(fresh->file);
    img_file_unref(fresh->data_file);
    free(fresh->first);
    free(fresh);
}

void qcow2_fresh_cancel_by(struct qcow2_fresh *fresh,
                           const volatile int *cancel)
{
    fresh->cancel = cancel;
}

uint32_t qcow2_fresh_granule(const struct qcow2_fresh *fresh)
{
    return fresh->header.subcluster_len;
}

uint64_t qcow2_fresh_end(const struct qcow2_fresh *fresh)
{
    return fresh->host.next_idx << fresh->header.cluster_bits;
}

int fresh_check_open(const struct qcow2_fresh *fresh, struct img_error *err)
{
    if (fresh->is_broken || fresh->is_finished) {
        return img_fail(err, IMG_USAGE,
                        "new image: found a call after %s, expected none",
                        fresh->is_broken ? "a failure" : "the end");
    }
    return 0;
}

/* The space of what was not written. */
static int reserve(struct qcow2_fresh *fresh, struct img_error *err)
{
    bool is_full = fresh->prealloc == QCOW2_PREALLOC_FULL;
    struct img_file *file = fresh->file;
    uint64_t len = fresh->host.next_idx << fresh->header.cluster_bits;

    if (fresh->data_file != NULL) {
        file = fresh->data_file;
        len = fresh->header.virtual_len;
    }
    if (fresh->prealloc < QCOW2_PREALLOC_FALLOC || len == 0) {
        return 0;
    }
    for (uint64_t off = 0; off < len; off += RESERVE_LEN) {
        if (fresh->cancel && *fresh->cancel) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
        if (img_file_reserve(file, off, img_min(RESERVE_LEN, len - off),
                             is_full, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The first sector makes it an image, when all else is stable. */
static int store_first(struct qcow2_fresh *fresh, struct img_error *err)
{
    size_t rest = fresh->header.cluster_len - SECTOR_LEN;

    if (fresh_encode(fresh, err) < 0) {
        return -1;
    }
    if (rest > 0 && img_file_write(fresh->file, fresh->first + SECTOR_LEN, rest,
                                   SECTOR_LEN, err) < 0) {
        return -1;
    }
    if (fresh->data_file != NULL && img_file_flush(fresh->data_file, err) < 0) {
        return -1;
    }
    if (img_file_flush(fresh->file, err) < 0 ||
        img_file_write(fresh->file, fresh->first, SECTOR_LEN, 0, err) < 0) {
        return -1;
    }
    return img_file_flush(fresh->file, err);
}

int qcow2_fresh_finish(struct qcow2_fresh *fresh, struct img_error *err)
{
    struct qcow2_header *header = &fresh->header;

    if (fresh_check_open(fresh, err) < 0) {
        return -1;
    }
    fresh->is_broken = true;
    if (fresh_advance(fresh, header->virtual_len, err) < 0 ||
        fresh_bitmaps_finish(fresh, err) < 0 ||
        fresh_tables_finish(&fresh->tables, err) < 0 ||
        fresh_host_finish(&fresh->host, header, err) < 0) {
        return -1;
    }
    header->l1_off = fresh->tables.l1_off;
    if (reserve(fresh, err) < 0 || store_first(fresh, err) < 0) {
        return -1;
    }
    fresh->is_broken = false;
    fresh->is_finished = true;
    return 0;
}
