#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copies of many generated chains, in every way there is, against what
qemu-img convert makes of the same source.

Each chain is copied several times: full or shallow, to qcow2 with all options
or raw, compressed, into a new file, over an old one or into one that exists.
Each time: the copy shows what qemu-img convert shows of the source, qemu-img
check finds neither error nor leak, its header says what was asked for (for a
shallow copy the same backing file), both engines give the same bytes, and no
file of the source has changed.

IMGCHAIN_CASES=N, IMGCHAIN_SEED=N: as support/cases.py says.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402
import changes  # noqa: E402
import generate  # noqa: E402
import twice  # noqa: E402
from cases import Mismatch  # noqa: E402

NUMBER = 100
FIRST_SEED = 80000
STEPS = 4

CLUSTERS = generate.CLUSTER_SIZES
counts = changes.Counts(
    ["full", "shallow", "shallow of one layer", "to qcow2", "to raw", "new",
     "over an old file", "into existing qcow2", "into existing raw",
     "into existing overlay", "target is zero", "from a snapshot",
     "compressed zlib", "compressed zstd", "effort fast", "effort best",
     "-S 0", "-S 4k", "-S 64k", "direct", "cached", "verified", "bitmaps",
     "broken bitmaps", "backing name relative", "backing name absolute", "data file",
     "data file raw", "extended_l2 on", "compat 0.10", "compat 1.1",
     "lazy_refcounts on", "preallocation metadata", "preallocation falloc",
     "preallocation full", "refused: encrypted"]
    + [f"cluster_size {size}" for size in CLUSTERS]
    + [f"refcount_bits {bits}" for bits in generate.REFCOUNT_BITS])


class Copy:
    """One copy of a chain's top, and all that is to be true of it."""

    def __init__(self, chain, size):
        self.chain = chain
        self.rng = chain.rng
        self.top = chain.top
        self.size = size
        self.args = []
        self.fmt = "qcow2"
        self.options = {}
        self.dest = None
        self.backing = None  # of the copy, as qemu-img info tells it
        self.is_existing = False

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    # -- what is asked for

    def choose(self):
        below = len(self.chain.plan.layers) - 1
        self.is_shallow = self.chance(40) and self.top.fmt == "qcow2"
        self.has_backing = self.is_shallow and below > 0
        self.is_existing = self.chance(25)
        self.snapshot = None
        if self.top.snapshots and self.top.snapshot_size == self.top.size \
                and not self.is_existing and self.chance(50):
            self.snapshot = self.rng.choice(self.top.snapshots)
        if not self.is_shallow and self.chance(35):
            self.fmt = "raw"
        folder = self.rng.choice(["", "out", "out/deep"])
        os.makedirs(os.path.join(self.chain.folder, folder), exist_ok=True)
        self.dest = os.path.join(folder, "copy." + self.fmt)
        self.name_args()
        if self.is_existing:
            self.choose_existing_options()
        else:
            self.choose_options()
        self.choose_manner()

    def name_args(self):
        if self.is_shallow:
            self.args.append("--shallow")
        self.args += ["-f", self.top.fmt, "-O", self.fmt]
        if self.snapshot:
            self.args += ["-l", self.snapshot]

    def choose_options(self):
        rng, options = self.rng, self.options
        if self.fmt == "raw":
            if self.size <= 4 << 20 and self.chance(40):
                options["preallocation"] = rng.choice(["falloc", "full"])
        else:
            self.choose_qcow2(options)
        if options:
            self.args += ["-o", ",".join(f"{key}={value}" for key, value in
                                         options.items())]

    def choose_qcow2(self, options):
        rng = self.rng
        if self.chance(80):
            options["cluster_size"] = rng.choice(CLUSTERS)
        cluster = options.get("cluster_size", 0 if self.has_backing
                              else 65536)
        if self.chance(20):
            options["compat"] = "0.10"
            if self.has_backing:
                options["extended_l2"] = "off"
            return
        options["compat"] = "1.1"
        if self.chance(60):
            options["refcount_bits"] = rng.choice(generate.REFCOUNT_BITS)
        if self.chance(40):
            options["lazy_refcounts"] = rng.choice(["on", "off"])
        if self.chance(40):
            options["extended_l2"] = "on" if cluster >= 16384 and \
                self.chance(60) else "off"
        elif 0 < cluster < 16384:
            options["extended_l2"] = "off"
        if self.chance(50):
            options["compression_type"] = rng.choice(["zlib", "zstd"])
        if not self.has_backing and self.chance(25):
            options["preallocation"] = rng.choice(
                ["metadata", "falloc", "full"] if self.size <= 4 << 20
                else ["metadata"])
        if self.chance(15) and "compression_type" not in options:
            options["data_file"] = os.path.join(
                self.chain.folder, os.path.dirname(self.dest), "copy.data")
            if not self.has_backing and self.chance(50):
                options["data_file_raw"] = "on"

    def choose_manner(self):
        rng = self.rng
        can_pack = self.fmt == "qcow2" and "data_file" not in self.options \
            and self.options.get("refcount_bits") not in (1, 2)
        self.is_packed = can_pack and self.chance(35)
        if self.is_packed:
            self.args.append("-c")
            if self.chance(50):
                effort = rng.choice(["fast", "best", "default"])
                self.args.append(f"--compress-effort={effort}")
                counts.add("effort", effort)
        if self.chance(50):
            sparse = rng.choice(["0", "4k", "64k", "1536"])
            self.args += ["-S", sparse]
            counts.add("-S", sparse)
        if self.chance(40):
            mode, what = rng.choice([("none", "direct"),
                                     ("writeback", "cached")])
            self.args += ["-t", mode, "-T", mode]
            counts.add(what)
        if self.chance(25):
            self.args.append("--verify")
            counts.add("verified")
        if self.chance(20) and self.has_backing:
            self.args.append("--relative")
        self.skipped = 0
        self.has_bitmaps = self.fmt == "qcow2" and not self.snapshot and \
            self.top.fmt == "qcow2" and not self.is_existing and \
            self.top.options["compat"] == "1.1" and \
            self.options.get("compat") != "0.10" and self.chance(60)
        if self.has_bitmaps:
            self.args.append("--bitmaps")
            self.skip_broken()

    def skip_broken(self):
        """Bitmaps that were not closed are only left out when told to."""
        found = twice.bitmaps(os.path.join(self.chain.folder, self.top.path))
        if not any(flags & twice.IN_USE for _, flags, _ in found.values()):
            return
        done = self.copy("--engine=sync")
        if done.returncode != 1 or b"inconsistent" not in done.stderr:
            raise Mismatch(f"copy of a broken bitmap: {done}")
        self.args.append("--skip-broken-bitmaps")
        self.skipped = sum(bool(flags & twice.IN_USE)
                           for _, flags, _ in found.values())
        counts.add("broken bitmaps")

    # -- a destination that is there

    def prepare(self):
        chain = self.chain
        if self.is_existing:
            self.make_existing()
        elif self.chance(30):
            with open(os.path.join(chain.folder, self.dest), "wb") as file:
                file.write(b"\1" * self.rng.randrange(1, 300000))
            counts.add("over an old file")
        else:
            counts.add("new")

    def make_existing(self):
        chain = self.chain
        flags = []
        if self.has_backing:
            told = changes.info(chain, self.top.path)
            name = told.get("full-backing-filename")
            if not name or name.startswith("json:") or ":" in name:
                name = os.path.join(chain.folder,
                                    chain.plan.layers[1].path)
            flags = ["-b", os.path.abspath(os.path.join(chain.folder, name)),
                     "-F", chain.plan.layers[1].fmt]
        chain.ok("qemu-img", "create", "-q", "-f", self.fmt, *flags,
                 *generate._Planner.option_args(self.options), self.dest,
                 str(self.size))
        if not self.has_backing and self.chance(60):
            off = self.rng.randrange(self.size // 512) * 512
            length = min(self.size - off, 200000)
            chain.ok("qemu-io", "-f", self.fmt, "-c",
                     f"write -P 77 {off} {length}", self.dest)
        elif not self.is_shallow:
            self.args.append("--target-is-zero")
            self.is_zero = True
        self.args.append("-n")

    is_zero = False

    def choose_existing_options(self):
        if self.fmt == "qcow2":
            self.choose_qcow2(self.options)
            self.options.pop("preallocation", None)

    # -- running

    def made(self):
        """Bytes of the copy's files."""
        paths = [os.path.join(self.chain.folder, self.dest)]
        if "data_file" in self.options:
            paths.append(self.options["data_file"])
        found = []
        for path in paths:
            with open(path, "rb") as file:
                found.append(file.read())
        return found

    def names(self):
        names = [self.dest]
        if "data_file" in self.options:
            names.append(os.path.relpath(self.options["data_file"],
                                         self.chain.folder))
        return names

    def remove(self):
        for name in self.names():
            path = os.path.join(self.chain.folder, name)
            if os.path.exists(path):
                os.remove(path)

    def copy(self, *extra):
        return self.chain.run(cases.IMGCHAIN, "copy", *extra, *self.args,
                              self.top.path, self.dest)

    def check_refused(self, done):
        """Where imgchain refuses, and why it is right to."""
        text = done.stderr.decode(errors="replace")
        if "no plain name can be recorded" in text and self.has_backing:
            counts.add("refused: json: backing")
        else:
            raise Mismatch(f"{' '.join(self.args)}: exit {done.returncode}: "
                           f"{text}")

    def run(self, guest):
        self.choose()
        self.prepare()
        was = changes.files(self.chain, *self.names())
        dry = self.copy("--dry-run", "--engine=sync")
        changes.expect_files("--dry-run",
                             changes.files(self.chain, *self.names()), was)
        old = None
        if self.is_existing:
            old = self.made()
        done = self.copy("--engine=sync")
        if (done.returncode == 0) != (dry.returncode == 0):
            raise Mismatch(f"{' '.join(self.args)}: dry run: exit "
                           f"{dry.returncode}: {dry.stderr.decode()}, then "
                           f"{done.returncode}: {done.stderr.decode()}")
        if done.returncode != 0:
            self.check_refused(done)
            self.remove()
            return
        if done.stderr.count(b"was not copied") != self.skipped:
            raise Mismatch(f"{' '.join(self.args)}: {self.skipped} bitmaps "
                           f"were left out: {done.stderr.decode()}")
        self.count()
        first = self.made()
        if self.is_existing:
            self.put_back(old)
        else:
            self.remove()
        again = self.copy("--engine=auto")
        if again.returncode != 0:
            raise Mismatch(f"{' '.join(self.args)}: with the other engine: "
                           f"{again.stderr.decode()}")
        if self.made() != first:
            raise Mismatch(f"{' '.join(self.args)}: the engines leave "
                           "different bytes")
        changes.expect_files("copy", changes.files(self.chain, *self.names()),
                             was)
        self.check_result(guest)
        self.remove()

    def put_back(self, old):
        for name, data in zip(self.names(), old):
            with open(os.path.join(self.chain.folder, name), "r+b") as file:
                file.truncate(0)
                file.write(data)

    # -- what came of it

    def check_result(self, guest):
        chain = self.chain
        where = " ".join(self.args)
        if self.snapshot:
            guest = changes.Snapshot(chain, self.top, self.snapshot) \
                if hasattr(changes, "Snapshot") else snapshot_guest(
                    chain, self.top, self.snapshot)
        guest.expect(f"of {where}", self.dest, self.fmt)
        told = changes.info(chain, self.dest, self.fmt)
        changes.expect_equal(f"{where}: size", told["virtual-size"],
                             self.size)
        if self.fmt == "qcow2":
            changes.expect_clean(chain, self.dest)
            self.check_header(where, told)
            if self.has_bitmaps:
                self.check_bitmaps(where)

    def check_header(self, where, told):
        data = told["format-specific"]["data"]
        asked = {"compat": "compat", "refcount_bits": "refcount-bits",
                 "compression_type": "compression-type"}
        for option, key in asked.items():
            if option in self.options:
                changes.expect_equal(f"{where}: {option}", str(data[key]),
                                     str(self.options[option]))
        for option, key in (("lazy_refcounts", "lazy-refcounts"),
                            ("extended_l2", "extended-l2"),
                            ("data_file_raw", "data-file-raw")):
            if option in self.options and data["compat"] == "1.1":
                changes.expect_equal(f"{where}: {option}",
                                     data.get(key, False),
                                     self.options[option] == "on")
        if "cluster_size" in self.options:
            changes.expect_equal(f"{where}: cluster_size",
                                 told["cluster-size"],
                                 self.options["cluster_size"])
        if self.has_backing:
            self.check_backing(where, told)
        elif "backing-filename" in told:
            raise Mismatch(f"{where}: it has a backing file: "
                           f"{told['backing-filename']}")

    def check_backing(self, where, told):
        chain = self.chain
        below = chain.plan.layers[1]
        name = told["backing-filename"]
        path = os.path.join(chain.folder, os.path.dirname(self.dest), name)
        if not os.path.samefile(path, os.path.join(chain.folder,
                                                   below.path)):
            raise Mismatch(f"{where}: the backing file is {name}")
        changes.expect_equal(f"{where}: backing format",
                             told["backing-filename-format"], below.fmt)
        style = "absolute" if os.path.isabs(name) else "relative"
        if not self.is_existing:
            wanted = "relative" if "--relative" in self.args or \
                self.top.name_style in ("relative", "dot") else "absolute"
            changes.expect_equal(f"{where}: backing name", style, wanted)
        counts.add("backing name", style)
        if not self.snapshot:
            self.check_own(where, told["cluster-size"])

    def own(self, path):
        """Guest ranges that the image at PATH has itself."""
        entries = json.loads(self.chain.ok(
            "qemu-img", "map", "--output=json", "-f", "qcow2", path))
        return [(entry["start"], entry["start"] + entry["length"])
                for entry in entries
                if entry["depth"] == 0 and entry["present"]]

    def check_own(self, where, cluster):
        """Only clusters that the source's layer has a part of are copied."""
        theirs = [(begin // cluster * cluster, -(-end // cluster) * cluster)
                  for begin, end in self.own(self.top.path)]
        at = 0
        for begin, end in self.own(self.dest):
            while begin < end:
                while at < len(theirs) and theirs[at][1] <= begin:
                    at += 1
                if at == len(theirs) or theirs[at][0] > begin:
                    raise Mismatch(f"{where}: it has {begin} of its own, "
                                   "which the source has not")
                begin = theirs[at][1]

    def check_bitmaps(self, where):
        folder = self.chain.folder
        changes.expect_equal(
            f"{where}: bitmaps",
            twice.bitmaps(os.path.join(folder, self.dest)),
            {name: told for name, told in twice.bitmaps(
                os.path.join(folder, self.top.path)).items()
             if not told[1] & twice.IN_USE})
        if twice.bitmaps(os.path.join(folder, self.dest)):
            counts.add("bitmaps")

    def count(self):
        counts.add("shallow" if self.is_shallow else "full")
        counts.add("to", self.fmt)
        if self.is_shallow and not self.has_backing:
            counts.add("shallow of one layer")
        if self.is_existing:
            counts.add("into existing",
                       "overlay" if self.has_backing else self.fmt)
        if self.is_zero:
            counts.add("target is zero")
        if self.snapshot:
            counts.add("from a snapshot")
        if self.is_packed:
            counts.add("compressed",
                       self.options.get("compression_type", "zlib"))
        for key, value in self.options.items():
            if key == "data_file":
                counts.add("data file")
            elif key == "data_file_raw":
                counts.add("data file raw")
            else:
                counts.add(key, str(value))


def snapshot_guest(chain, layer, name):
    """What the guest saw when the internal snapshot was taken."""
    chain.ok("qemu-img", "convert", "-O", "raw", "-f", layer.fmt, "-l",
             f"snapshot.name={name}", layer.path, "guest.snapshot")
    guest = changes.Guest.__new__(changes.Guest)
    guest.chain, guest.name = chain, "guest.snapshot"
    return guest


def check_encrypted(chain):
    """Contents that cannot be read are not copied."""
    done = chain.run(cases.IMGCHAIN, "copy", "-f", "qcow2", "-O", "raw",
                     chain.top.path, "copy.raw")
    if done.returncode != 1 or b"encrypted" not in done.stderr or \
            os.path.exists(os.path.join(chain.folder, "copy.raw")):
        raise Mismatch(f"copy of an encrypted image: exit {done.returncode}: "
                       f"{done.stderr!r}")
    counts.add("refused: encrypted")


def check(chain):
    if not chain.plan.is_readable:
        check_encrypted(chain)
        return
    guest = changes.Guest(chain, chain.top)
    size = changes.info(chain, chain.top.path, chain.top.fmt)["virtual-size"]
    for _ in range(STEPS):
        Copy(chain, size).run(guest)


if __name__ == "__main__":
    code = cases.run(check, NUMBER, FIRST_SEED)
    sys.exit(code or counts.report())
