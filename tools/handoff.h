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

/* ---- handoff_report.c */

/* A call to libvirt: done, failed (WHY), or only planned. */
void handoff_step(struct handoff *handoff, const char *call, const char *word,
                  const struct img_error *why);
void handoff_show(struct handoff *handoff, struct output *out, const char *word,
                  const struct img_error *err);
void handoff_tell_failure(const struct handoff *handoff,
                          const struct img_error *err);

#endif
