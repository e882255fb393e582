/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocation and scope-bound cleanup.
 *
 * IMG_AUTO(free_function) runs free_function on the variable when it leaves
 * scope; img_steal() hands the value on and leaves NULL behind.
 */
#ifndef IMG_MEMORY_H
#define IMG_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

/*
 * Zeroed memory for NR items of SIZE bytes, NULL with ERR filled in when the
 * product overflows or memory is out. Callers bound NR before; this is the
 * last line, not the first. Free with free().
 */
void *img_calloc(size_t nr, size_t size, struct img_error *err);

/* Memory for direct I/O: LEN bytes aligned to 4096. Free with free(). */
void *img_alloc_aligned(size_t len, struct img_error *err);

/* A copy of the LEN bytes at TEXT with a terminating NUL. Free with free(). */
char *img_strndup(const char *text, size_t len, struct img_error *err);

/* printf into fresh memory; NULL with ERR filled in. Free with free(). */
char *img_text(struct img_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Make the LEN bytes at IN printable on one terminal line: control bytes,
 * DEL, backslash and bytes that are not UTF-8 become \xNN; C1 controls and
 * the bidirectional override characters too. Always terminates OUT (when
 * SIZE > 0); output that does not fit ends in "...". Returns strlen(out).
 */
size_t img_escape(const char *in, size_t len, char *out, size_t size);

/* Length in bytes (1 to 4) of the valid UTF-8 sequence at P, 0 if none. */
size_t img_utf8_len(const uint8_t *p, size_t len);

#define IMG_AUTO(function) __attribute__((cleanup(function)))

/* For IMG_AUTO on a pointer from malloc: IMG_AUTO(img_free_ptr) char *p. */
void img_free_ptr(void *pointer_to_pointer);

#define img_steal(pointer)                                                     \
    __extension__({                                                            \
        __auto_type stolen_ = *(pointer);                                      \
        *(pointer) = NULL;                                                     \
        stolen_;                                                               \
    })

#endif
