/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a chain, or of several that may share layers, in another folder:
 * each file is copied once, as it is, byte for byte but for the backing name in
 * its header, so that the copies lead to each other and to nothing else.
 *
 * A copy gets its name when it is complete, flushed and proved. So a file that
 * is there already may be one of an earlier run; it is taken if it is shown to
 * be the copy, and never written.
 */
#ifndef CHAIN_RELOCATE_H
#define CHAIN_RELOCATE_H

#include <chain/copy.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_relocated_state {
    CHAIN_RELOCATED_NOT_YET,
    CHAIN_RELOCATED_COPIED,
    CHAIN_RELOCATED_FOUND, /* it was there, and is the copy */
};

/* A copy as it was before it was proved: a file that is not this any more is
   not known to be the copy. */
struct chain_relocated_found {
    uint64_t dev, ino, len;
    int64_t mtime_ns;
};

/* A file and its copy. */
struct chain_relocated {
    char *from, *to;    /* paths */
    const char *format; /* static */
    uint64_t virtual_len;
    char *backing_name; /* that the copy records; NULL: none */
    const char *backing_format;
    size_t backing;    /* index of its backing file; SIZE_MAX: none */
    uint64_t dev, ino; /* of the source's file */
    bool is_top;       /* it was named, and not only found below another */
    /* Of a raw file: what the copy begins with instead. Set by the caller after
       chain_relocation_new; borrowed until the relocation is freed. */
    const void *head;
    size_t head_len;
    uint64_t needed_len; /* bytes that have to be written, at most */
    enum chain_relocated_state state;
    struct chain_relocated_found found; /* in this state alone */
};

struct chain_relocate_source {
    const char *path; /* the top of what is copied */
    const char *format;
};

struct chain_relocate_request {
    const char *source; /* as in chain_relocate_source; NULL: only more */
    const char *source_format;
    const struct chain_relocate_source *more; /* further ones */
    size_t more_nr;
    bool is_new;    /* no copy may be there already */
    bool exclusive; /* nobody may have a file of the source open: IMG_LOCKED */
    const char *folder; /* must be there, and no layer's own */
    const char *taken;  /* a name in it that no copy may have, or NULL */
    uint64_t more_len;  /* bytes that the caller will write there besides */
    enum chain_name_style_wish style; /* of backing names; relative unless it
                                         is CHAIN_MAKE_ABSOLUTE */
    bool dry_run; /* check everything, prove what is there, write nothing */
    bool force_share, allow_probe;
    enum chain_cache source_cache, dest_cache;
    unsigned max_depth, threads;
    int engine; /* as in chain_compare_options */
    uint64_t budget_len;
    const struct img_roots *roots;
    const volatile int *cancel;
    /* Called with OPAQUE; each may be NULL. */
    void (*progress)(void *opaque, enum chain_phase phase, uint64_t done,
                     uint64_t total);
    void (*done)(void *opaque, const struct chain_relocated *file);
    void *opaque;
};

/* As far as it came, after a failure, too. Free with
   chain_relocate_result_fini. */
struct chain_relocate_result {
    struct chain_relocated *files; /* of each source the top first */
    size_t nr;
    uint64_t needed_len; /* of all files, and the caller's */
    uint64_t space_left; /* UINT64_MAX: unknown */
};
IMG_PUBLIC void
chain_relocate_result_fini(struct chain_relocate_result *result);

/*
 * Copy. Names stay; of two layers whose files have one name the lower gets a
 * number before its suffix: "base.qcow2", "base-1.qcow2". The source is locked
 * as readers lock it, and IMG_CHANGED when it changes. What is not finished
 * leaves nothing behind; finished copies stay. IMG_USAGE for a file of that
 * name that is not the copy; IMG_UNSUPPORTED for a layer that is neither qcow2
 * nor raw, has an external data file, or is named by more than a path;
 * IMG_SYSTEM with ENOSPC before anything is written when it cannot fit.
 */
IMG_PUBLIC int chain_relocate(const struct chain_relocate_request *request,
                              struct chain_relocate_result *out,
                              struct img_error *err);

/*
 * The same in steps. After the first everything is planned, and the sources
 * are open and locked until the relocation is freed; REQUEST and OUT must
 * stay.
 */
struct chain_relocation;
IMG_PUBLIC int
chain_relocation_new(const struct chain_relocate_request *request,
                     struct chain_relocate_result *out,
                     struct chain_relocation **relocation,
                     struct img_error *err);
/* What is there already is proved to be the copy; with is_new it is
   IMG_USAGE. */
IMG_PUBLIC int chain_relocation_look(struct chain_relocation *relocation,
                                     struct img_error *err);
/*
 * Copy what is not there. MADE, if it is not NULL, has a path for each file,
 * where its copy is made instead of where it is to be; all in one folder, under
 * the names that they are to have (chain_transaction_stage).
 */
IMG_PUBLIC int chain_relocation_run(struct chain_relocation *relocation,
                                    const char *const *made,
                                    struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_relocation_free(struct chain_relocation *relocation);

/* FOLDER is one that files can be made in, and the file at PATH does not lie
   in it: IMG_USAGE. */
IMG_PUBLIC int chain_relocate_check_folder(const char *folder, const char *path,
                                           const struct img_roots *roots,
                                           struct img_error *err);
/*
 * The image at PATH and all that its headers lead to lie in FOLDER themselves:
 * IMG_USAGE, naming the file, when one does not. FOLDER can be taken elsewhere
 * then, as long as names are relative.
 */
IMG_PUBLIC int chain_relocate_check_whole(const char *path, const char *format,
                                          const char *folder,
                                          const struct img_roots *roots,
                                          struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
