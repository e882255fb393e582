# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same change of an image by qemu-img and by imgchain, from the same
bytes, and what came of it: exit code, check, info, contents, bitmaps."""

import collections
import hashlib
import json
import os
import shutil
import struct
import subprocess
import threading

import cases

# qemu-img 7.2 does not come back from some changes of the refcount width.
PEER_SECONDS = 4
# What differs between two files that are alike.
INFO_DROPPED = ("actual-size", "children", "dirty-flag")
BITMAPS_EXTENSION = 0x23852875
IN_USE = 1

_lock = threading.Lock()
_counts = collections.Counter()


def count(option, value):
    with _lock:
        _counts[(option, str(value))] += 1


def finish(code, wanted, number):
    """Print what was met; 1 if some of WANTED was not, over many cases."""
    print("\nchanges:")
    for key in sorted(_counts):
        print(f"  {key[0]}: {key[1]} {_counts[key]}")
    missing = sorted(set(wanted) - set(_counts))
    if missing and number >= 120 and "IMGCHAIN_SEED" not in os.environ:
        print(f"never met: {missing}")
        return 1
    return code


def number_of_cases(default):
    number = int(os.environ.get("IMGCHAIN_CASES", default))
    return (number + 5) // 6 if "IMGCHAIN_SANITIZED" in os.environ else number


# -- bitmaps, read from the file

def _extension(data, wanted):
    version, = struct.unpack_from(">I", data, 4)
    at = struct.unpack_from(">I", data, 100)[0] if version == 3 else 72
    while True:
        kind, length = struct.unpack_from(">II", data, at)
        if kind == 0:
            return None
        if kind == wanted:
            return at + 8
        at += 8 + (length + 7) // 8 * 8


def _bits(data, table, entries, cluster, bits):
    out = bytearray()
    for idx in range(entries):
        entry, = struct.unpack_from(">Q", data, table + 8 * idx)
        off = entry & 0x00fffffffffffe00
        if off:
            out += data[off:off + cluster].ljust(cluster, b"\0")
        else:
            out += (b"\xff" if entry & 1 else b"\0") * cluster
    stray = int.from_bytes(out, "little") >> bits
    return bytes(out[:(bits + 7) // 8]), stray == 0


def bitmaps(path):
    """{name: (granularity, flags, bits)} of the qcow2 file at PATH."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"QFI\xfb" or data[4:8] != b"\0\0\0\3":
        return {}
    if not struct.unpack_from(">Q", data, 88)[0] & 1:
        return {}
    at = _extension(data, BITMAPS_EXTENSION)
    if at is None:
        return {}
    number, _, _, pos = struct.unpack_from(">IIQQ", data, at)
    cluster = 1 << struct.unpack_from(">I", data, 20)[0]
    size, = struct.unpack_from(">Q", data, 24)
    found = {}
    for _ in range(number):
        table, entries, flags, _, order, length, extra = struct.unpack_from(
            ">QIIBBHI", data, pos)
        name = data[pos + 24 + extra:pos + 24 + extra + length].decode()
        needed = -(-size // (1 << order))
        value, is_clean = _bits(data, table, entries, cluster, needed)
        if not is_clean:
            raise cases.Mismatch(f"bitmap {name}: bits beyond the disk")
        found[name] = (1 << order, flags, value)
        pos += (24 + extra + length + 7) // 8 * 8
    return found


# -- what an image is

def known_info(value):
    """Of qemu-img info what both must agree on."""
    if isinstance(value, list):
        return [known_info(item) for item in value]
    if isinstance(value, dict):
        return {key: known_info(item) for key, item in value.items()
                if key not in INFO_DROPPED}
    return value


def contents(chain, layer, *options):
    """A hash of what the guest sees, and the first bytes that are not."""
    raw = os.path.join(chain.folder, "contents.raw")
    chain.ok("qemu-img", "convert", "-O", "raw", *options, "-f", layer.fmt,
             layer.path, raw)
    with open(raw, "rb") as file:
        data = file.read()
    os.remove(raw)
    return data


def is_dirty(path):
    """Incompatible feature bit 0 of the qcow2 file at PATH."""
    with open(path, "rb") as file:
        head = file.read(80)
    return head[4:8] == b"\0\0\0\3" and bool(head[79] & 1)


def files_of(chain, layer):
    """The file of LAYER and its external data file."""
    paths = [os.path.join(chain.folder, layer.path)]
    data_file = layer.options.get("data_file")
    if data_file:
        data_file = data_file.replace("{dir}", chain.folder)
        paths.append(os.path.join(chain.folder, data_file))
    return paths


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class State:
    """What became of a layer."""

    def __init__(self, chain, layer, done):
        self.code = done.returncode
        self.stderr = done.stderr.decode(errors="replace")
        self.info = known_info(json.loads(chain.ok(
            "qemu-img", "info", "--output", "json", "-f", layer.fmt,
            layer.path)))
        self.data = contents(chain, layer)
        self.snapshots = [contents(chain, layer, "-l", name)
                          for name in layer.snapshots]
        self.bitmaps = bitmaps(os.path.join(chain.folder, layer.path))
        self.problems = ""
        if layer.fmt == "qcow2":
            check = chain.run("qemu-img", "check", "-f", "qcow2", layer.path)
            if check.returncode != 0:
                self.problems = check.stdout.decode(errors="replace") + \
                    check.stderr.decode(errors="replace")


class Twice:
    """Runs a change by both programs on the same bytes."""

    def __init__(self, chain, layer):
        self.chain = chain
        self.layer = layer
        self.paths = files_of(chain, layer)
        for path in self.paths:
            shutil.copyfile(path, path + ".before")

    def restore(self):
        for path in self.paths:
            shutil.copyfile(path + ".before", path)

    def lower_files(self):
        """Of all other files of the chain: nobody may change them."""
        return {other.path: digest(os.path.join(self.chain.folder,
                                                other.path))
                for other in self.chain.plan.layers if other is not self.layer}

    def run(self, program, *args):
        self.restore()
        return State(self.chain, self.layer, self.chain.run(program, *args))

    def run_peer(self, *args):
        """None where qemu-img does not come back."""
        self.restore()
        try:
            done = subprocess.run(["qemu-img", *args], cwd=self.chain.folder,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, check=False,
                                  timeout=PEER_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return State(self.chain, self.layer, done)

    def both(self, *args):
        """qemu-img's state and imgchain's after ARGS."""
        below = self.lower_files()
        peer = self.run_peer(*args)
        ours = self.run(cases.IMGCHAIN, *args)
        if self.lower_files() != below:
            raise cases.Mismatch(f"{args}: a file of the chain changed")
        return peer, ours


def expect(args, what, found, expected):
    if found != expected:
        if isinstance(found, bytes):
            first = next((i for i, (a, b) in enumerate(zip(found, expected))
                          if a != b), min(len(found), len(expected)))
            found = f"{len(found)} bytes, other from {first} on"
            expected = f"{len(expected)} bytes"
        raise cases.Mismatch(f"{' '.join(args)}: {what}:\n"
                             f"  found    {found}\n  expected {expected}")


def expect_alike(args, peer, ours):
    """A change that both made."""
    expect(args, "check", ours.problems, "")
    expect(args, "info", ours.info, peer.info)
    expect(args, "snapshots", ours.snapshots, peer.snapshots)


def expect_untouched(args, before, ours):
    """A change that was refused: the guest sees what it saw."""
    expect(args, "info after a refusal", ours.info, before.info)
    expect(args, "contents after a refusal", ours.data, before.data)
    expect(args, "bitmaps after a refusal", ours.bitmaps, before.bitmaps)
