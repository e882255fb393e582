#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The crash tests see what goes wrong: with the flushes struck from a log, as
if the program had forgotten them, states are found that break each promise;
with the log as it is, none."""

import os
import shutil
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import calls  # noqa: E402
import disk  # noqa: E402
import replay  # noqa: E402
import trial  # noqa: E402


def image_scenario(scenario):
    """An overlay that has to take much from its backing file."""
    scenario.create("old.qcow2", {"cluster_size": 4096}, 256 << 10)
    scenario.create("new.qcow2", {"cluster_size": 4096}, 256 << 10)
    trial.qemu("qemu-io", "-c", "write -q -P 1 0 200k", "old.qcow2",
               cwd=scenario.folder)
    trial.qemu("qemu-io", "-c", "write -q -P 2 40k 200k", "new.qcow2",
               cwd=scenario.folder)
    scenario.create("top.qcow2", {"cluster_size": 4096}, 256 << 10,
                    "old.qcow2")


class Rebase(trial.Scenario):
    name = "rebase"

    def build(self):
        image_scenario(self)
        self.args = ["rebase", "-q", "-f", "qcow2", "-b", "new.qcow2", "-F",
                     "qcow2", "top.qcow2"]
        self.expected = None

    def judge(self, state):
        shown = self.contents(state, "top.qcow2")
        self.expected = self.expected or shown
        if shown != self.expected:
            raise trial.Wrong("the guest sees something else")


class Commit(Rebase):
    name = "commit"

    def build(self):
        image_scenario(self)
        trial.qemu("qemu-io", "-c", "write -q -P 3 100k 100k", "top.qcow2",
                   cwd=self.folder)
        self.args = ["commit", "-q", "-f", "qcow2", "top.qcow2"]
        self.expected = None


class Copy(trial.Scenario):
    name = "copy"

    def build(self):
        image_scenario(self)
        self.args = ["copy", "-q", "-f", "qcow2", "-O", "qcow2", "top.qcow2",
                     "dest.qcow2"]
        self.expected = None

    def judge(self, state):
        self.expected = self.expected or self.contents(state, "top.qcow2")
        if "dest.qcow2" in state.names and \
                self.contents(state, "dest.qcow2") != self.expected:
            raise trial.Wrong("the copy shows something else")


def wrong_states(scenario, history):
    wrong = 0
    for state in replay.states(history, scenario.rng):
        try:
            scenario.judge(state)
        except trial.Wrong:
            wrong += 1
    return wrong


def check(make, work):
    """The number of wrong states without flushes; with them there is none."""
    folder = os.path.join(work, make.name)
    os.makedirs(folder)
    scenario = make(1, folder, {})
    scenario.build()
    history = disk.History.of_folder(folder)
    history.add(calls.record(folder, scenario.args,
                             os.path.join(work, make.name + ".log")))
    trial.check_model(history, folder)
    flushes = [e for e in history.events if isinstance(e, disk.Flush)]
    with_flushes = wrong_states(scenario, history)
    history.events = [e for e in history.events if e not in flushes]
    without = wrong_states(scenario, history)
    print(f"{make.name}: {len(flushes)} flushes; wrong states: {with_flushes},"
          f" without flushes {without}")
    return with_flushes == 0 and without > 0


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no qemu-img or qemu-io")
        return trial.SKIP
    work = tempfile.mkdtemp(prefix="imgchain-crash-", dir=trial.fast_folder())
    try:
        results = [check(make, work) for make in (Rebase, Commit, Copy)]
    finally:
        shutil.rmtree(work)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
