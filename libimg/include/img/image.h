/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image: bytes of a file, read as guest offsets -> where they lie.
 *
 * Every format that can be read implements struct img_image_ops; formats
 * that are only described (format.h) have an image whose contents cannot be
 * read. An image is used by one thread at a time, but for decompress, which
 * any number of threads may call.
 */
#ifndef IMG_IMAGE_H
#define IMG_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/extent.h>
#include <img/file.h>
#include <img/json.h>

struct img_image;
struct img_references;
/* Scratch memory of one thread; made where decompress is implemented
   (qcow2/inflate.h). */
struct img_inflater;

struct img_image_ops {
    /*
     * The extent at OFF, at most LEN bytes (LEN > 0, OFF + LEN within the
     * virtual size). IMG_CORRUPT for an entry that breaks the format.
     */
    int (*map)(struct img_image *image, uint64_t off, uint64_t len,
               struct img_extent *out, struct img_error *err);
    /* See img_image_decompress. NULL: the format has no compression. */
    int (*decompress)(const struct img_image *image,
                      struct img_inflater *inflater,
                      const struct img_extent *extent, const void *in,
                      void *out, struct img_error *err);
    /*
     * QEMU's ImageInfoSpecific of this image ({"type", "data"}), or NULL
     * in *out when QEMU prints none for the format.
     */
    int (*describe)(struct img_image *image, struct img_json **out,
                    struct img_error *err);
    /*
     * Add what the image refers to beyond its backing_name and data file
     * (img/reference.h). NULL: nothing.
     */
    int (*references)(struct img_image *image, struct img_references *out,
                      struct img_error *err);
    void (*free)(struct img_image *image);
};

/* An internal snapshot, as QEMU's SnapshotInfo tells it. */
struct img_snapshot {
    char *id; /* NUL-terminated */
    char *name;
    uint64_t vm_state_len;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t icount;      /* UINT64_MAX: not recorded */
    uint64_t virtual_len; /* the disk's size when it was taken */
};

/*
 * Implementations embed this as their first member and fill it in when they
 * open. All strings are NUL-terminated and belong to the image.
 */
struct img_image {
    const struct img_image_ops *ops;
    const char *format;    /* "qcow2", "raw", ...; static */
    struct img_file *file; /* own reference */
    uint64_t virtual_len;  /* what the guest sees; multiple of 512 */
    uint64_t cluster_len;  /* 0: the format has none */
    bool is_readable;      /* contents can be read */
    bool is_encrypted;
    bool is_dirty; /* QEMU's dirty-flag */
    bool is_corrupt;
    bool wants_data_file;       /* needs img_image_set_data_file before map */
    bool supports_backing;      /* unallocated clusters may fall through */
    char *unreadable_why;       /* why is_readable is false, for messages */
    char *backing_name;         /* NULL: none */
    char *backing_format;       /* NULL: not recorded */
    char *data_file_name;       /* NULL: none recorded */
    struct img_file *data_file; /* own reference or NULL */
    struct img_snapshot *snapshots;
    size_t snapshots_nr;
};

/* Checked calls of the operations. IMG_UNSUPPORTED when unreadable. */
int img_image_map(struct img_image *image, uint64_t off, uint64_t len,
                  struct img_extent *out, struct img_error *err);
/*
 * Inflate the cluster that EXTENT (kind compressed) is a part of: IN holds
 * its host_len stored bytes, OUT gets unit_len bytes. Any thread; INFLATER
 * belongs to the calling thread. IMG_CORRUPT for a damaged stream.
 */
int img_image_decompress(const struct img_image *image,
                         struct img_inflater *inflater,
                         const struct img_extent *extent, const void *in,
                         void *out, struct img_error *err);
int img_image_describe(struct img_image *image, struct img_json **out,
                       struct img_error *err);
/* Give an image that wants it its external data file (own reference). */
void img_image_set_data_file(struct img_image *image, struct img_file *file);
/* NULL is fine. */
void img_image_free(struct img_image *image);
/* For implementations: release what struct img_image itself holds. */
void img_image_fini(struct img_image *image);

#endif
