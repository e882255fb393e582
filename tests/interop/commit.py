#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commit of many generated chains against qemu-img commit of the same.

Every chain is committed several times, into the backing file and into layers
below, first by qemu-img and then, put back as it was, by imgchain. Each time:
the base shows what the overlay showed, the overlay still does, qemu-img check
finds nothing, both programs leave the same headers, no other file changed, and
the plan (--dry-run) was kept.

IMGCHAIN_CASES=N, IMGCHAIN_SEED=N: as support/cases.py says.
"""

import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402
import changes  # noqa: E402
from cases import Mismatch  # noqa: E402

NUMBER = 52
FIRST_SEED = 50000
STEPS = 3

counts = changes.Counts(
    ["base raw", "base qcow2", "base data file", "base extended L2",
     "base version 2", "base snapshots", "base bitmaps", "base grown",
     "base longer", "base as long", "base over another",
     "into the backing file", "into a layer below", "by path", "by name",
     "overlay emptied", "overlay kept", "overlay with snapshots",
     "overlay with data file", "engine sync", "engine auto", "verified",
     "both refuse"])


class Commit:
    """One commit of a chain's top."""

    def __init__(self, chain):
        self.chain = chain
        self.rng = chain.rng
        self.layers = chain.plan.layers
        self.top = chain.top
        # Most chains are short, and the nearest layer is what people take.
        below = len(self.layers) - 1
        self.base_idx = 1 if self.rng.random() < 0.5 else \
            self.rng.randrange(1, below + 1)
        self.base = self.layers[self.base_idx]
        self.is_kept = self.base_idx > 1 or self.rng.random() < 0.3
        self.guest = None
        self.backup = chain.folder + ".backup"

    def named(self):
        """How the base is told on the command line."""
        if self.base_idx == 1:
            return ["-d"] if self.is_kept else []
        told = changes.info(self.chain, self.layers[self.base_idx - 1].path)
        if self.rng.random() < 0.5:
            counts.add("by name")
            return ["-b", told["backing-filename"]]
        counts.add("by path")
        return ["-b", self.base.path]

    # -- the folder as it was

    def keep(self):
        shutil.copytree(self.chain.folder, self.backup, symlinks=True)

    def put_back(self):
        shutil.rmtree(self.chain.folder)
        shutil.copytree(self.backup, self.chain.folder, symlinks=True)

    def forget(self):
        shutil.rmtree(self.backup, ignore_errors=True)

    # -- both programs

    def base_len(self):
        return changes.info(self.chain, self.base.path,
                            self.base.fmt)["virtual-size"]

    def peer(self):
        """qemu-img's own; what it leaves, or None when it refuses."""
        told = changes.info(self.chain, self.layers[self.base_idx - 1].path)
        named = {True: ["-d"], False: []}[self.is_kept]
        if self.base_idx > 1:
            named = ["-b", told["backing-filename"]]
        done = self.chain.run("qemu-img", "commit", "-q", "-f", "qcow2",
                              *named, self.top.path)
        try:
            if done.returncode != 0:
                return None
            if not self.guest.is_seen(self.top.path):
                counts.add("qemu-img changes what the guest sees")
            return self.headers()
        finally:
            self.put_back()

    def headers(self):
        return [changes.info(self.chain, layer.path, layer.fmt)
                for layer in (self.top, self.base)]

    def check_result(self, plan, result, grown):
        if result["overlay-emptied"] == self.is_kept:
            raise Mismatch(f"emptied: {result['overlay-emptied']}")
        for key in ("base-grown", "overlay-emptied", "base"):
            changes.expect_equal(key, result[key], plan[key])
        changes.expect_equal("base-grown", result["base-grown"], grown)
        for key in ("read-len", "written-len"):
            if result[key] > plan[key]:
                raise Mismatch(f"{key}: {result[key]}, but the plan said at "
                               f"most {plan[key]}")
        if plan["written-len"] and not (result["written-len"] or
                                        result["zero-len"]):
            raise Mismatch("nothing was written, and something was planned")

    def check_refusal(self, done, peer):
        """imgchain did not want to."""
        if peer is not None:
            raise Mismatch(f"refused: {done.stderr.decode(errors='replace')}")
        counts.add("both refuse")
        self.guest.expect("though it was refused", self.top.path)
        return False

    def check_guest(self):
        chain = self.chain
        self.guest.expect("of the overlay", self.top.path)
        changes.expect_clean(chain, self.top.path)
        self.guest_of_base()
        if self.base.fmt == "qcow2":
            changes.expect_clean(chain, self.base.path)

    def guest_of_base(self):
        """It shows what the overlay did, as far as that goes."""
        reference = os.path.join(self.chain.folder, self.guest.name)
        length = os.path.getsize(reference)
        out = os.path.join(self.chain.folder, "base.kept")
        self.chain.ok("qemu-img", "convert", "-f", self.base.fmt, "-O", "raw",
                      self.base.path, out)
        with open(out, "rb") as file, open(reference, "rb") as wanted:
            if file.read(length) != wanted.read():
                raise Mismatch("the base shows something else")
            rest = file.read()
        os.remove(out)
        changes.expect_equal("what the base has beyond", rest, self.rest)

    def base_rest(self):
        """What the base has where the overlay has nothing."""
        length = os.path.getsize(
            os.path.join(self.chain.folder, self.guest.name))
        out = os.path.join(self.chain.folder, "base.kept")
        self.chain.ok("qemu-img", "convert", "-f", self.base.fmt, "-O", "raw",
                      self.base.path, out)
        with open(out, "rb") as file:
            file.seek(length)
            rest = file.read()
        os.remove(out)
        return rest

    def count(self):
        top, base = self.top, self.base
        counts.add("base", base.fmt)
        for what, is_so in [("data file", "data_file" in base.options),
                            ("extended L2",
                             base.options.get("extended_l2") == "on"),
                            ("version 2",
                             base.options.get("compat") == "0.10"),
                            ("snapshots", base.snapshots),
                            ("over another",
                             self.base_idx + 1 < len(self.layers))]:
            if is_so:
                counts.add("base", what)
        for what, is_so in [("snapshots", top.snapshots),
                            ("data file", "data_file" in top.options)]:
            if is_so:
                counts.add("overlay with", what)
        counts.add("into the backing file" if self.base_idx == 1
                   else "into a layer below")

    def run(self):
        """False when the chain is of no more use."""
        chain = self.chain
        self.guest = changes.Guest(chain, self.top)
        self.rest = self.base_rest()
        length = os.path.getsize(os.path.join(chain.folder, self.guest.name))
        base_len = self.base_len()
        self.count()
        self.keep()
        peer = self.peer()
        engine = self.rng.choice(["sync", "auto"])
        options = ["-f", "qcow2", f"--engine={engine}", *self.named()]
        if self.rng.random() < 0.3:
            options.append("--verify")
            counts.add("verified")
        was = changes.files(chain)
        dry = chain.run(cases.IMGCHAIN, "commit", "--output=json", "--dry-run",
                        *options, self.top.path)
        changes.expect_files("--dry-run", changes.files(chain), was)
        done = chain.run(cases.IMGCHAIN, "commit", "--output=json", *options,
                         self.top.path)
        if done.returncode != 0:
            return self.check_refusal(done, peer)
        counts.add("engine", engine)
        counts.add("overlay", "kept" if self.is_kept else "emptied")
        counts.add("base", "grown" if base_len < length else
                   "longer" if base_len > length else "as long")
        mine = [path for layer in (self.top, self.base) for path in
                (layer.path, changes.data_file(layer, chain.folder))]
        others = {name: digest for name, digest in was.items()
                  if name not in map(os.path.normpath, filter(None, mine))}
        changes.expect_files("commit", changes.files(chain, *mine), others)
        self.check_result(json.loads(dry.stdout), json.loads(done.stdout),
                          base_len < length)
        self.check_guest()
        if peer:
            changes.expect_equal("headers", self.headers(), peer)
        return True


def scribble(chain):
    """Something new in the overlay for the next commit."""
    size = changes.info(chain, chain.top.path)["virtual-size"]
    for _ in range(chain.rng.randrange(1, 5)):
        off = chain.rng.randrange(size // 512) * 512
        length = min(chain.rng.choice([512, 4096, 65536]), size - off)
        kind = chain.rng.choice(["write -z", "write -P 7", "discard"])
        chain.ok("qemu-io", "-t", "unsafe", "-d", "unmap", "-f", "qcow2", "-c",
                 f"{kind} {off} {length}", chain.top.path)


def check(chain):
    top = chain.top
    if (len(chain.plan.layers) < 2 or not chain.plan.is_readable
            or top.fmt != "qcow2"):
        counts.add("no case: nothing to commit")
        return
    changes.settle(chain)
    for layer in chain.plan.layers[1:]:
        if layer.fmt == "qcow2" and "bitmaps" in changes.info(
                chain, layer.path)["format-specific"]["data"]:
            counts.add("base bitmaps")
    for _ in range(STEPS):
        commit = Commit(chain)
        try:
            if not commit.run() or commit.base_idx > 1:
                break  # the layers between are invalid now
        finally:
            commit.forget()
        scribble(chain)


if __name__ == "__main__":
    code = cases.run(check, NUMBER, FIRST_SEED)
    sys.exit(code or counts.report())
