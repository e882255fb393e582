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

#endif
