/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pivot --connect: what pivot does over QMP, asked of libvirt. The domain's XML
 * says which disks there are; preflight judges the request; libvirt is asked
 * for a snapshot or block copy with REUSE_EXT, and a copy's job is followed to
 * its real end, since that the call succeeds proves nothing.
 */
#include "handoff.h"

#include <img/memory.h>
#include <stdlib.h>

#include "command.h"
#include "message.h"
#include "pivot.h"
#include "session.h"
#include "signals.h"

static void plan(struct handoff *handoff)
{
    if (handoff->kind == CHAIN_PIVOT_SNAPSHOT) {
        handoff_step(handoff, "virDomainSnapshotCreateXML", "planned", NULL);
    } else {
        handoff_step(handoff, "virDomainBlockCopy", "planned", NULL);
        handoff_step(handoff, "virDomainBlockJobAbort (PIVOT)", "planned",
                     NULL);
    }
}

static int fail(struct handoff *handoff, struct output *out,
                const struct img_error *err)
{
    if (handoff->is_asked) {
        handoff_find_state(handoff);
    }
    if (handoff->state == CHAIN_PIVOT_ON_SOURCE) {
        handoff_unmake(handoff);
    }
    handoff_tell_failure(handoff, err);
    handoff_show(handoff, out, "failed", err);
    return session_finish(out, EXIT_FAILED, EXIT_FAILED);
}

static int finish(struct handoff *handoff, struct output *out,
                  struct img_error *err)
{
    if (handoff->state == CHAIN_PIVOT_READY) {
        message_note("the copy is ready and kept so: without --no-pivot the "
                     "same command ends it, with --abort it is cancelled");
        handoff_show(handoff, out, "ready", NULL);
    } else if (handoff_verify(handoff, err) < 0) {
        return fail(handoff, out, err);
    } else {
        handoff_show(handoff, out, "pivoted", NULL);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

/* What is not begun by an earlier run. */
static int prepare(struct handoff *handoff, struct img_error *err)
{
    if (handoff_make(handoff, err) < 0 ||
        handoff_put_request(handoff, err) < 0) {
        return -1;
    }
    return handoff_judge(handoff, err);
}

static int pivot(struct handoff *handoff, struct output *out,
                 struct img_error *err)
{
    if (handoff_is_over(handoff)) {
        message_note("the domain runs on it already");
        return finish(handoff, out, err);
    }
    if (handoff_look_for_job(handoff, err) < 0 ||
        (!handoff->is_resumed && prepare(handoff, err) < 0)) {
        return fail(handoff, out, err);
    }
    if (handoff->is_refused) {
        handoff_unmake(handoff);
        handoff_show(handoff, out, "refused", NULL);
        return session_finish(out, EXIT_FAILED, EXIT_FAILED);
    }
    if (handoff->values->change.dry_run) {
        plan(handoff);
        handoff_show(handoff, out, "planned", NULL);
        return session_finish(out, EXIT_DONE, EXIT_FAILED);
    }
    return handoff_hand_over(handoff, err) < 0 ? fail(handoff, out, err)
                                               : finish(handoff, out, err);
}

static int abort_copy(struct handoff *handoff, const struct handoff_disk *disk,
                      struct img_error *err)
{
    if (!handoff_is_copy_to(handoff_in_domain(handoff, disk), disk->dest)) {
        return img_fail(err, IMG_NOT_FOUND, "%s: the disk has no %s under way",
                        disk->target, disk->dest ? "such copy" : "copy");
    }
    return handoff_end_copy(handoff, disk->target, false, err);
}

static int abort_all(struct handoff *handoff, struct output *out,
                     struct img_error *err)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        if (abort_copy(handoff, &handoff->disks[i], err) < 0) {
            return fail(handoff, out, err);
        }
    }
    handoff_show(handoff, out, "aborted", NULL);
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

static void release(struct handoff *handoff)
{
    for (size_t i = 0; handoff->disks && i < handoff->nr; i++) {
        free(handoff->disks[i].target);
        free(handoff->disks[i].dest);
        free(handoff->disks[i].source);
    }
    free(handoff->disks);
    free(handoff->xml);
    free(handoff->stamp);
    free(handoff->stamp_below);
    img_json_free(handoff->steps);
    preflight_release(&handoff->pre);
    chain_libvirt_close(handoff->libvirt);
}

static int run(struct handoff *handoff, struct output *out,
               struct img_error *err)
{
    const struct pivot_values *values = handoff->values;

    if (handoff_set_disks(handoff, err) < 0 ||
        chain_libvirt_open(values->connect, values->domain, false,
                           &handoff->libvirt, err) < 0 ||
        handoff_find_disks(handoff, err) < 0 ||
        handoff_note_sources(handoff, err) < 0) {
        return session_fail(err, EXIT_FAILED);
    }
    return values->abort ? abort_all(handoff, out, err)
                         : pivot(handoff, out, err);
}

int handoff_run(const struct pivot_values *values, enum chain_pivot_kind kind)
{
    struct handoff handoff = {
        .values = values,
        .kind = kind,
        .asked = {.common = values->change.common},
        .steps = img_json_array(),
        .cancel = signals_catch(),
    };
    struct img_error err;
    int code;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    handoff.pre.values = &handoff.asked;
    if (session_output(&values->change.common, &out, &err) < 0) {
        code = session_fail(&err, EXIT_FAILED);
    } else {
        code = run(&handoff, out, &err);
    }
    release(&handoff);
    return code;
}
