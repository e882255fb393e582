# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes of saved domains that the one of saved_domain.xml has no room for:
other devices of memory, no display, no serial port; and such as need more than
one word to change. Each with what imgchain has to make of it: "refused" where
libvirt refuses, too; "seen" and "free" where it does not.
"""

import re

from saved_edits import STORED, Edit

NVDIMM = """<memory model='nvdimm' access='shared'>
<source><path>/images/nv</path><alignsize unit='KiB'>2048</alignsize></source>
<target><size unit='KiB'>524288</size><node>0</node>
<label><size unit='KiB'>128</size></label></target>
<address type='dimm' slot='1'/></memory>"""
VIRTIO = """<memory model='virtio-mem'>
<target><size unit='KiB'>1048576</size><node>0</node><block unit='KiB'>2048</block>
<requested unit='KiB'>524288</requested></target>
<address type='pci' domain='0x0000' bus='0x08' slot='0x10' function='0x0'/></memory>
"""
VNC = "<graphics type='vnc' port='-1'/>"
CONSOLE = "<console type='pty'><target type='serial' port='%d'/></console>"
# What needs a display, or brings one.
SIGHT = ("graphics", "video", "sound", "audio", "smartcard", "redirdev",
         "redirfilter", "input", "channel")


def put(text, old, new):
    """OLD, once, for NEW; what stands between tags does not count."""
    pattern = r"\s*".join(re.escape(word) for word in
                          re.split(r"\s*\n\s*", old.strip()))
    found = re.search(pattern, text)
    if not found:
        raise ValueError(f"there is no {old}")
    return text[:found.start()] + new + text[found.end():]


def without(text, *names):
    for name in names:
        text = re.sub(rf"    <{name}\b(?:[^>]*/>|.*?</{name}>)\n", "", text,
                      flags=re.S)
    return text


def add(text, device):
    return put(text, "</devices>", device + "</devices>")


def large():
    """Room for another device of memory."""
    text = put(STORED, "<memory unit='KiB'>1048576<", "<memory unit='KiB'>3145728<")
    return put(text, "<cell id='0' cpus='0' memory='524288' unit='KiB'/>",
               "<cell id='0' cpus='0' memory='1048576' unit='KiB'/>")


def group(base, *rows):
    """(base, edits, {name: what imgchain has to say})"""
    edits = [Edit(name, text) for name, text, _ in rows]
    return base, edits, {name: said for name, _, said in rows}


def memory():
    base = add(large(), NVDIMM)
    yield group(
        base,
        ("nvdimm: title", put(base, "<title>", "<title>x"), "free"),
        ("nvdimm: alignment", put(base, ">2048</a", ">4096</a"), "refused"),
        ("nvdimm: alignment in MiB", put(base, "<alignsize unit='KiB'>2048",
                                         "<alignsize unit='MiB'>2"), "free"),
        ("nvdimm: no alignment",
         put(base, "<alignsize unit='KiB'>2048</alignsize>", ""), "refused"),
        ("nvdimm: pmem", put(base, "</alignsize>", "</alignsize><pmem/>"),
         "refused"),
        ("nvdimm: label", put(base, "'KiB'>128<", "'KiB'>256<"), "refused"),
        ("nvdimm: path", put(base, "/images/nv", "/images/n"), "seen"))
    base = add(large(), VIRTIO)
    yield group(
        base,
        ("virtio-mem: title", put(base, "<title>", "<title>x"), "free"),
        ("virtio-mem: block in MiB", put(base, "<block unit='KiB'>2048",
                                         "<block unit='MiB'>2"), "free"),
        ("virtio-mem: another block", put(base, "<block unit='KiB'>",
                                          "<block unit='MiB'>"), "refused"),
        ("virtio-mem: requested", put(base, "<requested unit='KiB'>",
                                      "<requested unit='b'>"), "refused"))
    base = put(STORED, "<address type='dimm' slot='0'",
               "<alias name='ua-d0'/><address type='dimm' slot='0'")
    yield group(
        base,
        ("memory: alias", put(base, "ua-d0", "ua-d1"), "refused"),
        ("memory: no alias", STORED, "refused"))
    cell = "<cell id='1' cpus='1' memory='524288' unit='KiB'/>"
    yield group(
        STORED,
        ("NUMA: another unit", put(STORED, cell, cell.replace("KiB", "b")),
         "refused"),
        ("NUMA: MiB", put(STORED, cell, cell.replace("524288' unit='KiB",
                                                     "512' unit='MiB")), "free"),
        ("shared memory in KiB", put(STORED, "<size unit='M'>4<",
                                     "<size unit='KiB'>4096<"), "free"))
    base = put(STORED, "<smm state='on'/>",
               "<smm state='on'><tseg unit='MiB'>48</tseg></smm>")
    yield group(
        base,
        ("tseg in KiB", put(base, "'MiB'>48<", "'KiB'>49152<"), "free"),
        ("tseg without a unit", put(base, "<tseg unit='MiB'>", "<tseg>"),
         "refused*"))


def displays_and_consoles():
    blind = without(STORED, *SIGHT)
    yield group(
        blind,
        ("no display: title", put(blind, "<title>", "<title>x"), "free"),
        ("no display: one", add(blind, VNC), "refused"))
    dumb = without(STORED, "serial", "console")
    yield group(
        dumb,
        ("no serial port: title", put(dumb, "<title>", "<title>x"), "free"),
        ("no serial port: a console", add(dumb, CONSOLE % 0), "refused"))
    yield group(
        STORED,
        ("a second serial console", add(STORED, CONSOLE % 1), "refused"),
        ("no SPICE display",
         without(STORED, "graphics"), "refused"))


def interfaces_and_disks():
    card = ("<interface type='bridge'>\n<mac address='52:54:00:11:22:%s'/>\n"
            "<source bridge='br0'/>")
    host = ("<interface type='hostdev' managed='yes'>"
            "<mac address='52:54:00:11:22:34'/><source><address type='pci' "
            "domain='0x0000' bus='0x01' slot='0x10' function='0x0'/></source>")
    base = put(STORED, "<mtu size='1500'/>", "")

    def card_of(kind, source):
        return put(base, card % 33, f"<interface type='{kind}'>"
                   f"<mac address='52:54:00:11:22:33'/>{source}")
    yield group(
        base,
        ("a card of the host", put(base, card % 34, host), "refused"),
        ("vdpa", card_of("vdpa", "<source dev='/dev/vhost-vdpa-0'/>"), "seen"),
        ("direct", card_of("direct", "<source dev='e' mode='vepa'/>"), "free"),
        ("user", card_of("user", ""), "free"))
    yield group(
        STORED,
        ("boot order twice", put(STORED, "<target dev='sda'",
                                 "<boot order='1'/><target dev='sda'"),
         "refused"),
        ("boot orders in two places",
         put(STORED, "<bootmenu", "<boot dev='hd'/><bootmenu"), "refused"),
        ("no I/O threads", put(STORED, "<iothreads>2</iothreads>", ""),
         "refused"),
        ("transient and read-only", put(STORED, "<shareable/>",
                                        "<shareable/><transient/>"), "refused"),
        ("octal, the same", put(STORED, "bus='0x08' slot='0x08'",
                                "bus='0x08' slot='010'"), "refused*"),
        ("octal, another", put(STORED, "bus='0x08' slot='0x0a'",
                               "bus='0x08' slot='010'"), "refused"),
        ("write cache", put(STORED, "cache='none'", "cache='directsync'"),
         "seen"),
        ("an argument of QEMU",
         put(STORED, "<qemu:arg value='-no-shutdown'/>",
             "<qemu:arg value='-no-reboot'/>"), "seen"),
        ("no arguments of QEMU", re.sub(
            r"<qemu:commandline>.*?</qemu:commandline>", "", STORED,
            flags=re.S), "seen"),
        ("a loader", put(STORED, "<bootmenu", "<loader>/l</loader><bootmenu"),
         "seen"))


def groups():
    """"refused*": imgchain is stricter than libvirt."""
    yield from memory()
    yield from displays_and_consoles()
    yield from interfaces_and_disks()
