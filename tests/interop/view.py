#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest view against the real qemu-img, over random chains.

Each chain is made by qemu-img and qemu-io from a seed. Its bytes must be
those of qemu-img convert -O raw, its map that of qemu-img map --output=json,
also through an internal snapshot. A chain that differs is told with the
commands that make it; VIEW_SEED and VIEW_COUNT choose other chains.
"""
import collections
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile

VIEWDUMP = os.path.join(os.environ.get("IMGCHAIN_BUILD", "build/dev"),
                        "tests", "viewdump")
SEED = int(os.environ.get("VIEW_SEED", "1"))
COUNT = int(os.environ.get("VIEW_COUNT", "150"))
if "IMGCHAIN_SANITIZED" in os.environ:
    COUNT = (COUNT + 3) // 4
KIB = 1024
MIB = 1024 * KIB


class Failure(Exception):
    """A chain on which the two sides differ."""


def run(args, log=None, may_fail=False):
    """Run a command; its output. Every command is noted in log."""
    if log is not None:
        log.append(shlex.join(args))
    done = subprocess.run(args, capture_output=True, timeout=120, check=False)
    if done.returncode != 0 and not may_fail:
        raise Failure("%s: exit %d: %s" % (
            shlex.join(args), done.returncode,
            done.stderr.decode(errors="replace").strip()))
    return done if may_fail else done.stdout


class Layer:
    """One file of a chain: how it is made and what is written into it."""

    def __init__(self, rng, idx, is_base, log):
        self.rng = rng
        self.log = log
        self.cluster = None
        self.is_raw = is_base and rng.random() < 0.4
        self.format = "raw" if self.is_raw else "qcow2"
        self.folder = rng.choice([".", "a", "b/c"])
        self.path = os.path.join(self.folder, "l%d.%s" % (idx, self.format))
        self.size = rng.choice([
            rng.randrange(1, 9) * MIB,
            rng.randrange(1, 16 * KIB) * 512,
            rng.randrange(1, 64) * 64 * KIB + 512])
        self.options = {}
        if not self.is_raw:
            self.choose_options()
        elif rng.random() < 0.3:
            self.size += rng.randrange(1, 512)

    def choose_options(self):
        """Options of a qcow2 image; what excludes each other is left out."""
        rng, options = self.rng, self.options
        cluster = rng.choice([512, 1 * KIB, 4 * KIB, 16 * KIB, 64 * KIB,
                              64 * KIB, 256 * KIB, 2 * MIB])
        if rng.random() < 0.2:
            options["compat"] = "0.10"
        else:
            if cluster >= 16 * KIB and rng.random() < 0.4:
                options["extended_l2"] = "on"
            if rng.random() < 0.4:
                options["compression_type"] = "zstd"
            if rng.random() < 0.15:
                options["data_file"] = os.path.abspath(self.path + ".data")
            options["refcount_bits"] = str(1 << rng.randrange(7))
        options["cluster_size"] = str(cluster)
        if rng.random() < 0.3:
            options["preallocation"] = rng.choice(
                ["metadata", "falloc", "full"])
        self.cluster = cluster

    def create(self, backing):
        """Make the file; preallocation goes where QEMU has none for it."""
        if self.is_raw:
            self.log.append("truncate -s %d %s" % (self.size, self.path))
            with open(self.path, "wb") as file:
                file.truncate(self.size)
            return
        if backing is None and "data_file" in self.options and (
                self.rng.random() < 0.5):
            self.options["data_file_raw"] = "on"
        name = []
        if backing is not None:
            name = ["-b", self.backing_name(backing), "-F", backing.format]
        while True:
            text = ",".join("%s=%s" % item for item in self.options.items())
            done = run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", text,
                        *name, self.path, str(self.size)], self.log, True)
            if done.returncode == 0:
                return
            if "preallocation" not in self.options:
                raise Failure("qemu-img create: " + done.stderr.decode())
            del self.options["preallocation"]

    def backing_name(self, backing):
        """One of the ways to spell the name of a backing file."""
        absolute = os.path.abspath(backing.path)
        driver = {"driver": "file", "filename": absolute}
        if backing.is_raw and self.rng.random() < 0.3:
            return "json:" + json.dumps({
                "driver": "raw", "file": driver, **self.slice_of(backing)})
        return self.rng.choice([
            os.path.relpath(backing.path, self.folder),
            os.path.relpath(backing.path, self.folder),
            absolute,
            "file:" + absolute,
            "json:" + json.dumps({"file": driver}),
            "json:" + json.dumps({"driver": backing.format,
                                  "file.driver": "file",
                                  "file.filename": absolute}),
            "json:" + json.dumps({
                "driver": backing.format, "read-only": True,
                "file": {"driver": "raw",
                         "node-name": "under-" + os.path.basename(self.path),
                         "file": driver}}),
        ])

    def slice_of(self, backing):
        """An offset and perhaps a size inside a raw file."""
        off = self.rng.randrange(0, backing.size // 512) * 512
        left = (backing.size - off) // 512
        if left == 0 or self.rng.random() < 0.5:
            return {"offset": off}
        return {"offset": off, "size": self.rng.randrange(1, left + 1) * 512}

    def write(self, count):
        """Data, zeros, compressed clusters and discards, here and there."""
        rng, commands = self.rng, []
        for _ in range(count):
            off = rng.randrange(0, self.size)
            length = min(rng.choice([512, 4 * KIB, 64 * KIB, 300 * KIB, MIB]),
                         self.size - off)
            if rng.random() < 0.7:
                off, length = off // 512 * 512, length // 512 * 512
            if length == 0:
                continue
            kind = rng.choice(["-P", "-P", "-P", "-z", "-z -u", "-c", "d"])
            pattern = rng.randrange(256)
            if kind == "d" and not self.is_raw:
                commands.append("discard %d %d" % (off, length))
            elif kind == "-c" and not self.is_raw and (
                    "data_file" not in self.options):
                off = off // self.cluster * self.cluster
                length = min(self.cluster, self.size - off) // 512 * 512
                if length > 0:
                    commands.append("write -c -P %d %d %d" % (
                        pattern, off, length))
            elif kind.startswith("-z"):
                commands.append("write %s %d %d" % (kind, off, length))
            else:
                commands.append("write -P %d %d %d" % (pattern, off, length))
        if commands:
            args = ["qemu-io", "-d", "unmap", "-f", self.format]
            for command in commands:
                args += ["-c", command]
            # A write that qemu-io refuses is none; what counts is the image.
            run([*args, self.path], self.log, True)


def make_chain(rng, log):
    """A chain of 1 to 6 layers, the top one first."""
    layers = []
    for idx in range(rng.randrange(1, 7)):
        layer = Layer(rng, idx, idx == 0, log)
        os.makedirs(layer.folder, exist_ok=True)
        if layers and rng.random() < 0.4:
            layer.size = -(-layers[0].size // 512) * 512
        layer.create(layers[0] if layers else None)
        layer.write(rng.randrange(0, 14))
        layers.insert(0, layer)
    return layers


def check_bytes(operand, log, snapshot=None):
    """The view's bytes are those that qemu-img converts."""
    args = ["-l", snapshot] if snapshot else []
    run(["qemu-img", "convert", *args, "-O", "raw", operand, "want.raw"], log)
    with open("want.raw", "rb") as file:
        want = file.read()
    os.unlink("want.raw")
    got = run([VIEWDUMP, "--bytes", *args, operand])
    if len(got) != len(want):
        raise Failure("%d bytes, expected %d" % (len(got), len(want)))
    if got != want:
        at = next(i for i in range(len(want)) if got[i] != want[i])
        raise Failure("byte %d is %d, expected %d" % (at, got[at], want[at]))


MAP_KEYS = ["start", "length", "depth", "present", "zero", "data", "offset"]


def check_map(operand, log):
    """The view's map is qemu-img's, entry by entry."""
    want = json.loads(run(["qemu-img", "map", "--output=json", operand], log))
    got = json.loads(run([VIEWDUMP, "--map", operand]))
    for i in range(max(len(got), len(want))):
        sides = [[entry.get(key) for key in MAP_KEYS]
                 for entry in (got[i:i + 1] + [{}])[:1]
                 + (want[i:i + 1] + [{}])[:1]]
        if sides[0] != sides[1]:
            raise Failure("map entry %d is %s, expected %s (%s)" % (
                i, sides[0], sides[1], " ".join(MAP_KEYS)))


def check_chain(rng, log, seen):
    """Make one chain and compare all that can be seen of it."""
    layers = make_chain(rng, log)
    top = layers[0]
    has_snapshot = not top.is_raw and "data_file" not in top.options and (
        rng.random() < 0.3)
    if has_snapshot:
        # Not with refcounts of one bit, nor in an image that QEMU broke.
        done = run(["qemu-img", "snapshot", "-c", "s1", top.path], log, True)
        has_snapshot = done.returncode == 0
        top.write(8)
    check_bytes(top.path, log)
    check_map(top.path, log)
    if has_snapshot:
        check_bytes(top.path, log, "s1")
    operand = "json:" + json.dumps({
        "driver": top.format,
        "file": {"driver": "file", "filename": os.path.abspath(top.path)}})
    check_map(operand, log)
    seen["depth %d" % len(layers)] += 1
    seen["snapshot"] += has_snapshot
    for layer in layers:
        seen["raw"] += layer.is_raw
        for key, value in layer.options.items():
            if key not in ("data_file", "cluster_size", "refcount_bits"):
                key = "%s=%s" % (key, value)
            seen[key] += 1


def main():
    """Compare COUNT chains; the exit status."""
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no qemu-img or qemu-io")
        return 77
    start, failed, seen = os.getcwd(), 0, collections.Counter()
    global VIEWDUMP
    VIEWDUMP = os.path.abspath(VIEWDUMP)
    for number in range(COUNT):
        log = []
        with tempfile.TemporaryDirectory(prefix="view.") as folder:
            os.chdir(folder)
            try:
                check_chain(random.Random(SEED * 1000003 + number), log, seen)
            except Failure as failure:
                failed += 1
                print("chain %d of seed %d: %s" % (number, SEED, failure))
                print("".join("    %s\n" % line for line in log))
            os.chdir(start)
    print("%d chains, %d differ" % (COUNT, failed))
    print(", ".join("%s: %d" % item for item in sorted(seen.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
