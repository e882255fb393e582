/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals. Handlers only set flags. Commands without long work leave SIGINT,
 * SIGTERM and SIGHUP alone: they have nothing to clean up.
 */
#include "signals.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t cancelled;
static volatile sig_atomic_t can_cancel;
static volatile sig_atomic_t usr1;

static void on_cancel(int signum)
{
    (void)signum;
    cancelled = 1;
}

static void on_usr1(int signum)
{
    (void)signum;
    usr1 = 1;
}

static void install(int signum, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigemptyset(&action.sa_mask);
    /* Fails only for a signal number that does not exist. */
    (void)sigaction(signum, &action, NULL);
}

void signals_init(void)
{
    install(SIGPIPE, SIG_IGN, 0);
    /* Past RLIMIT_FSIZE a write fails with a message and is cleaned up. */
    install(SIGXFSZ, SIG_IGN, 0);
    install(SIGUSR1, on_usr1, SA_RESTART);
}

/* As nohup leaves it. */
static bool is_ignored(int signum)
{
    struct sigaction action;

    return sigaction(signum, NULL, &action) == 0 &&
           action.sa_handler == SIG_IGN;
}

const volatile int *signals_catch(void)
{
    const int once = (int)(SA_RESTART | (unsigned)SA_RESETHAND);

    _Static_assert(sizeof(sig_atomic_t) == sizeof(int), "one flag type");

    install(SIGINT, on_cancel, once);
    install(SIGTERM, on_cancel, once);
    if (!is_ignored(SIGHUP)) {
        install(SIGHUP, on_cancel, once);
    }
    can_cancel = 1;
    return &cancelled;
}

bool signals_cancel(void)
{
    cancelled = 1;
    return can_cancel != 0;
}

bool signals_take_usr1(void)
{
    bool was = usr1 != 0;

    usr1 = 0;
    return was;
}
