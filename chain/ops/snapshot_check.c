/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks of one snapshot against each other: by device and inode, links
 * followed, and names that do not exist yet by their folders.
 */
#include "snapshot_run.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <img/memory.h>

#include "place.h"

#define SHOWN_LEN 400u

struct overlay {
    struct chain_place place;
    struct img_stamp stamp; /* if is_there */
    bool is_there;
};

static int fail_pair(const char *path, const char *what, const char *other,
                     struct img_error *err)
{
    char shown[SHOWN_LEN];

    img_escape(other, strlen(other), shown, sizeof(shown));
    img_fail(err, IMG_USAGE, "%s \"%s\"", what, shown);
    img_error_set_path(err, path);
    return -1;
}

static int check_new(const char *path, struct img_error *err)
{
    struct stat st;

    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? 0 : img_fail_sys(err, errno, "cannot look");
    }
    return S_ISBLK(st.st_mode)
               ? img_fail(err, IMG_UNSUPPORTED,
                          "is a block device, in which an overlay cannot "
                          "appear in one step: make it with create --for "
                          "snapshot, then snapshot --reuse-external")
               : img_fail(err, IMG_USAGE,
                          "exists already: expected a new name, or "
                          "--reuse-external");
}

static int look(const struct chain_snapshot_run *run, size_t idx,
                struct overlay *out, struct img_error *err)
{
    const char *path = run->request->disks[idx].overlay;
    const struct img_roots *roots = run->request->roots;
    struct img_error ignored;

    if (chain_place_find(path, roots, &out->place, err) < 0 ||
        (!run->request->reuse_external && check_new(path, err) < 0)) {
        img_error_set_path(err, path);
        return -1;
    }
    out->is_there = img_path_stamp(path, roots, &out->stamp, &ignored) == 0;
    return 0;
}

/* A disk's own layers are the judge's to find. */
static int check_layers(const struct chain_snapshot_run *run, size_t idx,
                        const struct overlay *overlay, struct img_error *err)
{
    const struct chain_snapshot_disk *disks = run->request->disks;

    for (size_t i = 0; overlay->is_there && i < run->request->disks_nr; i++) {
        if (i == idx) {
            continue;
        }
        const struct img_file *file =
            chain_find_stamp(run->jobs[i].source, &overlay->stamp, err);
        if (file) {
            return fail_pair(disks[idx].overlay,
                             "the overlay is a file of another disk, whose "
                             "active layer is",
                             disks[i].active, err);
        }
        if (err->code != IMG_OK) {
            return -1;
        }
    }
    return 0;
}

static int check_pair(const struct chain_snapshot_run *run,
                      const struct overlay *overlays, size_t a, size_t b,
                      struct img_error *err)
{
    const struct chain_snapshot_disk *disks = run->request->disks;
    const struct img_file *top_a =
        chain_layer_file(chain_layer_at(run->jobs[a].source, 0));
    const struct img_file *top_b =
        chain_layer_file(chain_layer_at(run->jobs[b].source, 0));

    if (img_file_is_same(top_a, top_b)) {
        return fail_pair(disks[b].active,
                         "two disks have the same active layer: this is "
                         "also",
                         disks[a].active, err);
    }
    if (chain_place_is_same(&overlays[a].place, &overlays[b].place) ||
        (overlays[a].is_there && overlays[b].is_there &&
         chain_stamp_is_same_file(&overlays[a].stamp, &overlays[b].stamp))) {
        return fail_pair(disks[b].overlay,
                         "two disks have the same overlay: this is also",
                         disks[a].overlay, err);
    }
    return 0;
}

static int check_all(const struct chain_snapshot_run *run,
                     struct overlay *overlays, struct img_error *err)
{
    for (size_t i = 0; i < run->request->disks_nr; i++) {
        if (look(run, i, &overlays[i], err) < 0 ||
            check_layers(run, i, &overlays[i], err) < 0) {
            return -1;
        }
        for (size_t j = 0; j < i; j++) {
            if (check_pair(run, overlays, j, i, err) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

int chain_snapshot_check(const struct chain_snapshot_run *run,
                         struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    struct overlay *overlays =
        img_calloc(run->request->disks_nr, sizeof(*overlays), err);

    return overlays ? check_all(run, overlays, err) : -1;
}
