#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""commit: whatever a power loss leaves, the overlay shows what it showed, and
each sector of the base is that of before or that of the overlay."""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import trial  # noqa: E402

SECTOR = 512


class Commit(trial.Scenario):
    def build(self):
        rng = self.rng
        size = rng.randrange(64, 1024) * 1024
        self.expected = None
        self.layers = ["base"]
        fmt = self.pick("base", ["qcow2", "qcow2", "raw"])
        self.base = f"base.{fmt}"
        base_size = size - self.pick("base is shorter by", [0, 0, 40960])
        if fmt == "raw":
            with open(self.path(self.base), "wb") as file:
                file.truncate(base_size)
        else:
            options = self.options()
            if options["compat"] == "0.10":
                base_size = size  # cannot grow with a snapshot
            self.external(self.base, options)
            self.create(self.base, options, base_size)
        self.scribble(self.base, fmt, base_size, rng.randrange(0, 6))
        if fmt == "qcow2":
            self.more(self.base, options, base_size)
        depth = self.pick("layers", [2, 2, 3])
        below = self.base
        for n in range(1, depth):
            name = f"layer{n}.qcow2"
            options = self.options()
            self.external(name, options)
            self.create(name, options, size if n == depth - 1 else base_size,
                        below, "raw" if below.endswith(".raw") else "qcow2")
            self.scribble(name, "qcow2", size if n == depth - 1 else base_size,
                          rng.randrange(1, 9), extra="d")
            below = name
        self.top = below
        if "data_file" not in options and rng.randrange(4) == 0:
            self.compress(self.top, options["cluster_size"], size, 3)
            self.counts[("compressed", "yes")] += 1
        self.args = ["commit", "-q", "-f", "qcow2"]
        if rng.randrange(3) == 0:
            self.args.append("-d")
            self.counts[("option", "-d")] += 1
        if depth == 3 and rng.randrange(2):
            self.args += ["-b", self.base]
            self.counts[("option", "-b")] += 1
            self.written = self.base
        else:
            self.written = (self.base if depth == 2
                            else f"layer{depth - 2}.qcow2")
        self.args.append(self.top)

    def more(self, name, options, size):
        """What makes writing into the base harder."""
        if "data_file" not in options and self.rng.randrange(3) == 0:
            self.compress(name, options["cluster_size"], size, 4)
        self.bitmaps(name, options, size)
        self.snapshot(name, options, size)

    def judge(self, state):
        shown = self.contents(state, self.top)
        base = self.contents(state, self.written)
        if self.expected is None:
            self.expected, self.old_base = shown, base
            written = (self.top, self.written)
            written += tuple(trial.data_name(name) for name in written)
            self.untouched = {name: state.file_key(name)
                              for name in state.paths()
                              if name not in written}
        if shown != self.expected:
            first = next((i for i, (a, b) in
                          enumerate(zip(shown, self.expected)) if a != b),
                         len(shown))
            raise trial.Wrong(f"the overlay shows something else at {first}")
        self.judge_base(base)
        if self.written.endswith(".qcow2"):
            self.judge_bitmaps(state, self.written)
        for name, key in self.untouched.items():
            if state.file_key(name) != key:
                raise trial.Wrong(f"{name} was changed")

    def judge_base(self, base):
        lengths = (len(self.old_base),
                   max(len(self.old_base), len(self.expected)))
        # A raw file is as long as the last byte that reached the disk.
        if not lengths[0] <= len(base) <= lengths[1] or \
                len(base) not in lengths and self.written == "base.qcow2":
            raise trial.Wrong(f"the base has a length of {len(base)}")
        if base in (self.old_base, self.expected):
            return
        old = self.old_base + bytes(len(base) - len(self.old_base))
        for off in range(0, len(base), SECTOR):
            found = base[off:off + SECTOR]
            if found not in (old[off:off + SECTOR],
                             self.expected[off:off + SECTOR]):
                raise trial.Wrong(f"the base has at {off} what neither had")

    def tops(self):
        return [(self.top, True)] + (
            [] if self.written.endswith(".raw") else [(self.written, True)])


if __name__ == "__main__":
    trial.main(Commit, default_number=60, first_seed=1, min_states=2500,
               needed=["compressed", "snapshot", "option", "lazy_refcounts",
                       "extended_l2", "data_file", "bitmaps"])
