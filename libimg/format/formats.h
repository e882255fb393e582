/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to room format: the functions behind each entry of img_formats,
 * and what the described formats share.
 */
#ifndef FORMATS_H
#define FORMATS_H

#include <img/format.h>

#define IMG_FORMAT_DECLARE(name)                                               \
    bool img_##name##_probe(const struct img_probe_bytes *bytes);              \
    int img_##name##_open(struct img_file *file, struct img_image **out,       \
                          struct img_error *err)

IMG_FORMAT_DECLARE(luks);
IMG_FORMAT_DECLARE(qcow);
IMG_FORMAT_DECLARE(qed);
IMG_FORMAT_DECLARE(vmdk);
IMG_FORMAT_DECLARE(vdi);
IMG_FORMAT_DECLARE(vpc);
IMG_FORMAT_DECLARE(vhdx);
IMG_FORMAT_DECLARE(parallels);
IMG_FORMAT_DECLARE(dmg);
IMG_FORMAT_DECLARE(bochs);
IMG_FORMAT_DECLARE(cloop);
int img_vmdk_strict(struct img_file *file, struct img_error *err);
int img_vmdk_complete(struct img_file *file, struct img_error *err);
int img_vpc_strict(struct img_file *file, struct img_error *err);
int img_vpc_complete(struct img_file *file, struct img_error *err);
int img_vdi_complete(struct img_file *file, struct img_error *err);
int img_vhdx_complete(struct img_file *file, struct img_error *err);
bool img_raw_probe(const struct img_probe_bytes *bytes);

/* Does the head hold the LEN bytes of MAGIC at OFF? */
bool img_probe_has(const struct img_probe_bytes *bytes, size_t off,
                   const void *magic, size_t len);

/*
 * An image of FILE whose contents cannot be read, by QEMU's driver NAME
 * (static). VIRTUAL_LEN is rounded down to whole sectors. The rest is the
 * caller's to fill in. NULL with ERR filled in on failure.
 */
struct img_image *img_described_new(struct img_file *file, const char *name,
                                    uint64_t virtual_len,
                                    struct img_error *err);
/* For operations of an implementation's own (map is not called). */
void img_described_free(struct img_image *image);
/* For IMG_AUTO on an image that is still being made. */
void img_described_free_ptr(struct img_image **image);

/*
 * QEMU's ImageInfoSpecific: TYPE and DATA, which is taken over. (What could
 * not be allocated inside DATA is reported when it is printed.)
 */
int img_specific_info(const char *type, struct img_json *data,
                      struct img_json **out, struct img_error *err);

/*
 * Walk a table of NR entries of ENTRY_LEN bytes (a power of two, 64 at most)
 * at OFF: ENTRY is called for those that are not in a hole of the file, until
 * it returns -1. Entries past the end of the file are IMG_CORRUPT.
 */
int img_table_walk(struct img_file *file, uint64_t off, uint64_t nr,
                   uint32_t entry_len,
                   int (*entry)(void *opaque, uint64_t idx,
                                const uint8_t *bytes, struct img_error *err),
                   void *opaque, struct img_error *err);
/* IMG_CORRUPT: [OFF, OFF + LEN), which WHAT IDX needs, passes FILE's end. */
int img_fail_cut_off(const struct img_file *file, const char *what,
                     uint64_t idx, uint64_t off, uint64_t len,
                     struct img_error *err);

/* Largest backing name that QEMU accepts, without its NUL. */
#define IMG_BACKING_NAME_MAX 1023u

/*
 * The LEN bytes of a backing name at OFF of FILE as a string. Longer than
 * IMG_BACKING_NAME_MAX, outside of the file, or with a NUL: IMG_CORRUPT.
 * NULL with ERR filled in on failure.
 */
char *img_backing_name_load(struct img_file *file, uint64_t off, uint64_t len,
                            struct img_error *err);

/* A check that many headers need: is VALUE a power of two in [MIN, MAX]? */
int img_check_power(const char *what, uint64_t value, uint64_t min,
                    uint64_t max, struct img_error *err);

/*
 * LEN bytes of UTF-16 (up to the first NUL) as UTF-8; halves of surrogate
 * pairs become U+FFFD. NULL with ERR filled in on failure. Free with free().
 */
char *img_utf16_dup(const uint8_t *bytes, size_t len, bool is_big_endian,
                    struct img_error *err);

#endif
