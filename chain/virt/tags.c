/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tags that would keep libxml2 busy: see tags.h. */
#include "tags.h"

#include <string.h>

#include <chain/virt.h>

/* What is not looked into: where it begins and how it ends. */
static const char *const passages[][2] = {
    {"<!--", "-->"},
    {"<![CDATA[", "]]>"},
    {"<?", "?>"},
};

/* The end of the passage at AT, or NULL where there begins none. */
static const char *pass(const char *at, const char *end)
{
    for (size_t i = 0; i < sizeof(passages) / sizeof(passages[0]); i++) {
        size_t begin_len = strlen(passages[i][0]);
        size_t end_len = strlen(passages[i][1]);
        const char *found;

        if ((size_t)(end - at) < begin_len ||
            memcmp(at, passages[i][0], begin_len) != 0) {
            continue;
        }
        at += begin_len;
        found = memmem(at, (size_t)(end - at), passages[i][1], end_len);
        return found ? found + end_len : end;
    }
    return NULL;
}

/* The end of the tag at AT; *NR: how many attributes it has. */
static const char *skip_tag(const char *at, const char *end, unsigned *nr)
{
    for (*nr = 0; at < end && *at != '>'; at++) {
        if (*at == '=') {
            (*nr)++;
        } else if (*at == '"' || *at == '\'') {
            const char *close = memchr(at + 1, *at, (size_t)(end - at - 1));

            if (!close) {
                return end;
            }
            at = close;
        }
    }
    return at;
}

static unsigned line_at(const char *text, const char *at)
{
    unsigned line = 1;

    while (text < at && (text = memchr(text, '\n', (size_t)(at - text)))) {
        line++;
        text++;
    }
    return line;
}

bool virt_tag_next(const char **at, const char *end, const char **tag,
                   unsigned *attributes_nr)
{
    while (*at < end && (*at = memchr(*at, '<', (size_t)(end - *at)))) {
        const char *behind = pass(*at, end);

        if (!behind) {
            *tag = *at;
            *at = skip_tag(*at, end, attributes_nr);
            return true;
        }
        *at = behind;
    }
    return false;
}

int virt_tags_check(const char *text, size_t len, struct img_error *err)
{
    const char *end = text + len, *at = text, *tag;
    unsigned nr;

    while (virt_tag_next(&at, end, &tag, &nr)) {
        if (nr > CHAIN_VIRT_MAX_TAG_ATTRIBUTES) {
            return img_fail(err, IMG_LIMIT,
                            "line %u: found an element with %u attributes, at "
                            "most %u are read",
                            line_at(text, tag), nr,
                            CHAIN_VIRT_MAX_TAG_ATTRIBUTES);
        }
    }
    return 0;
}
