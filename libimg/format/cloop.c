/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cloop (compressed loopback): block size and number of blocks, big-endian,
 * behind the shell script at its start (room: format). Contents are not
 * read.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

#define CLOOP_HEADER_LEN 136u
#define CLOOP_MAGIC                                                            \
    "#!/bin/sh\n#V2.0 Format\n"                                                \
    "modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
#define CLOOP_MAGIC_LEN (sizeof(CLOOP_MAGIC) - 1)
#define CLOOP_BLOCK_MAX (64u << 20)
/* QEMU: at most 512 MiB of eight-byte block offsets, one more than blocks. */
#define CLOOP_BLOCKS_MAX ((512u << 20) / 8 - 1)

bool img_cloop_probe(const struct img_probe_bytes *bytes)
{
    return img_probe_has(bytes, 0, CLOOP_MAGIC, CLOOP_MAGIC_LEN);
}

int img_cloop_open(struct img_file *file, struct img_image **out,
                   struct img_error *err)
{
    uint8_t bytes[CLOOP_HEADER_LEN];

    if (img_file_read(file, bytes, sizeof(bytes), 0, err) < 0) {
        return -1;
    }
    if (memcmp(bytes, CLOOP_MAGIC, CLOOP_MAGIC_LEN) != 0) {
        return img_fail_at(err, IMG_FORMAT, 0, "not a cloop image");
    }
    uint32_t block_len = img_load_be32(bytes + 128);
    uint32_t blocks_nr = img_load_be32(bytes + 132);
    if (block_len == 0 || block_len % 512 != 0 || block_len > CLOOP_BLOCK_MAX) {
        return img_fail_at(err, IMG_CORRUPT, 128,
                           "cloop block size: found %" PRIu32
                           ", expected a multiple of 512 up to %u",
                           block_len, CLOOP_BLOCK_MAX);
    }
    if (blocks_nr > CLOOP_BLOCKS_MAX) {
        return img_fail_at(err, IMG_CORRUPT, 132,
                           "cloop blocks: found %" PRIu32
                           ", expected at most %u",
                           blocks_nr, CLOOP_BLOCKS_MAX);
    }
    struct img_image *image =
        img_described_new(file, "cloop", (uint64_t)blocks_nr * block_len, err);
    if (image == NULL) {
        return -1;
    }
    image->cluster_len = block_len;
    *out = image;
    return 0;
}
