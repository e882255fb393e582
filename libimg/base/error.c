/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error value: filling it in and turning it into one line of text.
 * Room: libimg/base. No allocation, so that running out of memory can be
 * reported like anything else.
 */
#include <img/error.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <img/memory.h>

void img_error_clear(struct img_error *err)
{
    err->code = IMG_OK;
    err->sys_errno = 0;
    err->has_off = false;
    err->off = 0;
    err->path[0] = '\0';
    err->text[0] = '\0';
}

static void set_text(struct img_error *err, enum img_code code, const char *fmt,
                     va_list args) __attribute__((format(printf, 3, 0)));

static void set_text(struct img_error *err, enum img_code code, const char *fmt,
                     va_list args)
{
    img_error_clear(err);
    err->code = code;
    if (vsnprintf(err->text, sizeof(err->text), fmt, args) < 0) {
        err->text[0] = '\0';
    }
}

int img_fail(struct img_error *err, enum img_code code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set_text(err, code, fmt, args);
    va_end(args);
    return -1;
}

int img_fail_at(struct img_error *err, enum img_code code, uint64_t off,
                const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set_text(err, code, fmt, args);
    va_end(args);
    err->has_off = true;
    err->off = off;
    return -1;
}

static enum img_code code_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT:
    case ENOTDIR:
        return IMG_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case EXDEV:
        return IMG_DENIED;
    case ELOOP:
        return IMG_LOOP;
    case ENOMEM:
        return IMG_MEMORY;
    case EIO:
        return IMG_IO;
    default:
        return IMG_SYSTEM;
    }
}

int img_fail_sys(struct img_error *err, int sys_errno, const char *fmt, ...)
{
    char reason[128];
    size_t used;
    va_list args;

    va_start(args, fmt);
    set_text(err, code_of_errno(sys_errno), fmt, args);
    va_end(args);
    err->sys_errno = sys_errno;
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s",
             strerror_r(sys_errno, reason, sizeof(reason)));
    return -1;
}

int img_fail_memory(struct img_error *err)
{
    return img_fail(err, IMG_MEMORY, "out of memory");
}

void img_error_set_path(struct img_error *err, const char *path)
{
    if (err->path[0] == '\0') {
        snprintf(err->path, sizeof(err->path), "%s", path);
    }
}

size_t img_error_format(const struct img_error *err, char *buf, size_t size)
{
    char path[IMG_ERROR_PATH_MAX];
    char where[48] = "";
    int len;

    img_escape(err->path, strlen(err->path), path, sizeof(path));
    if (err->has_off) {
        snprintf(where, sizeof(where), " (offset %llu)",
                 (unsigned long long)err->off);
    }
    len = snprintf(buf, size, "%s%s%s%s", path, path[0] != '\0' ? ": " : "",
                   err->text, where);
    return len < 0 ? 0 : (size_t)len;
}

const char *img_code_name(enum img_code code)
{
    static const char *const names[] = {
        [IMG_OK] = "ok",
        [IMG_USAGE] = "usage",
        [IMG_SYSTEM] = "system",
        [IMG_IO] = "io",
        [IMG_NOT_FOUND] = "not-found",
        [IMG_DENIED] = "denied",
        [IMG_LOCKED] = "locked",
        [IMG_FORMAT] = "format",
        [IMG_CORRUPT] = "corrupt",
        [IMG_UNDECLARED] = "undeclared",
        [IMG_UNSUPPORTED] = "unsupported",
        [IMG_LIMIT] = "limit",
        [IMG_MEMORY] = "memory",
        [IMG_LOOP] = "loop",
        [IMG_CHANGED] = "changed",
        [IMG_CANCELLED] = "cancelled",
        [IMG_REFUSED] = "refused",
    };
    size_t idx = (size_t)code;

    return idx < sizeof(names) / sizeof(names[0]) ? names[idx] : "unknown";
}
