/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's XML without what only --security-info shows: see chain/saved.h.
 * Room: chain/virt.
 *
 * What libvirt leaves out when it is not asked for secrets: passwd= of
 * displays, and the cookies that network disks send. Everything else is
 * copied.
 */
#include <chain/saved.h>

#include <string.h>

#include <img/memory.h>

#include "bytes.h"
#include "document.h"
#include "tags.h"

#define BLANKS " \t\r\n"

struct hider {
    struct virt_bytes out;
    const char *at, *end; /* the text from the next tag on */
    const char *copied;   /* up to here */
    struct img_error *err;
};

static void hider_fini(struct hider *hider)
{
    virt_bytes_fini(&hider->out);
}

static int copy_to(struct hider *hider, const char *to)
{
    return virt_bytes_add(&hider->out, hider->copied,
                          (size_t)(to - hider->copied), hider->err);
}

/* What stands from BEGIN to END, and the blanks before it, is left out. */
static int leave_out(struct hider *hider, const char *begin, const char *end)
{
    while (begin > hider->copied && strchr(BLANKS, begin[-1])) {
        begin--;
    }
    if (copy_to(hider, begin) < 0) {
        return -1;
    }
    hider->copied = end;
    return 0;
}

static bool is_password(const char *name, size_t len)
{
    const char *colon = memchr(name, ':', len);
    size_t prefix_len = colon ? (size_t)(colon - name) + 1 : 0;

    return len - prefix_len == 6 && memcmp(name + prefix_len, "passwd", 6) == 0;
}

/* The attributes of the well-formed tag from TAG to CLOSE. */
static int hide_password(struct hider *hider, const char *tag,
                         const char *close)
{
    const char *at = tag;

    while ((at = memchr(at, '=', (size_t)(close - at)))) {
        const char *name_end = at, *name, *value, *value_end;

        while (strchr(BLANKS, name_end[-1])) {
            name_end--;
        }
        for (name = name_end; !strchr(BLANKS, name[-1]);) {
            name--;
        }
        value = at + 1 + strspn(at + 1, BLANKS);
        value_end = memchr(value + 1, *value, (size_t)(close - value - 1));
        if (!value_end) {
            break; /* cannot be: it is well-formed */
        }
        if (is_password(name, (size_t)(name_end - name)) &&
            leave_out(hider, name, value_end + 1) < 0) {
            return -1;
        }
        at = value_end;
    }
    return 0;
}

/* The element whose tag goes from TAG to HIDER's place, with all that is in
   it; *ORDINAL moves on by the elements that it holds. */
static int hide_element(struct hider *hider, const char *tag, size_t *ordinal)
{
    const char *inner;
    size_t depth = hider->at[-1] == '/' ? 0 : 1;
    unsigned nr;

    while (depth > 0 && virt_tag_next(&hider->at, hider->end, &inner, &nr)) {
        if (inner[1] == '/') {
            depth--;
        } else {
            depth += hider->at[-1] != '/';
            ++*ordinal;
        }
    }
    return leave_out(hider, tag,
                     hider->at < hider->end ? hider->at + 1 : hider->end);
}

static bool is_display(const struct virt_node *node)
{
    return strcmp(node->name, "graphics") == 0;
}

static bool is_cookies(const struct virt_node *node)
{
    return strcmp(node->name, "cookies") == 0 && node->parent &&
           strcmp(node->parent->name, "source") == 0;
}

/* The next element from NODE on that has a secret. */
static const struct virt_node *next_secret(const struct virt_node *node)
{
    while (node && !is_display(node) && !is_cookies(node)) {
        node = virt_next(node);
    }
    return node;
}

static int hide(struct hider *hider, const struct virt_tree *tree)
{
    const struct virt_node *secret = next_secret(tree->root);
    const char *tag;
    size_t ordinal = 0;
    unsigned nr;

    while (secret && virt_tag_next(&hider->at, hider->end, &tag, &nr)) {
        if (tag[1] == '/') {
            continue;
        }
        if (ordinal++ != secret->ordinal) {
            continue;
        }
        if ((is_display(secret) ? hide_password(hider, tag, hider->at)
                                : hide_element(hider, tag, &ordinal)) < 0) {
            return -1;
        }
        do {
            secret = next_secret(virt_next(secret));
        } while (secret && secret->ordinal < ordinal);
    }
    return copy_to(hider, hider->end);
}

int chain_saved_hide(const char *text, size_t len, const char *name, char **out,
                     struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};
    IMG_AUTO(hider_fini)
    struct hider hider = {
        .at = text, .end = text + len, .copied = text, .err = err};

    if (virt_document_parse(text, len, name, "domain", NULL, &tree, err) < 0) {
        return -1;
    }
    if (hide(&hider, &tree) < 0) {
        img_error_set_path(err, name);
        return -1;
    }
    *out = img_steal(&hider.out.bytes);
    return 0;
}
