/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One layer: its file, its image, its external data file. Room: chain/graph.
 *
 * A format that was declared is used as it is: a file declared raw is read
 * raw whatever it begins with, and a file declared qcow2 that is none is an
 * error. Nothing here looks at another layer.
 */
#include "graph.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <chain/formats.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/write.h>
#include <qcow2/image.h>

#define SECTOR_LEN 512u

/* What QEMU's driver of a json: name insists on. */
static int check_kind(const struct chain_ref *ref, const struct img_file *file,
                      struct img_error *err)
{
    bool is_block = img_file_kind(file) == IMG_FILE_BLOCK;

    if (ref->kind == CHAIN_REF_REGULAR && is_block) {
        return img_fail(err, IMG_FORMAT,
                        "driver \"file\" needs a regular file, and this is a "
                        "block device");
    }
    if (ref->kind == CHAIN_REF_BLOCK && !is_block) {
        return img_fail(err, IMG_FORMAT,
                        "driver \"host_device\" needs a block device, and "
                        "this is a regular file");
    }
    return 0;
}

/*
 * Put the slice that REF asks for in the place of *file. QEMU counts a file's
 * length in sectors: a slice may end in the missing part of the last one,
 * which reads as zeros.
 */
static int apply_slice(const struct chain_ref *ref, struct img_file **file,
                       struct img_error *err)
{
    uint64_t file_len = img_file_len(*file);
    uint64_t off = ref->slice_off;
    struct img_file *slice;

    if (off > file_len) {
        return img_fail(err, IMG_CORRUPT,
                        "the raw driver's offset is %" PRIu64
                        ", but the file has %" PRIu64 " bytes",
                        off, file_len);
    }
    uint64_t left_len = file_len - off;
    uint64_t len = ref->slice_len == UINT64_MAX ? left_len : ref->slice_len;
    if (len > left_len &&
        img_range_fits(off, len,
                       img_div_up(file_len, SECTOR_LEN) * SECTOR_LEN)) {
        len = left_len;
    }
    if (img_file_slice(*file, off, len, &slice, err) < 0) {
        return -1;
    }
    img_file_unref(*file);
    *file = slice;
    return 0;
}

/* How files of layer IDX are opened. */
static struct img_open_options how_to_open(const struct chain_opener *opener,
                                           size_t idx)
{
    const struct chain_options *options = opener->options;
    struct img_open_options how = opener->file_options;

    if (idx == 0 ? options->write_top : idx == options->write_layer) {
        how.writable = true;
        how.lock = IMG_LOCK_WRITER;
    }
    return how;
}

/* Use FILE, which the caller has open, as HOW says. */
static int take_given(struct img_file *file, const struct img_open_options *how,
                      struct img_file **out, struct img_error *err)
{
    if (how->writable && !img_file_is_writable(file)) {
        return img_fail(err, IMG_USAGE,
                        "it is to be written, but was opened for reading");
    }
    *out = img_file_ref(file);
    switch (how->lock) {
    case IMG_LOCK_WRITER:
        return img_file_lock_writer(file, err);
    case IMG_LOCK_READER:
        return img_file_lock_reader(file, err);
    case IMG_LOCK_NONE:
        break;
    }
    return 0;
}

/* The top's file may be open already, or its descriptor be inherited. */
static int open_file(struct chain_layer *layer,
                     const struct chain_opener *opener, struct img_error *err)
{
    const struct chain_options *options = opener->options;
    size_t idx = opener->chain->nr;
    const struct img_open_options how = how_to_open(opener, idx);

    if (idx == 0 && options->file) {
        return take_given(options->file, &how, &layer->file, err);
    }
    if (idx == 0 && options->fd >= 0) {
        return img_file_open_fd(options->fd, layer->path, &how, &layer->file,
                                err);
    }
    return img_file_open(layer->path, &how, &layer->file, err);
}

int chain_layer_open_file(struct chain_layer *layer,
                          const struct chain_opener *opener,
                          struct img_error *err)
{
    if (open_file(layer, opener, err) < 0 ||
        img_file_stamp(layer->file, &layer->stamp, err) < 0 ||
        check_kind(layer->ref, layer->file, err) < 0 ||
        (layer->ref->has_slice &&
         apply_slice(layer->ref, &layer->file, err) < 0)) {
        img_error_set_path(err, layer->path);
        return -1;
    }
    return 0;
}

/* "declared as qcow2 but ...": say so where the format does not fit. */
static void explain_declared(const char *format, struct img_error *err)
{
    struct img_error said = *err;

    if (said.code != IMG_FORMAT) {
        return;
    }
    if (said.has_off) {
        img_fail_at(err, said.code, said.off, "declared as %s but %s", format,
                    said.text);
    } else {
        img_fail(err, said.code, "declared as %s but %s", format, said.text);
    }
    img_error_set_path(err, said.path);
}

static int open_as(struct chain_layer *layer, const struct img_format *format,
                   const struct qcow2_options *how, struct img_error *err)
{
    if (format == &qcow2_format) {
        return qcow2_open(layer->file, how, &layer->image, err);
    }
    if (how->snapshot) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "internal snapshots are read in qcow2 images only, "
                        "and this is %s",
                        format->name);
    }
    return format->open(layer->file, &layer->image, err);
}

/*
 * The format to open as. Raw bytes are looked at even where raw was declared,
 * for what is in them; that they cannot be read is no error here, it is one
 * when somebody reads them.
 */
static int choose_format(struct chain_layer *layer, const char *declared,
                         const struct img_format **out, struct img_error *err)
{
    struct chain_probe probe = {0};
    struct img_error ignored;

    if (!declared) {
        if (chain_probe(layer->file, &probe, err) < 0) {
            return -1;
        }
        layer->is_probed = true;
        *out = probe.format;
    } else {
        *out = chain_format_find(declared);
        if (!*out) {
            char shown[64];
            img_escape(declared, strlen(declared), shown, sizeof(shown));
            return img_fail(err, IMG_UNSUPPORTED,
                            "the format \"%s\" is not known", shown);
        }
        if (strcmp(declared, "raw") == 0 &&
            chain_probe(layer->file, &probe, &ignored) < 0) {
            probe = (struct chain_probe){0};
        }
    }
    if (strcmp((*out)->name, "raw") == 0) {
        layer->contents = probe.contents;
    }
    return 0;
}

int chain_layer_open_image(struct chain_layer *layer, const char *format,
                           const struct qcow2_options *how,
                           struct img_error *err)
{
    const struct img_format *chosen = NULL;
    int r = choose_format(layer, format, &chosen, err);

    if (r == 0) {
        r = open_as(layer, chosen, how, err);
        if (r < 0 && format) {
            explain_declared(format, err);
        }
    }
    if (r < 0) {
        img_error_set_path(err, layer->path);
    }
    return r;
}

static int open_data_file(const char *path, const struct chain_opener *opener,
                          struct img_file **out, struct img_error *err)
{
    size_t idx = opener->chain->nr - 1;
    const struct img_open_options how = how_to_open(opener, idx);

    return idx == 0 && opener->options->data_file
               ? take_given(opener->options->data_file, &how, out, err)
               : img_file_open(path, &how, out, err);
}

/*
 * A data file name is a plain path, never a protocol or json:. A relative one
 * is taken against the folder of the image, as backing names are; QEMU 7.2
 * takes it against the working directory of its process, so that the two
 * agree for an image in the working directory only.
 */
int chain_layer_open_data_file(struct chain_layer *layer,
                               const struct chain_opener *opener,
                               struct img_error *err)
{
    const char *name = layer->image->data_file_name;
    IMG_AUTO(img_free_ptr) char *path = NULL;
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    const struct chain_identity *met;

    if (!name) {
        img_fail(err, IMG_UNSUPPORTED,
                 "it needs an external data file, but records no name for "
                 "one");
        img_error_set_path(err, layer->path);
        return -1;
    }
    path = chain_name_join(layer->path, name, err);
    if (!path || open_data_file(path, opener, &file, err) < 0 ||
        img_file_stamp(file, &layer->data_stamp, err) < 0 ||
        chain_identity_add(&opener->chain->files, file, opener->chain->nr - 1,
                           true, &met, err) < 0) {
        img_error_set_path(err, path ? path : layer->path);
        return -1;
    }
    if (met) {
        const char *other = opener->chain->layers[met->layer]->path;
        char shown_name[256], shown_other[512];
        img_escape(name, strlen(name), shown_name, sizeof(shown_name));
        img_escape(other, strlen(other), shown_other, sizeof(shown_other));
        img_fail(err, IMG_LOOP,
                 "its data file \"%s\" is the same file as %s\"%s\"",
                 shown_name, met->is_data_file ? "the data file of " : "",
                 shown_other);
        img_error_set_path(err, layer->path);
        return -1;
    }
    img_image_set_data_file(layer->image, file);
    layer->is_data_file_open = true;
    return 0;
}

void chain_layer_free(struct chain_layer *layer)
{
    if (!layer) {
        return;
    }
    img_image_free(layer->image);
    img_file_unref(layer->file);
    chain_ref_fini(&layer->own_ref);
    free(layer->path);
    free(layer);
}

void chain_layer_free_ptr(struct chain_layer **layer)
{
    chain_layer_free(*layer);
}
