/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What runs against what is recorded, and the files of all disks against each
 * other. A destination is judged by what the headers of the source say; where
 * the domain's XML says otherwise (libvirt keeps it above the headers), the
 * guest runs on something else.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <img/memory.h>

#include "planner.h"

/* The open chains of the domain's disks; NULL where one has none. */
struct chains {
    struct chain **at;
    size_t nr;
};

static void close_all(struct chains *chains)
{
    for (size_t i = 0; chains->at && i < chains->nr; i++) {
        chain_free(chains->at[i]);
    }
    free(chains->at);
}

/* ---- domain-chain */

static struct chain_check *mismatch(struct planner *p,
                                    const struct chain_virt_disk *disk,
                                    const struct chain_virt_layer *layer)
{
    struct chain_check *check = plan_say(
        p, disk->target, CHAIN_CHECK_FAIL,
        "the domain's XML and the files' headers give the disk other layers");

    plan_found_line(p, check, p->request->domain->file, layer->line);
    return check;
}

static bool is_same_file(const struct chain_virt_source *source,
                         const struct chain_layer *layer)
{
    struct img_stamp file;
    struct img_error ignored;
    struct stat st;

    if (!plan_is_local(source) || !source->path ||
        stat(source->path, &st) != 0 ||
        img_file_stamp(chain_layer_file(layer), &file, &ignored) != 0) {
        return false;
    }
    return S_ISBLK(st.st_mode) ? st.st_rdev == file.rdev
                               : st.st_dev == file.dev && st.st_ino == file.ino;
}

/* Layer IDX of the chain against what the XML has there. */
static bool judge_layer(struct planner *p, const struct chain_virt_disk *disk,
                        const struct chain_virt_layer *said,
                        const struct chain *chain, size_t idx)
{
    const struct chain_layer *layer = chain_layer_at(chain, idx);
    const char *format = said->format ? said->format : "raw";
    struct chain_check *check = NULL;
    char shown[CHAIN_SHOWN_LEN];

    if (!is_same_file(&said->source, layer)) {
        check = mismatch(p, disk, said);
        chain_check_expected(p->report, check, "\"%s\", as layer %zu",
                             chain_shown(chain_layer_path(layer), shown), idx);
    } else if (strcmp(format, chain_layer_format(layer)) != 0) {
        check = mismatch(p, disk, said);
        chain_check_expected(p->report, check, "the format %s, as layer %zu",
                             chain_layer_format(layer), idx);
    }
    return !check;
}

static void judge_end(struct planner *p, const struct chain_virt_disk *disk,
                      const struct chain_virt_layer *last,
                      const struct chain *chain, size_t nr)
{
    struct chain_check *check;
    char shown[CHAIN_SHOWN_LEN];

    if (last->backing_kind != CHAIN_VIRT_BACKING_ENDS ||
        nr >= chain_depth(chain)) {
        return;
    }
    check = mismatch(p, disk, last);
    chain_check_expected(
        p->report, check, "\"%s\" below it, as the header says",
        chain_shown(chain_layer_path(chain_layer_at(chain, nr)), shown));
}

static void judge_chain(struct planner *p, const struct chain_virt_disk *disk,
                        const struct chain *chain)
{
    const struct chain_virt_layer *said = &disk->top;
    size_t idx = 0;

    for (; idx < chain_depth(chain); idx++, said = said->backing) {
        if (!judge_layer(p, disk, said, chain, idx)) {
            return;
        }
        if (said->backing_kind != CHAIN_VIRT_BACKING_GIVEN || !said->backing) {
            judge_end(p, disk, said, chain, idx + 1);
            return;
        }
    }
    chain_check_expected(p->report, mismatch(p, disk, said),
                         "no layer more: the header of the one above records "
                         "no backing file");
}

static bool has_task(const struct planner *p,
                     const struct chain_virt_disk *disk)
{
    for (size_t i = 0; i < p->out->tasks_nr; i++) {
        if (p->out->tasks[i].disk == disk) {
            return true;
        }
    }
    return p->out->tasks_nr == 0;
}

static void open_one(struct planner *p, const struct chain_virt_disk *disk,
                     const struct chain_options *with, struct chain **out)
{
    struct chain_options options = *with;
    struct img_error error;

    options.format = disk->top.format ? disk->top.format : "raw";
    options.force_share |= p->is_active;
    options.keep_broken = true;
    if (!plan_is_local(&disk->top.source) || !disk->top.source.path ||
        disk->top.source.has_slice || disk->top.source.fdgroup) {
        return;
    }
    if (chain_open(disk->top.source.path, &options, out, &error) == 0) {
        if (!chain_broken(*out)) {
            return;
        }
        error = *chain_broken(*out);
    }
    /* A disk that takes no part is looked at for its files only. */
    enum chain_check_result result =
        has_task(p, disk) ? CHAIN_CHECK_UNPROVEN : CHAIN_CHECK_SKIP;
    struct chain_check *check = plan_say(p, disk->target, result, "%s", "");
    chain_check_say_error(p->report, check, result, &error);
}

static void judge_chains(struct planner *p, struct chains *chains,
                         const struct chain_options *options)
{
    plan_begin(p, "domain-chain");
    for (size_t i = 0; i < chains->nr; i++) {
        const struct chain_virt_disk *disk = &p->request->domain->disks[i];

        open_one(p, disk, options, &chains->at[i]);
        if (chains->at[i] && !chain_broken(chains->at[i])) {
            judge_chain(p, disk, chains->at[i]);
        }
    }
    plan_end(p, "the domain's disks are what their files' headers say");
}

/* ---- dest-shared */

static bool is_same_stat(const struct stat *a, const struct stat *b)
{
    return S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode)
               ? a->st_rdev == b->st_rdev
               : a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_layer(const struct stat *st, const struct chain *chain)
{
    struct img_error ignored;
    struct img_stamp file;

    for (size_t i = 0; chain && i < chain_depth(chain); i++) {
        struct stat other = {0};

        if (img_file_stamp(chain_layer_file(chain_layer_at(chain, i)), &file,
                           &ignored) != 0) {
            continue;
        }
        other.st_dev = file.dev;
        other.st_ino = file.ino;
        other.st_rdev = file.rdev;
        other.st_mode = file.mode;
        if (is_same_stat(st, &other)) {
            return true;
        }
    }
    return false;
}

static void say_shared(struct planner *p,
                       const struct chain_preflight_task *task,
                       const char *what, const char *other)
{
    char shown[CHAIN_SHOWN_LEN];
    struct chain_check *check =
        plan_say(p, task->disk->target, CHAIN_CHECK_FAIL, "it is %s of %s too",
                 what, other ? chain_shown(other, shown) : "another disk");

    chain_check_image(p->report, check, task->dest);
    chain_check_expected(p->report, check, "a file of its own for each disk");
}

static void judge_task(struct planner *p, size_t idx,
                       const struct chains *chains)
{
    const struct chain_preflight_task *task = &p->out->tasks[idx], *other;
    const struct chain_virt_domain *domain = p->request->domain;
    struct stat st, other_st;

    bool is_there = stat(task->dest, &st) == 0;

    for (size_t i = 0; i < idx; i++) {
        other = &p->out->tasks[i];
        if (strcmp(task->dest, other->dest) == 0 ||
            (is_there && stat(other->dest, &other_st) == 0 &&
             is_same_stat(&st, &other_st))) {
            say_shared(p, task, "the destination", other->disk->target);
        }
    }
    if (!is_there) {
        return;
    }
    /* Its own disk's layers are for validate (dest-distinct). */
    for (size_t i = 0; i < chains->nr; i++) {
        if (&domain->disks[i] != task->disk && is_layer(&st, chains->at[i])) {
            say_shared(p, task, "a layer", domain->disks[i].target);
        }
    }
}

static void judge_shared(struct planner *p, const struct chains *chains)
{
    plan_begin(p, "dest-shared");
    for (size_t i = 0; i < p->out->tasks_nr; i++) {
        judge_task(p, i, chains);
    }
    plan_end(p, "each destination is a file of its own");
}

/* ---- What a shallow copy is to stand on. */

static int copy_layers(struct chain_preflight_task *task,
                       const struct chain *chain, struct img_error *err)
{
    size_t nr = chain_depth(chain) - 1;

    task->below = img_calloc(nr + 1, sizeof(*task->below), err);
    if (!task->below) {
        return -1;
    }
    for (; task->below_nr < nr; task->below_nr++) {
        const struct chain_layer *layer =
            chain_layer_at(chain, task->below_nr + 1);
        struct chain_preflight_layer *out = &task->below[task->below_nr];
        const char *path = chain_layer_path(layer);
        const char *format = chain_layer_format(layer);

        out->is_device =
            img_file_kind(chain_layer_file(layer)) == IMG_FILE_BLOCK;
        out->path = img_strndup(path, strlen(path), err);
        out->format = img_strndup(format, strlen(format), err);
        if (!out->path || !out->format) {
            task->below_nr++;
            return -1;
        }
    }
    return 0;
}

static int add_below(struct chain_preflight_task *task,
                     const struct chain_options *with, struct img_error *err)
{
    struct chain_options options = *with;
    struct chain *chain = NULL;
    struct img_error ignored; /* validate says what is wrong with it */
    int rc = 0;

    options.format = task->dest_format;
    if (task->kind == CHAIN_PREFLIGHT_SHALLOW_COPY && task->is_reused &&
        chain_open(task->dest, &options, &chain, &ignored) == 0) {
        rc = copy_layers(task, chain, err);
    }
    chain_free(chain);
    return rc;
}

int chain_preflight_files(const struct chain_preflight_request *request,
                          struct chain_preflight *preflight,
                          const struct chain_options *options,
                          struct img_error *err)
{
    struct chains chains = {.nr = request->domain->disks_nr};
    struct planner p = {
        .request = request,
        .out = preflight,
        .report = preflight->report,
        .is_active = request->domain->is_active,
    };

    chains.at = img_calloc(chains.nr + 1, sizeof(struct chain *), err);
    if (!chains.at) {
        return -1;
    }
    judge_chains(&p, &chains, options);
    judge_shared(&p, &chains);
    close_all(&chains);
    for (size_t i = 0; i < preflight->tasks_nr; i++) {
        if (add_below(&preflight->tasks[i], options, err) != 0) {
            return -1;
        }
    }
    return p.report->is_out_of_memory ? img_fail_memory(err) : 0;
}
