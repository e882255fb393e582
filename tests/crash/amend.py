#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""amend: whatever a power loss leaves opens and shows the same."""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import trial  # noqa: E402


class Amend(trial.Scenario):
    def build(self):
        rng = self.rng
        options = self.options()
        size = rng.randrange(1, 1024) * 1024
        self.create("base.qcow2", {}, size)
        self.scribble("base.qcow2", "qcow2", size, 4)
        self.external("top.qcow2", options)
        # Zeros of an image without a backing file lose their places.
        self.has_base = rng.randrange(4) > 0
        self.create("top.qcow2", options, size,
                    "base.qcow2" if self.has_base else None)
        self.scribble("top.qcow2", "qcow2", size, rng.randrange(1, 8),
                      extra="d")
        if "data_file" not in options and rng.randrange(3) == 0:
            self.compress("top.qcow2", options["cluster_size"], size, 4)
            self.counts[("compressed", "yes")] += 1
        self.bitmaps("top.qcow2", options, size)
        self.snapshot("top.qcow2", options, size)
        self.args = ["amend", "-q", "-f", "qcow2", "-o", self.change(options),
                     "top.qcow2"]
        self.expected = self.in_snapshot = None

    def change(self, options):
        """Something that can be changed of an image with OPTIONS."""
        changes = [] if not self.has_base else [
                   "backing_fmt=qcow2",
                   "backing_file=" + "./" * 60 +
                   "base.qcow2,backing_fmt=qcow2"]
        if options["compat"] == "0.10":
            changes += ["compat=1.1", "compat=1.1", "compat=1.1"]
        else:
            on = "off" if "lazy_refcounts" in options else "on"
            changes += [f"lazy_refcounts={on}"] * 2
            bits = 16 if options["refcount_bits"] != 16 else \
                self.rng.choice([8, 32, 64])
            changes += [f"refcount_bits={bits}"] * 4
            if not options.keys() & {"extended_l2", "data_file"} and \
                    options["refcount_bits"] == 16:
                changes += ["compat=0.10"] * 2
        change = self.rng.choice(changes)
        self.counts[("change", change.replace("./", "")[:20])] += 1
        return change

    def judge(self, state):
        shown = self.contents(state, "top.qcow2")
        if self.expected is None:
            self.expected = shown
        if shown != self.expected:
            raise trial.Wrong("the guest sees something else")
        self.judge_snapshots(state)
        self.judge_bitmaps(state, "top.qcow2")

    def judge_snapshots(self, state):
        image = self.image(state, "top.qcow2")
        base = self.contents(state, "base.qcow2") if self.has_base else None
        for name, l1_off, l1_nr, size in image.snapshots():
            shown = image.contents(base, image.table(l1_off, l1_nr), size)
            self.in_snapshot = self.in_snapshot or shown
            if shown != self.in_snapshot:
                raise trial.Wrong(f"snapshot {name} shows something else")

    def tops(self):
        return [("top.qcow2", True)]


if __name__ == "__main__":
    trial.main(Amend, default_number=120, first_seed=1, min_states=1000,
               needed=["compressed", "snapshot", "extended_l2", "data_file",
                       "bitmaps"])
