/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata commands: what they share. Operands are libvirt's folder of a
 * domain's snapshots, or files of them; or --connect and --domain ask libvirt.
 */
#ifndef METADATA_H
#define METADATA_H

#include <chain/metadata.h>

#include "../command.h"
#include "../options.h"
#include "../output.h"

/* Where metadata comes from; the first values of each metadata command. */
struct metadata_values {
    struct common_values common;
    const char *connect; /* --connect URI */
    const char *domain;  /* --domain: its name with --connect, else its XML */
    const char *current; /* --current NAME */
    bool checkpoints;    /* --checkpoints */
};

/* Their rows in a table of options; VALUES is the command's own struct, whose
   member "source" is a metadata_values. */
#define METADATA_AT(values, field) offsetof(values, source.field)
#define METADATA_ROW(name, arg, help, parse, at)                               \
    {                                                                          \
        0, name, arg, help, parse, at                                          \
    }
#define METADATA_CONNECT(values)                                               \
    METADATA_ROW("connect", "URI", "ask the libvirt there", option_text,       \
                 METADATA_AT(values, connect))
#define METADATA_DOMAIN(values)                                                \
    METADATA_ROW("domain", "NAME", "the domain's name, with --connect",        \
                 option_text, METADATA_AT(values, domain))
#define METADATA_CURRENT(values)                                               \
    METADATA_ROW("current", "NAME",                                            \
                 "the current one; else by <active>, or libvirt's",            \
                 option_text, METADATA_AT(values, current))
#define METADATA_CHECKPOINTS(values)                                           \
    METADATA_ROW("checkpoints", NULL, "checkpoints instead of snapshots",      \
                 option_flag, METADATA_AT(values, checkpoints))

/*
 * Is it said once where the metadata is? Prints a message and returns false
 * when not. NR operands.
 */
bool metadata_is_sane(const struct metadata_values *values, int nr);
/*
 * The output, and the first step of the sandbox, which does not go with a
 * connection to libvirt (sandbox.h); what is needed in it is loaded before.
 */
int metadata_begin(const struct metadata_values *values, struct output **out,
                   struct img_error *err);
/* Connect where --connect asks for it; then read the metadata. Nothing is
   opened afterwards: the sandbox is sealed. */
int metadata_get(const struct metadata_values *values, char **operands, int nr,
                 struct chain_metadata **out, struct img_error *err);
/* Read it: OPERANDS, or through LIBVIRT if that is not NULL. */
int metadata_read(const struct metadata_values *values, char **operands, int nr,
                  struct chain_libvirt *libvirt, bool secure,
                  struct chain_metadata **out, struct img_error *err);
/* Say on stderr which files could not be read. Returns how many. */
size_t metadata_tell_unread(const struct chain_metadata *metadata);
/* Is PATH libvirt's own, and does its daemon run? It has read what lies there,
   and would write it again. *PID: 0 where the kernel does not tell. */
bool daemon_holds(const char *path, int *pid);
/* For IMG_AUTO. */
void metadata_free_ptr(struct chain_metadata **metadata);
void metadata_close_libvirt(struct chain_libvirt **libvirt);

/* "internal", "external, disk only", "external, memory", ...; static. */
const char *metadata_kind(const struct chain_moment *moment);
/* <state>, escaped into BUF; "-" for a checkpoint, or none. */
const char *metadata_state(const struct chain_moment *moment, char buf[64]);
/* When it was taken, as "2026-11-27 12:00:00 +0000"; "-" if not told. */
const char *metadata_time(const struct chain_moment *moment, char buf[64]);

/* All that is known of a moment. */
struct img_json *metadata_json(const struct chain_metadata *metadata,
                               const struct chain_moment *moment,
                               struct img_error *err);
int metadata_sheet(struct output *out, const struct chain_metadata *metadata,
                   const struct chain_moment *moment, struct img_error *err);

/* What is wrong with a moment's place in the hierarchy, from K = 0 on; TEXT
   may be NULL. Returns its id, or NULL: there is no more. */
#define METADATA_PROBLEM_LEN 512u
const char *metadata_problem(const struct chain_metadata *metadata,
                             const struct chain_moment *moment, size_t k,
                             char text[METADATA_PROBLEM_LEN]);

struct metadata_list_values {
    struct metadata_values source;
};

struct metadata_show_values {
    struct metadata_values source;
    bool xml; /* --xml */
};

#endif
