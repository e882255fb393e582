/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's <source> of every type, <backingStore> and <mirror>. */
#include "virt_support.h"

/* The one disk of a domain: its type, and what else is in it. */
#define WITH(type, inside)                                                     \
    DOMAIN("<disk type='" type "'><target dev='vda'/>" inside "</disk>")

static const struct chain_virt_source *source_of(struct chain_virt_domain *of)
{
    ck_assert_uint_eq(of->disks_nr, 1);
    return &of->disks[0].top.source;
}

/* libvirt refuses the disk, for these reasons. */
static void is_refused(const char *text, const char *why)
{
    struct chain_virt_domain *domain = domain_of(text);

    refusals_are(&domain->refusals, why);
    chain_virt_domain_free(domain);
}

static void has_path(const char *text, enum chain_virt_source_type type,
                     const char *path)
{
    struct chain_virt_domain *domain = domain_of(text);

    refusals_are(&domain->refusals, "");
    ck_assert_int_eq(source_of(domain)->type, type);
    text_is(source_of(domain)->path, path);
    chain_virt_domain_free(domain);
}

START_TEST(local_sources)
{
    has_path(WITH("file", "<source file='/f' dev='/b' dir='/d'/>"),
             CHAIN_VIRT_SOURCE_FILE, "/f");
    has_path(WITH("block", "<source file='/f' dev='/b' dir='/d'/>"),
             CHAIN_VIRT_SOURCE_BLOCK, "/b");
    has_path(WITH("dir", "<source file='/f' dev='/b' dir='/d'/>"),
             CHAIN_VIRT_SOURCE_DIR, "/d");
    /* A relative path is read; where it leads is for libvirt to say. */
    has_path(WITH("file", "<source file='f'/>"), CHAIN_VIRT_SOURCE_FILE, "f");
    has_path(DOMAIN("<disk><source file='/f'/><target dev='vda'/></disk>"),
             CHAIN_VIRT_SOURCE_FILE, "/f");
}
END_TEST

START_TEST(empty_drives)
{
    static const char *const drives[] = {
        DOMAIN("<disk type='block' device='cdrom'><target dev='hda'/></disk>"),
        DOMAIN("<disk device='cdrom'><source file=''/><target "
               "dev='hda'/></disk>"),
        DOMAIN("<disk device='floppy'><source startupPolicy='optional'/>"
               "<target dev='fda' bus='fdc'/></disk>"),
    };

    for (size_t i = 0; i < sizeof(drives) / sizeof(drives[0]); i++) {
        has_path(drives[i], CHAIN_VIRT_SOURCE_FILE, NULL);
    }
    is_refused(WITH("file", ""),
               "2 NO_SOURCE: disk 'vda': no source, which only a cdrom or a "
               "floppy may lack\n");
    is_refused(WITH("block", "<source file='/wrong'/>"),
               "2 NO_SOURCE: disk 'vda': no source, which only a cdrom or a "
               "floppy may lack\n");
}
END_TEST

START_TEST(types_that_are_none)
{
    is_refused(WITH("none", "<source file='/f'/>"),
               "2 XML_ERROR: disk 'vda': <disk> has type='none', which libvirt "
               "does not know\n"
               "2 NO_SOURCE: disk 'vda': no source, which only a cdrom or a "
               "floppy may lack\n");
    is_refused(WITH("File", "<source file='/f'/>"),
               "2 XML_ERROR: disk 'vda': <disk> has type='File', which libvirt "
               "does not know\n"
               "2 NO_SOURCE: disk 'vda': no source, which only a cdrom or a "
               "floppy may lack\n");
}
END_TEST

START_TEST(network_source)
{
    struct chain_virt_domain *domain = domain_of(
        WITH("network", "<source protocol='rbd' name='pool/image'>"
                        "<host name='mon1' port='6321'/><host name='mon2'/>"
                        "<snapshot name='s'/><config file='/c'/>"
                        "<auth username='u'><secret type='ceph' usage='k'/>"
                        "</auth></source>"));
    const struct chain_virt_source *source = source_of(domain);

    refusals_are(&domain->refusals, "");
    ck_assert_int_eq(source->type, CHAIN_VIRT_SOURCE_NETWORK);
    text_is(source->protocol, "rbd");
    text_is(source->name, "pool/image");
    text_is(source->host, "mon1");
    text_is(source->port, "6321");
    ck_assert_uint_eq(source->hosts_nr, 2);
    text_is(source->network_snapshot, "s");
    text_is(source->config, "/c");
    text_is(source->auth, "u");
    text_is(source->path, NULL);
    chain_virt_domain_free(domain);

    domain = domain_of(WITH("network", "<source protocol='nbd'><host "
                                       "transport='unix' socket='/s'/>"
                                       "</source>"));
    refusals_are(&domain->refusals, "");
    text_is(source_of(domain)->transport, "unix");
    text_is(source_of(domain)->socket, "/s");
    chain_virt_domain_free(domain);
}
END_TEST

#define IS_REFUSED(type, inside, why)                                          \
    is_refused(WITH(type, inside), "2 " why "\n")

START_TEST(network_source_is_refused)
{
    IS_REFUSED("network", "<source name='x'/>",
               "XML_ERROR: disk 'vda': <source> has no protocol=\n"
               "2 NO_SOURCE: disk 'vda': no source, which only a cdrom or a "
               "floppy may lack");
    IS_REFUSED("network", "<source protocol='smb' name='x'/>",
               "XML_ERROR: disk 'vda': <source> has protocol='smb', which "
               "libvirt does not know");
    IS_REFUSED("network", "<source protocol='http'/>",
               "XML_ERROR: disk 'vda': <source> has no name=");
    IS_REFUSED("network", "<source protocol='gluster' name='image'/>",
               "XML_ERROR: disk 'vda': <source> has name='image', expected a "
               "pool, a slash and an image");
    IS_REFUSED("network", "<source protocol='rbd' name='/image'/>",
               "XML_ERROR: disk 'vda': <source> has name='/image', expected a "
               "pool, a slash and an image");
    IS_REFUSED("network", "<source protocol='nbd'><host/></source>",
               "XML_ERROR: disk 'vda': <host> has no name=");
    IS_REFUSED("network",
               "<source protocol='nbd'><host name='a' port='65536'/></source>",
               "INVALID_ARG: disk 'vda': <host> has port='65536', expected at "
               "most 65535");
    IS_REFUSED("network",
               "<source protocol='nbd'><host name='a' socket='s'/></source>",
               "XML_ERROR: disk 'vda': <host> has a socket=, which only "
               "transport='unix' may have");
    IS_REFUSED("network",
               "<source protocol='nbd'><host transport='unix'/></source>",
               "XML_ERROR: disk 'vda': <host transport='unix'> has no socket=");
    IS_REFUSED("network",
               "<source protocol='nbd'><host transport='udp'/></source>",
               "CONFIG_UNSUPPORTED: disk 'vda': <host> has transport='udp', "
               "which libvirt does not know");
}
END_TEST

START_TEST(other_sources)
{
    struct chain_virt_domain *domain = domain_of(
        WITH("volume", "<source pool='p' volume='v' mode='direct'/>"));

    refusals_are(&domain->refusals, "");
    text_is(source_of(domain)->pool, "p");
    text_is(source_of(domain)->volume, "v");
    text_is(source_of(domain)->mode, "direct");
    chain_virt_domain_free(domain);
    domain = domain_of(WITH("nvme", "<source type='pci' namespace='1'>"
                                    "<address domain='0'/></source>"));
    refusals_are(&domain->refusals, "");
    text_is(source_of(domain)->namespace_id, "1");
    chain_virt_domain_free(domain);
    domain = domain_of(WITH("vhostuser", "<source type='unix' path='/s'/>"));
    refusals_are(&domain->refusals, "");
    text_is(source_of(domain)->socket, "/s");
    ck_assert_int_eq(source_of(domain)->type, CHAIN_VIRT_SOURCE_VHOSTUSER);
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(other_sources_are_refused)
{
    IS_REFUSED("volume", "<source pool='p'/>",
               "XML_ERROR: disk 'vda': <source> of a volume has pool= alone, "
               "expected pool= and volume=");
    IS_REFUSED("volume", "<source pool='p' volume='v' mode='x'/>",
               "CONFIG_UNSUPPORTED: disk 'vda': <source> has mode='x', which "
               "libvirt does not know");
    IS_REFUSED("nvme", "<source type='pci' namespace='x'/>",
               "XML_ERROR: disk 'vda': <source> has namespace='x', expected a "
               "number\n"
               "2 XML_ERROR: disk 'vda': <source> of an NVMe disk has no "
               "<address>");
    IS_REFUSED("nvme", "<source namespace='1'><address/></source>",
               "XML_ERROR: disk 'vda': <source> has no type=");
    IS_REFUSED("vhostuser", "<source type='tcp'/>",
               "XML_ERROR: disk 'vda': <source> has type='tcp', expected "
               "'unix'\n"
               "2 XML_ERROR: disk 'vda': <source> has no path=");
}
END_TEST

START_TEST(slices)
{
    struct chain_virt_domain *domain = domain_of(
        WITH("file", "<source file='/f'><slices>"
                     "<slice type='other' offset='x'/>"
                     "<slice type='storage' offset='512' "
                     "size='18446744073709551615'/></slices></source>"));

    refusals_are(&domain->refusals, "");
    ck_assert(source_of(domain)->has_slice);
    ck_assert_uint_eq(source_of(domain)->slice_offset, 512);
    ck_assert_uint_eq(source_of(domain)->slice_len, UINT64_MAX);
    chain_virt_domain_free(domain);
    IS_REFUSED("file",
               "<source file='/f'><slices><slice type='storage' offset='-1'/>"
               "</slices></source>",
               "XML_ERROR: disk 'vda': <slice> has offset='-1', expected a "
               "number of bytes\n"
               "2 XML_ERROR: disk 'vda': <slice> has no size=");
}
END_TEST

#define LUKS                                                                   \
    "<encryption format='luks'><secret type='passphrase' usage='u'/>"          \
    "</encryption>"

START_TEST(encryption)
{
    static const char *const places[] = {
        WITH("file", "<source file='/f'>" LUKS "</source>"),
        WITH("file", "<source file='/f'/>" LUKS),
    };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct chain_virt_domain *domain = domain_of(places[i]);

        refusals_are(&domain->refusals, "");
        text_is(source_of(domain)->encryption, "luks");
        text_is(source_of(domain)->secret, "u");
        text_is(source_of(domain)->engine, NULL);
        chain_virt_domain_free(domain);
    }
    IS_REFUSED("file", "<source file='/f'>" LUKS "</source>" LUKS,
               "CONFIG_UNSUPPORTED: disk 'vda': <encryption> stands in <disk> "
               "and in <source>");
    IS_REFUSED("file", "<source file='/f'/><encryption/>",
               "XML_ERROR: disk 'vda': <encryption> has no format=");
    IS_REFUSED("file",
               "<source file='/f'/><encryption format='bitlocker' engine='x'>"
               "<secret type='key' usage='a' uuid='b'/><secret/></encryption>",
               "CONFIG_UNSUPPORTED: disk 'vda': <encryption> has "
               "format='bitlocker', which libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <encryption> has engine='x', which "
               "libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <secret> in <encryption> has both, "
               "expected one of uuid= and usage=\n"
               "2 CONFIG_UNSUPPORTED: disk 'vda': <secret> in <encryption> has "
               "type='key', which libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <secret> in <encryption> has neither, "
               "expected one of uuid= and usage=\n"
               "2 XML_ERROR: disk 'vda': <secret> in <encryption> has no "
               "type=");
}
END_TEST

#define AUTH "<auth username='u'><secret type='iscsi' usage='k'/></auth>"

START_TEST(authentication)
{
    struct chain_virt_domain *domain = domain_of(
        WITH("network", "<source protocol='iscsi' name='i/1'/>" AUTH));

    refusals_are(&domain->refusals, "");
    text_is(source_of(domain)->auth, "u");
    chain_virt_domain_free(domain);
    IS_REFUSED("network",
               "<source protocol='iscsi' name='i/1'>" AUTH "</source>" AUTH,
               "CONFIG_UNSUPPORTED: disk 'vda': <auth> stands in <disk> and in "
               "<source>");
    IS_REFUSED("network", "<source protocol='iscsi' name='i/1'/><auth/>",
               "XML_ERROR: disk 'vda': <auth> has no username=\n"
               "2 XML_ERROR: disk 'vda': <auth> has no <secret>");
}
END_TEST

START_TEST(backing_chain)
{
    struct chain_virt_domain *domain = domain_of(WITH(
        "file", "<driver type='qcow2'/><source file='/top'/>\n"
                "<backingStore type='block' index='1'><format type='qcow2'/>"
                "<source dev='/dev/b'>" LUKS "</source>\n"
                "<backingStore type='network'><format type='raw'>"
                "<metadata_cache/></format>"
                "<source protocol='nbd' name='n'><host name='h'/></source>"
                "<backingStore/></backingStore></backingStore>"));
    const struct chain_virt_layer *layer = &domain->disks[0].top;

    refusals_are(&domain->refusals, "");
    ck_assert_int_eq(layer->backing_kind, CHAIN_VIRT_BACKING_GIVEN);
    layer = layer->backing;
    ck_assert_uint_eq(layer->line, 3);
    text_is(layer->idx, "1");
    text_is(layer->format, "qcow2");
    text_is(layer->source.path, "/dev/b");
    text_is(layer->source.encryption, "luks");
    ck_assert_int_eq(layer->backing_kind, CHAIN_VIRT_BACKING_GIVEN);
    layer = layer->backing;
    text_is(layer->format, "raw");
    ck_assert(layer->has_metadata_cache);
    text_is(layer->source.name, "n");
    text_is(layer->source.host, "h");
    ck_assert_int_eq(layer->backing_kind, CHAIN_VIRT_BACKING_ENDS);
    ck_assert_ptr_null(layer->backing);
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(backing_chain_is_refused)
{
    struct chain_virt_domain *domain = domain_of(
        WITH("file", "<source file='/top'/><backingStore type='file'>"
                     "<format type='raw'/><source file='/b'/></backingStore>"));

    refusals_are(&domain->refusals, "");
    ck_assert_int_eq(domain->disks[0].top.backing->backing_kind,
                     CHAIN_VIRT_BACKING_UNSAID);
    chain_virt_domain_free(domain);
    IS_REFUSED("file", "<source file='/t'/><backingStore type='file'/>",
               "XML_ERROR: disk 'vda': <backingStore> has no <format "
               "type=...>\n"
               "2 XML_ERROR: disk 'vda': <backingStore> has no <source>");
    IS_REFUSED("file",
               "<source file='/t'/><backingStore type='tape'>"
               "<format type='qcow9'/><source file='/b'/></backingStore>",
               "XML_ERROR: disk 'vda': <backingStore> has type='tape', which "
               "libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <format> in <backingStore> has "
               "type='qcow9', which libvirt does not know");
}
END_TEST

START_TEST(mirror)
{
    struct chain_virt_domain *domain = domain_of(
        WITH("file", "<source file='/top'/>"
                     "<mirror type='block' job='copy' ready='yes'>"
                     "<format type='raw'/><source dev='/dev/m' index='4'/>"
                     "<backingStore/></mirror>"));
    const struct chain_virt_disk *disk = domain->disks;

    refusals_are(&domain->refusals, "");
    ck_assert(disk->has_mirror);
    text_is(disk->mirror_job, "copy");
    text_is(disk->mirror_ready, "yes");
    text_is(disk->mirror.format, "raw");
    text_is(disk->mirror.idx, "4");
    text_is(disk->mirror.source.path, "/dev/m");
    ck_assert_int_eq(disk->mirror.backing_kind, CHAIN_VIRT_BACKING_ENDS);
    chain_virt_domain_free(domain);
    domain = domain_of(WITH("file", "<source file='/top'/>"
                                    "<mirror file='/m' format='qcow2'/>"));
    refusals_are(&domain->refusals, "");
    text_is(domain->disks[0].mirror.source.path, "/m");
    text_is(domain->disks[0].mirror.format, "qcow2");
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(mirror_is_refused)
{
    IS_REFUSED("file", "<source file='/t'/><mirror job='move' ready='no'/>",
               "CONFIG_UNSUPPORTED: disk 'vda': <mirror> has job='move', which "
               "libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <mirror> has ready='no', which "
               "libvirt does not know\n"
               "2 XML_ERROR: disk 'vda': <mirror> has no file=");
    IS_REFUSED("file",
               "<source file='/t'/><mirror file='/m' job='active-commit'/>",
               "XML_ERROR: disk 'vda': <mirror> has no type=, which only a "
               "copy may lack");
    IS_REFUSED("file", "<source file='/t'/><mirror type='file'/>",
               "XML_ERROR: disk 'vda': <mirror> has no <source>");
    IS_REFUSED("file", "<source file='/t'/><mirror file='/m' format='x'/>",
               "XML_ERROR: disk 'vda': <mirror> has format='x', which libvirt "
               "does not know");
}
END_TEST

UNIT_SUITE("virt_source", local_sources, empty_drives, types_that_are_none,
           network_source, network_source_is_refused, other_sources,
           other_sources_are_refused, slices, encryption, authentication,
           backing_chain, backing_chain_is_refused, mirror, mirror_is_refused)
