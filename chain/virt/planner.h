/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request while it is read as libvirt reads it. For chain/virt/plan*.c.
 *
 * Checks are written by section: a section that says nothing has passed.
 */
#ifndef CHAIN_VIRT_PLANNER_H
#define CHAIN_VIRT_PLANNER_H

#include <chain/checks.h>
#include <chain/preflight.h>

/* Where a disk of a domain takes part in a snapshot. */
enum snapshot_place {
    PLACE_UNSAID,
    PLACE_NO,
    PLACE_INTERNAL,
    PLACE_EXTERNAL,
    PLACE_MANUAL,
};

struct planner {
    const struct chain_preflight_request *request;
    struct chain_preflight *out;
    struct chain_report *report;
    const char *section; /* id of the checks that are being written */
    size_t section_nr;   /* checks before it */
    bool is_active;
    /* Snapshots: of each disk of the domain. */
    const struct chain_virt_snapshot_disk **asked; /* NULL: not listed */
    enum snapshot_place *places;
    enum snapshot_place memory;
    bool is_aligned; /* the two above can be relied on */
};

/* The disks that a snapshot lists, laid over those of a domain. */
struct plan_alignment {
    const struct chain_virt_domain *domain;
    const struct chain_virt_snapshot *snapshot;
    enum snapshot_place fallback; /* of a disk of which nothing is said */
    /* As in a planner, of each disk of the domain; zeroed before. */
    const struct chain_virt_snapshot_disk **asked;
    enum snapshot_place *places;
};

void plan_begin(struct planner *p, const char *id);
/* Ends it; GOOD is said when nothing else was. */
void plan_end(struct planner *p, const char *good);

/*
 * A refusal of libvirt's: CLASS is the name of its error code. DISK and IMAGE
 * may be NULL; LINE 0: of no one place.
 */
struct chain_check *plan_refuse(struct planner *p, const char *disk,
                                const char *class, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Something of another weight. */
struct chain_check *plan_say(struct planner *p, const char *disk,
                             enum chain_check_result result, const char *fmt,
                             ...) __attribute__((format(printf, 4, 5)));
/* "FILE: line N" as what was found. */
void plan_found_line(struct planner *p, struct chain_check *check,
                     const char *file, unsigned line);

static inline bool plan_has(const struct planner *p, unsigned flags)
{
    return (p->request->flags & flags) != 0;
}

/* The domain's disk that NAME means to libvirt: its target, or its source's
   path. -1: none. */
int plan_find_disk(const struct chain_virt_domain *domain, const char *name);
/* The same for a snapshot or checkpoint: a path that two disks have is
   neither's. */
int plan_find_sole_disk(const struct chain_virt_domain *domain,
                        const char *name);

bool plan_is_empty(const struct chain_virt_source *source);
bool plan_is_readonly(const struct chain_virt_disk *disk); /* plan_align.c */
bool plan_is_local(const struct chain_virt_source *source);

/* Why libvirt can make up no name for the overlay of DISK; NULL: it can. It
   looks at its source, by stat(2). plan_disk.c */
const char *plan_unnamed_why(const struct chain_virt_disk *disk);

/* The name that it makes up in a snapshot NAME, to be freed; NULL: memory. */
char *plan_made_up_name(struct planner *p, const struct chain_virt_disk *disk,
                        const char *name);

/* Room for one task more, zeroed; NULL when memory has run out. */
struct chain_preflight_task *plan_task(struct planner *p);

/*
 * The file at PATH as libvirt looks at one that it is to use, or to make.
 * SNAPSHOT and copy differ in words and in error classes.
 */
void plan_look_at(struct planner *p, const char *disk, const char *path,
                  bool is_device, bool is_copy);

/*
 * Can what the files hold be judged from here? Says so where not. DEST may be
 * NULL.
 */
bool plan_is_judged(struct planner *p, const struct chain_virt_disk *disk,
                    const struct chain_virt_source *dest);

void plan_xml(struct planner *p);
void plan_snapshot(struct planner *p);
void plan_snapshot_flags(struct planner *p);
void plan_judge_flags(struct planner *p);    /* what fails, alone */
void plan_snapshot_disks(struct planner *p); /* plan_disk.c */
void plan_align(struct planner *p);          /* plan_align.c; needs memory */
/* Returns whether nothing is wrong; only then the places can be relied on. */
bool plan_align_disks(struct planner *p, const struct plan_alignment *a);
void plan_redefine(struct planner *p);
void plan_copy(struct planner *p);

#endif
