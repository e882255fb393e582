/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * XML with other paths, uuid and name: see chain/rewrite.h. Room: chain/virt.
 *
 * The tree says which values change; they are found in the text again by
 * counting its tags, and all that is between them is copied.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/rewrite.h>
#include <img/memory.h>

#include "bytes.h"
#include "tags.h"
#include "tree.h"

/* One value that changes. */
struct edit {
    size_t ordinal;        /* of the element */
    const char *attribute; /* NULL: its text */
    char *value;
};

struct rewriter {
    const struct chain_rewrite *wish;
    struct edit *edits; /* in the order of their elements */
    size_t nr, room;
    struct img_error *err;
    bool is_failed;
};

static void rewriter_fini(struct rewriter *rewriter)
{
    for (size_t i = 0; i < rewriter->nr; i++) {
        free(rewriter->edits[i].value);
    }
    free(rewriter->edits);
}

/* Takes VALUE. */
static void add_edit(struct rewriter *to, const struct virt_node *node,
                     const char *attribute, char *value)
{
    if (to->nr == to->room) {
        size_t room = to->room ? 2 * to->room : 16;
        struct edit *grown = reallocarray(to->edits, room, sizeof(*grown));

        if (!grown) {
            free(value);
            to->is_failed = true;
            (void)img_fail_memory(to->err);
            return;
        }
        to->edits = grown;
        to->room = room;
    }
    to->edits[to->nr++] = (struct edit){node->ordinal, attribute, value};
}

/* ---- What changes. */

static bool is_named(const struct virt_node *node, const char *const *names)
{
    for (; node && *names; names++) {
        if (strcmp(node->name, *names) == 0) {
            return true;
        }
    }
    return false;
}

/* A disk of a domain, or anything in the <disks> of a snapshot. */
static bool is_disk(const struct virt_node *node)
{
    static const char *const disk[] = {"disk", NULL};
    static const char *const list[] = {"disks", NULL};

    return is_named(node, disk) || (node && is_named(node->parent, list));
}

/* Where NODE stands, for messages. */
static const char *place_of(const struct virt_node *node, char out[64])
{
    static const char begin[] = "disk ";
    const struct virt_node *at = node;
    const char *target;

    while (at && !is_disk(at)) {
        at = at->parent;
    }
    target = virt_attribute(virt_child(at, "target"), "dev");
    target = target ? target : virt_attribute(at, "name");
    if (!target) {
        return node->name;
    }
    memcpy(out, begin, sizeof(begin));
    img_escape(target, strlen(target), out + strlen(begin), 64 - strlen(begin));
    return out;
}

static void move_path(struct rewriter *to, const struct virt_node *node,
                      const char *attribute, const char *path)
{
    char *moved = NULL, place[64];

    if (to->is_failed || !path || path[0] != '/') {
        return;
    }
    if (chain_path_map_apply(to->wish->map, path, &moved, to->err) < 0) {
        to->is_failed = true;
        return;
    }
    if (to->wish->seen) {
        to->wish->seen(to->wish->opaque, place_of(node, place), path, moved);
    }
    if (moved) {
        add_edit(to, node, attribute, moved);
    }
}

static void move_attribute(struct rewriter *to, const struct virt_node *node,
                           const char *attribute)
{
    move_path(to, node, attribute, virt_attribute(node, attribute));
}

/* May a <source> in NODE be an image? */
static bool has_image(const struct virt_node *node)
{
    static const char *const around[] = {"mirror", "backingStore", "dataStore",
                                         "nvram", NULL};

    return is_named(node, around) || is_disk(node);
}

/* A <mirror> as libvirt wrote it once, or the memory of a snapshot. */
static bool has_file(const struct virt_node *node)
{
    static const char *const snapshot[] = {"domainsnapshot", NULL};

    return strcmp(node->name, "mirror") == 0 ||
           (strcmp(node->name, "memory") == 0 &&
            is_named(node->parent, snapshot));
}

static void move_paths(struct rewriter *to, const struct virt_node *node)
{
    static const char *const booted[] = {"loader", "nvram", "kernel",
                                         "initrd", "dtb",   NULL};
    static const char *const os[] = {"os", NULL};
    static const char *const disks[] = {"disks", NULL};

    if (strcmp(node->name, "source") == 0 && has_image(node->parent)) {
        move_attribute(to, node, "file");
        move_attribute(to, node, "dev");
        move_attribute(to, node, "dir");
    } else if (is_named(node, booted) && is_named(node->parent, os)) {
        move_path(to, node, NULL, node->text);
    } else if (is_named(node->parent, disks)) {
        move_attribute(to, node, "name"); /* a target, or a source's path */
    } else if (has_file(node)) {
        move_attribute(to, node, "file");
    }
}

static void set_text(struct rewriter *to, const struct virt_node *node,
                     const char *value)
{
    char *copy;

    if (to->is_failed || !value || !node->text ||
        strcmp(node->text, value) == 0) {
        return;
    }
    copy = img_strndup(value, strlen(value), to->err);
    if (!copy) {
        to->is_failed = true;
        return;
    }
    add_edit(to, node, NULL, copy);
}

/* A domain by itself, or the one in a snapshot, a checkpoint, a status. */
static bool is_domain(const struct virt_node *node)
{
    static const char *const names[] = {"domain", "inactiveDomain", NULL};

    return is_named(node, names) && (!node->parent || !node->parent->parent);
}

/* The domain's uuid stands in what it tells its guest of itself, too. */
static bool is_told_uuid(const struct virt_node *node)
{
    static const char *const table[] = {"system", NULL};
    static const char *const info[] = {"sysinfo", NULL};
    const char *name = virt_attribute(node, "name");

    return strcmp(node->name, "entry") == 0 && name &&
           strcmp(name, "uuid") == 0 && is_named(node->parent, table) &&
           is_named(node->parent->parent, info) &&
           is_domain(node->parent->parent->parent);
}

static void rename_domain(struct rewriter *to, const struct virt_node *node)
{
    if (is_told_uuid(node)) {
        set_text(to, node, to->wish->uuid);
    } else if (node->parent && is_domain(node->parent)) {
        if (strcmp(node->name, "uuid") == 0) {
            set_text(to, node, to->wish->uuid);
        } else if (strcmp(node->name, "name") == 0) {
            set_text(to, node, to->wish->name);
        }
    }
}

/* ---- The text. */

/* The edit of this attribute, or NULL; ATTRIBUTE NULL: of the text. */
static struct edit *edit_of(struct rewriter *from, size_t first, size_t ordinal,
                            const char *attribute, size_t len)
{
    for (size_t i = first; i < from->nr && from->edits[i].ordinal == ordinal;
         i++) {
        const char *name = from->edits[i].attribute;

        if (attribute ? name && strlen(name) == len &&
                            memcmp(name, attribute, len) == 0
                      : !name) {
            return &from->edits[i];
        }
    }
    return NULL;
}

struct copier {
    struct rewriter *from;
    struct virt_bytes out;
    const char *copied; /* up to here */
    size_t at;          /* the first edit of what is to come */
    size_t ordinal;     /* of the element that begins next */
};

static void copier_fini(struct copier *copier)
{
    virt_bytes_fini(&copier->out);
}

/* The value of EDIT stands where BEGIN to END did. */
static int replace(struct copier *copier, const char *begin, const char *end,
                   struct edit *edit)
{
    struct img_error *err = copier->from->err;

    if (virt_bytes_add(&copier->out, copier->copied,
                       (size_t)(begin - copier->copied), err) < 0 ||
        virt_bytes_escape(&copier->out, edit->value, err) < 0) {
        return -1;
    }
    copier->copied = end;
    free(img_steal(&edit->value)); /* a second one of that name stays */
    return 0;
}

/* NAME up to LEN bytes, without its prefix; NULL for a namespace. */
static const char *local(const char *name, size_t *len)
{
    const char *colon = memchr(name, ':', *len);
    size_t prefix_len = colon ? (size_t)(colon - name) : *len;

    if (prefix_len == 5 && memcmp(name, "xmlns", 5) == 0) {
        return NULL;
    }
    if (colon) {
        *len -= prefix_len + 1;
        return colon + 1;
    }
    return name;
}

/* The attributes of the well-formed tag from AT to END. */
static int copy_tag(struct copier *copier, const char *at, const char *end)
{
    while ((at = memchr(at, '=', (size_t)(end - at)))) {
        const char *name_end = at, *name, *value, *close;
        struct edit *edit;
        size_t len;

        while (strchr(" \t\r\n", name_end[-1])) {
            name_end--;
        }
        for (name = name_end; !strchr(" \t\r\n", name[-1]);) {
            name--;
        }
        value = at + 1 + strspn(at + 1, " \t\r\n");
        close = memchr(value + 1, *value, (size_t)(end - value - 1));
        if (!close) {
            break; /* cannot be: it is well-formed */
        }
        len = (size_t)(name_end - name);
        name = local(name, &len);
        edit =
            name ? edit_of(copier->from, copier->at, copier->ordinal, name, len)
                 : NULL;
        if (edit && edit->value &&
            replace(copier, value + 1, close, edit) < 0) {
            return -1;
        }
        at = close;
    }
    return 0;
}

/* The element of the tag from TAG to CLOSE, if anything of it changes. */
static int copy_element(struct copier *copier, const char *tag,
                        const char *close, const char *end)
{
    struct rewriter *from = copier->from;
    struct edit *edit;

    if (copier->at == from->nr ||
        from->edits[copier->at].ordinal != copier->ordinal) {
        return 0;
    }
    if (copy_tag(copier, tag, close) < 0) {
        return -1;
    }
    edit = edit_of(from, copier->at, copier->ordinal, NULL, 0);
    if (edit) {
        const char *at = close, *behind;
        unsigned nr;

        if (virt_tag_next(&at, end, &behind, &nr) &&
            replace(copier, close + 1, behind, edit) < 0) {
            return -1;
        }
    }
    while (copier->at < from->nr &&
           from->edits[copier->at].ordinal == copier->ordinal) {
        copier->at++;
    }
    return 0;
}

static int copy_text(struct rewriter *from, const char *text, size_t len,
                     char **out)
{
    IMG_AUTO(copier_fini) struct copier copier = {.from = from, .copied = text};
    const char *at = text, *end = text + len, *tag;
    unsigned nr;

    while (virt_tag_next(&at, end, &tag, &nr)) {
        if (tag[1] == '/') {
            continue;
        }
        if (copy_element(&copier, tag, at, end) < 0) {
            return -1;
        }
        copier.ordinal++;
    }
    if (virt_bytes_add(&copier.out, copier.copied,
                       (size_t)(end - copier.copied), from->err) < 0) {
        return -1;
    }
    *out = img_steal(&copier.out.bytes);
    return 0;
}

static int check_document(const struct virt_node *root, struct img_error *err)
{
    static const char *const known[] = {"domain", "domstatus", "domainsnapshot",
                                        "domaincheckpoint", NULL};
    char shown[128];

    if (is_named(root, known)) {
        return 0;
    }
    img_escape(root->name, strlen(root->name), shown, sizeof(shown));
    return img_fail(err, IMG_FORMAT,
                    "line %u: found <%s>, expected libvirt's <domain>, "
                    "<domainsnapshot> or <domaincheckpoint>",
                    root->line, shown);
}

static int rewrite(const char *text, size_t len, const struct virt_tree *tree,
                   struct rewriter *rewriter, char **out)
{
    if (check_document(tree->root, rewriter->err) < 0) {
        return -1;
    }
    for (const struct virt_node *node = tree->root; node;
         node = virt_next(node)) {
        move_paths(rewriter, node);
        rename_domain(rewriter, node);
    }
    return rewriter->is_failed ? -1 : copy_text(rewriter, text, len, out);
}

int chain_rewrite(const char *text, size_t len, const char *name,
                  const struct chain_rewrite *wish, char **out,
                  size_t *changed_nr, struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};
    IMG_AUTO(rewriter_fini)
    struct rewriter rewriter = {.wish = wish, .err = err};

    if (virt_tree_parse(text, len, name, &tree, err) < 0) {
        return -1;
    }
    if (rewrite(text, len, &tree, &rewriter, out) < 0) {
        img_error_set_path(err, name);
        return -1;
    }
    if (changed_nr) {
        *changed_nr = rewriter.nr;
    }
    return 0;
}
