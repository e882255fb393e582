/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may change may still not become anything: words that libvirt knows, and
 * what has to be said with them. Room: chain/virt; for abi.c.
 *
 * Only what is new is asked about: a word of a later libvirt that was there
 * before stays.
 */
#include <stdlib.h>
#include <string.h>

#include "abi_impl.h"
#include "reader.h"

#define CHARACTER_DEVICES                                                      \
    "|null|vc|pty|dev|file|pipe|stdio|udp|tcp|unix|spicevmc|spiceport|nmdm|"   \
    "qemu-vdagent|dbus|"
#define ACTIONS "|destroy|restart|preserve|rename-restart|"

/* What an attribute may say; "" for any number; after "[" the characters that
   it may consist of. */
static const struct rule {
    const char *path, *attribute; /* NULL: the text */
    const char *words;
    bool is_required;
} rules[] = {
    {"on_poweroff", NULL, ACTIONS, true},
    {"on_reboot", NULL, ACTIONS, true},
    {"on_crash", NULL, ACTIONS "|coredump-destroy|coredump-restart|", true},
    {"vcpu", "cpuset", "[0123456789,-^", false},
    {"vcpu", "placement", "|static|auto|", false},
    {"clock", "offset", "|utc|localtime|variable|timezone|absolute|", false},
    {"clock/timer", "tickpolicy", "|delay|catchup|merge|discard|", false},
    {"seclabel", "type", "|dynamic|static|none|", false},
    {"memoryBacking/access", "mode", "|shared|private|", true},
    {"devices/disk/boot", "order", "", true},
    {"devices/interface/boot", "order", "", true},
    {"devices/hostdev/boot", "order", "", true},
    {"devices/redirdev/boot", "order", "", true},
    {"devices/graphics", "type",
     "|sdl|vnc|rdp|desktop|spice|egl-headless|dbus|", true},
    {"devices/graphics", "port", "", false},
    {"devices/graphics", "passwdValidTo", "[0123456789-T:", false},
    {"devices/graphics", "connected", "|fail|disconnect|keep|", false},
    {"devices/graphics/listen", "type", "|none|address|network|socket|", true},
    {"devices/audio", "id", "", true},
    {"devices/audio", "type",
     "|none|alsa|coreaudio|dbus|jack|oss|pipewire|pulseaudio|sdl|spice|file|",
     true},
    {"devices/sound/audio", "id", "", true},
    {"devices/interface", "type",
     "|user|ethernet|vhostuser|server|client|mcast|network|bridge|internal|"
     "direct|hostdev|udp|vdpa|null|vds|",
     true},
    {"devices/interface/link", "state", "|up|down|", false},
    {"devices/interface/driver", "name", "|qemu|vhost|", false},
    {"devices/filesystem", "accessmode", "|passthrough|mapped|squash|", false},
    {"devices/filesystem", "multidevs", "|default|remap|forbid|warn|", false},
    {"devices/serial", "type", CHARACTER_DEVICES, true},
    {"devices/parallel", "type", CHARACTER_DEVICES, true},
    {"devices/console", "type", CHARACTER_DEVICES, true},
    {"devices/channel", "type", CHARACTER_DEVICES, true},
    {"devices/smartcard", "mode", "|host|host-certificates|passthrough|", true},
    {"devices/smartcard", "type", CHARACTER_DEVICES, false},
    {"devices/hostdev", "managed", "|yes|no|", false},
    {"devices/rng/backend", "model", "|random|egd|builtin|", true},
    {"devices/watchdog", "action",
     "|reset|shutdown|poweroff|pause|none|dump|inject-nmi|", false},
};

/* Is VALUE between two bars of WORDS? */
static bool is_word_of(const char *words, const char *value)
{
    size_t len = strlen(value);

    for (const char *at = words; (at = strstr(at, value)); at++) {
        if (at > words && at[-1] == '|' && at[len] == '|') {
            return true;
        }
    }
    return false;
}

static bool is_sensible(const struct rule *rule, const char *value)
{
    char *end;

    if (!value) {
        return !rule->is_required;
    }
    if (rule->words[0] == '[') {
        return value[strspn(value, rule->words + 1)] == '\0';
    }
    if (rule->words[0]) {
        return value[0] && is_word_of(rule->words, value);
    }
    (void)strtol(value, &end, 10);
    return end != value && *end == '\0';
}

bool abi_value_has_sense(const struct virt_node *node, const char *path,
                         const char **attribute)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i];

        if (strcmp(rule->path, path) == 0 &&
            !is_sensible(rule, rule->attribute
                                   ? virt_attribute(node, rule->attribute)
                                   : node->text)) {
            *attribute = rule->attribute;
            return false;
        }
    }
    return true;
}

/* ---- What belongs together. */

static bool is_one_of(const char *words, const char *value)
{
    return value && value[0] && is_word_of(words, value);
}

static const char *source_of(const struct virt_node *device,
                             const char *attribute)
{
    return virt_attribute(virt_child(device, "source"), attribute);
}

static bool has_spice(const struct virt_node *devices)
{
    const struct virt_node *node = virt_child(devices, "graphics");

    while (node && !is_one_of("|spice|", virt_attribute(node, "type"))) {
        node = virt_same(node);
    }
    return node;
}

static const char *character_fault(const struct virt_node *device)
{
    const char *type = virt_attribute(device, "type");

    if (abi_is_implied(device)) {
        return NULL; /* whatever it says, it is the serial port */
    }
    if (is_one_of("|dev|file|pipe|", type) && !source_of(device, "path")) {
        return "has no source path";
    }
    if (is_one_of("|tcp|", type) && !source_of(device, "host")) {
        return "has no source host";
    }
    return is_one_of("|spicevmc|spiceport|", type) && !has_spice(device->parent)
               ? "needs a SPICE display"
               : NULL;
}

static const char *interface_fault(const struct virt_node *device)
{
    static const char *const needs[][2] = {
        {"bridge", "bridge"}, {"network", "network"}, {"direct", "dev"}};
    const char *type = virt_attribute(device, "type");

    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if (type && strcmp(type, needs[i][0]) == 0 &&
            !source_of(device, needs[i][1])) {
            return "has no source";
        }
    }
    return is_one_of("|user|", type) && virt_child(device, "mtu")
               ? "cannot have an MTU"
               : NULL;
}

static bool is_virtiofs(const struct virt_node *device)
{
    return is_one_of("|virtiofs|",
                     virt_attribute(virt_child(device, "driver"), "type"));
}

static const char *file_system_fault(const struct virt_node *device)
{
    const struct virt_node *memory =
        virt_child(device->parent->parent, "memoryBacking");
    const char *mode = virt_attribute(device, "accessmode");

    if (is_one_of("|mount|", virt_attribute(device, "type")) &&
        !source_of(device, "dir") && !source_of(device, "socket")) {
        return "has no source";
    }
    if (!is_virtiofs(device)) {
        return NULL;
    }
    if (mode && strcmp(mode, "passthrough") != 0) {
        return "is virtiofs, which knows no other access than passthrough";
    }
    return is_one_of("|shared|",
                     virt_attribute(virt_child(memory, "access"), "mode"))
               ? NULL
               : "is virtiofs, which needs shared memory";
}

/* Threads are numbered from 1 on, or have their numbers in a list. */
static bool has_thread(const struct virt_node *domain, const char *number)
{
    const struct virt_node *count = virt_child(domain, "iothreads");
    const struct virt_node *id =
        virt_child(virt_child(domain, "iothreadids"), "iothread");
    uint64_t wanted, nr = 0;

    for (; id; id = virt_same(id)) {
        const char *value = virt_attribute(id, "id");

        if (value && strcmp(value, number) == 0) {
            return true;
        }
    }
    if (count && count->text) {
        (void)virt_number(count->text, &nr);
    }
    return virt_number(number, &wanted) && wanted > 0 && wanted <= nr;
}

static const char *driver_fault(const struct virt_node *device)
{
    const struct virt_node *driver = virt_child(device, "driver");
    const char *thread = virt_attribute(driver, "iothread");

    if (thread && !has_thread(device->parent->parent, thread)) {
        return "is in an I/O thread that there is not";
    }
    if (virt_child(device, "transient") &&
        (virt_child(device, "readonly") ||
         is_one_of("|cdrom|", virt_attribute(device, "device")))) {
        return "is transient, which a read-only disk cannot be";
    }
    return is_one_of("|native|", virt_attribute(driver, "io")) &&
                   !is_one_of("|none|directsync|",
                              virt_attribute(driver, "cache"))
               ? "has io='native', which needs cache='none' or 'directsync'"
               : NULL;
}

static const char *input_fault(const struct virt_node *device)
{
    return is_one_of("|ps2|", virt_attribute(device, "bus")) &&
                   !is_one_of("|mouse|keyboard|",
                              virt_attribute(device, "type"))
               ? "is no PS/2 device that there is"
               : NULL;
}

static const char *smart_card_fault(const struct virt_node *device)
{
    return is_one_of("|passthrough|", virt_attribute(device, "mode")) &&
                   !virt_attribute(device, "type")
               ? "does not say how it reaches the host"
               : character_fault(device);
}

static const char *sound_fault(const struct virt_node *device)
{
    const char *id = virt_attribute(virt_child(device, "audio"), "id");
    const struct virt_node *audio = virt_child(device->parent, "audio");

    while (id && audio) {
        const char *other = virt_attribute(audio, "id");

        if (other && strcmp(other, id) == 0) {
            return NULL;
        }
        audio = virt_same(audio);
    }
    return id ? "names no audio backend that there is" : NULL;
}

/* A USB device of the host goes by both numbers, or by its address. */
static const char *host_device_fault(const struct virt_node *device)
{
    const struct virt_node *source = virt_child(device, "source");
    const struct virt_node *vendor = virt_child(source, "vendor");
    const struct virt_node *product = virt_child(source, "product");

    return is_one_of("|usb|", virt_attribute(device, "type")) &&
                   (vendor || product) &&
                   (!virt_attribute(vendor, "id") ||
                    !virt_attribute(product, "id"))
               ? "names a USB device by half: expected vendor and product"
               : NULL;
}

static const char *audio_fault(const struct virt_node *device)
{
    const struct virt_node *other = virt_child(device->parent, "audio");
    const char *id = virt_attribute(device, "id");

    for (; id && other; other = virt_same(other)) {
        const char *its = virt_attribute(other, "id");

        if (other != device && its && strcmp(its, id) == 0) {
            return "has the number of another audio backend";
        }
    }
    return NULL;
}

/* libvirt knows the address by both names. */
static const char *graphics_fault(const struct virt_node *device)
{
    const char *listen = virt_attribute(device, "listen");
    const char *address =
        virt_attribute(virt_child(device, "listen"), "address");

    return listen && address && strcmp(listen, address) != 0
               ? "has another listen= than the address of its first <listen>"
               : NULL;
}

static const char *timer_fault(const struct virt_node *timer)
{
    return is_one_of("|rtc|", virt_attribute(timer, "name")) &&
                   is_one_of("|merge|discard|",
                             virt_attribute(timer, "tickpolicy"))
               ? "rtc has a tick policy that QEMU does not have for it"
               : NULL;
}

static const char *label_fault(const struct virt_node *label)
{
    const struct virt_node *other = virt_child(label->parent, "seclabel");
    const char *model = virt_attribute(label, "model");

    for (; model && other; other = virt_same(other)) {
        const char *its = virt_attribute(other, "model");

        if (other != label && its && strcmp(its, model) == 0) {
            return "has the model of another one";
        }
    }
    return NULL;
}

/* NODE stands in the domain, or in its element AROUND. */
static bool stands_in(const struct virt_node *node, const char *around)
{
    return node->parent && strcmp(node->parent->name, around) == 0 &&
           (!node->parent->parent || !node->parent->parent->parent);
}

const char *abi_fault(const struct virt_node *node)
{
    static const struct {
        const char *around, *name;
        const char *(*fault)(const struct virt_node *node);
    } kinds[] = {
        {"domain", "seclabel", label_fault},
        {"clock", "timer", timer_fault},
        {"devices", "serial", character_fault},
        {"devices", "parallel", character_fault},
        {"devices", "console", character_fault},
        {"devices", "channel", character_fault},
        {"devices", "redirdev", character_fault},
        {"devices", "smartcard", smart_card_fault},
        {"devices", "input", input_fault},
        {"devices", "interface", interface_fault},
        {"devices", "filesystem", file_system_fault},
        {"devices", "disk", driver_fault},
        {"devices", "controller", driver_fault},
        {"devices", "sound", sound_fault},
        {"devices", "hostdev", host_device_fault},
        {"devices", "audio", audio_fault},
        {"devices", "graphics", graphics_fault},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(node->name, kinds[i].name) == 0 &&
            stands_in(node, kinds[i].around)) {
            return kinds[i].fault(node);
        }
    }
    return NULL;
}
