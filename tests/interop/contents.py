#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guest sees is, byte for byte, what qemu-img convert writes.

Each chain is read in full through the view (helper program viewdump) and
compared with its flattened copy by imgchain compare, which must call it the
same, and different at the right byte after one byte of the copy is changed.
Internal snapshots are read the same way.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402

VIEWDUMP = os.path.join(os.environ.get("IMGCHAIN_BUILD", "."), "tests",
                        "viewdump")
RAW = "flat.raw"


def read_file(chain, name):
    with open(os.path.join(chain.folder, name), "rb") as file:
        return file.read()


def first_difference(a, b):
    if len(a) != len(b):
        return f"{len(b)} bytes, expected {len(a)}"
    for off in range(0, len(a), 4096):
        if a[off:off + 4096] != b[off:off + 4096]:
            byte = next(i for i in range(off, off + 4096) if a[i] != b[i])
            return (f"first difference at {byte}: found {b[byte]:#x}, "
                    f"expected {a[byte]:#x}")
    return "equal"


def check_bytes(chain):
    top = chain.top
    chain.ok("qemu-img", "convert", "-f", top.fmt, "-O", "raw", top.path, RAW)
    expected = read_file(chain, RAW)
    found = chain.ok(VIEWDUMP, "--bytes", top.path, top.fmt)
    if found != expected:
        raise cases.Mismatch(f"viewdump {top.path}: "
                             f"{first_difference(expected, found)}")
    return expected


def compare(chain, code):
    """The verdict of compare on the chain and its copy, as JSON."""
    args = ["compare", "--output", "json", "-f", chain.top.fmt, "-F", "raw",
            chain.top.path, RAW]
    done = chain.run(cases.IMGCHAIN, *args)
    if done.returncode != code:
        raise cases.Mismatch(
            f"{' '.join(args)}: exit {done.returncode}, expected {code}: "
            f"{done.stdout.decode()} {done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def check_compare(chain, contents):
    answer = compare(chain, 0)
    settled = sum(answer["proof"].values())
    if answer["result"] != "identical" or settled != len(contents):
        raise cases.Mismatch(f"equal chains, {len(contents)} bytes: {answer}")
    # Most of a sparse image is zero: change such a byte as well as data.
    off = chain.rng.randrange(len(contents))
    if chain.rng.random() < 0.5:
        off = max(contents.rfind(b"1"), 0)
    with open(os.path.join(chain.folder, RAW), "r+b") as file:
        file.seek(off)
        file.write(bytes([contents[off] ^ 0x40]))
    answer = compare(chain, 1)
    if answer["result"] != "different" or answer["first-difference"] != off:
        raise cases.Mismatch(f"byte {off} changed: {answer}")


def check_snapshots(chain):
    top = chain.top
    for name in top.snapshots:
        out = "snapshot.raw"
        chain.ok("qemu-img", "convert", "-f", top.fmt, "-l", name, "-O", "raw",
                 top.path, out)
        # qemu-img 7.2 gives a snapshot the size that the disk has now.
        expected = read_file(chain, out)[:top.snapshot_size]
        found = chain.ok(VIEWDUMP, "--bytes", "-l", name, top.path)
        if found != expected:
            raise cases.Mismatch(f"snapshot {name} of {top.path}: "
                                 f"{first_difference(expected, found)}")


def check(chain):
    if not chain.plan.is_readable:
        done = chain.run(cases.IMGCHAIN, "compare", chain.top.path,
                         chain.top.path)
        if done.returncode != 2 or b"encrypted" not in done.stderr:
            raise cases.Mismatch(f"compare of an encrypted image: exit "
                                 f"{done.returncode}: {done.stderr!r}")
        return
    contents = check_bytes(chain)
    check_compare(chain, contents)
    check_snapshots(chain)


if __name__ == "__main__":
    sys.exit(cases.run(check, default_number=300, first_seed=20000))
