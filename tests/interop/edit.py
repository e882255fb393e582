#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that qemu-img and qemu-io made, changed in place by random scripts.

Each image of generate.py gets several scripts of writes, zeros, discards and
commits. Afterwards qemu-img must read exactly the bytes that a plain array
has after the same commands, find nothing wrong (no leak either), and see every
internal snapshot as it was; all other files of the chain are byte for byte
what they were.

usage: tests/interop/edit.py    (IMGCHAIN_CASES, IMGCHAIN_SEED as cases.py)
"""

import collections
import hashlib
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402
from cases import Mismatch  # noqa: E402

EDITOR = os.path.join(os.environ.get("IMGCHAIN_BUILD", "build"),
                      "tests/editor")
VERBS = ["write"] * 6 + ["zero", "zero-keep", "discard", "commit", "reopen"]
SCRIPTS = 3

seen = collections.Counter()
seen_lock = threading.Lock()


def saw(*what):
    with seen_lock:
        seen.update(what)


class Image:
    """The image that is changed, and the bytes that it has to show."""

    def __init__(self, chain, path):
        self.chain = chain
        self.rng = chain.rng
        self.path = path
        self.info = json.loads(chain.ok("qemu-img", "info", "--output=json",
                                        self.path))
        data = self.info["format-specific"]["data"]
        self.is_v3 = data["compat"] == "1.1"
        self.size = self.info["virtual-size"]
        self.cluster = self.info["cluster-size"]
        self.granule = (self.cluster // 32 if data.get("extended-l2")
                        else self.cluster)
        name = data.get("data-file")
        self.data_file = name and os.path.join(chain.folder, name)
        self.is_raw = data.get("data-file-raw", False)
        self.has_backing = "backing-filename" in self.info
        self.snapshots = [snapshot["id"]
                          for snapshot in self.info.get("snapshots", [])]
        self.now = bytearray(self.contents(self.path))
        self.below = self.backing_contents()

    def contents(self, path, *args):
        """What qemu-img reads."""
        out = os.path.join(self.chain.folder, "contents.raw")
        self.chain.ok("qemu-img", "convert", "-f", "qcow2", *args, "-O",
                      "raw", path, out)
        with open(out, "rb") as file:
            found = file.read()
        os.unlink(out)
        return found

    def backing_contents(self):
        """What the guest would see of an image that holds nothing."""
        if not self.has_backing:
            return bytes(self.size)
        empty = os.path.join(os.path.dirname(self.path), "empty.qcow2")
        self.chain.ok("qemu-img", "create", "-q", "-f", "qcow2", "-u",
                      "-b", self.info["backing-filename"],
                      "-F", self.info["backing-filename-format"],
                      empty, str(self.size))
        found = self.contents(empty)
        os.unlink(os.path.join(self.chain.folder, empty))
        return found

    def byte_range(self):
        """A few bytes or many clusters, often beside a border."""
        start = self.rng.randrange(self.size)
        if self.rng.random() < 0.5:
            start = start // self.cluster * self.cluster
        length = self.rng.choice([
            1, self.rng.randrange(1, 5000), self.granule, self.cluster,
            self.rng.randrange(1, 5 * self.cluster), 1 << 20])
        return start, min(length, self.size - start, 1 << 20)

    def granule_range(self):
        last = (self.size - 1) // self.granule
        first = self.rng.randrange(last + 1)
        nr = min(self.rng.choice([1, 2, 7, 32, 500]), last + 1 - first)
        start = first * self.granule
        return start, min(nr * self.granule, self.size - start)

    def partly_compressed(self, start, length):
        """Parts of clusters cannot be given up where they are compressed."""
        ends = [start % self.cluster, (start + length) % self.cluster]
        if start + length == self.size:
            ends[1] = 0
        return any(ends)

    def command(self):
        """The next line, done to the array as well."""
        verb = self.rng.choice(VERBS)
        saw(verb)
        if verb in ("commit", "reopen"):
            return verb
        if verb == "write":
            start, length = self.byte_range()
            byte = self.rng.randrange(256)
            self.now[start:start + length] = bytes([byte]) * length
            return f"write {start} {length} {byte}"
        start, length = self.granule_range()
        if verb == "discard" and self.partly_compressed(start, length):
            start = start // self.cluster * self.cluster
            length = min(self.cluster, self.size - start)
        end = start + length
        self.now[start:end] = (self.below[start:end] if verb == "discard"
                               else bytes(length))
        return f"{verb} {start} {length}"

    def edit(self, lines):
        args = [EDITOR]
        if self.rng.random() < 0.3:
            args += ["-m", "65536"]
            saw("little memory")
        args.append(self.path)
        if self.data_file:
            args.append(self.data_file)
        done = subprocess.run(args, cwd=self.chain.folder, check=False,
                              input="\n".join(lines).encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=300)
        if done.returncode != 0:
            raise Mismatch(f"editor: exit {done.returncode}: "
                           f"{done.stderr.decode(errors='replace')}\n"
                           + "\n".join(lines))

    def check(self, lines):
        done = self.chain.run("qemu-img", "check", "-f", "qcow2", self.path)
        if done.returncode != 0:
            raise Mismatch(f"qemu-img check: exit {done.returncode}: "
                           f"{done.stdout.decode()[:2000]}"
                           f"{done.stderr.decode()}\n" + "\n".join(lines))
        found = self.contents(self.path)
        if found != self.now:
            at = next(i for i, pair in enumerate(zip(found, self.now))
                      if pair[0] != pair[1])
            raise Mismatch(f"byte {at} is {found[at]}, expected "
                           f"{self.now[at]}\n" + "\n".join(lines))
        if self.is_raw:
            with open(self.data_file, "rb") as file:
                if file.read(self.size).ljust(self.size, b"\0") != self.now:
                    raise Mismatch("the raw data file shows other bytes\n"
                                   + "\n".join(lines))


def other_files(chain, image):
    """A digest of every file that must stay as it is."""
    mine = {os.path.join(chain.folder, image.path), image.data_file}
    found = {}
    for folder, _, names in os.walk(chain.folder):
        for name in names:
            path = os.path.join(folder, name)
            if path not in mine:
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def is_editable(chain):
    top = chain.top
    if top.fmt != "qcow2" or top.is_encrypted or top.is_dirty:
        return False
    # qemu-img breaks images of narrow refcounts now and then.
    return chain.run("qemu-img", "check", "-f", "qcow2",
                     top.path).returncode == 0


def with_raw_data_file(chain):
    """Another image: the generator has few whose data file is raw."""
    chain.ok("qemu-img", "create", "-q", "-f", "qcow2", "-o",
             "data_file=data.raw,data_file_raw=on,cluster_size="
             f"{512 << chain.rng.randrange(8)},preallocation="
             f"{chain.rng.choice(['off', 'metadata'])}",
             "own.qcow2", str(chain.rng.randrange(1, 9000) * 512))
    return "own.qcow2"


def check_chain(chain):
    path = chain.top.path
    if chain.rng.random() < 0.1:
        path = with_raw_data_file(chain)
    elif not is_editable(chain):
        saw("not editable")
        return
    image = Image(chain, path)
    others = other_files(chain, image)
    before = [image.contents(image.path, "-l", name)
              for name in image.snapshots]
    saw(*[word for word, is_so in (
        ("snapshots", image.snapshots), ("version 2", not image.is_v3),
        ("data file", image.data_file), ("raw data file", image.is_raw),
        ("backing", image.has_backing),
        ("subclusters", image.granule != image.cluster),
        ("compressed", chain.top.has_compressed)) if is_so])
    for _ in range(SCRIPTS):
        lines = [image.command() for _ in range(image.rng.randrange(1, 20))]
        image.edit(lines)
        image.check(lines)
    if image.rng.random() < 0.3:
        image.now[:] = image.below
        image.edit(["make-empty"])
        image.check(["make-empty"])
        saw("make-empty")
    after = [image.contents(image.path, "-l", name)
             for name in image.snapshots]
    if before != after:
        raise Mismatch("a snapshot has changed")
    if others != other_files(chain, image):
        raise Mismatch("another file of the chain has changed")
    saw("edited")


def main():
    status = cases.run(check_chain, 110, 5000)
    print(", ".join(f"{key}: {value}" for key, value in sorted(seen.items())))
    wanted = {*VERBS, "snapshots", "version 2", "data file", "raw data file",
              "backing", "subclusters", "compressed", "make-empty",
              "little memory"}
    missing = wanted - set(seen)
    if status == 0 and seen["edited"] >= 80 and missing:
        print(f"never met: {sorted(missing)}")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
