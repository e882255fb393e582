/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Partition tables: a boot sector, and what follows it as a GPT header. */
#include <img/partition.h>

#include "fuzz.h"

static void decode_gpt(const uint8_t *data, size_t len)
{
    struct img_gpt gpt = {0};
    struct img_error err = {0};

    if (img_gpt_decode(data, len, 1, &gpt, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    size_t entries_len = (size_t)gpt.entries_nr * gpt.entry_len;
    fuzz_require(gpt.own_lba == 1);
    fuzz_require(entries_len > 0 && entries_len <= IMG_GPT_ENTRIES_LEN_MAX);
    if (len >= IMG_GPT_HEADER_LEN + entries_len &&
        img_gpt_check_entries(&gpt, data + IMG_GPT_HEADER_LEN, &err) < 0) {
        fuzz_require_error(&err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct img_mbr mbr = {0};
    struct img_error err = {0};

    if (len < IMG_MBR_LEN) {
        fuzz_require(!img_mbr_is_there(data, len));
        decode_gpt(data, len);
        return 0;
    }
    (void)img_mbr_is_there(data, len);
    if (img_mbr_decode(data, &mbr, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        fuzz_require(mbr.used >= 1 && mbr.used <= 4);
        fuzz_require(!mbr.is_protective || mbr.used == 1);
    }
    decode_gpt(data + IMG_MBR_LEN, len - IMG_MBR_LEN);
    return 0;
}
