/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The in-place writer on a fuzzed image in memory: writing, zeroing,
 * discarding, resizing, other options, in any order. The guest of a clean
 * image sees what was written and nothing else changed, and the image is
 * clean; when something is refused or fails, each sector is old or new.
 * Arguments: 0 to 3 the seed of ranges, 4 how many commands, 5 to 12 which.
 */
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/write.h>
#include <qcow2/edit.h>

#include "model.h"
#include "sound.h"

#define COMMANDS_MAX 8u
#define SPACE_LEN (24u << 20)
#define RANGE_MAX (64u << 10)

struct editing {
    struct img_file *file, *data_file;
    struct qcow2_edit *edit;
    struct model model;
    bool has_model;
    uint64_t rng;
    struct img_error err;
};

/* The disk's length; without a model only as much as is worth the time. */
static uint64_t disk_len(const struct editing *e)
{
    return e->has_model
               ? e->model.len
               : img_min(qcow2_edit_header(e->edit)->virtual_len, 1ull << 40);
}

static bool pick_range(struct editing *e, uint32_t unit, uint64_t *off,
                       uint64_t *len)
{
    uint64_t disk = disk_len(e);

    if (disk == 0) {
        return false;
    }
    *off = img_align_down(random_below(&e->rng, disk), unit);
    *len = img_min(unit * (1 + random_below(&e->rng, 8)),
                   img_min(disk - *off, RANGE_MAX));
    if (*len < disk - *off) {
        *len = img_align_down(*len, unit);
    }
    return *len > 0;
}

/* The bytes of a span go to their places. */
static int write_span(struct editing *e, uint64_t off, uint64_t len,
                      const uint8_t *bytes)
{
    for (uint64_t at = 0; at < len;) {
        struct qcow2_place place;

        if (qcow2_edit_place(e->edit, off + at, len - at, &place, &e->err) <
            0) {
            return -1;
        }
        fuzz_require(place.len >= 1 && place.len <= len - at);
        if (img_file_write(place.file, bytes + at, place.len, place.host_off,
                           &e->err) < 0) {
            return -1;
        }
        at += place.len;
    }
    return 0;
}

static int command_write(struct editing *e)
{
    uint8_t byte = (uint8_t)random_below(&e->rng, 256);
    uint64_t off, len, span_off, span_len;
    uint8_t *bytes;
    int ret;

    if (!pick_range(e, MODEL_SECTOR, &off, &len)) {
        return 0;
    }
    if (qcow2_edit_span(e->edit, off, len, &span_off, &span_len, &e->err) < 0) {
        return -1;
    }
    fuzz_require(span_off <= off && span_off + span_len >= off + len);
    fuzz_require(span_off + span_len <= disk_len(e));
    bytes = calloc(1, span_len);
    fuzz_require(bytes != NULL);
    if (e->has_model) {
        model_set(&e->model, off, len, byte);
        memcpy(bytes, e->model.now + span_off, span_len);
    }
    ret = write_span(e, span_off, span_len, bytes);
    free(bytes);
    return ret;
}

static int command_zero(struct editing *e)
{
    uint64_t off, len;
    int ret;

    if (!pick_range(e, qcow2_edit_granule(e->edit), &off, &len)) {
        return 0;
    }
    ret = qcow2_edit_zero(e->edit, off, len, random_below(&e->rng, 2), &e->err);
    if (ret == 0 && e->has_model) {
        model_set(&e->model, off, len, 0);
    }
    /* Zeros may be written as data instead: nothing has changed. */
    return ret < 0 && e->err.code == IMG_UNSUPPORTED ? 0 : ret;
}

static int command_discard(struct editing *e)
{
    uint64_t off, len;
    int ret;

    if (!pick_range(e, qcow2_edit_granule(e->edit), &off, &len)) {
        return 0;
    }
    ret = qcow2_edit_discard(e->edit, off, len, &e->err);
    if (ret == 0 && e->has_model) {
        model_set(&e->model, off, len, e->model.below);
    }
    return ret < 0 && e->err.code == IMG_UNSUPPORTED ? 0 : ret;
}

static int command_commit(struct editing *e)
{
    int ret = qcow2_edit_commit(e->edit, &e->err);

    if (ret == 0 && e->has_model) {
        model_commit(&e->model);
    }
    return ret;
}

static int command_resize(struct editing *e)
{
    uint64_t len = MODEL_SECTOR * random_below(&e->rng, 1024);
    enum qcow2_prealloc prealloc =
        (enum qcow2_prealloc)random_below(&e->rng, 3);

    if (command_commit(e) < 0) {
        return -1;
    }
    if (e->has_model) {
        model_resize(&e->model, len);
    }
    return qcow2_edit_resize(e->edit, len, prealloc, &e->err) < 0
               ? -1
               : command_commit(e);
}

static int command_amend(struct editing *e)
{
    struct qcow2_amend_options options = {.lazy_refcounts = -1,
                                          .data_file_raw = -1};

    switch (random_below(&e->rng, 3)) {
    case 0:
        options.version = 2 + (uint32_t)random_below(&e->rng, 2);
        break;
    case 1:
        options.refcount_bits = 1u << random_below(&e->rng, 7);
        break;
    default:
        options.lazy_refcounts = (int)random_below(&e->rng, 2);
        break;
    }
    return command_commit(e) < 0 ? -1
                                 : qcow2_edit_amend(e->edit, &options, &e->err);
}

static int command_backing(struct editing *e)
{
    static const char *const names[] = {"b", "base.raw", "a/longer/name.raw"};
    bool has_backing = qcow2_edit_extensions(e->edit)->backing_name != NULL;

    /* Whether there is one decides on what the model has. */
    if (!has_backing) {
        return 0;
    }
    return command_commit(e) < 0
               ? -1
               : qcow2_edit_set_backing(
                     e->edit, names[random_below(&e->rng, 3)],
                     random_below(&e->rng, 2) ? "raw" : NULL, &e->err);
}

static int command_empty(struct editing *e)
{
    if (command_commit(e) < 0) {
        return -1;
    }
    if (e->has_model) {
        model_set(&e->model, 0, e->model.len, e->model.below);
    }
    return qcow2_edit_make_empty(e->edit, &e->err) < 0 ? -1 : command_commit(e);
}

static int (*const commands[])(struct editing *e) = {
    command_write,  command_zero,  command_discard, command_commit,
    command_resize, command_amend, command_backing, command_empty,
};

/* True: all that was asked for was done. */
static bool run(struct editing *e, const uint8_t *args)
{
    struct qcow2_edit_options options = {.max_memory = 4u << 20};
    unsigned nr = 1 + args[4] % COMMANDS_MAX;

    if (qcow2_edit_open(e->file, e->data_file, &options, &e->edit, &e->err) <
        0) {
        return false;
    }
    for (unsigned i = 0; i < nr; i++) {
        if (commands[args[5 + i] % COMMANDS_MAX](e) < 0) {
            return false;
        }
    }
    return command_commit(e) == 0;
}

static void edit(struct editing *e, const uint8_t *args, bool is_clean)
{
    bool is_done = run(e, args);

    if (!is_done) {
        fuzz_require_error(&e->err);
    }
    qcow2_edit_free(e->edit);
    if (is_clean) {
        fuzz_require(is_done ? fuzz_is_clean(e->file, e->data_file)
                             : fuzz_is_usable(e->file, e->data_file));
    }
    if (e->has_model) {
        model_require(&e->model, e->file, e->data_file, !is_done);
    }
}

/* In memory, of limited space: tables may go far behind the end, where a file
   system has a hole and memory has not. */
static struct img_file *new_file(const char *name, const uint8_t *data,
                                 size_t len)
{
    struct img_fault fault = {.space_len = SPACE_LEN};
    struct img_file *memory = NULL, *file = NULL;
    struct img_error err = {0};

    fuzz_require(img_file_from_memory(name, data, len, &memory, &err) == 0);
    fuzz_require(img_file_with_faults(memory, &fault, &file, &err) == 0);
    img_file_unref(memory);
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    struct editing e = {0};
    bool is_clean;

    len = fuzz_args(data, len, args);
    e.rng = (uint64_t)args[0] << 24 | (uint64_t)args[1] << 16 |
            (uint64_t)args[2] << 8 | args[3];
    e.rng = e.rng * 0x9e3779b97f4a7c15ull | 1;
    e.file = new_file("image", data, len);
    if (sound_has_data_file(data, len)) {
        e.data_file = new_file("data", data, len);
    }
    is_clean =
        sound_is_layered(data, len) && fuzz_is_clean(e.file, e.data_file);
    if (is_clean) {
        e.has_model = model_init(&e.model, e.file, e.data_file);
    }
    edit(&e, args, is_clean);
    model_free(&e.model);
    img_file_unref(e.file);
    img_file_unref(e.data_file);
    return 0;
}
