/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images by name and by file: see images.h. Room: chain/virt. */
#include "images.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <chain/contents.h>
#include <img/memory.h>

static void free_inner(struct virt_inner *list, size_t nr)
{
    for (size_t i = 0; list && i < nr; i++) {
        free(list[i].name);
    }
    free(list);
}

static void free_file(struct virt_file *file)
{
    if (file) {
        free(file->path);
        free_inner(file->snapshots, file->snapshots_nr);
        free_inner(file->bitmaps, file->bitmaps_nr);
        free(file->bitmaps_why);
        free(file);
    }
}

static void free_image(struct virt_image *image)
{
    if (image) {
        free(image->path);
        free(image->format);
        free(image->layers);
        free(image->why);
        free(image->why_path);
        free(image);
    }
}

static void leave(void *ignored)
{
    (void)ignored; /* the lists own what is in the trees */
}

void virt_images_fini(struct virt_images *images)
{
    tdestroy(images->by_name, leave);
    tdestroy(images->by_file, leave);
    for (size_t i = 0; i < images->nr; i++) {
        free_image(images->list[i]);
    }
    for (size_t i = 0; i < images->files_nr; i++) {
        free_file(images->files[i]);
    }
    free(images->list);
    free(images->files);
    memset(images, 0, sizeof(*images));
}

/* Room for one pointer more at *LIST, which has NR; it doubles. */
static int grow(void *list, size_t nr, struct img_error *err)
{
    void **at = list, *grown;

    if (nr & (nr - 1)) {
        return 0;
    }
    grown = reallocarray(*at, nr > 0 ? nr * 2 : 1, sizeof(void *));
    if (!grown) {
        return img_fail_memory(err);
    }
    *at = grown;
    return 0;
}

/* ---- Files. */

static int by_number(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* A block device is itself whatever its node is called. */
static int compare_files(const void *a, const void *b)
{
    const struct img_stamp *one = a, *other = b;
    bool is_block = S_ISBLK(one->mode), is_other = S_ISBLK(other->mode);

    if (is_block != is_other) {
        return is_block ? 1 : -1;
    }
    if (is_block) {
        return by_number(one->rdev, other->rdev);
    }
    return one->dev != other->dev ? by_number(one->dev, other->dev)
                                  : by_number(one->ino, other->ino);
}

static int note_snapshots(struct virt_file *file,
                          const struct chain_layer *layer,
                          struct img_error *err)
{
    size_t nr = chain_layer_snapshots_nr(layer);

    file->snapshots = img_calloc(nr + 1, sizeof(*file->snapshots), err);
    if (!file->snapshots) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        struct chain_inner_snapshot from = chain_layer_snapshot_at(layer, i);
        struct virt_inner *out = &file->snapshots[i];

        out->name = img_strndup(from.name, strlen(from.name), err);
        if (!out->name) {
            return -1;
        }
        out->vm_state_len = from.vm_state_len;
        file->snapshots_nr++;
    }
    return 0;
}

static int copy_bitmaps(struct virt_file *file,
                        const struct chain_inner_bitmap *from, size_t nr,
                        struct img_error *err)
{
    file->bitmaps = img_calloc(nr + 1, sizeof(*file->bitmaps), err);
    if (!file->bitmaps) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        struct virt_inner *out = &file->bitmaps[i];

        out->name = img_strndup(from[i].name, strlen(from[i].name), err);
        if (!out->name) {
            return -1;
        }
        out->is_in_use = from[i].is_in_use;
        out->is_auto = from[i].is_auto;
        file->bitmaps_nr++;
    }
    return 0;
}

static int note_bitmaps(struct virt_file *file, const struct chain_layer *layer,
                        struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct chain_inner_bitmap *from = NULL;
    size_t nr;

    if (chain_layer_bitmaps(layer, &from, &nr, err) == 0) {
        return copy_bitmaps(file, from, nr, err);
    }
    if (err->code == IMG_MEMORY) {
        return -1;
    }
    file->bitmaps_why = img_strndup(err->text, strlen(err->text), err);
    return file->bitmaps_why ? 0 : -1;
}

static int fill_file(struct virt_file *file, const struct chain_layer *layer,
                     struct img_error *err)
{
    const char *path = chain_layer_path(layer);

    file->format = chain_layer_format(layer);
    file->path = img_strndup(path, strlen(path), err);
    return !file->path || note_snapshots(file, layer, err) < 0 ||
                   note_bitmaps(file, layer, err) < 0
               ? -1
               : 0;
}

/* The file of LAYER, which may be known; NULL with ERR filled in. */
static struct virt_file *note_file(struct virt_images *images,
                                   const struct chain_layer *layer,
                                   struct img_error *err)
{
    struct virt_file *file = img_calloc(1, sizeof(*file), err);
    struct virt_file **met;

    if (!file ||
        img_file_stamp(chain_layer_file(layer), &file->stamp, err) < 0) {
        free_file(file);
        return NULL;
    }
    met = tfind(file, &images->by_file, compare_files);
    if (met) {
        free_file(file);
        return *met;
    }
    if (fill_file(file, layer, err) < 0 ||
        grow(&images->files, images->files_nr, err) < 0) {
        free_file(file);
        return NULL;
    }
    if (!tsearch(file, &images->by_file, compare_files)) {
        free_file(file);
        img_fail_memory(err);
        return NULL;
    }
    images->files[images->files_nr++] = file;
    return file;
}

/* ---- Names. */

static int compare_names(const void *a, const void *b)
{
    const struct virt_image *one = a, *other = b;
    int order = strcmp(one->path, other->path);

    return order != 0 ? order : strcmp(one->format, other->format);
}

static int note_failure(struct virt_image *image,
                        const struct img_error *failure, struct img_error *err)
{
    image->code = failure->code;
    image->why = img_strndup(failure->text, strlen(failure->text), err);
    image->why_path = img_strndup(
        failure->path[0] ? failure->path : image->path,
        strlen(failure->path[0] ? failure->path : image->path), err);
    return image->why && image->why_path ? 0 : -1;
}

static int note_layers(struct virt_images *images, struct virt_image *image,
                       const struct chain *chain, struct img_error *err)
{
    size_t nr = chain_depth(chain);

    image->layers = img_calloc(nr, sizeof(struct virt_file *), err);
    if (!image->layers) {
        return -1;
    }
    for (; image->nr < nr; image->nr++) {
        struct virt_file *file =
            note_file(images, chain_layer_at(chain, image->nr), err);

        if (!file) {
            return -1;
        }
        image->layers[image->nr] = file;
    }
    return chain_broken(chain) ? note_failure(image, chain_broken(chain), err)
                               : 0;
}

static int look(struct virt_images *images, struct virt_image *image,
                struct img_error *err)
{
    struct chain_options options = *images->options;
    struct chain *chain = NULL;
    struct img_error failure;
    int rc;

    options.format = image->format;
    options.keep_broken = true;
    if (chain_open(image->path, &options, &chain, &failure) < 0) {
        if (failure.code == IMG_MEMORY) {
            *err = failure;
            return -1;
        }
        return note_failure(image, &failure, err);
    }
    rc = note_layers(images, image, chain, err);
    chain_free(chain);
    return rc;
}

static struct virt_image *new_image(struct virt_images *images,
                                    const char *path, const char *format,
                                    struct img_error *err)
{
    struct virt_image *image = img_calloc(1, sizeof(*image), err);

    if (!image) {
        return NULL;
    }
    image->path = img_strndup(path, strlen(path), err);
    image->format = img_strndup(format, strlen(format), err);
    if (!image->path || !image->format || look(images, image, err) < 0 ||
        grow(&images->list, images->nr, err) < 0) {
        free_image(image);
        return NULL;
    }
    if (!tsearch(image, &images->by_name, compare_names)) {
        free_image(image);
        img_fail_memory(err);
        return NULL;
    }
    images->list[images->nr++] = image;
    return image;
}

const struct virt_image *virt_images_get(struct virt_images *images,
                                         const char *path, const char *format,
                                         struct img_error *err)
{
    /* Only compared. */
    const struct virt_image key = {
        .path = (char *)(uintptr_t)path,
        .format = (char *)(uintptr_t)(format ? format : "raw"),
    };
    struct virt_image **met = tfind(&key, &images->by_name, compare_names);

    if (met) {
        return *met;
    }
    if (images->nr == VIRT_IMAGES_MAX) {
        img_fail(err, IMG_LIMIT, "more than %u images are not looked at",
                 VIRT_IMAGES_MAX);
        return NULL;
    }
    return new_image(images, path, key.format, err);
}

int virt_image_find(const struct virt_image *image,
                    const struct img_stamp *stamp)
{
    for (size_t i = 0; i < image->nr; i++) {
        if (compare_files(&image->layers[i]->stamp, stamp) == 0) {
            return (int)i;
        }
    }
    return -1;
}

struct virt_inner *virt_inner_find(struct virt_inner *list, size_t nr,
                                   const char *name)
{
    for (size_t i = 0; i < nr; i++) {
        if (strcmp(list[i].name, name) == 0) {
            return &list[i];
        }
    }
    return NULL;
}
