/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other parents: see relate.h. Room: chain/virt.
 *
 * The elements <parent> and <active> of the document itself are found by the
 * depth at which tags begin and end. Both stand by themselves in what libvirt
 * writes, and have nothing else in them.
 */
#include "relate.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "bytes.h"
#include "tags.h"

/* An element, tags and all. */
struct span {
    const char *begin, *end; /* NULL: it is not there */
};

static bool is_tag(const char *tag, const char *close, const char *name)
{
    size_t len = strlen(name);

    return (size_t)(close - tag) > len && memcmp(tag + 1, name, len) == 0 &&
           strchr("> \t\r\n/", tag[1 + len]);
}

/* The first child NAME of the outermost element. */
static struct span find(const char *text, size_t len, const char *name)
{
    const char *at = text, *end = text + len, *tag;
    struct span span = {NULL, NULL};
    unsigned nr, depth = 0;

    while (virt_tag_next(&at, end, &tag, &nr) && at < end) {
        bool is_end = tag[1] == '/';
        bool is_empty = at[-1] == '/';

        if (is_end) {
            depth--;
        }
        if (depth == 1 && !is_end && is_tag(tag, at, name) && !span.begin) {
            span.begin = tag;
        }
        if (depth == 1 && span.begin && (is_end || is_empty)) {
            span.end = at + 1;
            return span;
        }
        if (!is_end && !is_empty) {
            depth++;
        }
    }
    return (struct span){NULL, NULL};
}

static const char *behind_root(const char *text, size_t len)
{
    const char *at = text, *tag;
    unsigned nr;

    return virt_tag_next(&at, text + len, &tag, &nr) ? at + 1 : text + len;
}

static int put(struct virt_bytes *out, const char *text, struct img_error *err)
{
    return virt_bytes_add(out, text, strlen(text), err);
}

static int put_parent(struct virt_bytes *out, const char *parent,
                      struct img_error *err)
{
    return put(out, "<parent>\n    <name>", err) < 0 ||
                   virt_bytes_escape(out, parent, err) < 0
               ? -1
               : put(out, "</name>\n  </parent>", err);
}

/* Everything from *AT to where SPAN begins; *AT is behind it then. */
static int pass(struct virt_bytes *out, const char **at,
                const struct span *span, struct img_error *err)
{
    if (virt_bytes_add(out, *at, (size_t)(span->begin - *at), err) < 0) {
        return -1;
    }
    *at = span->end;
    return 0;
}

/* The blanks before it go with it, so that no empty line is left. */
static void take_blanks(struct span *span, const char *text)
{
    while (span->begin > text && strchr(" \t", span->begin[-1])) {
        span->begin--;
    }
    if (span->begin > text && span->begin[-1] == '\n') {
        span->begin--;
    }
}

static int relate_parent(const char *text, size_t len,
                         const struct relation *wish, struct virt_bytes *out,
                         struct img_error *err)
{
    struct span span = find(text, len, "parent");
    const char *at = text;

    if (!span.begin) {
        span.begin = span.end = behind_root(text, len);
    } else if (!wish->parent) {
        take_blanks(&span, text);
    }
    if (pass(out, &at, &span, err) < 0 ||
        (wish->parent && put_parent(out, wish->parent, err) < 0)) {
        return -1;
    }
    return virt_bytes_add(out, at, (size_t)(text + len - at), err);
}

static int relate_active(const char *text, size_t len, struct virt_bytes *out,
                         struct img_error *err)
{
    struct span span = find(text, len, "active");
    const char *at = text;

    if (span.begin && (pass(out, &at, &span, err) < 0 ||
                       put(out, "<active>1</active>", err) < 0)) {
        return -1;
    }
    return virt_bytes_add(out, at, (size_t)(text + len - at), err);
}

static void bytes_fini(struct virt_bytes *bytes)
{
    virt_bytes_fini(bytes);
}

static int relate(const struct chain_moment *moment,
                  const struct relation *wish, char **out,
                  struct img_error *err)
{
    IMG_AUTO(bytes_fini) struct virt_bytes first = {0};
    IMG_AUTO(bytes_fini) struct virt_bytes second = {0};
    const char *text = moment->text;
    size_t len = moment->len;

    if (wish->has_parent) {
        if (relate_parent(text, len, wish, &first, err) < 0) {
            return -1;
        }
        text = first.bytes;
        len = first.len;
    }
    if (wish->is_current) {
        if (relate_active(text, len, &second, err) < 0) {
            return -1;
        }
        *out = img_steal(&second.bytes);
    } else {
        *out = img_steal(&first.bytes);
    }
    return 0;
}

static bool is_same(const char *a, const char *b)
{
    return !a == !b && (!a || strcmp(a, b) == 0);
}

/* It reads as it was meant. */
static int check(const struct chain_moment *moment, const struct relation *wish,
                 const char *text, struct img_error *err)
{
    enum chain_moment_kind kind =
        moment->snapshot ? CHAIN_SNAPSHOT : CHAIN_CHECKPOINT;
    const char *called = moment->file ? moment->file : moment->name;
    struct chain_metadata *made = NULL;
    const struct chain_moment *now;
    bool is_good;
    int rc = chain_metadata_new(kind, &made, err);

    if (rc == 0) {
        rc = chain_metadata_add(made, called, NULL, text, strlen(text), err);
    }
    if (rc == 0) {
        now = &made->moments[0];
        is_good =
            is_same(now->name, moment->name) &&
            is_same(now->parent_name,
                    wish->has_parent ? wish->parent : moment->parent_name) &&
            (!wish->is_current || !now->snapshot || now->snapshot->is_active ||
             !now->snapshot->has_active);
        if (!is_good) {
            rc = img_fail(err, IMG_UNSUPPORTED,
                          "is not written as libvirt writes it: its parent "
                          "cannot be changed in it");
            img_error_set_path(err, called);
        }
    }
    chain_metadata_free(made);
    return rc;
}

int virt_relate(const struct chain_moment *moment, const struct relation *wish,
                char **out, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;

    if (relate(moment, wish, &text, err) < 0 ||
        check(moment, wish, text, err) < 0) {
        return -1;
    }
    *out = img_steal(&text);
    return 0;
}
