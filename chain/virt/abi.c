/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two documents of one domain compared: see chain/abi.h. Room: chain/virt.
 *
 * Elements are taken in pairs, an old one and a new one of the same name in
 * the same place, from a list that grows by the pairs of their children.
 * Disks pair up by their target and controllers by type and index, in whatever
 * order they stand; all others by the order in which they stand.
 */
#include <chain/abi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <img/memory.h>

#include "abi_impl.h"
#include "abi_snapshot.h"

/* Elements that stand for each other; one of them may be missing (NULL). */
struct pair {
    const struct virt_node *old, *new;
};

struct abi_walk {
    struct chain_abi *out;
    struct pair *pairs;
    size_t nr, room;
    struct img_error *err;
};

static void walk_fini(struct abi_walk *walk)
{
    free(walk->pairs);
}

static const struct virt_node *some(const struct pair *pair)
{
    return pair->old ? pair->old : pair->new;
}

static int push(struct abi_walk *walk, const struct virt_node *old,
                const struct virt_node *new)
{
    if (walk->nr == walk->room) {
        size_t room = walk->room ? 2 * walk->room : 64;
        struct pair *grown = reallocarray(walk->pairs, room, sizeof(*grown));

        if (!grown) {
            return img_fail_memory(walk->err);
        }
        walk->pairs = grown;
        walk->room = room;
    }
    walk->pairs[walk->nr++] = (struct pair){old, new};
    return 0;
}

/* ---- Which children pair up. */

/* A child by what it is known by: its name, then its key, then its order. */
struct child {
    const struct virt_node *node;
    const char *key, *key2;
    size_t ordinal; /* among those of its name and key */
};

static const char *attribute_of(const struct virt_node *node, const char *name)
{
    const char *value = virt_attribute(node, name);

    return value ? value : "";
}

static bool is_device(const struct virt_node *node)
{
    return node->parent && strcmp(node->parent->name, "devices") == 0 &&
           node->parent->parent && !node->parent->parent->parent;
}

static void set_key(struct child *child)
{
    const struct virt_node *node = child->node;

    child->key = child->key2 = "";
    if (is_device(node) && abi_is_implied(node)) {
        child->key = "implied";
        child->key2 = attribute_of(node, "type"); /* mouse, keyboard */
    } else if (strcmp(node->name, "disk") == 0) {
        child->key = attribute_of(virt_child(node, "target"), "dev");
    } else if (strcmp(node->name, "controller") == 0) {
        child->key = attribute_of(node, "type");
        child->key2 = attribute_of(node, "index");
    }
}

static int compare_keys(const struct child *a, const struct child *b)
{
    int by = strcmp(a->node->name, b->node->name);

    by = by ? by : strcmp(a->key, b->key);
    return by ? by : strcmp(a->key2, b->key2);
}

static int compare_places(const void *a, const void *b)
{
    const struct child *one = a, *other = b;
    int by = compare_keys(one, other);

    return by ? by
              : (one->node->ordinal > other->node->ordinal) -
                    (one->node->ordinal < other->node->ordinal);
}

static int compare_children(const struct child *a, const struct child *b)
{
    int by = compare_keys(a, b);

    return by ? by : (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal);
}

/* The children of PARENT, sorted; *OUT: free with free(). */
static int list_children(const struct virt_node *parent, struct child **out,
                         size_t *out_nr, struct img_error *err)
{
    size_t nr = 0;
    struct child *list;

    for (const struct virt_node *n = parent ? parent->first : NULL; n;
         n = n->next) {
        nr++;
    }
    list = img_calloc(nr + 1, sizeof(*list), err);
    if (!list) {
        return -1;
    }
    nr = 0;
    for (const struct virt_node *n = parent ? parent->first : NULL; n;
         n = n->next) {
        list[nr].node = n;
        set_key(&list[nr++]);
    }
    qsort(list, nr, sizeof(*list), compare_places);
    for (size_t i = 1; i < nr; i++) {
        list[i].ordinal = compare_keys(&list[i - 1], &list[i]) == 0
                              ? list[i - 1].ordinal + 1
                              : 0;
    }
    *out = list;
    *out_nr = nr;
    return 0;
}

/* CHILD stands for nothing: libvirt makes one up where it is missing. */
static bool is_made_up(const struct child *child)
{
    return child && child->ordinal == 0 && is_device(child->node) &&
           abi_is_implied(child->node);
}

static int push_children(struct abi_walk *walk, const struct pair *pair)
{
    IMG_AUTO(img_free_ptr) struct child *olds = NULL;
    IMG_AUTO(img_free_ptr) struct child *news = NULL;
    size_t olds_nr, news_nr, i = 0, j = 0;

    if (list_children(pair->old, &olds, &olds_nr, walk->err) < 0 ||
        list_children(pair->new, &news, &news_nr, walk->err) < 0) {
        return -1;
    }
    while (i < olds_nr || j < news_nr) {
        int by = i == olds_nr   ? 1
                 : j == news_nr ? -1
                                : compare_children(&olds[i], &news[j]);
        const struct child *old = by <= 0 ? &olds[i++] : NULL;
        const struct child *new = by >= 0 ? &news[j++] : NULL;

        if ((!new &&is_made_up(old)) || (!old && is_made_up(new))) {
            continue;
        }
        if (push(walk, old ? old->node : NULL, new ? new->node : NULL) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- What is said. */

/* How NODE is known among its like: "vda", "pci 3"; "": by nothing. */
static void name_device(const struct virt_node *node, char *out, size_t size)
{
    struct child child = {.node = node};
    char raw[128];

    if (abi_is_implied(node)) {
        out[0] = '\0';
        return;
    }
    set_key(&child);
    (void)snprintf(raw, sizeof(raw), "%s%s%s", child.key,
                   child.key2[0] ? " " : "", child.key2);
    img_escape(raw, strlen(raw), out, size);
}

/* The device that NODE is, or lies in; NULL: none. */
static const struct virt_node *device_of(const struct virt_node *node)
{
    while (node && !is_device(node)) {
        node = node->parent;
    }
    return node;
}

/* Its place among those of its name, from 1 on; 0: it is the only one. */
static size_t place_of(const struct virt_node *device)
{
    size_t place = 0, nr = 0;

    for (const struct virt_node *n = virt_child(device->parent, device->name);
         n; n = virt_same(n)) {
        nr++;
        place = n == device ? nr : place;
    }
    return nr > 1 ? place : 0;
}

/* "disk vda", "interface 2", "domain". */
static void name_subject(const struct virt_node *node, char *out, size_t size)
{
    const struct virt_node *device = device_of(node);
    char name[160], key[160];
    size_t place;

    if (!device) {
        (void)snprintf(out, size, "domain");
        return;
    }
    img_escape(device->name, strlen(device->name), name, sizeof(name));
    name_device(device, key, sizeof(key));
    place = place_of(device);
    if (key[0]) {
        (void)snprintf(out, size, "%s %s", name, key);
    } else if (place > 0) {
        (void)snprintf(out, size, "%s %zu", name, place);
    } else {
        (void)snprintf(out, size, "%s", name);
    }
}

/* What of the subject: " driver queues", with a blank before it. */
static void name_item(const char *path, const char *attribute,
                      bool is_of_device, char *out, size_t size)
{
    char raw[2 * ABI_PATH_MAX];
    const char *at = path;

    for (int i = 0; i < (is_of_device ? 2 : 0); i++) {
        at += strcspn(at, "/");
        at += *at == '/';
    }
    (void)snprintf(raw, sizeof(raw), "%s%s%s%s", *at ? " " : "", at,
                   attribute ? " " : "", attribute ? attribute : "");
    for (char *p = raw; *p; p++) {
        *p = *p == '/' ? ' ' : *p;
    }
    img_escape(raw, strlen(raw), out, size);
}

struct finding {
    const struct pair *pair;
    const char *path;      /* of the element */
    const char *attribute; /* NULL: the element, or its text */
    const char *old, *new; /* values; NULL: it is not there */
};

static char *describe(const struct finding *finding, struct img_error *err)
{
    const struct virt_node *node = some(finding->pair);
    bool is_of_device = device_of(node) != NULL;
    char subject[400], item[400], old[200], new[200];

    name_subject(node, subject, sizeof(subject));
    name_item(finding->path, finding->attribute, is_of_device, item,
              sizeof(item));
    img_escape(finding->old ? finding->old : "",
               finding->old ? strlen(finding->old) : 0, old, sizeof(old));
    img_escape(finding->new ? finding->new : "",
               finding->new ? strlen(finding->new) : 0, new, sizeof(new));
    if (finding->old && finding->new) {
        return img_text(err, "Target %s%s '%s' does not match source '%s'",
                        subject, item, new, old);
    }
    if (finding->old) {
        return img_text(err, "Target %s%s is left out, source has '%s'",
                        subject, item, old);
    }
    if (finding->new) {
        return img_text(err, "Target %s%s '%s' is new, source has none",
                        subject, item, new);
    }
    return img_text(err, "Target %s%s %s", subject, item,
                    !finding->pair->new   ? "is left out, source has it"
                    : !finding->pair->old ? "is new, source has none"
                                          : "does not match source");
}

static int add(struct abi_walk *walk, enum chain_abi_kind kind,
               const struct finding *finding)
{
    struct chain_abi *out = walk->out;
    struct chain_abi_difference *one;

    if (kind == CHAIN_ABI_BREAKS) {
        out->breaks_nr++;
    } else {
        out->seen_nr++;
    }
    if (out->nr == CHAIN_ABI_MAX_DIFFERENCES) {
        out->left_off_nr++;
        return 0;
    }
    one = &out->list[out->nr];
    one->kind = kind;
    one->line = finding->pair->new ? finding->pair->new->line : 0;
    one->text = describe(finding, walk->err);
    if (!one->text) {
        return -1;
    }
    out->nr++;
    return 0;
}

/* ---- The comparison. */

/* A difference of CLASS; OLD and NEW are not both NULL, or an element is. */
static int judge(struct abi_walk *walk, enum abi_class class,
                 const struct finding *finding)
{
    const struct abi_value old = {finding->pair->old, finding->old};
    const struct abi_value new = {finding->pair->new, finding->new};

    if (class == ABI_FREE || abi_is_same(class, &old, &new)) {
        return 0;
    }
    if (class == ABI_SEEN) {
        return add(walk, CHAIN_ABI_SEEN, finding);
    }
    return class == ABI_KEPT && finding->old && finding->new
               ? 0
               : add(walk, CHAIN_ABI_BREAKS, finding);
}

/* Below <domain>, with slashes; false: longer than any in the table. */
static bool path_of(const struct virt_node *node, char out[ABI_PATH_MAX])
{
    char *begin = out + ABI_PATH_MAX - 1;

    *begin = '\0';
    for (; node->parent; node = node->parent) {
        size_t len = strlen(node->name), slash = *begin != '\0';

        if (len + slash > (size_t)(begin - out)) {
            out[0] = '\0';
            return false;
        }
        begin -= slash;
        if (slash) {
            *begin = '/';
        }
        begin -= len;
        memcpy(begin, node->name, len);
    }
    memmove(out, begin, (size_t)(out + ABI_PATH_MAX - begin));
    return true;
}

static enum abi_class class_of(const char *path, const char *attribute)
{
    char whole[ABI_PATH_MAX];
    int len = snprintf(whole, sizeof(whole), "%s@%s", path, attribute);

    return len < 0 || (size_t)len >= sizeof(whole) ? ABI_STAYS
                                                   : abi_class_of(whole);
}

/* In an element of the class AROUND. */
static int compare_attribute(struct abi_walk *walk, const struct pair *pair,
                             const char *path, enum abi_class around,
                             const char *name)
{
    const struct finding finding = {
        .pair = pair,
        .path = path,
        .attribute = name,
        .old = virt_attribute(pair->old, name),
        .new = virt_attribute(pair->new, name),
    };

    return finding.old && finding.new &&strcmp(finding.old, finding.new) == 0
               ? 0
               : judge(walk, around == ABI_SEEN ? around : class_of(path, name),
                       &finding);
}

static int compare_attributes(struct abi_walk *walk, const struct pair *pair,
                              const char *path, enum abi_class around)
{
    const struct virt_node *old = pair->old, *new = pair->new;

    for (size_t i = 0; old && i < old->attributes_nr; i++) {
        if (compare_attribute(walk, pair, path, around,
                              old->attributes[i].name) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; new &&i < new->attributes_nr; i++) {
        const char *name = new->attributes[i].name;

        if (!virt_attribute(old, name) &&
            compare_attribute(walk, pair, path, around, name) < 0) {
            return -1;
        }
    }
    return 0;
}

/* There is nothing in it whose absence could be told instead of its own. */
static bool is_bare(const struct virt_node *node)
{
    return node->attributes_nr == 0 && !node->first && !node->text;
}

/* What begins and ends with blanks around elements is no text. */
static const char *text_of(const struct virt_node *node)
{
    return node && !node->is_mixed ? node->text : NULL;
}

/* An element that the guest sees, with all that is in it: by its attributes
   where it is they that differ. */
static int compare_seen(struct abi_walk *walk, const struct finding *finding)
{
    const struct pair *pair = finding->pair;
    size_t nr = walk->out->seen_nr;

    if (abi_is_same_tree(pair->old, pair->new)) {
        return 0;
    }
    if (pair->old && pair->new &&compare_attributes(walk, pair, finding->path,
                                                    ABI_SEEN) < 0) {
        return -1;
    }
    return walk->out->seen_nr > nr ? 0 : add(walk, CHAIN_ABI_SEEN, finding);
}

static int compare_pair(struct abi_walk *walk, const struct pair *pair)
{
    char path[ABI_PATH_MAX];
    bool is_known = path_of(some(pair), path);
    enum abi_class class = is_known && path[0] ? abi_class_of(path) : ABI_STAYS;
    bool is_alone = !pair->old || !pair->new;
    struct finding finding = {.pair = pair, .path = path};

    if (class == ABI_FREE || (class == ABI_KEPT && !is_alone)) {
        return 0;
    }
    finding.old = text_of(pair->old);
    finding.new = text_of(pair->new);
    if (class == ABI_SEEN) {
        return compare_seen(walk, &finding);
    }
    if (is_alone &&
        (class == ABI_KEPT || is_device(some(pair)) || is_bare(some(pair)))) {
        return add(walk, CHAIN_ABI_BREAKS, &finding);
    }
    finding.old = text_of(pair->old);
    finding.new = text_of(pair->new);
    if (class != ABI_TEXT && (finding.old || finding.new) &&
        judge(walk, class, &finding) < 0) {
        return -1;
    }
    return compare_attributes(walk, pair, path, class) < 0
               ? -1
               : push_children(walk, pair);
}

static int by_kind_and_line(const void *a, const void *b)
{
    const struct chain_abi_difference *one = a, *other = b;

    return one->kind != other->kind
               ? (one->kind > other->kind) - (one->kind < other->kind)
               : (one->line > other->line) - (one->line < other->line);
}

static int compare(struct abi_walk *walk, const struct virt_node *old,
                   const struct virt_node *new)
{
    struct chain_abi *out = walk->out;

    out->list =
        img_calloc(CHAIN_ABI_MAX_DIFFERENCES, sizeof(*out->list), walk->err);
    if (!out->list || push(walk, old, new) < 0) {
        return -1;
    }
    for (size_t i = 0; i < walk->nr; i++) {
        const struct pair pair = walk->pairs[i];

        if (compare_pair(walk, &pair) < 0) {
            return -1;
        }
    }
    qsort(out->list, out->nr, sizeof(*out->list), by_kind_and_line);
    return 0;
}

int chain_abi_compare(const char *old_text, size_t old_len,
                      const char *old_name, const char *new_text,
                      size_t new_len, const char *new_name,
                      struct chain_abi *out, struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree old = {0};
    IMG_AUTO(virt_tree_fini) struct virt_tree new = {0};
    IMG_AUTO(walk_fini) struct abi_walk walk = {.out = out, .err = err};

    memset(out, 0, sizeof(*out));
    if (virt_document_parse(old_text, old_len, old_name, "domain", NULL, &old,
                            err) < 0 ||
        virt_document_parse(new_text, new_len, new_name, "domain", NULL, &new,
                            err) < 0) {
        return -1;
    }
    if (compare(&walk, old.root, new.root) < 0) {
        chain_abi_fini(out);
        return -1;
    }
    return 0;
}

/* By itself: paths begin in it. */
static const struct virt_node *domain_in(struct virt_tree *tree)
{
    for (struct virt_node *at = tree->root->first; at; at = at->next) {
        if (strcmp(at->name, "domain") == 0) {
            at->parent = NULL;
            return at;
        }
    }
    return NULL;
}

int abi_compare_snapshots(const struct chain_moment *old,
                          const struct chain_moment *new, struct chain_abi *out,
                          struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree old_tree = {0};
    IMG_AUTO(virt_tree_fini) struct virt_tree new_tree = {0};
    IMG_AUTO(walk_fini) struct abi_walk walk = {.out = out, .err = err};
    const struct virt_node *was, *is;

    memset(out, 0, sizeof(*out));
    if (virt_tree_parse(old->text, old->len, old->name, &old_tree, err) < 0 ||
        virt_tree_parse(new->text, new->len, new->name, &new_tree, err) < 0) {
        return -1;
    }
    was = domain_in(&old_tree);
    is = domain_in(&new_tree);
    if (was && is && compare(&walk, was, is) < 0) {
        chain_abi_fini(out);
        return -1;
    }
    return 0;
}

void chain_abi_fini(struct chain_abi *abi)
{
    for (size_t i = 0; i < abi->nr; i++) {
        free(abi->list[i].text);
    }
    free(abi->list);
    memset(abi, 0, sizeof(*abi));
}
