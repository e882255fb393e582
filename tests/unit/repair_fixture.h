/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small images in memory to be repaired: tiny_qcow2.h's, with room behind.
 */
#ifndef TESTS_REPAIR_FIXTURE_H
#define TESTS_REPAIR_FIXTURE_H

#include <img/write.h>
#include <qcow2/image.h>
#include <qcow2/repair.h>

#include "tiny_qcow2.h"

#define CLUSTER ((size_t)512) /* tiny_qcow2.h's */
#define REPAIR_ROOM ((2 * TINY_MAX_CLUSTERS + 5) * CLUSTER)
#define TINY_REFTABLE_OFF CLUSTER
#define TINY_BLOCK_OFF (2 * CLUSTER)
#define TINY_L1_OFF (3 * CLUSTER)
#define TINY_L2_OFF (4 * CLUSTER)

struct repair_fixture {
    uint8_t bytes[REPAIR_ROOM];
    size_t len;
    struct img_file *file;
    struct img_error err;
    struct qcow2_repair_result result;
    /* What was told. */
    unsigned steps, lost;
    enum qcow2_repair_kind last_kind;
    uint64_t last_off, last_guest_off, last_guest_len;
    char first[512], last[512];
};

static inline void repair_hear(void *opaque,
                               const struct qcow2_repair_step *step)
{
    struct repair_fixture *f = opaque;

    f->steps++;
    f->lost += step->is_lost;
    f->last_kind = step->kind;
    f->last_off = step->off;
    f->last_guest_off = step->guest_off;
    f->last_guest_len = step->guest_len;
    strncpy(f->last, step->message, sizeof(f->last) - 1);
    if (f->steps == 1) {
        memcpy(f->first, f->last, sizeof(f->first));
    }
}

/* An image whose guest clusters are as CLUSTERS says. */
static inline void repair_build(struct repair_fixture *f, const char *clusters)
{
    const struct tiny_qcow2 tiny = {.clusters = clusters, .fill = 1};

    img_file_unref(f->file);
    memset(f, 0, sizeof(*f));
    tiny_header(&tiny, f->bytes);
    put_be(f->bytes, TINY_REFTABLE_OFF, 8, TINY_BLOCK_OFF);
    for (size_t i = 0; i < 5; i++) {
        put_be(f->bytes, TINY_BLOCK_OFF + 2 * i, 2, 1);
    }
    f->len = tiny_clusters(&tiny, f->bytes);
}

static inline void repair_open(struct repair_fixture *f)
{
    img_file_unref(f->file);
    unit_ok(img_file_from_memory("test", f->bytes, f->len, &f->file, &f->err),
            &f->err);
}

static inline int repair_run_on(struct repair_fixture *f, struct img_file *file,
                                enum qcow2_repair_mode mode, bool dry_run)
{
    const struct qcow2_repair_options options = {
        .mode = mode,
        .dry_run = dry_run,
        .step = repair_hear,
        .opaque = f,
    };

    f->steps = f->lost = 0;
    return qcow2_repair(file, &options, &f->result, &f->err);
}

/* What the guest sees of FILE, in OUT; clusters that cannot be read as 0xee. */
static inline void repair_show(struct img_file *file, uint8_t *out, size_t nr)
{
    struct img_error err = {0};
    struct img_image *image;

    unit_ok(qcow2_open(file, &(struct qcow2_options){0}, &image, &err), &err);
    for (size_t i = 0; i < nr; i++) {
        uint8_t *to = out + i * CLUSTER;
        struct img_extent extent;

        memset(to, 0, CLUSTER);
        if (img_image_map(image, i * CLUSTER, CLUSTER, &extent, &err)) {
            memset(to, 0xee, CLUSTER);
        } else if (extent.kind == IMG_EXTENT_DATA) {
            unit_ok(img_file_read(file, to, CLUSTER, extent.host_off, &err),
                    &err);
        }
    }
    img_image_free(image);
}

#endif
