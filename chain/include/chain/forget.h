/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots or checkpoints that are forgotten, through libvirt or in its own
 * folder while its daemon does not run: what becomes of the others, as libvirt
 * itself does it.
 *
 * Children of one that goes become those of its parent. If the current snapshot
 * goes, its parent is current: that of the one that was named, where all below
 * go with it; and the one that was named, where only those below go.
 */
#ifndef CHAIN_FORGET_H
#define CHAIN_FORGET_H

#include <chain/metadata.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_delete_range {
    CHAIN_DELETE_ONE,           /* its children become those of its parent */
    CHAIN_DELETE_CHILDREN,      /* it, and all below it */
    CHAIN_DELETE_CHILDREN_ONLY, /* all below it */
};

/* What becomes of a moment. */
struct chain_forget {
    const struct chain_moment *moment;
    char *text; /* that takes the place of its own; NULL: it goes */
};

/*
 * Forget IDX of METADATA in this RANGE. *OUT has an entry for each moment that
 * goes or changes; free it with chain_forget_free. IMG_UNSUPPORTED: a document
 * is written in a way that leaves no place for the change.
 */
IMG_PUBLIC int chain_forget_plan(const struct chain_metadata *metadata,
                                 size_t idx, enum chain_delete_range range,
                                 struct chain_forget **out, size_t *nr,
                                 struct img_error *err);
/*
 * Do it through LIBVIRT. One call each, those below first: libvirt 9.0 has one
 * for all, and dies of it where a snapshot has more than one child. What is to
 * go stands in the file RECORD meanwhile; chain_redefine_recover finishes what
 * a run that was killed, or refused, has begun.
 */
IMG_PUBLIC int chain_forget_apply(const struct chain_metadata *metadata,
                                  size_t idx, enum chain_delete_range range,
                                  struct chain_libvirt *libvirt,
                                  const char *record, struct img_error *err);
IMG_PUBLIC void chain_forget_free(struct chain_forget *list, size_t nr);

#ifdef __cplusplus
}
#endif
#endif
