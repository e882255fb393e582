/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing one image's options or size in place.
 */
#ifndef CHAIN_AMEND_H
#define CHAIN_AMEND_H

#include <chain/create.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_amend_request {
    const char *path;
    const char *format;         /* NULL: probe */
    const char *const *options; /* amend: "name=value" words of -o */
    size_t options_nr;
    uint64_t size;        /* resize: the new virtual size */
    bool shrink;          /* resize: making it smaller is meant */
    const char *prealloc; /* resize: NULL, "off", "metadata", ... */
    bool dry_run;
    bool allow_probe;
    const struct img_roots *roots;
    const volatile int *cancel;
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/*
 * compat, lazy_refcounts, refcount_bits, backing_file, backing_fmt and
 * data_file_raw, as qemu-img amend changes them. IMG_USAGE for an option that
 * cannot be changed, IMG_UNSUPPORTED for a format that has none.
 */
IMG_PUBLIC int chain_amend(const struct chain_amend_request *request,
                           struct img_error *err);
/* The virtual size of a qcow2 or raw image (a raw one is a regular file). */
IMG_PUBLIC int chain_resize(const struct chain_amend_request *request,
                            uint64_t *old_size, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
