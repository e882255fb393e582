/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request for a new image comes to, before anything is written: its
 * options and size, the texts its header will record, the chain below it.
 */
#ifndef CHAIN_OPS_CREATE_PLAN_H
#define CHAIN_OPS_CREATE_PLAN_H

#include <chain/chain.h>
#include <chain/create.h>
#include <qcow2/create.h>

struct chain_create_plan {
    const struct chain_create_request *request; /* borrowed */
    bool is_raw;
    /* Also of a raw image: virtual_len and prealloc. Texts are the plan's or
       the request's. */
    struct qcow2_create_options qcow2;
    char *backing_name;    /* as it will be recorded; NULL: none */
    char *backing_path;    /* where it leads; NULL: not a local file */
    char *backing_format;  /* NULL: none */
    char *data_file_path;  /* NULL: none */
    struct chain *backing; /* open and locked; NULL: none, or unchecked */
    uint64_t extent_len;   /* extent_size_hint; 0: not asked for */
    bool nocow;
    bool has_size;
    bool is_name_made; /* the backing name was computed, not given */
};

/* Format and options of REQUEST. The rest is empty, for chain_create_finish or
   the caller to fill in. */
int chain_plan_begin(const struct chain_create_request *request,
                     struct chain_create_plan *out, struct img_error *err);
/* Is NAME among REQUEST's options? */
bool chain_plan_mentions(const struct chain_create_request *request,
                         const char *name);
/*
 * Record NAME, which leads to a file of FORMAT: opened and checked unless the
 * request says otherwise, written in the request's style.
 */
int chain_plan_backing(struct chain_create_plan *plan, const char *name,
                       const char *format, struct img_error *err);
/*
 * Size and data file, and whether all of it goes together and the new name is
 * no file that it needs.
 */
int chain_plan_finish(struct chain_create_plan *plan, struct img_error *err);
/* All three, as qemu-img create would understand the request. */
int chain_plan_make(const struct chain_create_request *request,
                    struct chain_create_plan *out, struct img_error *err);
void chain_plan_fini(struct chain_create_plan *plan);

/* The new image must not take the place of a file of CHAIN. */
int chain_plan_check_apart(const char *path, const struct chain *chain,
                           const struct img_roots *roots,
                           struct img_error *err);

/* Bytes that will be reserved or written before the image is used. */
uint64_t chain_plan_needed_len(const struct chain_create_plan *plan);

/* What the plan will make. */
int chain_plan_describe(const struct chain_create_plan *plan,
                        struct chain_made *out, struct img_error *err);

#endif
