/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of a chain that is relocated: see relocate_impl.h. */
#include "relocate_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <chain/name.h>
#include <img/checked.h>
#include <img/image.h>
#include <img/memory.h>
#include <img/size.h>

#include "place.h"

struct chain_relocation_item
chain_relocation_item(const struct chain_relocation *relocation, size_t idx)
{
    struct chain_relocated *file = &relocation->result->files[idx];
    const struct chain_layer *layer = relocation->layers[idx];
    const struct img_image *image = chain_layer_image(layer);
    bool is_same = true;

    if (file->backing_name) {
        is_same = strcmp(image->backing_name, file->backing_name) == 0 &&
                  image->backing_format &&
                  strcmp(image->backing_format, file->backing_format) == 0;
    }
    return (struct chain_relocation_item){relocation, layer, file, !is_same};
}

const char *chain_relocation_made(const struct chain_relocation_item *item)
{
    const struct chain_relocation *relocation = item->relocation;

    return relocation->made
               ? relocation->made[item->file - relocation->result->files]
               : item->file->to;
}

/* ---- Can it be copied as it is? */

static int check_layer(const struct chain_layer *layer, struct img_error *err)
{
    const struct chain_ref *ref = chain_layer_ref(layer);
    const char *format = chain_layer_format(layer);

    if (ref && (ref->has_slice || ref->is_backing_null || ref->backing)) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "it is named by a json: that says more than a path: "
                        "no plain name can be recorded for its copy");
    }
    if (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "its format is %s: expected qcow2 or raw", format);
    }
    return chain_layer_image(layer)->data_file_name
               ? img_fail(err, IMG_UNSUPPORTED,
                          "its contents lie in an external data file, which is "
                          "not copied along")
               : 0;
}

static int check_layers(const struct chain_relocation *relocation,
                        const struct chain *source, struct img_error *err)
{
    const struct chain_relocate_request *request = relocation->request;

    for (size_t i = 0; i < chain_depth(source); i++) {
        const struct chain_layer *layer = chain_layer_at(source, i);

        if (check_layer(layer, err) != 0) {
            img_error_set_path(err, chain_layer_path(layer));
            return -1;
        }
        if (chain_relocate_check_folder(request->folder,
                                        chain_layer_path(layer), request->roots,
                                        err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- Names. */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Has one of the first NR copies, or the caller, this name? */
static bool is_taken(const struct chain_relocation *relocation, size_t nr,
                     const char *name)
{
    const char *taken = relocation->request->taken;

    if (taken && strcmp(taken, name) == 0) {
        return true;
    }
    for (size_t i = 0; i < nr; i++) {
        if (strcmp(base_name(relocation->result->files[i].to), name) == 0) {
            return true;
        }
    }
    return false;
}

/* NAME with NUMBER before its suffix; 0: as it is. */
static char *numbered(const char *name, unsigned number, struct img_error *err)
{
    const char *dot = strrchr(name, '.');
    int stem_len =
        (int)(dot && dot != name ? (size_t)(dot - name) : strlen(name));

    return number == 0 ? img_strndup(name, strlen(name), err)
                       : img_text(err, "%.*s-%u%s", stem_len, name, number,
                                  name + stem_len);
}

/* The name in the new folder of the file at PATH, the IDXth. */
static char *new_name(const struct chain_relocation *relocation, size_t idx,
                      const char *path, struct img_error *err)
{
    for (unsigned number = 0;; number++) {
        char *name = numbered(base_name(path), number, err);

        if (!name || !is_taken(relocation, idx, name)) {
            return name;
        }
        free(name);
    }
}

static char *in_folder(const char *folder, const char *name,
                       struct img_error *err)
{
    size_t len = strlen(folder);
    bool has_slash = len > 0 && folder[len - 1] == '/';

    return img_text(err, "%s%s%s", folder, has_slash ? "" : "/", name);
}

/* How the copy above names FILE. */
static char *backing_text(const struct chain_relocate_request *request,
                          const struct chain_relocated *file,
                          struct img_error *err)
{
    const char *name = base_name(file->to);

    if (request->style == CHAIN_MAKE_ABSOLUTE) {
        IMG_AUTO(img_free_ptr)
        char *folder = realpath(request->folder, NULL);

        if (!folder) {
            img_fail_sys(err, errno, "cannot resolve the path");
            img_error_set_path(err, request->folder);
            return NULL;
        }
        return in_folder(folder, name, err);
    }
    return chain_place_operand(name, err);
}

/* ---- Sizes. */

/* Bytes of FILE, named PATH, that are no hole. */
static int measure(const struct chain_relocate_request *request,
                   const struct chain_layer *layer, uint64_t *out,
                   struct img_error *err)
{
    struct img_file *file = chain_layer_file(layer);
    uint64_t len = img_file_len(file);

    *out = 0;
    for (uint64_t off = 0, run_len; off < len; off += run_len) {
        bool is_hole;

        if (request->cancel && *request->cancel) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
        if (img_file_next_hole(file, off, len - off, &is_hole, &run_len, err) !=
            0) {
            img_error_set_path(err, chain_layer_path(layer));
            return -1;
        }
        *out += is_hole ? 0 : run_len;
    }
    return 0;
}

/* The file that LAYER is, among those that are planned; or the next one. */
static int find_file(const struct chain_relocation *relocation,
                     const struct chain_layer *layer, size_t *out,
                     struct img_error *err)
{
    const struct chain_relocate_result *result = relocation->result;
    const char *format = chain_layer_image(layer)->format;
    struct img_stamp stamp;

    if (img_file_stamp(chain_layer_file(layer), &stamp, err) != 0) {
        return -1;
    }
    for (*out = 0; *out < result->nr; (*out)++) {
        struct chain_relocated *file = &result->files[*out];

        if (file->dev != stamp.dev || file->ino != stamp.ino) {
            continue;
        }
        if (strcmp(file->format, format) != 0) {
            img_fail(err, IMG_USAGE,
                     "is read as %s here and as %s there: expected one format",
                     file->format, format);
            img_error_set_path(err, chain_layer_path(layer));
            return -1;
        }
        return 0;
    }
    result->files[*out].dev = stamp.dev;
    result->files[*out].ino = stamp.ino;
    return 0;
}

static int plan_file(struct chain_relocation *relocation,
                     const struct chain_layer *layer, struct img_error *err)
{
    const struct chain_relocate_request *request = relocation->request;
    size_t idx = relocation->result->nr++;
    const char *path = chain_layer_path(layer);
    struct chain_relocated *file = &relocation->result->files[idx];
    /* A name is looked for among those of the files before. */
    IMG_AUTO(img_free_ptr) char *name = new_name(relocation, idx, path, err);

    if (!name) {
        return -1;
    }
    relocation->layers[idx] = layer;
    file->backing = SIZE_MAX;
    file->from = img_strndup(path, strlen(path), err);
    file->to = in_folder(request->folder, name, err);
    if (!file->from || !file->to) {
        return -1;
    }
    file->format = chain_layer_image(layer)->format;
    file->virtual_len = chain_layer_image(layer)->virtual_len;
    return measure(request, layer, &file->needed_len, err);
}

/* ABOVE is an overlay of file IDX. */
static int plan_backing(const struct chain_relocation *relocation,
                        struct chain_relocated *above, size_t idx,
                        struct img_error *err)
{
    const struct chain_relocated *file = &relocation->result->files[idx];

    above->backing = idx;
    above->backing_name = backing_text(relocation->request, file, err);
    above->backing_format = file->format;
    return above->backing_name ? 0 : -1;
}

static int plan_source(struct chain_relocation *relocation,
                       const struct chain *source, struct img_error *err)
{
    struct chain_relocate_result *result = relocation->result;
    struct chain_relocated *above = NULL;

    for (size_t i = 0; i < chain_depth(source); i++) {
        const struct chain_layer *layer = chain_layer_at(source, i);
        size_t idx;

        if (find_file(relocation, layer, &idx, err) != 0) {
            return -1;
        }
        bool is_new = idx == result->nr;
        if (is_new && plan_file(relocation, layer, err) != 0) {
            return -1;
        }
        result->files[idx].is_top |= i == 0;
        if (above && plan_backing(relocation, above, idx, err) != 0) {
            return -1;
        }
        if (!is_new) {
            return 0; /* and so is all below it */
        }
        above = &result->files[idx];
    }
    return 0;
}

int chain_relocation_plan(struct chain_relocation *relocation,
                          struct img_error *err)
{
    struct chain_relocate_result *result = relocation->result;
    size_t nr = 0;

    for (size_t i = 0; i < relocation->sources_nr; i++) {
        if (check_layers(relocation, relocation->sources[i], err) != 0) {
            return -1;
        }
        nr += chain_depth(relocation->sources[i]);
    }
    result->files = img_calloc(nr, sizeof(*result->files), err);
    relocation->layers =
        img_calloc(nr, sizeof(const struct chain_layer *), err);
    if (!result->files || !relocation->layers) {
        return -1;
    }
    for (size_t i = 0; i < relocation->sources_nr; i++) {
        if (plan_source(relocation, relocation->sources[i], err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- Space. */

/* May blocks of file IDX be shared with its copy? They take no space. */
static bool may_share(const struct chain_relocation *relocation, size_t idx)
{
    const char *folder = relocation->request->folder;
    struct img_stamp source, dest;
    struct img_error ignored;
    struct statfs fs;

    return statfs(folder, &fs) == 0 && !chain_place_is_without_sharing(&fs) &&
           img_path_stamp(folder, relocation->request->roots, &dest,
                          &ignored) == 0 &&
           img_file_stamp(chain_layer_file(relocation->layers[idx]), &source,
                          &ignored) == 0 &&
           source.dev == dest.dev;
}

int chain_relocation_check_space(const struct chain_relocation *relocation,
                                 struct img_error *err)
{
    struct chain_relocate_result *result = relocation->result;
    char needed[IMG_SIZE_TEXT_LEN], left[IMG_SIZE_TEXT_LEN];
    /* Of what cannot be shared; less than all, so that it cannot overflow. */
    uint64_t own_len = relocation->request->more_len;
    struct stat st;

    result->needed_len = own_len;
    for (size_t i = 0; i < result->nr; i++) {
        struct chain_relocated *file = &result->files[i];

        if (lstat(file->to, &st) == 0) {
            file->needed_len = 0;
        }
        if (!img_add(result->needed_len, file->needed_len,
                     &result->needed_len)) {
            return img_fail(err, IMG_LIMIT, "the files are too long together");
        }
        own_len += may_share(relocation, i) ? 0 : file->needed_len;
    }
    result->space_left = chain_place_space_left(result->files[0].to);
    if (own_len <= result->space_left) {
        return 0;
    }
    img_fail(err, IMG_SYSTEM,
             "there is not enough space for all files: found %s, expected %s",
             img_size_exact(result->space_left, left),
             img_size_exact(own_len, needed));
    err->sys_errno = ENOSPC;
    img_error_set_path(err, relocation->request->folder);
    return -1;
}
