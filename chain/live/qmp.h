/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP client: commands to a running QEMU, and what it tells by itself.
 * Room: chain/live. Follows QEMU's "QMP Specification".
 *
 * The peer is not trusted: messages have a bound, every wait ends, answers
 * without the id of the question are refused, and texts from it are escaped.
 * One thread at a time.
 */
#ifndef CHAIN_LIVE_QMP_H
#define CHAIN_LIVE_QMP_H

#include <img/json.h>

/* Events that nobody has asked for yet; a peer that sends more is broken. */
#define QMP_EVENTS_MAX 4096u
#define QMP_TIMEOUT_MS 30000u

struct qmp;

struct qmp_options {
    unsigned timeout_ms;        /* for each answer; 0: QMP_TIMEOUT_MS */
    const volatile int *cancel; /* waits end with IMG_CANCELLED when set */
};

/*
 * Connect to the Unix socket of that path, or take the inherited descriptor
 * of "fd:N" (duplicated), read the greeting and negotiate capabilities.
 * IMG_NOT_FOUND, IMG_DENIED, IMG_SYSTEM: it cannot be reached. IMG_FORMAT,
 * IMG_LIMIT: what answers is no QMP server. The error's path is NAME.
 */
int qmp_open(const char *name, const struct qmp_options *options,
             struct qmp **out, struct img_error *err);
/* NULL is fine. */
void qmp_close(struct qmp *qmp);

/* The peer's version as numbers, 7 and 2 for QEMU 7.2. */
void qmp_version(const struct qmp *qmp, unsigned *major, unsigned *minor);

/*
 * The process at the other end (of QEMU, or of who made the socket for it) and
 * its user; false: the kernel does not tell.
 */
bool qmp_peer(const struct qmp *qmp, int *pid, unsigned *uid);

/*
 * Run COMMAND with ARGUMENTS (an object, taken; NULL: none) and wait for its
 * answer: *out, the caller's to free; OUT may be NULL. IMG_REFUSED: QEMU says
 * no, and the text is "COMMAND: QEMU's words". IMG_IO: the connection ended,
 * or nothing came in time; then nothing more can be done with QMP.
 */
int qmp_execute(struct qmp *qmp, const char *command,
                struct img_json *arguments, struct img_json **out,
                struct img_error *err);

/*
 * The oldest event that was not asked for yet, an object with "event" and
 * "data", the caller's to free; NULL when none came within TIMEOUT_MS.
 */
int qmp_wait_event(struct qmp *qmp, unsigned timeout_ms, struct img_json **out,
                   struct img_error *err);

#endif
