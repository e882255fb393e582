/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Repair: what `qemu-img check -r` puts right, worked out in memory first.
 *
 * The whole repair is done on a staged file (img/staged.h), of which the check
 * then says how the image will be. Only after that, and after a record of all
 * bytes that change was made stable, the file is written, in this order with a
 * flush between the steps: what nothing points to yet, and refcounts that
 * grow; the refcount table; entries of L2, then of L1 tables; the header;
 * refcounts that shrink. Then the file is checked again, and only when that
 * finds nothing the dirty and the corrupt bit are cleared.
 *
 * What the guest could read stays as it was, byte for byte. What nobody could
 * read (an entry that leads nowhere) reads as zeros, and is told as lost.
 *
 * One thread at a time. Specification: "Host cluster management", "Cluster
 * mapping", "Snapshots", "Bitmaps".
 */
#ifndef QCOW2_REPAIR_H
#define QCOW2_REPAIR_H

#include <qcow2/check.h>

enum qcow2_repair_mode {
    QCOW2_REPAIR_LEAKS, /* refcounts that are too high, and nothing else */
    QCOW2_REPAIR_ALL,
};

enum qcow2_repair_kind {
    QCOW2_REPAIR_HEADER,    /* a field of the header */
    QCOW2_REPAIR_TABLE,     /* an entry of an L1 table */
    QCOW2_REPAIR_ENTRY,     /* an entry of an L2 table */
    QCOW2_REPAIR_MOVE,      /* something that lies where it cannot stay */
    QCOW2_REPAIR_SNAPSHOT,  /* an internal snapshot */
    QCOW2_REPAIR_BITMAP,    /* a persistent bitmap */
    QCOW2_REPAIR_REFCOUNTS, /* refcounts, their blocks and table */
    QCOW2_REPAIR_FLAGS,     /* bit 63 of entries */
};

/* One thing that is done, or with dry_run would be. */
struct qcow2_repair_step {
    enum qcow2_repair_kind kind;
    uint64_t off;        /* in the file */
    bool is_lost;        /* something could not be saved */
    bool has_guest;      /* the guest's bytes that this is about: */
    uint64_t guest_off;  /* of the active disk */
    uint64_t guest_len;  /* 0: none that the disk has */
    const char *message; /* one line, escaped; only valid in the callback */
};

struct qcow2_repair_options {
    enum qcow2_repair_mode mode;
    bool dry_run;
    /* Where the undo record is to appear; NULL: keep none. */
    const char *undo_path;
    const struct img_roots *roots; /* for undo_path; or NULL */
    /* Called for each step, up to max_steps (0: no limit); may be NULL. */
    void (*step)(void *opaque, const struct qcow2_repair_step *step);
    /* Called for what is still wrong afterwards; may be NULL. */
    void (*problem)(void *opaque, const struct qcow2_problem *problem);
    void *opaque;
    uint64_t max_steps;
    uint64_t max_problems;
    uint64_t max_memory; /* for counting, and again for changes; 0: by what
                            the file holds, see qcow2_check_memory */
    unsigned threads;    /* of its checks, see qcow2_check_options */
    const volatile int *cancel; /* heeded until the first change */
    void (*progress)(void *opaque, double fraction);
};

struct qcow2_repair_result {
    struct qcow2_check_result before; /* only corruptions where the image
                                         could not even be opened */
    struct qcow2_check_result after;  /* with dry_run: as it would be */
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t steps_nr;
    uint64_t lost_nr;        /* steps that lost something */
    uint64_t lost_guest_len; /* bytes of the active disk among it */
    uint64_t written_len;    /* bytes changed, or to be changed */
    bool has_undo;           /* the record was made */
    bool is_marked_clean;    /* a dirty or corrupt bit was cleared */
};

/*
 * Repair the qcow2 image in FILE (open for writing with a writer's locks; with
 * dry_run reading will do). 0 when it was looked at, whatever is left to
 * complain of in AFTER. IMG_CORRUPT for an image of which nothing can be made
 * (no header, no L1 table): nothing was written then. Other failures before the
 * first change leave the image untouched; later ones leave it as a crash
 * would, and the undo record says the way back.
 */
int qcow2_repair(struct img_file *file,
                 const struct qcow2_repair_options *options,
                 struct qcow2_repair_result *out, struct img_error *err);

/*
 * Put back what the undo record in RECORD keeps, byte for byte, also of a
 * repair that was cut short. IMG_FORMAT, IMG_CORRUPT: it is no such record.
 * IMG_CHANGED: it is one of another file, or FILE was changed since. With
 * DRY_RUN only that is found out. *RESTORED_LEN: bytes that differed.
 */
int qcow2_repair_undo(struct img_file *file, struct img_file *record,
                      bool dry_run, uint64_t *restored_len,
                      struct img_error *err);

#endif
