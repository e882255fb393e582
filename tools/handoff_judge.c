/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether libvirt may be asked, and whether it did what it was asked. */
#include <chain/checks.h>
#include <img/memory.h>
#include <string.h>

#include "handoff.h"
#include "session.h"

#define JUDGE_TRIES 3u

static int judge_once(struct handoff *handoff, struct img_error *err)
{
    struct preflight *pre = &handoff->pre;
    struct chain_compare_options compare;

    session_compare_options(&handoff->values->change.common, &compare);
    compare.cancel = handoff->cancel;
    chain_preflight_free(img_steal(&pre->plan));
    return chain_preflight(&pre->request, &pre->plan, err) < 0
               ? -1
               : preflight_judge(pre, &compare, false, err);
}

int handoff_judge(struct handoff *handoff, struct img_error *err)
{
    enum chain_judgement judgement = CHAIN_NOT_JUDGED;
    const struct chain_report *report;

    /* The guest writes the active layer while it is read. */
    for (unsigned i = 0; i < JUDGE_TRIES && judgement == CHAIN_NOT_JUDGED;
         i++) {
        if (judge_once(handoff, err) < 0) {
            return -1;
        }
        judgement = chain_report_judgement(handoff->pre.plan->report);
    }
    handoff->is_refused = judgement != CHAIN_ACCEPTED;
    if (handoff->is_refused) {
        return 0;
    }
    report = handoff->pre.plan->report;
    handoff->stamp = chain_report_stamp(report, err);
    return handoff->stamp
               ? chain_report_stamp_below(report, &handoff->stamp_below, err)
               : -1;
}

/* Right before a file is handed over: is it still what was judged? */
static int check_stamp(const char *stamp, struct img_error *err)
{
    return stamp ? chain_stamp_check(stamp, strlen(stamp), err) : 0;
}

/* Is the disk still what was judged? XML says which layers it has. */
static int check_same(const struct handoff *handoff,
                      const struct handoff_disk *disk,
                      const struct chain_virt_domain *now,
                      struct img_error *err)
{
    const struct chain_virt_disk *was = handoff_in_domain(handoff, disk);

    for (size_t i = 0; i < now->disks_nr; i++) {
        const struct chain_virt_disk *is = &now->disks[i];

        if (is->target && strcmp(is->target, disk->target) == 0 &&
            !is->has_mirror && handoff_is_same_image(&is->top, &was->top) &&
            handoff_is_same_below(&is->top, &was->top)) {
            return 0;
        }
    }
    return img_fail(err, IMG_CHANGED,
                    "%s: the disk's layers changed while it was judged",
                    disk->target);
}

/* Right before libvirt is asked. */
int handoff_check_unchanged(struct handoff *handoff, struct img_error *err)
{
    struct chain_virt_domain *now = NULL;
    bool is_persistent;
    int rc = check_stamp(handoff->stamp, err);

    if (rc == 0) {
        rc = chain_libvirt_domain(handoff->libvirt, &now, &is_persistent, err);
    }
    for (size_t i = 0; rc == 0 && i < handoff->nr; i++) {
        rc = check_same(handoff, &handoff->disks[i], now, err);
    }
    chain_virt_domain_free(now);
    return rc;
}

/* Right before a copy is ended: what it stands on. libvirt has given the files
   to QEMU's user meanwhile. */
int handoff_check_below(const struct handoff *handoff, struct img_error *err)
{
    const char *stamp = handoff->stamp_below;

    return stamp ? chain_stamp_check_contents(stamp, strlen(stamp), err) : 0;
}

/* What is wrong with the layers of a disk that was asked for; NULL: nothing. */
static const struct chain_check *bad_layers(const struct handoff *handoff,
                                            const struct chain_report *report)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        for (size_t k = 0; check->disk && k < handoff->nr; k++) {
            if (strcmp(check->disk, handoff->disks[k].target) == 0 &&
                (check->result == CHAIN_CHECK_FAIL ||
                 check->result == CHAIN_CHECK_UNPROVEN)) {
                return check;
            }
        }
    }
    return NULL;
}

/* After it: do the headers say what libvirt runs? */
int handoff_verify(struct handoff *handoff, struct img_error *err)
{
    struct chain_preflight none = {.tasks = NULL};
    const struct chain_check *bad;
    struct chain_options options;
    int rc;

    if (handoff_find_disks(handoff, err) < 0) {
        return -1;
    }
    if (!handoff_is_over(handoff)) {
        return img_fail(err, IMG_CHANGED,
                        "libvirt says that it is done, but the domain does "
                        "not run on the destination");
    }
    handoff->state = CHAIN_PIVOT_ON_DEST;
    none.report = chain_report_new(err);
    if (!none.report) {
        return -1;
    }
    session_chain_options(&handoff->values->change.common, &options);
    options.format = NULL;
    rc = chain_preflight_files(&handoff->pre.request, &none, &options, err);
    bad = rc == 0 ? bad_layers(handoff, none.report) : NULL;
    if (bad) {
        rc = img_fail(err, IMG_CHANGED, "%s: %s", bad->disk,
                      bad->message ? bad->message : bad->id);
    }
    chain_report_free(none.report);
    return rc;
}
