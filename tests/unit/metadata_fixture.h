/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain with one disk, three snapshots of it, and the images, in a folder of
 * the test's own:
 *
 *   s1  internal, of base  (no image of a unit test has it: a finding)
 *   s2  external, base -> over
 *   s3  external, over -> top; the domain runs on top
 */
#ifndef TESTS_METADATA_FIXTURE_H
#define TESTS_METADATA_FIXTURE_H

#include <chain/metadata_check.h>

#include "chain_fixture.h"

#define FIXTURE_UUID "c7a5fdbd-edaf-9455-926a-d65c16db1809"

static struct chain_metadata *snapshots;
static struct chain_virt_domain *domain;

/* A domain whose disk is FILE of the folder. */
static inline const char *domain_text(const char *file)
{
    static char text[2048];

    snprintf(text, sizeof(text),
             "<domain type='kvm'><name>g</name><uuid>" FIXTURE_UUID
             "</uuid><devices><disk type='file'><driver type='qcow2'/>"
             "<source file='%s/%s'/><target dev='vda'/></disk></devices>"
             "</domain>",
             scratch.dir, file);
    return text;
}

/* A snapshot of the disk BEFORE; OVER NULL: an internal one. MORE is XML. */
static inline void add_snapshot(const char *name, const char *parent,
                                const char *before, const char *over,
                                const char *more)
{
    char text[4096], parts[512] = "", above[128] = "";

    if (over) {
        snprintf(parts, sizeof(parts),
                 " type='file'><driver type='qcow2'/><source file='%s/%s'/>"
                 "</disk>",
                 scratch.dir, over);
    }
    if (parent) {
        snprintf(above, sizeof(above), "<parent><name>%s</name></parent>",
                 parent);
    }
    snprintf(text, sizeof(text),
             "<domainsnapshot><name>%s</name><state>shutoff</state>%s"
             "<creationTime>1</creationTime><memory snapshot='no'/><disks>"
             "<disk name='vda' snapshot='%s'%s</disks>%s%s</domainsnapshot>",
             name, above, over ? "external" : "internal", over ? parts : "/>",
             domain_text(before), more);
    unit_ok(chain_metadata_add(snapshots, name, NULL, text, strlen(text), &err),
            &err);
}

static inline void begin_metadata(void)
{
    const char *text;

    begin();
    make("base", NULL, NULL);
    make("over", "base", "qcow2");
    make("top", "over", "qcow2");
    unit_ok(chain_metadata_new(CHAIN_SNAPSHOT, &snapshots, &err), &err);
    text = domain_text("top");
    unit_ok(
        chain_virt_domain_parse(text, strlen(text), "domain", &domain, &err),
        &err);
}

static inline void end_metadata(void)
{
    chain_metadata_free(snapshots);
    chain_virt_domain_free(domain);
    end();
}

#endif
