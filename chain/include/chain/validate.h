/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * May a pre-created file be handed to libvirt with REUSE_EXT? The rules are
 * written out in docs/validate.md; each is a check with a stable id.
 */
#ifndef CHAIN_VALIDATE_H
#define CHAIN_VALIDATE_H

#include <chain/compare.h>
#include <chain/report.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_operation {
    CHAIN_OP_SNAPSHOT,     /* dest becomes the overlay of source */
    CHAIN_OP_COPY,         /* dest is the target of a full copy */
    CHAIN_OP_SHALLOW_COPY, /* dest is the target of a shallow copy */
};

enum chain_name_requirement {
    CHAIN_REQUIRE_ANY,
    CHAIN_REQUIRE_RELATIVE,
    CHAIN_REQUIRE_ABSOLUTE,
};

enum chain_stage {
    CHAIN_STAGE_OPENING,
    CHAIN_STAGE_READING,
};

struct chain_access_user;

struct chain_validate_request {
    enum chain_operation operation;
    const char *source;        /* the active layer's file */
    const char *source_format; /* NULL: probe */
    const char *dest;
    const char *dest_format;  /* NULL: probe, with a warning */
    int dest_fd;              /* inherited descriptor, or -1 */
    const char *backing_name; /* expected text of the backing name; NULL */
    enum chain_name_requirement require;
    bool is_explicit;  /* without an absolute path and a format it fails */
    bool allow_larger; /* snapshot: a larger overlay is wanted */
    bool allow_data_file;
    bool target_is_zero; /* copy: the caller will trust its zeros */
    bool synchronous_writes;
    bool force_share; /* -U: the source is in use */
    /* A guest runs on the source: its active layer may change meanwhile (and
       force_share is needed). Then an overlay must be empty: contents that
       equal what the guest goes on writing prove nothing. */
    bool is_live;
    bool allow_probe;
    const char *as_user; /* judge access for this user; NULL: self */
    /* The same, looked up before (chain_access_user_new), for one of several
       requests; NULL: as_user is looked up. */
    const struct chain_access_user *user;
    const char *qemu_version; /* "7.2"; NULL: 7.2 and later */
    const struct img_roots *roots;
    unsigned max_depth;                   /* 0: CHAIN_MAX_DEPTH */
    struct chain_compare_options compare; /* engine, progress, cancel */
    /*
     * For a caller that confines itself, called twice: before any image is
     * opened (users are looked up), and when all is open, before tables and
     * contents are read. What follows reads open files and asks about names
     * (stat, readlink, statfs, getxattr), but opens nothing. -1 ends the
     * judging. May be NULL.
     */
    int (*confine)(void *opaque, enum chain_stage stage, struct img_error *err);
    void *confine_opaque;
};

/*
 * The user NAME (or a number) with its groups; NULL: this process. IMG_USAGE
 * for a name that nobody has. Free with free().
 */
IMG_PUBLIC int chain_access_user_new(const char *name,
                                     struct chain_access_user **out,
                                     struct img_error *err);

/*
 * Judge. Every rule that applies to the operation gives exactly one check,
 * in the order of docs/validate.md. Fails (-1) only when nothing could be
 * judged at all (the source cannot be opened, out of memory, cancelled).
 * Free the report with chain_report_free.
 */
IMG_PUBLIC int chain_validate(const struct chain_validate_request *request,
                              struct chain_report **out, struct img_error *err);

/*
 * What was judged: every file of both chains with identity, size, times and
 * a hash of its header, as JSON text (free with free()). A later run
 * compares it with the files (chain_stamp_check) right before the hand-off.
 * The active layer of a request with is_live is left out.
 */
IMG_PUBLIC char *chain_report_stamp(const struct chain_report *report,
                                    struct img_error *err);
/* The same without the destination, which QEMU has begun to write. *OUT is
   NULL where no other file was judged. */
IMG_PUBLIC int chain_report_stamp_below(const struct chain_report *report,
                                        char **out, struct img_error *err);
/* IMG_CHANGED, naming the file, when a file is no longer as stamped. */
IMG_PUBLIC int chain_stamp_check(const char *stamp, size_t len,
                                 struct img_error *err);
/* The same, but owner, mode and the time of their change may be others:
   libvirt gives files to the user that QEMU runs as. */
IMG_PUBLIC int chain_stamp_check_contents(const char *stamp, size_t len,
                                          struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
