/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way back from a rebase: see chain/rebase.h.
 */
#include <chain/rebase.h>

#include <inttypes.h>
#include <stdlib.h>

#include <img/memory.h>

#include "overlay.h"

/* A record holds a first cluster (at most 2 MiB) and a little more. */
#define RECORD_MAX_LEN (4u << 20)

static int load_record(const char *path, const struct img_roots *roots,
                       uint8_t **out, size_t *len, struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE,
                                             .roots = roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    IMG_AUTO(img_free_ptr) uint8_t *bytes = NULL;

    if (img_file_open(path, &options, &file, err) < 0) {
        return -1;
    }
    uint64_t file_len = img_file_len(file);
    if (file_len == 0 || file_len > RECORD_MAX_LEN) {
        img_fail(err, IMG_FORMAT,
                 "it is no undo record: it has %" PRIu64
                 " bytes, and a record has 1 to %u",
                 file_len, RECORD_MAX_LEN);
        img_error_set_path(err, path);
        return -1;
    }
    *len = (size_t)file_len;
    bytes = img_calloc(1, *len, err);
    if (!bytes || img_file_read(file, bytes, *len, 0, err) < 0) {
        img_error_set_path(err, path);
        return -1;
    }
    *out = img_steal(&bytes);
    return 0;
}

int chain_rebase_undo(const struct chain_rebase_request *request,
                      const char *undo_path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *record = NULL;
    struct qcow2_edit *edit = NULL;
    struct chain_overlay overlay;
    size_t len = 0;

    if (load_record(undo_path, request->roots, &record, &len, err) < 0 ||
        chain_overlay_open(request, !request->dry_run, &overlay, err) < 0) {
        return -1;
    }
    int r = 0;
    if (!request->dry_run) {
        r = chain_overlay_edit(&overlay, &edit, err) < 0 ||
                    qcow2_edit_undo(edit, record, len, err) < 0
                ? -1
                : 0;
        if (r < 0) {
            img_error_set_path(err, overlay.path);
        }
    }
    qcow2_edit_free(edit);
    chain_overlay_fini(&overlay);
    return r;
}
