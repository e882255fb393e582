#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rebase of many generated chains against qemu-img rebase of a copy.

Every chain is rebased several times in a row, each time to a backing file of
another kind. Each time: the guest sees the same, qemu-img check finds nothing,
qemu-img's own rebase of a copy leaves the same header, no other file changed,
the plan (--dry-run) was no promise that was broken, and the undo record leads
back. Of some chains all names are converted before, to and fro.

IMGCHAIN_CASES=N, IMGCHAIN_SEED=N: as support/cases.py says.
"""

import collections
import json
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402
import changes  # noqa: E402
import generate  # noqa: E402
from cases import Mismatch  # noqa: E402

NUMBER = 45
FIRST_SEED = 40000
FIRST_SUBCLUSTER_SEED = 49000
STEPS = 4

KINDS = ["equal", "below", "none", "other", "shorter", "longer", "blank",
         "unsafe equal", "unchanged"]
SPELLINGS = ["plain", "absolute", "--relative", "--absolute"]
counts = changes.Counts(
    [f"kind {kind}" for kind in KINDS] +
    [f"spelling {spelling}" for spelling in SPELLINGS] +
    ["engine sync", "engine auto", "new backing raw", "new backing qcow2",
     "overlay with snapshots", "overlay with data file", "overlay with bitmaps",
     "overlay with compressed clusters", "overlay with extended L2",
     "overlay of version 2", "copied data", "only the header", "verified", "undone",
     "names --relative", "names --absolute", "names refused",
     "shared subclusters"])


class Step:
    """One rebase of a chain's top."""

    def __init__(self, chain, number, before):
        self.chain = chain
        self.rng = chain.rng
        self.top = chain.top
        self.number = number
        self.before = before       # what the guest saw
        self.kind = self.rng.choice(KINDS)
        self.spelling = self.rng.choice(SPELLINGS)
        self.path = None           # of the new backing file
        self.fmt = None
        self.name = ""             # what -b is given
        self.options = []

    # -- the new backing file

    def current(self):
        """Where the top's backing file is now, and its format."""
        told = changes.info(self.chain, self.top.path)
        if "backing-filename" not in told:
            return None, None
        return (told["backing-filename"], told["backing-filename-format"])

    def convert_backing(self):
        """A copy of what the backing file shows, in another file."""
        name, fmt = self.current()
        if name is None:
            return self.make_blank(self.rng.randrange(1, 512) * 65536)
        if not name.startswith(("json:", "file:", "/")):
            name = os.path.join(os.path.dirname(self.top.path), name)
        self.chain.ok("qemu-img", "convert", "-O", self.fmt,
                      *(self.flags() if self.fmt == "qcow2" else []),
                      *([] if name.startswith("json:") else ["-f", fmt]),
                      name, self.path)
        return True

    def flags(self):
        size = self.rng.choice([512, 4096, 16384, 65536, 262144])
        return ["-o", f"cluster_size={size}"]

    def make_blank(self, size):
        self.chain.ok("qemu-img", "create", "-q", "-f", self.fmt,
                      *(self.flags() if self.fmt == "qcow2" else []),
                      self.path, str(size))
        return False

    def scribble(self):
        told = changes.info(self.chain, self.path, self.fmt)
        size = told["virtual-size"]
        for _ in range(self.rng.randrange(1, 8)):
            off = self.rng.randrange(size // 512) * 512
            length = min(self.rng.choice([512, 4096, 65536, 200000]),
                         size - off)
            kind = self.rng.choice(["write -z", "write -P 0",
                                    f"write -P {self.rng.randrange(256)}"])
            self.chain.ok("qemu-io", "-f", self.fmt, "-c",
                          f"{kind} {off} {length}", self.path)

    def make_backing(self):
        """Makes it; true when it shows what the old one shows."""
        folder = self.rng.choice(["", "new", "new/ä b"])
        if folder:
            os.makedirs(os.path.join(self.chain.folder, folder), exist_ok=True)
        self.fmt = self.rng.choice(["raw", "qcow2"])
        # qemu-img takes a name that begins so for a protocol.
        stem = f"n:{self.number}" if folder else f"new{self.number}"
        self.path = os.path.join(folder, f"{stem}.{self.fmt}")
        if self.kind == "blank":
            size = self.rng.randrange(1, 20000) * 512
            return self.make_blank(size)
        is_equal = self.convert_backing()
        if self.kind in ("equal", "unsafe equal"):
            return is_equal
        size = changes.info(self.chain, self.path, self.fmt)["virtual-size"]
        if self.kind == "other":
            self.scribble()
        elif self.kind == "shorter":
            size = max(512, self.rng.randrange(1, size // 512 + 1) * 512)
            self.resize(size, "--shrink")
        elif self.kind == "longer":
            self.resize(size + self.rng.randrange(1, 30000) * 512)
            self.scribble()
        return False

    def resize(self, size, *flags):
        self.chain.ok("qemu-img", "resize", "-q", *flags, "-f", self.fmt,
                      self.path, str(size))

    def prepare(self):
        """Decides on the new backing; true when it is known to be equal."""
        if self.kind == "none":
            return self.current()[0] is None
        if self.kind == "below" and self.number == 0 and \
                len(self.chain.plan.layers) > 2:
            below = self.chain.plan.layers[2]
            self.path, self.fmt = below.path, below.fmt
            is_equal = False
        elif self.kind == "unchanged" and self.current()[0]:
            self.name, self.fmt = self.current()
            self.spelling = "plain"
            return True
        else:
            is_equal = self.make_backing()
        counts.add("new backing", self.fmt)
        self.name = os.path.relpath(self.path,
                                    os.path.dirname(self.top.path) or ".")
        if ":" in self.name.split("/")[0]:
            self.name = "./" + self.name
        if self.spelling == "absolute":
            self.name = os.path.join(self.chain.folder, self.path)
        if self.spelling.startswith("--"):
            self.options.append(self.spelling)
        return is_equal

    # -- running and looking

    def command(self, *more):
        options = ["-f", "qcow2", "-b", self.name, *self.options]
        if self.fmt and self.name:
            options += ["-F", self.fmt]
        if self.kind == "unsafe equal":
            options.append("-u")
        return json.loads(self.chain.imgchain(
            "rebase", "--output=json", *options, *more, self.top.path))

    def recorded(self):
        """The name that the header is to have."""
        full = os.path.join(self.chain.folder, self.path or "")
        if self.spelling == "--absolute":
            return os.path.realpath(full)
        if self.spelling == "--relative":
            here = os.path.realpath(os.path.join(
                self.chain.folder, os.path.dirname(self.top.path)))
            name = os.path.relpath(os.path.realpath(full), here)
            return "./" + name if ":" in name.split("/")[0] else name
        return self.name

    def peer(self):
        """qemu-img's own rebase of a copy: what its header says; None where
        that cannot be tried."""
        if "data_file" in self.top.options:
            return None
        copy = self.top.path + ".peer"
        place = os.path.join(self.chain.folder, copy)
        shutil.copyfile(os.path.join(self.chain.folder, self.top.path), place)
        try:
            done = self.chain.run(
                "qemu-img", "rebase", "-f", "qcow2",
                *(["-u"] if self.kind == "unsafe equal" else []), "-b",
                self.recorded() if self.name else "",
                *(["-F", self.fmt] if self.name else []), copy)
            if done.returncode != 0:
                counts.add("qemu-img", "refuses")
                return None
            if not self.before.is_seen(copy):
                counts.add("qemu-img", "changes what the guest sees")
            return changes.info(self.chain, copy)
        finally:
            os.remove(place)

    def check_same(self, when):
        changes.expect_clean(self.chain, self.top.path)
        self.before.expect(when, self.top.path)

    def first_cluster(self):
        return self.top.options["cluster_size"]

    def beyond_header(self):
        with open(os.path.join(self.chain.folder, self.top.path),
                  "rb") as file:
            file.seek(self.first_cluster())
            return file.read()

    def planned(self):
        """The plan, which changes nothing."""
        was = changes.files(self.chain)
        plan = self.command("--dry-run")
        changes.expect_files("--dry-run", changes.files(self.chain), was)
        return plan

    def check_result(self, plan, result, is_equal, tables):
        for key in ("read-len", "written-len"):
            if result[key] > plan[key]:
                raise Mismatch(f"{key}: {result[key]}, but the plan said at "
                               f"most {plan[key]}")
        if plan["header-only"] and not result["header-only"]:
            raise Mismatch("not only the header was written, as planned")
        if is_equal and not result["header-only"]:
            raise Mismatch("an equal backing file, and yet data was written")
        if result["header-only"]:
            counts.add("only the header")
            changes.expect_equal("all but the first cluster",
                                 self.beyond_header() == tables, True)
        if result["written-len"]:
            counts.add("copied data")

    def undo(self, was, record):
        """Back to the old header, and forward again."""
        path = os.path.join(self.chain.folder, self.top.path)
        kept = path + ".now"
        shutil.copyfile(path, kept)
        self.chain.imgchain("rebase", "-f", "qcow2", "--undo", record,
                            self.top.path)
        changes.expect_equal("info after undo", changes.info(
            self.chain, self.top.path), was)
        self.check_same("after undo")
        os.replace(kept, path)

    def run(self):
        chain, top = self.chain, self.top
        is_equal = self.prepare()
        counts.add("kind", self.kind)
        if self.name:
            counts.add("spelling", self.spelling)
        data = changes.data_file(top, chain.folder)
        record = top.path + ".imgchain-undo"
        if os.path.exists(os.path.join(chain.folder, record)):
            os.remove(os.path.join(chain.folder, record))
        was_info = changes.info(chain, top.path)
        peer = self.peer()
        plan = self.planned()
        others = changes.files(chain, top.path, data)
        tables = self.beyond_header()
        engine = self.rng.choice(["sync", "auto"])
        counts.add("engine", engine)
        options = [f"--engine={engine}"]
        if self.rng.random() < 0.3 and self.kind != "unsafe equal":
            options.append("--verify")
            counts.add("verified")
        result = self.command(*options)
        changes.expect_files("rebase", changes.files(
            chain, top.path, data, record), others)
        self.check_same("after rebase")
        self.check_result(plan, result, is_equal, tables)
        told = changes.info(chain, top.path)
        changes.expect_equal("virtual size", told["virtual-size"],
                             was_info["virtual-size"])
        changes.expect_equal("backing name", told.get("backing-filename", ""),
                             self.recorded() if self.name else "")
        if peer:
            changes.expect_equal("info", told, peer)
        if "undo-filename" in result and self.rng.random() < 0.5:
            counts.add("undone")
            self.undo(was_info, record)


def count_overlay(top):
    for what, is_so in [
            ("snapshots", top.snapshots), ("data file", "data_file" in
                                           top.options),
            ("compressed clusters", top.has_compressed),
            ("extended L2", top.options.get("extended_l2") == "on")]:
        if is_so:
            counts.add("overlay with", what)
    if top.options["compat"] == "0.10":
        counts.add("overlay of version 2")


def convert_names(chain, before):
    """The whole chain's names: relative, then absolute."""
    for style in ("--relative", "--absolute"):
        done = chain.run(cases.IMGCHAIN, "rebase", "-f", "qcow2", style,
                         "--output=json", chain.top.path)
        if done.returncode != 0:
            text = done.stderr.decode(errors="replace")
            if "says more than a path" not in text and \
                    "is a part of a file" not in text:
                raise Mismatch(f"{style}: {text}")
            counts.add("names refused")
            return
        counts.add("names", style)
        told = json.loads(chain.ok("qemu-img", "info", "--output=json",
                                   "--backing-chain", "-f", "qcow2",
                                   chain.top.path))
        for image in told:
            name = image.get("backing-filename")
            if name and name.startswith("/") != (style == "--absolute"):
                raise Mismatch(f"{style}: {image['filename']} names {name}")
        before.expect(f"after {style}", chain.top.path)


def check(chain):
    top = chain.top
    if (len(chain.plan.layers) < 2 or not chain.plan.is_readable
            or top.fmt != "qcow2"):
        counts.add("no case: nothing to rebase")
        return
    changes.settle(chain)
    count_overlay(top)
    if "bitmaps" in changes.info(chain, top.path)["format-specific"]["data"]:
        counts.add("overlay with bitmaps")
    before = changes.Guest(chain, top)
    if chain.rng.random() < 0.4:
        convert_names(chain, before)
    for number in range(STEPS):
        Step(chain, number, before).run()


def subcluster_plan(seed):
    """Chains in which clusters that are shared with a snapshot, or compressed,
    are the overlay's in part: all of one is to be moved then."""
    rng = random.Random(seed)
    size = 2 << 20
    commands = [["sh", "-c", "seq 1 30000 > pattern"]]

    def io(path, *requests):
        flags = [arg for r in requests for arg in ("-c", r)]
        commands.append(["qemu-io", "-t", "unsafe", "-d", "unmap", "-f",
                         "qcow2", *flags, path])

    def writes(unit, number):
        kinds = ["write -s pattern", "write -P 0", "write -z", "discard"]
        return [f"{rng.choice(kinds)} {rng.randrange(size // unit) * unit} "
                f"{rng.randrange(1, 12) * unit}" for _ in range(number)]

    def create(layer, *flags):
        commands.append(["qemu-img", "create", "-q", "-f", "qcow2", *flags,
                         "-o", ",".join(f"{key}={value}" for key, value in
                                        layer.options.items()),
                         layer.path, str(size + 65536)])

    base = generate.Layer("base.qcow2", "qcow2", size,
                          {"compat": "1.1", "cluster_size": 4096})
    top = generate.Layer("top.qcow2", "qcow2", size,
                         {"compat": "1.1", "cluster_size": 65536,
                          "extended_l2": "on"}, "relative", ["one"])
    create(base)
    io(base.path, *writes(2048, 60))
    create(top, "-b", base.path, "-F", "qcow2")
    io(top.path, *(f"write -c -P {rng.randrange(256)} {idx * 65536} 65536"
                   for idx in rng.sample(range(size // 65536), 6)))
    io(top.path, *writes(2048, 20))
    commands.append(["qemu-img", "snapshot", "-c", "one", top.path])
    io(top.path, *writes(2048, rng.randrange(8)))
    counts.add("shared subclusters")
    return generate.Plan(seed, [top, base], commands, collections.Counter())


def main():
    """Both kinds of chains; one seed is of one kind."""
    code = 0
    only = int(os.environ.get("IMGCHAIN_SEED", -1))
    if only < FIRST_SUBCLUSTER_SEED:
        code = cases.run(check, NUMBER, FIRST_SEED)
    if code == 0 and (only < 0 or only >= FIRST_SUBCLUSTER_SEED):
        code = cases.run(check, 10, FIRST_SUBCLUSTER_SEED, subcluster_plan)
    return code or counts.report()


if __name__ == "__main__":
    sys.exit(main())
