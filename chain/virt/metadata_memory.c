/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata against the files of guests' memory, which are saved images. See
 * metadata_rules.h. Room: chain/virt.
 */
#include <string.h>

#include <chain/saved.h>
#include <img/memory.h>

#include "metadata_rules.h"

static void free_saved(struct chain_saved **saved)
{
    chain_saved_free(*saved);
}

static void free_domain(struct chain_virt_domain **domain)
{
    chain_virt_domain_free(*domain);
}

/* ERR, about the memory of MOMENT. */
static void say_error(struct metadata_rules *r,
                      const struct chain_moment *moment,
                      const struct img_error *why)
{
    bool is_proved = why->code == IMG_NOT_FOUND || why->code == IMG_FORMAT ||
                     why->code == IMG_CORRUPT;
    struct chain_check *check =
        rule_say(r, moment, NULL, CHAIN_CHECK_UNPROVEN, "%s", "");

    chain_check_say_error(r->report, check,
                          is_proved ? CHAIN_CHECK_FAIL : CHAIN_CHECK_UNPROVEN,
                          why);
    chain_check_image(r->report, check, moment->snapshot->memory_file);
    chain_check_expected(r->report, check, "a complete saved image");
}

static struct chain_check *say(struct metadata_rules *r,
                               const struct chain_moment *moment,
                               const char *disk, enum chain_check_result result,
                               const char *text)
{
    struct chain_check *check = rule_say(r, moment, disk, result, "%s", text);

    chain_check_image(r->report, check, moment->snapshot->memory_file);
    return check;
}

static void judge_stream(struct metadata_rules *r,
                         const struct chain_moment *moment,
                         const struct chain_saved *saved)
{
    if (saved->is_stream_empty) {
        say(r, moment, NULL, CHAIN_CHECK_FAIL,
            "the file has no memory behind its header");
    } else if (saved->stream == CHAIN_SAVED_UNKNOWN) {
        say(r, moment, NULL, CHAIN_CHECK_WARN,
            "what stands behind the header is no memory that is known");
    }
}

static bool is_path(const struct chain_virt_layer *layer, const char *path)
{
    return layer && layer->source.path && strcmp(layer->source.path, path) == 0;
}

/* The guest had the disk open as it was before the snapshot, or after it. */
static void judge_disk(struct metadata_rules *r, const struct rule_disks *of,
                       const struct chain_virt_disk *disk)
{
    const struct chain_moment_disk *recorded =
        rule_disk(of->disks, of->nr, disk->target);
    const char *path = disk->top.source.path;

    if (recorded && path && recorded->before &&
        !is_path(recorded->before, path) && !is_path(recorded->overlay, path)) {
        struct chain_check *check =
            say(r, of->moment, disk->target, CHAIN_CHECK_WARN,
                "the memory is of a guest that had another image open than the "
                "record says");

        rule_found(r, check, path);
        if (recorded->before->source.path) {
            rule_expected(r, check, recorded->before->source.path);
        }
    }
}

static void judge_domain(struct metadata_rules *r, const struct rule_disks *of,
                         const struct chain_virt_domain *domain)
{
    const char *uuid = r->request->domain->uuid;

    if (uuid && domain->uuid && strcmp(uuid, domain->uuid) != 0) {
        struct chain_check *check = say(r, of->moment, NULL, CHAIN_CHECK_FAIL,
                                        "the memory is another domain's");

        rule_found(r, check, domain->uuid);
        rule_expected(r, check, uuid);
        return;
    }
    for (size_t i = 0; i < domain->disks_nr; i++) {
        judge_disk(r, of, &domain->disks[i]);
    }
}

static void judge_memory(struct metadata_rules *r, const struct rule_disks *of)
{
    const struct chain_virt_snapshot *snapshot = of->moment->snapshot;
    const char *file = snapshot->memory_file;
    IMG_AUTO(free_saved) struct chain_saved *saved = NULL;
    IMG_AUTO(free_domain) struct chain_virt_domain *domain = NULL;
    struct img_error why;

    if (!file || chain_snapshot_memory(snapshot) != CHAIN_PLACE_EXTERNAL) {
        return;
    }
    if (file[0] != '/') {
        say(r, of->moment, NULL, CHAIN_CHECK_FAIL,
            "the path of the memory file is not absolute");
        return;
    }
    if (chain_saved_read(file, r->options.roots, &saved, &why) < 0) {
        say_error(r, of->moment, &why);
        return;
    }
    judge_stream(r, of->moment, saved);
    if (chain_virt_domain_parse(saved->xml, saved->xml_len, file, &domain,
                                &why) < 0) {
        say_error(r, of->moment, &why);
        return;
    }
    judge_domain(r, of, domain);
}

void metadata_rules_memory(struct metadata_rules *r)
{
    rule_begin(r, "memory-file");
    rule_each_snapshot(r, judge_memory);
    rule_end(r, "each memory file is a complete saved image of the domain");
}
