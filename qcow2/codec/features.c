/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unknown incompatible features, by the names the image has for them
 * (specification: "Header", incompatible_features; "Feature name table").
 *
 * Room: qcow2/codec, pure.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <img/memory.h>
#include <qcow2/extensions.h>

#define OFF_INCOMPATIBLE_FEATURES 72u
/* "63 (46 bytes of name, each as \xNN), " */
#define BIT_TEXT_MAX 224
/* So many bits are spelled out; an image that sets more is no puzzle. */
#define BITS_NAMED_MAX 3u

static const char *feature_name(const struct qcow2_extensions *extensions,
                                uint32_t bit)
{
    for (size_t i = 0; i < extensions->features_nr; i++) {
        const struct qcow2_feature_name *f = &extensions->features[i];

        if (f->kind == QCOW2_FEATURE_INCOMPATIBLE && f->bit == bit) {
            return f->name;
        }
    }
    return NULL;
}

/* "5" or "5 (name)". */
static void format_bit(const struct qcow2_extensions *extensions, uint32_t bit,
                       char *out)
{
    const char *name = feature_name(extensions, bit);
    char escaped[BIT_TEXT_MAX - 16];

    if (name == NULL || name[0] == '\0') {
        (void)snprintf(out, BIT_TEXT_MAX, "%" PRIu32, bit);
        return;
    }
    img_escape(name, strlen(name), escaped, sizeof(escaped));
    (void)snprintf(out, BIT_TEXT_MAX, "%" PRIu32 " (%s)", bit, escaped);
}

int qcow2_features_check(const struct qcow2_header *header,
                         const struct qcow2_extensions *extensions,
                         struct img_error *err)
{
    uint64_t unknown = header->incompatible & ~QCOW2_INCOMPAT_KNOWN;
    char text[(BITS_NAMED_MAX + 1) * BIT_TEXT_MAX] = "";
    size_t len = 0;

    if (unknown == 0) {
        return 0;
    }
    for (uint32_t named = 0; unknown != 0; named++) {
        uint32_t bit = (uint32_t)__builtin_ctzll(unknown);
        char one[BIT_TEXT_MAX];

        if (named == BITS_NAMED_MAX) {
            (void)snprintf(text + len, sizeof(text) - len, " and %d more",
                           __builtin_popcountll(unknown));
            break;
        }
        format_bit(extensions, bit, one);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
                                named == 0 ? "" : ", ", one);
        unknown &= unknown - 1;
    }
    return img_fail_at(err, IMG_UNSUPPORTED, OFF_INCOMPATIBLE_FEATURES,
                       "incompatible_features: found unknown bit %s, expected"
                       " only bits 0 to 4",
                       text);
}
