/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about the disks that a saved image names: see chain/saved_check.h.
 * Room: chain/virt. disk-named, disk-exists, disk-chain, disk-format,
 * disk-size; disk-chain is in saved_disk_backing.c, and what files the disks
 * have in common in saved_disk_files.c.
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
#include "saved_disk_impl.h"

static void inspection_fini(struct saved_inspection *all)
{
    for (size_t i = 0; all->disks && i < all->nr; i++) {
        chain_free(all->disks[i].chain);
    }
    free(all->disks);
}

struct chain_check *saved_say(struct saved_inspection *all,
                              const struct saved_disk *disk, const char *id,
                              enum chain_check_result result, const char *fmt,
                              ...)
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

struct chain_check *saved_say_error(struct saved_inspection *all,
                                    const struct saved_disk *disk,
                                    const char *id,
                                    enum chain_check_result result,
                                    const struct img_error *error)
{
    struct chain_check *check = saved_say(all, disk, id, result, "%s", "");

    chain_check_say_error(all->report, check, result, error);
    return check;
}

const char *saved_format_of(const struct chain_virt_layer *layer)
{
    return layer->format ? layer->format : "raw";
}

/* ---- disk-named, disk-exists */

static bool is_ejectable(const struct chain_virt_disk *disk)
{
    return disk->device && (strcmp(disk->device, "cdrom") == 0 ||
                            strcmp(disk->device, "floppy") == 0);
}

/* libvirt starts without it: an empty drive. It would leave out a disk, but no
   memory comes back without it. */
static bool is_optional(const struct chain_virt_disk *disk)
{
    const char *policy = disk->top.source.startup_policy;

    return policy && is_ejectable(disk) && strcmp(policy, "mandatory") != 0;
}

/* What cannot be looked at is not known to be what the guest had. */
static enum chain_check_result unseen(const struct saved_disk *disk)
{
    return disk->before ? CHAIN_CHECK_UNPROVEN : CHAIN_CHECK_SKIP;
}

/* Is there a file to be looked at? */
static bool is_file(struct saved_inspection *all, const struct saved_disk *disk)
{
    const struct chain_virt_source *source = &disk->said->top.source;

    if (!plan_is_local(source)) {
        saved_say(all, disk, "disk-named", unseen(disk),
                  "it is no file or block device of this host (%s)",
                  chain_virt_source_type_name(source->type));
        return false;
    }
    if (!source->path) {
        bool is_empty = is_ejectable(disk->said);

        saved_say(all, disk, "disk-named",
                  is_empty ? CHAIN_CHECK_PASS : CHAIN_CHECK_FAIL, "%s",
                  is_empty ? "the drive is empty" : "the XML names no image");
        return false;
    }
    if (source->fdgroup) {
        saved_say(all, disk, "disk-named", unseen(disk),
                  "it is handed over as a descriptor, by nobody yet");
        return false;
    }
    if (source->path[0] != '/') {
        saved_say(all, disk, "disk-named", CHAIN_CHECK_FAIL,
                  "its path is not absolute");
        return false;
    }
    return true;
}

static bool is_there(struct saved_inspection *all,
                     const struct saved_disk *disk)
{
    const struct chain_virt_source *source = &disk->said->top.source;
    bool wants_block = source->type == CHAIN_VIRT_SOURCE_BLOCK;
    struct chain_check *check;
    struct img_stamp stamp;
    struct img_error why;

    if (img_path_stamp(source->path, all->request->options->roots, &stamp,
                       &why) < 0) {
        saved_say_error(all, disk, "disk-exists",
                        is_optional(disk->said)     ? CHAIN_CHECK_WARN
                        : why.code == IMG_NOT_FOUND ? CHAIN_CHECK_FAIL
                                                    : CHAIN_CHECK_UNPROVEN,
                        &why);
        return false;
    }
    if (S_ISBLK(stamp.mode) != wants_block ||
        (!wants_block && !S_ISREG(stamp.mode))) {
        check = saved_say(all, disk, "disk-exists", CHAIN_CHECK_FAIL,
                          "it is of another kind than the XML says");
        chain_check_found(all->report, check, "%s",
                          S_ISBLK(stamp.mode)   ? "a block device"
                          : S_ISREG(stamp.mode) ? "a file"
                                                : "neither file nor device");
        chain_check_expected(all->report, check, "%s",
                             wants_block ? "a block device" : "a file");
        return false;
    }
    saved_say(all, disk, "disk-exists", CHAIN_CHECK_PASS, "it is there");
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

/* The same image cannot be of another format than before. */
static void judge_format(struct saved_inspection *all,
                         const struct saved_disk *disk)
{
    const struct chain_virt_layer *now = &disk->said->top, *then;
    struct chain_check *check;
    char shown[CHAIN_SHOWN_LEN];

    then = disk->before ? &disk->before->top : NULL;
    if (!then || !saved_is_same_source(&now->source, &then->source) ||
        strcmp(saved_format_of(now), saved_format_of(then)) == 0) {
        return;
    }
    check = saved_say(all, disk, "disk-format", CHAIN_CHECK_FAIL,
                      "it is the image that it was, and of another format by "
                      "the XML");
    chain_check_found(all->report, check, "%s",
                      chain_shown(saved_format_of(now), shown));
    chain_check_expected(all->report, check, "%s",
                         chain_shown(saved_format_of(then), shown));
}

static void judge_contents(struct saved_inspection *all,
                           const struct saved_disk *disk)
{
    const struct chain_layer *top = chain_layer_at(disk->chain, 0);
    const char *contents = looks_like(top);
    struct chain_check *check;

    if (!contents) {
        saved_say(all, disk, "disk-format", CHAIN_CHECK_PASS,
                  "it is %s, as the XML says", chain_layer_format(top));
        return;
    }
    /* A guest can write any header into a disk that has been raw all along. */
    check = saved_say(
        all, disk, "disk-format",
        disk->before && strcmp(saved_format_of(&disk->before->top), "raw") != 0
            ? CHAIN_CHECK_FAIL
            : CHAIN_CHECK_WARN,
        "the XML says raw, and it looks like %s: the guest would find "
        "that image's bytes on its disk",
        contents);
    chain_check_found(all->report, check, "%s", contents);
    chain_check_expected(all->report, check, "raw");
}

/* What stops the chain of OPTIONS' kind is not the format of its top. */
static const char *id_of(const struct img_error *why,
                         const struct saved_disk *disk)
{
    return why->code == IMG_FORMAT && why->path[0] &&
                   strcmp(why->path, disk->said->top.source.path) == 0
               ? "disk-format"
               : "disk-chain";
}

static bool is_fatal(enum img_code code)
{
    return code == IMG_MEMORY || code == IMG_CANCELLED;
}

bool saved_is_unproven(enum img_code code)
{
    return code == IMG_UNSUPPORTED || code == IMG_DENIED ||
           code == IMG_SYSTEM || code == IMG_IO || code == IMG_CHANGED;
}

/* By its headers, as far as they lead. */
static int open_chain(const struct chain_options *with,
                      const struct chain_virt_disk *disk, struct chain **out,
                      struct img_error *why)
{
    struct chain_options options = *with;

    options.format = saved_format_of(&disk->top);
    options.keep_broken = true;
    options.top_only = disk->top.backing_kind == CHAIN_VIRT_BACKING_ENDS;
    if (chain_open(disk->top.source.path, &options, out, why) < 0) {
        return -1;
    }
    if (chain_broken(*out) && is_fatal(chain_broken(*out)->code)) {
        *why = *chain_broken(*out);
        return -1;
    }
    return 0;
}

static int judge_chain(struct saved_inspection *all, struct saved_disk *disk)
{
    struct img_error why;

    if (open_chain(all->request->options, disk->said, &disk->chain, &why) < 0) {
        if (is_fatal(why.code)) {
            *all->err = why;
            return -1;
        }
        saved_say_error(all, disk, id_of(&why, disk),
                        saved_is_unproven(why.code) ? CHAIN_CHECK_UNPROVEN
                                                    : CHAIN_CHECK_FAIL,
                        &why);
        return 0;
    }
    saved_judge_backing(all, disk);
    judge_contents(all, disk);
    return 0;
}

/* ---- disk-size */

/* What the guest ran on, if it is still there to be asked. */
static bool ask_before(const struct saved_inspection *all,
                       const struct saved_disk *disk, uint64_t *len)
{
    const struct chain_virt_source *source = &disk->before->top.source;
    struct chain_options options = *all->request->options;
    struct chain *chain = NULL;
    struct img_error ignored;
    bool is_known;

    options.top_only = true;
    options.format = saved_format_of(&disk->before->top);
    is_known = plan_is_local(source) && source->path &&
               source->path[0] == '/' &&
               chain_open(source->path, &options, &chain, &ignored) == 0;
    if (is_known) {
        *len = chain_virtual_len(chain);
    }
    chain_free(chain);
    return is_known;
}

static const char *name_of(const struct chain_virt_source *source)
{
    const char *slash = source->path ? strrchr(source->path, '/') : NULL;

    return slash ? slash + 1 : "";
}

/* It looks like what the guest ran on, in another place. */
static bool is_moved(const struct saved_disk *disk)
{
    const struct chain_virt_layer *now = &disk->said->top;
    const struct chain_virt_layer *then = &disk->before->top;

    return strcmp(name_of(&now->source), name_of(&then->source)) == 0 &&
           strcmp(saved_format_of(now), saved_format_of(then)) == 0;
}

static void judge_size(struct saved_inspection *all,
                       const struct saved_disk *disk)
{
    uint64_t len = chain_virtual_len(disk->chain), before;
    struct chain_check *check;

    if (len == 0 || len % 512 != 0) {
        check = saved_say(all, disk, "disk-size",
                          len == 0 ? CHAIN_CHECK_FAIL : CHAIN_CHECK_WARN,
                          "no guest's disk is of this size");
        chain_check_found(all->report, check, "%llu bytes",
                          (unsigned long long)len);
        chain_check_expected(all->report, check, "a multiple of 512");
        return;
    }
    if (!disk->before || (is_ejectable(disk->said) &&
                          plan_is_empty(&disk->before->top.source))) {
        return;
    }
    if (!ask_before(all, disk, &before)) {
        saved_say(all, disk, "disk-size",
                  is_moved(disk) ? CHAIN_CHECK_WARN : CHAIN_CHECK_UNPROVEN,
                  "what the guest ran on is not there any more: whether the "
                  "new one is of the same size is not known");
        return;
    }
    if (len == before) {
        saved_say(all, disk, "disk-size", CHAIN_CHECK_PASS,
                  "the size is what the guest knows");
        return;
    }
    check = saved_say(all, disk, "disk-size", CHAIN_CHECK_FAIL,
                      "its size is not what the guest knows");
    chain_check_found(all->report, check, "%llu bytes",
                      (unsigned long long)len);
    chain_check_expected(all->report, check, "%llu",
                         (unsigned long long)before);
}

/* ---- All. */

static const struct chain_virt_disk *
find_disk(const struct chain_virt_domain *domain, const char *target)
{
    for (size_t i = 0; domain && target && i < domain->disks_nr; i++) {
        if (domain->disks[i].target &&
            strcmp(domain->disks[i].target, target) == 0) {
            return &domain->disks[i];
        }
    }
    return NULL;
}

static int judge_disk(struct saved_inspection *all, struct saved_disk *disk)
{
    if (disk->is_as_before) {
        return 0;
    }
    judge_format(all, disk);
    if (!is_file(all, disk) || !is_there(all, disk)) {
        return 0;
    }
    if (disk->said->top.source.has_slice) {
        saved_say(all, disk, "disk-chain", CHAIN_CHECK_UNPROVEN,
                  "it is a part of its file, which is not looked into");
        return 0;
    }
    if (judge_chain(all, disk) < 0) {
        return -1;
    }
    if (disk->chain) {
        judge_size(all, disk);
    }
    return 0;
}

int chain_saved_check_disks(const struct chain_saved_disks *request,
                            struct chain_report *report, struct img_error *err)
{
    const struct chain_virt_domain *next = request->next;
    IMG_AUTO(inspection_fini)
    struct saved_inspection all = {
        .request = request,
        .report = report,
        .disks = img_calloc(next->disks_nr + 1, sizeof(struct saved_disk), err),
        .nr = next->disks_nr,
        .err = err,
    };

    if (!all.disks) {
        return -1;
    }
    for (size_t i = 0; i < next->disks_nr; i++) {
        struct saved_disk *disk = &all.disks[i];

        disk->said = &next->disks[i];
        disk->before = find_disk(request->before, disk->said->target);
        disk->is_as_before =
            disk->before &&
            saved_is_same_image(&disk->said->top, &disk->before->top);
    }
    for (size_t i = 0; i < next->disks_nr; i++) {
        if (judge_disk(&all, &all.disks[i]) < 0) {
            return -1;
        }
    }
    return saved_judge_files(&all);
}
