/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is said of two documents that differ: see abi_impl.h. */
#include "abi_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

/* How NODE is known among its like: "vda", "pci 3"; "": by nothing. */
static void name_device(const struct virt_node *node, char *out, size_t size)
{
    struct abi_child child = {.node = node};
    char raw[128];

    if (abi_is_implied(node)) {
        out[0] = '\0';
        return;
    }
    abi_set_key(&child);
    (void)snprintf(raw, sizeof(raw), "%s%s%s", child.key,
                   child.key2[0] ? " " : "", child.key2);
    img_escape(raw, strlen(raw), out, size);
}

/* The device that NODE is, or lies in; NULL: none. */
static const struct virt_node *device_of(const struct virt_node *node)
{
    while (node && !abi_is_device(node)) {
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

static char *describe(const struct abi_finding *finding, struct img_error *err)
{
    const struct virt_node *node = abi_some(finding->pair);
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

/* One more difference, of which a text is wanted; NULL: it is only counted. */
static struct chain_abi_difference *count(struct chain_abi *out,
                                          enum chain_abi_kind kind,
                                          const struct virt_node *node)
{
    struct chain_abi_difference *one = &out->list[out->nr];

    if (kind == CHAIN_ABI_BREAKS) {
        out->breaks_nr++;
    } else {
        out->seen_nr++;
    }
    if (out->nr == CHAIN_ABI_MAX_DIFFERENCES) {
        out->left_off_nr++;
        return NULL;
    }
    one->kind = kind;
    one->line = node ? node->line : 0;
    return one;
}

/* Takes over TEXT; NULL: memory is out. */
static int put(struct chain_abi *out, char *text)
{
    out->list[out->nr].text = text;
    out->nr += text != NULL;
    return text ? 0 : -1;
}

int abi_add(struct abi_walk *walk, enum chain_abi_kind kind,
            const struct abi_finding *finding)
{
    return count(walk->out, kind, finding->pair->new)
               ? put(walk->out, describe(finding, walk->err))
               : 0;
}

/* What begins and ends with blanks around elements is no text. */
const char *abi_text_of(const struct virt_node *node)
{
    return node && !node->is_mixed ? node->text : NULL;
}

int abi_add_senseless(struct abi_walk *walk, const struct virt_node *node,
                      const char *path, const char *attribute)
{
    const char *value =
        attribute ? virt_attribute(node, attribute) : abi_text_of(node);
    char subject[400], item[400], shown[200];

    if (!count(walk->out, CHAIN_ABI_BREAKS, node)) {
        return 0;
    }
    name_subject(node, subject, sizeof(subject));
    name_item(path, attribute, device_of(node) != NULL, item, sizeof(item));
    if (!value) {
        return put(walk->out, img_text(walk->err, "Target %s%s is missing",
                                       subject, item));
    }
    img_escape(value, strlen(value), shown, sizeof(shown));
    return put(walk->out,
               img_text(walk->err,
                        "Target %s%s '%s' is none that libvirt knows", subject,
                        item, shown));
}

int abi_add_fault(struct abi_walk *walk, const struct virt_node *device,
                  const char *fault)
{
    char subject[400];

    if (!count(walk->out, CHAIN_ABI_BREAKS, device)) {
        return 0;
    }
    name_subject(device, subject, sizeof(subject));
    return put(walk->out, img_text(walk->err, "Target %s %s", subject, fault));
}
