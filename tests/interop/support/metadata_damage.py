# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ways in which metadata and images can disagree, for metadata.py.

The hierarchy is that of metadata.py's Bed.make; a damage is done to a copy of
its metadata (Place), or to its images.
"""

import os
import re
import shutil
import struct
import subprocess


class Place:
    """A copy of the metadata of BED, and the domain's XML beside it."""

    def __init__(self, bed, folder):
        self.bed, self.folder = bed, folder
        shutil.copytree(bed.folder, folder)
        self.domain = folder + ".domain"
        shutil.copy(bed.domain, self.domain)

    def path(self, name):
        """An image."""
        return self.bed.path(name)

    def edit(self, name, pattern, to):
        """Replace what PATTERN matches first, which is there."""
        path = self.domain if name is None else os.path.join(
            self.folder, f"{name}.xml")
        with open(path, encoding="utf-8") as file:
            text, nr = re.subn(pattern, lambda _: to, file.read(), count=1,
                               flags=re.S)
        if nr != 1:
            raise AssertionError(f"{path}: no {pattern}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def file(self, name, text):
        with open(os.path.join(self.folder, name), "w",
                  encoding="utf-8") as file:
            file.write(text)

    def rename(self, old, new):
        os.rename(os.path.join(self.folder, old),
                  os.path.join(self.folder, new))

    def img(self, *words):
        subprocess.run(["qemu-img", *words], check=True, cwd=self.bed.images,
                       stdout=subprocess.DEVNULL)

    def patch(self, name, off, data):
        with open(self.path(name), "r+b") as file:
            file.seek(off)
            file.write(data)

    def move_away(self, name):
        os.rename(self.path(name), self.path(name) + ".away")


class Damage:
    """NAME says what is done; check ID tells of it, about MOMENT."""

    def __init__(self, name, do, wanted, moment=None, *, result="fail",
                 text="", follows=(), has_images=False, is_mended=False,
                 loads=None):
        self.name, self.do, self.id, self.moment = name, do, wanted, moment
        self.result, self.text, self.follows = result, text, follows
        self.has_images = has_images
        self.is_mended = is_mended  # the remedy leaves nothing to find
        self.loads = loads  # what libvirt lists of all names



def doc(name, do, *rest, **more):
    return Damage(name, do, *rest, **more)


def image(name, do, *rest, **more):
    return Damage(name, do, *rest, has_images=True, **more)


def without(*gone):
    return lambda names: [name for name in names if name not in gone]


def all_of_them(names):
    return names


def edit(name, pattern, to):
    return lambda place: place.edit(name, pattern, to)


LOST = "metadata-current-kept"
DISK_VDA = r"<disk name='vda'[^>]*/>"


def second_copy(place):
    shutil.copy(os.path.join(place.folder, "s2.xml"),
                os.path.join(place.folder, "copy.xml"))


def insert_layer(place):
    place.img("create", "-q", "-f", "qcow2", "-b", "vda.base", "-F", "qcow2",
              "between")
    place.img("rebase", "-u", "-b", "between", "-F", "qcow2", "vda.s7")


def loop_of_images(place):
    place.img("rebase", "-u", "-b", "vda.s7", "-F", "qcow2", "vda.base")


def without_memory(place):
    for disk in ("vda", "vdb"):
        place.img("snapshot", "-d", "s2", f"{disk}.base")
        place.img("snapshot", "-c", "s2", f"{disk}.base")


def beside(place):
    for disk in ("vda", "vdb"):
        place.img("create", "-q", "-f", "qcow2", "-b", f"{disk}.t1", "-F",
                  "qcow2", f"{disk}.beside")
        place.edit(None, re.escape(place.path(f"{disk}.t2")),
                   place.path(f"{disk}.beside"))
    place.edit("t3", "<active>1", "<active>0")
    place.edit("t2", "<active>0", "<active>1")


def no_backing_format(place):
    """The extension of the backing format gets a type that nobody knows."""
    with open(place.path("vda.s8"), "rb") as file:
        at = file.read(1024).index(struct.pack(">I", 0xe2792aca))
    place.patch("vda.s8", at, struct.pack(">I", 0x12345678))


SNAPSHOTS = [
    # libvirt's loader.
    doc("a file that is no document", lambda p: p.file("notes", "hello\n"),
        "metadata-read", loads=all_of_them),
    doc("a document that is cut off", edit("t3", r"</domainsnapshot>.*", ""),
        "metadata-read", loads=without("t3")),
    doc("a document of another kind",
        lambda p: p.file("x.xml", "<domain type='kvm'><name>x</name></domain>"),
        "metadata-read", text="expected libvirt's <domainsnapshot>",
        loads=all_of_them),
    doc("a file of another name", lambda p: p.rename("s6.xml", "other.xml"),
        "metadata-filename", "s6", is_mended=True, loads=all_of_them),
    doc("no <active>", edit("s6", r"<active>.</active>", ""),
        "metadata-active", "s6", loads=without("s6")),
    doc("no <active> in a parent", edit("s3", r"<active>.</active>", ""),
        LOST, "t3", text="is passed over", follows=["metadata-active"],
        loads=without("s3")),
    doc("two that are current", edit("s6", r"<active>0", "<active>1"),
        "metadata-current", "s6", follows=["domain-disk"], loads=all_of_them),
    doc("one name twice", second_copy, "metadata-double", "s2",
        follows=["metadata-filename"], loads=all_of_them),
    doc("a parent that is not there",
        edit("s6", r"<parent>.*?</parent>",
             "<parent><name>gone</name></parent>"),
        "libvirt-parent", "s6", follows=[LOST], loads=all_of_them),
    doc("current below a parent that is not there",
        edit("s1", r"<name>s1</name>",
             "<name>s1</name><parent><name>gone</name></parent>"),
        LOST, "t3", follows=["libvirt-parent"], loads=all_of_them),
    doc("a parent that is itself",
        edit("s6", r"<parent>.*?</parent>",
             "<parent><name>s6</name></parent>"),
        "libvirt-parent", "s6", follows=[LOST], loads=all_of_them),
    doc("parents in a ring",
        edit("s3", r"<parent>.*?</parent>",
             "<parent><name>s4</name></parent>"),
        "libvirt-parent", "s3", follows=[LOST], loads=all_of_them),
    # What REDEFINE asks.
    doc("no <name>", edit("s6", r"<name>s6</name>", ""), "libvirt-redefine",
        text="has no <name>", loads=without("s6")),
    doc("a name with a slash", edit("s6", r"<name>s6</name>",
                                    "<name>a/b</name>"),
        "libvirt-name", "a/b", follows=["internal-snapshot"]),
    doc("no <creationTime>", edit("s6", r"<creationTime>.*?</creationTime>",
                                  ""),
        "libvirt-redefine", "s6", text="has no <creationTime>",
        loads=without("s6")),
    doc("no <state>", edit("s6", r"<state>.*?</state>", ""),
        "libvirt-redefine", "s6", text="has no <state>", loads=without("s6")),
    doc("a state that is none", edit("s6", r"<state>.*?</state>",
                                     "<state>asleep</state>"),
        "libvirt-redefine", "s6", text="that libvirt does not know",
        loads=without("s6")),
    doc("a state that none is taken in",
        edit("s6", r"<state>.*?</state>", "<state>pmsuspended</state>"),
        "libvirt-redefine", "s6", text="in which none is taken"),
    doc("memory of a domain that is off",
        edit("s6", r"<state>.*?</state>", "<state>shutoff</state>"),
        "libvirt-memory", "s6", loads=without("s6")),
    doc("memory in a file without a name",
        edit("s6", r"<memory[^>]*/>", "<memory snapshot='external'/>"),
        "libvirt-xml", "s6", follows=["internal-memory"],
        loads=without("s6")),
    doc("memory in a relative file",
        edit("t1", r"<memory[^>]*/>",
             "<memory snapshot='external' file='t1.mem'/>"),
        "libvirt-xml", "t1", follows=["memory-file", LOST],
        loads=without("t1")),
    doc("an overlay of no known format",
        edit("t2", r"<driver type='qcow2'/>", "<driver type='qcow9'/>"),
        "libvirt-xml", "t2", follows=["image-readable", "image-format", LOST],
        loads=without("t2")),
    doc("a disk that the domain has not",
        edit("s6", r"<disk name='vda'", "<disk name='vdz'"),
        "libvirt-disks", "s6", follows=["internal-snapshot"]),
    doc("a disk that is listed twice",
        edit("s6", r"<disk name='vdb'", "<disk name='vda'"),
        "libvirt-disks", "s6"),
    doc("another domain's uuid",
        edit("s6", r"<uuid>[^<]*</uuid>",
             "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>"),
        "libvirt-redefine", "s6", loads=all_of_them),
    doc("no <domain>", edit("s6", r"<domain type=.*</domain>", ""),
        "libvirt-disks", "s6", follows=["internal-snapshot"]),
    doc("the domain by another name",
        edit("s6", r"<name>web1</name>", "<name>old</name>"),
        "metadata-domain-name", "s6", result="warn"),
    doc("a deletion that did not end",
        edit("t2", r"<driver type='qcow2'/>",
             "<driver type='qcow2'/><snapshotDeleteInProgress/>"),
        "delete-unfinished", "t2", result="warn"),
    # The chains.
    image("an overlay is gone", lambda p: p.move_away("vda.s8"),
          "image-exists", follows=["overlay-backing", "snapshot-chain",
                                   "domain-disk"]),
    image("the base is gone", lambda p: p.move_away("vda.base"),
          "image-exists", follows=["snapshot-chain", "domain-disk",
                                   "overlay-backing"]),
    image("an overlay is no qcow2 image",
          lambda p: p.patch("vda.t2", 0, b"\0" * 512), "image-format",
          follows=["image-readable", "domain-disk"]),
    image("an overlay's header makes no sense",
          lambda p: p.patch("vda.t2", 20, b"\0\0\0\2"), "image-readable"),
    image("an overlay does not tell the format below",
          no_backing_format, "image-readable",
          follows=["overlay-backing", "snapshot-chain", "domain-disk"]),
    image("images in a ring", loop_of_images, "image-readable"),
    image("an overlay stands on another image",
          lambda p: p.img("rebase", "-u", "-b", "vda.base", "-F", "qcow2",
                          "vda.s8"),
          "overlay-backing", "s8", follows=["snapshot-chain", "domain-disk"]),
    image("an overlay stands on nothing",
          lambda p: p.img("rebase", "-u", "-b", "", "vda.s8"),
          "overlay-backing", "s8", follows=["snapshot-chain", "domain-disk"],
          is_mended=True),
    image("a layer between an overlay and its image", insert_layer,
          "overlay-backing", "s7", result="warn"),
    doc("a snapshot under the wrong parent",
        edit("s6", r"<parent>.*?</parent>",
             "<parent><name>t2</name></parent>"),
        "snapshot-chain", "s6"),
    doc("the domain went back to an older file",
        lambda p: p.edit(None, re.escape(p.path("vda.t2")),
                         p.path("vda.s7")),
        "domain-disk", "t3"),
    image("the domain goes on beside the overlay", beside, "domain-disk",
          "t2", result="warn"),
    doc("the domain has lost a disk",
        lambda p: p.edit(None, r"<disk type='file'(?:(?!<disk).)*vdb.*?</disk>",
                         ""),
        "domain-disk", "t3", result="warn"),
    # Inside of images.
    image("an internal snapshot is gone",
          lambda p: p.img("snapshot", "-d", "s6", "vda.base"),
          "internal-snapshot", "s6"),
    image("an internal snapshot has lost its memory", without_memory,
          "internal-memory", "s2"),
    image("an internal snapshot that nobody knows",
          lambda p: p.img("snapshot", "-c", "stray", "vda.t2"),
          "stranded-snapshot", result="warn"),
    doc("a record that was lost",
        lambda p: os.unlink(os.path.join(p.folder, "s6.xml")),
        "stranded-snapshot", result="warn"),
    # Memory files.
    image("a memory file is gone", lambda p: p.move_away("t1.mem"),
          "memory-file", "t1"),
    image("a memory file is something else",
          lambda p: p.patch("t1.mem", 0, b"QEVM"), "memory-file", "t1"),
    image("a memory file that was not completed",
          lambda p: p.patch("t1.mem", 0, b"LibvirtQemudPart"), "memory-file",
          "t1"),
    image("a memory file that is cut off",
          lambda p: os.truncate(p.path("t1.mem"), 4096), "memory-file", "t1"),
    image("a memory file of another snapshot's disks",
          lambda p: shutil.copy(p.path("s8.mem"), p.path("t1.mem")),
          "memory-file", "t1", result="warn"),
]


def in_use(place):
    """The bitmap c2 claims to be open somewhere."""
    with open(place.path("vda.base"), "rb") as file:
        at = file.read().index(b"c2\0\0\0\0\0\0") - 24
    place.patch("vda.base", at + 12, struct.pack(">I", 3))


def overlay_without(place):
    place.img("create", "-q", "-f", "qcow2", "-b", "vda.base", "-F", "qcow2",
              "vda.over")
    place.edit(None, re.escape(place.path("vda.base")), place.path("vda.over"))


def bitmaps_with_gap(place):
    overlay_without(place)
    place.img("create", "-q", "-f", "qcow2", "-b", "vda.over", "-F", "qcow2",
              "vda.top")
    for name in ("c1", "c2", "c3"):
        place.img("bitmap", "--add", "vda.top", name)
    place.edit(None, re.escape(place.path("vda.over")), place.path("vda.top"))


CHECKPOINTS = [
    doc("a checkpoint's file of another name",
        lambda p: p.rename("c1.xml", "x"), "metadata-filename", "c1"),
    doc("a checkpoint's parent is not there",
        edit("c2", r"<parent>.*?</parent>",
             "<parent><name>c0</name></parent>"), "libvirt-parent", "c2"),
    doc("a checkpoint of a disk that the domain has not",
        lambda p: p.edit(None, r"<target dev='vda'", "<target dev='vdb'"),
        "checkpoint-disk", "c1"),
    image("a bitmap is gone",
          lambda p: p.img("bitmap", "--remove", "vda.base", "c2"),
          "bitmap-exists", "c2"),
    image("a bitmap is disabled",
          lambda p: p.img("bitmap", "--disable", "vda.base", "c2"),
          "bitmap-recording", "c2"),
    image("a bitmap was not stored", in_use, "bitmap-consistent", "c2"),
    image("a bitmap that nobody knows",
          lambda p: p.img("bitmap", "--add", "vda.base", "stray"),
          "stranded-bitmap", result="warn"),
    image("a bitmap below the active layer only", overlay_without,
          "bitmap-exists", "c1", result="warn"),
    image("a bitmap above and below, and not between", bitmaps_with_gap,
          "bitmap-gap", "c1"),
]
