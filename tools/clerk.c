/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process that renames: see clerk.h. */
#include "clerk.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox.h"

/* An order: the number of a file, with this bit to remove it. */
#define DROP 0x80u

static int to_clerk = -1;

/* The clerk's answer; EPIPE where there is none. */
static int ask(uint8_t order)
{
    int answer = EPIPE;
    ssize_t n;

    do {
        n = write(to_clerk, &order, 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1) {
        return EPIPE;
    }
    do {
        n = read(to_clerk, &answer, sizeof(answer));
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(answer) ? answer : EPIPE;
}

static int obey(const struct clerk_file *file, bool drop)
{
    int rc =
        drop ? unlink(file->temporary) : rename(file->temporary, file->path);

    return rc < 0 ? errno : 0;
}

/* Until the other end is closed: by clerk_end, or by the process's end. */
static void serve(int from, const struct clerk_file *files, size_t nr)
{
    bool is_done[CLERK_FILES_MAX] = {false};
    uint8_t order;
    ssize_t n;

    while ((n = read(from, &order, 1)) == 1 || (n < 0 && errno == EINTR)) {
        size_t idx = order & ~DROP;
        int answer = EINVAL;

        if (n != 1) {
            continue;
        }
        if (idx < nr && !is_done[idx]) {
            answer = obey(&files[idx], (order & DROP) != 0);
            is_done[idx] = answer == 0;
        }
        (void)!write(from, &answer, sizeof(answer));
    }
    for (size_t i = 0; i < nr; i++) {
        if (!is_done[i]) {
            (void)unlink(files[i].temporary);
        }
    }
}

/* What ends the other process ends this one through the closed socket. */
static void ignore_signals(void)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1};

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        (void)signal(signals[i], SIG_IGN);
    }
}

int clerk_start(const struct clerk_file *files, size_t nr,
                struct img_error *err)
{
    int ends[2];
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        return img_fail_sys(err, errno,
                            "cannot make a connection to a second process");
    }
    child = fork();
    if (child < 0) {
        img_fail_sys(err, errno,
                     "cannot start the process that puts reports in their "
                     "places (--no-sandbox does without)");
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    if (child == 0) {
        ignore_signals();
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
            close(fd);
        }
        close(ends[0]);
        serve(ends[1], files, nr);
        _exit(0);
    }
    close(ends[1]);
    to_clerk = ends[0];
    sandbox_allow_writing(to_clerk);
    return 0;
}

int clerk_keep(size_t idx)
{
    return ask((uint8_t)idx);
}

void clerk_drop(size_t idx)
{
    (void)ask((uint8_t)(idx | DROP));
}

void clerk_end(void)
{
    if (to_clerk >= 0) {
        close(to_clerk);
        to_clerk = -1;
    }
}
