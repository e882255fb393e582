/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backing names and command line operands -> references to files. Room:
 * chain/graph. No I/O.
 *
 * How QEMU reads a backing name (measured with qemu-img 7.2): "file:" is cut
 * off and the rest is the path as it stands, so "file:///a" is "///a" and
 * "file://host/a" is "//host/a"; a relative path after "file:" is relative to
 * the working directory of the process, not to the image's folder.
 */
#include <chain/name.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "name_json.h"

static int set_path(struct chain_ref *out, enum chain_name_style style,
                    const char *path, struct img_error *err)
{
    if (path[0] == '\0') {
        return img_fail(err, IMG_FORMAT, "the name of the file is empty");
    }
    out->style = style;
    out->path = img_strndup(path, strlen(path), err);
    return out->path ? 0 : -1;
}

/* A plain path, whatever characters it has. */
static int parse_path(const char *path, struct chain_ref *out,
                      struct img_error *err)
{
    *out = (struct chain_ref){0};
    return set_path(out,
                    path[0] == '/' ? CHAIN_NAME_ABSOLUTE : CHAIN_NAME_RELATIVE,
                    path, err);
}

/* Length of the protocol in front of the first ':', -1 if there is none. */
static int protocol_len(const char *name)
{
    size_t len = strcspn(name, ":/");

    return name[len] == ':' ? (int)len : -1;
}

static int fail_protocol(const char *name, size_t len, struct img_error *err)
{
    char shown[64];

    img_escape(name, len, shown, sizeof(shown));
    return img_fail(err, IMG_UNSUPPORTED,
                    "protocol \"%s\" is not read: only local files are", shown);
}

static int parse_protocol_name(const char *name, size_t len,
                               struct chain_ref *out, struct img_error *err)
{
    const char *rest = name + len + 1;

    if (len == 4 && memcmp(name, "file", 4) == 0) {
        return set_path(out, CHAIN_NAME_FILE_PROTOCOL, rest, err);
    }
    if (len != 4 || memcmp(name, "json", 4) != 0) {
        return fail_protocol(name, len, err);
    }
    if (chain_name_parse_json(rest, out, err) < 0) {
        chain_ref_fini(out);
        return -1;
    }
    return 0;
}

int chain_name_parse(const char *name, struct chain_ref *out,
                     struct img_error *err)
{
    int len = protocol_len(name);

    if (len < 0) {
        return parse_path(name, out, err);
    }
    *out = (struct chain_ref){0};
    return parse_protocol_name(name, (size_t)len, out, err);
}

void chain_ref_fini(struct chain_ref *ref)
{
    struct chain_ref *below = ref->backing;

    free(ref->path);
    free(ref->format);
    while (below) {
        struct chain_ref *next = below->backing;
        free(below->path);
        free(below->format);
        free(below);
        below = next;
    }
    *ref = (struct chain_ref){0};
}

char *chain_name_join(const char *from, const char *path, struct img_error *err)
{
    const char *slash = strrchr(from, '/');

    if (path[0] == '/' || !slash) {
        return img_strndup(path, strlen(path), err);
    }
    return img_text(err, "%.*s%s", (int)(slash - from) + 1, from, path);
}

char *chain_ref_resolve(const struct chain_ref *ref, const char *from,
                        struct img_error *err)
{
    return ref->style == CHAIN_NAME_RELATIVE
               ? chain_name_join(from, ref->path, err)
               : img_strndup(ref->path, strlen(ref->path), err);
}

/* RFC 3986: a scheme is a letter, then letters, digits, '+', '-', '.'. */
static size_t scheme_len(const char *text)
{
    size_t len = 0;

    while (isalnum((unsigned char)text[len]) ||
           (text[len] != '\0' && strchr("+-.", text[len]))) {
        len++;
    }
    return isalpha((unsigned char)text[0]) ? len : 0;
}

int chain_operand_parse(const char *operand, struct chain_ref *out,
                        struct img_error *err)
{
    size_t len = scheme_len(operand);

    *out = (struct chain_ref){0};
    if (strncmp(operand, "json:{", 6) == 0 ||
        strncmp(operand, "file:///", 8) == 0) {
        return parse_protocol_name(operand, 4, out, err);
    }
    if (len > 0 && strncmp(operand + len, "://", 3) == 0) {
        return fail_protocol(operand, len, err);
    }
    return parse_path(operand, out, err);
}
