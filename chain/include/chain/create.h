/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making new images: empty ones, overlays, and exactly what validate accepts.
 */
#ifndef CHAIN_CREATE_H
#define CHAIN_CREATE_H

#include <chain/validate.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_name_style_wish {
    CHAIN_NAME_AS_GIVEN, /* record the text as it is */
    CHAIN_MAKE_RELATIVE, /* relative to the new image's folder */
    CHAIN_MAKE_ABSOLUTE,
};

struct chain_create_request {
    const char *path;
    const char *format;         /* "qcow2" or "raw"; NULL: raw, as qemu-img */
    const char *const *options; /* "name=value" words of -o, in order */
    size_t options_nr;
    bool has_size;
    uint64_t size; /* bytes; else the backing file's */
    const char *backing_name;
    const char *backing_format;
    enum chain_name_style_wish style;
    bool unchecked_backing; /* -u: do not open the backing file */
    bool force_share, allow_probe;
    bool dry_run; /* check everything, write nothing */
    /* chain_create_for: mode and owner as ACTIVE's, where permitted. */
    bool take_owner;
    bool unjudged; /* chain_create_for: the caller judges it; the name must be
                      free */
    const struct img_roots *roots;
    const volatile int *cancel;
};

/* What was made, or would be. Free with chain_made_fini. */
struct chain_made {
    char *path;
    const char *format; /* static */
    uint64_t virtual_len;
    char *backing_name; /* as recorded; NULL: none */
    char *backing_format;
    char *data_file_name;
    uint32_t version, cluster_len, refcount_bits;
    bool lazy_refcounts, extended_l2, data_file_raw;
    const char *compression, *prealloc; /* static */
};
IMG_PUBLIC void chain_made_fini(struct chain_made *made);

/*
 * Create an image as qemu-img create does, with its rules and defaults. The
 * name appears when the image is complete; a regular file of that name that
 * nobody uses is replaced, a block device written in place.
 */
IMG_PUBLIC int chain_create(const struct chain_create_request *request,
                            struct chain_made *out, struct img_error *err);

/*
 * Create what OPERATION on ACTIVE wants as its destination, such that
 * chain_validate accepts it: size, format (qcow2 unless REQUEST says raw),
 * backing name (relative unless asked otherwise; of a device, absolute),
 * backing format, cluster length, extended L2 and compression type of the
 * source's kind. REQUEST's size is not used; its options go before, and its
 * backing name, which is recorded as it is where validate accepts that.
 */
IMG_PUBLIC int chain_create_for(enum chain_operation operation,
                                const char *active, const char *active_format,
                                const struct chain_create_request *request,
                                struct chain_made *out, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
