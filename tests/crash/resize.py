#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""resize: whatever a power loss leaves has the old size or the new one, and
shows what was there as far as that goes; what is new reads as zeros."""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import trial  # noqa: E402


class Resize(trial.Scenario):
    def build(self):
        rng = self.rng
        options = self.options()
        cluster = options["cluster_size"]
        # Up to where the L1 table has to move, or several of them go.
        span = min(cluster * cluster // 8, 4 << 20)
        size = rng.randrange(1, 2 * span // 1024) * 1024
        base_size = rng.choice([size // 2 // 512 * 512 + 512, size + 65536])
        if options["compat"] == "0.10":
            base_size = min(base_size, size)  # it could not hide the rest
        self.create("base.qcow2", {}, base_size)
        self.scribble("base.qcow2", "qcow2", base_size, 4)
        self.external("top.qcow2", options)
        if self.pick("backing", ["yes", "no"]) == "yes":
            self.create("top.qcow2", options, size, "base.qcow2")
        else:
            self.create("top.qcow2", options, size)
        self.scribble("top.qcow2", "qcow2", size, rng.randrange(1, 8),
                      extra="d")
        self.bitmaps("top.qcow2", options, size)
        if options["compat"] == "1.1":
            self.snapshot("top.qcow2", options, size)
        self.args = ["resize", "-q", "-f", "qcow2"]
        if self.pick("to", ["more", "less"]) == "more":
            self.new_size = size + rng.randrange(1, 4 * span // 512) * 512
            if rng.randrange(4) == 0 and self.new_size < 8 << 20:
                self.args.append("--preallocation=" +
                                 self.pick("preallocation",
                                           ["metadata", "falloc", "full"]))
        else:
            self.new_size = rng.randrange(1, size // 512 + 1) * 512
            self.args.append("--shrink")
        self.args += ["top.qcow2", str(self.new_size)]
        self.old = None

    def judge(self, state):
        shown = self.contents(state, "top.qcow2")
        if self.old is None:
            self.old = shown
        if len(shown) not in (len(self.old), self.new_size):
            raise trial.Wrong(f"a size of {len(shown)}")
        self.judge_bitmaps(state, "top.qcow2")
        kept = min(len(self.old), self.new_size)
        if shown[:kept] != self.old[:kept]:
            raise trial.Wrong("other contents below both sizes")
        tail = shown[kept:]
        if tail.count(0) == len(tail):
            return
        if len(shown) == self.new_size:
            raise trial.Wrong("what is new does not read as zeros")
        self.judge_tail(tail, self.old[kept:])

    @staticmethod
    def judge_tail(tail, old):
        """What is about to be cut off: old, or gone already."""
        for off in range(0, len(tail), 512):
            part = tail[off:off + 512]
            if part != old[off:off + 512] and part.count(0) != len(part):
                raise trial.Wrong(f"other contents {off} after the new end")

    def tops(self):
        return [("top.qcow2", True)]


if __name__ == "__main__":
    trial.main(Resize, default_number=120, first_seed=1, min_states=1000,
               needed=["snapshot", "preallocation", "extended_l2",
                       "data_file", "bitmaps"])
