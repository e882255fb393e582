#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""map --output json is qemu-img's list, entry for entry.

Keys that only imgchain has (compressed) are dropped first. Each chain is
mapped whole, from its second layer, and through a window (-s, -l).
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402

KEYS = ("start", "length", "depth", "present", "zero", "data", "offset")


def known_keys(entries):
    return [{key: entry[key] for key in KEYS if key in entry}
            for entry in entries]


def compare(chain, layer, *extra):
    args = ["map", "--output", "json", *extra, *chain.format_args(layer),
            layer.path]
    # Where a file has blocks that were never written, the kernel calls data
    # what happens to be in the page cache; each program's reads put something
    # there. Once both have looked at everything, it stays as it is.
    for _ in range(3):
        peer, ours = chain.both(*args)
        ours = known_keys(ours)
        peer = known_keys(peer)
        if peer == ours:
            return
    for idx, (left, right) in enumerate(zip(peer, ours)):
        if left != right:
            raise cases.Mismatch(f"{' '.join(args)}: entry {idx}:\n"
                                 f"  found    {right}\n  expected {left}")
    raise cases.Mismatch(f"{' '.join(args)}: {len(ours)} entries, "
                         f"expected {len(peer)}")


def check(chain):
    if not chain.plan.is_readable:
        refused(chain)
        return
    compare(chain, chain.top)
    if len(chain.plan.layers) > 1:
        compare(chain, chain.plan.layers[1])
    start = chain.rng.randrange(chain.top.size)
    length = chain.rng.randrange(1, chain.top.size - start + 1)
    compare(chain, chain.top, "-s", str(start), "-l", str(length))


def refused(chain):
    """Encrypted contents have no map without the key: both refuse."""
    done = chain.run(cases.IMGCHAIN, "map", "--output", "json",
                     chain.top.path)
    if done.returncode != 1 or done.stdout or b"encrypted" not in done.stderr:
        raise cases.Mismatch(f"map of an encrypted image: exit "
                             f"{done.returncode}, stdout {done.stdout!r}, "
                             f"stderr {done.stderr!r}")


if __name__ == "__main__":
    sys.exit(cases.run(check, default_number=300, first_seed=10000))
