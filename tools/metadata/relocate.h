/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * metadata relocate: a domain's images, memory files and XML go to another
 * folder, in one transaction.
 *
 * In order: the documents are read; what they name is collected and opened
 * (chain/relocate.h); each path in them that leads to one of these files gets
 * a rule; the documents are rewritten; and then all of it is copied, named,
 * and, where it is moved, removed, or nothing.
 */
#ifndef METADATA_RELOCATE_H
#define METADATA_RELOCATE_H

#include <chain/relocate.h>
#include <chain/rewrite.h>
#include <chain/saved.h>
#include <chain/transaction.h>

#include "../change.h"
#include "../words.h"
#include "metadata.h"

struct metadata_relocate_values {
    struct change_values change;
    const char *domain;       /* --domain XML */
    struct words snapshots;   /* --snapshots DIR|FILE */
    struct words checkpoints; /* --checkpoints DIR|FILE */
    struct words saved;       /* --saved FILE */
    struct words disks;       /* --disk NAME; none: all */
    const char *to, *xml_to;  /* --to, --xml-to */
    const char *uuid, *name;  /* of the copy's domain */
    const char *recover;      /* --recover FOLDER */
    bool move, undo, allow_outside;
};

enum document_kind {
    DOCUMENT_DOMAIN,
    DOCUMENT_SNAPSHOT,
    DOCUMENT_CHECKPOINT,
};

/* An XML document, and what becomes of it. */
struct document {
    enum document_kind kind;
    const char *file, *text; /* borrowed */
    size_t len;
    const struct chain_moment *moment; /* NULL: the domain's */
    char *new_text;
    size_t changed_nr; /* values */
    char *new_file;    /* that it is written to; or, moved, replaced */
};

/* A file that holds a saved state, or a snapshot's memory, which libvirt
   writes in the same form. */
struct state_file {
    const char *path;                 /* borrowed */
    struct chain_saved *saved;        /* NULL: it is not of that form */
    struct chain_virt_domain *domain; /* of its XML; NULL: the same */
    void *head;    /* what the copy is to begin with; NULL: as it does */
    bool is_saved; /* --saved: virsh restore takes it */
};

struct relocation {
    const struct metadata_relocate_values *values;
    char *to, *xml_to; /* real paths; xml_to NULL: documents are replaced */
    /* What was read. */
    char *domain_text;
    struct chain_virt_domain *domain;
    struct chain_metadata *snapshots, *checkpoints;
    struct document *documents;
    size_t documents_nr;
    struct state_file *states;
    size_t states_nr;
    /* The images. */
    struct chain_relocate_source *sources;
    size_t sources_nr;
    const char *reading; /* the file whose paths are collected */
    struct chain_relocate_request request;
    struct chain_relocate_result files;
    struct chain_relocation *images;
    /* Paths of the documents: with a rule, and those that stay. */
    struct chain_path_map *map;
    struct words seen, left;
    /* The change. */
    struct chain_transaction *transaction;
    size_t *changes; /* number of each file's in it */
    bool is_running; /* a change that is under way may be cancelled */
};

/* relocate_read.c */
/* Has XML that names UUID and NAME (each may be NULL) another domain? */
bool relocate_is_other(const struct relocation *relocation, const char *uuid,
                       const char *name);
/* Read all documents. */
int relocate_read(struct relocation *relocation, struct img_error *err);
/* Is DISK one of those that are chosen? */
bool relocate_is_chosen(const struct relocation *relocation, const char *disk);
/* The images and memory files that they name. */
int relocate_collect(struct relocation *relocation, struct img_error *err);
/* The images, and the NVRAM, that DOMAIN, of the XML in FILE, names. */
int relocate_add_domain(struct relocation *relocation,
                        const struct chain_virt_domain *domain,
                        const char *file, struct img_error *err);

/* relocate_state.c */
/* The XML in saved states and memory files, and the images that it names. */
int relocate_read_states(struct relocation *relocation, struct img_error *err);
/* What their copies are to begin with. */
int relocate_rewrite_states(struct relocation *relocation,
                            struct img_error *err);

/* relocate_rewrite.c */
/* What is to be changed in each XML. */
struct chain_rewrite relocate_wish(const struct relocation *relocation);
/* The file that PATH leads to, if it is copied; NULL: it is not. */
struct chain_relocated *relocate_find(const struct relocation *relocation,
                                      const char *path);
/* A rule for each path that leads to a file which is copied. */
int relocate_map(struct relocation *relocation, struct img_error *err);
/* The documents as they are to be, and where they go. */
int relocate_rewrite(struct relocation *relocation, struct img_error *err);

/* relocate_outside.c */
/* Overlays of what goes away (is moved, or a copy that is taken back) that do
   not go with it: IMG_USAGE, or with --allow-outside a note. */
int relocate_check_outside(const struct relocation *relocation,
                           struct img_error *err);
/* A note of a managed save that is left behind. */
int relocate_tell_managed_save(const struct relocation *relocation,
                               struct img_error *err);
/* A libvirtd that runs has read what lies in its folders. */
int relocate_check_daemon(const struct relocation *relocation,
                          struct img_error *err);

/* relocate_change.c */
/* Say on stderr what became of a file of an earlier run. */
void relocate_tell_recovered(void *opaque, const char *path, const char *what);
/* Copy, and do it all. */
int relocate_do(struct relocation *relocation, struct img_error *err);
/* What a finished copy made is proved to be unchanged, and removed. */
int relocate_undo(struct relocation *relocation, struct img_error *err);

/* relocate_report.c */
int relocate_report(const struct relocation *relocation, struct output *out,
                    struct img_error *err);

#endif
