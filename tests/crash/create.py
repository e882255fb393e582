#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""create: a new image has its name when it is complete, and not before; when
the command has ended, a power loss takes nothing of it away."""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import trial  # noqa: E402


class Create(trial.Scenario):
    def build(self):
        rng = self.rng
        size = rng.randrange(1, 512) * 1024
        self.expected = bytes(size)
        self.create("base.qcow2", {}, size)
        self.scribble("base.qcow2", "qcow2", size, 2)
        kind = self.pick("kind", ["empty", "empty", "overlay", "for"])
        self.is_over = kind != "empty"
        self.args = ["create", "-q", "-f", "qcow2"]
        options = self.options()
        if rng.randrange(3) == 0:
            self.create("dest.qcow2", {}, 65536)
            self.counts[("destination", "replaced")] += 1
        if kind != "for":
            self.external("dest.qcow2", options)
        if not self.is_over:
            options["preallocation"] = self.pick(
                "preallocation", ["off", "metadata", "falloc", "full"])
        self.args += ["-o", ",".join(f"{k}={v}" for k, v in options.items())]
        if kind == "overlay":
            self.args += ["-b", "base.qcow2", "-F", "qcow2", "dest.qcow2"]
        elif kind == "for":
            self.args += ["--for", "snapshot", "--source", "base.qcow2",
                          "--source-format", "qcow2", "dest.qcow2"]
        else:
            self.args += ["dest.qcow2", str(size)]
        self.first = None

    def judge(self, state):
        if self.first is None:
            self.first = {name: state.file_key(name)
                          for name in state.paths()}
            if self.is_over:
                self.expected = self.contents(state, "base.qcow2")
        for name, key in self.first.items():
            if name != "dest.qcow2" and state.file_key(name) != key:
                raise trial.Wrong(f"{name} was changed")
        if state.file_key("dest.qcow2") != self.first.get("dest.qcow2") and \
                self.contents(state, "dest.qcow2") != self.expected:
            raise trial.Wrong("the new image shows something else")

    def tops(self):
        return [("dest.qcow2", True)]


if __name__ == "__main__":
    trial.main(Create, default_number=40, first_seed=1, min_states=400,
               needed=["kind", "destination", "preallocation", "data_file"])
