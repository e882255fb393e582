/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Destinations that are made and taken back: see pivot_dest.h. */
#include "pivot_dest.h"

#include <unistd.h>

enum chain_operation pivot_kind_operation(enum chain_pivot_kind kind)
{
    switch (kind) {
    case CHAIN_PIVOT_SNAPSHOT:
        return CHAIN_OP_SNAPSHOT;
    case CHAIN_PIVOT_COPY:
        return CHAIN_OP_COPY;
    case CHAIN_PIVOT_SHALLOW_COPY:
        break;
    }
    return CHAIN_OP_SHALLOW_COPY;
}

struct chain_create_request
pivot_dest_request(const struct change_values *change, const char *path,
                   const char *format, const volatile int *cancel)
{
    return (struct chain_create_request){
        .path = path,
        .format = format,
        .options = (const char *const *)change->options.at,
        .options_nr = change->options.nr,
        .style = change->style,
        .force_share = true,
        .allow_probe = change->common.allow_probe,
        .dry_run = change->dry_run,
        .roots = change->common.roots,
        .cancel = cancel,
    };
}

int pivot_dest_make(const struct chain_create_request *request,
                    enum chain_operation operation, const char *source,
                    const char *source_format, struct pivot_dest *out,
                    struct img_error *err)
{
    struct chain_made made = {.path = NULL};

    if (chain_create_for(operation, source, source_format, request, &made,
                         err) < 0) {
        return -1;
    }
    chain_made_fini(&made);
    return request->dry_run
               ? 0
               : pivot_dest_adopt(request->path, request->roots, out, err);
}

int pivot_dest_adopt(const char *path, const struct img_roots *roots,
                     struct pivot_dest *out, struct img_error *err)
{
    if (img_path_stamp(path, roots, &out->made, err) < 0) {
        return -1;
    }
    out->is_made = true;
    return 0;
}

void pivot_dest_unmake(const char *path, const struct img_roots *roots,
                       struct pivot_dest *dest)
{
    struct img_error ignored;
    struct img_stamp now;

    if (dest->is_made && img_path_stamp(path, roots, &now, &ignored) == 0 &&
        now.dev == dest->made.dev && now.ino == dest->made.ino) {
        (void)unlink(path);
    }
    dest->is_made = false;
}
