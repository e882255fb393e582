#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the fresh writer makes is what qemu-img takes it for.

Images of all create options, with random data, zeros, compressed clusters and
holes: qemu-img check finds nothing, info tells the options, the contents are
those that were written, the file is no longer than measured, and the same
calls give the same bytes. Options that do not go together are refused where
qemu-img refuses them.

IMGCHAIN_CASES=N   how many images instead of the default
IMGCHAIN_SEED=N    only this one, and its folder is kept
"""

import collections
import concurrent.futures
import json
import os
import random
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import peers  # noqa: E402

SKIP = 77
BUILD = os.environ.get("IMGCHAIN_BUILD", "build")
FRESHGEN = os.path.join(BUILD, "tests", "freshgen")

CLUSTERS = [512, 1024, 4096, 16384, 65536, 262144, 2097152]
REFCOUNTS = [1, 2, 4, 8, 16, 32, 64]
PREALLOCS = ["off", "metadata", "falloc", "full"]

# What a default run must have met.
WANTED = ({("cluster_size", c) for c in CLUSTERS} |
          {("refcount_bits", r) for r in REFCOUNTS} |
          {("preallocation", p) for p in PREALLOCS} |
          {("compat", c) for c in ("0.10", "1.1")} |
          {("compression_type", c) for c in ("zlib", "zstd")} |
          {("effort", e) for e in (0, 1, 2)} |
          {(name, value) for value in (False, True)
           for name in ("extended_l2", "lazy_refcounts", "backing_file",
                        "data_file", "data_file_raw", "bitmaps", "old",
                        "compressed", "shared", "empty", "rule")})


class Mismatch(Exception):
    """An image is not what it should be."""


def stored_bits(image, size):
    """Name and bits of each bitmap in the bytes of an image."""
    cluster = 1 << struct.unpack_from(">I", image, 20)[0]
    at = struct.unpack_from(">I", image, 100)[0]
    kind, length = struct.unpack_from(">II", image, at)
    while kind != 0x23852875:
        at += 8 + (length + 7) // 8 * 8
        kind, length = struct.unpack_from(">II", image, at)
    number, _, _, at = struct.unpack_from(">IIQQ", image, at + 8)
    out = {}
    for _ in range(number):
        table, entries, _, _, order, name_len = struct.unpack_from(
            ">QIIBBH", image, at)
        name = image[at + 24:at + 24 + name_len].decode()
        at += (24 + name_len + 7) // 8 * 8
        bits = b""
        for entry in struct.unpack_from(f">{entries}Q", image, table):
            bits += image[entry:entry + cluster] if entry else bytes(cluster)
        needed = -(-size >> order)
        out[name] = bits[:-(-needed // 8)]
    return out


class Case:
    """One image: its options, and what is written."""

    def __init__(self, seed, folder):
        self.rng = random.Random(f"fresh {seed}")
        self.folder = folder
        self.counts = collections.Counter()
        self.script = []
        self.bitmaps = []
        self.choose()
        self.write_files()

    def path(self, name):
        return os.path.join(self.folder, name)

    def ok(self, *command, **options):
        """Stdout of a command that must succeed. It runs in the folder: qemu
        looks there for a data file whose name is relative."""
        done = peers.run(command, cwd=self.folder, **options)
        if done.returncode != 0:
            raise Mismatch(f"{' '.join(map(str, command))}: exit "
                           f"{done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def flag(self, chance=0.3):
        return self.rng.random() < chance

    def choose(self):
        rng = self.rng
        self.version = 2 if self.flag(0.2) else 3
        new = self.version == 3
        self.extended = new and self.flag()
        self.cluster = rng.choice([c for c in CLUSTERS
                                   if c >= 16384 or not self.extended])
        self.refcount = rng.choice(REFCOUNTS) if new else 16
        self.zstd = new and self.flag(0.4)
        self.lazy = new and self.flag()
        self.data_file = new and self.flag(0.2)
        self.raw = self.data_file and self.flag(0.5)
        self.backing = not self.raw and self.flag(0.4)
        self.prealloc = "off"
        if self.flag(0.4) and (self.extended or not self.backing):
            self.prealloc = rng.choice(PREALLOCS[1:])
        self.effort = rng.randrange(3)
        self.old = self.flag()
        limit = min(self.cluster * 600, 6 << 20)
        if self.cluster >= 262144:
            limit = 12 << 20
        self.size = rng.randrange(1, limit // 512 + 1) * 512
        if self.flag(0.03):
            self.size = 0
        self.granule = self.cluster // 32 if self.extended else self.cluster
        self.with_bitmaps = new and self.size > 0 and self.flag(0.2)
        for name, value in (
                ("compat", "1.1" if new else "0.10"),
                ("cluster_size", self.cluster),
                ("refcount_bits", self.refcount),
                ("preallocation", self.prealloc),
                ("compression_type", "zstd" if self.zstd else "zlib"),
                ("effort", self.effort), ("extended_l2", self.extended),
                ("lazy_refcounts", self.lazy), ("old", self.old),
                ("backing_file", self.backing), ("data_file", self.data_file),
                ("data_file_raw", self.raw), ("empty", self.size == 0),
                ("bitmaps", self.with_bitmaps)):
            self.counts[name, value] += 1

    def some_bytes(self, length):
        """Of every kind: noise, text, repeated."""
        out = bytearray()
        while len(out) < length:
            piece = self.rng.choice([512, 3000, 20000, 100000])
            kind = self.rng.randrange(4)
            if kind == 0:
                out += self.rng.randbytes(piece)
            elif kind == 1:
                out += bytes([self.rng.randrange(1, 256)]) * piece
            else:
                word = self.rng.randbytes(self.rng.randrange(2, 200))
                out += word * (piece // len(word) + 1)
        return bytes(out[:length])

    def write_files(self):
        self.source = self.some_bytes(self.size)
        self.below = bytes(self.size)
        if self.backing:
            self.below = self.some_bytes(self.size)
            self.write("base", self.below)
        self.write("source", self.source)
        self.plan_contents()
        if self.with_bitmaps:
            self.plan_bitmaps()

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)

    def plan_contents(self):
        """Ranges of random kinds, and what the guest shall see."""
        expected = bytearray(self.below)
        off = 0
        while off < self.size:
            units = self.rng.choice([1, 1, 2, 3, 8, 40, 200])
            length = min(units * self.granule, self.size - off)
            kind = self.rng.choice("dzc-d" if self.cluster > 512 else "dzcc-")
            if kind == "c" and (self.data_file or off % self.cluster):
                kind = "d"
            if kind == "z" and self.backing and self.version == 2:
                kind = "-"
            end = off + length
            if kind == "d":
                self.script.append(f"d {off} {length}")
                expected[off:end] = self.source[off:end]
            elif kind == "z":
                self.script.append(f"z {off} {length}")
                expected[off:end] = bytes(end - off)
            elif kind == "c":
                end = off
                for _ in range(units):
                    if end < self.size:
                        self.script.append(f"c {end}")
                        end = min(end + self.cluster, self.size)
                expected[off:end] = self.source[off:end]
            off = end
        self.expected = bytes(expected)

    def plan_bitmaps(self):
        for idx in range(self.rng.randrange(1, 4)):
            granularity = 1 << self.rng.choice([9, 12, 16, 20, 31])
            bits = -(-self.size // granularity)
            content = bytearray(-(-bits // 8))
            for _ in range(self.rng.randrange(4)):
                bit = self.rng.randrange(bits)
                content[bit // 8] |= 1 << bit % 8
            flags = self.rng.choice([0, 2])
            self.write(f"bits{idx}", content)
            self.bitmaps.append((f"bitmap{idx}", granularity, flags, content))
            self.script.insert(
                self.rng.randrange(len(self.script) + 1),
                f"b bitmap{idx} {granularity} {flags} bits{idx}")

    def make(self, name):
        """Write the image; what freshgen prints."""
        options = {"size": self.size, "cluster_size": self.cluster,
                   "compat": "1.1" if self.version == 3 else "v2",
                   "refcount_bits": self.refcount,
                   "preallocation": self.prealloc,
                   "lazy_refcounts": "on" if self.lazy else "off",
                   "extended_l2": "on" if self.extended else "off",
                   "compression_type": "zstd" if self.zstd else "zlib"}
        args = ["source", name]
        names = [name]
        if self.backing:
            options.update(backing_file="base", backing_fmt="raw")
        if self.data_file:
            # The name is recorded; each image gets a file of its own.
            options["data_file"] = name + ".data"
            options["data_file_raw"] = "on" if self.raw else "off"
            args.append(name + ".data")
            names.append(name + ".data")
        self.options = options
        for old in names:
            self.write(old, b"")
        if self.old:
            self.ok("qemu-img", "create", "-q", "-f", "qcow2", name, "3M")
        command = [FRESHGEN, "-e", str(self.effort)]
        for option, value in options.items():
            command += ["-o", f"{option}={value}"]
        return [int(number) for number in self.ok(
            *command, *args,
            input="".join(f"{line}\n" for line in self.script)).split()]

    def check_clean(self):
        done = peers.run(["qemu-img", "check", "--output=json", "-f", "qcow2",
                          "image"], cwd=self.folder)
        report = json.loads(done.stdout)
        bad = {key: report[key] for key in
               ("check-errors", "corruptions", "leaks") if report.get(key)}
        if done.returncode != 0 or bad:
            raise Mismatch(f"qemu-img check: {done.returncode} {bad} "
                           f"{done.stderr}")
        return report

    def check_info(self):
        info = json.loads(self.ok("qemu-img", "info", "--output=json", "-f",
                             "qcow2", "image"))
        data = info["format-specific"]["data"]
        wanted = {"compat": "1.1" if self.version == 3 else "0.10",
                  "refcount-bits": self.refcount}
        if self.version == 3:
            wanted.update({"lazy-refcounts": self.lazy, "corrupt": False,
                           "extended-l2": self.extended})
        if self.data_file:
            wanted["data-file-raw"] = self.raw
        wanted["compression-type"] = "zstd" if self.zstd else "zlib"
        found = {key: data.get(key) for key in wanted}
        if found != wanted or info["virtual-size"] != self.size or \
                info["cluster-size"] != self.cluster or info["dirty-flag"]:
            raise Mismatch(f"info: found {info}, expected {wanted}")
        if info.get("backing-filename") != ("base" if self.backing else None):
            raise Mismatch(f"info: backing file {info}")
        names = {b["name"]: (b["granularity"], b["flags"])
                 for b in data.get("bitmaps", [])}
        wanted = {b[0]: (b[1], ["auto"] if b[2] else [])
                  for b in self.bitmaps}
        if names != wanted:
            raise Mismatch(f"bitmaps: found {names}, expected {wanted}")

    def check_header(self):
        """The first cluster is qemu-img's, but for where the tables are."""
        options = dict(self.options, preallocation="off")
        if self.data_file:
            options["data_file"] = "image.data"
            os.rename(self.path("image.data"), self.path("kept"))
        self.ok("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                ",".join(f"{name}={value}" for name, value in
                         options.items()), "theirs")
        if self.data_file:
            os.rename(self.path("kept"), self.path("image.data"))
        with open(self.path("image"), "rb") as one, \
                open(self.path("theirs"), "rb") as two:
            ours = bytearray(one.read(self.cluster))
            theirs = two.read(self.cluster)
        ours[40:60] = theirs[40:60]
        if ours != theirs:
            at = next(i for i in range(self.cluster) if ours[i] != theirs[i])
            raise Mismatch(f"header: found {ours[at]} at {at}, expected "
                           f"{theirs[at]}")

    def check_contents(self):
        self.ok("qemu-img", "convert", "-f", "qcow2", "-O", "raw",
           "image", "seen")
        with open(self.path("seen"), "rb") as file:
            seen = file.read()
        if seen != self.expected:
            at = next((i for i, (a, b) in enumerate(zip(seen, self.expected))
                       if a != b), min(len(seen), len(self.expected)))
            raise Mismatch(f"contents differ at {at}, lengths {len(seen)} "
                           f"and {len(self.expected)}")
        if self.raw:
            with open(self.path("image.data"), "rb") as file:
                if file.read() != self.expected:
                    raise Mismatch("the raw data file differs")
        elif self.data_file and \
                os.path.getsize(self.path("image.data")) != self.size:
            raise Mismatch("the data file is not as long as the disk")

    def check_allocation(self):
        """Preallocated: every guest cluster has a place."""
        entries = json.loads(self.ok("qemu-img", "map", "--output=json", "-f",
                                "qcow2", "image"))
        if self.prealloc != "off" or self.raw:
            for entry in entries:
                if "offset" not in entry and entry["data"] and \
                        not self.extended and not entry.get("compressed"):
                    # qemu-img 7.2 does not tell compressed clusters.
                    if not any(line.startswith("c") for line in self.script):
                        raise Mismatch(f"no place: {entry}")
        if self.prealloc in ("falloc", "full"):
            name = "image.data" if self.data_file else "image"
            stat = os.stat(self.path(name))
            if stat.st_blocks * 512 < stat.st_size:
                raise Mismatch(f"{stat.st_blocks} blocks for {stat.st_size}")

    def check_bitmaps(self):
        """The bits are there; qemu-img loads them, and stores the same."""
        wanted = {b[0]: bytes(b[3]) for b in self.bitmaps}
        for turn in ("written", "stored by qemu-img"):
            with open(self.path("image"), "rb") as file:
                found = stored_bits(file.read(), self.size)
            if found != wanted:
                raise Mismatch(f"the bits as {turn} differ")
            for name, _, flags, _ in self.bitmaps:
                self.ok("qemu-img", "bitmap",
                        "--disable" if flags else "--enable",
                        "-f", "qcow2", "image", name)
        self.check_clean()
        self.check_contents()

    def check(self):
        compressed, _, measured = self.make("image")
        report = self.check_clean()
        self.check_info()
        self.check_contents()
        self.check_allocation()
        if report.get("compressed-clusters", 0) != compressed:
            raise Mismatch(f"{report} with {compressed} compressed clusters")
        length = os.path.getsize(self.path("image"))
        room = len(self.bitmaps) * 3 * self.cluster + 4 * self.cluster \
            if self.bitmaps else 0
        if length > measured + room:
            raise Mismatch(f"{length} bytes long, measured {measured}")
        if length % self.cluster:
            raise Mismatch(f"{length} bytes long, no whole clusters")
        self.counts["compressed", compressed > 0] += 1
        self.counts["shared", compressed > 1 and self.refcount > 1] += 1
        self.make("again")
        with open(self.path("image"), "rb") as one, \
                open(self.path("again"), "rb") as two:
            a, b = one.read(), two.read()
        if self.data_file:
            b = b.replace(b"again.data", b"image.data")
        if a != b:
            raise Mismatch("the same calls gave another image")
        if self.bitmaps:
            self.check_bitmaps()
        else:
            self.check_header()


def one(seed):
    folder = tempfile.mkdtemp(prefix="imgchain-fresh-")
    case = None
    try:
        case = Case(seed, folder)
        case.check()
        return case.counts, None
    except (Mismatch, OSError, ValueError) as error:
        counts = case.counts if case else collections.Counter()
        return counts, f"{type(error).__name__}: {error}"
    finally:
        if "IMGCHAIN_SEED" in os.environ:
            with open(os.path.join(folder, "script"), "w",
                      encoding="ascii") as file:
                file.write("\n".join(case.script if case else []) + "\n")
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def one_rule(seed):
    """Options by chance, together or not: qemu-img takes the same ones."""
    rng = random.Random(f"rule {seed}")
    some = {"cluster_size": [256, 512, "8k", "16k", "64k", "2M", "4M", 3000],
            "compat": ["0.10", "1.1", "v2", "v3", "0.9"],
            "refcount_bits": [0, 1, 3, 8, 16, 64, 128],
            "preallocation": PREALLOCS + ["some"],
            "lazy_refcounts": ["on", "off", "yes", "maybe"],
            "extended_l2": ["on", "off"], "data_file_raw": ["on", "off"],
            "compression_type": ["zlib", "zstd", "lzma"],
            "data_file": ["data"], "backing_file": ["base", ""],
            "backing_fmt": ["raw"]}
    # Mostly what is taken by itself, so that it is the rules that decide.
    chosen = {"size": rng.choice([0, 100, "1M", "1G"])}
    for name in rng.sample(sorted(some), rng.randrange(1, 5)):
        chosen[name] = rng.choice(some[name][:rng.choice([4, 8])])
    if "backing_file" in chosen and "backing_fmt" not in chosen:
        chosen["backing_fmt"] = "raw"
    if rng.random() < 0.02:
        chosen.update(size="128G", cluster_size=rng.choice([512, 1024]))
    if rng.random() < 0.02:
        chosen.update(size=(128 << 30) + 512, cluster_size=512)
    with tempfile.TemporaryDirectory(prefix="imgchain-rule-") as folder:
        for name in ("ours", "source", "data", "base"):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(bytes(4096))
        options = [f"{name}={value}" for name, value in chosen.items()]
        theirs = peers.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o",
                            ",".join(options), "theirs"], cwd=folder)
        command = [FRESHGEN]
        for option in options:
            command += ["-o", option]
        command += ["source", "ours"]
        if "data_file" in chosen:
            command.append("data")
        ours = peers.run(command, input="", cwd=folder)
    counts = collections.Counter({("rule", theirs.returncode == 0): 1})
    if (ours.returncode == 0) != (theirs.returncode == 0):
        return counts, (f"{options}: {ours.returncode} {ours.stderr}, "
                        f"qemu-img {theirs.returncode} {theirs.stderr}")
    return counts, None


def main():
    if not shutil.which("qemu-img") or not os.path.exists(FRESHGEN):
        print("skipped: no qemu-img or no freshgen")
        return SKIP
    number = int(os.environ.get("IMGCHAIN_CASES", 300))
    if "IMGCHAIN_SANITIZED" in os.environ:
        number = (number + 5) // 6
    seeds = range(number)
    if "IMGCHAIN_SEED" in os.environ:
        seeds = [int(os.environ["IMGCHAIN_SEED"])]
    counts = collections.Counter()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for work in (one, one_rule):
            for seed, (met, text) in zip(seeds, pool.map(work, seeds)):
                counts += met
                if text:
                    failed += 1
                    print(f"FAILED: {work.__name__}, IMGCHAIN_SEED={seed} "
                          f"{sys.argv[0]}: {text}")
    for key in sorted(counts, key=str):
        print(f"  {key[0]} {key[1]}: {counts[key]}")
    print(f"{len(seeds)} images and sets of options, {failed} failed")
    missing = WANTED - set(counts)
    if len(seeds) >= 300 and missing:
        print(f"never met: {sorted(missing, key=str)}")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
