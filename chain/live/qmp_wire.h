/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The wire of a QMP connection: whole messages there and back, each within a
 * time. Room: chain/live; private to it.
 */
#ifndef CHAIN_LIVE_QMP_WIRE_H
#define CHAIN_LIVE_QMP_WIRE_H

#include "qmp_lines.h"

struct qmp_wire {
    int fd; /* -1: none */
    char *name;
    const volatile int *cancel;
    struct qmp_lines lines;
};

/* See qmp_open. */
int qmp_wire_open(struct qmp_wire *wire, const char *name,
                  const volatile int *cancel, struct img_error *err);
/* Accepts one that was not opened, fd -1. */
void qmp_wire_close(struct qmp_wire *wire);

/* The time, of the monotonic clock, that is TIMEOUT_MS from now. */
uint64_t qmp_wire_deadline(unsigned timeout_ms);

/* Send TEXT and the end of a line. IMG_IO when the peer is gone, or does not
   take it in time. */
int qmp_wire_send(struct qmp_wire *wire, const char *text, uint64_t until_ns,
                  struct img_error *err);
/* The next message, the caller's to free; NULL: none came in time. IMG_IO: the
   peer has closed the connection. */
int qmp_wire_receive(struct qmp_wire *wire, uint64_t until_ns,
                     struct img_json **out, struct img_error *err);

#endif
