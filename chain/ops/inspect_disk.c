/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about what the disk shows: partition-table, guest-header.
 *
 * A raw file is the disk itself, and whoever uses it reads its partition
 * table; what a guest wrote inside a qcow2 image is the guest's, and only
 * told.
 */
#include <inttypes.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/partition.h>

#include "inspect_impl.h"

/* Sector sizes for which a GPT may be made. */
static const uint32_t sector_lens[] = {512, 4096};

static bool has_disk(const struct inspect_file *file, const char *name)
{
    const char *disk[IMG_CONTENTS_MAX];
    size_t nr = img_probe_disk(&file->disk, disk);

    for (size_t i = 0; i < nr; i++) {
        if (strcmp(disk[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* What is wrong with a raw disk deserves no more than a look in a guest. */
static enum chain_check_result worst(const struct inspect *in)
{
    return in->file->header ? CHAIN_CHECK_WARN : CHAIN_CHECK_FAIL;
}

static int read_raw(const struct inspect_file *file, uint8_t *buf, size_t len,
                    uint64_t off, struct img_error *err)
{
    return img_file_read(file->file, buf, len, off, err);
}

/* The GPT header at sector LBA and its entries, of a raw disk. */
static int load_gpt(const struct inspect_file *file, uint32_t sector_len,
                    uint64_t lba, struct img_gpt *out, struct img_error *err)
{
    uint8_t header[512];
    uint64_t off, entries_off;

    if (!img_mul(lba, sector_len, &off) ||
        read_raw(file, header, sizeof(header), off, err) < 0 ||
        img_gpt_decode(header, sizeof(header), lba, out, err) < 0) {
        return -1;
    }
    size_t len = (size_t)out->entries_nr * out->entry_len;
    if (!img_mul(out->entries_lba, sector_len, &entries_off) ||
        !img_range_fits(entries_off, len, img_file_len(file->file))) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "GPT entries: found at sector %" PRIu64
                           ", expected on the disk",
                           out->entries_lba);
    }
    IMG_AUTO(img_free_ptr) uint8_t *entries = img_calloc(1, len, err);
    return !entries || read_raw(file, entries, len, entries_off, err) < 0
               ? -1
               : img_gpt_check_entries(out, entries, err);
}

/* The primary header for either sector size. */
static int load_primary(const struct inspect_file *file, uint32_t *sector_len,
                        struct img_gpt *out, struct img_error *err)
{
    struct img_error first;

    for (size_t i = 0; i < sizeof(sector_lens) / sizeof(sector_lens[0]); i++) {
        *sector_len = sector_lens[i];
        if (load_gpt(file, *sector_len, 1, out, i == 0 ? &first : err) == 0) {
            return 0;
        }
    }
    *err = first;
    *sector_len = sector_lens[0];
    return -1;
}

/* The primary header is broken: is there a second one? */
static void say_primary_broken(struct inspect *in, const struct img_error *why)
{
    const struct inspect_file *file = in->file;
    struct img_gpt gpt;
    struct img_error ignored;
    uint64_t last = img_file_len(file->file) / sector_lens[0];

    if (inspect_is_unkept(why)) {
        inspect_say_error(in, CHAIN_CHECK_WARN, why);
        return;
    }
    bool has_second = last > 1 && load_gpt(file, sector_lens[0], last - 1, &gpt,
                                           &ignored) == 0;
    inspect_say_error(in, has_second ? CHAIN_CHECK_WARN : CHAIN_CHECK_FAIL,
                      why);
}

static void judge_gpt(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    struct img_gpt gpt, second;
    struct img_error error;
    uint32_t sector_len;
    uint64_t second_off;

    if (load_primary(file, &sector_len, &gpt, &error) < 0) {
        say_primary_broken(in, &error);
        return;
    }
    if (!img_mul(gpt.other_lba, sector_len, &second_off) ||
        !img_range_fits(second_off, sector_len, img_file_len(file->file))) {
        inspect_say(in, CHAIN_CHECK_FAIL,
                    "the disk is cut off: its second GPT header is said to be "
                    "past the end");
        inspect_found(in, "sector %" PRIu64, gpt.other_lba);
        inspect_expected(in, "a sector of the disk's %" PRIu64,
                         img_file_len(file->file) / sector_len);
    } else if (load_gpt(file, sector_len, gpt.other_lba, &second, &error) < 0) {
        inspect_say_error(in, CHAIN_CHECK_WARN, &error);
    } else {
        inspect_say(in, CHAIN_CHECK_PASS, "a GPT with both its headers");
    }
}

static void judge_mbr(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    struct img_mbr mbr;
    struct img_error error;

    if (img_mbr_decode(file->disk.head, &mbr, &error) < 0) {
        inspect_say_error(in, worst(in), &error);
    } else if (mbr.is_protective && !file->header) {
        judge_gpt(in);
    } else if (mbr.end_len > file->image->virtual_len) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "a partition ends past the end of the disk");
        inspect_found(in, "%" PRIu64 " bytes", mbr.end_len);
        inspect_expected(in, "at most %" PRIu64, file->image->virtual_len);
    } else {
        inspect_say(in, CHAIN_CHECK_PASS, "a sane partition table");
    }
}

/* The ends of the disk are not here: for want of a key or a data file, as the
   image is meant to be; else something that should be there was not read. */
static void say_no_disk(struct inspect *in)
{
    const struct img_error *why = &in->file->disk_error;

    if (why->code == IMG_UNSUPPORTED) {
        inspect_say(in, CHAIN_CHECK_SKIP,
                    "not judged: the disk's contents are not read");
        return;
    }
    inspect_say_error(in, CHAIN_CHECK_UNPROVEN, why);
}

void inspect_partitions(struct inspect *in)
{
    const struct inspect_file *file = in->file;

    if (!file->disk_head) {
        say_no_disk(in);
    } else if (has_disk(file, "iso")) {
        inspect_say(in, CHAIN_CHECK_PASS,
                    "an ISO 9660 medium; a partition table on it is for "
                    "starting from a disk");
    } else if (!has_disk(file, "mbr")) {
        inspect_say(in, CHAIN_CHECK_PASS, "no partition table");
    } else {
        judge_mbr(in);
    }
}

void inspect_guest_header(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    struct chain_claim claims[CHAIN_CLAIMS_MAX];

    if (!file->disk_head) {
        say_no_disk(in);
        return;
    }
    size_t nr = chain_claims(&file->disk, claims);
    for (size_t i = 0; i < nr; i++) {
        if (claims[i].is_container) {
            inspect_say(in, CHAIN_CHECK_WARN,
                        "the disk inside looks like a %s image: once it is "
                        "flattened to raw, do not let its format be probed",
                        claims[i].name);
            inspect_found(in, "%s", claims[i].name);
            return;
        }
    }
    inspect_say(in, CHAIN_CHECK_PASS, "no image inside of the image");
}
