/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * editor: changes a qcow2 image in place, as a script says.
 *
 *   editor [-k] [-m BYTES] FILE [DATA_FILE] < SCRIPT
 *
 * -k: what is written is what the guest sees already (is_content_kept);
 * -m: memory for tables. One command a line, numbers in bytes:
 *
 *   write OFF LEN BYTE   guest bytes; what must be written around them is read
 *                        from the chain
 *   zero OFF LEN         whole granules; places are given up
 *   zero-keep OFF LEN    they are kept
 *   discard OFF LEN
 *   make-empty
 *   commit
 *   reopen               commit, close and open again
 *
 * The end of the script commits. A zero that version 2 cannot say is written
 * as data. Exit 1 and a line on standard error when something fails.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/view.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/edit.h>

struct editor {
    const char *path;
    struct img_file *file, *data_file;
    struct qcow2_edit *edit;
    struct qcow2_edit_options options;
    /* For bytes around a write: as the image was when it was opened. */
    struct chain *chain;
    struct chain_view *view;
    bool is_view_stale; /* the guest sees zeros where it shows data */
};

static void view_close(struct editor *editor)
{
    chain_view_free(editor->view);
    chain_free(editor->chain);
    editor->view = NULL;
    editor->chain = NULL;
}

static int view_open(struct editor *editor, struct img_error *err)
{
    struct chain_options options;

    if (editor->view && !editor->is_view_stale) {
        return 0;
    }
    view_close(editor);
    chain_options_init(&options);
    options.file = editor->file;
    options.data_file = editor->data_file;
    options.format = "qcow2";
    if (qcow2_edit_commit(editor->edit, err) ||
        chain_open(editor->path, &options, &editor->chain, err) ||
        chain_view_new(editor->chain, 0, &editor->view, err)) {
        return -1;
    }
    editor->is_view_stale = false;
    return 0;
}

/* Write BUF, a span of LEN bytes at OFF, wherever it belongs. */
static int span_write(struct editor *editor, const uint8_t *buf, uint64_t off,
                      uint64_t len, struct img_error *err)
{
    while (len > 0) {
        struct qcow2_place place;

        if (qcow2_edit_place(editor->edit, off, len, &place, err) ||
            img_file_write(place.file, buf, place.len, place.host_off, err)) {
            return -1;
        }
        buf += place.len;
        off += place.len;
        len -= place.len;
    }
    return 0;
}

static int do_write(struct editor *editor, uint64_t off, uint64_t len, int byte,
                    struct img_error *err)
{
    uint64_t span_off;
    uint64_t span_len;

    if (qcow2_edit_span(editor->edit, off, len, &span_off, &span_len, err)) {
        return -1;
    }
    IMG_AUTO(img_free_ptr) uint8_t *buf = img_calloc(1, span_len, err);
    if (!buf) {
        return -1;
    }
    if (span_len > len &&
        (view_open(editor, err) ||
         chain_view_read(editor->view, buf, span_len, span_off, err))) {
        return -1;
    }
    memset(buf + (off - span_off), byte, len);
    return span_write(editor, buf, span_off, span_len, err);
}

static int do_zero(struct editor *editor, uint64_t off, uint64_t len, bool keep,
                   struct img_error *err)
{
    if (qcow2_edit_zero(editor->edit, off, len, keep, err) == 0) {
        editor->is_view_stale = true;
        return 0;
    }
    return err->code == IMG_UNSUPPORTED ? do_write(editor, off, len, 0, err)
                                        : -1;
}

static int edit_open(struct editor *editor, struct img_error *err)
{
    return qcow2_edit_open(editor->file, editor->data_file, &editor->options,
                           &editor->edit, err);
}

static int do_reopen(struct editor *editor, struct img_error *err)
{
    view_close(editor);
    if (qcow2_edit_commit(editor->edit, err)) {
        return -1;
    }
    qcow2_edit_free(editor->edit);
    editor->edit = NULL;
    return edit_open(editor, err);
}

static int do_line(struct editor *editor, const char *line,
                   struct img_error *err)
{
    char verb[32] = "";
    uint64_t off = 0;
    uint64_t len = 0;
    int byte = 0;
    int nr = sscanf(line, "%31s %" SCNu64 " %" SCNu64 " %d", verb, &off, &len,
                    &byte);

    if (strcmp(verb, "write") == 0 && nr == 4) {
        return do_write(editor, off, len, byte, err);
    }
    if (strcmp(verb, "zero") == 0 && nr == 3) {
        return do_zero(editor, off, len, false, err);
    }
    if (strcmp(verb, "zero-keep") == 0 && nr == 3) {
        return do_zero(editor, off, len, true, err);
    }
    if (strcmp(verb, "discard") == 0 && nr == 3) {
        editor->is_view_stale = true;
        return qcow2_edit_discard(editor->edit, off, len, err);
    }
    if (strcmp(verb, "make-empty") == 0) {
        editor->is_view_stale = true;
        return qcow2_edit_make_empty(editor->edit, err);
    }
    if (strcmp(verb, "commit") == 0) {
        return qcow2_edit_commit(editor->edit, err);
    }
    if (strcmp(verb, "reopen") == 0) {
        return do_reopen(editor, err);
    }
    return img_fail(err, IMG_USAGE, "no such command: %s", line);
}

static int run(struct editor *editor, const char *data_path,
               struct img_error *err)
{
    const struct img_open_options options = {
        .lock = IMG_LOCK_WRITER,
        .writable = true,
    };
    char line[128];

    if (img_file_open(editor->path, &options, &editor->file, err) ||
        (data_path &&
         img_file_open(data_path, &options, &editor->data_file, err)) ||
        edit_open(editor, err)) {
        return -1;
    }
    while (fgets(line, sizeof(line), stdin)) {
        if (do_line(editor, line, err) ||
            (qcow2_edit_is_full(editor->edit) &&
             qcow2_edit_commit(editor->edit, err))) {
            return -1;
        }
    }
    return qcow2_edit_commit(editor->edit, err);
}

int main(int argc, char **argv)
{
    static struct img_error err;
    struct editor editor = {0};
    char text[IMG_ERROR_PATH_MAX + IMG_ERROR_TEXT_MAX];
    int option;

    while ((option = getopt(argc, argv, "km:")) != -1) {
        if (option == 'k') {
            editor.options.is_content_kept = true;
        } else if (option == 'm') {
            editor.options.max_memory = strtoull(optarg, NULL, 10);
        } else {
            return 2;
        }
    }
    if (optind >= argc) {
        fprintf(stderr, "editor: no FILE\n");
        return 2;
    }
    editor.path = argv[optind];
    int rc = run(&editor, argv[optind + 1], &err);

    view_close(&editor);
    qcow2_edit_free(editor.edit);
    img_file_unref(editor.file);
    img_file_unref(editor.data_file);
    if (rc != 0) {
        img_error_format(&err, text, sizeof(text));
        fprintf(stderr, "editor: %s\n", text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
