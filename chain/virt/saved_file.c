/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Saved images as files: see chain/saved.h. Room: chain/virt. */
#include <chain/saved.h>

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/file.h>
#include <img/memory.h>

static void free_saved(struct chain_saved **saved)
{
    chain_saved_free(*saved);
}

void chain_saved_free(struct chain_saved *saved)
{
    if (!saved) {
        return;
    }
    free(saved->file);
    free(saved->xml);
    free(saved->cookie);
    free(saved);
}

static int load_header(struct img_file *file, bool with_partial,
                       struct chain_saved_header *out, struct img_error *err)
{
    uint8_t bytes[CHAIN_SAVED_HEADER_LEN];
    size_t got;

    if (img_file_read_padded(file, bytes, sizeof(bytes), 0, &got, err) < 0 ||
        chain_saved_header_decode(bytes, got, img_file_len(file), out, err) <
            0) {
        return -1;
    }
    if (!out->is_complete && !with_partial) {
        return img_fail(err, IMG_CORRUPT,
                        "the saved image is incomplete: libvirt did not come "
                        "to the end of writing it");
    }
    return 0;
}

static int load_region(struct img_file *file,
                       const struct chain_saved_header *header,
                       struct chain_saved *out, struct img_error *err)
{
    size_t len = chain_saved_region_len(header);
    IMG_AUTO(img_free_ptr) uint8_t *bytes = img_calloc(1, len, err);

    return bytes && img_file_read(file, bytes, len, 0, err) == 0
               ? chain_saved_decode(header, bytes, len, out, err)
               : -1;
}

/* Its beginning, at most; the rest of the stream is never read. */
static int load_stream(struct img_file *file, struct chain_saved *out,
                       struct img_error *err)
{
    uint8_t head[CHAIN_SAVED_STREAM_HEAD_LEN];
    size_t got;

    if (img_file_read_padded(file, head, sizeof(head),
                             chain_saved_region_len(&out->header), &got,
                             err) < 0) {
        return -1;
    }
    out->is_stream_empty = got == 0;
    out->stream = chain_saved_stream_kind(head, got);
    return 0;
}

static int load(struct img_file *file, bool with_partial,
                struct chain_saved *out, struct img_error *err)
{
    const char *path = img_file_path(file);
    struct chain_saved_header header;

    if (img_file_kind(file) == IMG_FILE_BLOCK) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "found a block device, expected a saved image");
    }
    out->file_len = img_file_len(file);
    out->file = img_strndup(path, strlen(path), err);
    return out->file && load_header(file, with_partial, &header, err) == 0 &&
                   load_region(file, &header, out, err) == 0
               ? load_stream(file, out, err)
               : -1;
}

int chain_saved_load(struct img_file *file, bool with_partial,
                     struct chain_saved **out, struct img_error *err)
{
    IMG_AUTO(free_saved)
    struct chain_saved *saved = img_calloc(1, sizeof(*saved), err);

    if (!saved || load(file, with_partial, saved, err) < 0) {
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    *out = img_steal(&saved);
    return 0;
}

int chain_saved_read(const char *path, const struct img_roots *roots,
                     struct chain_saved **out, struct img_error *err)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE, .roots = roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    return img_file_open(path, &options, &file, err) < 0
               ? -1
               : chain_saved_load(file, false, out, err);
}
