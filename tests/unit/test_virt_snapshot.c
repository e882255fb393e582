/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's <domainsnapshot>: requests, and what libvirt keeps of them. */
#include "virt_support.h"

static struct img_error err;

static void is_refused(const char *text, const char *why)
{
    struct chain_virt_snapshot *snapshot = snapshot_of(text);

    refusals_are(&snapshot->refusals, why);
    chain_virt_snapshot_free(snapshot);
}

#define SNAPSHOT(inside) "<domainsnapshot>\n" inside "\n</domainsnapshot>"
#define DISKS(inside) SNAPSHOT("<disks>" inside "</disks>")
#define MEMORY(attributes) SNAPSHOT("<memory " attributes "/>")

START_TEST(request_is_read)
{
    struct chain_virt_snapshot *snapshot = snapshot_of(
        "<domainsnapshot><name>s</name><description>a\nb</description>\n"
        "<disks><disk name='vda' snapshot='external' type='block'>"
        "<driver type='qcow2'><metadata_cache/></driver>"
        "<source dev='/dev/x'/></disk>\n"
        "<disk name='/images/b.img'/>\n"
        "<any name='vdc' snapshot='no'><snapshotDeleteInProgress/></any>"
        "</disks><memory file='/m'/></domainsnapshot>");
    const struct chain_virt_snapshot_disk *disk = snapshot->disks;

    refusals_are(&snapshot->refusals, "");
    text_is(snapshot->file, "snap.xml");
    text_is(snapshot->name, "s");
    text_is(snapshot->description, "a\nb");
    text_is(snapshot->memory_kind, NULL);
    text_is(snapshot->memory_file, "/m");
    ck_assert(!snapshot->has_domain && !snapshot->has_creation_time);
    ck_assert(!snapshot->has_active);
    ck_assert_uint_eq(snapshot->disks_nr, 3);
    text_is(disk->name, "vda");
    text_is(disk->snapshot, "external");
    text_is(disk->type, "block");
    ck_assert_uint_eq(disk->line, 3);
    ck_assert_int_eq(disk->dest.source.type, CHAIN_VIRT_SOURCE_BLOCK);
    text_is(disk->dest.source.path, "/dev/x");
    text_is(disk->dest.format, "qcow2");
    ck_assert(disk->dest.has_metadata_cache && !disk->is_delete_in_progress);
    text_is(disk[1].name, "/images/b.img");
    text_is(disk[1].snapshot, NULL);
    text_is(disk[1].type, NULL);
    ck_assert_int_eq(disk[1].dest.source.type, CHAIN_VIRT_SOURCE_FILE);
    text_is(disk[1].dest.source.path, NULL);
    text_is(disk[2].snapshot, "no");
    ck_assert(disk[2].is_delete_in_progress);
    chain_virt_snapshot_free(snapshot);
}
END_TEST

START_TEST(metadata_is_read)
{
    struct chain_virt_snapshot *snapshot = snapshot_of(
        "<domainsnapshot>\n<name>s2</name><state>disk-snapshot</state>"
        "<parent><name>s1</name></parent><creationTime>1700000000"
        "</creationTime><memory snapshot='no'/>"
        "<domain type='kvm'><name>g</name>"
        "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>"
        "<devices><disk><source file='/old'/><target dev='vda'/></disk>"
        "</devices></domain>"
        "<inactiveDomain type='kvm'><name>i</name></inactiveDomain>"
        "<cookie/><active>1</active></domainsnapshot>");

    refusals_are(&snapshot->refusals, "");
    text_is(snapshot->name, "s2");
    text_is(snapshot->state, "disk-snapshot");
    text_is(snapshot->parent, "s1");
    ck_assert(snapshot->has_creation_time);
    ck_assert_int_eq(snapshot->creation_time, 1700000000);
    text_is(snapshot->memory_kind, "no");
    ck_assert(snapshot->has_domain);
    text_is(snapshot->domain_uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
    text_is(snapshot->domain->name, "g");
    text_is(snapshot->domain->file, "snap.xml");
    text_is(snapshot->domain->disks[0].top.source.path, "/old");
    text_is(snapshot->inactive_domain->name, "i");
    ck_assert(snapshot->has_cookie);
    ck_assert(snapshot->has_active && snapshot->is_active);
    chain_virt_snapshot_free(snapshot);
}
END_TEST

START_TEST(metadata_of_old)
{
    struct chain_virt_snapshot *snapshot =
        snapshot_of("<domainsnapshot><domain><uuid>u</uuid></domain>"
                    "<creationTime>x</creationTime><active>0</active>"
                    "<parent/></domainsnapshot>");

    ck_assert(!snapshot->has_domain);
    ck_assert_ptr_null(snapshot->domain);
    text_is(snapshot->domain_uuid, "u");
    text_is(snapshot->parent, NULL);
    ck_assert(!snapshot->has_creation_time);
    ck_assert(snapshot->has_active && !snapshot->is_active);
    chain_virt_snapshot_free(snapshot);
}
END_TEST

START_TEST(history_is_hardly_checked)
{
    /* What libvirt would not define, it takes in a snapshot. */
    struct chain_virt_snapshot *snapshot = snapshot_of(
        "<domainsnapshot><domain type='kvm'><name>g</name><devices>"
        "<disk device='lun'><driver type='qcow2'/><target dev='vda'/></disk>"
        "<disk device='x'><target dev='vdb'/></disk>"
        "</devices></domain></domainsnapshot>");

    refusals_are(&snapshot->refusals, "");
    refusals_are(
        &snapshot->domain->refusals,
        "1 XML_ERROR: disk 'vdb': <disk> has device='x', which libvirt "
        "does not know\n");
    chain_virt_snapshot_free(snapshot);
}
END_TEST

START_TEST(disks_are_refused)
{
    is_refused(DISKS("<disk/>"), "2 INTERNAL_ERROR: <disk> in <disks> has no "
                                 "name=\n");
    is_refused(DISKS("<disk name='vda' snapshot='default' type='tape'/>"),
               "2 XML_ERROR: disk 'vda': <disk> has snapshot='default', which "
               "libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <disk> has type='tape', which libvirt "
               "does not know\n");
    is_refused(DISKS("<disk name='vda' type='volume'>"
                     "<source pool='p' volume='v'/></disk>"),
               "2 XML_ERROR: disk 'vda': <disk> has type='volume', which a "
               "snapshot cannot go to\n");
    is_refused(DISKS("<disk name='vda' type='dir'/>"),
               "2 XML_ERROR: disk 'vda': <disk> has type='dir', which a "
               "snapshot cannot go to\n");
    is_refused(DISKS("<disk name='vda'><driver type='qcow9'/>\n"
                     "<source file='o.qcow2'/></disk>"),
               "2 CONFIG_UNSUPPORTED: disk 'vda': <driver> has type='qcow9', "
               "which libvirt does not know\n"
               "3 XML_ERROR: disk 'vda': <source> is 'o.qcow2', expected an "
               "absolute path\n");
    /* An empty format is none. */
    is_refused(DISKS("<disk name='vda'><driver type=''/></disk>"), "");
}
END_TEST

START_TEST(memory_is_refused)
{
    is_refused(MEMORY("snapshot='internal'"), "");
    is_refused(MEMORY("snapshot='external' file='/m'"), "");
    is_refused(MEMORY("snapshot='x'"),
               "2 XML_ERROR: <memory> has snapshot='x', which libvirt does "
               "not know\n");
    is_refused(MEMORY("snapshot='manual'"),
               "2 XML_ERROR: <memory> has snapshot='manual', which is for "
               "disks\n");
    is_refused(MEMORY("snapshot='internal' file='/m'"),
               "2 XML_ERROR: <memory> has file='/m' with snapshot='internal', "
               "expected snapshot='external'\n");
    is_refused(MEMORY("snapshot='external'"),
               "2 XML_ERROR: <memory snapshot='external'> has no file=\n");
    is_refused(MEMORY("file='m'"),
               "2 XML_ERROR: <memory> has file='m', expected an absolute "
               "path\n");
    is_refused(MEMORY("file=''"), "2 XML_ERROR: <memory> has file='', expected "
                                  "an absolute path\n");
}
END_TEST

START_TEST(requests_are_written)
{
    static const char text[] =
        "<domainsnapshot>\n"
        "  <name>a &lt;b&gt;</name>\n"
        "  <description>one&#10;&#9;two \xc3\xbc</description>\n"
        "  <memory snapshot='external' file='/m'/>\n"
        "  <disks>\n"
        "    <disk name='vda' snapshot='external' type='block'>\n"
        "      <driver type='qcow2'/>\n"
        "      <source dev='/dev/&quot;x&apos;'/>\n"
        "    </disk>\n"
        "    <disk name='vdb' snapshot='no'/>\n"
        "    <disk name='vdc'>\n"
        "      <source file='/c' fdgroup='g'/>\n"
        "    </disk>\n"
        "  </disks>\n"
        "</domainsnapshot>\n";
    struct chain_virt_snapshot *snapshot = snapshot_of(text);
    char *found = NULL;

    text_is(snapshot->description, "one\n\ttwo \xc3\xbc");
    unit_ok(chain_virt_snapshot_write(snapshot, &found, &err), &err);
    ck_assert_str_eq(found, text);
    free(found);
    chain_virt_snapshot_free(snapshot);
}
END_TEST

START_TEST(what_xml_cannot_hold)
{
    char *const values[] = {
        (char[]){"a\x01z"},
        (char[]){"a\xff"},
        (char[]){"a\xef\xbf\xbf"},
    };
    static const char *const shown[] = {
        "XML cannot hold: 'a\\x01z'",
        "XML cannot hold: 'a\\xff'",
        "XML cannot hold: 'a\xef\xbf\xbf'",
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct chain_virt_snapshot snapshot = {.name = values[i]};
        char *text = NULL;

        unit_fails(chain_virt_snapshot_write(&snapshot, &text, &err), &err,
                   IMG_UNSUPPORTED, shown[i]);
        ck_assert_ptr_null(text);
    }
}
END_TEST

START_TEST(requests_that_are_not_written)
{
    struct chain_virt_snapshot *snapshot =
        snapshot_of(DISKS("<disk name='vda' type='network'>"
                          "<source protocol='nbd'/></disk>"));
    char *text = NULL;

    unit_fails(chain_virt_snapshot_write(snapshot, &text, &err), &err,
               IMG_UNSUPPORTED, "a request with it is not written: 'network'");
    chain_virt_snapshot_free(snapshot);
}
END_TEST

UNIT_SUITE("virt_snapshot", request_is_read, metadata_is_read, metadata_of_old,
           history_is_hardly_checked, disks_are_refused, memory_is_refused,
           requests_are_written, what_xml_cannot_hold,
           requests_that_are_not_written)
