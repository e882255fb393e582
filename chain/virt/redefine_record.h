/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way back from steps that are being taken: what a domain had on record.
 * Room: chain/virt; for forget.c, redefine_apply.c and redefine_record.c.
 */
#ifndef VIRT_REDEFINE_RECORD_H
#define VIRT_REDEFINE_RECORD_H

#include <chain/forget.h>

#define RECORD_MAX_LEN (256u << 20) /* bytes of the file */

/* One that is put on record. */
struct record_entry {
    enum chain_moment_kind kind;
    char *name;
    char *xml; /* what was there; NULL: nothing */
    char *put; /* what is put there, or (forgetting) goes */
};

/* Zeroed is empty. */
struct record {
    char *uuid;                  /* of the domain */
    char *current, *current_xml; /* the snapshot that was; NULL: none */
    char *current_put;           /* that is made so; NULL: none */
    bool is_forgetting;          /* which is current is left to libvirt */
    struct record_entry *entries;
    size_t nr;
};

void record_fini(struct record *record);
int record_encode(const struct record *record, char **text,
                  struct img_error *err);
/* Strictly; errors have NAME as their path. */
int record_decode(const char *text, size_t len, const char *name,
                  struct record *out, struct img_error *err);

/* How the way back is gone. */
struct record_way {
    bool is_own; /* by the process that wrote the record, and holds the lock */
    bool leaves; /* what others did stays; else nothing is done (IMG_CHANGED) */
    void (*tell)(void *opaque, const char *text); /* of what stays; or NULL */
    void *opaque;
};
/* (redefine_back.c) */
int redefine_take_back(struct chain_libvirt *libvirt,
                       const struct record *record,
                       const struct record_way *way, struct img_error *err);

/* Is AT of those that are forgotten with IDX? (forget.c) */
bool forget_goes(const struct chain_metadata *metadata, size_t at, size_t idx,
                 enum chain_delete_range range);

#endif
