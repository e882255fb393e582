/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Would a saved image come back? Rules about the image itself, and about the
 * disks that its XML names: docs/saved-image.md has them by their ids.
 */
#ifndef CHAIN_SAVED_CHECK_H
#define CHAIN_SAVED_CHECK_H

#include <stdbool.h>

#include <chain/checks.h>
#include <chain/saved.h>
#include <chain/virt.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_options;

/*
 * Judge the saved image PATH, into REPORT: its header, XML and stream, and
 * each disk. OPTIONS: how chains are opened (of its roots, limits and locks;
 * the format is the XML's). -1 is a failure of judging itself.
 */
int chain_saved_check(const char *path, const struct chain_options *options,
                      struct chain_report *report, struct img_error *err);

/*
 * Judge the disks of NEXT that are not as they were in BEFORE (NULL: all), and
 * that a guest which ran with BEFORE would find what it knows: the same size,
 * where BEFORE's image is still there to tell. MTIME_NS: when its memory was
 * written; 0: not known.
 */
struct chain_saved_disks {
    const struct chain_virt_domain *before, *next;
    int64_t mtime_ns;
    const struct chain_options *options;
};
int chain_saved_check_disks(const struct chain_saved_disks *request,
                            struct chain_report *report, struct img_error *err);

/*
 * The emulator of the domain whose XML TEXT is, which errors call NAME, where
 * it is another one than that of BEFORE: libvirt wants it to be there.
 */
int chain_saved_check_emulator(const char *before, const char *text,
                               const char *name, struct chain_report *report,
                               struct img_error *err);

/* What libvirt refuses in DOMAIN's disks as they stand there. */
void chain_saved_check_refusals(const struct chain_virt_domain *domain,
                                struct chain_report *report);

#ifdef __cplusplus
}
#endif
#endif
