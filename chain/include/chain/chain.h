/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A chain: an image and everything under it, opened and identified.
 *
 * Layer 0 is the active layer (the file that was named), the last one is the
 * base. Opening reads headers only, goes down in a loop (no recursion) and
 * finds before any contents are read: loops (by device and inode), missing
 * files, formats that are not recorded, chains deeper than the limit. Each
 * file is opened once and its descriptor kept until the chain is freed;
 * nothing else is opened.
 *
 * A chain belongs to one thread at a time.
 */
#ifndef CHAIN_CHAIN_H
#define CHAIN_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain;
struct chain_layer;
struct chain_ref;
struct img_file;
struct img_image;
struct img_roots;

/* libvirt refuses chains of more than 200 layers (libvirt 9.0). */
#define CHAIN_MAX_DEPTH 200u

struct chain_options {
    const char *format;    /* of the top file; NULL: probe it */
    const char *snapshot;  /* read the top through this internal snapshot */
    struct img_file *file; /* the top file, open already, not locked or with
                              a writer's locks; the operand only names it;
                              an own reference is taken */
    struct img_file *data_file; /* the same for its external data file */
    int fd;             /* inherited descriptor of the top file, or -1 */
    bool force_share;   /* take and test no lock */
    bool allow_probe;   /* probe backing files of unrecorded format */
    bool direct;        /* O_DIRECT for data */
    bool top_only;      /* open nothing but the named file */
    bool keep_broken;   /* see chain_broken */
    bool for_check;     /* qcow2 layers are opened to be checked, not read:
                           see qcow2_options. With top_only the top's external
                           data file is opened, too */
    bool write_top;     /* open the top and its external data file for
                           writing, with a writer's locks; FILE and
                           DATA_FILE then must be open for writing */
    size_t write_layer; /* the same for this lower layer; 0: none */
    /* Read the top as if it recorded this backing file, which is resolved as
       if it stood in its header; "": as if it recorded none. NULL: as it is */
    const char *backing_name;
    const char *backing_format; /* of backing_name; NULL: not recorded */
    unsigned max_depth;         /* 0: CHAIN_MAX_DEPTH */
    const struct img_roots *roots;
};

/* Defaults: nothing set, fd -1. */
IMG_PUBLIC void chain_options_init(struct chain_options *options);

/*
 * Open the chain that OPERAND (chain_operand_parse) is the top of. With
 * keep_broken a chain whose top opened is returned even when a lower layer
 * did not: chain_broken then says why it ends where it ends.
 * Errors carry the path of the file they are about: IMG_NOT_FOUND,
 * IMG_UNDECLARED (the text has the command that records the format),
 * IMG_LOOP, IMG_LIMIT, IMG_LOCKED, IMG_DENIED and what the formats report.
 */
IMG_PUBLIC int chain_open(const char *operand,
                          const struct chain_options *options,
                          struct chain **out, struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_free(struct chain *chain);

/* Number of layers, at least 1. */
IMG_PUBLIC size_t chain_depth(const struct chain *chain);
/* Why the chain could not be followed further; NULL when it is whole. */
IMG_PUBLIC const struct img_error *chain_broken(const struct chain *chain);
/*
 * The shell command that puts right what chain_broken tells: it records the
 * format of a backing file as what that file looks like. NULL: there is none.
 * Borrowed.
 */
const char *chain_broken_command(const struct chain *chain);
/* What the guest sees of the active layer, in bytes. */
IMG_PUBLIC uint64_t chain_virtual_len(const struct chain *chain);

/* Layer IDX < chain_depth. Borrowed, as all that follows from it. */
IMG_PUBLIC const struct chain_layer *chain_layer_at(const struct chain *chain,
                                                    size_t idx);
struct img_image *chain_layer_image(const struct chain_layer *layer);
struct img_file *chain_layer_file(const struct chain_layer *layer);
/* QEMU's driver name: "qcow2", "raw", ... */
IMG_PUBLIC const char *chain_layer_format(const struct chain_layer *layer);
/* The path it was opened by: joined as spelled, not normalised. */
IMG_PUBLIC const char *chain_layer_path(const struct chain_layer *layer);
/* The format was probed, neither given nor recorded. */
IMG_PUBLIC bool chain_layer_is_probed(const struct chain_layer *layer);
/* How the layer above names this one; NULL for the top. */
const struct chain_ref *chain_layer_ref(const struct chain_layer *layer);
/* The layer has a backing file to look for (not cut by json "backing"). */
bool chain_layer_wants_backing(const struct chain_layer *layer);
/* Raw only: what its bytes look like (img_probe_contents), or NULL. */
const char *chain_layer_contents(const struct chain_layer *layer);

/* Index of the layer whose file is FILE, or -1. */
int chain_find_file(const struct chain *chain, const struct img_file *file);

/*
 * Fails with IMG_CHANGED, naming the file, when any file of the chain is not
 * as it was when the chain was opened (inode, size, times). Files that it has
 * open for writing are left out: they change by this process, and a writer's
 * locks keep others away.
 */
IMG_PUBLIC int chain_check_unchanged(const struct chain *chain,
                                     struct img_error *err);
/* The same, of layer FIRST and those below it. */
int chain_check_unchanged_from(const struct chain *chain, size_t first,
                               struct img_error *err);
/* The same, but that layer IDX (-1: none) may have changed. */
int chain_check_unchanged_but(const struct chain *chain, int idx,
                              struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
