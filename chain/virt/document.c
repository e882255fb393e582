/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files and texts: see document.h. */
#include "document.h"

#include <string.h>

#include <chain/virt.h>
#include <img/file.h>
#include <img/memory.h>

static int parse_file(struct img_file *file, virt_parser parser, void *out,
                      struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    uint64_t len = img_file_len(file);

    if (img_file_kind(file) != IMG_FILE_REGULAR) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "found a block device, expected an XML file");
    }
    if (len > CHAIN_VIRT_MAX_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "too long for libvirt's XML: found %llu bytes, at "
                        "most %u are read",
                        (unsigned long long)len, CHAIN_VIRT_MAX_LEN);
    }
    text = img_calloc(len + 1, 1, err);
    if (!text || img_file_read(file, text, len, 0, err) < 0) {
        return -1;
    }
    return parser(text, len, img_file_path(file), out, err);
}

int virt_document_read(const char *path, const struct img_roots *roots,
                       virt_parser parser, void *out, struct img_error *err)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE, .roots = roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    if (img_file_open(path, &options, &file, err) < 0) {
        return -1;
    }
    if (parse_file(file, parser, out, err) < 0) {
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

int virt_document_parse(const char *text, size_t len, const char *name,
                        const char *expected, const char *other,
                        struct virt_tree *out, struct img_error *err)
{
    if (virt_tree_parse(text, len, name, out, err) < 0) {
        return -1;
    }
    if (check_root(out->root, expected, other, err) < 0) {
        virt_tree_fini(out);
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}
