/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Formats: probing, raw images, and formats that are recognised and
 * described but whose contents are not read.
 *
 * The list of formats is put together above (chain/graph adds qcow2); this
 * room brings raw, luks, qcow (version 1), qed, vmdk, vdi, vpc, vhdx,
 * parallels, dmg, bochs and cloop, by QEMU's driver names.
 */
#ifndef IMG_FORMAT_H
#define IMG_FORMAT_H

#include <img/image.h>

/* What a probe looks at: the first and the last bytes of a file. */
#define IMG_PROBE_HEAD_LEN 36864u /* covers ISO 9660's descriptor at 32768 */
#define IMG_PROBE_TAIL_LEN 512u   /* VHD and DMG keep a footer there */

struct img_probe_bytes {
    const uint8_t *head;
    size_t head_len;
    const uint8_t *tail; /* the last bytes of the file */
    size_t tail_len;
    uint64_t file_len;
};

struct img_format {
    const char *name; /* QEMU's driver name */
    /*
     * Does the file claim to be of this format? Pure, no I/O. The bytes are
     * those by which QEMU probes; only dmg, which QEMU probes by file name,
     * goes by its trailer. raw claims nothing.
     */
    bool (*probe)(const struct img_probe_bytes *bytes);
    /* Open FILE (takes its own reference) as this format. */
    int (*open)(struct img_file *file, struct img_image **out,
                struct img_error *err);
    /*
     * What open lets pass and a strict reader does not: an image that
     * different readers may understand differently is IMG_CORRUPT. Only for a
     * file that open accepts. NULL: open is strict.
     */
    int (*strict)(struct img_file *file, struct img_error *err);
    /*
     * Does the file hold all that its tables name? IMG_CORRUPT: it is cut off.
     * Only for a file that open accepts; time and memory are bounded by what
     * the file holds. NULL: there is nothing to look at, or it is looked at
     * elsewhere (qcow2).
     */
    int (*complete)(struct img_file *file, struct img_error *err);
};

/* The formats of this room, ended by one with name NULL. raw comes last. */
extern const struct img_format *const img_formats;

/*
 * Read what probes look at. HEAD and TAIL are the caller's buffers of
 * IMG_PROBE_HEAD_LEN and IMG_PROBE_TAIL_LEN bytes; OUT points into them.
 */
int img_probe_load(struct img_file *file, uint8_t *head, uint8_t *tail,
                   struct img_probe_bytes *out, struct img_error *err);

/*
 * What raw bytes look like inside (notes for people, never a format that
 * QEMU would find by itself): "iso", "gpt", "mbr", "luks2" (LUKS version 2,
 * which QEMU does not read), "vhd" (a fixed VHD: disk contents with a footer,
 * which QEMU reads as such only when told), or NULL.
 */
const char *img_probe_contents(const struct img_probe_bytes *bytes);
/*
 * All that is on the disk that the bytes are, by any reader's signature:
 * "iso", "udf", "mbr" (any boot sector that is no file system's). Returns how
 * many.
 */
#define IMG_CONTENTS_MAX 3u
size_t img_probe_disk(const struct img_probe_bytes *bytes,
                      const char *out[IMG_CONTENTS_MAX]);

/*
 * A raw image over FILE. Its virtual size is the file's, rounded up to 512
 * as QEMU does; map tells holes from data (SEEK_HOLE).
 */
int img_raw_open(struct img_file *file, struct img_image **out,
                 struct img_error *err);

/*
 * The open function of a format that is only described leaves an image with
 * format, virtual size, cluster size and backing name as far as the header
 * tells, is_readable false and unreadable_why
 * "cannot read contents of this format (NAME)".
 */

/*
 * LUKS version 1 header at the start of BYTES, as the value of QEMU's
 * ImageInfoSpecificLUKSBase: cipher-alg, cipher-mode, ivgen-alg,
 * [ivgen-hash-alg], hash-alg, uuid, payload-offset, master-key-iters,
 * slots[]. Offsets are as the header has them. Used for luks images and for
 * qcow2's crypto header. IMG_CORRUPT when it is no sane header.
 */
#define IMG_LUKS_HEADER_LEN 592u
int img_luks_describe(const uint8_t *bytes, size_t len, struct img_json **out,
                      struct img_error *err);

#endif
