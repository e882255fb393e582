/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What reading a document shares: see reader.h. */
#include "reader.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

const char *const virt_locations[] = {"no", "internal", "external", "manual",
                                      NULL};

/* "disk 'vda': " and what FMT says, as one line of printable text. */
static void put_text(const struct virt_reader *reader,
                     char out[IMG_ERROR_TEXT_MAX], const char *fmt,
                     va_list args) __attribute__((format(printf, 3, 0)));

static void put_text(const struct virt_reader *reader,
                     char out[IMG_ERROR_TEXT_MAX], const char *fmt,
                     va_list args)
{
    char raw[IMG_ERROR_TEXT_MAX];
    int used = 0;

    if (reader->subject) {
        used = snprintf(raw, sizeof(raw) / 2, "%s '%s': ", reader->subject_kind,
                        reader->subject);
    }
    if (used < 0 || (size_t)used >= sizeof(raw) / 2) {
        used = 0; /* too long a name to repeat */
    }
    if (vsnprintf(raw + used, sizeof(raw) - (size_t)used, fmt, args) < 0) {
        raw[used] = '\0';
    }
    img_escape(raw, strlen(raw), out, IMG_ERROR_TEXT_MAX);
}

static void out_of_memory(struct virt_reader *reader)
{
    if (!reader->is_failed) {
        reader->is_failed = true;
        (void)img_fail_memory(reader->err);
    }
}

/* Room for one more; NULL without memory. */
static struct chain_virt_refusal *grow(struct chain_virt_refusals *refusals)
{
    size_t nr = refusals->nr;

    /* At 0, 16, 32, ... there is no room left. */
    if (nr % 16 == 0) {
        struct chain_virt_refusal *grown =
            reallocarray(refusals->list, nr + 16, sizeof(*grown));

        if (!grown) {
            return NULL;
        }
        refusals->list = grown;
    }
    return &refusals->list[nr];
}

void virt_refuse(struct virt_reader *reader, const struct virt_node *node,
                 const char *id, const char *fmt, ...)
{
    struct chain_virt_refusals *refusals = reader->refusals;
    struct chain_virt_refusal *refusal;
    char text[IMG_ERROR_TEXT_MAX];
    va_list args;

    if (refusals->nr == CHAIN_VIRT_MAX_REFUSALS) {
        refusals->left_off_nr++;
        return;
    }
    va_start(args, fmt);
    put_text(reader, text, fmt, args);
    va_end(args);
    refusal = grow(refusals);
    if (!refusal || !(refusal->text = strdup(text))) {
        out_of_memory(reader);
        return;
    }
    refusal->id = id;
    refusal->line = node ? node->line : 0;
    refusals->nr++;
}

void virt_fail(struct virt_reader *reader, enum img_code code,
               const struct virt_node *node, const char *fmt, ...)
{
    char text[IMG_ERROR_TEXT_MAX];
    va_list args;

    if (reader->is_failed) {
        return;
    }
    reader->is_failed = true;
    va_start(args, fmt);
    put_text(reader, text, fmt, args);
    va_end(args);
    img_fail(reader->err, code, "line %u: %s", node->line, text);
}

char *virt_copy(struct virt_reader *reader, const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy) {
        out_of_memory(reader);
    }
    return copy;
}

char *virt_copy_attribute(struct virt_reader *reader,
                          const struct virt_node *node, const char *name)
{
    return virt_copy(reader, virt_attribute(node, name));
}

char *virt_copy_child(struct virt_reader *reader, const struct virt_node *node,
                      const char *name)
{
    const struct virt_node *child = virt_child(node, name);

    if (child && child->is_mixed) {
        virt_fail(reader, IMG_UNSUPPORTED, child,
                  "<%s> has elements in it, expected text", name);
        return NULL;
    }
    return child ? virt_copy(reader, child->text) : NULL;
}

void *virt_items(struct virt_reader *reader, size_t nr, size_t size)
{
    void *items = nr > 0 ? calloc(nr, size) : NULL;

    if (nr > 0 && !items) {
        out_of_memory(reader);
    }
    return items;
}

int virt_word_find(const char *const *words, const char *text)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

char *virt_word(struct virt_reader *reader, const struct virt_node *node,
                const char *name, const char *const *words, const char *id)
{
    const char *value = virt_attribute(node, name);

    if (value && virt_word_find(words, value) < 0) {
        virt_refuse(reader, node, id,
                    "<%s> has %s='%s', which libvirt does not know", node->name,
                    name, value);
    }
    return virt_copy(reader, value);
}

bool virt_number(const char *text, uint64_t *out)
{
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || strchr(text, '-')) {
        return false;
    }
    *out = value;
    return true;
}

bool virt_is_uuid(const char *text)
{
    unsigned digits = 0;

    for (text += strspn(text, " \t\r\n\v\f"); *text && digits < 32; text++) {
        if (isxdigit((unsigned char)*text)) {
            digits++;
        } else if (digits % 2 != 0 || (*text != '-' && *text != ' ')) {
            return false;
        }
    }
    return digits == 32 && text[strspn(text, " \t\r\n\v\f")] == '\0';
}

bool virt_child_number(struct virt_reader *reader, const struct virt_node *node,
                       const char *name, int64_t *out)
{
    char *text = virt_copy_child(reader, node, name);
    bool is_number;
    char *end;

    if (!text) {
        return false;
    }
    errno = 0;
    *out = strtoll(text, &end, 10);
    is_number = errno == 0 && end != text && *end == '\0';
    free(text);
    return is_number;
}
