/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMDK: the text descriptor (room: format; VMware "Virtual Disk Format 1.1",
 * "The Descriptor File"). Lines are comments, "key=value" with or without
 * quotation marks, or extents. Other keys are ignored; those that count must
 * stand once, since readers differ in which one they take.
 */
#include "vmdk_desc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#define SECTOR_LEN 512u
#define VALUE_MAX 1023u /* bytes of a value or a file name */
#define EXTENT_WORD_MAX 15u

/* What is left of a line. */
struct span {
    const char *at;
    size_t len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span span)
{
    while (span.len > 0 && is_blank(span.at[0])) {
        span.at++;
        span.len--;
    }
    while (span.len > 0 && is_blank(span.at[span.len - 1])) {
        span.len--;
    }
    return span;
}

static struct span next_line(struct span *text)
{
    const char *end = memchr(text->at, '\n', text->len);
    struct span line = {text->at,
                        end != NULL ? (size_t)(end - text->at) : text->len};
    size_t used = end != NULL ? line.len + 1 : line.len;

    text->at += used;
    text->len -= used;
    return trim(line);
}

static struct span next_word(struct span *line)
{
    struct span word = {line->at, 0};

    while (word.len < line->len && !is_blank(word.at[word.len])) {
        word.len++;
    }
    line->at += word.len;
    line->len -= word.len;
    *line = trim(*line);
    return word;
}

static bool is_word(struct span span, const char *word)
{
    return span.len == strlen(word) && memcmp(span.at, word, span.len) == 0;
}

static int fail_line(const char *what, struct span line, struct img_error *err)
{
    char shown[160];

    img_escape(line.at, line.len, shown, sizeof(shown));
    return img_fail(err, IMG_CORRUPT, "VMDK descriptor: %s in \"%s\"", what,
                    shown);
}

static bool parse_u64(struct span span, uint64_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < span.len; i++) {
        if (span.at[i] < '0' || span.at[i] > '9' ||
            !img_mul(value, 10, &value) ||
            !img_add(value, (uint64_t)(span.at[i] - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return span.len > 0;
}

/* One to eight hexadecimal digits. */
static bool parse_cid(struct span span, uint32_t *out)
{
    char digits[9] = {0};
    char *end;

    if (span.len == 0 || span.len > 8) {
        return false;
    }
    memcpy(digits, span.at, span.len);
    if (strspn(digits, "0123456789abcdefABCDEF") != span.len) {
        return false;
    }
    *out = (uint32_t)strtoul(digits, &end, 16);
    return true;
}

static struct span unquote(struct span value)
{
    if (value.len >= 2 && value.at[0] == '"' &&
        value.at[value.len - 1] == '"') {
        value.at++;
        value.len -= 2;
    }
    return value;
}

static int set_text(char **field, struct span value, struct span line,
                    struct img_error *err)
{
    value = unquote(value);
    if (*field != NULL) {
        return fail_line("found a key for the second time", line, err);
    }
    if (value.len == 0 || value.len > VALUE_MAX ||
        memchr(value.at, '"', value.len) != NULL) {
        return fail_line("expected 1 to 1023 bytes without quotation marks",
                         line, err);
    }
    *field = img_strndup(value.at, value.len, err);
    return *field != NULL ? 0 : -1;
}

static int set_cid(bool *has, uint32_t *field, struct span value,
                   struct span line, struct img_error *err)
{
    if (*has) {
        return fail_line("found a key for the second time", line, err);
    }
    if (!parse_cid(unquote(value), field)) {
        return fail_line("expected a hexadecimal number of 32 bits", line, err);
    }
    *has = true;
    return 0;
}

static int decode_pair(struct span line, struct img_vmdk_desc *out,
                       struct img_error *err)
{
    const char *equals = memchr(line.at, '=', line.len);

    if (equals == NULL) {
        return 0;
    }
    size_t key_len = (size_t)(equals - line.at);
    struct span key = trim((struct span){line.at, key_len});
    struct span value = trim((struct span){equals + 1, line.len - key_len - 1});
    if (is_word(key, "CID")) {
        return set_cid(&out->has_cid, &out->cid, value, line, err);
    }
    if (is_word(key, "parentCID")) {
        return set_cid(&out->has_parent_cid, &out->parent_cid, value, line,
                       err);
    }
    if (is_word(key, "createType")) {
        return set_text(&out->create_type, value, line, err);
    }
    if (is_word(key, "parentFileNameHint")) {
        return set_text(&out->parent_hint, value, line, err);
    }
    return 0;
}

static bool is_extent(struct span line)
{
    struct span access = next_word(&line);

    return is_word(access, "RW") || is_word(access, "RDONLY") ||
           is_word(access, "NOACCESS");
}

/* Room for one extent more; doubles, so at most as many as there are lines. */
static struct img_vmdk_desc_extent *add_extent(struct img_vmdk_desc *desc,
                                               struct img_error *err)
{
    size_t nr = desc->extents_nr;

    if ((nr & (nr - 1)) == 0) {
        size_t room = nr == 0 ? 1 : 2 * nr;
        struct img_vmdk_desc_extent *grown =
            img_calloc(room, sizeof(*grown), err);
        if (grown == NULL) {
            return NULL;
        }
        if (nr > 0) {
            memcpy(grown, desc->extents, nr * sizeof(*grown));
        }
        free(desc->extents);
        desc->extents = grown;
    }
    return &desc->extents[desc->extents_nr++];
}

static int decode_extent(struct span line, struct img_vmdk_desc *out,
                         struct img_error *err)
{
    struct span rest = line;
    uint64_t bytes;

    next_word(&rest);
    struct span size = next_word(&rest);
    struct span type = next_word(&rest);
    if (type.len == 0 || type.len > EXTENT_WORD_MAX) {
        return fail_line("expected a size and a type", line, err);
    }
    struct img_vmdk_desc_extent *extent = add_extent(out, err);
    if (extent == NULL) {
        return -1;
    }
    memcpy(extent->type, type.at, type.len);
    if (!parse_u64(size, &extent->sectors) ||
        !img_add(out->sectors, extent->sectors, &out->sectors) ||
        !img_mul(out->sectors, SECTOR_LEN, &bytes)) {
        return fail_line("expected a number of sectors below 2^54", line, err);
    }
    if (rest.len == 0 || rest.at[0] != '"') {
        return 0;
    }
    const char *end = memchr(rest.at + 1, '"', rest.len - 1);
    if (end == NULL) {
        return fail_line("expected a second quotation mark", line, err);
    }
    struct span name = {rest.at, (size_t)(end - rest.at) + 1};
    return set_text(&extent->name, name, line, err);
}

int img_vmdk_desc_decode(const char *text, size_t len,
                         struct img_vmdk_desc *out, struct img_error *err)
{
    struct span rest = {text, strnlen(text, len)};

    while (rest.len > 0) {
        struct span line = next_line(&rest);
        if (line.len == 0 || line.at[0] == '#') {
            continue;
        }
        int result = is_extent(line) ? decode_extent(line, out, err)
                                     : decode_pair(line, out, err);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

void img_vmdk_desc_fini(struct img_vmdk_desc *desc)
{
    for (size_t i = 0; i < desc->extents_nr; i++) {
        free(desc->extents[i].name);
    }
    free(desc->extents);
    free(desc->create_type);
    free(desc->parent_hint);
}
