/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors: the one convention of the whole library.
 *
 * A function that can fail takes a struct img_error as its last parameter
 * (never NULL, owned by the caller) and returns 0, or -1 after it filled the
 * error in. Nothing below tools/ prints.
 *
 * A text says what is wrong, what was found and what was expected. It does
 * not repeat the path: that is a field of its own, set by whoever knows it.
 */
#ifndef IMG_ERROR_H
#define IMG_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

enum img_code {
    IMG_OK = 0,
    IMG_USAGE,       /* the caller asked for something that makes no sense */
    IMG_SYSTEM,      /* a system call failed; sys_errno says how */
    IMG_IO,          /* reading data failed after the file was opened */
    IMG_NOT_FOUND,   /* a file does not exist */
    IMG_DENIED,      /* permission or --root policy forbids it */
    IMG_LOCKED,      /* another process uses the file */
    IMG_FORMAT,      /* the file is not of the format it was said to be */
    IMG_CORRUPT,     /* the bytes break the format's specification */
    IMG_UNDECLARED,  /* a backing format is not recorded, and probing is off */
    IMG_UNSUPPORTED, /* valid, but this program cannot read it */
    IMG_LIMIT,       /* a named limit (depth, memory, count) is exceeded */
    IMG_MEMORY,      /* out of memory */
    IMG_LOOP,        /* a backing chain leads back to one of its files */
    IMG_CHANGED,     /* a file changed while it was looked at */
    IMG_CANCELLED,   /* the caller asked to stop */
    IMG_REFUSED,     /* a running QEMU, or libvirt, said no; the text has its
                        words */
};

#define IMG_ERROR_PATH_MAX 4096
#define IMG_ERROR_TEXT_MAX 1024

struct img_error {
    enum img_code code;
    int sys_errno;                 /* 0 when no system call is behind it */
    bool has_off;                  /* off is meaningful */
    uint64_t off;                  /* byte offset in the file that path names */
    char path[IMG_ERROR_PATH_MAX]; /* raw bytes, may be "" */
    char text[IMG_ERROR_TEXT_MAX]; /* one line, already escaped */
};

/* Forget whatever the error holds. */
IMG_PUBLIC void img_error_clear(struct img_error *err);

/* Fill ERR in (path and offset are cleared) and return -1. */
IMG_PUBLIC int img_fail(struct img_error *err, enum img_code code,
                        const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with a byte offset in the file. */
IMG_PUBLIC int img_fail_at(struct img_error *err, enum img_code code,
                           uint64_t off, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * A system call failed with SYS_ERRNO: the text becomes "<fmt>: <strerror>".
 * The code follows from the errno: ENOENT and ENOTDIR are IMG_NOT_FOUND;
 * EACCES, EPERM, EROFS, EXDEV are IMG_DENIED; ELOOP is IMG_LOOP; ENOMEM is
 * IMG_MEMORY; EIO is IMG_IO; anything else is IMG_SYSTEM.
 */
IMG_PUBLIC int img_fail_sys(struct img_error *err, int sys_errno,
                            const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Out of memory. Returns -1. */
IMG_PUBLIC int img_fail_memory(struct img_error *err);

/* Name the file the error is about, unless one is named already. */
IMG_PUBLIC void img_error_set_path(struct img_error *err, const char *path);

/*
 * Write "PATH: TEXT (offset N)" into BUF as one escaped line, always
 * terminated. Returns the length it would have needed, as snprintf does.
 */
IMG_PUBLIC size_t img_error_format(const struct img_error *err, char *buf,
                                   size_t size);

/* A stable lower-case word for a code, for JSON ("corrupt", "locked", ...). */
IMG_PUBLIC const char *img_code_name(enum img_code code);

#ifdef __cplusplus
}
#endif
#endif
