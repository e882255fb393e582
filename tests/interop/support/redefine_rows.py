# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots that are put on record, right and wrong in one way each.

On record are: `off` (shutoff) and `child` on it, `ran` (running, memory in an
image), `disks` (of disks only) on `child`. A row is a name, the document, and
virsh's flags besides --redefine.
"""

import re

UUID = "11111111-2222-3333-4444-555555555555"
OTHER_UUID = "11111111-2222-3333-4444-555555555556"
DISKS = ("vda", "vdb")


def domain(folder, uuid=UUID, kind="type='qemu'", more="", cpus=1, disk=""):
    disks = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{folder}/{name}.qcow2'/>"
        f"<target dev='{name}' bus='virtio'/>{disk}</disk>" for name in DISKS)
    return (f"<domain {kind}><name>vm</name><uuid>{uuid}</uuid>"
            f"<memory unit='MiB'>16</memory><vcpu>{cpus}</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
            "<controller type='usb' model='none'/>"
            f"<memballoon model='none'/>{disks}{more}</devices></domain>")


def document(name="new", state="shutoff", time="1", parent=None, memory="",
             disks="", inside=""):
    """A <domainsnapshot>; what is None is left out."""
    parts = [f"<{key}>{value}</{key}>" for key, value in (
        ("name", name), ("state", state), ("creationTime", time))
        if value is not None]
    if parent is not None:
        parts.append(f"<parent><name>{parent}</name></parent>")
    disks = f"<disks>{disks}</disks>" if disks else ""
    return (f"<domainsnapshot>{''.join(parts)}{memory}{disks}{inside}"
            "</domainsnapshot>")


class Rows:
    """All rows, for images in FOLDER."""

    def __init__(self, folder):
        self.folder = folder
        self.own = self.whole = domain(folder)
        self.ext = "".join(
            f"<disk name='{d}' snapshot='external'><driver type='qcow2'/>"
            f"<source file='{folder}/{d}.new'/></disk>" for d in DISKS)

    def doc(self, inside=None, **parts):
        return document(inside=self.own if inside is None else inside, **parts)

    def record(self):
        """What is there before each row."""
        yield self.doc(name="off")
        yield self.doc(name="child", parent="off", time="2")
        yield self.doc(name="ran", state="running", time="3",
                       memory="<memory snapshot='internal'/>")
        yield self.doc(name="disks", state="disk-snapshot", parent="child",
                       time="4", disks=self.ext)

    def heads(self):
        yield "plain", self.doc(), ()
        yield "current", self.doc(parent="off"), ("--current",)
        yield "no name", self.doc(name=None), ()
        yield "empty name", self.doc(name=""), ()
        yield "blank name", self.doc(name=" "), ()
        yield "no time", self.doc(time=None), ()
        yield "empty time", self.doc(time=""), ()
        yield "time of letters", self.doc(time="now"), ()
        yield "time and more", self.doc(time="1x"), ()
        yield "time with blanks", self.doc(time=" 1"), ()
        yield "time below zero", self.doc(time="-1"), ()
        yield "time too large", self.doc(time="9" * 20), ()
        yield "no name, no time", self.doc(name=None, time=None), ()
        yield "no time, no state", self.doc(time=None, state=None), ()
        yield "no state", self.doc(state=None), ()
        for state in ("", "nostate", "odd", "Running", "blocked",
                      "pmsuspended", "crashed", "shutdown", "paused"):
            yield f"state '{state}'", self.doc(state=state), ()
        for name in ("a/b", ".a", "/", "..", "a b", "-a", "a.b", "\u00e4"):
            yield f"name {name}", self.doc(name=name), ()
        yield "bad name and state", self.doc(name="a/b", state="blocked"), ()
        yield "bad name and parent", self.doc(name="a/b", parent="x"), ()

    def memories(self):
        def row(called, memory, **more):
            return called, self.doc(memory=memory, **more), ()
        yield row("memory offline", "<memory snapshot='internal'/>")
        yield row("memory file offline", "<memory file='/m'/>")
        yield row("memory of disks only", "<memory snapshot='internal'/>",
                  state="disk-snapshot", disks=self.ext)
        yield row("memory none", "<memory snapshot='no'/>")
        yield row("memory none, with file", "<memory snapshot='no' file='/m'/>",
                  state="running")
        yield row("memory manual", "<memory snapshot='manual'/>",
                  state="running")
        yield row("memory odd", "<memory snapshot='odd'/>", state="running")
        yield row("memory without file", "<memory snapshot='external'/>",
                  state="running")
        yield row("memory file relative", "<memory file='m'/>",
                  state="running")
        yield row("memory internal with file",
                  "<memory snapshot='internal' file='/m'/>", state="running")
        yield row("memory file", "<memory file='/m'/>", state="running",
                  disks=self.ext)
        yield row("memory unsaid", "", state="running")
        yield row("memory none, of a running one", "<memory snapshot='no'/>",
                  state="running")
        yield row("memory of a crashed one", "<memory snapshot='internal'/>",
                  state="crashed")

    def parents(self):
        yield "parent", self.doc(parent="child"), ()
        yield "own parent", self.doc(parent="new"), ()
        yield "parent absent", self.doc(parent="none"), ()
        yield "parent empty", self.doc(parent=""), ()
        yield "loop of two", self.doc(name="off", parent="child"), ()
        yield "loop of three", self.doc(name="off", parent="disks"), ()
        yield "own parent, on record", self.doc(name="off", parent="off"), ()
        yield "other parent", self.doc(name="disks", state="disk-snapshot",
                                       parent="off", disks=self.ext), ()

    def domains(self):
        def row(called, inside, **more):
            return called, self.doc(inside=inside, **more), ()
        yield row("no domain", "")
        yield row("domain of a uuid alone",
                  f"<domain><uuid>{UUID}</uuid></domain>")
        yield row("domain of another uuid alone, replacing",
                  f"<domain><uuid>{OTHER_UUID}</uuid></domain>", name="off")
        yield row("no domain, replacing", "", name="off")
        yield row("other uuid", domain(self.folder, OTHER_UUID))
        yield row("uuid without dashes",
                  domain(self.folder, UUID.replace("-", "")))
        yield row("uuid that is none", domain(self.folder, "1234"))
        yield row("no uuid", re.sub("<uuid>.*</uuid>", "", self.own))
        yield row("domain without a name",
                  re.sub("<name>.*</name>", "", self.own))
        yield row("other domain's name",
                  self.own.replace("<name>vm<", "<name>other<"))
        yield row("other uuid of inactiveDomain", self.own + domain(
            self.folder, OTHER_UUID).replace("domain", "inactiveDomain"))
        yield row("odd format", self.own.replace("'qcow2'", "'odd'", 1))
        yield row("uuid and parent", domain(self.folder, OTHER_UUID),
                  parent="none")
        yield row("uuid and disks", domain(self.folder, OTHER_UUID),
                  disks="<disk name='vdx'/>")

    def replaced(self):
        yield "the same again", self.doc(name="off"), ()
        yield "the same as current", self.doc(name="off"), ("--current",)
        yield "offline to online", self.doc(name="off", state="running"), ()
        yield "offline to crashed", self.doc(name="off", state="crashed"), ()
        yield "online to offline", self.doc(name="ran"), ()
        yield "online to paused", self.doc(name="ran", state="paused"), ()
        yield "offline to disks only", self.doc(
            name="off", state="disk-snapshot", disks=self.ext), ()
        yield "disks only to offline", self.doc(name="disks"), ()
        yield "disks only to online", self.doc(name="disks", state="running"), \
            ()
        yield "disks only, elsewhere", self.doc(
            name="disks", state="disk-snapshot", parent="child",
            disks=self.ext.replace(".new", ".newer")), ()

    def stable(self):
        """What the guest would see: of one that is there it stays. The
        domain is as libvirt wrote it (self.whole)."""
        def row(called, old, new):
            if old not in self.whole:
                raise ValueError(f"{called}: no {old} in {self.whole}")
            return called, self.doc(name="off", inside=self.whole.replace(
                old, new)), ()
        yield row("the whole again", "<name>", "<name>")
        yield row("other cpus", "'static'>1<", "'static'>2<")
        yield row("other bus", "'virtio'", "'scsi'")
        yield row("a serial", "</disk>", "<serial>x</serial></disk>")
        yield row("other images", self.folder, "/elsewhere")
        yield row("other memory", ">16384<", ">32768<")
        yield row("other format", "type='qcow2'", "type='raw'")
        yield row("other slot", "slot='0x03'", "slot='0x07'")
        yield row("other machine",
                  re.search("machine='[^']*'", self.whole)[0],
                  "machine='pc-i440fx-5.0'")
        yield row("other cpu", "qemu64", "qemu32")
        yield row("other clock", "'utc'", "'localtime'")
        yield row("a watchdog", "<memballoon", "<watchdog model='i6300esb'/>"
                  "<memballoon")
        yield row("a title", "<memory unit", "<title>t</title><memory unit")

    def disks(self):
        def row(called, disks, **more):
            return called, self.doc(disks=disks, **more), ()
        ext = {"state": "disk-snapshot"}
        yield row("disk", "<disk name='vda'/>")
        yield row("disk by its path",
                  f"<disk name='{self.folder}/vda.qcow2'/>")
        yield row("disk that is none", "<disk name='vdx'/>")
        yield row("disk without a name", "<disk/>")
        yield row("disk twice", "<disk name='vda'/><disk name='vda'/>")
        yield row("disk twice by its path", "<disk name='vda'/>"
                  f"<disk name='{self.folder}/vda.qcow2'/>")
        yield row("too many disks", "<disk name='vda'/>" * 3)
        yield row("disk left out of an internal one",
                  "<disk name='vda' snapshot='no'/>")
        yield row("disk left out of an external one",
                  "<disk name='vda' snapshot='no'/>", **ext)
        yield row("internal and external",
                  "<disk name='vda' snapshot='internal'/>"
                  "<disk name='vdb' snapshot='external'/>")
        yield row("disk manual", "<disk name='vda' snapshot='manual'/>")
        yield row("disk odd", "<disk name='vda' snapshot='odd'/>")
        yield row("file of an internal one",
                  "<disk name='vda' snapshot='internal'>"
                  "<source file='/n'/></disk>")
        yield row("file of one left out", "<disk name='vda' snapshot='no'>"
                  "<source file='/n'/></disk>", **ext)
        yield row("file relative",
                  "<disk name='vda'><source file='n'/></disk>", **ext)
        yield row("format odd",
                  "<disk name='vda'><driver type='odd'/></disk>", **ext)
        yield row("format raw",
                  "<disk name='vda'><driver type='raw'/></disk>", **ext)
        yield row("type volume", "<disk name='vda' type='volume'/>", **ext)
        yield row("type odd", "<disk name='vda' type='odd'/>", **ext)
        yield row("device without a name",
                  "<disk name='vda' type='block'/>", **ext)
        yield row("network", "<disk name='vda' type='network'>"
                  "<source protocol='nbd' name='x'><host name='h'/></source>"
                  "</disk>", **ext)
        yield row("names made up", "", **ext)
        yield "names made up, of what is not there", self.doc(
            inside=domain("/none"), state="disk-snapshot"), ()
        yield "name made up, that is another's", self.doc(
            disks=f"<disk name='vda'><source file='{self.folder}/vdb.new'/>"
                  "</disk>", state="disk-snapshot"), ()

    def flags(self):
        for flag in ("--no-metadata", "--live", "--quiesce"):
            yield f"flag {flag}", self.doc(), (flag,)
        yield "flag disk-only, offline", self.doc(), ("--disk-only",)
        yield "flag disk-only", self.doc(state="disk-snapshot",
                                         disks=self.ext), ("--disk-only",)
        yield "flags of all sorts", self.doc(
            state="disk-snapshot", disks=self.ext), (
                "--disk-only", "--reuse-external", "--atomic", "--current")

    def all(self):
        for group in (self.heads, self.memories, self.parents, self.domains,
                      self.replaced, self.stable, self.disks, self.flags):
            yield from group()
