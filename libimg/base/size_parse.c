/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room base: sizes as people write them. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/size.h>

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

/* As map prints offsets; no suffix, since E is a digit here. */
static int parse_hex(const char *digits, uint64_t *out, struct img_error *err)
{
    size_t nr = strspn(digits, "0123456789abcdefABCDEF");

    if (nr == 0 || digits[nr]) {
        return img_fail(err, IMG_USAGE, "is no size");
    }
    if (nr > 16) {
        return img_fail(err, IMG_USAGE, "is too large");
    }
    *out = strtoull(digits, NULL, 16);
    return 0;
}

int img_size_parse(const char *text, uint64_t *out, struct img_error *err)
{
    static const char letters[] = "BKMGTPE";
    const char *pos = text, *letter = letters;
    uint64_t whole, fraction = 0, unit = 1, part;

    if (pos[0] == '0' && (pos[1] == 'x' || pos[1] == 'X')) {
        return parse_hex(pos + 2, out, err);
    }
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
        letter = strchr(letters, toupper((unsigned char)*pos));
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
