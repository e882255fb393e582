#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""copy: a new destination has its name when it is complete, and not before.

One that is there and is written into (-n) is an image all the while, and has
in each sector what was there or what the source has.
"""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import trial  # noqa: E402

SECTOR = 512


class Copy(trial.Scenario):
    def build(self):
        rng = self.rng
        size = rng.randrange(64, 1024) * 1024
        self.create("base.qcow2", {}, size)
        self.scribble("base.qcow2", "qcow2", size, rng.randrange(0, 5))
        self.create("top.qcow2", self.options(), size, "base.qcow2")
        self.scribble("top.qcow2", "qcow2", size, rng.randrange(1, 8),
                      extra="d")
        self.fmt = self.pick("to", ["qcow2", "qcow2", "raw"])
        self.dest = f"dest.{self.fmt}"
        self.is_fresh = self.pick("destination", ["new", "new", "old",
                                                  "replaced"])
        self.args = ["copy", "-q", "-f", "qcow2", "-O", self.fmt]
        if self.is_fresh == "old":
            self.old_destination(size)
        else:
            self.new_destination()
        self.args += ["top.qcow2", self.dest]
        self.before = self.expected = None

    def new_destination(self):
        if self.is_fresh == "replaced":
            self.create(self.dest, {}, 65536)
        if self.fmt == "raw":
            return
        kind = self.pick("kind", ["plain", "compressed", "shallow"])
        if kind == "compressed":
            self.args.append("-c")
        elif kind == "shallow":
            self.args.append("--shallow")
        options = self.options()
        self.args += ["-o", ",".join(f"{k}={v}" for k, v in options.items())]

    def old_destination(self, size):
        self.args.append("-n")
        if self.fmt == "raw":
            with open(self.path(self.dest), "wb") as file:
                file.truncate(size)
        else:
            options = self.options()
            self.external(self.dest, options)
            self.create(self.dest, options, size)
        if self.rng.randrange(2):
            self.scribble(self.dest, self.fmt, size, 3)
        if self.fmt == "qcow2":
            self.bitmaps(self.dest, options, size)
            self.snapshot(self.dest, options, size)

    def judge(self, state):
        if self.expected is None:
            self.expected = self.contents(state, "top.qcow2")
            self.sources = {name: state.file_key(name)
                            for name in ("base.qcow2", "top.qcow2")}
            self.old_key = state.file_key(self.dest)
            if self.is_fresh == "old":
                self.before = self.contents(state, self.dest)
        for name, key in self.sources.items():
            if state.file_key(name) != key:
                raise trial.Wrong(f"{name} was changed")
        if self.is_fresh == "old":
            self.judge_old(state)
        elif state.file_key(self.dest) != self.old_key:
            if self.contents(state, self.dest) != self.expected:
                raise trial.Wrong("the copy shows something else")

    def judge_old(self, state):
        if self.fmt == "qcow2":
            self.judge_bitmaps(state, self.dest)
        shown = self.contents(state, self.dest)
        if shown in (self.before, self.expected):
            return
        if len(shown) != len(self.expected):
            raise trial.Wrong(f"neither the old image nor the new one, of "
                              f"{len(shown)} bytes")
        for off in range(0, len(shown), SECTOR):
            if shown[off:off + SECTOR] not in (
                    self.before[off:off + SECTOR],
                    self.expected[off:off + SECTOR]):
                raise trial.Wrong(f"at {off} what neither had")

    def tops(self):
        return [] if self.fmt == "raw" else [(self.dest, True)]


if __name__ == "__main__":
    trial.main(Copy, default_number=120, first_seed=1, min_states=2500,
               needed=["kind", "extended_l2", "data_file", "bitmaps",
                       "snapshot"])
