/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Offline external snapshots of several disks at once.
 *
 * All overlays are made and judged under temporary names before the first
 * name appears. With atomic a journal says what is to happen: it appears, in
 * one rename, when everything is prepared and stable; from then on the
 * operation is done, and whoever comes next gives the rest of the names; while
 * it is not there, whoever comes next takes the temporary files away.
 */
#ifndef CHAIN_SNAPSHOT_H
#define CHAIN_SNAPSHOT_H

#include <chain/create.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_snapshot_disk {
    const char *active;        /* the active layer's file */
    const char *active_format; /* NULL: probe */
    const char *overlay;       /* the new file */
    const char *backing_name;  /* text to record; NULL: relative, computed */
};

struct chain_snapshot_request {
    const struct chain_snapshot_disk *disks;
    size_t disks_nr;
    const char *const *options; /* "name=value" words of -o for all */
    size_t options_nr;
    enum chain_name_style_wish style;
    bool reuse_external; /* the overlays are there: judge them, make none */
    bool atomic;
    bool dry_run;
    bool allow_probe;
    unsigned max_depth;
    const struct img_roots *roots;
    int engine;
    const volatile int *cancel;
    /* What became of the files that an earlier run left in the overlays'
       folders ("finished", "removed"). May be NULL. */
    void (*recovered)(void *opaque, const char *path, const char *what);
    void *opaque;
};

struct chain_snapshot_result {
    struct chain_report **reports; /* one for each disk that was judged */
    struct chain_made *made;
    size_t nr;       /* of both: disks_nr, entries may be NULL or zeroed */
    bool is_refused; /* a report refuses: nothing was done */
};
IMG_PUBLIC void
chain_snapshot_result_fini(struct chain_snapshot_result *result);

/*
 * Take the snapshots: every overlay is made (or, reused, looked at) and judged
 * by chain_validate, and when one is refused none appears. No disk may be
 * listed twice, share an overlay with another, or have another's layer as its
 * overlay (IMG_USAGE); an overlay that is to be made must not exist. Every
 * active layer is locked as its readers lock it until the end: a running guest
 * is IMG_LOCKED, and none can start meanwhile.
 * What an earlier run left in the folders of the overlays is finished or
 * undone first; with dry_run it is IMG_CHANGED.
 * Without atomic the overlays appear one after the other, and an error tells
 * which have appeared.
 */
IMG_PUBLIC int chain_snapshot(const struct chain_snapshot_request *request,
                              struct chain_snapshot_result *out,
                              struct img_error *err);

/*
 * Finish or undo what a run that was killed left in FOLDER, and in the others
 * that belong to it; DONE is called for each file with what became of it
 * ("finished", "removed"). 0 also when there is nothing to do. IMG_LOCKED: a
 * run is under way there. IMG_DENIED: it is another user's.
 */
IMG_PUBLIC int chain_snapshot_recover(const char *folder,
                                      void (*done)(void *opaque,
                                                   const char *path,
                                                   const char *what),
                                      void *opaque, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
