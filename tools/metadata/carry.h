/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata export, redefine and delete: what they share. */
#ifndef METADATA_CARRY_H
#define METADATA_CARRY_H

#include <chain/bundle.h>
#include <chain/redefine_plan.h>

#include "../words.h"
#include "metadata.h"

struct metadata_export_values {
    struct metadata_values source;
    const char *to;               /* --to BUNDLE */
    const char *checkpoints_from; /* --checkpoints-from DIR */
    bool without_checkpoints, security_info;
};

struct metadata_redefine_values {
    struct metadata_values source;
    const char *checkpoints_from;
    bool without_checkpoints;
    struct words maps;       /* --map OLD=NEW */
    const char *uuid, *name; /* --uuid, --name */
    const char *to;          /* --to DIR */
    const char *record;      /* --record FILE */
    bool dry_run, recover, forget_record;
    bool without_secrets; /* --without-secrets */
};

struct metadata_delete_values {
    struct metadata_values source;
    bool is_metadata; /* --metadata */
    bool children, children_only;
    bool dry_run;
};

/*
 * What OPERANDS and the options name: a bundle, or documents, with the domain's
 * XML and checkpoints beside them; or all of LIBVIRT if that is not NULL. A
 * document that cannot be read is a failure. OUT is zeroed.
 */
struct carry_source {
    const struct metadata_values *values;
    const char *domain_file; /* NULL: none */
    const char *checkpoints_from;
    bool without_checkpoints;
};
int carry_read(const struct carry_source *source, char **operands, int nr,
               struct chain_bundle *out, struct img_error *err);
int carry_read_libvirt(struct chain_libvirt *libvirt, bool secure,
                       bool checkpoints, struct chain_bundle *out,
                       struct img_error *err);

/*
 * Where the way back of a redefinition of this domain is kept:
 * $XDG_STATE_HOME/imgchain (or ~/.local/state/imgchain, which is made), by the
 * domain's uuid and libvirt's URI. Free it with free().
 */
char *carry_record_path(const char *uri, const char *uuid,
                        struct img_error *err);

/* A new file of mode 0600 that appears when it is complete and stable. */
int carry_write(const char *path, const char *text, size_t len,
                struct img_error *err);

/* The plan's documents, and a script of virsh commands, in the new folder PATH,
   which appears at once. */
int carry_write_folder(const struct chain_redefine_plan *plan, const char *name,
                       const char *path, struct img_error *err);

/* For IMG_AUTO. */
void carry_bundle_fini(struct chain_bundle *bundle);

#endif
