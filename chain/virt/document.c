/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files and texts: see document.h. */
#include "document.h"

#include <string.h>

#include <chain/virt.h>
#include <img/file.h>
#include <img/memory.h>

static int load_file(struct img_file *file, size_t max_len, char **text,
                     size_t *len, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    if (img_file_kind(file) != IMG_FILE_REGULAR) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "found a block device, expected a file of text");
    }
    if (file_len > max_len) {
        return img_fail(err, IMG_LIMIT,
                        "too long for libvirt's XML: found %llu bytes, at "
                        "most %zu are read",
                        (unsigned long long)file_len, max_len);
    }
    *len = file_len;
    *text = img_calloc(file_len + 1, 1, err);
    return *text ? img_file_read(file, *text, file_len, 0, err) : -1;
}

int virt_document_load(const char *path, const struct img_roots *roots,
                       char **text, size_t *len, struct img_error *err)
{
    return virt_document_load_within(path, roots, CHAIN_VIRT_MAX_LEN, text, len,
                                     err);
}

int chain_virt_text_read(const char *path, const struct img_roots *roots,
                         char **text, size_t *len, struct img_error *err)
{
    return virt_document_load(path, roots, text, len, err);
}

int virt_document_load_within(const char *path, const struct img_roots *roots,
                              size_t max_len, char **text, size_t *len,
                              struct img_error *err)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE, .roots = roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    IMG_AUTO(img_free_ptr) char *loaded = NULL;

    if (img_file_open(path, &options, &file, err) < 0) {
        return -1;
    }
    if (load_file(file, max_len, &loaded, len, err) < 0) {
        img_error_set_path(err, path);
        return -1;
    }
    *text = img_steal(&loaded);
    return 0;
}

int virt_document_read(const char *path, const struct img_roots *roots,
                       virt_parser parser, void *out, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    size_t len = 0;

    if (virt_document_load(path, roots, &text, &len, err) < 0) {
        return -1;
    }
    if (parser(text, len, path, out, err) < 0) {
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

static int check_root(const struct virt_node *root, const char *expected,
                      const char *other, struct img_error *err)
{
    char shown[128];

    if (strcmp(root->name, expected) == 0 ||
        (other && strcmp(root->name, other) == 0)) {
        return 0;
    }
    img_escape(root->name, strlen(root->name), shown, sizeof(shown));
    return img_fail(err, IMG_FORMAT,
                    "line %u: found <%s>, expected libvirt's <%s>", root->line,
                    shown, expected);
}

static int check_tree(struct virt_tree *tree, const char *expected,
                      const char *other, const char *name,
                      struct img_error *err)
{
    if (check_root(tree->root, expected, other, err) < 0) {
        virt_tree_fini(tree);
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}

int virt_document_parse(const char *text, size_t len, const char *name,
                        const char *expected, const char *other,
                        struct virt_tree *out, struct img_error *err)
{
    return virt_tree_parse(text, len, name, out, err) < 0
               ? -1
               : check_tree(out, expected, other, name, err);
}

int virt_document_parse_qemu(const char *text, size_t len, const char *name,
                             const char *expected, struct virt_tree *out,
                             struct img_error *err)
{
    return virt_tree_parse_qemu(text, len, name, out, err) < 0
               ? -1
               : check_tree(out, expected, NULL, name, err);
}
