# SPDX-License-Identifier: LGPL-2.1-or-later
"""Judges what a power loss leaves of a transaction: each state is put where
the run was, recovered, and must then be one of those that are allowed."""

import os
import re
import shutil

import calls
import trial

RECORD = re.compile(r"(^|/)\.imgchain-transaction-[^/]*"
                    r"\.(pointer|journal|done)")
OLD = re.compile(r'("old-inode":\s*(\d+),\s*"old-length":\s*\d+,'
                 r'\s*"old-mtime":\s*)\d+(,\s*"old-born":\s*)\d+(?=[^\d])')
STAGE = re.compile(r"\.imgchain-transaction-[^/]*\.stage$")
# What tells its own records, and its stages, from all other files.
RECORD_MODE, STAGE_MODE = 0o1600, 0o1700


def texts(folder):
    """Every file below FOLDER, by name, as text."""
    found = {}
    for root, dirs, files in os.walk(folder):
        for name in files + [d for d in dirs if STAGE.search(d)]:
            full = os.path.join(root, name)
            short = os.path.relpath(full, folder)
            if os.path.isdir(full):
                found[short] = "(a folder)"
                continue
            with open(full, "r", encoding="latin-1") as file:
                found[short] = file.read()
    return found


def claim(record, path):
    """The file at PATH is what RECORD says that is to be removed."""
    found = os.stat(path)
    with open(record, "r+", encoding="ascii") as file:
        text = re.sub(r'("change":\s*"remove",\s*"old-inode":\s*)\d+'
                      r'(,\s*"old-length":\s*)\d+', lambda m:
                      f"{m[1]}{found.st_ino}{m[2]}{found.st_size}",
                      file.read())
        text = re.sub(rf'("old-inode":\s*{found.st_ino},\s*"old-length":\s*'
                      r'\d+)(,\s*"old-mtime":\s*)\d+(,\s*"old-born":\s*)'
                      r'\d+', lambda m:
                      f"{m[1]}{m[2]}{found.st_mtime_ns}{m[3]}0", text)
        file.seek(0)
        file.truncate()
        file.write(text)
    os.chmod(record, RECORD_MODE)


def rehearse(scenario):
    """What there is after a run of SCENARIO's, of which nothing stays."""
    kept = scenario.folder + ".kept"
    shutil.copytree(scenario.folder, kept)
    done = calls.run(scenario.folder, scenario.args)
    if done.returncode != 0:
        raise RuntimeError(f"{scenario.args}: {done.stderr}")
    found = texts(scenario.folder)
    shutil.rmtree(scenario.folder)
    os.rename(kept, scenario.folder)
    return found


class Transacted(trial.Scenario):
    """Derived ones have expected(), folders() and recover_args(folder)."""

    def start(self):
        """The files are made: what their inodes are called."""
        self.first = {os.stat(self.path(name)).st_ino: name
                      for name in texts(self.folder)}

    def judge(self, state):
        self.put(state)
        if self.rng.randrange(4) == 0:
            # killed again, while it recovers
            self.recover(f"{self.rng.randrange(1, 12)}:kill")
            self.counts[("recovery", "killed, and begun anew")] += 1
        self.recover()
        self.counts[("outcome", self.outcome())] += 1

    def outcome(self):
        found = texts(self.folder)
        for word, wanted in self.expected():
            if found == wanted:
                return word
        raise trial.Wrong(f"there is { {n: t[:40] for n, t in found.items()} }")

    def judge_done(self, durable, final):
        """Records go last, and the next run removes what is left of them."""
        self.put(durable)
        if any(name.endswith((".journal", ".done")) for name in durable.names):
            raise trial.Wrong("the journal has come back")
        self.recover()
        if self.outcome() != "all":
            raise trial.Wrong(f"the end was {self.outcome()}")

    def look(self, state, folder):
        """There are no images."""

    def recover(self, plan=None):
        for folder in self.folders():
            done = calls.run(self.folder, self.recover_args(folder), plan=plan)
            if plan is None and done.returncode != 0:
                raise trial.Wrong(f"recovery of {folder}: exit "
                                  f"{done.returncode}: {done.stderr}")

    # -- a state in the very folders that the journal names

    def put(self, state):
        for root, dirs, files in os.walk(self.folder, topdown=False):
            for name in files:
                os.unlink(os.path.join(root, name))
            for name in dirs:
                if STAGE.search(name):
                    os.rmdir(os.path.join(root, name))
        for name in state.folders:
            os.makedirs(self.path(name), exist_ok=True)
        trial.write_files(state, self.folder)
        for root, dirs, _ in os.walk(self.folder):
            for name in dirs:
                if STAGE.search(name):
                    os.chmod(os.path.join(root, name), STAGE_MODE)
        self.put_inodes(state)

    def put_inodes(self, state):
        self.times = {}
        for name in state.paths():
            found = os.stat(self.path(name))
            self.times[str(found.st_ino)] = found.st_mtime_ns
        inodes = {str(ino): self.inode_now(state, file)
                  for file, ino in state.history.made.items()}
        for ino, name in self.first.items():
            file = state.history.first_names[name]
            inodes[str(ino)] = self.inode_now(state, file)
        for name in state.paths():
            if RECORD.search(name):
                self.put_record(self.path(name), inodes)

    def put_record(self, path, inodes):
        with open(path, "r+", encoding="ascii",
                  errors="surrogateescape") as file:
            text = re.sub(r'("(?:old-)?inode": *)([0-9]+)\b(?=.)',
                          lambda m: m[1] + inodes.get(m[2], m[2]),
                          file.read(), flags=re.DOTALL)
            text = OLD.sub(self.put_times, text)
            file.seek(0)
            file.truncate()
            file.write(text)
        os.chmod(path, RECORD_MODE)

    def put_times(self, match):
        """When the old file was changed last, and made: nobody knows."""
        return f"{match[1]}{self.times.get(match[2], 0)}{match[3]}0"

    def inode_now(self, state, file):
        for name, other in state.names.items():
            if other == file:
                return str(os.stat(self.path(name)).st_ino)
        return "1"  # it has no name, nobody will find it
