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

/* *AT becomes a copy of TEXT. */
static int replace_text(char **at, const char *text, struct img_error *err)
{
    char *copy = NULL;

    if (text) {
        copy = img_strndup(text, strlen(text), err);
        if (!copy) {
            return -1;
        }
    }
    free(*at);
    *at = copy;
    return 0;
}

int qcow2_edit_set_backing(struct qcow2_edit *edit, const char *backing_name,
                           const char *backing_format, struct img_error *err)
{
    struct header_page want;
    int result;

    if (check_text("backing file name", backing_name,
                   QCOW2_MAX_BACKING_NAME_LEN, err) ||
        check_text("backing format", backing_format,
                   QCOW2_MAX_BACKING_FORMAT_LEN, err) ||
        qcow2_edit_commit(edit, err) || qcow2_edit_begin_change(edit, err) ||
        qcow2_edit_page(edit, &want, err)) {
        return -1;
    }
    if (backing_name && want.header.has_data_file &&
        want.header.is_data_file_raw) {
        header_page_fini(&want);
        return img_fail(err, IMG_USAGE,
                        "an image whose data file is raw (data_file_raw) can"
                        " have no backing file");
    }
    result = replace_text(&want.extensions.backing_name, backing_name, err) ||
                     replace_text(&want.extensions.backing_format,
                                  backing_format, err) ||
                     qcow2_edit_switch_header(edit, &want.header,
                                              &want.extensions, err)
                 ? -1
                 : 0;
    header_page_fini(&want);
    return result;
}

int qcow2_edit_set_data_file(struct qcow2_edit *edit, const char *name,
                             struct img_error *err)
{
    struct header_page want;
    int result;

    if (!edit->header.has_data_file) {
        return img_fail(err, IMG_USAGE,
                        "data_file: found an image without an external data"
                        " file, expected one that has it");
    }
    if (check_text("data file name", name, edit->header.cluster_len, err) ||
        qcow2_edit_commit(edit, err) || qcow2_edit_begin_change(edit, err) ||
        qcow2_edit_page(edit, &want, err)) {
        return -1;
    }
    result = replace_text(&want.extensions.data_file_name, name, err) ||
                     qcow2_edit_switch_header(edit, &want.header,
                                              &want.extensions, err)
                 ? -1
                 : 0;
    header_page_fini(&want);
    return result;
}
