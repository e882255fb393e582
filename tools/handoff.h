/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pivot --connect: the hand-off through libvirt. */
#ifndef HANDOFF_H
#define HANDOFF_H

#include <chain/libvirt.h>
#include <chain/pivot.h>
#include <img/file.h>
#include <img/json.h>

#include "output.h"
#include "pivot_dest.h"
#include "preflight.h"

/* One disk, from the command line to the end. */
struct handoff_disk {
    char *target; /* vda */
    char *dest;   /* absolute */
    char *source; /* the active layer at first */
    size_t idx;   /* in the domain */
    struct pivot_dest made;
};

struct handoff {
    const struct pivot_values *values;
    enum chain_pivot_kind kind;
    struct preflight_values asked; /* the same as preflight is asked it */
    struct preflight pre;
    struct chain_libvirt *libvirt;
    struct handoff_disk *disks;
    size_t nr;
    char *xml;                 /* what libvirt is given */
    char *stamp, *stamp_below; /* NULL: nothing to look at again */
    struct img_json *steps;
    enum chain_pivot_state state;
    bool is_resumed, is_refused;
    bool is_asked; /* libvirt was asked for something: what it did is for its
                      XML to tell */
    const volatile int *cancel;
};

/* pivot with --connect; KIND is what is asked for. The exit code. */
int handoff_run(const struct pivot_values *values, enum chain_pivot_kind kind);

/* ---- handoff_request.c */

/* The disks of the command line. */
int handoff_set_disks(struct handoff *handoff, struct img_error *err);
/* The destinations that are to be made. */
int handoff_make(struct handoff *handoff, struct img_error *err);
void handoff_unmake(struct handoff *handoff);
/* What libvirt is to be asked, in its XML, and the request to judge it by. */
int handoff_put_request(struct handoff *handoff, struct img_error *err);
/* The active layer of DISK. */
const struct chain_virt_layer *handoff_top(const struct handoff *handoff,
                                           const struct handoff_disk *disk);
const char *handoff_format(const struct handoff *handoff);

/* ---- handoff_domain.c */

/* The disks in the domain as it is now. */
int handoff_find_disks(struct handoff *handoff, struct img_error *err);
/* What they run on before anything is done. */
int handoff_note_sources(struct handoff *handoff, struct img_error *err);
const struct chain_virt_disk *
handoff_in_domain(const struct handoff *handoff,
                  const struct handoff_disk *disk);
/* A block copy to DEST (NULL: to whatever); not a commit. */
bool handoff_is_copy_to(const struct chain_virt_disk *disk, const char *dest);
/* The same file and format; and the same below it. */
bool handoff_is_same_image(const struct chain_virt_layer *a,
                           const struct chain_virt_layer *b);
bool handoff_is_same_below(const struct chain_virt_layer *a,
                           const struct chain_virt_layer *b);
/* A copy that an earlier run has left is gone on with; another job is not. */
int handoff_look_for_job(struct handoff *handoff, struct img_error *err);
/* All disks run on their destinations. */
bool handoff_is_over(const struct handoff *handoff);
/* The state, by the domain's XML: libvirt may have done what it was asked for
   although it did not say so. */
void handoff_find_state(struct handoff *handoff);

/* ---- handoff_judge.c */

/* is_refused, and the stamps of what was judged. */
int handoff_judge(struct handoff *handoff, struct img_error *err);
/* Right before libvirt is asked: are disks and files what was judged? */
int handoff_check_unchanged(struct handoff *handoff, struct img_error *err);
/* Right before a copy is ended: is what it stands on? */
int handoff_check_below(const struct handoff *handoff, struct img_error *err);
/* After it: do the headers say what libvirt runs? */
int handoff_verify(struct handoff *handoff, struct img_error *err);

/* ---- handoff_call.c */

int handoff_check_cancel(const struct handoff *handoff, struct img_error *err);
/* Take the snapshot, or copy and pivot. What fails takes the copy back. */
int handoff_hand_over(struct handoff *handoff, struct img_error *err);
/* End the copy of DISK. */
int handoff_end_copy(struct handoff *handoff, const char *disk, bool is_pivot,
                     struct img_error *err);

/* ---- handoff_report.c */

/* A call to libvirt: done, failed (WHY), or only planned. */
void handoff_step(struct handoff *handoff, const char *call, const char *word,
                  const struct img_error *why);
void handoff_show(struct handoff *handoff, struct output *out, const char *word,
                  const struct img_error *err);
void handoff_tell_failure(const struct handoff *handoff,
                          const struct img_error *err);

#endif
