/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pivot --migrate-to: the whole chain of a running disk goes to another
 * folder. What lies under the active layer is copied here, with the guest
 * running (chain/relocate.h); the active layer itself by the pivot.
 */
#ifndef MIGRATE_H
#define MIGRATE_H

#include "pivot.h"

/* Does PIVOT migrate? */
bool migrate_is_on(const struct pivot *pivot);

/* Find the disk; its destination, and what kind of copy it takes, follow. */
int migrate_begin(struct pivot *pivot, struct img_error *err);
/* Copy what lies under the active layer, or with --dry-run see whether it
   could be. What runs is held against the headers first. */
int migrate_files(struct pivot *pivot, struct img_error *err);
/*
 * Look whether the destination is there already. One that an earlier run gave
 * to QEMU may hold a part of a copy, and goes; else it stays to be judged.
 */
int migrate_settle_dest(struct pivot *pivot, struct img_error *err);
/* What was there and is accepted leads to nothing outside of the folder, and
   holds nothing that a full copy would overwrite. */
int migrate_check_dest(const struct pivot *pivot, struct img_error *err);
/* How the active layer's copy is to name what it stands on; NULL: as the
   layer does. */
const char *migrate_backing_name(const struct pivot *pivot);
/* The destination is written by this program's job: it goes with it. */
int migrate_adopt_dest(struct pivot *pivot, struct img_error *err);
/* The copies have not changed since they were proved. */
int migrate_check(const struct pivot *pivot, struct img_error *err);
/* Nothing that the destination leads to lies outside of the folder. */
int migrate_verify(const struct pivot *pivot, struct img_error *err);
/* One line on stderr: what remains in the folder. */
void migrate_tell_remains(const struct pivot *pivot);
/* "migrate-to" and what became of each file. */
void migrate_json(const struct pivot *pivot, struct img_json *json);
void migrate_sheet(struct output *out, const struct pivot *pivot);
void migrate_fini(struct pivot *pivot);

#endif
