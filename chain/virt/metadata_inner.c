/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata against what is inside of images. See metadata_rules.h. Room:
 * chain/virt.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "metadata_rules.h"

/* ---- Internal snapshots. */

/* The entry for MOMENT in the image that DISK was; NULL. */
static struct virt_inner *entry_of(struct metadata_rules *r,
                                   const struct chain_moment *moment,
                                   const struct chain_moment_disk *disk)
{
    const struct virt_image *image = rule_before(r, disk);
    struct virt_file *file = image ? image->layers[0] : NULL;

    return file && moment->name
               ? virt_inner_find(file->snapshots, file->snapshots_nr,
                                 moment->name)
               : NULL;
}

/* virsh forgets a snapshot of which nothing is left. */
static char *forget_command(const struct metadata_rules *r,
                            const struct chain_moment *moment)
{
    const char *domain = r->request->domain->name;
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    char *name = domain ? chain_shell_quote(domain, &ignored) : NULL;
    IMG_AUTO(img_free_ptr)
    char *snapshot =
        name && moment->name ? chain_shell_quote(moment->name, &ignored) : NULL;

    return snapshot
               ? img_text(&ignored, "virsh snapshot-delete --metadata %s %s",
                          name, snapshot)
               : NULL;
}

static void judge_internal(struct metadata_rules *r,
                           const struct rule_disks *of)
{
    for (size_t i = 0; i < of->nr && !r->is_failed; i++) {
        const struct chain_moment_disk *disk = &of->disks[i];
        const struct virt_image *image;
        struct virt_inner *entry;
        struct chain_check *check;

        if (disk->place != CHAIN_PLACE_INTERNAL || !of->moment->name) {
            continue;
        }
        image = rule_before(r, disk);
        entry = entry_of(r, of->moment, disk);
        if (entry) {
            entry->is_known = true;
        } else if (image) {
            check = rule_say(r, of->moment, disk->name, CHAIN_CHECK_FAIL,
                             "the image has no such internal snapshot");
            chain_check_image(r->report, check, image->path);
            chain_check_found(r->report, check,
                              "%zu snapshots, none of that "
                              "name",
                              image->layers[0]->snapshots_nr);
            chain_check_remedy(check, forget_command(r, of->moment));
        } else if (!disk->before && !r->is_failed) {
            rule_say(r, of->moment, disk->name, CHAIN_CHECK_UNPROVEN,
                     "the record does not tell which image it is in");
        }
    }
}

static void judge_vm_state(struct metadata_rules *r,
                           const struct rule_disks *of)
{
    enum chain_moment_place memory =
        chain_snapshot_memory(of->moment->snapshot);
    uint64_t most = 0;
    size_t nr = 0, known = 0; /* disks, and those whose image tells */

    for (size_t i = 0; i < of->nr && !r->is_failed; i++) {
        bool is_in = of->disks[i].place == CHAIN_PLACE_INTERNAL;
        const struct virt_inner *entry =
            is_in ? entry_of(r, of->moment, &of->disks[i]) : NULL;

        nr += is_in;
        known += entry != NULL;
        if (entry && entry->vm_state_len > most) {
            most = entry->vm_state_len;
        }
    }
    if (nr > 0 && known == nr && memory == CHAIN_PLACE_INTERNAL && most == 0) {
        rule_say(r, of->moment, NULL, CHAIN_CHECK_FAIL,
                 "the memory is said to be in an image, and none has it");
    } else if (memory == CHAIN_PLACE_NO && most > 0) {
        struct chain_check *check =
            rule_say(r, of->moment, NULL, CHAIN_CHECK_WARN,
                     "an image has memory of the guest, and the record says "
                     "that there is none");

        chain_check_found(r->report, check, "%llu bytes",
                          (unsigned long long)most);
    }
}

static void say_stranded(struct metadata_rules *r, const struct virt_file *file)
{
    for (size_t i = 0; i < file->snapshots_nr; i++) {
        struct chain_check *check;

        if (file->snapshots[i].is_known) {
            continue;
        }
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_WARN,
                         "stranded data: no record knows the image's internal "
                         "snapshot, and libvirt neither reverts to it nor "
                         "deletes it");
        chain_check_image(r->report, check, file->path);
        rule_found(r, check, file->snapshots[i].name);
    }
}

void metadata_rules_inner(struct metadata_rules *r)
{
    rule_begin(r, "internal-snapshot");
    rule_each_snapshot(r, judge_internal);
    rule_end(r, "each internal snapshot is in its images");
    rule_begin(r, "internal-memory");
    rule_each_snapshot(r, judge_vm_state);
    rule_end(r, "memory is in images where the record says so");
    rule_begin(r, "stranded-snapshot");
    for (size_t i = 0; i < r->images.files_nr; i++) {
        say_stranded(r, r->images.files[i]);
    }
    rule_end(r, "each internal snapshot of the images is on record");
}
