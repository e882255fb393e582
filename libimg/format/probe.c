/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file's first and last bytes say (room: format).
 *
 * Formats claim a file by the same bytes as QEMU's probe functions do, so
 * that a file is never of another format here than there. What is inside a
 * raw image is only a note for people: QEMU does not look for it.
 */
#include "formats.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/partition.h>

#define MBR_ENTRIES_OFF 446u
#define MBR_ENTRY_LEN 16u
#define MBR_ENTRIES_NR 4u
#define MBR_TYPE_PROTECTIVE 0xee
/* ECMA-167: volume structure descriptors. */
#define VOLUME_OFF 32768u
#define VOLUME_LEN 2048u
#define VOLUME_KIND_LEN 5u

int img_probe_load(struct img_file *file, uint8_t *head, uint8_t *tail,
                   struct img_probe_bytes *out, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    *out = (struct img_probe_bytes){
        .head = head,
        .head_len = (size_t)img_min(file_len, IMG_PROBE_HEAD_LEN),
        .tail = tail,
        .tail_len = (size_t)img_min(file_len, IMG_PROBE_TAIL_LEN),
        .file_len = file_len,
    };
    /* A hole, or a file that got shorter meanwhile, reads as zeros. */
    if (img_file_read_padded(file, head, out->head_len, 0, NULL, err) < 0) {
        return -1;
    }
    return img_file_read_padded(file, tail, out->tail_len,
                                file_len - out->tail_len, NULL, err);
}

/*
 * A partition table: all entries have a known boot flag, at least one is
 * used. *is_protective: one covers the disk for GPT.
 */
static bool is_partition_table(const uint8_t *sector, bool *is_protective)
{
    size_t used = 0;

    *is_protective = false;
    for (size_t i = 0; i < MBR_ENTRIES_NR; i++) {
        const uint8_t *entry = sector + MBR_ENTRIES_OFF + i * MBR_ENTRY_LEN;
        if (entry[0] != 0x00 && entry[0] != 0x80) {
            return false;
        }
        if (entry[4] == 0) {
            continue;
        }
        /* A partition begins after the table and has sectors. */
        if (img_load_le32(entry + 8) == 0 || img_load_le32(entry + 12) == 0) {
            return false;
        }
        used++;
        *is_protective |= entry[4] == MBR_TYPE_PROTECTIVE;
    }
    return used > 0;
}

static bool tail_has(const struct img_probe_bytes *bytes, const char *magic,
                     size_t len)
{
    return bytes->tail_len == IMG_PROBE_TAIL_LEN &&
           memcmp(bytes->tail, magic, len) == 0;
}

static const char *partition_contents(const struct img_probe_bytes *bytes)
{
    static const char gpt[] = "EFI PART";
    bool is_protective;

    if (!img_mbr_is_there(bytes->head, bytes->head_len) ||
        !is_partition_table(bytes->head, &is_protective)) {
        return NULL;
    }
    if (is_protective && (img_probe_has(bytes, 512, gpt, 8) ||
                          img_probe_has(bytes, 4096, gpt, 8))) {
        return "gpt";
    }
    return "mbr";
}

const char *img_probe_contents(const struct img_probe_bytes *bytes)
{
    if (!img_probe_has(bytes, 0, "conectix", 8) &&
        tail_has(bytes, "conectix", 8)) {
        return "vhd";
    }
    if (img_probe_has(bytes, 0, "LUKS\xba\xbe\0\2", 8)) {
        return "luks2";
    }
    if (img_probe_has(bytes, 32769, "CD001", 5)) {
        return "iso";
    }
    return partition_contents(bytes);
}

/* One of the volume descriptors that begin at 32 KiB is of KIND. */
static bool has_descriptor(const struct img_probe_bytes *bytes,
                           const char *kind)
{
    return img_probe_has(bytes, VOLUME_OFF + 1, kind, VOLUME_KIND_LEN) ||
           img_probe_has(bytes, VOLUME_OFF + VOLUME_LEN + 1, kind,
                         VOLUME_KIND_LEN);
}

size_t img_probe_disk(const struct img_probe_bytes *bytes,
                      const char *out[IMG_CONTENTS_MAX])
{
    size_t nr = 0;

    if (has_descriptor(bytes, "CD001")) {
        out[nr++] = "iso";
    }
    if (has_descriptor(bytes, "BEA01") || has_descriptor(bytes, "NSR02") ||
        has_descriptor(bytes, "NSR03")) {
        out[nr++] = "udf";
    }
    if (img_mbr_is_there(bytes->head, bytes->head_len)) {
        out[nr++] = "mbr";
    }
    return nr;
}
