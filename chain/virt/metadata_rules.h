/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules of chain/metadata_check.h while they are applied. For
 * chain/virt/metadata_*.c.
 *
 * Checks are written by rule: a rule that says nothing has passed.
 */
#ifndef CHAIN_VIRT_METADATA_RULES_H
#define CHAIN_VIRT_METADATA_RULES_H

#include <chain/checks.h>
#include <chain/metadata_check.h>

#include "images.h"

struct metadata_rules {
    const struct chain_metadata_request *request;
    struct chain_report *report;
    struct chain_options options; /* the request's, for a running domain */
    struct virt_images images;
    const char *rule; /* id of the checks that are being written */
    size_t rule_nr;   /* checks before it */
    struct img_error *err;
    bool is_failed; /* ERR is filled in: nothing more is asked */
};

void rule_begin(struct metadata_rules *r, const char *id);
/* Ends it; GOOD is said when nothing else was. */
void rule_end(struct metadata_rules *r, const char *good);
/* Something about MOMENT (may be NULL) and DISK (likewise). */
struct chain_check *
rule_say(struct metadata_rules *r, const struct chain_moment *moment,
         const char *disk, enum chain_check_result result, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* The words of CHECK's found and expected, with "%s" for a stranger's TEXT. */
void rule_found(struct metadata_rules *r, struct chain_check *check,
                const char *text);
void rule_expected(struct metadata_rules *r, struct chain_check *check,
                   const char *text);

/*
 * The image that LAYER (which may be NULL) names; FALLBACK is its format where
 * none is told. NULL: it is no local file, or R has failed.
 */
const struct virt_image *rule_image(struct metadata_rules *r,
                                    const struct chain_virt_layer *layer,
                                    const char *fallback);
/* The same for what a snapshot's disk was before, and for its overlay: only if
   it could be opened. What is wrong with others is said by
   metadata_rules_open, once. */
const struct virt_image *rule_before(struct metadata_rules *r,
                                     const struct chain_moment_disk *disk);
const struct virt_image *rule_overlay(struct metadata_rules *r,
                                      const struct chain_moment_disk *disk);
/*
 * Call EACH for every snapshot but those of a name that is taken, in their
 * order, with its disks.
 */
struct rule_disks {
    const struct chain_moment *moment;
    const struct chain_moment_disk *disks;
    size_t nr;
};
void rule_each_snapshot(struct metadata_rules *r,
                        void (*each)(struct metadata_rules *r,
                                     const struct rule_disks *of));
/* The disk of a list that has this name; NULL. */
const struct chain_moment_disk *rule_disk(const struct chain_moment_disk *disks,
                                          size_t nr, const char *name);
/* The domain's disk of that target; NULL. */
const struct chain_virt_disk *rule_domain_disk(const struct metadata_rules *r,
                                               const char *name);

/* Of what the documents alone say: metadata_check.c. */
void metadata_rules_loader(struct metadata_rules *r,
                           const struct chain_metadata *metadata);
/* By chain/redefine.h: metadata_redefine.c. */
void metadata_rules_redefine(struct metadata_rules *r,
                             const struct chain_metadata *metadata);
/* Can images be opened, overlays and hierarchy: metadata_images.c. */
void metadata_rules_open(struct metadata_rules *r);
void metadata_rules_chains(struct metadata_rules *r);
/* In the images: metadata_inner.c. */
void metadata_rules_inner(struct metadata_rules *r);
/* Memory files: metadata_memory.c. */
void metadata_rules_memory(struct metadata_rules *r);
/* Checkpoints' bitmaps: metadata_bitmaps.c. */
void metadata_rules_bitmaps(struct metadata_rules *r);

/* R for REQUEST, and its end; the report goes to *OUT. */
int metadata_rules_init(struct metadata_rules *r,
                        const struct chain_metadata_request *request,
                        struct img_error *err);
int metadata_rules_fini(struct metadata_rules *r, struct chain_report **out);

#endif
