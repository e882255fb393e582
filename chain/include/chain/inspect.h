/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is a stranger's image safe to import? The rules are written out in
 * docs/inspect.md; each is a check with a stable id.
 */
#ifndef CHAIN_INSPECT_H
#define CHAIN_INSPECT_H

#include <chain/validate.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_inspect_policy {
    CHAIN_INSPECT_SELF_CONTAINED, /* nothing outside of this file */
    CHAIN_INSPECT_CHAIN,          /* files inside the roots, formats recorded */
};

struct chain_inspect_request {
    enum chain_inspect_policy policy;
    const char *path;   /* the file; with fd only its name */
    int fd;             /* inherited descriptor, or -1; a pipe or socket is
                           read once to its end */
    const char *format; /* declared; NULL: probe, with a warning */
    /* Formats to accept beside those that import services do; ended by NULL. */
    const char *const *allowed_formats;
    /* Readers that have to understand it; ended by NULL (chain_profile_at). */
    const char *const *profiles;
    uint64_t max_virtual_len, max_actual_len; /* bytes; 0: no limit */
    uint64_t max_ratio; /* of guest bytes to bytes of the file; 0: no limit */
    bool force_share;
    const struct img_roots *roots; /* NULL: for a chain the file's own folder */
    unsigned max_depth;            /* 0: CHAIN_MAX_DEPTH */
    const volatile int *cancel;    /* stops with IMG_CANCELLED when set */
    /*
     * For a caller that confines itself: as in chain_validate_request, only
     * that a stream is read to its end in between. May be NULL.
     */
    int (*confine)(void *opaque, enum chain_stage stage, struct img_error *err);
    void *confine_opaque;
};

/* What the verdict is about. */
struct chain_inspect_facts {
    const char *format; /* as it was judged; static or the request's; NULL */
    bool has_virtual_len;
    uint64_t virtual_len;
    uint64_t file_len;
    bool has_identity; /* no stream */
    uint64_t dev, ino;
    int64_t mtime_ns;
};

/*
 * Judge. Opens the file once and, for CHAIN_INSPECT_SELF_CONTAINED, nothing
 * else. Every rule of the policy gives exactly one check, in the order of
 * docs/inspect.md. Fails (-1) only when nothing could be judged (the file
 * cannot be opened, a format or profile that is not known, out of memory,
 * cancelled). Free the report with chain_report_free.
 */
IMG_PUBLIC int chain_inspect(const struct chain_inspect_request *request,
                             struct chain_report **out,
                             struct chain_inspect_facts *facts,
                             struct img_error *err);

/* Name and one line about reader number IDX; NULL past the last one. */
IMG_PUBLIC const char *chain_profile_at(size_t idx, const char **summary);

#ifdef __cplusplus
}
#endif
#endif
