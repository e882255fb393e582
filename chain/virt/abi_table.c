/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a domain's XML may change: see abi_table.h. */
#include "abi_table.h"

#include <stddef.h>
#include <string.h>

struct rule {
    const char *path; /* a "*" stands for one name */
    enum abi_class class;
};

/* By what libvirt 9.0 compares, as tests/interop/saved_image.py finds out. */
static const struct rule rules[] = {
    /* ---- The domain. */
    {"@id", ABI_FREE},
    {"uuid", ABI_UUID},
    {"genid", ABI_UUID},
    {"title", ABI_FREE},
    {"description", ABI_FREE},
    {"metadata", ABI_FREE},
    {"memory", ABI_SIZE},
    {"currentMemory", ABI_SIZE},
    {"maxMemory", ABI_SIZE},
    {"*@unit", ABI_FREE},
    {"memory@dumpCore", ABI_FREE},
    {"memoryBacking/access", ABI_FREE},
    {"memoryBacking/allocation", ABI_FREE},
    {"memoryBacking/discard", ABI_FREE},
    {"memoryBacking/hugepages", ABI_FREE},
    {"memoryBacking/locked", ABI_FREE},
    {"memoryBacking/nosharepages", ABI_FREE},
    {"vcpu@placement", ABI_FREE},
    {"vcpu@cpuset", ABI_FREE},
    {"iothreads", ABI_FREE},
    {"iothreadids", ABI_FREE},
    {"defaultiothread", ABI_FREE},
    {"cputune", ABI_FREE},
    {"blkiotune", ABI_FREE},
    {"memtune", ABI_FREE},
    {"numatune", ABI_FREE},
    {"resource", ABI_FREE},
    {"perf", ABI_FREE},
    {"sysinfo/oemStrings", ABI_SEEN},
    {"os@firmware", ABI_SEEN},
    {"os/firmware", ABI_SEEN},
    {"os/acpi", ABI_SEEN},
    {"os/boot", ABI_FREE},
    {"os/bootmenu", ABI_FREE},
    {"os/bios@rebootTimeout", ABI_FREE},
    {"features/smm/tseg", ABI_LENGTH},
    {"features/smm/tseg@unit", ABI_FREE},
    {"os/loader", ABI_TEXT},
    {"os/loader@readonly", ABI_SEEN},
    {"os/loader@type", ABI_SEEN},
    {"os/loader@secure", ABI_SEEN},
    {"os/nvram", ABI_FREE},
    {"os/kernel", ABI_FREE},
    {"os/initrd", ABI_FREE},
    {"os/cmdline", ABI_FREE},
    {"os/dtb", ABI_FREE},
    {"cpu@match", ABI_FREE},
    {"cpu/model@fallback", ABI_FREE},
    {"cpu/numa/cell@memory", ABI_SIZE},
    {"cpu/numa/cell@unit", ABI_FREE},
    {"clock@*", ABI_FREE},
    {"clock/timer@tickpolicy", ABI_FREE},
    {"clock/timer@track", ABI_FREE},
    {"clock/timer/catchup", ABI_FREE},
    {"on_poweroff", ABI_FREE},
    {"on_reboot", ABI_FREE},
    {"on_crash", ABI_FREE},
    {"on_lockfailure", ABI_FREE},
    {"pm", ABI_SEEN},
    {"seclabel", ABI_FREE},
    {"qemu:commandline", ABI_SEEN},
    {"qemu:override", ABI_SEEN},
    {"qemu:capabilities", ABI_SEEN},
    {"qemu:deprecation", ABI_FREE},

    /* ---- All devices. */
    {"devices/emulator", ABI_KEPT},
    {"devices/*/alias", ABI_FREE},
    {"devices/*/boot", ABI_FREE},
    {"devices/*/rom", ABI_SEEN},
    {"devices/*/address@multifunction", ABI_SEEN},
    {"devices/*/address@type", ABI_STAYS},
    {"devices/*/address@*", ABI_NUMBER},

    {"devices/disk@type", ABI_FREE},
    {"devices/disk@snapshot", ABI_FREE},
    {"devices/disk/source", ABI_FREE},
    {"devices/disk/backingStore", ABI_FREE},
    {"devices/disk/mirror", ABI_FREE},
    {"devices/disk/auth", ABI_FREE},
    {"devices/disk/encryption", ABI_FREE},
    {"devices/disk/iotune", ABI_FREE},
    {"devices/disk/shareable", ABI_FREE},
    {"devices/disk/transient", ABI_FREE},
    {"devices/disk/blockio", ABI_SEEN},
    {"devices/disk/geometry", ABI_SEEN},
    {"devices/disk/vendor", ABI_SEEN},
    {"devices/disk/product", ABI_SEEN},
    {"devices/disk/target@removable", ABI_SEEN},
    {"devices/disk/target@tray", ABI_FREE},
    {"devices/disk/driver@type", ABI_FREE},
    {"devices/disk/driver@cache", ABI_CACHE},
    {"devices/disk/driver@io", ABI_FREE},
    {"devices/disk/driver@discard", ABI_FREE},
    {"devices/disk/driver@detect_zeroes", ABI_FREE},
    {"devices/disk/driver@error_policy", ABI_FREE},
    {"devices/disk/driver@rerror_policy", ABI_FREE},
    {"devices/disk/driver@ioeventfd", ABI_FREE},
    {"devices/disk/driver@event_idx", ABI_SEEN},
    {"devices/disk/driver@copy_on_read", ABI_FREE},
    {"devices/disk/driver@iothread", ABI_FREE},
    {"devices/disk/driver/metadata_cache", ABI_FREE},

    {"devices/controller/driver@iothread", ABI_FREE},
    {"devices/controller/driver@queues", ABI_SEEN},
    {"devices/controller/driver@cmd_per_lun", ABI_SEEN},
    {"devices/controller/driver@max_sectors", ABI_SEEN},
    {"devices/controller/driver@ioeventfd", ABI_FREE},
    {"devices/controller/target", ABI_SEEN},

    {"devices/filesystem@accessmode", ABI_FREE},
    {"devices/filesystem@multidevs", ABI_FREE},
    {"devices/filesystem@fmode", ABI_FREE},
    {"devices/filesystem@dmode", ABI_FREE},
    {"devices/filesystem/source", ABI_KEPT},
    {"devices/filesystem/binary", ABI_FREE},
    {"devices/filesystem/driver@queue", ABI_SEEN},

    {"devices/interface@type", ABI_NET},
    {"devices/interface@*", ABI_FREE},
    {"devices/interface/mac@address", ABI_WORD},
    {"devices/interface/mac@*", ABI_FREE},
    {"devices/interface/source", ABI_FREE},
    {"devices/interface/virtualport", ABI_FREE},
    {"devices/interface/bandwidth", ABI_FREE},
    {"devices/interface/vlan", ABI_FREE},
    {"devices/interface/filterref", ABI_FREE},
    {"devices/interface/port", ABI_FREE},
    {"devices/interface/target", ABI_FREE},
    {"devices/interface/script", ABI_FREE},
    {"devices/interface/downscript", ABI_FREE},
    {"devices/interface/backend", ABI_FREE},
    {"devices/interface/tune", ABI_FREE},
    {"devices/interface/coalesce", ABI_FREE},
    {"devices/interface/ip", ABI_FREE},
    {"devices/interface/route", ABI_FREE},
    {"devices/interface/link", ABI_FREE},
    {"devices/interface/driver@name", ABI_FREE},
    {"devices/interface/driver@txmode", ABI_FREE},
    {"devices/interface/driver@ioeventfd", ABI_FREE},
    {"devices/interface/driver@event_idx", ABI_SEEN},
    {"devices/interface/driver@queues", ABI_SEEN},
    {"devices/interface/driver@rx_queue_size", ABI_SEEN},
    {"devices/interface/driver@tx_queue_size", ABI_SEEN},
    {"devices/interface/driver/host", ABI_SEEN},
    {"devices/interface/driver/guest", ABI_SEEN},

    {"devices/smartcard@*", ABI_FREE},
    {"devices/smartcard/source", ABI_FREE},
    {"devices/smartcard/certificate", ABI_FREE},
    {"devices/smartcard/database", ABI_FREE},
    {"devices/smartcard/protocol", ABI_FREE},

    {"devices/serial@*", ABI_FREE},
    {"devices/parallel@*", ABI_FREE},
    {"devices/console@*", ABI_FREE},
    {"devices/channel@*", ABI_FREE},
    {"devices/serial/source", ABI_FREE},
    {"devices/parallel/source", ABI_FREE},
    {"devices/console/source", ABI_FREE},
    {"devices/channel/source", ABI_FREE},
    {"devices/redirdev/source", ABI_FREE},
    {"devices/input/source", ABI_FREE},
    {"devices/*/log", ABI_FREE},
    {"devices/*/protocol", ABI_FREE},
    {"devices/serial/target@port", ABI_NUMBER},
    {"devices/parallel/target@port", ABI_NUMBER},
    {"devices/console/target@port", ABI_FREE},

    {"devices/tpm/backend/device", ABI_FREE},
    {"devices/tpm/backend/encryption", ABI_FREE},
    {"devices/graphics", ABI_FREE},
    {"devices/audio", ABI_FREE},
    {"devices/sound/audio", ABI_FREE},
    {"devices/video/model@primary", ABI_SEEN},
    {"devices/video/model/resolution", ABI_SEEN},

    {"devices/hostdev@managed", ABI_FREE},
    {"devices/hostdev/source", ABI_KEPT},
    {"devices/redirfilter/usbdev@class", ABI_NUMBER},
    {"devices/redirfilter/usbdev@vendor", ABI_NUMBER},
    {"devices/redirfilter/usbdev@product", ABI_NUMBER},
    {"devices/watchdog@action", ABI_FREE},
    {"devices/memballoon/stats", ABI_FREE},
    {"devices/rng/rate", ABI_FREE},
    {"devices/rng/backend", ABI_KEPT},
    {"devices/shmem@name", ABI_KEPT},
    {"devices/shmem/alias", ABI_SEEN}, /* the memory has its name */
    {"devices/shmem/server@path", ABI_FREE},
    {"devices/shmem/size", ABI_LENGTH},
    {"devices/shmem/size@unit", ABI_FREE},
    {"devices/memory/alias", ABI_STAYS},
    {"devices/memory/source/path", ABI_SEEN},
    {"devices/memory/source/nodemask", ABI_FREE},
    {"devices/memory/source/pagesize", ABI_FREE},
    {"devices/memory/source/alignsize", ABI_SIZE},
    {"devices/memory/source/*@unit", ABI_FREE},
    {"devices/memory/target/size", ABI_SIZE},
    {"devices/memory/target/block", ABI_SIZE},
    {"devices/memory/target/requested", ABI_SIZE},
    {"devices/memory/target/*@unit", ABI_FREE},
    {"devices/memory/target/label/size", ABI_SIZE},
    {"devices/memory/target/label/size@unit", ABI_FREE},
    {"devices/vsock/cid", ABI_SEEN},
    {"devices/lease", ABI_FREE},
};

/* One name of PATH against one of PATTERN. */
static bool is_match(const char *pattern, const char *path)
{
    while (*pattern) {
        if (*pattern == '*') {
            size_t len = strcspn(path, "/@");

            if (len == 0) {
                return false;
            }
            pattern++;
            path += len;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == '\0';
}

/* What a rule names itself goes before what it names by "*". */
enum abi_class abi_class_of(const char *path)
{
    const struct rule *wide = NULL;

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (strcmp(rules[i].path, path) == 0) {
            return rules[i].class;
        }
        if (!wide && is_match(rules[i].path, path)) {
            wide = &rules[i];
        }
    }
    return wide ? wide->class : ABI_STAYS;
}

static bool is_word(const struct virt_node *node, const char *attribute,
                    const char *word)
{
    const char *value = virt_attribute(node, attribute);

    return value && strcmp(value, word) == 0;
}

/* What an i440fx has at its place, whether libvirt has stored it or not. */
static bool is_default_usb(const struct virt_node *device)
{
    const struct virt_node *address = virt_child(device, "address");

    return is_word(device, "type", "usb") && is_word(device, "index", "0") &&
           is_word(device, "model", "piix3-uhci") &&
           is_word(address, "bus", "0x00") &&
           is_word(address, "slot", "0x01") &&
           is_word(address, "function", "0x2");
}

bool abi_is_implied(const struct virt_node *device)
{
    if (strcmp(device->name, "controller") == 0) {
        return (is_word(device, "type", "pci") &&
                (is_word(device, "model", "pci-root") ||
                 is_word(device, "model", "pcie-root"))) ||
               is_default_usb(device);
    }
    if (strcmp(device->name, "input") == 0) {
        return is_word(device, "bus", "ps2");
    }
    return strcmp(device->name, "console") == 0 &&
           is_word(virt_child(device, "target"), "type", "serial") &&
           virt_child(device->parent, "serial");
}

bool abi_is_plain(const struct virt_node *device)
{
    if (strcmp(device->name, "controller") != 0) {
        return true;
    }
    for (const struct virt_node *n = device->first; n; n = n->next) {
        if (strcmp(n->name, "alias") != 0 && strcmp(n->name, "address") != 0) {
            return false;
        }
    }
    return true;
}
