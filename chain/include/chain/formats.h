/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of all formats this program knows, qcow2 among them, and probing
 * over it.
 */
#ifndef CHAIN_FORMATS_H
#define CHAIN_FORMATS_H

#include <img/format.h>

/* By QEMU's driver name; NULL when unknown. */
const struct img_format *chain_format_find(const char *name);

/* What a file claims to be. */
struct chain_probe {
    const struct img_format *format; /* raw where nothing else claims it */
    const struct img_format *second; /* another claim (polyglot), or NULL */
    const char *contents;            /* see img_probe_contents */
};

int chain_probe(struct img_file *file, struct chain_probe *out,
                struct img_error *err);
/* The same of bytes that are at hand. */
void chain_probe_bytes(const struct img_probe_bytes *bytes,
                       struct chain_probe *out);

/* One of all the things that a file's bytes can be taken for. */
struct chain_claim {
    const char *name;  /* QEMU's driver name; "luks2"; or as img_probe_disk */
    bool is_container; /* a format that wraps a disk; else what is on one */
    bool is_at_end;    /* by the last bytes of the file */
};
#define CHAIN_CLAIMS_MAX 24u
/*
 * Every format that any known reader would take the file for, at all known
 * places. Formats that QEMU does not probe for are among them (a fixed VHD, a
 * LUKS version 2). Returns how many.
 */
size_t chain_claims(const struct img_probe_bytes *bytes,
                    struct chain_claim out[CHAIN_CLAIMS_MAX]);

#endif
