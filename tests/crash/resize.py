#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""resize: whatever a power loss leaves, the disk has its old or its new size;
as far as it goes the guest sees what it saw, and then zeros."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import trial  # noqa: E402


class Resize(trial.Scenario):
    def build(self):
        rng = self.rng
        old = rng.randrange(128, 1024) * 512
        options = self.options()
        backing = None
        if options["compat"] == "1.1" and rng.randrange(2):
            backing = "below.qcow2"
            below = old + rng.choice([-4096, 0, 8192, 131072])
            self.create(backing, {"cluster_size": 4096}, below)
            self.scribble(backing, "qcow2", below, 4)
            self.counts[("backing file", "longer" if below > old
                         else "shorter")] += 1
        self.create("top.qcow2", options, old, backing)
        self.scribble("top.qcow2", "qcow2", old, rng.randrange(1, 9),
                      extra="d")
        if rng.randrange(3) == 0:
            self.compress("top.qcow2", options["cluster_size"], old, 3)
        self.more(options, old)
        self.old = old
        self.new = self.pick_size(old, options)
        self.args = ["resize", "-q", "-f", "qcow2"]
        if self.new < old:
            self.args.append("--shrink")
            self.counts[("direction", "shorter")] += 1
        else:
            word = self.pick("preallocation",
                             ["off", "off", "metadata", "full"])
            self.args.append(f"--preallocation={word}")
            self.counts[("direction", "longer")] += 1
        self.args += ["top.qcow2", str(self.new)]
        self.before = None

    def more(self, options, size):
        """Snapshots, or bitmaps that have to follow."""
        is_v3 = options["compat"] == "1.1"
        if is_v3 and options["refcount_bits"] > 1 and self.rng.randrange(3) == 0:
            trial.qemu("qemu-img", "snapshot", "-c", "s", "top.qcow2",
                       cwd=self.folder)
            self.scribble("top.qcow2", "qcow2", size, 3)
            self.counts[("snapshot", "yes")] += 1
        elif is_v3 and self.rng.randrange(2):
            for name in ("one", "two"):
                trial.qemu("qemu-img", "bitmap", "--add", "-g", "512",
                           "top.qcow2", name, cwd=self.folder)
            self.scribble("top.qcow2", "qcow2", size, 2)
            self.counts[("bitmap", "yes")] += 1

    def pick_size(self, old, options):
        rng = self.rng
        if rng.randrange(2):
            return max(512, rng.randrange(1, old // 512) * 512)
        new = old + 512 * rng.choice([1, rng.randrange(1, 2000)])
        # Refcounts of one bit need a block for each few clusters.
        return min(new, old + 256 * options["cluster_size"])

    def judge(self, state):
        shown = self.contents(state, "top.qcow2")
        if self.before is None:  # the first state is that of before
            self.before = shown
        if len(shown) not in (self.old, self.new):
            raise trial.Wrong(f"the disk has {len(shown)} bytes")
        expected = self.before[:len(shown)].ljust(len(shown), b"\0")
        if shown != expected:
            first = next(i for i, (a, b) in enumerate(zip(shown, expected))
                         if a != b)
            raise trial.Wrong(f"the guest sees something else at {first} of "
                              f"{len(shown)}")

    def tops(self):
        return [("top.qcow2", True)]


if __name__ == "__main__":
    trial.main(Resize, default_number=150, first_seed=1, min_states=1000,
               needed=["snapshot", "bitmap", "backing file", "direction",
                       "preallocation", "extended_l2"])
