/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking libvirt, and following a copy to its real end. See handoff.h. */
#include <img/image.h>
#include <img/memory.h>

#include "handoff.h"
#include "progress.h"
#include "session.h"

#define LOOK_MS 200u
/* How often an event about a job that is gone is waited for. */
#define LAST_LOOKS 5u
/* See chain/live/pivot_job.c: QEMU's own granularity is at most this. */
#define OWN_GRANULARITY 65536u

int handoff_check_cancel(const struct handoff *handoff, struct img_error *err)
{
    return *handoff->cancel ? img_fail(err, IMG_CANCELLED, "cancelled") : 0;
}

static int told(struct handoff *handoff, const char *call, int rc,
                const struct img_error *err)
{
    handoff_step(handoff, call, rc == 0 ? "done" : "failed",
                 rc == 0 ? NULL : err);
    return rc;
}

static int take_snapshot(struct handoff *handoff, struct img_error *err)
{
    handoff->is_asked = true;
    return told(handoff, "virDomainSnapshotCreateXML",
                chain_libvirt_snapshot(handoff->libvirt, handoff->xml,
                                       handoff->pre.request.flags, err),
                err);
}

/* Of a shallow copy, in which QEMU would widen smaller pieces to clusters. */
static int find_granularity(const struct handoff *handoff, uint64_t *out,
                            struct img_error *err)
{
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;
    struct chain_options options;
    uint64_t len;

    *out = 0;
    if (handoff->kind != CHAIN_PIVOT_SHALLOW_COPY) {
        return 0;
    }
    session_chain_options(&handoff->values->change.common, &options);
    options.format = handoff_format(handoff);
    options.top_only = true;
    if (chain_open(handoff->disks[0].dest, &options, &chain, err) < 0) {
        return -1;
    }
    len = chain_layer_image(chain_layer_at(chain, 0))->cluster_len;
    *out = len > OWN_GRANULARITY ? len : 0;
    return 0;
}

static int start_copy(struct handoff *handoff, struct img_error *err)
{
    struct chain_libvirt_copy copy = {
        .disk = handoff->disks[0].target,
        .xml = handoff->xml,
        .flags = handoff->pre.request.flags,
        .bandwidth = handoff->values->bandwidth,
    };

    if (find_granularity(handoff, &copy.granularity, err) < 0) {
        return -1;
    }
    handoff->is_asked = true;
    return told(handoff, "virDomainBlockCopy",
                chain_libvirt_copy_start(handoff->libvirt, &copy, err), err);
}

int handoff_end_copy(struct handoff *handoff, const char *disk, bool is_pivot,
                     struct img_error *err)
{
    handoff->is_asked = true;
    return told(
        handoff,
        is_pivot ? "virDomainBlockJobAbort (PIVOT)" : "virDomainBlockJobAbort",
        chain_libvirt_job_end(handoff->libvirt, disk, is_pivot, err), err);
}

/* The job is gone before it was ready. What QEMU said of it may come later. */
static int say_failed(struct handoff *handoff, struct img_error *err)
{
    enum chain_libvirt_job state;
    uint64_t done, total;
    const char *why = NULL;

    for (unsigned i = 0; i < LAST_LOOKS && !why; i++) {
        if (chain_libvirt_job_look(handoff->libvirt, handoff->disks[0].target,
                                   LOOK_MS, &state, &done, &total, err) < 0) {
            return -1;
        }
        why = chain_libvirt_job_error(handoff->libvirt);
    }
    return img_fail(err, IMG_REFUSED, "the copy failed: %s",
                    why ? why : "libvirt does not say why");
}

static int wait_ready(struct handoff *handoff, enum chain_libvirt_job *state,
                      struct img_error *err)
{
    uint64_t done = 0, total = 0;

    *state = CHAIN_LIBVIRT_COPYING;
    while (*state == CHAIN_LIBVIRT_COPYING) {
        if (handoff_check_cancel(handoff, err) < 0 ||
            chain_libvirt_job_look(handoff->libvirt, handoff->disks[0].target,
                                   LOOK_MS, state, &done, &total, err) < 0) {
            return -1;
        }
        progress_update(done, total);
    }
    return 0;
}

/* The copy, and no other job, is taken back. */
static void take_back(struct handoff *handoff)
{
    const struct handoff_disk *disk = &handoff->disks[0];
    struct img_error ignored;

    if (handoff_find_disks(handoff, &ignored) == 0 &&
        handoff_is_copy_to(handoff_in_domain(handoff, disk), disk->dest)) {
        (void)handoff_end_copy(handoff, disk->target, false, &ignored);
    }
}

/* Ready: end it, or leave it so. */
static int end_ready(struct handoff *handoff, struct img_error *err)
{
    if (handoff->values->no_pivot) {
        handoff->state = CHAIN_PIVOT_READY;
        return 0;
    }
    return handoff_check_cancel(handoff, err) < 0 ||
                   handoff_check_below(handoff, err) < 0
               ? -1
               : handoff_end_copy(handoff, handoff->disks[0].target, true, err);
}

/* From the job's beginning to its end. What fails takes the job back. */
static int follow_copy(struct handoff *handoff, struct img_error *err)
{
    enum chain_libvirt_job state;
    int rc = wait_ready(handoff, &state, err);

    if (rc == 0 && state == CHAIN_LIBVIRT_READY) {
        rc = end_ready(handoff, err);
    } else if (rc == 0) {
        handoff_find_state(handoff);
        /* Somebody else may have ended it as this run would have. */
        rc = handoff->state == CHAIN_PIVOT_ON_DEST ? 0
                                                   : say_failed(handoff, err);
    }
    if (rc < 0) {
        take_back(handoff);
    }
    return rc;
}

int handoff_hand_over(struct handoff *handoff, struct img_error *err)
{
    const struct common_values *common = &handoff->values->change.common;
    int rc;

    if (handoff_check_cancel(handoff, err) < 0 ||
        (!handoff->is_resumed && handoff_check_unchanged(handoff, err) < 0)) {
        return -1;
    }
    if (handoff->kind == CHAIN_PIVOT_SNAPSHOT) {
        return take_snapshot(handoff, err);
    }
    if (!handoff->is_resumed && start_copy(handoff, err) < 0) {
        return -1;
    }
    handoff->is_asked = true;
    progress_begin(common->quiet ? PROGRESS_NONE : common->progress, "mirror");
    rc = follow_copy(handoff, err);
    return change_end(rc);
}
