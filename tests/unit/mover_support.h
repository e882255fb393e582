/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sink that remembers what it was asked for: what a mover did with it can
 * be read back and held against what it was given.
 */
#ifndef TESTS_MOVER_SUPPORT_H
#define TESTS_MOVER_SUPPORT_H

#include <img/checked.h>
#include <qcow2/inflate.h>

#include "../../chain/ops/mover.h"
#include "compare_support.h"

enum record_kind { RECORD_DATA, RECORD_ZERO, RECORD_STORED };

struct record {
    enum record_kind kind;
    uint64_t off, len; /* guest */
    uint64_t host_off; /* in the sink's file */
    uint64_t stored_len;
};

#define RECORDS_MAX 65536u

struct model_sink {
    struct chain_sink sink;
    char path[300];
    struct img_file *file;
    uint64_t next_off;   /* of the next place in the file */
    uint64_t place_max;  /* so much in one place at most; 0: no bound */
    uint64_t gap;        /* bytes left out between places */
    bool zeros_are_data; /* it has no zeros */
    unsigned fail_at;    /* the call with this number fails; 0: none */
    unsigned calls_nr;
    uint64_t end_off; /* all before has been told */
    size_t nr;
    struct record *records;
};

static inline struct record *model_record(struct model_sink *model,
                                          enum record_kind kind, uint64_t off,
                                          uint64_t len)
{
    ck_assert_uint_lt(model->nr, RECORDS_MAX);
    /* In guest order, each byte once, in whole units. */
    ck_assert_uint_ge(off, model->end_off);
    ck_assert_uint_eq(off % model->sink.granule, 0);
    ck_assert_uint_gt(len, 0);
    model->end_off = off + len;
    struct record *record = &model->records[model->nr++];
    *record = (struct record){.kind = kind, .off = off, .len = len};
    return record;
}

static inline int model_call(struct model_sink *model, struct img_error *err)
{
    if (++model->calls_nr == model->fail_at) {
        img_fail(err, IMG_LIMIT, "the sink is told to fail");
        img_error_set_path(err, "sink");
        return -1;
    }
    return 0;
}

static inline int model_data(struct chain_sink *sink, uint64_t off,
                             uint64_t len, struct qcow2_place *out,
                             struct img_error *err)
{
    struct model_sink *model = (struct model_sink *)sink;

    if (model_call(model, err) != 0) {
        return -1;
    }
    if (model->place_max > 0) {
        len = img_min(len, model->place_max);
    }
    struct record *record = model_record(model, RECORD_DATA, off, len);
    model->next_off = img_align_up(model->next_off, model->sink.granule);
    record->host_off = model->next_off;
    out->file = model->file;
    out->host_off = model->next_off;
    out->len = len;
    model->next_off += len + model->gap;
    return 0;
}

static inline int model_zero(struct chain_sink *sink, uint64_t off,
                             uint64_t len, bool *as_data, struct img_error *err)
{
    struct model_sink *model = (struct model_sink *)sink;

    if (model_call(model, err) != 0) {
        return -1;
    }
    *as_data = model->zeros_are_data;
    if (!*as_data) {
        model_record(model, RECORD_ZERO, off, len);
    }
    return 0;
}

static inline int model_compressed(struct chain_sink *sink, uint64_t off,
                                   uint32_t len, struct qcow2_place *out,
                                   struct img_error *err)
{
    struct model_sink *model = (struct model_sink *)sink;

    if (model_call(model, err) != 0) {
        return -1;
    }
    ck_assert_uint_eq(off % sink->unit_len, 0);
    ck_assert_uint_gt(len, 0);
    ck_assert_uint_lt(len, sink->unit_len);
    struct record *record =
        model_record(model, RECORD_STORED, off, sink->unit_len);
    record->stored_len = len;
    record->host_off = model->next_off;
    out->file = model->file;
    out->host_off = model->next_off;
    model->next_off += len + (model->nr % 7 == 0 ? model->gap : 0);
    return 0;
}

static const struct chain_sink_ops model_ops = {
    .data = model_data,
    .zero = model_zero,
    .compressed = model_compressed,
};

static inline void model_open(struct model_sink *model, struct scratch *scratch,
                              const char *name, uint32_t granule)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE, .writable = true};
    struct img_error err = {0};

    memset(model, 0, sizeof(*model));
    snprintf(model->path, sizeof(model->path), "%s/%s", scratch->dir, name);
    int fd = open(model->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(close(fd), 0);
    model->sink.ops = &model_ops;
    model->sink.granule = granule;
    model->records = calloc(RECORDS_MAX, sizeof(*model->records));
    ck_assert_ptr_nonnull(model->records);
    unit_ok(img_file_open(model->path, &options, &model->file, &err), &err);
}

static inline void model_close(struct model_sink *model)
{
    img_file_unref(model->file);
    free(model->records);
}

/* The guest's bytes [0, LEN) as the sink's file and records tell them. What
   it was not told about stays as it is in OUT. */
static inline void model_read(struct model_sink *model, uint8_t *out,
                              uint64_t len)
{
    struct img_inflater *inflater = NULL;
    struct img_error err = {0};

    unit_ok(qcow2_inflater_new(&inflater, &err), &err);
    for (size_t i = 0; i < model->nr; i++) {
        const struct record *record = &model->records[i];
        uint64_t n = img_min(record->len, len - record->off);
        if (record->kind == RECORD_ZERO) {
            memset(out + record->off, 0, n);
        } else if (record->kind == RECORD_DATA) {
            unit_ok(img_file_read(model->file, out + record->off, n,
                                  record->host_off, &err),
                    &err);
        } else {
            uint8_t *stored = malloc(record->stored_len);
            uint8_t *unit = malloc(model->sink.unit_len);
            unit_ok(img_file_read(model->file, stored, record->stored_len,
                                  record->host_off, &err),
                    &err);
            unit_ok(qcow2_inflate(inflater, QCOW2_COMPRESSION_ZLIB, stored,
                                  record->stored_len, unit,
                                  model->sink.unit_len, &err),
                    &err);
            memcpy(out + record->off, unit, n);
            free(stored);
            free(unit);
        }
    }
    qcow2_inflater_free(inflater);
}

#endif
