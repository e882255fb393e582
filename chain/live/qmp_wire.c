/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The wire of a QMP connection: see qmp_wire.h. Nothing on it waits but poll,
 * which is woken now and then to look whether to stop. A descriptor that was
 * handed over is not made non-blocking: it may be shared with who gave it.
 */
#include "qmp_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
/* Between two looks whether to stop. */
#define POLL_MS 100u

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t qmp_wire_deadline(unsigned timeout_ms)
{
    return now_ns() + timeout_ms * NS_PER_MS;
}

/* The number behind "fd:", or -1 for any other name. */
static int given_fd(const char *name)
{
    char *end;
    long fd;

    if (strncmp(name, "fd:", 3) != 0 || name[3] < '0' || name[3] > '9') {
        return -1;
    }
    errno = 0;
    fd = strtol(name + 3, &end, 10);
    return errno == 0 && *end == '\0' && fd <= INT32_MAX ? (int)fd : -1;
}

static int open_given(struct qmp_wire *wire, int fd, struct img_error *err)
{
    int type;
    socklen_t len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
        type != SOCK_STREAM) {
        return img_fail(err, IMG_USAGE,
                        "found a descriptor that is no stream socket");
    }
    wire->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return wire->fd >= 0
               ? 0
               : img_fail_sys(err, errno, "cannot take descriptor %d", fd);
}

static int open_socket(struct qmp_wire *wire, const char *path,
                       struct img_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path)) {
        return img_fail(err, IMG_USAGE,
                        "found a socket's path of %zu bytes, expected at most "
                        "%zu",
                        strlen(path), sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, path, strlen(path));
    wire->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (wire->fd < 0 || connect(wire->fd, (const struct sockaddr *)&address,
                                sizeof(address)) != 0) {
        return img_fail_sys(err, errno, "cannot connect to it");
    }
    return 0;
}

int qmp_wire_open(struct qmp_wire *wire, const char *name,
                  const volatile int *cancel, struct img_error *err)
{
    int fd = given_fd(name);

    wire->cancel = cancel;
    wire->name = img_strndup(name, strlen(name), err);
    if (!wire->name) {
        return -1;
    }
    return fd >= 0 ? open_given(wire, fd, err) : open_socket(wire, name, err);
}

void qmp_wire_close(struct qmp_wire *wire)
{
    if (wire->fd >= 0) {
        (void)close(wire->fd);
    }
    free(wire->name);
    qmp_lines_fini(&wire->lines);
    *wire = (struct qmp_wire){.fd = -1};
}

/* Wait until the descriptor is ready for EVENTS; *ready false: in vain. */
static int wait_ready(const struct qmp_wire *wire, short events,
                      uint64_t until_ns, bool *ready, struct img_error *err)
{
    for (;;) {
        struct pollfd entry = {.fd = wire->fd, .events = events};
        uint64_t now = now_ns();
        uint64_t left_ms =
            until_ns > now ? img_div_up(until_ns - now, NS_PER_MS) : 0;
        int n = poll(&entry, 1, (int)img_min(left_ms, POLL_MS));

        *ready = n > 0;
        if (wire->cancel && *wire->cancel) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
        if (n < 0 && errno != EINTR) {
            return img_fail_sys(err, errno, "QMP: cannot wait");
        }
        if (n > 0 || left_ms == 0) {
            return 0;
        }
    }
}

static int fail_gone(struct img_error *err)
{
    return img_fail(err, IMG_IO, "QMP: the connection was closed");
}

static bool is_transient(int code)
{
    return code == EINTR || code == EAGAIN || code == EWOULDBLOCK;
}

static int send_some(struct qmp_wire *wire, const char **at, size_t *left,
                     struct img_error *err)
{
    ssize_t n = send(wire->fd, *at, *left, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && !is_transient(errno)) {
        return errno == EPIPE || errno == ECONNRESET
                   ? fail_gone(err)
                   : img_fail_sys(err, errno, "QMP: cannot send");
    }
    if (n > 0) {
        *at += n;
        *left -= (size_t)n;
    }
    return 0;
}

static int send_all(struct qmp_wire *wire, const char *at, size_t left,
                    uint64_t until_ns, struct img_error *err)
{
    while (left > 0) {
        bool ready;

        if (wait_ready(wire, POLLOUT, until_ns, &ready, err) != 0) {
            return -1;
        }
        if (!ready) {
            return img_fail(err, IMG_IO,
                            "QMP: what was to be sent is not taken");
        }
        if (send_some(wire, &at, &left, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int qmp_wire_send(struct qmp_wire *wire, const char *text, uint64_t until_ns,
                  struct img_error *err)
{
    if (send_all(wire, text, strlen(text), until_ns, err) != 0) {
        return -1;
    }
    return send_all(wire, "\n", 1, until_ns, err);
}

static int receive_some(struct qmp_wire *wire, struct img_error *err)
{
    size_t room;
    char *at;

    if (qmp_lines_room(&wire->lines, &at, &room, err) != 0) {
        return -1;
    }
    ssize_t n = recv(wire->fd, at, room, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
        return fail_gone(err);
    }
    if (n < 0 && !is_transient(errno)) {
        return img_fail_sys(err, errno, "QMP: cannot receive");
    }
    if (n > 0) {
        qmp_lines_added(&wire->lines, (size_t)n);
    }
    return 0;
}

int qmp_wire_receive(struct qmp_wire *wire, uint64_t until_ns,
                     struct img_json **out, struct img_error *err)
{
    bool ready = true;

    /* A peer that never ends to send, but no message, is late all the same. */
    do {
        if (qmp_lines_next(&wire->lines, out, err) != 0) {
            return -1;
        }
        if (*out) {
            return 0;
        }
        if (wait_ready(wire, POLLIN, until_ns, &ready, err) != 0 ||
            (ready && receive_some(wire, err) != 0)) {
            return -1;
        }
    } while (ready && now_ns() < until_ns);
    return qmp_lines_next(&wire->lines, out, err);
}
