/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file opened as one of the formats that are only described. Byte 0: which,
 * in the order of the list below; the rest is the file.
 */
#include "fuzz.h"

static const char *const names[] = {
    "luks", "qcow",      "qed", "vmdk",  "vdi",   "vpc",
    "vhdx", "parallels", "dmg", "bochs", "cloop",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len > 0) {
        fuzz_open_described(names[data[0] % (sizeof(names) / sizeof(names[0]))],
                            data + 1, len - 1);
    }
    return 0;
}
