/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations that fail: the one numbered fail_at, or all from there on.
 *
 * Sanitizers bring their own allocator, which cannot be made to fail: there
 * such a test only checks that the answer is the same each time.
 */
#ifndef TESTS_SCARCE_H
#define TESTS_SCARCE_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static long calls;
static long fail_at; /* 0: never */
static bool fail_after;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&         \
    !defined(__clang__) && defined(__GLIBC__)
#define CAN_FAIL 1
void *__libc_malloc(size_t len);
void *__libc_calloc(size_t nr, size_t len);
void *__libc_realloc(void *old, size_t len);

static bool is_refused(void)
{
    if (fail_at == 0) {
        return false;
    }
    calls++;
    bool is_hit = calls == fail_at || (fail_after && calls > fail_at);
    errno = is_hit ? ENOMEM : errno;
    return is_hit;
}

void *malloc(size_t len)
{
    return is_refused() ? NULL : __libc_malloc(len);
}

void *calloc(size_t nr, size_t len)
{
    return is_refused() ? NULL : __libc_calloc(nr, len);
}

void *realloc(void *old, size_t len)
{
    return is_refused() ? NULL : __libc_realloc(old, len);
}
#else
#define CAN_FAIL 0
#endif

#endif
