/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disks of a saved domain while they are judged. Room: chain/virt; for
   saved_disk*.c. */
#ifndef VIRT_SAVED_DISK_IMPL_H
#define VIRT_SAVED_DISK_IMPL_H

#include <chain/saved_check.h>
#include <img/file.h>

/* A disk of the domain, and what was found out about it. */
struct saved_disk {
    const struct chain_virt_disk *said;
    const struct chain_virt_disk *before; /* NULL: none, or not asked */
    bool is_as_before;                    /* its images are */
    struct chain *chain;                  /* by the headers; NULL: not opened */
};

struct saved_inspection {
    const struct chain_saved_disks *request;
    struct chain_report *report;
    struct saved_disk *disks;
    size_t nr;
    struct img_error *err;
};

struct chain_check *saved_say(struct saved_inspection *all,
                              const struct saved_disk *disk, const char *id,
                              enum chain_check_result result, const char *fmt,
                              ...) __attribute__((format(printf, 5, 6)));
struct chain_check *saved_say_error(struct saved_inspection *all,
                                    const struct saved_disk *disk,
                                    const char *id,
                                    enum chain_check_result result,
                                    const struct img_error *error);
/* Nothing is known of the image, rather than something bad. */
bool saved_is_unproven(enum img_code code);
/* What libvirt takes where nothing is said. */
const char *saved_format_of(const struct chain_virt_layer *layer);

/* ---- saved_disk_backing.c: what the XML says besides the headers. */

bool saved_is_same_source(const struct chain_virt_source *a,
                          const struct chain_virt_source *b);
/* With all that the XML says of what lies below. */
bool saved_is_same_image(const struct chain_virt_layer *a,
                         const struct chain_virt_layer *b);
/* disk-chain of a disk whose chain is open, perhaps not to its end. */
void saved_judge_backing(struct saved_inspection *all,
                         const struct saved_disk *disk);

/* ---- saved_disk_files.c: disk-distinct, disk-untouched; of all disks. */

int saved_judge_files(struct saved_inspection *all);

#endif
