/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room io: which program it is, by the name that it was started as. */
#include <string.h>

#include "proc.h"

static const struct {
    const char *prefix;
    bool is_whole; /* the name is just that */
    enum img_program program;
} known[] = {
    {"qemu-system-", false, IMG_PROGRAM_QEMU_SYSTEM},
    {"qemu-kvm", true, IMG_PROGRAM_QEMU_SYSTEM},
    {"kvm", true, IMG_PROGRAM_QEMU_SYSTEM},
    {"qemu-storage-daemon", true, IMG_PROGRAM_QEMU_STORAGE_DAEMON},
    {"qemu-nbd", true, IMG_PROGRAM_QEMU_NBD},
    {"qemu-img", true, IMG_PROGRAM_QEMU_IMG},
    {"qemu-io", true, IMG_PROGRAM_QEMU_IO},
    {"imgchain", true, IMG_PROGRAM_IMGCHAIN},
    {"nbdkit", true, IMG_PROGRAM_NBDKIT},
    {"virtlockd", true, IMG_PROGRAM_VIRTLOCKD},
    {"libvirtd", true, IMG_PROGRAM_LIBVIRTD},
    {"virtqemud", true, IMG_PROGRAM_LIBVIRTD},
};

enum img_program img_program_of(const char *command)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        size_t len = strlen(known[i].prefix);

        if (strncmp(command, known[i].prefix, len) == 0 &&
            (!known[i].is_whole || command[len] == '\0')) {
            return known[i].program;
        }
    }
    return IMG_PROGRAM_OTHER;
}

const char *img_program_name(enum img_program program)
{
    static const char *const names[] = {
        [IMG_PROGRAM_OTHER] = "other",
        [IMG_PROGRAM_QEMU_SYSTEM] = "qemu-system",
        [IMG_PROGRAM_QEMU_STORAGE_DAEMON] = "qemu-storage-daemon",
        [IMG_PROGRAM_QEMU_NBD] = "qemu-nbd",
        [IMG_PROGRAM_QEMU_IMG] = "qemu-img",
        [IMG_PROGRAM_QEMU_IO] = "qemu-io",
        [IMG_PROGRAM_IMGCHAIN] = "imgchain",
        [IMG_PROGRAM_NBDKIT] = "nbdkit",
        [IMG_PROGRAM_VIRTLOCKD] = "virtlockd",
        [IMG_PROGRAM_LIBVIRTD] = "libvirtd",
    };

    return names[program];
}

bool img_program_has_locks(enum img_program program)
{
    return program >= IMG_PROGRAM_QEMU_SYSTEM &&
           program <= IMG_PROGRAM_IMGCHAIN;
}
