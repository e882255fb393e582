/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DMG (Apple's UDIF): the "koly" trailer in the last 512 bytes, big-endian
 * (room: format). The virtual size is the trailer's sector count; the chunk
 * tables that QEMU adds up are not read.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

#define DMG_TRAILER_LEN 512u
#define DMG_MAGIC "koly"
#define DMG_MAGIC_LEN 4u
#define DMG_VERSION 4u
#define SECTOR_LEN 512u

/*
 * The data fork, the resource fork and the property list lie before the
 * trailer, and the latter has its own length and version. Guests write the
 * last sector of raw disks: four letters alone are no claim.
 */
static int check_trailer(const uint8_t *trailer, uint64_t trailer_off,
                         struct img_error *err)
{
    static const struct {
        const char *what;
        size_t at;
    } forks[] = {{"data fork", 24}, {"resource fork", 40}, {"XML", 216}};

    if (memcmp(trailer, DMG_MAGIC, DMG_MAGIC_LEN) != 0) {
        return img_fail_at(err, IMG_FORMAT, trailer_off,
                           "not a DMG: no trailer at its end");
    }
    if (img_load_be32(trailer + 4) != DMG_VERSION ||
        img_load_be32(trailer + 8) != DMG_TRAILER_LEN) {
        return img_fail_at(err, IMG_CORRUPT, trailer_off,
                           "DMG trailer: found version %" PRIu32 " and %" PRIu32
                           " bytes, expected version %u and %u bytes",
                           img_load_be32(trailer + 4),
                           img_load_be32(trailer + 8), DMG_VERSION,
                           DMG_TRAILER_LEN);
    }
    for (size_t i = 0; i < sizeof(forks) / sizeof(forks[0]); i++) {
        uint64_t off = img_load_be64(trailer + forks[i].at);
        uint64_t len = img_load_be64(trailer + forks[i].at + 8);
        if (!img_range_fits(off, len, trailer_off)) {
            return img_fail_at(err, IMG_CORRUPT, trailer_off + forks[i].at,
                               "DMG %s: found %" PRIu64
                               " bytes at offset %" PRIu64
                               ", expected before the trailer at %" PRIu64,
                               forks[i].what, len, off, trailer_off);
        }
    }
    return 0;
}

bool img_dmg_probe(const struct img_probe_bytes *bytes)
{
    struct img_error ignored;

    return bytes->tail_len == DMG_TRAILER_LEN &&
           check_trailer(bytes->tail, bytes->file_len - DMG_TRAILER_LEN,
                         &ignored) == 0;
}

int img_dmg_open(struct img_file *file, struct img_image **out,
                 struct img_error *err)
{
    uint8_t trailer[DMG_TRAILER_LEN];
    uint64_t file_len = img_file_len(file);
    uint64_t virtual_len;

    if (file_len < DMG_TRAILER_LEN) {
        return img_fail(err, IMG_CORRUPT,
                        "DMG too short: found %" PRIu64
                        " bytes, expected at least %u",
                        file_len, DMG_TRAILER_LEN);
    }
    uint64_t trailer_off = file_len - DMG_TRAILER_LEN;
    if (img_file_read(file, trailer, sizeof(trailer), trailer_off, err) < 0 ||
        check_trailer(trailer, trailer_off, err) < 0) {
        return -1;
    }
    uint64_t sectors = img_load_be64(trailer + 492);
    if (!img_mul(sectors, SECTOR_LEN, &virtual_len)) {
        return img_fail_at(err, IMG_CORRUPT, trailer_off + 492,
                           "DMG disk size: found %" PRIu64
                           " sectors, expected at most %" PRIu64,
                           sectors, IMG_OFF_MAX / SECTOR_LEN);
    }
    *out = img_described_new(file, "dmg", virtual_len, err);
    return *out != NULL ? 0 : -1;
}
