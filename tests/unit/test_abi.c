/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a domain's XML may change under a saved guest, and what is said. */
#include <stdio.h>
#include <string.h>

#include <chain/abi.h>

#include "unit.h"

static struct img_error err;

#define DOMAIN(inside)                                                         \
    "<domain type='kvm'><name>g</name>"                                        \
    "<uuid>5b1c3f5e-1111-4222-8333-444455556666</uuid>" inside "</domain>"
#define DEVICES(inside) DOMAIN("<devices>" inside "</devices>")
#define DISK(inside) DEVICES("<disk device='disk'>" inside "</disk>")
#define VDA "<target dev='vda' bus='virtio'/>"

/* OLD to NEW: the differences are WANT, "! TEXT\n" for one that breaks, "? "
   for one that the guest sees. */
static void differ(const char *old, const char *new, const char *want)
{
    struct chain_abi abi;
    char found[8192] = "";
    size_t used = 0;

    unit_ok(chain_abi_compare(old, strlen(old), "old", new, strlen(new), "new",
                              &abi, &err),
            &err);
    for (size_t i = 0; i < abi.nr; i++) {
        used += (size_t)snprintf(
            found + used, sizeof(found) - used, "%c %s\n",
            abi.list[i].kind == CHAIN_ABI_BREAKS ? '!' : '?', abi.list[i].text);
        ck_assert_uint_lt(used, sizeof(found));
    }
    ck_assert_str_eq(found, want);
    ck_assert_uint_eq(abi.nr + abi.left_off_nr, abi.breaks_nr + abi.seen_nr);
    chain_abi_fini(&abi);
}

/* Either may become the other. */
static void same(const char *a, const char *b)
{
    differ(a, b, "");
    differ(b, a, "");
}

START_TEST(what_is_free)
{
    same(DOMAIN("<title>a</title><description>b</description>"),
         DOMAIN("<metadata><x/></metadata>"));
    same(DOMAIN("<cputune><shares>1</shares></cputune>"),
         DOMAIN("<on_crash>preserve</on_crash><seclabel type='none'/>"));
    same(DOMAIN("<clock offset='utc'/>"),
         DOMAIN("<clock offset='localtime'/>"));
    same(DEVICES("<graphics type='vnc'/>"),
         DEVICES("<graphics type='spice'><listen type='none'/></graphics>"));
    same(DEVICES("<video/>"), DEVICES("<video/><graphics type='vnc'/>"));
    same(DEVICES("<input><source dev='/a'/></input>"),
         DEVICES("<input><source dev='/b'/></input>"));
    same(DEVICES("<memory><source><nodemask>0</nodemask></source></memory>"),
         DEVICES("<memory><source><nodemask>1</nodemask></source></memory>"));
    same(DISK("<driver cache='none'/>" VDA), DISK("<driver/>" VDA));
    same(DISK("<driver cache='directsync'/>" VDA),
         DISK("<driver cache='writethrough'/>" VDA));
    same(DEVICES("<emulator>/a</emulator>"),
         DEVICES("<emulator>/b</emulator>"));
    same(
        DISK("<driver name='q' type='raw' cache='none'/><source file='/a'/>" VDA
             "<boot order='1'/>"),
        DISK("<driver name='q' type='qcow2' io='threads'/><source dev='/b'>"
             "<x/></source>" VDA "<iotune><x/></iotune>"));
    same(DEVICES("<interface type='user'><mac address='52:54:00:aa:bb:cc'/>"
                 "</interface>"),
         DEVICES("<interface type='bridge'><mac address='52:54:00:AA:BB:CC'/>"
                 "<source bridge='b'/></interface>"));
    same(DEVICES("<hostdev mode='s'><source><a/></source></hostdev>"),
         DEVICES("<hostdev mode='s'><source><b/></source></hostdev>"));
    same(DEVICES("<serial type='pty'/>"),
         DEVICES("<serial type='file'><source path='/x'/></serial>"));
}
END_TEST

START_TEST(the_same_in_other_words)
{
    same("<domain><uuid>5b1c3f5e111142228333444455556666</uuid></domain>",
         "<domain><uuid>5B1C3F5E-1111-4222-8333-444455556666</uuid></domain>");
    same(DOMAIN("<memory>1048576</memory>"),
         DOMAIN("<memory unit='GiB'>1</memory>"));
    same(DOMAIN("<memory unit='MB'>1</memory>"),
         DOMAIN("<memory unit='k'>977</memory>"));
    same(DOMAIN("<cpu><numa><cell memory='2048'/></numa></cpu>"),
         DOMAIN("<cpu><numa><cell memory='2' unit='M'/></numa></cpu>"));
    same(DISK(VDA "<address type='pci' domain='0x0000' bus='0x0a' slot='0x03' "
                  "function='0x0'/>"),
         DISK(VDA "<address slot='3' bus='10' type='pci'/>"));
    same(DOMAIN("<memory unit='x'>much</memory>"),
         DOMAIN("<title>t</title><memory unit='x'>much</memory>"));
    /* Disks and controllers are known by name, whatever their order. */
    same(DEVICES("<disk><target dev='vda'/><serial>1</serial></disk>"
                 "<disk><target dev='vdb'/></disk>"
                 "<controller type='usb' index='0'/>"
                 "<controller type='pci' index='1' model='x'/>"),
         DEVICES("<controller type='pci' index='1' model='x'/>"
                 "<controller type='usb' index='0'/>"
                 "<disk><target dev='vdb'/></disk>"
                 "<disk><target dev='vda'/><serial>1</serial></disk>"));
}
END_TEST

#define SERIAL "<serial type='pty'/>"
#define CONSOLE(type, port)                                                    \
    "<console type='" type "'><target type='serial' port='" port "'/></"       \
    "console>"

START_TEST(what_libvirt_makes_up)
{
    same(DEVICES(""), DEVICES("<controller type='pci' index='0' "
                              "model='pci-root'/>"
                              "<input type='mouse' bus='ps2'/>"
                              "<input type='keyboard' bus='ps2'/>"));
    same(DEVICES(""),
         DEVICES("<controller type='usb' index='0' model='piix3-uhci'>"
                 "<address type='pci' bus='0x00' slot='0x01' "
                 "function='0x2'/></controller>"
                 "<controller type='pci' index='0' model='pci-root'/>"));
    same(DEVICES(SERIAL), DEVICES(SERIAL CONSOLE("pty", "0")));
    /* Where there is no serial port, the console is one. */
    differ(DEVICES(""), DEVICES(CONSOLE("pty", "0")),
           "! Target console is new, source has none\n");
    differ(DEVICES(SERIAL CONSOLE("pty", "0")),
           DEVICES(SERIAL CONSOLE("pty", "0") CONSOLE("pty", "1")),
           "! Target console 2 is new, source has none\n");
    differ(DEVICES(SERIAL CONSOLE("pty", "0")),
           DEVICES(SERIAL CONSOLE("pty", "0") CONSOLE("null", "1")),
           "! Target console 2 is new, source has none\n");
    /* With something said of it, it is not what libvirt makes up. */
    differ(DEVICES("<controller type='pci' index='0' model='pcie-root'>"
                   "<pcihole64>1</pcihole64></controller>"),
           DEVICES(""), "! Target controller is left out, source has it\n");
    differ(DEVICES(""), DEVICES("<graphics type='vnc'/>"),
           "! Target graphics would bring a display device, which the guest "
           "has none of\n");
    differ(DEVICES(""),
           DEVICES("<input type='mouse' bus='ps2'/>"
                   "<input type='mouse' bus='ps2'/>"),
           "! Target input 2 is new, source has none\n");
    differ(DEVICES("<controller type='pci' index='0' model='pci-root'/>"),
           DEVICES("<controller type='pci' index='1' model='pci-root'/>"),
           "! Target controller index '1' does not match source '0'\n");
}
END_TEST

START_TEST(what_must_stay)
{
    differ(DOMAIN(""), "<domain type='qemu'><name>h</name></domain>",
           "! Target domain uuid is left out, source has "
           "'5b1c3f5e-1111-4222-8333-444455556666'\n"
           "! Target domain type 'qemu' does not match source 'kvm'\n"
           "! Target domain name 'h' does not match source 'g'\n");
    differ(DISK(VDA "<serial>A</serial>"), DISK(VDA "<serial>B</serial>"),
           "! Target disk vda serial 'B' does not match source 'A'\n");
    differ(DISK(VDA), DISK(VDA "<readonly/>"),
           "! Target disk vda readonly is new, source has none\n");
    differ(DISK(VDA "<readonly/>"), DISK(VDA),
           "! Target disk vda readonly is left out, source has it\n");
    differ(DISK("<driver queues='2'/>" VDA), DISK(VDA),
           "! Target disk vda driver queues is left out, source has '2'\n");
    differ(DISK(VDA), DEVICES(""),
           "! Target disk vda is left out, source has it\n");
    differ(DISK(VDA "<address type='pci' slot='0x03'/>"),
           DISK(VDA "<address type='pci' slot='0x04'/>"),
           "! Target disk vda address slot '0x04' does not match source "
           "'0x03'\n");
    differ(DEVICES("<interface type='user'/><interface type='bridge'><source "
                   "bridge='b'/><mtu size='1500'/></interface>"),
           DEVICES("<interface type='user'/><interface type='bridge'><source "
                   "bridge='b'/><mtu size='9000'/></interface>"),
           "! Target interface 2 mtu size '9000' does not match source "
           "'1500'\n");
    differ(DOMAIN("<features><acpi/></features>"), DOMAIN("<features/>"),
           "! Target domain features acpi is left out, source has it\n");
    differ(DOMAIN("<memory>1024</memory>"), DOMAIN("<memory>1025</memory>"),
           "! Target domain memory '1025' does not match source '1024'\n");
    differ(DOMAIN("<memory>1024</memory>"),
           DOMAIN("<memory unit='x'>1024</memory>"),
           "! Target domain memory '1024' does not match source '1024'\n");
    differ(DEVICES("<hostdev><source/></hostdev>"), DEVICES("<hostdev/>"),
           "! Target hostdev source is left out, source has it\n");
}
END_TEST

START_TEST(memory_devices)
{
    differ(DEVICES("<memory><source><path>/a</path></source></memory>"),
           DEVICES("<memory><source><path>/b</path></source></memory>"),
           "? Target memory source path '/b' does not match source '/a'\n");
    differ(DEVICES("<memory><source/></memory>"),
           DEVICES("<memory><source><pmem/></source></memory>"),
           "! Target memory source pmem is new, source has none\n");
    differ(DEVICES("<memory><source><alignsize unit='KiB'>2</alignsize>"
                   "</source></memory>"),
           DEVICES("<memory><source><alignsize unit='MiB'>2</alignsize>"
                   "</source></memory>"),
           "! Target memory source alignsize '2' does not match source '2'\n");
    differ(DEVICES("<memory><alias name='ua-a'/></memory>"),
           DEVICES("<memory><alias name='ua-b'/></memory>"),
           "! Target memory alias name 'ua-b' does not match source 'ua-a'\n");
    differ(DEVICES("<shmem name='s'><alias name='ua-a'/></shmem>"),
           DEVICES("<shmem name='s'><alias name='ua-b'/></shmem>"),
           "? Target shmem alias name 'ua-b' does not match source 'ua-a'\n");
    same(DEVICES("<memory><target><block unit='KiB'>2048</block></target>"
                 "</memory>"),
         DEVICES("<memory><target><block unit='MiB'>2</block></target>"
                 "</memory>"));
    differ(DEVICES("<memory><target><requested unit='KiB'>2</requested>"
                   "</target></memory>"),
           DEVICES("<memory><target><requested unit='b'>2</requested>"
                   "</target></memory>"),
           "! Target memory target requested '2' does not match source '2'\n");
    differ(DEVICES("<memory><target><label><size unit='KiB'>2</size></label>"
                   "</target></memory>"),
           DEVICES("<memory><target><label><size unit='MiB'>2</size></label>"
                   "</target></memory>"),
           "! Target memory target label size '2' does not match source "
           "'2'\n");
}
END_TEST

START_TEST(lengths)
{
    same(DEVICES("<shmem><size unit='M'>4</size></shmem>"),
         DEVICES("<shmem><size unit='KiB'>4096</size></shmem>"));
    same(DOMAIN("<features><smm><tseg unit='MiB'>48</tseg></smm></features>"),
         DOMAIN("<features><smm><tseg unit='KiB'>49152</tseg></smm>"
                "</features>"));
    /* It is in MiB where nothing is said, and that of shmem in bytes. */
    differ(DOMAIN("<features><smm><tseg unit='KiB'>48</tseg></smm></features>"),
           DOMAIN("<features><smm><tseg>48</tseg></smm></features>"),
           "! Target domain features smm tseg '48' does not match source "
           "'48'\n");
    differ(DEVICES("<shmem><size unit='b'>4095</size></shmem>"),
           DEVICES("<shmem><size unit='b'>4096</size></shmem>"),
           "! Target shmem size '4096' does not match source '4095'\n");
}
END_TEST

#define CARD(type) DEVICES("<interface type='" type "'/>")

START_TEST(interfaces)
{
    same(CARD("user"), CARD("ethernet"));
    differ(CARD("user"), CARD("hostdev"),
           "! Target interface type 'hostdev' does not match source 'user'\n");
    differ(CARD("hostdev"), CARD("user"),
           "! Target interface type 'user' does not match source 'hostdev'\n");
    differ(CARD("vdpa"), CARD("hostdev"),
           "! Target interface type 'hostdev' does not match source 'vdpa'\n");
    differ(CARD("user"), CARD("vdpa"),
           "? Target interface type 'vdpa' does not match source 'user'\n");
    differ(CARD("vhostuser"), CARD("ethernet"),
           "? Target interface type 'ethernet' does not match source "
           "'vhostuser'\n");
}
END_TEST

#define SLOT(slot) DISK(VDA "<address type='pci' slot='" slot "'/>")

START_TEST(octal_numbers)
{
    same(SLOT("07"), SLOT("0x7"));
    differ(SLOT("0x0a"), SLOT("010"),
           "! Target disk vda address slot '010' does not match source "
           "'0x0a'\n");
    differ(SLOT("10"), SLOT("010"),
           "! Target disk vda address slot '010' does not match source "
           "'10'\n");
    same(SLOT("010"), SLOT("010"));
}
END_TEST

#define BOOT(order) "<boot order='" order "'/>"

START_TEST(what_libvirt_refuses_outright)
{
    differ(DEVICES("<disk><target dev='vda'/>" BOOT(
               "1") "</disk>"
                    "<disk><target dev='vdb'/></disk>"),
           DEVICES("<disk><target dev='vda'/>" BOOT(
               "1") "</disk>"
                    "<disk><target dev='vdb'/>" BOOT("1") "</disk>"),
           "! Target disk vdb has the boot order of another device\n");
    differ(DOMAIN("<os><boot dev='hd'/></os><devices><disk>" VDA
                  "</disk></devices>"),
           DOMAIN("<os><boot dev='hd'/></os><devices><disk>" VDA BOOT(
               "1") "</disk></devices>"),
           "! Target disk vda has a boot order, and <os> has one, too\n");
    differ(DOMAIN("<iothreads>1</iothreads><devices><disk><driver "
                  "iothread='1'/>" VDA "</disk></devices>"),
           DEVICES("<disk><driver iothread='1'/>" VDA "</disk>"),
           "! Target disk vda is in an I/O thread that there is not\n");
    differ(DISK(VDA "<readonly/>"), DISK(VDA "<readonly/><transient/>"),
           "! Target disk vda is transient, which a read-only disk cannot "
           "be\n");
    same(DISK(VDA), DISK(VDA "<transient/>"));
    differ(DEVICES("<channel type='spicevmc'/><graphics type='spice'/>"
                   "<video/>"),
           DEVICES("<channel type='spicevmc'/><video/>"),
           "! Target channel needs a SPICE display\n");
}
END_TEST

START_TEST(what_is_not_known)
{
    differ(DOMAIN(""), DOMAIN("<novelty/>"),
           "! Target domain novelty is new, source has none\n");
    differ(DISK(VDA), DISK(VDA "<x><y z='1'/></x>"),
           "! Target disk vda x y z '1' is new, source has none\n");
}
END_TEST

START_TEST(what_the_guest_sees)
{
    differ(DISK(VDA "<blockio logical_block_size='512'/>"),
           DISK(VDA "<blockio logical_block_size='4096'/>"),
           "? Target disk vda blockio logical_block_size '4096' does not match "
           "source '512'\n");
    differ(DISK(VDA), DISK(VDA "<geometry cyls='1'/>"),
           "? Target disk vda geometry is new, source has none\n");
    differ(DISK(VDA "<vendor>A</vendor>"), DISK(VDA "<vendor>B</vendor>"),
           "? Target disk vda vendor 'B' does not match source 'A'\n");
    differ(DEVICES("<interface type='user'><driver queues='2'/></interface>"),
           DEVICES("<interface type='user'/>"),
           "? Target interface driver queues is left out, source has '2'\n");
    differ(DISK("<driver cache='none'/>" VDA),
           DISK("<driver cache='writethrough'/>" VDA),
           "? Target disk vda driver cache 'writethrough' does not match "
           "source 'none'\n");
    differ(DISK("<driver cache='directsync'/>" VDA), DISK("<driver/>" VDA),
           "? Target disk vda driver cache is left out, source has "
           "'directsync'\n");
    differ(DOMAIN("<os><loader>/a</loader></os>"), DOMAIN("<os/>"),
           "? Target domain os loader is left out, source has '/a'\n");
    differ(DOMAIN("<os/>"), DOMAIN("<os><loader>/a</loader></os>"),
           "? Target domain os loader '/a' is new, source has none\n");
    same(DOMAIN("<os><loader>/a</loader></os>"),
         DOMAIN("<os><loader>/b</loader></os>"));
    same(DISK(VDA "<blockio logical_block_size='512'/>"),
         DISK(VDA "<blockio\nlogical_block_size=\"512\"></blockio>"));
    /* Those that break come first. */
    differ(DISK(VDA "<blockio a='1'/>\n<wwn>1</wwn>"),
           DISK(VDA "<blockio a='2'/>\n<wwn>2</wwn>"),
           "! Target disk vda wwn '2' does not match source '1'\n"
           "? Target disk vda blockio a '2' does not match source '1'\n");
}
END_TEST

START_TEST(what_has_no_sense)
{
    differ(DEVICES("<video/>"), DEVICES("<video/><graphics type='x'/>"),
           "! Target graphics type 'x' is none that libvirt knows\n");
    differ(DEVICES("<graphics type='vnc'/>"), DEVICES("<graphics/>"),
           "! Target graphics type is missing\n");
    differ(DOMAIN("<on_crash>destroy</on_crash>"),
           DOMAIN("<on_crash>pray</on_crash>"),
           "! Target domain on_crash 'pray' is none that libvirt knows\n");
    differ(DOMAIN(""), DOMAIN("<on_crash>|</on_crash>"),
           "! Target domain on_crash '|' is none that libvirt knows\n");
    differ(DEVICES("<serial type='pty'/>"), DEVICES("<serial type='file'/>"),
           "! Target serial has no source path\n");
    differ(DISK("<driver iothread='1'/>" VDA),
           DISK("<driver iothread='2'/>" VDA),
           "! Target disk vda is in an I/O thread that there is not\n");
    same(DOMAIN(
             "<iothreads>2</iothreads><devices><disk><driver iothread='1'/>" VDA
             "</disk></devices>"),
         DOMAIN(
             "<iothreads>3</iothreads><devices><disk><driver iothread='2'/>" VDA
             "</disk></devices>"));
    /* What has been so before stays, unless something else has changed. */
    same(DEVICES("<channel type='spicevmc'/>"),
         DEVICES("<channel type='spicevmc'/><audio id='1' type='none'/>"));
    differ(DEVICES("<channel type='spicevmc'/><graphics type='spice'/>"),
           DEVICES("<channel type='spicevmc'/>"),
           "! Target channel needs a SPICE display\n");
    /* A later libvirt's word that was there before stays. */
    same(DEVICES("<graphics type='later'/>"),
         DOMAIN("<title>t</title><devices><graphics type='later'/></devices>"));
    differ(DOMAIN("<cpu><numa><cell memory='2' unit='KiB'/></numa></cpu>"),
           DOMAIN("<cpu><numa><cell memory='2' unit='MiB'/></numa></cpu>"),
           "! Target domain cpu numa cell memory '2' does not match source "
           "'2'\n");
}
END_TEST

#define Q(inside)                                                              \
    "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>" inside     \
    "</domain>"
#define ARGUMENT(value)                                                        \
    "<q:commandline><q:arg value='" value "'/></q:commandline>"

START_TEST(qemu_namespace)
{
    differ(Q(ARGUMENT("-a")), Q(ARGUMENT("-b")),
           "? Target domain qemu:commandline does not match source\n");
    differ(Q(""), Q("<q:override/>"),
           "? Target domain qemu:override is new, source has none\n");
    differ(Q(ARGUMENT("-a")), Q(""),
           "? Target domain qemu:commandline is left out, source has it\n");
    same(Q(ARGUMENT("-a")),
         "<domain xmlns:z='http://libvirt.org/schemas/domain/qemu/1.0'>"
         "<z:commandline><z:arg value='-a'/></z:commandline></domain>");
    same(Q("<q:deprecation behavior='omit'/>"), Q(""));
    /* Another namespace is nobody's; nor is QEMU's in metadata. */
    same(Q("<y xmlns='http://y/'/>"), Q(""));
    same(Q("<metadata>" ARGUMENT("-a") "</metadata>"), Q("<metadata/>"));
}
END_TEST

START_TEST(many_differences)
{
    struct chain_abi abi;
    char text[4096] = "<domain>";
    const char *old = "<domain/>";
    size_t used = strlen(text);

    for (int i = 0; i < 100; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "<x%d/>", i);
    }
    (void)snprintf(text + used, sizeof(text) - used, "</domain>");
    unit_ok(chain_abi_compare(old, strlen(old), "old", text, strlen(text),
                              "new", &abi, &err),
            &err);
    ck_assert_uint_eq(abi.nr, CHAIN_ABI_MAX_DIFFERENCES);
    ck_assert_uint_eq(abi.breaks_nr, 100);
    ck_assert_uint_eq(abi.left_off_nr, 100 - CHAIN_ABI_MAX_DIFFERENCES);
    chain_abi_fini(&abi);
}
END_TEST

START_TEST(no_domain)
{
    struct chain_abi abi;
    const char *domain = DOMAIN(""), *other = "<network/>";

    unit_fails(chain_abi_compare(domain, strlen(domain), "old", other,
                                 strlen(other), "new", &abi, &err),
               &err, IMG_FORMAT,
               "line 1: found <network>, expected libvirt's <domain>");
    ck_assert_str_eq(err.path, "new");
}
END_TEST

UNIT_SUITE("abi", what_is_free, the_same_in_other_words, what_libvirt_makes_up,
           what_must_stay, what_is_not_known, what_the_guest_sees,
           what_has_no_sense, memory_devices, lengths, interfaces,
           octal_numbers, what_libvirt_refuses_outright, qemu_namespace,
           many_differences, no_domain)
