/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes for people, and sizes from people. */
#include "size.h"

#include <img/checked.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "options.h"

const char *size_short(uint64_t len, char out[SIZE_TEXT_LEN])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB",
                                        "TiB",   "PiB", "EiB"};
    double value = (double)len;
    unsigned unit = 0;

    if (len < 1000) {
        (void)snprintf(out, SIZE_TEXT_LEN, "%u byte%s", (unsigned)len,
                       len == 1 ? "" : "s");
        return out;
    }
    while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, SIZE_TEXT_LEN, "%.3g %s", value, units[unit]);
    return out;
}

const char *size_exact(uint64_t len, char out[SIZE_TEXT_LEN])
{
    char human[SIZE_TEXT_LEN];

    size_short(len, human);
    if (len < 1000) {
        memcpy(out, human, sizeof(human));
    } else {
        (void)snprintf(out, SIZE_TEXT_LEN, "%.30s (%" PRIu64 " bytes)", human,
                       len);
    }
    return out;
}

/* Digits after the point beyond these do not matter even for E. */
#define FRACTION_DIGITS 9

static bool parse_digits(const char **pos, uint64_t *out)
{
    uint64_t value = 0;

    if (**pos < '0' || **pos > '9') {
        return false;
    }
    for (; **pos >= '0' && **pos <= '9'; (*pos)++) {
        if (!img_mul(value, 10, &value) ||
            !img_add(value, (uint64_t)(**pos - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

/* A fraction as billionths. */
static bool parse_fraction(const char **pos, uint64_t *out)
{
    uint64_t value = 0;
    unsigned digits = 0;

    for (; **pos >= '0' && **pos <= '9'; (*pos)++, digits++) {
        if (digits < FRACTION_DIGITS) {
            value = value * 10 + (uint64_t)(**pos - '0');
        }
    }
    if (digits == 0) {
        return false;
    }
    for (; digits < FRACTION_DIGITS; digits++) {
        value *= 10;
    }
    *out = value;
    return true;
}

int size_parse(const char *text, uint64_t *out, struct img_error *err)
{
    static const char letters[] = "BKMGTPE";
    const char *pos = text, *letter = letters;
    uint64_t whole, fraction = 0, unit = 1, part;

    if (!parse_digits(&pos, &whole)) {
        return img_fail(err, IMG_USAGE, "is no size");
    }
    if (*pos == '.') {
        pos++;
        if (!parse_fraction(&pos, &fraction)) {
            return img_fail(err, IMG_USAGE, "is no size");
        }
    }
    if (*pos) {
        letter = strchr(letters, *pos == 'k' || *pos == 'b' ? *pos - 32 : *pos);
        if (!letter || pos[1]) {
            return img_fail(err, IMG_USAGE,
                            "is no size: expected bytes, or a number and one "
                            "of k, M, G, T, P, E");
        }
        unit <<= 10 * (letter - letters);
    }
    if (fraction != 0 && unit == 1) {
        return img_fail(err, IMG_USAGE, "is no whole number of bytes");
    }
    /* unit / 10^9 of a fraction: split so that nothing overflows. */
    part = unit / 1000000000u * fraction +
           unit % 1000000000u * fraction / 1000000000u;
    if (!img_mul(whole, unit, &whole) || !img_add(whole, part, out)) {
        return img_fail(err, IMG_USAGE, "is too large");
    }
    return 0;
}
