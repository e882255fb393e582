/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's XML in tests: parsing it, and what libvirt would refuse in it. */
#ifndef TESTS_VIRT_SUPPORT_H
#define TESTS_VIRT_SUPPORT_H

#include <stdio.h>

#include <chain/virt.h>

#include "unit.h"

/* A domain around DEVICES, which may have several lines: line 2 is first. */
#define DOMAIN(devices)                                                        \
    "<domain type='kvm'><name>guest</name><devices>\n" devices                 \
    "\n</devices></domain>"
/* A disk that libvirt takes as it stands. */
#define DISK(name, inside)                                                     \
    "<disk type='file' device='disk'><source file='/images/" name              \
    ".img'/><target dev='" name "' bus='virtio'/>" inside "</disk>\n"

static inline struct chain_virt_domain *domain_of(const char *text)
{
    static struct img_error err;
    struct chain_virt_domain *domain = NULL;

    unit_ok(
        chain_virt_domain_parse(text, strlen(text), "dom.xml", &domain, &err),
        &err);
    return domain;
}

static inline struct chain_virt_snapshot *snapshot_of(const char *text)
{
    static struct img_error err;
    struct chain_virt_snapshot *snapshot = NULL;

    unit_ok(chain_virt_snapshot_parse(text, strlen(text), "snap.xml", &snapshot,
                                      &err),
            &err);
    return snapshot;
}

static inline struct chain_virt_disk_file *disk_of(const char *text)
{
    static struct img_error err;
    struct chain_virt_disk_file *disk = NULL;

    unit_ok(chain_virt_disk_parse(text, strlen(text), "disk.xml", &disk, &err),
            &err);
    return disk;
}

/* The refusals are WANT: "LINE ID: TEXT\n" for each. */
static inline void refusals_are(const struct chain_virt_refusals *refusals,
                                const char *want)
{
    char found[8192] = "";
    size_t used = 0;

    for (size_t i = 0; i < refusals->nr; i++) {
        const struct chain_virt_refusal *refusal = &refusals->list[i];

        used +=
            (size_t)snprintf(found + used, sizeof(found) - used, "%u %s: %s\n",
                             refusal->line, refusal->id, refusal->text);
        ck_assert_uint_lt(used, sizeof(found));
    }
    ck_assert_str_eq(found, want);
}

/* A string that may be NULL, which is then shown as "(null)". */
static inline void text_is(const char *found, const char *want)
{
    ck_assert_str_eq(found ? found : "(null)", want ? want : "(null)");
}

#endif
