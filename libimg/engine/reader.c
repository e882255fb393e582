/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading ahead in a known order: see img/reader.h. Room: libimg/engine.
 */
#include "reader_impl.h"

#include <stdlib.h>

#include <img/memory.h>

static int slots_new(struct img_reader *reader, struct img_error *err)
{
    const struct img_reader_options *options = &reader->options;

    reader->slots = img_calloc(options->depth, sizeof(*reader->slots), err);
    if (!reader->slots) {
        return -1;
    }
    for (unsigned i = 0; i < options->depth; i++) {
        struct img_reader_slot *slot = &reader->slots[i];

        slot->buf = img_alloc_aligned(options->max_len, err);
        if (!slot->buf) {
            return -1;
        }
        if (options->result_len > 0) {
            slot->result = img_calloc(1, options->result_len, err);
            if (!slot->result) {
                return -1;
            }
        }
    }
    return 0;
}

int img_reader_new(const struct img_reader_options *options,
                   struct img_reader **out, struct img_error *err)
{
    IMG_AUTO(img_reader_free_ptr)
    struct img_reader *reader = img_calloc(1, sizeof(*reader), err);

    if (!reader) {
        return -1;
    }
    reader->options = *options;
    if (slots_new(reader, err)) {
        return -1;
    }
    reader->crew = img_reader_crew_new(reader);
    if (!reader->crew &&
        img_engine_new_from(options->rings, options->engine, options->depth,
                            &reader->engine, err)) {
        return -1;
    }
    *out = img_steal(&reader);
    return 0;
}

void img_reader_free(struct img_reader *reader)
{
    if (!reader) {
        return;
    }
    img_reader_crew_free(reader->crew);
    img_engine_free(reader->engine);
    for (unsigned i = 0; reader->slots && i < reader->options.depth; i++) {
        free(reader->slots[i].buf);
        free(reader->slots[i].result);
    }
    free(reader->slots);
    free(reader);
}

void img_reader_free_ptr(struct img_reader **reader)
{
    img_reader_free(*reader);
}

/* Ask for pieces until all slots are used. */
static int fill(struct img_reader *reader, struct img_error *err)
{
    const struct img_reader_options *options = &reader->options;

    while (!reader->is_at_end && reader->used < options->depth) {
        struct img_reader_slot *slot =
            &reader->slots[(reader->head + reader->used) % options->depth];

        slot->piece = (struct img_piece){
            .bytes = slot->buf,
            .result = slot->result,
        };
        if (!options->next(options->opaque, &slot->piece)) {
            reader->is_at_end = true;
            break;
        }
        slot->is_done = false;
        slot->request = (struct img_request){
            .file = options->file,
            .op = IMG_REQUEST_READ,
            .buf = slot->buf,
            .len = slot->piece.len,
            .off = slot->piece.off,
            .owner = slot,
        };
        if (reader->crew) {
            img_reader_crew_ask(reader->crew);
        } else if (img_engine_submit(reader->engine, &slot->request, err)) {
            return -1;
        }
        reader->used++;
    }
    return 0;
}

static int fail_read(const struct img_reader *reader,
                     const struct img_reader_slot *slot, struct img_error *err)
{
    img_fail_sys(err, -slot->request.result, "cannot read %zu bytes",
                 slot->piece.len);
    if (err->code != IMG_MEMORY) {
        err->code = IMG_IO;
    }
    err->has_off = true;
    err->off = slot->piece.off;
    img_error_set_path(err, img_file_path(reader->options.file));
    return -1;
}

/* The head is read, and its work is done. */
static int head_wait(struct img_reader *reader, struct img_error *err)
{
    const struct img_reader_options *options = &reader->options;
    struct img_reader_slot *slot = &reader->slots[reader->head];

    if (reader->crew) {
        return img_reader_crew_wait(reader->crew, err);
    }
    while (!slot->is_done) {
        struct img_request *done = NULL;

        if (img_engine_wait(reader->engine, &done, err)) {
            return -1;
        }
        ((struct img_reader_slot *)done->owner)->is_done = true;
    }
    if (slot->request.result == 0 && options->work) {
        options->work(options->opaque, &slot->piece);
    }
    return 0;
}

int img_reader_get(struct img_reader *reader, const struct img_piece **out,
                   struct img_error *err)
{
    if (reader->is_out) {
        reader->is_out = false;
        reader->head = (reader->head + 1) % reader->options.depth;
        reader->used--;
    }
    *out = NULL;
    if (fill(reader, err)) {
        return -1;
    }
    if (reader->used == 0) {
        return 0;
    }

    struct img_reader_slot *slot = &reader->slots[reader->head];
    if (head_wait(reader, err)) {
        return -1;
    }
    if (slot->request.result != 0) {
        return fail_read(reader, slot, err);
    }
    reader->is_out = true;
    *out = &slot->piece;
    return 0;
}
