/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMDK. Byte 0: 0: the rest is a file (a descriptor, or a sparse extent with
 * one inside); else it is the text of a descriptor only. No file that it names
 * is opened.
 */
#include "../libimg/format/vmdk_desc.h"
#include "fuzz.h"

static void decode_text(const uint8_t *data, size_t len)
{
    struct img_vmdk_desc desc = {0};
    struct img_error err = {0};
    uint64_t sectors = 0;

    if (img_vmdk_desc_decode((const char *)data, len, &desc, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        for (size_t i = 0; i < desc.extents_nr; i++) {
            sectors += desc.extents[i].sectors;
        }
        fuzz_require(sectors == desc.sectors);
        fuzz_require(desc.extents_nr <= len);
    }
    img_vmdk_desc_fini(&desc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    if (data[0] == 0) {
        fuzz_open_described("vmdk", data + 1, len - 1);
    } else {
        decode_text(data + 1, len - 1);
    }
    return 0;
}
