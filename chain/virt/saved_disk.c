/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about the disks that a saved image names: see chain/saved_check.h.
 * Room: chain/virt. disk-named, disk-exists, disk-chain, disk-format,
 * disk-size, disk-untouched, disk-distinct.
 */
#include <chain/saved_check.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <chain/chain.h>
#include <chain/formats.h>
#include <img/file.h>
#include <img/memory.h>

#include "planner.h"

/* A disk of the domain, and what was found out about it. */
struct disk {
    const struct chain_virt_disk *said;
    const struct chain_virt_disk *before; /* NULL: none, or not asked */
    struct chain *chain;                  /* NULL: not opened */
};

struct inspection {
    const struct chain_saved_disks *request;
    struct chain_report *report;
    struct disk *disks;
    size_t nr;
    struct img_error *err;
};

static void inspection_fini(struct inspection *all)
{
    for (size_t i = 0; all->disks && i < all->nr; i++) {
        chain_free(all->disks[i].chain);
    }
    free(all->disks);
}

__attribute__((format(printf, 5, 6))) static struct chain_check *
say(struct inspection *all, const struct disk *disk, const char *id,
    enum chain_check_result result, const char *fmt, ...)
{
    struct chain_check *check = chain_report_add(all->report, id);
    va_list args;

    check->result = result;
    va_start(args, fmt);
    chain_check_text(all->report, &check->message, fmt, args);
    va_end(args);
    chain_check_disk(all->report, check,
                     disk->said->target ? disk->said->target : "");
    if (disk->said->top.source.path) {
        chain_check_image(all->report, check, disk->said->top.source.path);
    }
    return check;
}

static struct chain_check *say_error(struct inspection *all,
                                     const struct disk *disk, const char *id,
                                     enum chain_check_result result,
                                     const struct img_error *error)
{
    struct chain_check *check = say(all, disk, id, result, "%s", "");

    chain_check_say_error(all->report, check, result, error);
    return check;
}

static const char *format_of(const struct chain_virt_disk *disk)
{
    return disk->top.format ? disk->top.format : "raw";
}

/* ---- disk-named, disk-exists */

static bool is_ejectable(const struct chain_virt_disk *disk)
{
    return disk->device && (strcmp(disk->device, "cdrom") == 0 ||
                            strcmp(disk->device, "floppy") == 0);
}

/* libvirt starts without it: an empty drive. */
static bool is_optional(const struct chain_virt_disk *disk)
{
    const char *policy = disk->top.source.startup_policy;

    return policy && strcmp(policy, "mandatory") != 0;
}

/* Is there a file to be looked at? */
static bool is_file(struct inspection *all, const struct disk *disk)
{
    const struct chain_virt_source *source = &disk->said->top.source;

    if (!plan_is_local(source)) {
        say(all, disk, "disk-named", CHAIN_CHECK_SKIP,
            "it is no file or block device of this host (%s)",
            chain_virt_source_type_name(source->type));
        return false;
    }
    if (!source->path) {
        bool is_empty = is_ejectable(disk->said);

        say(all, disk, "disk-named",
            is_empty ? CHAIN_CHECK_PASS : CHAIN_CHECK_FAIL, "%s",
            is_empty ? "the drive is empty" : "the XML names no image");
        return false;
    }
    if (source->fdgroup) {
        say(all, disk, "disk-named", CHAIN_CHECK_SKIP,
            "it is handed over as a descriptor, by nobody yet");
        return false;
    }
    if (source->path[0] != '/') {
        say(all, disk, "disk-named", CHAIN_CHECK_FAIL,
            "its path is not absolute");
        return false;
    }
    return true;
}

static bool is_there(struct inspection *all, const struct disk *disk)
{
    const struct chain_virt_source *source = &disk->said->top.source;
    bool wants_block = source->type == CHAIN_VIRT_SOURCE_BLOCK;
    struct chain_check *check;
    struct img_stamp stamp;
    struct img_error why;

    if (img_path_stamp(source->path, all->request->options->roots, &stamp,
                       &why) < 0) {
        say_error(all, disk, "disk-exists",
                  is_optional(disk->said)     ? CHAIN_CHECK_WARN
                  : why.code == IMG_NOT_FOUND ? CHAIN_CHECK_FAIL
                                              : CHAIN_CHECK_UNPROVEN,
                  &why);
        return false;
    }
    if (S_ISBLK(stamp.mode) != wants_block ||
        (!wants_block && !S_ISREG(stamp.mode))) {
        check = say(all, disk, "disk-exists", CHAIN_CHECK_FAIL,
                    "it is of another kind than the XML says");
        chain_check_found(all->report, check, "%s",
                          S_ISBLK(stamp.mode)   ? "a block device"
                          : S_ISREG(stamp.mode) ? "a file"
                                                : "neither file nor device");
        chain_check_expected(all->report, check, "%s",
                             wants_block ? "a block device" : "a file");
        return false;
    }
    say(all, disk, "disk-exists", CHAIN_CHECK_PASS, "it is there");
    return true;
}

/* ---- disk-chain, disk-format */

/* What the image that is read as raw looks like; NULL: like nothing known. */
static const char *looks_like(const struct chain_layer *top)
{
    struct chain_probe probe;
    struct img_error ignored;

    return strcmp(chain_layer_format(top), "raw") == 0 &&
                   chain_probe(chain_layer_file(top), &probe, &ignored) == 0 &&
                   strcmp(probe.format->name, "raw") != 0
               ? probe.format->name
               : NULL;
}

static void judge_contents(struct inspection *all, const struct disk *disk)
{
    const struct chain_layer *top = chain_layer_at(disk->chain, 0);
    const char *contents = looks_like(top);
    struct chain_check *check;

    if (!contents) {
        say(all, disk, "disk-format", CHAIN_CHECK_PASS,
            "it is %s, as the XML says", chain_layer_format(top));
        return;
    }
    /* A guest can write any header into a disk that has been raw all along. */
    check = say(all, disk, "disk-format",
                disk->before && strcmp(format_of(disk->before), "raw") != 0
                    ? CHAIN_CHECK_FAIL
                    : CHAIN_CHECK_WARN,
                "the XML says raw, and it looks like %s: the guest would find "
                "that image's bytes on its disk",
                contents);
    chain_check_found(all->report, check, "%s", contents);
    chain_check_expected(all->report, check, "raw");
}

/* What stops the chain of OPTIONS' kind is not the format of its top. */
static const char *id_of(const struct img_error *why, const struct disk *disk)
{
    return why->code == IMG_FORMAT && why->path[0] &&
                   strcmp(why->path, disk->said->top.source.path) == 0
               ? "disk-format"
               : "disk-chain";
}

/* Nothing is known of the image, rather than something bad. */
static bool is_unproven(enum img_code code)
{
    return code == IMG_UNSUPPORTED || code == IMG_DENIED ||
           code == IMG_SYSTEM || code == IMG_IO || code == IMG_CHANGED;
}

static int open_chain(const struct chain_options *with,
                      const struct chain_virt_disk *disk, struct chain **out,
                      struct img_error *why)
{
    struct chain_options options = *with;

    options.format = format_of(disk);
    options.keep_broken = true;
    options.top_only = disk->top.backing_kind == CHAIN_VIRT_BACKING_ENDS;
    if (chain_open(disk->top.source.path, &options, out, why) < 0) {
        return -1;
    }
    if (chain_broken(*out)) {
        *why = *chain_broken(*out);
        return -1;
    }
    return 0;
}

static int judge_chain(struct inspection *all, struct disk *disk)
{
    struct img_error why;

    if (open_chain(all->request->options, disk->said, &disk->chain, &why) < 0) {
        struct chain_check *check;
        const char *command =
            disk->chain ? chain_broken_command(disk->chain) : NULL;

        if (why.code == IMG_MEMORY || why.code == IMG_CANCELLED) {
            *all->err = why;
            return -1;
        }
        check = say_error(all, disk, id_of(&why, disk),
                          is_unproven(why.code) ? CHAIN_CHECK_UNPROVEN
                                                : CHAIN_CHECK_FAIL,
                          &why);
        if (command) {
            chain_check_remedy(check, strdup(command));
        }
        chain_free(disk->chain);
        disk->chain = NULL;
        return 0;
    }
    say(all, disk, "disk-chain", CHAIN_CHECK_PASS,
        chain_depth(disk->chain) == 1 ? "its chain is whole: %zu layer"
                                      : "its chain is whole: %zu layers",
        chain_depth(disk->chain));
    judge_contents(all, disk);
    return 0;
}

/* ---- disk-size */

/* What the guest ran on, if it is still there to be asked. */
static bool ask_before(const struct inspection *all, const struct disk *disk,
                       uint64_t *len)
{
    const struct chain_virt_source *source = &disk->before->top.source;
    struct chain_options options = *all->request->options;
    struct chain *chain = NULL;
    struct img_error ignored;
    bool is_known;

    options.top_only = true;
    options.format = format_of(disk->before);
    is_known = plan_is_local(source) && source->path &&
               source->path[0] == '/' &&
               chain_open(source->path, &options, &chain, &ignored) == 0;
    if (is_known) {
        *len = chain_virtual_len(chain);
    }
    chain_free(chain);
    return is_known;
}

static void judge_size(struct inspection *all, const struct disk *disk)
{
    uint64_t len = chain_virtual_len(disk->chain), before;
    struct chain_check *check;

    if (len == 0 || len % 512 != 0) {
        check = say(all, disk, "disk-size",
                    len == 0 ? CHAIN_CHECK_FAIL : CHAIN_CHECK_WARN,
                    "no guest's disk is of this size");
        chain_check_found(all->report, check, "%llu bytes",
                          (unsigned long long)len);
        chain_check_expected(all->report, check, "a multiple of 512");
        return;
    }
    if (!disk->before) {
        return;
    }
    if (!ask_before(all, disk, &before)) {
        say(all, disk, "disk-size", CHAIN_CHECK_WARN,
            "what the guest ran on is not there any more: whether the new one "
            "is of the same size is not known");
        return;
    }
    if (len == before) {
        say(all, disk, "disk-size", CHAIN_CHECK_PASS,
            "the size is what the guest knows");
        return;
    }
    check = say(all, disk, "disk-size", CHAIN_CHECK_FAIL,
                "its size is not what the guest knows");
    chain_check_found(all->report, check, "%llu bytes",
                      (unsigned long long)len);
    chain_check_expected(all->report, check, "%llu",
                         (unsigned long long)before);
}

/* ---- disk-untouched */

static void judge_untouched(struct inspection *all, const struct disk *disk)
{
    const struct chain_layer *top = chain_layer_at(disk->chain, 0);
    struct img_stamp stamp;
    struct img_error ignored;

    if (all->request->mtime_ns == 0 || disk->said->is_readonly ||
        img_file_stamp(chain_layer_file(top), &stamp, &ignored) < 0 ||
        S_ISBLK(stamp.mode)) {
        return;
    }
    if (stamp.mtime_ns > all->request->mtime_ns) {
        say(all, disk, "disk-untouched", CHAIN_CHECK_WARN,
            "it was written after the memory was saved: what the guest "
            "remembers of its disk may be wrong, and it would damage it");
    }
}

/* ---- disk-distinct */

static bool is_shared(const struct disk *disk)
{
    return disk->said->is_readonly || disk->said->is_shareable;
}

static void judge_distinct(struct inspection *all, size_t idx)
{
    const struct disk *disk = &all->disks[idx];
    const struct img_file *file =
        chain_layer_file(chain_layer_at(disk->chain, 0));
    char shown[CHAIN_SHOWN_LEN];

    for (size_t i = 0; i < idx; i++) {
        const struct disk *other = &all->disks[i];

        if (!other->chain || chain_find_file(other->chain, file) != 0 ||
            (is_shared(disk) && is_shared(other))) {
            continue;
        }
        say(all, disk, "disk-distinct", CHAIN_CHECK_FAIL,
            "it is the same file as disk %s",
            chain_shown(other->said->target ? other->said->target : "", shown));
        return;
    }
}

/* ---- All. */

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* As far as its image goes. */
static bool is_as_before(const struct disk *disk)
{
    const struct chain_virt_source *a = &disk->said->top.source;
    const struct chain_virt_source *b = &disk->before->top.source;

    return a->type == b->type && is_same(a->path, b->path) &&
           strcmp(format_of(disk->said), format_of(disk->before)) == 0 &&
           a->has_slice == b->has_slice && a->slice_offset == b->slice_offset &&
           a->slice_len == b->slice_len;
}

static const struct chain_virt_disk *
find_disk(const struct chain_virt_domain *domain, const char *target)
{
    for (size_t i = 0; domain && target && i < domain->disks_nr; i++) {
        if (is_same(domain->disks[i].target, target)) {
            return &domain->disks[i];
        }
    }
    return NULL;
}

static int judge_disk(struct inspection *all, size_t idx)
{
    struct disk *disk = &all->disks[idx];

    if (disk->before && is_as_before(disk)) {
        return 0;
    }
    if (!is_file(all, disk) || !is_there(all, disk)) {
        return 0;
    }
    if (disk->said->top.source.has_slice) {
        say(all, disk, "disk-chain", CHAIN_CHECK_UNPROVEN,
            "it is a part of its file, which is not looked into");
        return 0;
    }
    if (judge_chain(all, disk) < 0) {
        return -1;
    }
    if (disk->chain) {
        judge_size(all, disk);
        judge_untouched(all, disk);
        judge_distinct(all, idx);
    }
    return 0;
}

int chain_saved_check_disks(const struct chain_saved_disks *request,
                            struct chain_report *report, struct img_error *err)
{
    const struct chain_virt_domain *next = request->next;
    IMG_AUTO(inspection_fini)
    struct inspection all = {
        .request = request,
        .report = report,
        .disks = img_calloc(next->disks_nr + 1, sizeof(struct disk), err),
        .nr = next->disks_nr,
        .err = err,
    };

    if (!all.disks) {
        return -1;
    }
    for (size_t i = 0; i < next->disks_nr; i++) {
        all.disks[i].said = &next->disks[i];
        all.disks[i].before = find_disk(request->before, next->disks[i].target);
    }
    for (size_t i = 0; i < next->disks_nr; i++) {
        if (judge_disk(&all, i) < 0) {
            return -1;
        }
    }
    return 0;
}
