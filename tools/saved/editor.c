/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user's editor: see saved.h. */
#include <errno.h>
#include <img/memory.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "saved.h"

static const char *editor(void)
{
    static const char *const names[] = {"VISUAL", "EDITOR"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = getenv(names[i]);

        if (value && value[0]) {
            return value;
        }
    }
    return "vi";
}

static int wait_for(pid_t child, struct img_error *err)
{
    int status;

    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return img_fail_sys(err, errno, "cannot wait for the editor");
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    return img_fail(err, IMG_SYSTEM, "the editor ended with %s %d",
                    WIFEXITED(status) ? "exit code" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

/* ---- Signals. Who sits at the terminal speaks to the editor. */

static const char *volatile removed; /* by a signal that ends the process */

static void on_end(int signum)
{
    (void)unlink(removed);
    (void)signal(signum, SIG_DFL);
    (void)raise(signum);
}

static const struct {
    int signum;
    void (*handler)(int signum);
} signals[] = {
    {SIGINT, SIG_IGN}, {SIGQUIT, SIG_IGN}, {SIGTERM, on_end}, {SIGHUP, on_end}};
#define SIGNALS_NR (sizeof(signals) / sizeof(signals[0]))

static void take_signals(const char *path, struct sigaction *old)
{
    removed = path;
    for (size_t i = 0; i < SIGNALS_NR; i++) {
        struct sigaction action = {.sa_handler = signals[i].handler};

        sigemptyset(&action.sa_mask);
        (void)sigaction(signals[i].signum, NULL, &old[i]);
        if (old[i].sa_handler != SIG_IGN) {
            (void)sigaction(signals[i].signum, &action, NULL);
        }
    }
}

static void give_signals_back(const struct sigaction *old)
{
    for (size_t i = 0; i < SIGNALS_NR; i++) {
        (void)sigaction(signals[i].signum, &old[i], NULL);
    }
}

static int run(const char *command, const char *path,
               const struct sigaction *old, struct img_error *err)
{
    pid_t child = fork();

    if (child < 0) {
        return img_fail_sys(err, errno, "cannot start the editor");
    }
    if (child == 0) {
        give_signals_back(old);
        execl("/bin/sh", "sh", "-c", command, "imgchain", path, (char *)NULL);
        _exit(127);
    }
    return wait_for(child, err);
}

int saved_editor_run(const char *path, struct img_error *err)
{
    /* The editor may be a command with options; the path is a word of its own,
       whatever is in it. */
    IMG_AUTO(img_free_ptr)
    char *command = img_text(err, "%s \"$1\"", editor());
    struct sigaction old[SIGNALS_NR];
    int rc;

    if (!command) {
        return -1;
    }
    take_signals(path, old);
    rc = run(command, path, old, err);
    give_signals_back(old);
    return rc;
}
