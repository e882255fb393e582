/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bounds: see bounds.h.
 *
 * A limit that is reached must give a message and an exit code. Memory that
 * cannot be had does so by itself; but the stack grows by page faults, and
 * one that fails is a signal. So the stack is made as large as it will be
 * used before a limit of the address space can be reached.
 */
#include "bounds.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "signals.h"

/* Far more than the deepest call uses: paths and lines are its largest. */
#define STACK_LEN (512u << 10)
#define PAGE_LEN 4096u

static struct {
    uint64_t address_space;
    unsigned seconds;
    int exit_code;
    volatile sig_atomic_t is_over;
    char line[128];
    size_t line_len;
} bounds;

static void __attribute__((noinline)) touch_stack(void)
{
    volatile char stack[STACK_LEN];

    for (size_t i = 0; i < sizeof(stack); i += PAGE_LEN) {
        stack[i] = 0;
    }
}

static void on_time_over(int signum)
{
    (void)signum;
    if (!bounds.is_over) {
        bounds.is_over = 1;
        if (signals_cancel()) {
            return;
        }
    }
    (void)!write(STDERR_FILENO, bounds.line, bounds.line_len);
    _exit(bounds.exit_code);
}

/* The caller's limit on processor time (ulimit -t). */
static void on_processor_time(int signum)
{
    static const char text[] = "imgchain: stopped: the process has used all "
                               "the processor time it may (ulimit -t)\n";

    (void)signum;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(bounds.exit_code);
}

/*
 * At the soft limit comes a signal that can be told of, at the hard one the
 * end. "ulimit -t" sets both to the same: the soft one is put before it.
 */
static void separate_processor_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CPU, &limit) == 0 && limit.rlim_max != RLIM_INFINITY &&
        limit.rlim_max > 1 && limit.rlim_cur >= limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max - 1;
        (void)setrlimit(RLIMIT_CPU, &limit);
    }
}

static int handle(int signum, void (*handler)(int), struct img_error *err)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    if (sigaction(signum, &action, NULL) < 0) {
        return img_fail_sys(err, errno, "cannot handle signal %d", signum);
    }
    return 0;
}

static int limit_time(unsigned seconds, unsigned grace_s, struct img_error *err)
{
    const struct itimerval timer = {
        .it_value = {.tv_sec = (time_t)seconds},
        .it_interval = {.tv_sec = (time_t)grace_s},
    };

    bounds.seconds = seconds;
    bounds.line_len = (size_t)snprintf(
        bounds.line, sizeof(bounds.line),
        "imgchain: stopped: not done after %u s (--max-time)\n", seconds);
    if (handle(SIGALRM, on_time_over, err) < 0) {
        return -1;
    }
    if (setitimer(ITIMER_REAL, &timer, NULL) < 0) {
        return img_fail_sys(err, errno, "--max-time: cannot set a timer");
    }
    return 0;
}

static int limit_address_space(uint64_t len, struct img_error *err)
{
    const struct rlimit limit = {.rlim_cur = len, .rlim_max = len};

    bounds.address_space = len;
    if (setrlimit(RLIMIT_AS, &limit) < 0) {
        return img_fail_sys(err, errno,
                            "--max-address-space: cannot set the limit");
    }
    return 0;
}

int bounds_apply(const struct common_values *common, int exit_code,
                 unsigned grace_s, struct img_error *err)
{
    struct rlimit now;

    bounds.exit_code = exit_code;
    separate_processor_limits();
    if (handle(SIGXCPU, on_processor_time, err) < 0) {
        return -1;
    }
    if (common->max_address_space > 0 ||
        (getrlimit(RLIMIT_AS, &now) == 0 && now.rlim_cur != RLIM_INFINITY)) {
        touch_stack();
    }
    if (common->max_address_space > 0 &&
        limit_address_space(common->max_address_space, err) < 0) {
        return -1;
    }
    return common->max_time > 0 ? limit_time(common->max_time, grace_s, err)
                                : 0;
}

bool bounds_is_time_over(unsigned *seconds)
{
    *seconds = bounds.seconds;
    return bounds.is_over != 0;
}

uint64_t bounds_address_space(void)
{
    return bounds.address_space;
}
