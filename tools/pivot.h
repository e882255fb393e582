/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pivot command: its disks, how they are judged and what is shown. */
#ifndef PIVOT_H
#define PIVOT_H

#include <chain/create.h>
#include <chain/pivot.h>
#include <chain/relocate.h>
#include <img/file.h>
#include <img/json.h>

#include "output.h"
#include "pivot_dest.h"
#include "values.h"

/* One disk, from the command line to the end. */
struct pivot_disk {
    char *name; /* of the device or node */
    char *dest; /* absolute */
    struct chain_live_disk live;
    enum chain_pivot_left left;
    struct chain_report *report; /* NULL: not judged */
    char *stamp;         /* what was judged, but what the guest writes */
    char *backing_stamp; /* the same without the destination */
    bool is_handed;      /* QEMU has the destination */
    struct pivot_dest made;
};

/* --migrate-to, for migrate.c. */
struct migration {
    char *folder; /* absolute */
    char *format; /* of the active layer */
    struct chain_relocate_result files;
    struct chain_pivot_backing *backings;
    bool is_dest_found; /* the destination was there */
    char *backing_name; /* that the destination records; NULL: none */
    struct chain *held; /* the copies */
};

struct pivot {
    const struct pivot_values *values;
    enum chain_pivot_kind kind;
    struct pivot_disk *disks;
    struct chain_pivot_disk *told; /* the same for the library */
    size_t nr;
    struct chain_live *live;
    struct chain_pivot_request request;
    struct chain_pivot_result result;
    struct img_json *steps;
    struct migration migration;
    bool is_refused;
};

enum chain_operation pivot_operation(const struct pivot *pivot);

/* ---- pivot_request.c */

/* WORD (or NULL) and options make a request. Returns false after a message. */
bool pivot_read(const struct pivot_values *values, const char *word,
                enum chain_pivot_kind *kind);
/* The disks that the options name. */
int pivot_set_disks(struct pivot *pivot, struct img_error *err);
/* PATH as QEMU needs it, whatever folder it works in. Free with free(). */
char *pivot_absolute(const char *path, struct img_error *err);

/* ---- pivot_judge.c */

/* Make a destination that is to be made, or would be. */
int pivot_make(struct pivot *pivot, size_t idx, struct img_error *err);
/* Take back what pivot_make made. */
void pivot_unmake(struct pivot *pivot);
/*
 * Judge disk IDX: *accepted, with its report. IMG_CHANGED: what runs is not
 * what the files say.
 */
int pivot_judge(struct pivot *pivot, size_t idx, bool *accepted,
                struct img_error *err);
/* Has what was judged changed? For chain_pivot_request. */
int pivot_check(void *opaque, size_t idx, struct img_error *err);

/* ---- pivot_report.c */

/* "source", "dest", "unknown"; and a sentence. */
const char *pivot_state_word(enum chain_pivot_state state);
const char *pivot_state_sentence(enum chain_pivot_state state);

/* For chain_pivot_request. */
void pivot_on_command(void *opaque, const char *text,
                      enum chain_pivot_outcome outcome,
                      const struct img_error *why);
/* WORD is what came of it; ERR, or NULL. */
void pivot_show(struct pivot *pivot, struct output *out, const char *word,
                const struct img_error *err);
/* What ERR left behind, on stderr. */
void pivot_tell_failure(const struct pivot *pivot, struct img_error *err);

#endif
