#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""rebase: whatever a power loss leaves, the guest sees what it saw, through
whichever backing file the header names then."""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import trial  # noqa: E402


class Rebase(trial.Scenario):
    def build(self):
        rng = self.rng
        size = rng.randrange(64, 1024) * 1024
        options = self.options()
        self.base("old", size)
        self.base("new", size - rng.choice([0, 0, 65536 // 2])
                  if rng.randrange(2) else size + 65536)
        self.external("top.qcow2", options)
        self.create("top.qcow2", options, size, self.old, self.fmt(self.old))
        self.scribble("top.qcow2", "qcow2", size, rng.randrange(0, 8),
                      extra="d")
        self.more(options, size)
        self.args = ["rebase", "-q", "-f", "qcow2"]
        kind = self.pick("to", ["other", "other", "other", "nothing", "same"])
        if kind == "nothing":
            self.args += ["-b", ""]
        else:
            target = self.new if kind == "other" else self.old
            # a long name does not fit where the old one is
            name = self.pick("name", ["plain", "long"])
            # (in 512 bytes both names must have room)
            if name == "long" and options["cluster_size"] > 512:
                target = "./" * rng.randrange(50, 200) + target
            self.args += ["-b", target, "-F", self.fmt(target)]
        self.args.append("top.qcow2")
        self.expected = None

    @staticmethod
    def fmt(name):
        return "raw" if name.endswith(".raw") else "qcow2"

    def base(self, which, size):
        """A backing file; old and new have much in common."""
        fmt = self.pick("base", ["qcow2", "raw"])
        name = f"{which}.{fmt}"
        setattr(self, which, name)
        if fmt == "raw":
            with open(self.path(name), "wb") as file:
                file.truncate(size)
        else:
            self.create(name, {"cluster_size": 4096}, size)
        common, self.rng = self.rng, type(self.rng)(self.seed)
        self.scribble(name, fmt, min(size, 60 << 10), 3)
        self.rng = common
        self.scribble(name, fmt, size, self.rng.randrange(0, 6))

    def more(self, options, size):
        """What makes writing harder: shared and compressed clusters."""
        if "data_file" not in options and self.rng.randrange(3) == 0:
            self.compress("top.qcow2", options["cluster_size"], size, 4)
            self.counts[("compressed", "yes")] += 1
        self.bitmaps("top.qcow2", options, size)
        self.snapshot("top.qcow2", options, size)

    def judge(self, state):
        shown = self.contents(state, "top.qcow2")
        if self.expected is None:  # the first state is that of before
            self.expected = shown
        if shown != self.expected:
            first = next(i for i, (a, b) in
                         enumerate(zip(shown, self.expected)) if a != b)
            raise trial.Wrong(f"the guest sees something else at {first}")
        self.judge_bitmaps(state, "top.qcow2")
        for name in (self.old, self.new):
            if state.file_key(name) != (state.names[name],):
                if state.file_key(name)[1]:
                    raise trial.Wrong(f"{name} was changed")

    def tops(self):
        return [("top.qcow2", True)]


if __name__ == "__main__":
    trial.main(Rebase, default_number=150, first_seed=1, min_states=2500,
               needed=["compressed", "snapshot", "lazy_refcounts",
                       "extended_l2", "data_file", "bitmaps"])
