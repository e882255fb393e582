/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What undefining a domain would be refused for, or would lose: in the order in
 * which libvirt 9.0 asks (qemuDomainUndefineFlags). Images stay where they are;
 * what is in them that only metadata leads to is stranded. See
 * chain/metadata_check.h. Room: chain/virt.
 */
#include <stdio.h>
#include <string.h>

#include <img/memory.h>

#include "metadata_rules.h"

/* What becomes of metadata, and in which words libvirt refuses. */
static void judge_metadata(struct metadata_rules *r,
                           const struct chain_undefine_request *request,
                           const struct chain_metadata *metadata)
{
    bool is_snapshot = metadata->kind == CHAIN_SNAPSHOT;
    const char *what = is_snapshot ? "snapshots" : "checkpoints";
    struct chain_check *check;

    rule_begin(r, is_snapshot ? "undefine-snapshots" : "undefine-checkpoints");
    if (metadata->nr > 0 && request->is_transient) {
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL,
                         "the domain is transient: when it stops the record "
                         "of its %s is lost",
                         what);
        chain_check_found(r->report, check, "%zu %s", metadata->nr, what);
    } else if (metadata->nr > 0 && r->request->domain->is_active) {
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL,
                         "the domain runs: libvirt makes it transient, and "
                         "when it stops the record of its %s is lost",
                         what);
        chain_check_found(r->report, check, "%zu %s", metadata->nr, what);
    } else if (metadata->nr > 0) {
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL,
                         "libvirt refuses it (OPERATION_INVALID): cannot "
                         "delete inactive domain with %zu %s; with "
                         "--%s-metadata their record is lost",
                         metadata->nr, what, what);
        chain_check_found(r->report, check, "%zu %s", metadata->nr, what);
    }
    rule_end(r, is_snapshot ? "there are no snapshots on record"
                            : "there are no checkpoints on record");
}

/* Files that libvirt would pass over, and leave. */
static void judge_left(struct metadata_rules *r,
                       const struct chain_metadata *metadata)
{
    for (size_t i = 0; i < metadata->unread_nr; i++) {
        struct chain_check *check =
            rule_say(r, NULL, NULL, CHAIN_CHECK_WARN,
                     "no record of libvirt's: it stays, and its folder");

        chain_check_image(r->report, check, metadata->unread[i].file);
    }
}

/* Is there something at PATH? 0: no, 1: yes, -1: that cannot be told. */
static int look_at(const struct metadata_rules *r, const char *path,
                   struct img_error *why)
{
    struct img_stamp stamp;

    if (img_path_stamp(path, r->options.roots, &stamp, why) == 0) {
        return 1;
    }
    return why->code == IMG_NOT_FOUND ? 0 : -1;
}

static void judge_save(struct metadata_rules *r,
                       const struct chain_undefine_request *request)
{
    struct chain_check *check;
    struct img_error why;
    int has;

    rule_begin(r, "undefine-managed-save");
    if (!request->is_asked && !request->managed_save) {
        rule_say(r, NULL, NULL, CHAIN_CHECK_UNPROVEN,
                 "it is not known where libvirt would keep a managed save: "
                 "tell it with --managed-save");
        return;
    }
    has = request->is_asked ? request->has_managed_save
                            : look_at(r, request->managed_save, &why);
    if (has < 0) {
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_UNPROVEN, "%s", "");
        chain_check_say_error(r->report, check, CHAIN_CHECK_UNPROVEN, &why);
    } else if (has > 0) {
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL,
                         "libvirt refuses it (OPERATION_INVALID): Refusing to "
                         "undefine while domain managed save image exists; "
                         "with --managed-save the guest's memory is lost");
        if (request->managed_save) {
            chain_check_image(r->report, check, request->managed_save);
        }
    }
    rule_end(r, "libvirt keeps no saved state of it");
}

static void judge_nvram(struct metadata_rules *r)
{
    const char *nvram = r->request->domain->nvram;
    struct chain_check *check;
    struct img_error why;
    int has = nvram ? look_at(r, nvram, &why) : 0;

    rule_begin(r, "undefine-nvram");
    if (has > 0) {
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL,
                         "libvirt refuses it (OPERATION_INVALID): cannot "
                         "undefine domain with nvram; --keep-nvram keeps the "
                         "file, --nvram deletes it");
        chain_check_image(r->report, check, nvram);
    } else if (has < 0) {
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_UNPROVEN, "%s", "");
        chain_check_say_error(r->report, check, CHAIN_CHECK_UNPROVEN, &why);
    }
    rule_end(r, "it has no file of firmware variables");
}

static void judge_tpm(struct metadata_rules *r)
{
    rule_begin(r, "undefine-tpm");
    if (r->request->domain->has_tpm) {
        rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL,
                 "libvirt deletes the state of its emulated TPM, with all "
                 "keys, if --keep-tpm does not forbid it");
    }
    rule_end(r, "it has no TPM state that would be deleted");
}

/* ---- What stays, with nothing that leads to it. */

static void mark_internal(struct metadata_rules *r, const struct rule_disks *of)
{
    for (size_t i = 0; i < of->nr && !r->is_failed; i++) {
        const struct chain_moment_disk *disk = &of->disks[i];
        const struct virt_image *image =
            disk->place == CHAIN_PLACE_INTERNAL ? rule_before(r, disk) : NULL;
        struct virt_file *file = image ? image->layers[0] : NULL;
        struct virt_inner *entry =
            file && of->moment->name
                ? virt_inner_find(file->snapshots, file->snapshots_nr,
                                  of->moment->name)
                : NULL;

        if (entry) {
            entry->is_known = true;
        }
    }
}

/* "s1, s2, s3" of what metadata leads to; as much as fits. */
static size_t list_known(const struct virt_file *file, char *out, size_t size)
{
    size_t nr = 0, used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < file->snapshots_nr; i++) {
        char shown[CHAIN_SHOWN_LEN];

        if (file->snapshots[i].is_known && used < size - 1) {
            used += (size_t)snprintf(
                out + used, size - used, "%s%s", nr > 0 ? ", " : "",
                chain_shown(file->snapshots[i].name, shown));
            used = used < size ? used : size - 1;
        }
        nr += file->snapshots[i].is_known;
    }
    return nr;
}

static void say_internal(struct metadata_rules *r, const struct virt_file *file)
{
    char names[CHAIN_SHOWN_LEN];
    size_t nr = list_known(file, names, sizeof(names));
    struct chain_check *check;

    if (nr == 0) {
        return;
    }
    check = rule_say(r, NULL, NULL, CHAIN_CHECK_WARN,
                     "internal snapshots stay in the image; without their "
                     "record libvirt neither reverts to them nor deletes them");
    chain_check_image(r->report, check, file->path);
    chain_check_found(r->report, check, "%zu: %s", nr, names);
}

static void say_memory(struct metadata_rules *r, const struct rule_disks *of)
{
    const struct chain_virt_snapshot *snapshot = of->moment->snapshot;

    if (snapshot->memory_file &&
        chain_snapshot_memory(snapshot) == CHAIN_PLACE_EXTERNAL) {
        struct chain_check *check =
            rule_say(r, of->moment, NULL, CHAIN_CHECK_WARN,
                     "the file of the guest's memory stays, and nothing says "
                     "any more to which state of the disks it belongs");

        chain_check_image(r->report, check, snapshot->memory_file);
    }
}

static void say_bitmaps(struct metadata_rules *r,
                        const struct chain_metadata *metadata)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];

        for (size_t k = 0; k < moment->checkpoint->disks_nr; k++) {
            const struct chain_virt_checkpoint_disk *disk =
                &moment->checkpoint->disks[k];
            const struct chain_virt_disk *of = rule_domain_disk(r, disk->name);
            struct chain_check *check;

            if (!of ||
                (disk->checkpoint && strcmp(disk->checkpoint, "no") == 0)) {
                continue;
            }
            check = rule_say(r, moment, disk->name, CHAIN_CHECK_WARN,
                             "the bitmap stays in the image, and records on "
                             "without a use");
            if (of->top.source.path) {
                chain_check_image(r->report, check, of->top.source.path);
            }
        }
    }
}

static void judge_stranded(struct metadata_rules *r)
{
    const struct chain_metadata_request *request = r->request;

    rule_begin(r, "undefine-stranded");
    if (request->snapshots) {
        rule_each_snapshot(r, mark_internal);
        for (size_t i = 0; i < r->images.files_nr; i++) {
            say_internal(r, r->images.files[i]);
        }
        rule_each_snapshot(r, say_memory);
        judge_left(r, request->snapshots);
    }
    if (request->checkpoints) {
        say_bitmaps(r, request->checkpoints);
        judge_left(r, request->checkpoints);
    }
    rule_end(r, "nothing stays in images and files that only metadata leads "
                "to");
}

int chain_undefine_check(const struct chain_undefine_request *request,
                         struct chain_report **out, struct img_error *err)
{
    const struct chain_metadata_request *from = &request->metadata;
    struct metadata_rules r;

    if (metadata_rules_init(&r, from, err) < 0) {
        return -1;
    }
    if (from->snapshots) {
        judge_metadata(&r, request, from->snapshots);
    }
    if (from->checkpoints) {
        judge_metadata(&r, request, from->checkpoints);
    }
    if (!request->is_transient) {
        judge_save(&r, request);
        judge_nvram(&r);
        judge_tpm(&r);
    }
    judge_stranded(&r);
    return metadata_rules_fini(&r, out);
}
