/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A saved domain's XML with what libvirt does not store and makes up when it
 * reads it: see chain/saved.h. Room: chain/virt.
 *
 * Of a PC: the USB controller and the root of the PCI bus that every i440fx
 * has, the PS/2 keyboard beside the mouse, and an audio backend. They stand
 * where libvirt puts them.
 */
#include <chain/saved.h>

#include <string.h>

#include <img/memory.h>

#include "bytes.h"
#include "document.h"
#include "tags.h"

/* libvirt's order of devices, as far as it matters. */
static const char *const until_controllers[] = {"emulator", "disk",
                                                "controller", NULL};
static const char *const until_audio[] = {
    "emulator",  "disk",     "controller", "lease",   "filesystem", "interface",
    "smartcard", "serial",   "parallel",   "console", "channel",    "input",
    "tpm",       "graphics", "sound",      NULL,
};

static const char usb[] =
    "\n    <controller type='usb' index='0' model='piix3-uhci'>"
    "\n      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' "
    "function='0x2'/>"
    "\n    </controller>";
static const char pci[] =
    "\n    <controller type='pci' index='0' model='pci-root'/>";
static const char keyboard[] = "\n    <input type='keyboard' bus='ps2'/>";
static const char audio_none[] = "\n    <audio id='1' type='none'/>";
static const char audio_spice[] = "\n    <audio id='1' type='spice'/>";

struct completer {
    const char *text, *end;
    const char *copied; /* up to here */
    const struct virt_node *devices;
    struct virt_bytes out;
    struct img_error *err;
};

static void completer_fini(struct completer *completer)
{
    virt_bytes_fini(&completer->out);
}

static bool has_word(const struct virt_node *node, const char *attribute,
                     const char *word)
{
    const char *value = virt_attribute(node, attribute);

    return value && strcmp(value, word) == 0;
}

/* The first device NAME whose ATTRIBUTE is WORD. */
static const struct virt_node *find(const struct virt_node *devices,
                                    const char *name, const char *attribute,
                                    const char *word)
{
    const struct virt_node *node = virt_child(devices, name);

    while (node && !has_word(node, attribute, word)) {
        node = virt_same(node);
    }
    return node;
}

static const struct virt_node *find_ps2(const struct virt_node *devices,
                                        const char *type)
{
    const struct virt_node *node = virt_child(devices, "input");

    while (node &&
           !(has_word(node, "bus", "ps2") && has_word(node, "type", type))) {
        node = virt_same(node);
    }
    return node;
}

/* The last device whose name is one of NAMES; NULL: there is none. */
static const struct virt_node *last_of(const struct virt_node *devices,
                                       const char *const *names)
{
    const struct virt_node *last = NULL;

    for (const struct virt_node *n = devices->first; n; n = n->next) {
        for (size_t i = 0; names[i]; i++) {
            last = strcmp(n->name, names[i]) == 0 ? n : last;
        }
    }
    return last;
}

/* Where the element ends that is ORDINAL of the document; WITH_CONTENTS false:
   where its tag does. */
static const char *end_of(const struct completer *completer, size_t ordinal,
                          bool with_contents)
{
    const char *at = completer->text, *tag;
    size_t nr = 0, depth = 0;
    bool is_in = false;
    unsigned attributes_nr;

    while (virt_tag_next(&at, completer->end, &tag, &attributes_nr)) {
        bool closes = tag[1] == '/', is_empty = at[-1] == '/';

        is_in |= !closes && nr == ordinal;
        nr += !closes;
        if (!is_in) {
            continue;
        }
        depth += !closes && !is_empty;
        depth -= closes;
        if (depth == 0 || !with_contents) {
            return at + 1;
        }
    }
    return completer->end;
}

/* TEXT behind the device AFTER, or before all of them. Devices come in the
   order of the document. */
static int insert(struct completer *completer, const struct virt_node *after,
                  const char *text)
{
    const char *at =
        end_of(completer, (after ? after : completer->devices)->ordinal,
               after != NULL);

    if (at < completer->copied) {
        return 0; /* somebody else's order: what is made up stays so */
    }
    if (virt_bytes_add(&completer->out, completer->copied,
                       (size_t)(at - completer->copied), completer->err) < 0 ||
        virt_bytes_add(&completer->out, text, strlen(text), completer->err) <
            0) {
        return -1;
    }
    completer->copied = at;
    return 0;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool is_i440fx(const struct virt_node *root)
{
    const struct virt_node *type = virt_child(virt_child(root, "os"), "type");
    const char *machine = virt_attribute(type, "machine");

    return machine &&
           (strcmp(machine, "pc") == 0 || begins(machine, "pc-0.") ||
            begins(machine, "pc-1.") || begins(machine, "pc-i440fx-"));
}

static int complete_controllers(struct completer *completer,
                                const struct virt_node *root)
{
    const struct virt_node *devices = completer->devices;
    const struct virt_node *after = last_of(devices, until_controllers);

    if (!is_i440fx(root)) {
        return 0;
    }
    if (!find(devices, "controller", "type", "usb") &&
        insert(completer, after, usb) < 0) {
        return -1;
    }
    return find(devices, "controller", "type", "pci")
               ? 0
               : insert(completer, after, pci);
}

static int complete(struct completer *completer, const struct virt_node *root)
{
    const struct virt_node *devices = completer->devices;
    const struct virt_node *mouse = find_ps2(devices, "mouse");

    if (complete_controllers(completer, root) < 0) {
        return -1;
    }
    if (mouse && !find_ps2(devices, "keyboard") &&
        insert(completer, mouse, keyboard) < 0) {
        return -1;
    }
    if (mouse && !virt_child(devices, "audio") &&
        insert(completer, last_of(devices, until_audio),
               find(devices, "graphics", "type", "spice") ? audio_spice
                                                          : audio_none) < 0) {
        return -1;
    }
    return virt_bytes_add(&completer->out, completer->copied,
                          (size_t)(completer->end - completer->copied),
                          completer->err);
}

int chain_saved_complete(const char *text, size_t len, const char *name,
                         char **out, struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};
    IMG_AUTO(completer_fini)
    struct completer completer = {
        .text = text, .end = text + len, .copied = text, .err = err};

    if (virt_document_parse(text, len, name, "domain", NULL, &tree, err) < 0) {
        return -1;
    }
    completer.devices = virt_child(tree.root, "devices");
    if (!completer.devices || !completer.devices->first) {
        *out = img_strndup(text, len, err);
        return *out ? 0 : -1;
    }
    if (complete(&completer, tree.root) < 0) {
        img_error_set_path(err, name);
        return -1;
    }
    *out = img_steal(&completer.out.bytes);
    return 0;
}
