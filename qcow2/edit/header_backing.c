/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names that the header records: backing file, its format, external data
 * file (specification: "Header", "String header extensions").
 *
 * Room: qcow2/edit.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "header_switch.h"

static int check_text(const char *what, const char *text, size_t max_len,
                      struct img_error *err)
{
    size_t len = text ? strlen(text) : 0;

    if (text && (len == 0 || len > max_len)) {
        return img_fail(err, IMG_USAGE,
                        "%s: found %zu bytes, expected 1 to %zu", what, len,
                        max_len);
    }
    return 0;
}

/* A copy of TEXT, which may be borrowed from what the header says now; NULL
   of NULL. */
static int copy_text(const char *text, char **out, struct img_error *err)
{
    *out = text ? img_strndup(text, strlen(text), err) : NULL;
    return text && !*out ? -1 : 0;
}

/* *AT becomes *TEXT, which is handed over. */
static void replace_text(char **at, char **text)
{
    free(*at);
    *at = img_steal(text);
}

int qcow2_edit_set_backing(struct qcow2_edit *edit, const char *backing_name,
                           const char *backing_format, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *name = NULL;
    IMG_AUTO(img_free_ptr) char *format = NULL;
    struct header_page want;
    int result;

    if (check_text("backing file name", backing_name,
                   QCOW2_MAX_BACKING_NAME_LEN, err) ||
        check_text("backing format", backing_format,
                   QCOW2_MAX_BACKING_FORMAT_LEN, err) ||
        copy_text(backing_name, &name, err) ||
        copy_text(backing_format, &format, err) ||
        qcow2_edit_commit(edit, err) || qcow2_edit_begin_change(edit, err) ||
        qcow2_edit_page(edit, &want, err)) {
        return -1;
    }
    if (name && want.header.has_data_file && want.header.is_data_file_raw) {
        header_page_fini(&want);
        return img_fail(err, IMG_USAGE,
                        "an image whose data file is raw (data_file_raw) can"
                        " have no backing file");
    }
    replace_text(&want.extensions.backing_name, &name);
    replace_text(&want.extensions.backing_format, &format);
    result =
        qcow2_edit_switch_header(edit, &want.header, &want.extensions, err);
    header_page_fini(&want);
    return result;
}

int qcow2_edit_set_data_file(struct qcow2_edit *edit, const char *name,
                             struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *copy = NULL;
    struct header_page want;
    int result;

    if (!edit->header.has_data_file) {
        return img_fail(err, IMG_USAGE,
                        "data_file: found an image without an external data"
                        " file, expected one that has it");
    }
    if (check_text("data file name", name, edit->header.cluster_len, err) ||
        copy_text(name, &copy, err) || qcow2_edit_commit(edit, err) ||
        qcow2_edit_begin_change(edit, err) ||
        qcow2_edit_page(edit, &want, err)) {
        return -1;
    }
    replace_text(&want.extensions.data_file_name, &copy);
    result =
        qcow2_edit_switch_header(edit, &want.header, &want.extensions, err);
    header_page_fini(&want);
    return result;
}
