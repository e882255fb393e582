/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The formats of this room, by QEMU's driver names (room: format). */
#include "formats.h"

#define ROW(name)                                                              \
    {                                                                          \
#name, img_##name##_probe, img_##name##_open, NULL, NULL               \
    }
#define ROW_COMPLETE(name)                                                     \
    {                                                                          \
#name, img_##name##_probe, img_##name##_open, NULL,                    \
            img_##name##_complete                                              \
    }
#define ROW_STRICT(name)                                                       \
    {                                                                          \
#name, img_##name##_probe, img_##name##_open, img_##name##_strict,     \
            img_##name##_complete                                              \
    }

static const struct img_format table[] = {
    ROW(luks),
    ROW(qcow),
    ROW(qed),
    ROW_STRICT(vmdk),
    ROW_COMPLETE(vdi),
    ROW_STRICT(vpc),
    ROW_COMPLETE(vhdx),
    ROW(parallels),
    ROW(dmg),
    ROW(bochs),
    ROW(cloop),
    ROW(raw),
    {NULL, NULL, NULL, NULL, NULL},
};

const struct img_format *const img_formats = table;
