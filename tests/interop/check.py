#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""imgchain check against qemu-img check: the same counts and exit codes.

Images of many kinds are made with qemu-img and qemu-io, checked as they are
and again with seeded damage. Where imgchain refuses an image that QEMU still
checks, the refusal must be one of STRICTER, each with its reason.

CHECK_SEED and CHECK_ROUNDS choose the damage and how much of it.
"""
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
SEED = int(os.environ.get("CHECK_SEED", "1"))
ROUNDS = int(os.environ.get("CHECK_ROUNDS", "8"))
MIB = 1 << 20

KEYS = ["corruptions", "leaks", "check-errors", "total-clusters",
        "allocated-clusters", "fragmented-clusters", "compressed-clusters",
        "image-end-offset"]

# What imgchain refuses to open though QEMU checks it, and why.
STRICTER = [
    (r"snapshot L1 (table offset|size)",
     "a snapshot's L1 table must lie inside the file when it is opened"),
    (r"snapshot table|snapshot extra data|snapshot virtual disk size",
     "entries of the snapshot table must be whole and sane"),
    (r"(l1_table|refcount_table|snapshots)_offset: found .*expected .*inside",
     "the tables that the header names must lie inside the file"),
    (r"bitmaps? (extension|directory|table|entry|name|granularity|type|flags|"
     r"extra)",
     "bitmaps must be whole and inside the file"),
    (r"table of \d+ entries passes the end of the file",
     "a table must lie inside the file"),
]

OPTIONS = [
    "compat=0.10",
    "compat=0.10,cluster_size=512",
    "compat=0.10,cluster_size=4k,preallocation=metadata",
    "",
    "cluster_size=512",
    "cluster_size=1k,refcount_bits=1",
    "cluster_size=4k,refcount_bits=2",
    "cluster_size=8k,refcount_bits=4",
    "cluster_size=2k,refcount_bits=8",
    "cluster_size=16k,refcount_bits=32",
    "cluster_size=4k,refcount_bits=64",
    "cluster_size=2M",
    "cluster_size=256k,lazy_refcounts=on",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "extended_l2=on,cluster_size=256k,compression_type=zstd",
    "compression_type=zstd",
    "preallocation=metadata",
    "cluster_size=4k,preallocation=falloc",
    "data_file={data}",
    "data_file={data},data_file_raw=on,cluster_size=4k",
    "data_file={data},extended_l2=on",
]


def run(*args, ok=True):
    done = subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, check=False)
    if ok and done.returncode != 0:
        sys.exit("%s: %s" % (" ".join(args), done.stderr.decode()))
    return done


def qemu_io(path, commands):
    args = ["qemu-io", "-f", "qcow2"]
    for command in commands:
        args += ["-c", command]
    run(*args, path)


class Header:
    """The few header fields that damage needs."""

    def __init__(self, data):
        (self.version, _, _, self.cluster_bits, self.size, _, self.l1_size,
         self.l1, self.reftable, self.reftable_clusters, self.snapshots_nr,
         self.snapshots) = struct.unpack_from(">IQIIQIIQQIIQ", data, 4)
        self.cluster = 1 << self.cluster_bits
        self.incompatible = 0
        self.order = 4
        if self.version >= 3:
            self.incompatible, = struct.unpack_from(">Q", data, 72)
            self.order, = struct.unpack_from(">I", data, 96)
        self.entry_len = 16 if self.incompatible & 16 else 8


def u64(data, off):
    return struct.unpack_from(">Q", data, off)[0]


def put64(data, off, value):
    struct.pack_into(">Q", data, off, value & (2 ** 64 - 1))


def words(data, off, count):
    """Offsets of words that are there and not 0."""
    return [o for o in range(off, min(off + 8 * count, len(data) - 7), 8)
            if u64(data, o)]


class Image:
    """An image in memory, to be damaged."""

    OFFSET = 0x00fffffffffffe00

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        self.header = Header(self.data)

    def l1_entries(self):
        return words(self.data, self.header.l1, self.header.l1_size)

    def snapshot_l1_entries(self):
        h, found, off = self.header, [], self.header.snapshots
        for _ in range(h.snapshots_nr):
            l1, size, id_len, name_len = struct.unpack_from(
                ">QIHH", self.data, off)
            extra, = struct.unpack_from(">I", self.data, off + 36)
            found += words(self.data, l1, size)
            off += (40 + extra + id_len + name_len + 7) & ~7
        return found

    def l2_entries(self, l1_entries):
        h, found = self.header, []
        for off in l1_entries:
            table = u64(self.data, off) & self.OFFSET
            count = h.cluster // h.entry_len
            found += [o for o in range(table, table + count * h.entry_len,
                                       h.entry_len)
                      if o + h.entry_len <= len(self.data) and
                      u64(self.data, o)]
        return found

    def reftable_entries(self):
        h = self.header
        return words(self.data, h.reftable,
                     h.reftable_clusters * h.cluster // 8)

    def save(self, path):
        with open(path, "wb") as file:
            file.write(self.data)


def flip(rng, image, off, length=8):
    bit = rng.randrange(length * 8)
    if off + bit // 8 < len(image.data):
        image.data[off + bit // 8] ^= 1 << (bit % 8)


# Each kind of damage: False when the image has nothing to damage so.

def damage_l1(rng, image):
    entries = image.l1_entries()
    if entries:
        flip(rng, image, rng.choice(entries))
    return bool(entries)


def damage_l1_copy(rng, image):
    entries = image.l1_entries()
    if entries and image.header.l1_size > 1:
        to = image.header.l1 + 8 * rng.randrange(image.header.l1_size)
        put64(image.data, to, u64(image.data, rng.choice(entries)))
        return True
    return False


def damage_l1_flags_only(rng, image):
    put64(image.data, image.header.l1 + 8 * rng.randrange(
        image.header.l1_size), rng.choice([1 << 63, 1, 1 << 60]))
    return True


def damage_l2(rng, image):
    entries = image.l2_entries(image.l1_entries())
    for _ in range(rng.choice([1, 1, 5])):
        if entries:
            flip(rng, image, rng.choice(entries), image.header.entry_len)
    return bool(entries)


def damage_l2_copy(rng, image):
    entries = image.l2_entries(image.l1_entries())
    times = rng.choice([1, 3, 40])
    if not entries:
        return False
    source = rng.choice(entries)
    length = image.header.entry_len
    for _ in range(times):
        to = rng.choice(entries)
        to += length * rng.randrange(4) if to + 5 * length < len(
            image.data) else 0
        image.data[to:to + length] = image.data[source:source + length]
    return True


def damage_l2_outside(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if entries:
        off = rng.choice(entries)
        value = u64(image.data, off) & ~image.OFFSET
        where = rng.choice([len(image.data), len(image.data) - 512,
                            len(image.data) + 5 * image.header.cluster,
                            1 << 50, 512, image.header.cluster])
        put64(image.data, off, value | (where & image.OFFSET))
    return bool(entries)


def damage_l2_random(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if entries:
        put64(image.data, rng.choice(entries), rng.getrandbits(64))
    return bool(entries)


def damage_snapshot_l1(rng, image):
    entries = image.snapshot_l1_entries()
    if entries:
        flip(rng, image, rng.choice(entries))
    return bool(entries)


def damage_snapshot_l2(rng, image):
    entries = image.l2_entries(image.snapshot_l1_entries())
    if entries:
        flip(rng, image, rng.choice(entries), image.header.entry_len)
    return bool(entries)


def damage_snapshot_table(rng, image):
    h = image.header
    if h.snapshots_nr == 0:
        return False
    flip(rng, image, h.snapshots, 64)
    return True


def damage_reftable(rng, image):
    entries = image.reftable_entries()
    if entries:
        flip(rng, image, rng.choice(entries))
    return bool(entries)


def damage_reftable_copy(rng, image):
    entries = image.reftable_entries()
    h = image.header
    count = h.reftable_clusters * h.cluster // 8
    if entries:
        put64(image.data, h.reftable + 8 * rng.randrange(min(count, 4)),
              u64(image.data, rng.choice(entries)))
    return bool(entries)


def damage_reftable_drop(rng, image):
    entries = image.reftable_entries()
    if entries:
        put64(image.data, rng.choice(entries), 0)
    return bool(entries)


def refblock_bytes(rng, image):
    entries = image.reftable_entries()
    block = u64(image.data, rng.choice(entries)) & image.OFFSET
    length = min(image.header.cluster, len(image.data) - block)
    used = len(image.data) // image.header.cluster
    used = used * (1 << image.header.order) // 8 + 8
    return block, max(1, min(length, used))


def damage_refcounts(rng, image):
    block, length = refblock_bytes(rng, image)
    for _ in range(rng.choice([1, 4, 30])):
        image.data[block + rng.randrange(length)] = rng.choice(
            [0, 1, 2, 0xff, rng.randrange(256)])
    return True


def damage_refcounts_zero(rng, image):
    block, length = refblock_bytes(rng, image)
    some = rng.randrange(1, length + 1)
    image.data[block:block + some] = bytes(some)
    return True


def damage_truncate(rng, image):
    del image.data[-rng.choice([1, 511, 512, image.header.cluster,
                                2 * image.header.cluster + 7,
                                len(image.data) // 3]):]
    return len(image.data) > 4 * image.header.cluster


def damage_extend(rng, image):
    image.data += bytes(rng.choice([1, 512, image.header.cluster,
                                    9 * image.header.cluster + 1]))
    return True


def damage_autoclear(rng, image):
    if image.header.version < 3 or not image.data[95]:
        return False
    image.data[95] = 0
    return True


def damage_anywhere(rng, image):
    # Past the header: what is metadata there is a matter of luck.
    first = image.header.cluster
    for _ in range(rng.choice([1, 20])):
        flip(rng, image, rng.randrange(first, len(image.data)), 1)
    return True


DAMAGE = [value for name, value in sorted(globals().items())
          if name.startswith("damage_")]


class Images:
    """Makes the undamaged images; each is a (name, path)."""

    def __init__(self, folder):
        self.folder = folder
        self.rng = random.Random(SEED)
        self.made = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def fill(self, path, size, zeros=True):
        commands = []
        for _ in range(self.rng.choice([3, 12, 40])):
            off = self.rng.randrange(size // 512) * 512
            length = min(self.rng.choice([512, 4096, 65536, 200 * 1024]),
                         size - off)
            verb = self.rng.choice(
                ["write -P 7", "write -P 9", "write -z", "write -z -u",
                 "discard"] if zeros else ["write -P 7"])
            commands.append("%s %d %d" % (verb, off, length))
        qemu_io(path, commands)

    def make(self, number, options):
        name = "%02d" % number
        path = self.path(name + ".qcow2")
        size = self.rng.choice([1, 3, 9]) * MIB + self.rng.choice([0, 512])
        options = options.format(data=self.path(name + ".data"))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o",
            options or "compat=1.1", path, str(size))
        small = "refcount_bits=1" in options and "," in options
        self.fill(path, size)
        self.made.append((name + " " + options, path))
        if "data_file" in options:
            return
        if not small:
            self.snapshots(name + " snapshots " + options, path, size)
        if "0.10" not in options:
            self.bitmaps(name + " bitmaps " + options, path)
        self.compressed(name + " compressed " + options, path, options)

    def copy(self, name, path):
        to = self.path("%d.qcow2" % len(self.made))
        shutil.copy(path, to)
        self.made.append((name, to))
        return to

    def snapshots(self, name, path, size):
        to = self.copy(name, path)
        for i in range(self.rng.choice([1, 2])):
            done = run("qemu-img", "snapshot", "-c", "s%d" % i, to, ok=False)
            if done.returncode == 0:
                self.fill(to, size)

    def bitmaps(self, name, path):
        to = self.copy(name, path)
        for i in range(3):
            run("qemu-img", "bitmap", "--add", "-g",
                self.rng.choice(["512", "64k", "1M"]), to, "b%d" % i)
        self.fill(to, MIB)
        run("qemu-img", "bitmap", "--disable", to, "b1")

    def compressed(self, name, path, options):
        to = self.path("%d.qcow2" % len(self.made))
        kept = ",".join(o for o in options.split(",")
                        if not o.startswith("preallocation"))
        source = self.path("source.raw")
        with open(source, "wb") as file:
            for _ in range(MIB // 1024):
                file.write(self.rng.randbytes(self.rng.choice([0, 60, 900]))
                           .ljust(1024, b"x"))
        run("qemu-img", "convert", "-c", "-O", "qcow2", "-o",
            kept or "compat=1.1", source, to)
        self.fill(to, MIB)
        self.made.append((name, to))


class Comparison:
    def __init__(self):
        self.failures = []
        self.cases = 0
        self.stricter = {}
        self.unusable = 0

    def check(self, what, path, is_whole=False):
        self.cases += 1
        ours = run(IMGCHAIN, "check", "-f", "qcow2", "--output", "json", path,
                   ok=False)
        theirs = run("qemu-img", "check", "-f", "qcow2", "--output", "json",
                     path, ok=False)
        if ours.returncode < 0 or ours.returncode > 63:
            self.fail(what, "imgchain died: %d %s" %
                      (ours.returncode, ours.stderr.decode()))
        elif theirs.returncode < 0:
            self.unusable += 1
        elif not theirs.stdout:
            if ours.returncode == 0:
                self.fail(what, "qemu-img refused it (%s), imgchain did not" %
                          theirs.stderr.decode().strip())
        elif not ours.stdout:
            self.refused(what, ours, is_whole)
        else:
            self.compare(what, ours, theirs)

    def fail(self, what, text):
        self.failures.append(what)
        print("FAIL %s: %s" % (what, text))

    def refused(self, what, ours, is_whole):
        message = ours.stderr.decode()
        for pattern, reason in STRICTER:
            if (not is_whole and ours.returncode == 1 and
                    re.search(pattern, message)):
                self.stricter[reason] = self.stricter.get(reason, 0) + 1
                return
        self.fail(what, "refused without a known reason: " + message.strip())

    def compare(self, what, ours, theirs):
        mine, other = json.loads(ours.stdout), json.loads(theirs.stdout)
        differs = ["%s: found %d, expected %d" %
                   (key, mine.get(key, 0), other.get(key, 0))
                   for key in KEYS if mine.get(key, 0) != other.get(key, 0)]
        if ours.returncode != theirs.returncode:
            differs.append("exit code: found %d, expected %d" %
                           (ours.returncode, theirs.returncode))
        if differs:
            self.fail(what, "; ".join(differs))


def main():
    for tool in ("qemu-img", "qemu-io"):
        if not shutil.which(tool):
            print("skipped: no " + tool)
            sys.exit(77)
    comparison = Comparison()
    keep = os.environ.get("CHECK_KEEP")
    with tempfile.TemporaryDirectory() as folder:
        images = Images(folder)
        for number, options in enumerate(OPTIONS):
            images.make(number, options)
        for name, path in images.made:
            comparison.check(name, path, is_whole=True)
        broken = os.path.join(folder, "broken.qcow2")
        for name, path in images.made:
            for round_ in range(ROUNDS):
                rng = random.Random("%d %s %d" % (SEED, name, round_))
                damage = rng.choice(DAMAGE)
                image = Image(path)
                if damage(rng, image):
                    image.save(broken)
                    before = len(comparison.failures)
                    comparison.check("%s, %s, round %d" %
                                     (name, damage.__name__, round_), broken)
                    if keep and len(comparison.failures) > before:
                        shutil.copy(broken, os.path.join(
                            keep, "%d.qcow2" % before))
    for reason, count in sorted(comparison.stricter.items()):
        print("stricter: %4d refused: %s" % (count, reason))
    print("%d images, %d compared, %d refused as they should be, "
          "%d that qemu-img did not survive, %d failures" %
          (len(images.made), comparison.cases,
           sum(comparison.stricter.values()), comparison.unusable,
           len(comparison.failures)))
    sys.exit(1 if comparison.failures else 0)


if __name__ == "__main__":
    main()
