/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files in a folder. */
#ifndef CHAIN_GRAPH_SCAN_H
#define CHAIN_GRAPH_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include <img/error.h>

struct chain_scan_options {
    bool recursive;   /* folders in it, too, but none behind a link */
    size_t max_names; /* IMG_LIMIT beyond so many names */
    /* Called for each file or block device, sorted by name in a folder. */
    int (*found)(void *opaque, const char *path, struct img_error *err);
    void *opaque;
};

/* A folder that cannot be read is an error only when it is PATH itself. */
int chain_scan_folder(const char *path,
                      const struct chain_scan_options *options,
                      struct img_error *err);

#endif
