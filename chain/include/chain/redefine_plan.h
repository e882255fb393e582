/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's snapshots and checkpoints put on record elsewhere, or anew: the
 * steps in order, with paths, uuid and name rewritten, and what libvirt would
 * say to them (chain/redefine.h).
 *
 * Snapshots come parents first, and the current one last: once more, where
 * others hang on it. Of checkpoints those come first that lead to what is
 * current in libvirt's view, the last one that was taken.
 */
#ifndef CHAIN_REDEFINE_PLAN_H
#define CHAIN_REDEFINE_PLAN_H

#include <chain/bundle.h>
#include <chain/redefine.h>
#include <chain/rewrite.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One call of virDomainSnapshotCreateXML, or of its like for checkpoints. */
struct chain_redefine_step {
    const struct chain_moment *moment; /* rewritten */
    bool is_current;                   /* with CURRENT */
    bool is_replacing;                 /* one of that name is on record */
};

/* How the way back is gone. */
struct chain_redefine_settling {
    /* What is no longer as that run put it stays, and is told; else nothing is
       taken back then (IMG_CHANGED). */
    bool leaves;
    void (*tell)(void *opaque, const char *text); /* one line; or NULL */
    void *opaque;
};

struct chain_redefine_wish {
    const struct chain_bundle *from;
    const struct chain_rewrite *rewrite;
    const char *current; /* NULL: as FROM says */
    const char *uuid;    /* of the domain that they are for; NULL: what FROM's
                            domain has after it is rewritten */
    /* What is on record there; NULL: nothing. */
    const struct chain_metadata *snapshots, *checkpoints;
    bool is_running;                         /* the domain, there */
    bool from_here;                          /* as in chain_redefine_new */
    struct chain_redefine_settling settling; /* what it tells, of a failure */
};

struct chain_redefine_plan {
    struct chain_bundle bundle; /* rewritten; owns what steps refer to */
    char *domain_name, *uuid;   /* NULL: not known */
    struct chain_redefine_step *steps;
    size_t nr, snapshots_nr;     /* steps; the first of which are snapshots */
    struct chain_report *report; /* why libvirt would refuse; empty: it takes
                                    all of it */
};

/*
 * IMG_USAGE: documents without a name, or two of one name, or a current that
 * is none of them. What libvirt would refuse is in the report, and no failure.
 */
IMG_PUBLIC int chain_redefine_plan_make(const struct chain_redefine_wish *wish,
                                        struct chain_redefine_plan **out,
                                        struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_redefine_plan_free(struct chain_redefine_plan *plan);

/*
 * Do it through LIBVIRT, all or nothing. WISH is the plan's. The way back is
 * written to the file RECORD before the first call, readable by its owner
 * alone, and removed at the end: after a failure in between, when all that was
 * done has been taken back. If that fails the text says what remains, and the
 * record stays. IMG_USAGE: there is a record already (see below).
 */
IMG_PUBLIC int chain_redefine_plan_apply(const struct chain_redefine_plan *plan,
                                         const struct chain_redefine_wish *wish,
                                         struct chain_libvirt *libvirt,
                                         const char *record,
                                         struct img_error *err);
/*
 * Take back what a run that was killed has done, by its RECORD, and remove
 * that; what was being forgotten (chain/forget.h) is forgotten. Only what is
 * still as that run put it is touched. Returns 1; 0: there was no record.
 * IMG_CHANGED: it is about another domain, or see HOW.
 */
IMG_PUBLIC int chain_redefine_recover(struct chain_libvirt *libvirt,
                                      const char *record,
                                      const struct chain_redefine_settling *how,
                                      struct img_error *err);

/*
 * One run at a time: to be held from before what is on record is read, and
 * recovered, until all is done. Returns what unlocks it; IMG_LOCKED. The lock
 * is the file RECORD.lock.
 */
IMG_PUBLIC int chain_redefine_lock(const char *record, struct img_error *err);
/* -1 is fine. */
IMG_PUBLIC void chain_redefine_unlock(const char *record, int lock);

#ifdef __cplusplus
}
#endif
#endif
