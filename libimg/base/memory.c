/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocation that reports instead of aborting. Room: libimg/base.
 */
#include <img/memory.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What O_DIRECT needs on every file system in use: the page size. */
#define DIRECT_ALIGN 4096u

void *img_calloc(size_t nr, size_t size, struct img_error *err)
{
    void *memory = NULL;
    size_t len;

    /* calloc(0) may return NULL, which would look like a failure. */
    if (!__builtin_mul_overflow(nr, size, &len)) {
        memory = calloc(len > 0 ? len : 1, 1);
    }
    if (memory == NULL) {
        img_fail_memory(err);
    }
    return memory;
}

void *img_alloc_aligned(size_t len, struct img_error *err)
{
    size_t blocks = len / DIRECT_ALIGN + 1;
    void *memory = NULL;

    if (blocks > SIZE_MAX / DIRECT_ALIGN ||
        posix_memalign(&memory, DIRECT_ALIGN, blocks * DIRECT_ALIGN) != 0) {
        img_fail_memory(err);
        return NULL;
    }
    return memory;
}

char *img_strndup(const char *text, size_t len, struct img_error *err)
{
    char *copy = len < SIZE_MAX ? malloc(len + 1) : NULL;

    if (copy == NULL) {
        img_fail_memory(err);
        return NULL;
    }
    if (len > 0) {
        memcpy(copy, text, len);
    }
    copy[len] = '\0';
    return copy;
}

char *img_text(struct img_error *err, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, fmt);
    len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0) {
        img_fail_memory(err);
        return NULL;
    }
    return text;
}

void img_free_ptr(void *pointer_to_pointer)
{
    void *memory;

    memcpy(&memory, pointer_to_pointer, sizeof(memory));
    free(memory);
}
