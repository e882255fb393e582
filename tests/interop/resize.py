#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""resize does what qemu-img resize does, from the same bytes.

The exit code, qemu-img info, snapshots and bitmaps are compared, and the
contents with what they must be: the old ones as far as both sizes go, then
zeros. There qemu-img is not asked: where a disk was made shorter within a
cluster and longer again it shows what was there before. An image that was not
closed cleanly is refused, where qemu-img repairs it first.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402
import twice  # noqa: E402

PREALLOC = ["off", "metadata", "falloc", "full"]
WANTED = [("outcome", "both did"), ("outcome", "both refused"),
          ("outcome", "meant to refuse"), ("direction", "longer"),
          ("direction", "shorter"), ("direction", "the same"),
          ("format", "raw"), ("format", "qcow2"), ("bitmaps", "followed"),
          ("bitmaps", "inconsistent"), ("snapshots", "kept"),
          ("data_file", "yes"), ("raw data_file", "yes"),
          ("over a backing file", "longer"),
          ("over a backing file", "shorter"), ("compat", "0.10"),
          ("end", "amid a cluster")] + \
         [("preallocation", word) for word in PREALLOC]
MEBI = 1 << 20


def pick_size(chain, size):
    """Another size, in sectors, near borders and far away."""
    rng = chain.rng
    cluster = chain.top.options.get("cluster_size", 65536)
    choice = rng.random()
    if choice < 0.05:
        return size
    if choice < 0.45:
        size = rng.randrange(512, size + 1)
    elif choice < 0.9:
        size += rng.choice([512, cluster, 3 * cluster,
                            rng.randrange(1, 4 * MEBI)])
    else:
        size += rng.randrange(1, 24 * MEBI)
    if rng.random() < 0.3:
        size = size // cluster * cluster
    return max(size // 512 * 512, 512)


def options_for(chain, old, new):
    rng, options = chain.rng, []
    if new < old or rng.random() < 0.1:
        if rng.random() < 0.9:
            options.append("--shrink")
    if (new > old and rng.random() < 0.4) or rng.random() < 0.05:
        word = rng.choice(PREALLOC)
        twice.count("preallocation", word)
        options.append(f"--preallocation={word}")
    return options


def size_word(chain, old, new):
    """The size in bytes, or as a difference."""
    if chain.rng.random() < 0.7 or new == old:
        return str(new)
    return f"+{new - old}" if new > old else f"-{old - new}"


def make_inconsistent(chain, path):
    """A writer that dies leaves its bitmaps in use."""
    chain.run("qemu-io", "-f", "qcow2", "-c", "write 0 512", "-c",
              "sigraise 9", path)


def expected_data(before, new):
    return before[:new].ljust(new, b"\0")


def virtual_size(state):
    return state.info["virtual-size"]


def count_case(chain, old, new, ours):
    top = chain.top
    twice.count("format", top.fmt)
    twice.count("direction", "the same" if new == old else
                "longer" if new > old else "shorter")
    twice.count("compat", top.options.get("compat"))
    if ours.bitmaps:
        twice.count("bitmaps", "followed")
    if ours.snapshots:
        twice.count("snapshots", "kept")
    if "data_file" in top.options:
        twice.count("data_file", "yes")
    if "data_file_raw" in top.options:
        twice.count("raw data_file", "yes")
    if old % top.options.get("cluster_size", 512):
        twice.count("end", "amid a cluster")
    if len(chain.plan.layers) > 1 and new > old:
        twice.count("over a backing file",
                    "longer" if chain.plan.layers[1].size > old
                    else "shorter")


def one(chain, old, new):
    """Resize once; the contents afterwards."""
    top = chain.top
    args = ["resize", "-q", "-f", top.fmt, *options_for(chain, old, new)]
    args += ["--", top.path, size_word(chain, old, new)]
    pair = twice.Twice(chain, top)
    before = pair.run("true")
    if top.fmt == "qcow2" and twice.is_dirty(pair.paths[0]):
        ours = pair.run(cases.IMGCHAIN, *args)
        twice.count("outcome", "meant to refuse")
        twice.expect(args, "exit code", ours.code, 1)
        twice.expect_untouched(args, before, ours)
        return
    peer, ours = pair.both(*args)
    twice.expect(args + [ours.stderr, peer.stderr], "exit code", ours.code,
                 peer.code)
    if ours.code != 0:
        twice.count("outcome", "both refused")
        twice.expect_untouched(args, before, ours)
        return
    twice.count("outcome", "both did")
    count_case(chain, old, new, ours)
    twice.expect_alike(args, peer, ours)
    twice.expect(args, "contents", ours.data,
                 expected_data(before.data, virtual_size(ours)))
    twice.expect(args, "bitmaps", ours.bitmaps, peer.bitmaps)
    for path in pair.paths[1:]:
        twice.expect(args, "length of the data file", os.path.getsize(path),
                     virtual_size(ours))


def size_of(chain):
    info = json.loads(chain.ok("qemu-img", "info", "--output", "json", "-f",
                               chain.top.fmt, chain.top.path))
    return info["virtual-size"]


def check(chain):
    top = chain.top
    if not chain.plan.is_readable:
        done = chain.run(cases.IMGCHAIN, "resize", "-f", top.fmt, top.path,
                         "1G")
        twice.expect(["resize, encrypted"], "exit code", done.returncode, 1)
        return
    path = os.path.join(chain.folder, top.path)
    if twice.bitmaps(path) and chain.rng.random() < 0.15:
        make_inconsistent(chain, top.path)
        twice.count("bitmaps", "inconsistent")
    for _ in range(2):
        old = size_of(chain)
        one(chain, old, pick_size(chain, old))


if __name__ == "__main__":
    CASES = 120
    sys.exit(twice.finish(cases.run(check, CASES, first_seed=70400), WANTED,
                          twice.number_of_cases(CASES)))
