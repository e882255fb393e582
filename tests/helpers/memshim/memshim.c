/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memshim: a library for LD_PRELOAD that lets allocations fail.
 *
 *   MEMSHIM_FAIL   "N": the Nth one (from 1) fails; "N+": all from it on
 *   MEMSHIM_COUNT  a file of 8 bytes, in which they are counted
 *
 * The program may close itself in later, so the file is mapped at the start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The C library's own, under the names that it keeps for this. */
void *__libc_malloc(size_t len);
void *__libc_calloc(size_t nr, size_t len);
void *__libc_realloc(void *old, size_t len);
void *__libc_memalign(size_t align, size_t len);

static _Atomic uint64_t own_count;
static _Atomic uint64_t *count = &own_count;
static uint64_t fail_at; /* 0: none */
static bool is_lasting;

__attribute__((constructor)) static void init(void)
{
    const char *plan = getenv("MEMSHIM_FAIL");
    const char *path = getenv("MEMSHIM_COUNT");
    char *end;
    int fd;

    if (path) {
        fd = open(path, O_RDWR | O_CLOEXEC);
        void *map = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
                         MAP_SHARED, fd, 0);
        if (fd < 0 || map == MAP_FAILED) {
            _exit(120);
        }
        close(fd);
        count = map;
    }
    if (plan) {
        fail_at = strtoull(plan, &end, 10);
        is_lasting = *end == '+';
    }
    atomic_store(count, 0);
}

static bool is_refused(void)
{
    uint64_t number = atomic_fetch_add(count, 1) + 1;

    if (fail_at == 0 || (is_lasting ? number < fail_at : number != fail_at)) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

EXPORT void *malloc(size_t len)
{
    return is_refused() ? NULL : __libc_malloc(len);
}

EXPORT void *calloc(size_t nr, size_t len)
{
    return is_refused() ? NULL : __libc_calloc(nr, len);
}

EXPORT void *realloc(void *old, size_t len)
{
    return is_refused() ? NULL : __libc_realloc(old, len);
}

EXPORT void *memalign(size_t align, size_t len);
EXPORT void *memalign(size_t align, size_t len)
{
    return is_refused() ? NULL : __libc_memalign(align, len);
}

EXPORT void *aligned_alloc(size_t align, size_t len)
{
    return memalign(align, len);
}

EXPORT int posix_memalign(void **out, size_t align, size_t len)
{
    void *memory = memalign(align, len);

    if (!memory) {
        return ENOMEM;
    }
    *out = memory;
    return 0;
}
