# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the checks of commands that change images in place have in common."""

import collections
import hashlib
import json
import os
import threading

from cases import Mismatch

# Facts about a file that no change of another one may touch, and that are
# nobody's promise.
VOLATILE = ("actual-size", "filename")
BLOCK = 1 << 20


class Counts:
    """How often which kind of case was met."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.counter = collections.Counter()
        self.lock = threading.Lock()

    def add(self, *what):
        with self.lock:
            self.counter[" ".join(what)] += 1

    def report(self):
        """Prints them; exit code 1 when a wanted one was never met."""
        print("\nkinds of cases:")
        for what, number in sorted(self.counter.items()):
            print(f"  {what}: {number}")
        missing = sorted(set(self.wanted) - set(self.counter))
        if missing and not {"IMGCHAIN_CASES", "IMGCHAIN_SEED",
                            "IMGCHAIN_SANITIZED"} & set(os.environ):
            print(f"kinds never met: {missing}")
            return 1
        return 0


def _hash(path):
    """Of the bytes of a file; holes are not read."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        off = 0
        while off < end:
            try:
                off = file.seek(off, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                break
            off = file.seek(off // BLOCK * BLOCK)
            block = file.read(BLOCK)
            if block.strip(b"\0"):
                digest.update(b"%d %d " % (off, len(block)))
                digest.update(block)
            off += len(block)
    return f"{end} {digest.hexdigest()}"


class Guest:
    """What the guest saw of an image once, kept as a raw file."""

    def __init__(self, chain, image, name="guest.kept"):
        self.chain = chain
        self.name = name
        chain.ok("qemu-img", "convert", "-O", "raw",
                 *([] if isinstance(image, str) else ["-f", image.fmt]),
                 image if isinstance(image, str) else image.path, name)

    def is_seen(self, path, fmt="qcow2"):
        """Does the image at PATH show that, and then at most zeros?"""
        done = self.chain.run("qemu-img", "compare", "-q", "-U", "-f", fmt,
                              "-F", "raw", path, self.name)
        if done.returncode not in (0, 1):
            raise Mismatch(f"qemu-img compare {path}: "
                           f"{done.stderr.decode(errors='replace')}")
        return done.returncode == 0

    def expect(self, when, path, fmt="qcow2"):
        if not self.is_seen(path, fmt):
            raise Mismatch(f"the guest sees something else {when}")


def files(chain, *but):
    """A hash of every file of the chain's folder but these."""
    found = {}
    skipped = {os.path.normpath(name) for name in but if name}
    skipped |= {"guest.kept", "pattern"}
    for folder, _, names in os.walk(chain.folder):
        for name in names:
            path = os.path.join(folder, name)
            short = os.path.relpath(path, chain.folder)
            if short not in skipped:
                found[short] = _hash(path)
    return found


def expect_equal(what, found, wanted):
    if found != wanted:
        raise Mismatch(f"{what}: found {found}, expected {wanted}")


def expect_files(what, found, wanted):
    changed = sorted(name for name in set(found) | set(wanted)
                     if found.get(name) != wanted.get(name))
    if changed:
        raise Mismatch(f"{what}: these files changed: {changed}")


def expect_clean(chain, path):
    """qemu-img check finds neither error nor leak."""
    done = chain.run("qemu-img", "check", "-f", "qcow2", "-U", path)
    if done.returncode != 0:
        raise Mismatch(f"qemu-img check {path}: exit {done.returncode}: "
                       f"{(done.stdout + done.stderr).decode()}")


def info(chain, path, fmt="qcow2"):
    """What qemu-img info tells, without what may differ."""
    told = json.loads(chain.ok("qemu-img", "info", "--output=json", "-f", fmt,
                               path))
    for key in VOLATILE:
        told.pop(key, None)
    return told


def settle(chain):
    """Close what a plan left dirty, as a writer asks for."""
    for layer in chain.plan.layers:
        if layer.is_dirty:
            chain.run("qemu-img", "check", "-q", "-r", "all", "-f", "qcow2",
                      layer.path)


def data_file(layer, folder):
    """The path of LAYER's external data file in the folder, or None."""
    name = layer.options.get("data_file")
    if not name:
        return None
    return os.path.relpath(
        os.path.join(folder, name.replace("{dir}", folder)), folder)
