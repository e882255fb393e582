/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading ahead in a known order: see img/reader.h. Room: libimg/engine.
 *
 * Slots form a ring: pieces are asked for in order from its tail and handed
 * out in order from its head, whichever of them is done first.
 */
#include <img/reader.h>

#include <stdlib.h>

#include <img/memory.h>

struct slot {
    struct img_request request;
    struct img_piece piece;
    uint8_t *buf;
    bool is_done;
};

struct img_reader {
    struct img_reader_options options;
    struct img_engine *engine;
    struct slot *slots; /* options.depth of them */
    unsigned head;      /* the next to be handed out */
    unsigned used;      /* from head on: handed out, under way or done */
    bool is_out;        /* the head was handed out */
    bool is_at_end;     /* of the order */
};

int img_reader_new(const struct img_reader_options *options,
                   struct img_reader **out, struct img_error *err)
{
    IMG_AUTO(img_reader_free_ptr)
    struct img_reader *reader = img_calloc(1, sizeof(*reader), err);

    if (!reader) {
        return -1;
    }
    reader->options = *options;
    reader->slots = img_calloc(options->depth, sizeof(*reader->slots), err);
    if (!reader->slots ||
        img_engine_new_from(options->rings, options->engine, options->depth,
                            &reader->engine, err)) {
        return -1;
    }
    for (unsigned i = 0; i < options->depth; i++) {
        reader->slots[i].buf = img_alloc_aligned(options->max_len, err);
        if (!reader->slots[i].buf) {
            return -1;
        }
    }
    *out = img_steal(&reader);
    return 0;
}

void img_reader_free(struct img_reader *reader)
{
    if (!reader) {
        return;
    }
    img_engine_free(reader->engine);
    for (unsigned i = 0; reader->slots && i < reader->options.depth; i++) {
        free(reader->slots[i].buf);
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
        struct slot *slot =
            &reader->slots[(reader->head + reader->used) % options->depth];

        if (!options->next(options->opaque, &slot->piece)) {
            reader->is_at_end = true;
            break;
        }
        slot->is_done = false;
        slot->piece.bytes = slot->buf;
        slot->request = (struct img_request){
            .file = options->file,
            .op = IMG_REQUEST_READ,
            .buf = slot->buf,
            .len = slot->piece.len,
            .off = slot->piece.off,
            .owner = slot,
        };
        if (img_engine_submit(reader->engine, &slot->request, err)) {
            return -1;
        }
        reader->used++;
    }
    return 0;
}

static int fail_read(const struct img_reader *reader, const struct slot *slot,
                     struct img_error *err)
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

int img_reader_get(struct img_reader *reader, const struct img_piece **out,
                   struct img_error *err)
{
    if (reader->is_out) {
        reader->is_out = false;
        reader->head = (reader->head + 1) % reader->options.depth;
        reader->used--;
    }
    if (fill(reader, err)) {
        return -1;
    }
    *out = NULL;
    if (reader->used == 0) {
        return 0;
    }

    struct slot *slot = &reader->slots[reader->head];
    while (!slot->is_done) {
        struct img_request *done = NULL;

        if (img_engine_wait(reader->engine, &done, err)) {
            return -1;
        }
        ((struct slot *)done->owner)->is_done = true;
    }
    if (slot->request.result != 0) {
        return fail_read(reader, slot, err);
    }
    reader->is_out = true;
    *out = &slot->piece;
    return 0;
}
