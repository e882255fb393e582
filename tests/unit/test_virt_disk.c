/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt refuses in a <disk>, and the <disk> of a block copy. */
#include "virt_support.h"

static struct img_error err;

/* libvirt refuses the domain with these DEVICES, for these reasons. */
static void is_refused(const char *text, const char *why)
{
    struct chain_virt_domain *domain = domain_of(text);

    refusals_are(&domain->refusals, why);
    chain_virt_domain_free(domain);
}

/* The same of one disk, at line 2, with a source. */
#define IS_REFUSED(attributes, inside, why)                                    \
    is_refused(                                                                \
        DOMAIN("<disk " attributes "><source file='/f'/>" inside "</disk>"),   \
        "2 " why "\n")
#define VDA "<target dev='vda'/>"

START_TEST(words_of_attributes)
{
    IS_REFUSED("device='tape'", VDA,
               "XML_ERROR: disk 'vda': <disk> has device='tape', which "
               "libvirt does not know");
    IS_REFUSED("snapshot='default'", VDA,
               "XML_ERROR: disk 'vda': <disk> has snapshot='default', which "
               "libvirt does not know");
    IS_REFUSED("model='x'", "<target dev='vda' bus='virtio'/>",
               "XML_ERROR: disk 'vda': <disk> has model='x', which libvirt "
               "does not know");
    IS_REFUSED("", "<target dev='vda' bus='none'/>",
               "XML_ERROR: disk 'vda': <target> has bus='none', which libvirt "
               "does not know");
    IS_REFUSED("",
               VDA "<driver type='qcow9' cache='a' io='b' discard='c' "
                   "detect_zeroes='d'/>",
               "CONFIG_UNSUPPORTED: disk 'vda': <driver> has type='qcow9', "
               "which libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <driver> has cache='a', which libvirt "
               "does not know\n"
               "2 XML_ERROR: disk 'vda': <driver> has io='b', which libvirt "
               "does not know\n"
               "2 XML_ERROR: disk 'vda': <driver> has discard='c', which "
               "libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <driver> has detect_zeroes='d', which "
               "libvirt does not know");
    /* What is said of an encryption is no format. */
    IS_REFUSED("", VDA "<driver type='luks'/>",
               "CONFIG_UNSUPPORTED: disk 'vda': <driver> has type='luks', "
               "which libvirt does not know");
}
END_TEST

START_TEST(names_of_targets)
{
    struct chain_virt_domain *domain = domain_of(
        DOMAIN("<disk><source file='/f'/><target dev='ioemu:hda'/></disk>"));

    text_is(domain->disks[0].target, "hda");
    refusals_are(&domain->refusals, "");
    chain_virt_domain_free(domain);
    IS_REFUSED("", "", "NO_TARGET: <disk> has no <target dev=>");
    IS_REFUSED("", "<target dev='nvme0'/>",
               "XML_ERROR: disk 'nvme0': the target of a disk without "
               "<address>, expected a name like vda\n"
               "2 INTERNAL_ERROR: disk 'nvme0': the target of a disk, expected "
               "a name that begins with hd, sd, vd, xvd or ubd");
    IS_REFUSED("", "<target dev='vd1'/>",
               "XML_ERROR: disk 'vd1': the target of a disk without <address>, "
               "expected a name like vda");
    IS_REFUSED("", "<target dev='vda1x'/>",
               "XML_ERROR: disk 'vda1x': the target of a disk without "
               "<address>, expected a name like vda");
    is_refused(DOMAIN("<disk><source file='/f'/><target dev='vd-1'/>"
                      "<address type='pci'/></disk>"),
               "");
    IS_REFUSED("device='floppy'", VDA,
               "INTERNAL_ERROR: disk 'vda': the target of a floppy, expected a "
               "name that begins with fd");
    IS_REFUSED("device='floppy'", "<target dev='fda' bus='ide'/>",
               "INTERNAL_ERROR: disk 'fda': a floppy with bus='ide'");
    IS_REFUSED("device='cdrom'", "<target dev='fda' bus='fdc'/>",
               "INTERNAL_ERROR: disk 'fda': no floppy with bus='fdc'");
}
END_TEST

START_TEST(two_of_one_name)
{
    is_refused(DOMAIN(DISK("vdb", "") DISK("vda", "") DISK("vdb", "")),
               "4 XML_ERROR: disk 'vdb' is there twice, with /images/vdb.img "
               "and with /images/vdb.img\n");
    is_refused(DOMAIN("<disk device='cdrom'><target dev='hda'/></disk>\n"
                      "<disk device='cdrom'><target dev='hda'/></disk>"),
               "3 XML_ERROR: disk 'hda' is there twice, with no file and with "
               "no file\n");
}
END_TEST

START_TEST(luns)
{
    IS_REFUSED("device='lun'", VDA,
               "CONFIG_UNSUPPORTED: disk 'vda': device='lun' with type='file', "
               "expected block");
    is_refused(DOMAIN("<disk type='block' device='lun'><source dev='/b'/>" VDA
                      "</disk>"),
               "");
    is_refused(
        DOMAIN("<disk type='block' device='lun'><source dev='/b'><slices>"
               "<slice type='storage' offset='0' size='1'/></slices></source>"
               "<driver type='qcow2'/><encryption format='luks'/>" VDA
               "</disk>"),
        "2 CONFIG_UNSUPPORTED: disk 'vda': device='lun' with format 'qcow2', "
        "expected raw\n"
        "2 CONFIG_UNSUPPORTED: disk 'vda': device='lun' with a <slice>\n"
        "2 CONFIG_UNSUPPORTED: disk 'vda': device='lun' with <encryption>\n");
    is_refused(DOMAIN("<disk type='network' device='lun'>"
                      "<source protocol='nbd'/>" VDA "</disk>"),
               "2 CONFIG_UNSUPPORTED: disk 'vda': device='lun' is for iscsi, "
               "block and volume\n");
}
END_TEST

START_TEST(what_goes_together)
{
    IS_REFUSED("", VDA "<shareable/><driver type='qcow2'/>",
               "CONFIG_UNSUPPORTED: disk 'vda': <shareable/> with format "
               "'qcow2', expected raw");
    is_refused(DOMAIN("<disk><source file='/f'/>" VDA
                      "<shareable/><readonly/><driver type='qcow2'/></disk>"),
               "");
    is_refused(DOMAIN("<disk><source file='/f'/>" VDA "<shareable/></disk>"),
               "");
    IS_REFUSED("model='virtio'", "<target dev='sda'/>",
               "CONFIG_UNSUPPORTED: disk 'sda': model='virtio' with "
               "bus='scsi'");
    is_refused(DOMAIN("<disk><source file='/f' startupPolicy='requisite'/>" VDA
                      "</disk>"),
               "2 XML_ERROR: disk 'vda': startupPolicy='requisite' is for a "
               "cdrom or a floppy\n");
    is_refused(DOMAIN("<disk type='network'><source protocol='nbd' "
                      "startupPolicy='optional'/>" VDA "</disk>"),
               "2 XML_ERROR: disk 'vda': startupPolicy with type='network'\n");
    IS_REFUSED("",
               VDA "<encryption format='luks'><cipher name='aes'/>"
                   "</encryption>",
               "CONFIG_UNSUPPORTED: disk 'vda': <encryption> of a disk has a "
               "<cipher>, which its image knows itself");
    IS_REFUSED("",
               VDA "<encryption format='luks'>"
                   "<secret type='passphrase' uuid='1'/></encryption>",
               "XML_ERROR: disk 'vda': <secret> in <encryption> has uuid='1', "
               "expected 32 hexadecimal digits");
}
END_TEST

START_TEST(secrets_of_protocols)
{
#define WITH_AUTH(protocol, secret)                                            \
    DOMAIN("<disk type='network'><source protocol='" protocol                  \
           "' name='a/b'><auth username='u'><secret type='" secret             \
           "' usage='k'/></auth></source>" VDA "</disk>")
    is_refused(WITH_AUTH("rbd", "ceph"), "");
    is_refused(WITH_AUTH("rbd", "iscsi"),
               "2 CONFIG_UNSUPPORTED: disk 'vda': <secret> in <auth> of "
               "protocol 'rbd' has type='iscsi'\n");
    is_refused(WITH_AUTH("iscsi", "ceph"),
               "2 CONFIG_UNSUPPORTED: disk 'vda': <secret> in <auth> of "
               "protocol 'iscsi' has type='ceph'\n");
    is_refused(WITH_AUTH("https", "x"),
               "2 CONFIG_UNSUPPORTED: disk 'vda': <secret> in <auth> of "
               "protocol 'https' has type='x'\n");
    is_refused(WITH_AUTH("nbd", "ceph"),
               "2 CONFIG_UNSUPPORTED: disk 'vda': <auth> with protocol 'nbd', "
               "which has none\n");
}
END_TEST

START_TEST(domains_are_refused)
{
    is_refused("<domain><uuid>123</uuid></domain>",
               "1 XML_ERROR: <domain> has no type=\n"
               "1 NO_NAME: <domain> has no <name>\n"
               "1 INTERNAL_ERROR: <uuid> is '123', expected 32 hexadecimal "
               "digits\n");
    is_refused("<domain type='kvm'><name>x</name>"
               "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809a</uuid></domain>",
               "1 INTERNAL_ERROR: <uuid> is "
               "'c7a5fdbd-edaf-9455-926a-d65c16db1809a', expected 32 "
               "hexadecimal digits\n");
}
END_TEST

START_TEST(refusals_are_counted)
{
    static char text[512 * 1024];
    char *at = stpcpy(text, "<domain type='kvm'><name>x</name><devices>");
    struct chain_virt_domain *domain;

    for (unsigned i = 0; i < CHAIN_VIRT_MAX_REFUSALS; i++) {
        at = stpcpy(at, "<disk/>\n");
    }
    stpcpy(at, "<disk/></devices></domain>");
    domain = domain_of(text);
    ck_assert_uint_eq(domain->refusals.nr, CHAIN_VIRT_MAX_REFUSALS);
    ck_assert_uint_eq(domain->refusals.left_off_nr, 1);
    ck_assert_uint_eq(domain->refusals.list[255].line, 256);
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(disk_of_a_copy)
{
    /* What is no part of its image counts for nothing, however wrong. */
    struct chain_virt_disk_file *file =
        disk_of("<disk type='block' device='tape' snapshot='x' model='y'>\n"
                "<driver name='qemu' type='qcow2' cache='z'/>"
                "<source dev='/dev/x' startupPolicy='never'/>"
                "<target dev='any thing' bus='none'/><mirror job='a'/>"
                "<readonly/></disk>");

    refusals_are(&file->refusals, "");
    text_is(file->file, "disk.xml");
    text_is(file->disk.top.source.path, "/dev/x");
    text_is(file->disk.top.format, "qcow2");
    ck_assert(file->disk.is_readonly && !file->disk.is_shareable);
    ck_assert(!file->disk.has_mirror);
    ck_assert_int_eq(file->disk.top.backing_kind, CHAIN_VIRT_BACKING_UNSAID);
    chain_virt_disk_file_free(file);
    file = disk_of("<disk type='file'><driver type='raw'/></disk>");
    refusals_are(&file->refusals, "1 NO_SOURCE: <disk> has no source\n");
    chain_virt_disk_file_free(file);
}
END_TEST

/* TEXT, a disk of a copy, is written as WANT. */
static void is_written(const char *text, const char *want)
{
    struct chain_virt_disk_file *file = disk_of(text);
    char *found = NULL;

    unit_ok(chain_virt_disk_write(&file->disk, &found, &err), &err);
    ck_assert_str_eq(found, want);
    free(found);
    chain_virt_disk_file_free(file);
}

START_TEST(copies_are_written)
{
    is_written("<disk><source file='/a&amp;&apos;&lt;&#10;'/></disk>",
               "<disk type='file'>\n"
               "  <source file='/a&amp;&apos;&lt;&#10;'/>\n"
               "</disk>\n");
    is_written("<disk type='block'><driver type='qcow2'/><source dev='/b'/>"
               "<backingStore type='file'><format type='qcow2'/>"
               "<source file='/c'/><backingStore type='block'>"
               "<format type='raw'/><source dev='/d'/><backingStore/>"
               "</backingStore></backingStore><shareable/><readonly/></disk>",
               "<disk type='block'>\n"
               "  <driver type='qcow2'/>\n"
               "  <source dev='/b'/>\n"
               "  <backingStore type='file'>\n"
               "    <format type='qcow2'/>\n"
               "    <source file='/c'/>\n"
               "    <backingStore type='block'>\n"
               "      <format type='raw'/>\n"
               "      <source dev='/d'/>\n"
               "      <backingStore/>\n"
               "    </backingStore>\n"
               "  </backingStore>\n"
               "  <readonly/>\n"
               "  <shareable/>\n"
               "</disk>\n");
}
END_TEST

START_TEST(copies_are_not_written)
{
    static const struct {
        const char *text, *what;
    } disks[] = {
        {"<disk type='network'><source protocol='nbd'/></disk>", "network"},
        {"<disk><source file='/a'/><encryption format='luks'/></disk>",
         "encryption"},
        {"<disk><source file='/a'><slices><slice type='storage' offset='0' "
         "size='1'/></slices></source></disk>",
         "slices"},
        {"<disk><source file='/a'/><driver><metadata_cache/></driver></disk>",
         "metadata_cache"},
        {"<disk><source file='/a'/><auth username='u'/></disk>", "auth"},
    };

    for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
        struct chain_virt_disk_file *file = disk_of(disks[i].text);
        char *text = NULL, want[128];

        snprintf(want, sizeof(want), "a request with it is not written: '%s'",
                 disks[i].what);
        unit_fails(chain_virt_disk_write(&file->disk, &text, &err), &err,
                   IMG_UNSUPPORTED, want);
        ck_assert_ptr_null(text);
        chain_virt_disk_file_free(file);
    }
}
END_TEST

UNIT_SUITE("virt_disk", words_of_attributes, names_of_targets, two_of_one_name,
           luns, what_goes_together, secrets_of_protocols, domains_are_refused,
           refusals_are_counted, disk_of_a_copy, copies_are_written,
           copies_are_not_written)
