/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The destination of a pivot, made by the run that needs it. */
#ifndef PIVOT_DEST_H
#define PIVOT_DEST_H

#include <chain/create.h>
#include <chain/pivot.h>
#include <img/file.h>

#include "change.h"

/* What a run has made it may take back. Zeroed: nothing. */
struct pivot_dest {
    bool is_made;
    struct img_stamp made;
};

/* What the destination of a pivot of that kind is judged as. */
enum chain_operation pivot_kind_operation(enum chain_pivot_kind kind);

/* The request to make PATH, as the options have it. */
struct chain_create_request
pivot_dest_request(const struct change_values *change, const char *path,
                   const char *format, const volatile int *cancel);
/* Make it for a running SOURCE; in a dry run only see whether it could be. */
int pivot_dest_make(const struct chain_create_request *request,
                    enum chain_operation operation, const char *source,
                    const char *source_format, struct pivot_dest *out,
                    struct img_error *err);
/* The file at PATH is this run's. */
int pivot_dest_adopt(const char *path, const struct img_roots *roots,
                     struct pivot_dest *out, struct img_error *err);
/* Remove it, if it is still the one that was made. */
void pivot_dest_unmake(const char *path, const struct img_roots *roots,
                       struct pivot_dest *dest);

#endif
