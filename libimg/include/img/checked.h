/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arithmetic on numbers that came from a file. Each helper returns false, and
 * leaves *out alone, when the result does not fit; nothing ever wraps.
 * Offsets are uint64_t and at most INT64_MAX (IMG_OFF_MAX).
 */
#ifndef IMG_CHECKED_H
#define IMG_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

#include <img/visibility.h>

#define IMG_OFF_MAX ((uint64_t)INT64_MAX)

static inline IMG_MUST_USE bool img_add(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum) || sum > IMG_OFF_MAX) {
        return false;
    }
    *out = sum;
    return true;
}

static inline IMG_MUST_USE bool img_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product) || product > IMG_OFF_MAX) {
        return false;
    }
    *out = product;
    return true;
}

/* Is [off, off + len) inside [0, size)? Never overflows. */
static inline bool img_range_fits(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

/* ceil(a / b), b > 0; does not overflow. */
static inline uint64_t img_div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static inline uint64_t img_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t img_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Round down to a multiple of ALIGN, a power of two. */
static inline uint64_t img_align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

/* Round up to a multiple of ALIGN, a power of two; v + align must fit. */
static inline uint64_t img_align_up(uint64_t v, uint64_t align)
{
    return img_align_down(v + align - 1, align);
}

#endif
