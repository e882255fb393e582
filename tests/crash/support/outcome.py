# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run that met a fault may have done: see Judge."""

import errno
import os
import shutil

import calls
import disk
import trial


class Judge(trial.Scenario):
    """Of one example: what there was, and what there is in the end."""

    def __init__(self, example, folder):
        super().__init__(0, folder, {})
        self.example = example

    def take(self):
        """The folder as it is now."""
        return disk.History.of_folder(self.folder).state([], "now")

    def show(self, state, name):
        # file keys are not the same from one folder to the next
        self.images.clear()
        self.shown.clear()
        return self.contents(state, name)

    def learn(self, before, after):
        self.before, self.after = before, after
        self.old = {name: self.show(before, name)
                    for name in self.example.changed}
        self.new = {name: self.show(after, name)
                    for name in self.example.changed + self.example.made}

    def judge(self, done, code):
        """CODE is the errno that DONE may have met; 0: none that matters."""
        state = self.take()
        if self.example.name == "snapshot":
            state = self.recovered(state)
        self.judge_others(state)
        if done.returncode == 0:
            if done.stderr:
                raise trial.Wrong(f"done, and says {done.stderr!r}")
            self.judge_done(state)
            return
        if code == 0:
            raise trial.Wrong(f"exit {done.returncode}: {done.stderr}")
        self.judge_message(done, code)
        for name in self.example.changed:
            self.judge_changed(state, name)
        for name in self.example.made:
            self.judge_made(state, name)

    def recovered(self, state):
        """What the journal of an unfinished snapshot leads to."""
        if any("imgchain-transaction" in name for name in state.paths()):
            done = calls.run(self.folder, ["snapshot", "-q", "--recover", "."])
            if done.returncode != 0:
                raise trial.Wrong(f"--recover: {done.stderr}")
            state = self.take()
        there = [name in state.names for name in self.example.made]
        if any(there) and not all(there):
            raise trial.Wrong(f"of {self.example.made} there is {there}")
        return state

    def judge_others(self, state):
        """What is only read is not changed; nothing else is left behind."""
        touched = self.example.changed + self.example.made
        for name in self.before.paths():
            if name not in touched and \
                    state.content(name) != self.before.content(name):
                raise trial.Wrong(f"{name} was changed")
        known = set(self.before.paths()) | set(self.after.paths())
        left = [name for name in state.paths()
                if name not in known and not self.is_undo_record(name)]
        if left:
            raise trial.Wrong(f"left behind: {left}")

    @staticmethod
    def is_undo_record(name):
        return "undo" in name or "imgchain-repair" in name

    def judge_done(self, state):
        for name, want in self.new.items():
            if self.show(state, name) != want:
                raise trial.Wrong(f"{name} shows something else")

    @staticmethod
    def judge_message(done, code):
        lines = done.stderr.splitlines()
        if done.returncode != 1 or len(lines) != 1 or \
                not lines[0].startswith("imgchain: ") or done.stdout:
            raise trial.Wrong(f"exit {done.returncode}: {done.stdout}"
                              f"{done.stderr}")
        if len(lines[0].split(": ")) < 3:
            raise trial.Wrong(f"no file is named: {lines[0]}")
        words = [os.strerror(code)]
        if code == errno.ENOSPC:  # seen before anything was written
            words += ["not enough space", "does not fit"]
        if not any(word in lines[0] for word in words):
            raise trial.Wrong(f"no word of {os.strerror(code)}: {lines[0]}")

    def judge_changed(self, state, name):
        if not state.content(name).startswith(b"QFI\xfb"):
            if self.example.name != "copy -n":
                raise trial.Wrong(f"{name} is no image any more")
            return
        shown = self.show(state, name)
        old, new = self.old[name], self.new[name]
        if shown in (old, new):
            return
        for off in range(0, max(len(old), len(new)), 512):
            if shown[off:off + 512] not in (old[off:off + 512],
                                            new[off:off + 512]):
                raise trial.Wrong(f"{name} has at {off} what neither had")

    def judge_made(self, state, name):
        if name not in state.names and trial.data_name(name) in state.names:
            raise trial.Wrong(f"{name} is not there, but its data file is")
        old = self.before.content(name)
        if state.content(name) != old and \
                self.show(state, name) != self.new[name]:
            raise trial.Wrong(f"{name} is neither what it was nor complete")


def fresh(source, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
