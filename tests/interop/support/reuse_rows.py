# SPDX-License-Identifier: LGPL-2.1-or-later
"""Destinations that libvirt may be told to reuse, right ones and wrong ones.

Each row makes one in a Room, says what libvirt 9.0 with QEMU 7.2 does with it
and what the guest sees afterwards, and what imgchain has to say beforehand.
reuse_ext.py tries them on a real libvirt, validate.py judges them alone.
"""

import json
import os

from room import MIB, SIZE, Room

OK = "ok"
SAME, OTHER, CUT, LONGER = "same", "DIFFERENT", "cut off", "same, zeros after"
NO_START, NO_OPEN, HANGS = "no start", "no open", "no end"
NOT_SEEN = "-"
YES, NO = "accepted", "refused"
RULES = {"snapshot": "snapshot", "offline": "snapshot", "copy": "copy",
         "shallow": "shallow"}
ROWS = []


class Row:
    """One destination. OPERATION is snapshot, offline (a snapshot of a stopped
    machine), copy or shallow. DID is "ok", "refused: TEXT", "job fails" or
    "pivot fails: TEXT"; AFTER is what is seen by the running guest, the same
    definition started again, a definition with just the new file, and qemu-img
    when all has ended."""

    def __init__(self, name, operation, title, *steps, verdict=NO, did=OK,
                 after=None, sync=False, writes=False, granularity=None,
                 rooted=False, restarts=False, validate_verdict=None):
        self.id, self.operation, self.title = name, operation, title
        self.rules, self.steps = RULES[operation], steps
        self.verdict, self.did = verdict, did
        self.after = after or (
            (SAME,) * 4 if did == OK else (SAME,) + (NOT_SEEN,) * 3)
        self.sync, self.writes, self.granularity = sync, writes, granularity
        self.rooted, self.restarts = rooted, restarts
        self.validate_verdict = validate_verdict

    def build(self, room):
        for step in self.steps:
            step(room)

    def validate_options(self, room):
        return (["--synchronous-writes"] if self.sync else []) + (
            ["--root", room.folder] if self.rooted else [])


def row(*words, **more):
    ROWS.append(Row(*words, **more))


# ---- Steps

def overlay(backing, *options, size=None, fmt="qcow2"):
    return lambda room: room.overlay("dest.qcow2", backing, *options,
                                     size=size, fmt=fmt)


def blank(size=SIZE, fmt="qcow2", *options):
    def make(room):
        room.format = fmt
        room.img("create", "-f", fmt, *options, "dest.qcow2", str(size))
    return make


def written(*commands):
    return lambda room: room.io("dest.qcow2", *commands, fmt=room.format)


def as_format(fmt):
    return lambda room: setattr(room, "format", fmt)


def based_on(backing, fmt="qcow2"):
    return lambda room: room.rebase(backing, fmt)


def other_image(room):
    room.img("create", "-f", "qcow2", "other.qcow2", str(SIZE))
    room.io("other.qcow2", "write -P 7 0 2M")


def linked(target, hard):
    def make(room):
        (os.link if hard else os.symlink)(room.path(target), room.dest)
    return make


def converted(image, fmt):
    def make(room):
        room.format = fmt
        room.img("convert", "-O", fmt, image, "dest.qcow2")
    return make


def prefixed(image):
    return lambda room: room.rebase("file:" + room.path(image))


def as_json(**options):
    def make(room):
        name = {"driver": "file", "filename": room.source}
        room.rebase("json:" + json.dumps(
            {**options, "file": name} if options else name))
    return make


def in_folder(room):
    os.mkdir(room.path("sub"))
    room.dest = room.path("sub/dest.qcow2")
    room.img("create", "-f", "qcow2", "-b", "../active.qcow2", "-F", "qcow2",
             "sub/dest.qcow2")


def deeper(room):
    """The base has a backing file of its own, without contents."""
    room.img("create", "-f", "qcow2", "root.qcow2", str(SIZE))
    room.rebase("root.qcow2", image="base.qcow2")


def single(room):
    """The disk has one layer, with the same contents."""
    room.img("convert", "-O", "qcow2", "active.qcow2", "flat.qcow2")
    os.rename(room.path("flat.qcow2"), room.source)


def private_backing(room):
    room.rebase(room.private_file(SIZE), "raw")


def missing(_):
    pass


def empty(room):
    open(room.dest, "wb").close()


def device(size=SIZE, fmt="raw", *options):
    def make(room):
        room.format = fmt
        room.device(size)
        if fmt != "raw":
            room.img("create", "-f", fmt, *options, room.dest, str(SIZE))
    return make


def device_filled(image):
    return lambda room: room.img("convert", "-n", "-O", "raw", image,
                                 room.dest)


# ---- Snapshots of a running machine. Its definition keeps the old layers by
# name, so that only a new definition and other programs read the header.

S = "snapshot"
LATER = (SAME, SAME, OTHER, OTHER)
row("s1", S, "overlay of the active layer", overlay("active.qcow2"),
    verdict=YES)
row("s1a", S, "the same, absolute name",
    lambda r: r.overlay("dest.qcow2", r.source), verdict=YES)
row("s1b", S, "the same, name with `../`", in_folder, verdict=YES)
row("s12", S, "the same, by way of a symbolic link",
    lambda r: os.symlink("active.qcow2", r.path("link.qcow2")),
    overlay("link.qcow2"), verdict=YES)
row("s2", S, "wrong backing file", other_image, overlay("other.qcow2"),
    after=LATER)
row("s3", S, "no backing file", blank(), after=LATER)
row("s15", S, "backing file skips the active layer", overlay("base.qcow2"),
    after=LATER)
row("s4", S, "backing format not recorded", overlay("active.qcow2"),
    Room.forget_format, after=(SAME, SAME, NO_START, SAME))
row("s28", S, "backing format recorded as raw", overlay("active.qcow2"),
    based_on("active.qcow2", "raw"), after=LATER)
row("s27", S, "backing file does not exist", overlay("active.qcow2"),
    based_on("gone.qcow2"), after=(SAME, SAME, NO_START, NO_OPEN))
row("s16", S, "backing file is itself", overlay("active.qcow2"),
    based_on("dest.qcow2"), after=(SAME, SAME, NO_START, HANGS))
row("s26", S, "backing name `file:PATH`", overlay("active.qcow2"),
    prefixed("active.qcow2"), after=(SAME, SAME, NO_START, SAME))
row("s26b", S, "backing name json: with a qcow2 driver",
    overlay("active.qcow2"), as_json(driver="qcow2"),
    after=(SAME, SAME, NO_START, SAME))
row("s26c", S, "backing name json: with the file driver alone",
    overlay("active.qcow2"), as_json(), after=(SAME, SAME, SAME, NO_OPEN))
row("s5", S, "8 MiB smaller", overlay("active.qcow2", size=8 * MIB),
    after=(CUT,) * 4)
row("s33", S, "512 bytes smaller", overlay("active.qcow2", size=SIZE - 512),
    after=(CUT,) * 4)
row("s6", S, "16 MiB larger", overlay("active.qcow2", size=32 * MIB),
    after=(LONGER,) * 4)
row("s8", S, "data clusters of its own", overlay("active.qcow2"),
    written("write -P 9 0 64k"), after=(OTHER,) * 4)
row("s32", S, "zero clusters of its own", overlay("active.qcow2"),
    written("write -z 0 64k"), after=(OTHER,) * 4)
row("s7", S, "raw file, said to be qcow2", blank(SIZE, "raw"),
    as_format("qcow2"), did="refused: Image is not in qcow2 format")
row("s10", S, "file of 0 bytes", empty,
    did="refused: Image is not in qcow2 format")
row("s9", S, "missing", missing,
    did="refused: missing existing file for disk vda")
row("s11", S, "folder", lambda r: os.mkdir(r.dest),
    did="refused: mismatch between configured type")
row("s14", S, "hard link of the active layer", linked("active.qcow2", True),
    did='refused: Failed to get "write" lock')
row("s14b", S, "in use by another process", overlay("active.qcow2"),
    lambda r: r.hold_dest(600000), did='refused: Failed to get "write" lock')
row("s17", S, "marked corrupt", overlay("active.qcow2"),
    lambda r: r.set_incompatible(2), did="refused: Image is corrupt")
row("s29", S, "unknown incompatible feature", overlay("active.qcow2"),
    lambda r: r.set_incompatible(1 << 33),
    did="refused: Unsupported qcow2 feature(s)")
row("s31", S, "external data file",
    lambda r: r.overlay("dest.qcow2", "active.qcow2", "-o",
                        f"data_file={r.path('data.raw')}"),
    did="refused: Permission denied")
row("luks", S, "encrypted, secret not given",
    lambda r: r.encrypted("-b", "active.qcow2", "-F", "qcow2"),
    did="refused: Parameter 'encrypt.key-secret' is required")
row("s17d", S, "marked dirty",
    overlay("active.qcow2", "-o", "lazy_refcounts=on"),
    lambda r: r.set_incompatible(1), verdict=YES)
row("s18", S, "version 2", overlay("active.qcow2", "-o", "compat=0.10"),
    verdict=YES)
row("s19", S, "4 KiB clusters",
    overlay("active.qcow2", "-o", "cluster_size=4k"), verdict=YES)
row("s19b", S, "2 MiB clusters",
    overlay("active.qcow2", "-o", "cluster_size=2M"), verdict=YES)
row("s20", S, "extended L2 entries",
    overlay("active.qcow2", "-o", "extended_l2=on"), verdict=YES)
row("s30", S, "has a bitmap", overlay("active.qcow2"),
    lambda r: r.img("bitmap", "--add", "dest.qcow2", "b0"), verdict=YES)

# ---- Snapshots of a stopped machine: nothing is opened, and the header is
# what the next start goes by.

O = "offline"
DIFFERS = (NOT_SEEN, OTHER, OTHER, OTHER)
row("o1", O, "overlay of the active layer", overlay("active.qcow2"),
    verdict=YES, after=(NOT_SEEN, SAME, SAME, SAME))
row("o2", O, "wrong backing file", other_image, overlay("other.qcow2"),
    after=DIFFERS)
row("o3", O, "no backing file", blank(), after=DIFFERS)
row("o4", O, "backing format not recorded", overlay("active.qcow2"),
    Room.forget_format, after=(NOT_SEEN, NO_START, NO_START, SAME))
row("o5", O, "8 MiB smaller", overlay("active.qcow2", size=8 * MIB),
    after=(NOT_SEEN, CUT, CUT, CUT))
row("o6", O, "data clusters of its own", overlay("active.qcow2"),
    written("write -P 9 0 64k"), after=DIFFERS)
row("o7", O, "raw file, said to be qcow2", blank(SIZE, "raw"),
    as_format("qcow2"), after=(NOT_SEEN, NO_START, NO_START, NO_OPEN))
row("o8", O, "file of 0 bytes", empty,
    after=(NOT_SEEN, NO_START, NO_START, NO_OPEN))
row("o9", O, "backing file does not exist", overlay("active.qcow2"),
    based_on("gone.qcow2"), after=(NOT_SEEN, NO_START, NO_START, NO_OPEN))

# ---- Copies. The definition of a shallow one goes by the header afterwards.

C, H = "copy", "shallow"
row("c1", C, "blank", blank(), verdict=YES)
row("c1s", H, "overlay of the base", overlay("base.qcow2"), verdict=YES)
row("c28", H, "flat copy of the base", converted("base.qcow2", "qcow2"),
    verdict=YES)
row("c2", C, "8 MiB smaller", blank(8 * MIB), did="job fails")
row("c2l", C, "16 MiB larger", blank(32 * MIB), did="job fails")
row("c26", C, "raw, 8 MiB smaller", blank(8 * MIB, "raw"), did="job fails")
row("c27", C, "raw, 16 MiB larger", blank(32 * MIB, "raw"), did="job fails")
row("c2s", H, "8 MiB smaller", overlay("base.qcow2", size=8 * MIB),
    did="job fails")
row("c2ls", H, "16 MiB larger", overlay("base.qcow2", size=32 * MIB),
    did="job fails")
row("c3", H, "backing file has other contents", other_image,
    overlay("other.qcow2"), after=(OTHER,) * 4)
row("c24", H, "backing format recorded as raw", overlay("base.qcow2"),
    based_on("base.qcow2", "raw"), after=(OTHER,) * 4)
row("c7", H, "no backing file, blank", blank(), after=(OTHER,) * 4)
row("c8", H, "overlay of the base, clusters of its own",
    overlay("base.qcow2"), written("write -P 9 2M 64k"), after=(OTHER,) * 4)
row("c5", H, "raw, blank", blank(SIZE, "raw"), after=(OTHER,) * 4)
row("c5s", H, "raw, full of other data", blank(SIZE, "raw"),
    written("write -P 0xee 0 16M"), after=(OTHER,) * 4)
row("c5p", H, "raw, filled with the base", converted("base.qcow2", "raw"),
    verdict=YES)
row("c4", C, "full of other data", blank(), written("write -P 0xee 0 16M"),
    verdict=YES)
row("c4r", C, "raw, full of other data", blank(SIZE, "raw"),
    written("write -P 0xee 0 16M"), verdict=YES)
row("c9", C, "records a backing file", other_image, overlay("other.qcow2"))
row("c9v2", C, "records a backing file, version 2", other_image,
    overlay("other.qcow2", "-o", "compat=0.10"), after=LATER)
row("c6", H, "backing file does not exist", overlay("base.qcow2"),
    based_on("gone.qcow2"), did="refused: Cannot access backing file")
row("c6f", C, "backing file does not exist", overlay("base.qcow2"),
    based_on("gone.qcow2"), after=(SAME, SAME, NO_START, NO_OPEN))
row("c16", H, "backing format not recorded, a base", overlay("base.qcow2"),
    Room.forget_format)
row("c16b", H, "backing format not recorded, an overlay", deeper,
    overlay("base.qcow2"), Room.forget_format,
    did="refused: was not specified in the image metadata")
row("c11", C, "raw file, said to be qcow2", blank(SIZE, "raw"),
    as_format("qcow2"), did="refused: Image is not in qcow2 format")
row("c12", C, "qcow2 file, said to be raw", blank(), as_format("raw"),
    did="job fails")
row("c13", C, "blank, format not given", blank(), as_format(None),
    validate_verdict=YES)
row("c13s", H, "overlay of the base, format not given", overlay("base.qcow2"),
    as_format(None), validate_verdict=YES)
row("c20", H, "overlay of the base, 2 MiB clusters",
    overlay("base.qcow2", "-o", "cluster_size=2M"), verdict=YES)
row("c20b", H, "overlay of the base, 512 byte clusters",
    overlay("base.qcow2", "-o", "cluster_size=512"), verdict=YES)
row("c21", C, "hard link of the active layer", linked("active.qcow2", True),
    did='refused: Failed to get "write" lock')
row("c23", H, "backing file is itself", overlay("base.qcow2"),
    based_on("dest.qcow2"),
    did="refused: self-referential or too deeply nested")
row("c25", H, "backing name `file:PATH`", overlay("base.qcow2"),
    prefixed("base.qcow2"), did="refused: invalid backing protocol 'file'")
row("c30", C, "marked corrupt", blank(), lambda r: r.set_incompatible(2),
    did="refused: Image is corrupt")
row("c31", C, "missing", missing,
    did="refused: missing destination file for disk vda")
row("c22", H, "backing file is the active layer", overlay("active.qcow2"),
    did='pivot fails: Failed to get shared "write" lock')
row("m4", H, "backing file is private to root, outside the folder",
    overlay("base.qcow2"), private_backing, rooted=True,
    did="ok; the private file belongs to QEMU's user",
    after=(OTHER,) * 4)
row("m5", H, "one layer alone, overlay of another image", single,
    other_image, overlay("other.qcow2"))
row("m5b", H, "one layer alone, blank", single, blank(), verdict=YES)
row("y1", H, "overlay of the base, guest writes 4 KiB meanwhile",
    overlay("base.qcow2"), writes=True, verdict=YES)
row("y2", H, "the same, synchronous writes", overlay("base.qcow2"),
    writes=True, sync=True, after=(OTHER,) * 4)
row("y4", H, "the same, 2 MiB clusters",
    overlay("base.qcow2", "-o", "cluster_size=2M"), writes=True, sync=True,
    after=(OTHER,) * 4)
row("y5", H, "the same as y2, granularity of 4 KiB", overlay("base.qcow2"),
    writes=True, sync=True, granularity=4096, after=(OTHER,) * 4)
row("y6", H, "y1 with a granularity of 4 KiB", overlay("base.qcow2"),
    writes=True, granularity=4096, verdict=YES)
row("y7", C, "blank, guest writes 4 KiB, synchronous writes", blank(),
    writes=True, sync=True, verdict=YES)

row("d1", C, "blank, libvirtd starts anew before the pivot", blank(),
    restarts=True, verdict=YES)
row("d2", H, "overlay of the base, libvirtd starts anew before the pivot",
    overlay("base.qcow2"), restarts=True, verdict=YES)

# ---- Block devices

row("b1", S, "overlay of the active layer in a device",
    device(SIZE + 4 * MIB, "qcow2"), lambda r: r.rebase(
        r.source, image=r.dest), verdict=YES)
row("b2", S, "the same, wrong backing file", other_image,
    device(SIZE + 4 * MIB, "qcow2"),
    lambda r: r.rebase(r.path("other.qcow2"), image=r.dest), after=LATER)
row("b3", C, "raw device of equal size", device(), verdict=YES)
row("b4", C, "raw device, rounded up by 4 MiB", device(SIZE + 4 * MIB),
    did="job fails")
row("b5", C, "qcow2 in a device", device(SIZE + 4 * MIB, "qcow2"),
    verdict=YES)
row("b6", H, "raw device, filled with the base", device(),
    device_filled("base.qcow2"), verdict=YES)
row("b7", H, "raw device, blank", device(), after=(OTHER,) * 4)
row("b8", H, "overlay of the base in a device",
    device(SIZE + 4 * MIB, "qcow2"), lambda r: r.rebase(
        r.path("base.qcow2"), image=r.dest), verdict=YES)
