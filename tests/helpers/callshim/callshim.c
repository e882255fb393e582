/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * callshim: a library for LD_PRELOAD that kills the process at one of the
 * messages that it sends to a daemon.
 *
 *   CALLSHIM_KILL  "N": instead of the Nth message (from 1); "N+": right after
 *                  it, so that the daemon does what it was asked for
 *   CALLSHIM_LOG   a file that grows by a byte for each
 *
 * A message is a write to a local stream socket.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static _Atomic unsigned long sent;

static bool is_message(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
           domain == AF_UNIX;
}

static ssize_t real_write(int fd, const void *buf, size_t len)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (!real) {
        void *found = dlsym(RTLD_NEXT, "write");

        memcpy(&real, &found, sizeof(real));
    }
    return real(fd, buf, len);
}

static void count(void)
{
    const char *path = getenv("CALLSHIM_LOG");
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;

    if (fd >= 0) {
        (void)!real_write(fd, ".", 1);
        close(fd);
    }
}

__attribute__((visibility("default"))) ssize_t write(int fd, const void *buf,
                                                     size_t len)
{
    const char *plan = getenv("CALLSHIM_KILL");
    char *end = NULL;
    unsigned long at = plan ? strtoul(plan, &end, 10) : 0;
    bool is_after = end && *end == '+';
    unsigned long number;
    ssize_t done;

    if (!is_message(fd)) {
        return real_write(fd, buf, len);
    }
    number = ++sent;
    count();
    if (number == at && !is_after) {
        raise(SIGKILL);
    }
    done = real_write(fd, buf, len);
    if (number == at) {
        raise(SIGKILL);
    }
    return done;
}
