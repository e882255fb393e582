/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes from a QMP peer, cut into messages: see qmp_lines.h. */
#include "qmp_lines.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#define ROOM_MIN_LEN 4096u

void qmp_lines_fini(struct qmp_lines *lines)
{
    free(lines->buf);
    *lines = (struct qmp_lines){0};
}

/* Move what is there to the front. */
static void close_up(struct qmp_lines *lines)
{
    size_t len = lines->end - lines->begin;

    if (lines->begin == 0) {
        return;
    }
    memmove(lines->buf, lines->buf + lines->begin, len);
    lines->searched -= lines->begin;
    lines->begin = 0;
    lines->end = len;
}

static int grow(struct qmp_lines *lines, struct img_error *err)
{
    size_t cap = img_max(2 * lines->cap, (size_t)2 * ROOM_MIN_LEN);
    char *buf;

    if (lines->end >= QMP_LINE_MAX_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "QMP: found a message of more than %u bytes, expected "
                        "a shorter one",
                        QMP_LINE_MAX_LEN);
    }
    buf = realloc(lines->buf, cap);
    if (!buf) {
        return img_fail_memory(err);
    }
    lines->buf = buf;
    lines->cap = cap;
    return 0;
}

int qmp_lines_room(struct qmp_lines *lines, char **out, size_t *out_len,
                   struct img_error *err)
{
    if (lines->cap - lines->end < ROOM_MIN_LEN) {
        close_up(lines);
    }
    if (lines->cap - lines->end < ROOM_MIN_LEN && grow(lines, err) != 0) {
        return -1;
    }
    *out = lines->buf + lines->end;
    *out_len = lines->cap - lines->end;
    return 0;
}

void qmp_lines_added(struct qmp_lines *lines, size_t len)
{
    lines->end += len;
}

static bool is_blank(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* The next line without its end; false: there is none yet. */
static bool take_line(struct qmp_lines *lines, const char **out, size_t *len)
{
    size_t from = img_max(lines->searched, lines->begin);
    char *at = lines->end > from
                   ? memchr(lines->buf + from, '\n', lines->end - from)
                   : NULL;

    if (!at) {
        lines->searched = lines->end;
        return false;
    }
    *out = lines->buf + lines->begin;
    *len = (size_t)(at - *out);
    lines->begin += *len + 1;
    return true;
}

int qmp_lines_next(struct qmp_lines *lines, struct img_json **out,
                   struct img_error *err)
{
    const char *line;
    size_t len;

    *out = NULL;
    do {
        if (!take_line(lines, &line, &len)) {
            return 0;
        }
    } while (is_blank(line, len));
    if (img_json_parse_within(line, len, QMP_LINE_MAX_LEN, out, err) != 0) {
        struct img_error why = *err;

        return img_fail(err, why.code, "QMP: %.900s", why.text);
    }
    if (img_json_type(*out) != IMG_JSON_OBJECT) {
        img_json_free(img_steal(out));
        return img_fail(err, IMG_FORMAT,
                        "QMP: found a message that is no object");
    }
    return 0;
}
