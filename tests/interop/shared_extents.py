#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reflinked files: shared blocks are proved equal unread, others are read."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
SKIP = 77
MIB = 1 << 20
LEN = 32 * MIB
MAKERS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
          "btrfs": ["mkfs.btrfs", "-q"]}


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def compare(*args):
    done = subprocess.run([IMGCHAIN, "compare", "--output", "json", "-f",
                           "raw", "-F", "raw", *args], capture_output=True,
                          text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout)


def expect(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"{what}: found {found}, expected {wanted}")


def check(folder):
    one, two = (os.path.join(folder, name) for name in ("one", "two"))
    data = bytearray(os.urandom(LEN))
    with open(one, "wb") as file:
        file.write(data)
    os.sync()
    run("cp", "--reflink=always", one, two)
    os.sync()
    code, report = compare(one, two)
    expect("exit", code, 0)
    expect("proof", report["proof"]["shared-extents"], LEN)
    expect("proof", report["proof"]["read"], 0)

    # Other bytes in two places, one of them not aligned to anything.
    changed = [(5 * MIB + 4097, 10000), (20 * MIB, MIB)]
    with open(two, "r+b") as file:
        for off, length in changed:
            file.seek(off)
            file.write(bytes(b ^ 0xFF for b in data[off:off + length]))
    # Delayed allocation is settled by asking; no sync here.
    code, report = compare("--all", one, two)
    expect("exit", code, 1)
    expect("differences", [(d["start"], d["length"])
                           for d in report["differences"]], changed)
    proof = report["proof"]
    expect("sum", sum(proof.values()), LEN)
    if not LEN - 4 * MIB <= proof["shared-extents"] < LEN - MIB:
        raise AssertionError(f"shared extents: {proof}")

    # The same bytes written again are equal, but no longer shared.
    with open(two, "r+b") as file:
        file.write(data)
    code, report = compare(one, two)
    expect("exit", code, 0)
    expect("read", report["proof"]["read"], LEN)


def on(kind, folder):
    image, mount = (os.path.join(folder, name) for name in ("image", "mount"))
    with open(image, "wb") as file:
        file.truncate(512 * MIB)
    os.mkdir(mount)
    run(*MAKERS[kind], image)
    run("mount", "-o", "loop", image, mount)
    try:
        check(mount)
    finally:
        run("umount", mount)


def main():
    missing = [k for k in MAKERS if not shutil.which(MAKERS[k][0])]
    if os.geteuid() != 0 or missing:
        print("skipped: needs root and mkfs of", *MAKERS)
        return SKIP
    for kind in MAKERS:
        with tempfile.TemporaryDirectory() as folder:
            on(kind, folder)
        print(f"{kind}: good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
