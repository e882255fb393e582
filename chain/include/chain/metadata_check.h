/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Does what libvirt has on record of a domain's snapshots and checkpoints hold:
 * against libvirt's own rules, against the domain, and against the images? And
 * what would be left of it if the domain were undefined?
 *
 * Checks are written into a report; docs/metadata.md lists their ids. Images
 * are opened for their headers and tables alone, one after the other, and
 * closed again.
 */
#ifndef CHAIN_METADATA_CHECK_H
#define CHAIN_METADATA_CHECK_H

#include <chain/chain.h>
#include <chain/metadata.h>
#include <chain/report.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_metadata_request {
    /* One of the two may be NULL. */
    const struct chain_metadata *snapshots, *checkpoints;
    const struct chain_virt_domain *domain;
    /* For the images; a running domain's are looked at without locks. */
    const struct chain_options *options;
};

/*
 * Findings are no errors: fails without memory, and with IMG_LIMIT for more
 * than 20000 names of images. Free *OUT with chain_report_free.
 */
IMG_PUBLIC int
chain_metadata_check(const struct chain_metadata_request *request,
                     struct chain_report **out, struct img_error *err);

struct chain_undefine_request {
    struct chain_metadata_request metadata;
    bool is_transient; /* the domain has no persistent definition */
    /* Is the domain's state saved by libvirt itself? */
    bool is_asked; /* libvirt was asked, and said: */
    bool has_managed_save;
    const char *managed_save; /* else: where it would be; NULL: not known */
};

/*
 * What the domain's undefinition would be refused for, or would lose. Fails as
 * chain_metadata_check.
 */
IMG_PUBLIC int
chain_undefine_check(const struct chain_undefine_request *request,
                     struct chain_report **out, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
