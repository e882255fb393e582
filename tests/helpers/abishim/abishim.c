/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abishim: a library for LD_PRELOAD that makes the kernel's Landlock look
 * older: ABISHIM_VERSION is what it answers when it is asked for its version.
 * The program's calls come by syscall(3).
 */
#include <dlfcn.h>
#include <linux/landlock.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define ARGS_NR 6

EXPORT long syscall(long number, ...)
{
    static long (*real)(long, ...);
    const char *version = getenv("ABISHIM_VERSION");
    long args[ARGS_NR];
    va_list list;

    va_start(list, number);
    for (int i = 0; i < ARGS_NR; i++) {
        args[i] = va_arg(list, long);
    }
    va_end(list);
    if (version && number == SYS_landlock_create_ruleset && args[0] == 0 &&
        args[2] == LANDLOCK_CREATE_RULESET_VERSION) {
        return strtol(version, NULL, 10);
    }
    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    }
    return real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}
