/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rebase: another backing file, the same guest contents. Commit: an overlay's
 * contents into a layer below. Both change images in place.
 */
#ifndef CHAIN_REBASE_H
#define CHAIN_REBASE_H

#include <chain/copy.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_rebase_request {
    const char *path;
    const char *format;       /* NULL: probe */
    const char *backing_name; /* "": stand alone; NULL: the one it has */
    const char *backing_format;
    enum chain_name_style_wish style;
    bool unsafe;  /* -u: only the header, if it makes sense */
    bool force;   /* -u: even where the files are not there */
    bool dry_run; /* plan only */
    bool no_undo; /* keep no undo record */
    bool verify;  /* compare before the header changes, reading everything */
    bool force_share; /* of the backing files only */
    bool allow_probe;
    enum chain_cache source_cache;
    unsigned max_depth, threads;
    int engine;
    uint64_t budget_len;
    const struct img_roots *roots;
    const volatile int *cancel;
    void (*progress)(void *opaque, enum chain_phase phase, uint64_t done,
                     uint64_t total);
    void *opaque;
};

struct chain_rebase_result {
    char *backing_name, *backing_format; /* recorded now, or to be; NULL */
    char *undo_path;          /* of the undo record; NULL: none was made */
    bool is_header_only;      /* nothing but the header had to change */
    struct chain_proof proof; /* how old and new were shown to be equal */
    uint64_t read_len;        /* bytes read, or to be read at most */
    uint64_t written_len;     /* guest bytes written into the overlay; with
                                 dry_run: to be written, at most */
};
IMG_PUBLIC void chain_rebase_result_fini(struct chain_rebase_result *result);

/*
 * Rebase PATH. Safe unless asked otherwise: what the overlay does not own and
 * the new backing shows differently is written into it, in batches, each
 * stable, and only then the header changes, in one sector. At every instant
 * the guest sees the same. A failure leaves it with its old backing file and
 * says how much was written. Internal snapshots of the overlay get the new
 * backing file as it is, as with qemu-img.
 */
IMG_PUBLIC int chain_rebase(const struct chain_rebase_request *request,
                            struct chain_rebase_result *out,
                            struct img_error *err);

/*
 * Convert the backing names of the whole chain from PATH down to relative or
 * absolute ones (style); no data is touched. Calls CHANGED for each header
 * that is, or with dry_run would be, rewritten. All names are checked before
 * the first is written; a failure half-way puts those before it back.
 */
IMG_PUBLIC int
chain_rename_backings(const struct chain_rebase_request *request,
                      void (*changed)(void *opaque, const char *path,
                                      const char *from, const char *to),
                      struct img_error *err);

/* Put back the header that the undo record at UNDO_PATH holds. */
IMG_PUBLIC int chain_rebase_undo(const struct chain_rebase_request *request,
                                 const char *undo_path, struct img_error *err);

struct chain_commit_request {
    const char *path;
    const char *format;
    /* Commit down to this layer, which a path or the name that is recorded for
       it tells; NULL: the backing file. */
    const char *base;
    bool keep_overlay; /* -d: do not empty the overlay; implied by base, as in
                          qemu-img */
    bool dry_run, verify, allow_probe;
    enum chain_cache source_cache;
    unsigned max_depth, threads;
    int engine;
    uint64_t budget_len;
    const struct img_roots *roots;
    const volatile int *cancel;
    void (*progress)(void *opaque, enum chain_phase phase, uint64_t done,
                     uint64_t total);
    void *opaque;
};

struct chain_commit_result {
    char *base; /* path of the layer that was written */
    bool is_overlay_emptied;
    bool is_base_grown;
    uint64_t read_len, written_len, zero_len;
    /* Layers between, which show something else now (or would). */
    char **stale;
    size_t stale_nr;
};
IMG_PUBLIC void chain_commit_result_fini(struct chain_commit_result *result);

/*
 * Commit. The overlay shows the guest the same at every instant; it is
 * emptied only after the base is stable. Layers between are invalid
 * afterwards, as with qemu-img. A base that is smaller grows, one that is
 * larger keeps its size and what it has beyond the overlay's end. A base of
 * which only probing says that it is raw is IMG_UNDECLARED.
 */
IMG_PUBLIC int chain_commit(const struct chain_commit_request *request,
                            struct chain_commit_result *out,
                            struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
