/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names in folders: see place.h. */
#include "place.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/statvfs.h>

#include <img/checked.h>
#include <img/image.h>
#include <img/memory.h>

char *chain_place_folder(const char *path, struct img_error *err)
{
    const char *slash = strrchr(path, '/');

    if (!slash) {
        return img_strndup(".", 1, err);
    }
    return img_strndup(path, slash == path ? 1 : (size_t)(slash - path), err);
}

int chain_place_find(const char *path, const struct img_roots *roots,
                     struct chain_place *out, struct img_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    struct img_stamp stamp;
    IMG_AUTO(img_free_ptr) char *folder = chain_place_folder(path, err);

    if (!folder) {
        return -1;
    }
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        img_fail(err, IMG_USAGE, "the path does not end in the name of a file");
        img_error_set_path(err, path);
        return -1;
    }
    if (img_path_stamp(folder, roots, &stamp, err) < 0) {
        img_error_set_path(err, folder);
        return -1;
    }
    *out = (struct chain_place){stamp.dev, stamp.ino, name};
    return 0;
}

char *chain_place_operand(const char *path, struct img_error *err)
{
    size_t len = strcspn(path, ":/");

    return img_text(err, "%s%s", path[len] == ':' ? "./" : "", path);
}

uint64_t chain_place_space_left(const char *path)
{
    struct img_error ignored;
    struct statvfs fs;
    IMG_AUTO(img_free_ptr) char *folder = chain_place_folder(path, &ignored);
    uint64_t len;

    if (!folder || statvfs(folder, &fs) != 0 ||
        !img_mul(fs.f_bavail, fs.f_frsize, &len)) {
        return UINT64_MAX;
    }
    return len;
}

bool chain_place_is_without_sharing(const struct statfs *fs)
{
    switch ((unsigned long)fs->f_type) {
    case EXT4_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case MSDOS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return true;
    default:
        return false;
    }
}

bool chain_place_is_same(const struct chain_place *a,
                         const struct chain_place *b)
{
    return a->dev == b->dev && a->ino == b->ino &&
           strcmp(a->name, b->name) == 0;
}

bool chain_stamp_is_same_file(const struct img_stamp *a,
                              const struct img_stamp *b)
{
    if (a->rdev != 0 || b->rdev != 0) {
        return a->rdev == b->rdev;
    }
    return a->dev == b->dev && a->ino == b->ino;
}

const struct img_file *chain_find_stamp(const struct chain *chain,
                                        const struct img_stamp *stamp,
                                        struct img_error *err)
{
    struct img_stamp other;

    img_error_clear(err);
    for (size_t i = 0; i < chain_depth(chain); i++) {
        const struct chain_layer *layer = chain_layer_at(chain, i);
        const struct img_file *files[] = {chain_layer_file(layer),
                                          chain_layer_image(layer)->data_file};
        for (size_t j = 0; j < 2 && files[j]; j++) {
            if (img_file_stamp(files[j], &other, err) < 0) {
                return NULL;
            }
            if (chain_stamp_is_same_file(stamp, &other)) {
                return files[j];
            }
        }
    }
    return NULL;
}
