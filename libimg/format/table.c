/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The formats of this room, by QEMU's driver names (room: format). */
#include "formats.h"

static const struct img_format table[] = {
    {"luks", img_luks_probe, img_luks_open},
    {"qcow", img_qcow_probe, img_qcow_open},
    {"qed", img_qed_probe, img_qed_open},
    {"vmdk", img_vmdk_probe, img_vmdk_open},
    {"vdi", img_vdi_probe, img_vdi_open},
    {"vpc", img_vpc_probe, img_vpc_open},
    {"vhdx", img_vhdx_probe, img_vhdx_open},
    {"parallels", img_parallels_probe, img_parallels_open},
    {"dmg", img_dmg_probe, img_dmg_open},
    {"bochs", img_bochs_probe, img_bochs_open},
    {"cloop", img_cloop_probe, img_cloop_open},
    {"raw", img_raw_probe, img_raw_open},
    {NULL, NULL, NULL},
};

const struct img_format *const img_formats = table;
