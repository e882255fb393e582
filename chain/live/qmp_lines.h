/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes from a QMP peer, cut into messages. Room: chain/live.
 *
 * A message is one JSON object on one line (QEMU's "QMP Specification",
 * "Protocol Specification"; the indented form of a monitor with pretty=on is
 * not read). The peer is not trusted: a line has a bound, and what is no
 * object is an error. Pure: no I/O.
 */
#ifndef CHAIN_LIVE_QMP_LINES_H
#define CHAIN_LIVE_QMP_LINES_H

#include <img/json.h>

/* An answer about thousands of block nodes is some megabytes long. */
#define QMP_LINE_MAX_LEN (16u << 20)

/* Zeroed is empty. */
struct qmp_lines {
    char *buf;
    size_t begin, end; /* bytes that are there */
    size_t searched;   /* up to here there is no end of a line */
    size_t cap;
};

void qmp_lines_fini(struct qmp_lines *lines);

/*
 * Room for some more bytes: *out points to at least one, *out_len says to how
 * many. IMG_LIMIT: a line is longer than the bound.
 */
int qmp_lines_room(struct qmp_lines *lines, char **out, size_t *out_len,
                   struct img_error *err);
/* LEN bytes were put there. */
void qmp_lines_added(struct qmp_lines *lines, size_t len);

/*
 * The next message, the caller's to free; NULL when there is none yet. Empty
 * lines are skipped. IMG_FORMAT: a line is no JSON object.
 */
int qmp_lines_next(struct qmp_lines *lines, struct img_json **out,
                   struct img_error *err);

#endif
