/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When two values of a domain's XML are the same: see abi_impl.h. */
#include "abi_impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <img/checked.h>

/* Decimal or, after 0x, hexadecimal; nothing before or behind it. After a 0 it
   is octal to libvirt in some places and decimal in others: what is not the
   same in both is no number. */
static bool read_number(const char *text, uint64_t *out)
{
    bool is_hex = strncasecmp(text, "0x", 2) == 0;
    const char *digits = is_hex ? text + 2 : text;
    char *end;

    if (!isxdigit((unsigned char)*digits)) {
        return false;
    }
    errno = 0;
    *out = strtoull(digits, &end, is_hex ? 16 : 10);
    return errno == 0 && *end == '\0' &&
           (is_hex || *digits != '0' || strtoull(digits, NULL, 8) == *out);
}

static bool is_same_word(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_same_number(const char *a, const char *b)
{
    uint64_t one, other;

    return is_same_word(a, b) ||
           (read_number(a ? a : "0", &one) &&
            read_number(b ? b : "0", &other) && one == other);
}

static bool is_same_uuid(const char *a, const char *b)
{
    while (*a || *b) {
        a += strspn(a, "- \t\r\n");
        b += strspn(b, "- \t\r\n");
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) {
            return false;
        }
        a += *a != '\0';
        b += *b != '\0';
    }
    return true;
}

/* Bytes of UNIT, as libvirt reads it; 0: it is none. */
static uint64_t unit_len(const char *unit)
{
    static const char letters[] = "kmgtpe";
    const char *letter;
    uint64_t step = 1024, len = 1;

    if (strcasecmp(unit, "b") == 0 || strcasecmp(unit, "bytes") == 0) {
        return 1;
    }
    letter = *unit ? strchr(letters, tolower((unsigned char)*unit)) : NULL;
    if (!letter) {
        return 0;
    }
    if (strcasecmp(unit + 1, "b") == 0) {
        step = 1000;
    } else if (unit[1] && strcasecmp(unit + 1, "ib") != 0) {
        return 0;
    }
    for (const char *p = letters; p <= letter; p++) {
        len *= step;
    }
    return len;
}

static bool read_size(const struct abi_value *value, uint64_t *out_kib)
{
    const char *unit = virt_attribute(value->node, "unit");
    uint64_t number, len;

    return value->text && read_number(value->text, &number) &&
           img_mul(number, unit_len(unit ? unit : "KiB"), &len) &&
           unit_len(unit ? unit : "KiB") > 0 &&
           (*out_kib = img_div_up(len, 1024), true);
}

/* What cannot be read is still the same as itself. */
static bool is_same_size(const struct abi_value *a, const struct abi_value *b)
{
    uint64_t one, other;

    if (is_same_word(a->text, b->text) &&
        is_same_word(virt_attribute(a->node, "unit"),
                     virt_attribute(b->node, "unit"))) {
        return true;
    }
    return read_size(a, &one) && read_size(b, &other) && one == other;
}

static bool read_length(const struct abi_value *value, uint64_t *out)
{
    const char *unit = virt_attribute(value->node, "unit");
    uint64_t number;

    return value->text && unit && unit_len(unit) > 0 &&
           read_number(value->text, &number) &&
           img_mul(number, unit_len(unit), out);
}

static bool is_same_length(const struct abi_value *a, const struct abi_value *b)
{
    uint64_t one, other;

    if (is_same_word(a->text, b->text) &&
        is_same_word(virt_attribute(a->node, "unit"),
                     virt_attribute(b->node, "unit"))) {
        return true;
    }
    return read_length(a, &one) && read_length(b, &other) && one == other;
}

bool abi_is_same(enum abi_class class, const struct abi_value *a,
                 const struct abi_value *b)
{
    switch (class) {
    case ABI_NUMBER:
        return is_same_number(a->text, b->text);
    case ABI_SIZE:
        return is_same_size(a, b);
    case ABI_LENGTH:
        return is_same_length(a, b);
    case ABI_UUID:
        return a->text && b->text && is_same_uuid(a->text, b->text);
    case ABI_WORD:
        return a->text && b->text && strcasecmp(a->text, b->text) == 0;
    case ABI_STAYS:
    case ABI_SEEN:
    case ABI_TEXT:
    case ABI_CACHE:
    case ABI_NET:
    case ABI_KEPT:
    case ABI_FREE:
        break;
    }
    return a->text && b->text && strcmp(a->text, b->text) == 0;
}

static bool is_word(const char *text, const char *word)
{
    return text && strcmp(text, word) == 0;
}

/* The disk tells the guest that what is written may be lost. */
static bool is_written_back(const char *cache)
{
    return !is_word(cache, "writethrough") && !is_word(cache, "directsync");
}

/* 2: the card is a device of the host, 1: another host's program is behind it,
   which has its say in what the card can do. */
static int net_kind(const char *type)
{
    return is_word(type, "hostdev")                              ? 2
           : is_word(type, "vdpa") || is_word(type, "vhostuser") ? 1
                                                                 : 0;
}

enum abi_class abi_resolve(enum abi_class class, const char *old,
                           const char *new)
{
    int was = net_kind(old), is = net_kind(new);

    if (class == ABI_CACHE) {
        return is_written_back(old) == is_written_back(new) ? ABI_FREE
                                                            : ABI_SEEN;
    }
    if (class != ABI_NET) {
        return class;
    }
    return is_word(old, new ? new : "") || (was == 0 && is == 0) ? ABI_FREE
           : was == 2 || is == 2                                 ? ABI_STAYS
                                                                 : ABI_SEEN;
}

static bool has_same_attributes(const struct virt_node *a,
                                const struct virt_node *b)
{
    if (a->attributes_nr != b->attributes_nr) {
        return false;
    }
    for (size_t i = 0; i < a->attributes_nr; i++) {
        const char *other = virt_attribute(b, a->attributes[i].name);

        if (!other || strcmp(other, a->attributes[i].value) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_same_text(const struct virt_node *a, const struct virt_node *b)
{
    const char *one = a->text && !a->is_mixed ? a->text : "";
    const char *other = b->text && !b->is_mixed ? b->text : "";

    return strcmp(one, other) == 0;
}

/* The element after NODE in TOP, and how many levels lie between them; NULL:
   TOP is through. */
static const struct virt_node *step(const struct virt_node *node,
                                    const struct virt_node *top, long *levels)
{
    *levels = 1;
    if (node->first) {
        return node->first;
    }
    for (*levels = 0; node != top && !node->next; --*levels) {
        node = node->parent;
    }
    return node == top ? NULL : node->next;
}

bool abi_is_same_tree(const struct virt_node *a, const struct virt_node *b)
{
    const struct virt_node *a_top = a, *b_top = b;
    long a_levels = 0, b_levels = 0;

    while (a && b) {
        if (a_levels != b_levels || strcmp(a->name, b->name) != 0 ||
            !has_same_attributes(a, b) || !is_same_text(a, b)) {
            return false;
        }
        a = step(a, a_top, &a_levels);
        b = step(b, b_top, &b_levels);
    }
    return !a && !b;
}
