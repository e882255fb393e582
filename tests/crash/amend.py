#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""amend: whatever a power loss leaves, the guest sees what it saw."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import trial  # noqa: E402


class Amend(trial.Scenario):
    def build(self):
        rng = self.rng
        size = rng.randrange(64, 512) * 1024
        options = self.options()
        options.pop("extended_l2", None)  # which version 2 cannot have
        backing = None
        if rng.randrange(2):
            backing = "below.qcow2"
            self.create(backing, {}, size + 512 * rng.randrange(64))
            self.scribble(backing, "qcow2", size, 3)
        self.create("top.qcow2", options, size, backing)
        self.scribble("top.qcow2", "qcow2", size, rng.randrange(1, 8),
                      extra="d")
        wide = options.get("refcount_bits") != 1
        if wide and rng.randrange(2):
            trial.qemu("qemu-img", "snapshot", "-c", "s", "top.qcow2",
                       cwd=self.folder)
            self.scribble("top.qcow2", "qcow2", size, 3)
            self.counts[("snapshot", "yes")] += 1
        elif options["compat"] == "1.1" and rng.randrange(2):
            trial.qemu("qemu-img", "bitmap", "--add", "-g", "512",
                       "top.qcow2", "b", cwd=self.folder)
            self.scribble("top.qcow2", "qcow2", size, 2)
            self.counts[("bitmap", "yes")] += 1
        self.args = ["amend", "-q", "-f", "qcow2", "-o",
                     ",".join(self.words(options, backing)), "top.qcow2"]
        self.expected = None

    def words(self, options, backing):
        """Options that go together."""
        words = []
        to = self.pick("to", ["0.10", "1.1"])
        bits = self.pick("to bits", [8, 16, 32, 64])
        if to == "0.10":
            words += ["compat=0.10", "refcount_bits=16"]
        else:
            words += ["compat=1.1", f"refcount_bits={bits}"]
            if options["compat"] == "1.1" or self.rng.randrange(2):
                words.append("lazy_refcounts="
                             + self.pick("to lazy", ["on", "off"]))
        if backing and self.rng.randrange(2):
            words += [f"backing_file=./{backing}", "backing_fmt=qcow2"]
            self.counts[("backing name", "yes")] += 1
        return words

    def judge(self, state):
        shown = self.contents(state, "top.qcow2")
        if self.expected is None:  # the first state is that of before
            self.expected = shown
        if shown != self.expected:
            first = next((i for i, (a, b) in
                          enumerate(zip(shown, self.expected)) if a != b),
                         min(len(shown), len(self.expected)))
            raise trial.Wrong(f"the guest sees something else at {first}")

    def tops(self):
        return [("top.qcow2", True)]


if __name__ == "__main__":
    trial.main(Amend, default_number=150, first_seed=1, min_states=1200,
               needed=["snapshot", "bitmap", "backing name",
                       "lazy_refcounts"])
