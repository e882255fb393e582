/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of the sandbox, for sandbox*.c only. */
#ifndef SANDBOX_IMPL_H
#define SANDBOX_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/roots.h>

/*
 * Sanitizers open files and start a tracer at the end of the process: there
 * the filter is made but not loaded, and /proc stays readable.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED true
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED false
#endif

#define SANDBOX_FDS_MAX 8u
/* A comparison has at most 8 threads unless it is told otherwise. */
#define SANDBOX_RINGS_MAX 8u

enum sandbox_step {
    SANDBOX_OPENING, /* images are opened */
    SANDBOX_READING, /* all is open */
};

struct sandbox {
    unsigned needs;
    const struct img_roots *roots; /* of the first step; NULL: anywhere */
    int fds[SANDBOX_FDS_MAX];      /* that may be written to */
    size_t fds_nr;
    int rings[SANDBOX_RINGS_MAX];
    size_t rings_nr;
};

/* -- sandbox_landlock.c: what of the file system can be reached */

/* The kernel's version of Landlock; 0: it has none for us. */
int sandbox_landlock_abi(void);
/* What the kernel's ABI does not restrict, as a list; NULL: nothing. */
const char *sandbox_landlock_lacks(int abi);
int sandbox_landlock(const struct sandbox *sandbox, enum sandbox_step step,
                     int abi, struct img_error *err);

/* -- sandbox_filter.c: a program for the kernel's system call filter */

/* One way in which a call is allowed: the low half of argument ARG, masked,
   has this value. */
struct sandbox_case {
    uint8_t arg;
    uint32_t mask, value;
};

/* Cases of a call; none: whatever its arguments are. */
struct sandbox_call {
    const struct sandbox_case *cases;
    size_t cases_nr;
    int number;
    bool is_absent; /* refused as a kernel without it does, for a fallback */
};

/*
 * Load a filter that allows CALLS (sorted here) and refuses all others with
 * EPERM, those that are too new to be known with ENOSYS. For all threads of
 * the process. IMG_UNSUPPORTED where the kernel or this machine has none.
 */
int sandbox_filter_load(struct sandbox_call *calls, size_t nr,
                        struct img_error *err);

/* -- sandbox_calls.c: which calls are allowed */

int sandbox_calls_limit(const struct sandbox *sandbox, enum sandbox_step step,
                        struct img_error *err);

#endif
