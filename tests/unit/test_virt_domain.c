/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's <domain>: disks, sources, chains, and what is around them. */
#include "virt_support.h"

START_TEST(domain_is_read)
{
    struct chain_virt_domain *domain = domain_of(
        "<domain type='kvm' id='3' "
        "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
        "<name>guest</name>"
        "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\n"
        "<os><loader readonly='yes' type='pflash'>/a.fd</loader></os>\n"
        "<devices><disk/>\n"
        "<channel type='unix'><target type='virtio' name='other'/></channel>"
        "<channel type='unix'>"
        "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "</devices>\n"
        "<qemu:commandline><qemu:arg value='-S'/></qemu:commandline>"
        "</domain>");

    text_is(domain->file, "dom.xml");
    text_is(domain->type, "kvm");
    text_is(domain->name, "guest");
    text_is(domain->uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
    text_is(domain->id, "3");
    ck_assert(domain->is_active);
    ck_assert(domain->has_pflash);
    ck_assert(domain->has_agent);
    ck_assert_uint_eq(domain->disks_nr, 1);
    ck_assert_uint_eq(domain->disks[0].line, 4);
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(domain_of_a_status_file)
{
    struct chain_virt_domain *domain =
        domain_of("<domstatus state='running'><x/>\n"
                  "<domain type='qemu' id='1'><name>in</name></domain>\n"
                  "</domstatus>");

    text_is(domain->name, "in");
    ck_assert_uint_eq(domain->line, 2);
    ck_assert(domain->is_active && !domain->has_pflash && !domain->has_agent);
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(disk_is_read)
{
    struct chain_virt_domain *domain = domain_of(DOMAIN(
        "<disk type='file' device='disk' snapshot='external' model='virtio'>\n"
        "<driver name='qemu' type='qcow2' cache='none' io='native' "
        "discard='unmap' detect_zeroes='on'>"
        "<metadata_cache><max_size>4096</max_size></metadata_cache></driver>\n"
        "<source file='/images/a &amp; b.qcow2' index='2' fdgroup='g'/>\n"
        "<backingStore/>\n"
        "<target dev='vda' bus='virtio'/>\n"
        "<readonly/><shareable/><transient/></disk>"));
    const struct chain_virt_disk *disk = domain->disks;

    text_is(disk->target, "vda");
    text_is(disk->bus, "virtio");
    text_is(disk->device, "disk");
    text_is(disk->model, "virtio");
    text_is(disk->snapshot, "external");
    text_is(disk->driver, "qemu");
    text_is(disk->cache, "none");
    text_is(disk->io, "native");
    text_is(disk->discard, "unmap");
    text_is(disk->detect_zeroes, "on");
    text_is(disk->top.format, "qcow2");
    ck_assert(disk->top.has_metadata_cache);
    ck_assert_int_eq(disk->top.source.type, CHAIN_VIRT_SOURCE_FILE);
    text_is(disk->top.source.path, "/images/a & b.qcow2");
    text_is(disk->top.source.fdgroup, "g");
    ck_assert_uint_eq(disk->top.source.line, 4);
    ck_assert_int_eq(disk->top.backing_kind, CHAIN_VIRT_BACKING_ENDS);
    ck_assert_ptr_null(disk->top.backing);
    ck_assert(disk->is_readonly && disk->is_shareable && disk->is_transient);
    ck_assert(!disk->has_mirror);
    refusals_are(&domain->refusals, "");
    chain_virt_domain_free(domain);
}
END_TEST

UNIT_SUITE("virt_domain", domain_is_read, domain_of_a_status_file, disk_is_read)
