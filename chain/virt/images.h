/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The images that a domain and its snapshots name: each opened once with its
 * chain, what is asked of it noted, and closed again, so that a hierarchy of
 * thousands needs no descriptor of each. Room: chain/virt.
 */
#ifndef CHAIN_VIRT_IMAGES_H
#define CHAIN_VIRT_IMAGES_H

#include <chain/chain.h>
#include <img/file.h>

/* Names of images; a limit because documents are a stranger's. */
#define VIRT_IMAGES_MAX 20000u

struct virt_inner {
    char *name;
    uint64_t vm_state_len;   /* of a snapshot */
    bool is_in_use, is_auto; /* of a bitmap */
    bool is_known;           /* for the caller: some metadata has it */
};

/* A file that is a layer of some image. */
struct virt_file {
    struct img_stamp stamp; /* first: see order in images.c */
    char *path;             /* by which it was met first */
    const char *format;     /* static, or of the chain's formats */
    struct virt_inner *snapshots, *bitmaps;
    size_t snapshots_nr, bitmaps_nr;
    char *bitmaps_why; /* why its bitmaps cannot be read, escaped; NULL */
};

/* A name, and what it leads to. */
struct virt_image {
    char *path, *format;
    struct virt_file **layers; /* the active one first */
    size_t nr;                 /* 0: it cannot be opened */
    enum img_code code;        /* not IMG_OK: why it goes no further */
    char *why;                 /* one line, escaped; NULL: it is whole */
    char *why_path;            /* the file that is wrong */
};

struct virt_images {
    const struct chain_options *options;
    void *by_name, *by_file; /* tsearch(3) */
    struct virt_image **list;
    struct virt_file **files;
    size_t nr, files_nr;
};

void virt_images_fini(struct virt_images *images);

/*
 * The image at PATH, of FORMAT (NULL: raw, as libvirt takes it). What is wrong
 * with it stands in it. NULL with ERR filled in: memory, or IMG_LIMIT.
 */
const struct virt_image *virt_images_get(struct virt_images *images,
                                         const char *path, const char *format,
                                         struct img_error *err);

/* Index of the layer of IMAGE that is the file STAMP, or -1. */
int virt_image_find(const struct virt_image *image,
                    const struct img_stamp *stamp);
/* The entry of that name among NR, or NULL. */
struct virt_inner *virt_inner_find(struct virt_inner *list, size_t nr,
                                   const char *name);

#endif
