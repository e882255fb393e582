#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""copy: a new destination has its name when it is complete, and not before.

One that is there and is written into (-n) is an image all the while, and has
in each sector what was there or what the source has. Where it is made anew (-c,
--bitmaps) it is the old image, the new one or none.
"""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import qcow2  # noqa: E402
import trial  # noqa: E402

SECTOR = 512


class Copy(trial.Scenario):
    is_raw_data = False

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
                                                  "replaced", "remade"])
        if self.is_fresh == "remade":
            self.fmt, self.dest = "qcow2", "dest.qcow2"
        self.args = ["copy", "-q", "-f", "qcow2", "-O", self.fmt]
        if self.is_fresh == "old":
            self.old_destination(size)
        elif self.is_fresh == "remade":
            self.remade_destination(size)
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
        if kind == "plain":
            self.external(self.dest, options)
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

    def remade_destination(self, size):
        """What cannot be changed in place is made anew in its file."""
        options = self.options()
        how = self.pick("made anew for", ["-c", "--bitmaps"])
        if how == "-c":
            options.pop("data_file", None)
        else:
            options["compat"] = "1.1"
            options.setdefault("refcount_bits", 16)
            self.external(self.dest, options)
            if qcow2.Image(self.read("top.qcow2")).version < 3:
                trial.qemu("qemu-img", "amend", "-f", "qcow2", "-o",
                           "compat=1.1", "top.qcow2", cwd=self.folder)
            for n in range(self.rng.randrange(1, 3)):
                trial.qemu("qemu-img", "bitmap", "--add", "top.qcow2",
                           f"b{n}", cwd=self.folder)
            self.scribble("top.qcow2", "qcow2", size, 2)
        self.args += ["-n", how]
        self.create(self.dest, options, size)
        if self.rng.randrange(3):
            self.scribble(self.dest, "qcow2", size, 6)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def external(self, name, options):
        super().external(name, options)
        if "data_file" in options and self.rng.randrange(2):
            options["data_file_raw"] = self.pick("data_file_raw", ["on"])
            self.is_raw_data = True

    def judge(self, state):
        if self.expected is None:
            self.expected = self.contents(state, "top.qcow2")
            self.sources = {name: state.file_key(name)
                            for name in ("base.qcow2", "top.qcow2")}
            self.old_key = state.file_key(self.dest)
            if self.is_fresh in ("old", "remade"):
                self.before = self.contents(state, self.dest)
        for name, key in self.sources.items():
            if state.file_key(name) != key:
                raise trial.Wrong(f"{name} was changed")
        if self.is_fresh == "old":
            self.judge_old(state)
        elif self.is_fresh == "remade":
            self.judge_remade(state)
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

    def judge_remade(self, state):
        if not state.content(self.dest).startswith(b"QFI\xfb"):
            self.counts[("state", "no image")] += 1
        elif self.contents(state, self.dest) not in (self.before,
                                                     self.expected):
            raise trial.Wrong("neither the old image, the new one nor none")

    def judge_done(self, durable, final):
        super().judge_done(durable, final)
        expected = self.contents(final, "top.qcow2")
        if self.contents(durable, self.dest)[:len(expected)] != expected:
            raise trial.Wrong("the copy is not durable")
        if self.is_raw_data:
            # by itself, as a raw image
            shown = durable.content(trial.data_name(self.dest))
            if shown.ljust(len(expected), b"\0") != expected:
                raise trial.Wrong("the data file shows something else")

    def tops(self):
        return [] if self.fmt == "raw" else [(self.dest, True)]


if __name__ == "__main__":
    trial.main(Copy, default_number=120, first_seed=1, min_states=2500,
               needed=["kind", "extended_l2", "data_file", "bitmaps",
                       "snapshot", "made anew for", "data_file_raw",
                       "state"])
