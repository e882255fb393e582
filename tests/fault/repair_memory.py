#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much memory a check and a repair take of images that claim much and hold
little: sparse files whose tables name clusters all over the place, or one
cluster over and over. What an image really holds bounds it. One whose tables
are there and wrong in every entry is repaired.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
IS_SANITIZED = bool(os.environ.get("IMGCHAIN_SANITIZED"))
TIMEOUT = 120
MIB = 1 << 20
COPIED = 1 << 63
NO_MEMORY = r"more memory than it was given"
TABLES = 1 << 30  # where L2 tables lie, and clusters of data
DATA = 1 << 32


def words(values):
    return b"".join(struct.pack(">Q", value) for value in values)


def make(path, bits, l1, parts, length, order=4):
    """An image of clusters of 1 << BITS bytes with the entries L1; PARTS are
    (offset, bytes)."""
    cluster = 1 << bits
    head = struct.pack(">IIQIIQIIQQIIQQQQII", 0x514649fb, 3, 0, 0, bits,
                       len(l1) * (cluster // 8) * cluster, 0, len(l1), 4 * MIB,
                       cluster, 1, 0, 0, 0, 0, 0, order, 104)
    with open(path, "wb") as file:
        file.write(head)
        for off, data in [(cluster, words([2 * cluster])),
                          (4 * MIB, words(l1)), *parts]:
            file.seek(off)
            file.write(data)
        file.truncate(length)


def shared_table(path):
    make(path, 9, [TABLES] * (1 << 20),
         [(TABLES, words([DATA | COPIED] * 64))], 1 << 40, order=0)


def shared_cluster(path):
    make(path, 21, [TABLES + (i << 21) for i in range(16)],
         [(TABLES, words([DATA | COPIED] * (1 << 18))), (DATA, b"x" * MIB)],
         1 << 42, order=0)


def scattered(path):
    make(path, 9, [TABLES + i * 512 for i in range(4096)],
         [(TABLES, words(DATA + (i << 21) for i in range(64 * 4096)))],
         1 << 43)


def tables_in_holes(path):
    make(path, 9, [TABLES + i * 512 for i in range(1 << 20)], [], 1 << 33)


def entries_past_end(path):
    make(path, 16, [1 << 50] * (1 << 20), [], 1 << 36)


def flags(path):
    """16 MiB of L2 tables, without the flag that each entry should have."""
    make(path, 16, [TABLES + i * 65536 for i in range(256)],
         [(TABLES, words(DATA + i * 65536 for i in range(256 * 8192)))],
         1 << 38)


# An image, arguments of check, exit codes, what is said, peak in MiB.
CASES = [
    (shared_table, [], (2,), "", 96),
    (shared_table, ["-r", "all"], (1,), "too much is shared", 96),
    (shared_cluster, ["-r", "all"], (1,), "too much is shared", 96),
    (scattered, [], (1,), NO_MEMORY, 96),
    (scattered, ["-r", "all"], (1,), NO_MEMORY, 96),
    (tables_in_holes, ["-r", "all"], (1,), NO_MEMORY, 128),
    (entries_past_end, ["-r", "all"], (0,), "", 96),
    (flags, ["-r", "all", "--max-memory", "8M"], (1,), NO_MEMORY, 64),
    (flags, ["-r", "all"], (0,), "", 128),
]


def peak_of(path):
    with open(path, encoding="ascii") as file:
        return int(re.findall(r"\d+", file.read())[-1]) // 1024


def judge(folder, case):
    make_it, args, codes, text, limit = case
    path = os.path.join(folder, "image.qcow2")
    used = os.path.join(folder, "used")
    make_it(path)
    before = os.stat(path)
    more = ["--no-undo"] if args and codes == (0,) else []
    done = subprocess.run(["/usr/bin/time", "-o", used, "-f", "%M", IMGCHAIN,
                           "check", "-q", "-f", "qcow2", *args, *more, path],
                          check=False, text=True, timeout=TIMEOUT,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = peak_of(used)
    wrong = []
    if done.returncode not in codes or not re.search(text, done.stderr):
        wrong.append(f"exit {done.returncode}, {done.stderr!r}")
    if peak > limit and not IS_SANITIZED:
        wrong.append(f"{peak} MiB, at most {limit}")
    if done.returncode == 1 and os.stat(path).st_mtime_ns != before.st_mtime_ns:
        wrong.append("refused, but written")
    print(f"{peak:5} MiB: {make_it.__name__} {' '.join(args)}")
    for one in wrong:
        print(f"FAIL {make_it.__name__} {args}: {one}")
    return not wrong


def main():
    if not shutil.which("/usr/bin/time"):
        print("SKIP: no /usr/bin/time")
        return 77
    with tempfile.TemporaryDirectory(prefix="imgchain-memory-") as folder:
        results = [judge(folder, case) for case in CASES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
