/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP client: see qmp.h. Questions and answers; the bytes are qmp_wire.c's.
 *
 * One command is under way at a time. What arrives while its answer is waited
 * for is an event, or an answer to a question that was given up: then the
 * connection is broken, and so is everything else that has no place.
 */
#include "qmp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <img/memory.h>

#include "qmp_wire.h"

struct qmp {
    struct qmp_wire wire;
    struct img_json *events[QMP_EVENTS_MAX]; /* a ring */
    unsigned events_first, events_nr;
    unsigned timeout_ms;
    uint64_t next_id;
    unsigned major, minor;
    bool is_broken;
    struct img_error why; /* it is broken */
};

static void json_free(struct img_json **value)
{
    img_json_free(*value);
}

static int fail_broken(struct qmp *qmp, const struct img_error *why)
{
    qmp->is_broken = true;
    qmp->why = *why;
    return -1;
}

static int push_event(struct qmp *qmp, struct img_json *event,
                      struct img_error *err)
{
    if (qmp->events_nr == QMP_EVENTS_MAX) {
        img_json_free(event);
        return img_fail(err, IMG_LIMIT,
                        "QMP: found more than %u events at once",
                        QMP_EVENTS_MAX);
    }
    qmp->events[(qmp->events_first + qmp->events_nr) % QMP_EVENTS_MAX] = event;
    qmp->events_nr++;
    return 0;
}

static struct img_json *pop_event(struct qmp *qmp)
{
    struct img_json *event = qmp->events[qmp->events_first];

    if (qmp->events_nr == 0) {
        return NULL;
    }
    qmp->events_first = (qmp->events_first + 1) % QMP_EVENTS_MAX;
    qmp->events_nr--;
    return event;
}

static int fail_shape(struct img_error *err, const char *found)
{
    return img_fail(err, IMG_FORMAT,
                    "QMP: found %s, expected an event or the answer to what "
                    "was asked",
                    found);
}

/* MESSAGE, which is no event, answers question ID. */
static int check_answer(const struct img_json *message, uint64_t id,
                        struct img_error *err)
{
    bool has_return = img_json_get(message, "return") != NULL;
    bool has_error = img_json_get(message, "error") != NULL;
    uint64_t found;

    if (has_return == has_error) {
        return fail_shape(err, "a message of another kind");
    }
    if (!img_json_get_u64(message, "id", &found)) {
        return fail_shape(err, "an answer without an id");
    }
    if (found != id) {
        return fail_shape(err, "an answer to something else");
    }
    return 0;
}

/* Wait for the answer to ID; events are put aside. */
static int wait_answer(struct qmp *qmp, uint64_t id, struct img_json **out,
                       struct img_error *err)
{
    uint64_t until_ns = qmp_wire_deadline(qmp->timeout_ms);

    for (;;) {
        struct img_json *message = NULL;

        if (qmp_wire_receive(&qmp->wire, until_ns, &message, err) != 0) {
            return -1;
        }
        if (!message) {
            return img_fail(err, IMG_IO,
                            "QMP: no answer came within %u milliseconds",
                            qmp->timeout_ms);
        }
        if (img_json_get_string(message, "event")) {
            if (push_event(qmp, message, err) != 0) {
                return -1;
            }
            continue;
        }
        if (check_answer(message, id, err) != 0) {
            img_json_free(message);
            return -1;
        }
        *out = message;
        return 0;
    }
}

/* QEMU's words. */
static int fail_refused(const struct img_json *answer, const char *command,
                        struct img_error *err)
{
    const struct img_json *error = img_json_get(answer, "error");
    const char *desc = img_json_get_string(error, "desc");
    char shown[512];

    if (!desc) {
        desc = "an error without a description";
    }
    img_escape(desc, strlen(desc), shown, sizeof(shown));
    return img_fail(err, IMG_REFUSED, "%s: %s", command, shown);
}

static char *question_text(const char *command, struct img_json *arguments,
                           uint64_t id, struct img_error *err)
{
    IMG_AUTO(json_free) struct img_json *question = img_json_object();

    img_json_set_string(question, "execute", command);
    if (arguments) {
        img_json_set(question, "arguments", arguments);
    }
    img_json_set_u64(question, "id", id);
    return img_json_text(question, false, err);
}

static int ask(struct qmp *qmp, const char *text, uint64_t id,
               struct img_json **answer, struct img_error *err)
{
    uint64_t until_ns = qmp_wire_deadline(qmp->timeout_ms);

    if (qmp_wire_send(&qmp->wire, text, until_ns, err) != 0 ||
        wait_answer(qmp, id, answer, err) != 0) {
        img_error_set_path(err, qmp->wire.name);
        return fail_broken(qmp, err);
    }
    return 0;
}

int qmp_execute(struct qmp *qmp, const char *command,
                struct img_json *arguments, struct img_json **out,
                struct img_error *err)
{
    uint64_t id = qmp->next_id++;
    IMG_AUTO(json_free) struct img_json *answer = NULL;
    IMG_AUTO(img_free_ptr)
    char *text = question_text(command, arguments, id, err);

    if (!text) {
        return -1;
    }
    if (qmp->is_broken) {
        *err = qmp->why;
        return -1;
    }
    if (ask(qmp, text, id, &answer, err) != 0) {
        return -1;
    }
    if (img_json_get(answer, "error")) {
        fail_refused(answer, command, err);
        img_error_set_path(err, qmp->wire.name);
        return -1;
    }
    if (out) {
        *out = img_json_take(answer, "return");
    }
    return 0;
}

int qmp_wait_event(struct qmp *qmp, unsigned timeout_ms, struct img_json **out,
                   struct img_error *err)
{
    *out = pop_event(qmp);
    if (*out) {
        return 0;
    }
    if (qmp->is_broken) {
        *err = qmp->why;
        return -1;
    }
    if (qmp_wire_receive(&qmp->wire, qmp_wire_deadline(timeout_ms), out, err) !=
        0) {
        img_error_set_path(err, qmp->wire.name);
        return fail_broken(qmp, err);
    }
    if (*out && !img_json_get_string(*out, "event")) {
        img_json_free(img_steal(out));
        img_fail(err, IMG_FORMAT,
                 "QMP: found an answer, and nothing was asked");
        img_error_set_path(err, qmp->wire.name);
        return fail_broken(qmp, err);
    }
    return 0;
}

void qmp_version(const struct qmp *qmp, unsigned *major, unsigned *minor)
{
    *major = qmp->major;
    *minor = qmp->minor;
}

bool qmp_peer(const struct qmp *qmp, int *pid, unsigned *uid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(qmp->wire.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
        peer.pid <= 0) {
        return false;
    }
    *pid = (int)peer.pid;
    *uid = (unsigned)peer.uid;
    return true;
}

/* {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, ...}}, ...}} */
static int read_greeting(struct qmp *qmp, struct img_error *err)
{
    IMG_AUTO(json_free) struct img_json *greeting = NULL;
    const struct img_json *qemu;
    uint64_t major, minor;

    if (qmp_wire_receive(&qmp->wire, qmp_wire_deadline(qmp->timeout_ms),
                         &greeting, err) != 0) {
        return -1;
    }
    if (!greeting) {
        return img_fail(err, IMG_IO,
                        "QMP: no greeting came within %u milliseconds; is "
                        "somebody else connected?",
                        qmp->timeout_ms);
    }
    qemu = img_json_get(img_json_get(img_json_get(greeting, "QMP"), "version"),
                        "qemu");
    if (!img_json_get_u64(qemu, "major", &major) ||
        !img_json_get_u64(qemu, "minor", &minor) || major > 999 ||
        minor > 999) {
        return img_fail(err, IMG_FORMAT,
                        "QMP: found a message that is no greeting of QEMU's");
    }
    qmp->major = (unsigned)major;
    qmp->minor = (unsigned)minor;
    return 0;
}

int qmp_open(const char *name, const struct qmp_options *options,
             struct qmp **out, struct img_error *err)
{
    struct qmp *qmp = img_calloc(1, sizeof(*qmp), err);

    if (!qmp) {
        return -1;
    }
    qmp->wire.fd = -1;
    qmp->timeout_ms =
        options->timeout_ms ? options->timeout_ms : QMP_TIMEOUT_MS;
    if (qmp_wire_open(&qmp->wire, name, options->cancel, err) != 0 ||
        read_greeting(qmp, err) != 0 ||
        qmp_execute(qmp, "qmp_capabilities", NULL, NULL, err) != 0) {
        img_error_set_path(err, name);
        qmp_close(qmp);
        return -1;
    }
    *out = qmp;
    return 0;
}

void qmp_close(struct qmp *qmp)
{
    struct img_json *event;

    if (!qmp) {
        return;
    }
    while ((event = pop_event(qmp))) {
        img_json_free(event);
    }
    qmp_wire_close(&qmp->wire);
    free(qmp);
}
