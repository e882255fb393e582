/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of copy: qemu-img convert's, and this program's own. */
#include <qcow2/deflate.h>
#include <string.h>

#include "command.h"
#include "values.h"

/* As in qemu-img: what is skipped is a multiple of it. */
#define SECTOR_LEN 512u

static int option_effort(void *field, const char *arg, struct img_error *err)
{
    int *effort = field;

    if (strcmp(arg, "fast") == 0) {
        *effort = QCOW2_EFFORT_FAST;
    } else if (strcmp(arg, "default") == 0) {
        *effort = QCOW2_EFFORT_DEFAULT;
    } else if (strcmp(arg, "best") == 0) {
        *effort = QCOW2_EFFORT_BEST;
    } else {
        return img_fail(err, IMG_USAGE, "is none of fast, default, best");
    }
    return 0;
}

static int option_sparse(void *field, const char *arg, struct img_error *err)
{
    struct copy_values *values = field;

    if (size_parse(arg, &values->sparse_len, err) < 0) {
        return -1;
    }
    if (values->sparse_len % SECTOR_LEN != 0) {
        return img_fail(err, IMG_USAGE, "is no multiple of %u bytes",
                        SECTOR_LEN);
    }
    values->has_sparse = true;
    return 0;
}

/* qemu-img's "snapshot.id=ID" and "snapshot.name=NAME", or just the one. */
static int option_snapshot(void *field, const char *arg, struct img_error *err)
{
    static const char id[] = "snapshot.id=", name[] = "snapshot.name=";
    const char **snapshot = field;

    if (strncmp(arg, id, sizeof(id) - 1) == 0) {
        *snapshot = arg + sizeof(id) - 1;
    } else if (strncmp(arg, name, sizeof(name) - 1) == 0) {
        *snapshot = arg + sizeof(name) - 1;
    } else {
        *snapshot = arg;
        return 0;
    }
    if (strstr(*snapshot, ",snapshot.")) {
        return img_fail(err, IMG_USAGE, "names both: expected id or name");
    }
    return 0;
}

static int option_salvage(void *field, const char *arg, struct img_error *err)
{
    (void)field;
    (void)arg;
    return img_fail(err, IMG_USAGE,
                    "is refused: what cannot be read is never taken for zeros");
}

#define AT(field) offsetof(struct copy_values, field)

const struct option_spec copy_options[] = {
    {'f', "format", "FMT", "format of SOURCE; without it it is probed",
     option_text, AT(change.common.format)},
    {'O', "target-format", "FMT", "qcow2, or raw (default without --shallow)",
     option_text, AT(dest_format)},
    {'o', "options", "OPTS", "NAME=VALUE,... of the format; -o help lists them",
     option_options, 0},
    {0, "shallow", NULL, "only the active layer, over the same backing file",
     option_flag, AT(shallow)},
    {'B', "backing", "BACKING", "shallow; record BACKING, of equal contents",
     option_text, AT(change.backing_name)},
    {'F', "backing-format", "FMT", "format of BACKING, to be recorded",
     option_text, AT(change.backing_format)},
    {0, "relative", NULL, "record a path relative to DEST's folder",
     option_relative, AT(change.style)},
    {0, "absolute", NULL, "record an absolute path", option_absolute,
     AT(change.style)},
    {'c', "compress", NULL, "compress every cluster (qcow2)", option_flag,
     AT(compress)},
    {0, "compress-effort", "HOW", "fast, default or best", option_effort,
     AT(effort)},
    {'n', "no-create", NULL, "into the existing DEST, which must be fit for it",
     option_flag, AT(no_create)},
    {0, "target-is-zero", NULL, "with -n: DEST reads as zeros (is checked)",
     option_flag, AT(target_is_zero)},
    {'l', "snapshot", "NAME", "copy an internal snapshot of SOURCE",
     option_snapshot, AT(snapshot)},
    {'S', "sparse-size", "SIZE", "so many zeros are a hole (4k); 0: no holes",
     option_sparse, 0},
    {0, "bitmaps", NULL, "copy the persistent bitmaps, too", option_flag,
     AT(bitmaps)},
    {0, "skip-broken-bitmaps", NULL, "... but not inconsistent ones",
     option_flag, AT(skip_broken_bitmaps)},
    {0, "verify", NULL, "compare everything afterwards", option_flag,
     AT(change.verify)},
    {0, "no-reflink", NULL, "share no blocks with SOURCE on disk", option_flag,
     AT(no_reflink)},
    {'T', "source-cache", "CACHE", "none: read past the page cache",
     option_cache_mode, AT(change.source_cache)},
    {'t', "target-cache", "CACHE", "none: write past the page cache",
     option_cache_mode, AT(change.dest_cache)},
    {'m', "parallel", "N", "threads that compute (one a core, at most 8)",
     option_threads, AT(threads)},
    {'W', "oob-writes", NULL, "no effect: writes are never kept in order",
     option_flag, AT(is_accepted)},
    {'C', "copy-range-offloading", NULL, "no effect: blocks are always shared",
     option_flag, AT(is_accepted)},
    {'r', "rate-limit", "RATE", "refused: rates are not limited",
     option_rate_limit, 0},
    {0, "salvage", NULL, "refused: unreadable data is never taken for zeros",
     option_salvage, 0},
    {0, "image-opts", NULL, "SOURCE is KEY=VALUE,... as QEMU has it",
     option_flag, AT(change.common.image_opts)},
    {0, "dry-run", NULL, "show what would be done and write nothing",
     option_flag, AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};
