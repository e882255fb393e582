/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots and checkpoints that are put on record without touching a disk
 * (libvirt's REDEFINE): what libvirt 9.0 asks of each, and of what is on record
 * already.
 *
 * A judge stands for one domain. It is told what is on record there, and then
 * asked about one moment after another; what it takes is on record for those
 * that follow. Nothing is opened. The checks have the ids that preflight has:
 * libvirt-flags, libvirt-xml, libvirt-name, libvirt-memory, libvirt-disks, and
 *
 *     libvirt-redefine  the name, time and state; another domain's uuid; what
 *                       must not change when one of that name is replaced
 *     libvirt-abi       one of that name is replaced, and the guest in it would
 *                       notice
 *     libvirt-parent    the parent is not there, or leads back
 *
 * One thread at a time.
 */
#ifndef CHAIN_REDEFINE_H
#define CHAIN_REDEFINE_H

#include <chain/metadata.h>
#include <chain/preflight.h>
#include <chain/report.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_redefine;

/*
 * A domain of UUID (NULL: not known, and so not checked; copied) that has
 * nothing of this KIND on record. FROM_HERE: the images are those of this host,
 * and libvirt's look at the source of a disk whose overlay has no name can be
 * taken.
 */
IMG_PUBLIC int chain_redefine_new(enum chain_moment_kind kind, const char *uuid,
                                  bool from_here, struct chain_redefine **out,
                                  struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_redefine_free(struct chain_redefine *judge);

/*
 * MOMENT is on record already; it is not judged. Of several of one name the
 * first counts. Borrowed until the judge is freed, here and below, also by
 * those that refer to it.
 */
IMG_PUBLIC int chain_redefine_know(struct chain_redefine *judge,
                                   const struct chain_moment *moment,
                                   struct img_error *err);

/*
 * Would libvirt put MOMENT on record, asked with FLAGS (CHAIN_VIRT_..., with
 * REDEFINE)? A check is added for each reason why not, in the order in which
 * libvirt would come to it: the first has libvirt's error. *IS_TAKEN: there was
 * none, and it is on record now. Fails when memory runs out.
 */
IMG_PUBLIC int chain_redefine_judge(struct chain_redefine *judge,
                                    const struct chain_moment *moment,
                                    unsigned flags, bool *is_taken,
                                    struct img_error *err);

/* The domain does not run and has checkpoints on record: libvirt 9.0 puts no
   snapshot on record then (libvirt-domain). */
IMG_PUBLIC void chain_redefine_held(struct chain_redefine *judge);

/* All that was said so far; borrowed. */
IMG_PUBLIC const struct chain_report *
chain_redefine_report(const struct chain_redefine *judge);
/* The same for the caller to free; the judge goes on with an empty one. NULL
   with ERR filled in when memory runs out. */
IMG_PUBLIC struct chain_report *
chain_redefine_take_report(struct chain_redefine *judge, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
