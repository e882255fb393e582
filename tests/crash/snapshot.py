#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""snapshot --atomic: whatever a power loss leaves, after recovery there are
all overlays or none, complete, and nothing else of it.

The journal knows files by their inodes. A state that is written down again
has others, so they are put into it.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import calls  # noqa: E402
import disk  # noqa: E402
import qcow2  # noqa: E402
import trial  # noqa: E402

RECORD = re.compile(r"(^|/)\.imgchain-transaction-[^/]*$")


class Snapshot(trial.Scenario):
    def build(self):
        rng = self.rng
        number = self.pick("disks", [1, 2, 3])
        folders = self.pick("folders", [1, 2])
        self.overlays, self.args = {}, ["snapshot", "-q", "--atomic"]
        for n in range(number):
            folder = f"dir{rng.randrange(folders)}"
            os.makedirs(self.path(folder), exist_ok=True)
            size = rng.randrange(1, 64) * 1024
            fmt = self.pick("active", ["qcow2", "raw"])
            active = f"{folder}/disk{n}.{fmt}"
            if fmt == "raw":
                with open(self.path(active), "wb") as file:
                    file.truncate(size)
            else:
                self.create(active, {}, size)
            self.scribble(active, fmt, size, 2)
            overlay = f"dir{rng.randrange(folders)}/disk{n}-new.qcow2"
            os.makedirs(os.path.dirname(self.path(overlay)), exist_ok=True)
            self.overlays[overlay] = active
            self.args += ["--disk", f"{active}={overlay},format={fmt}"]
        self.first = None
        fate = rng.randrange(3)
        if fate == 0:
            self.plan = self.taken_name()
            self.counts[("a name is taken", "yes")] += 1
        elif fate == 1:
            self.plan = self.broken_flush()
            self.counts[("a flush fails", "yes")] += 1

    def rehearse(self):
        """The calls of a run of which nothing stays."""
        with tempfile.TemporaryDirectory() as work:
            folder = os.path.join(work, "files")
            shutil.copytree(self.folder, folder)
            return calls.record(folder, self.args, os.path.join(work, "log"))

    def broken_flush(self):
        """The plan in which one of the folders' flushes fails, and all after
        it: as often as not the one that is to make the decision stable."""
        log = self.rehearse()
        first = next(number for number, call in enumerate(log, 1)
                     if call.kind == calls.Kind.RENAME
                     and RECORD.search(call.path2))
        flushes = [number for number, call in enumerate(log, 1)
                   if call.kind == calls.Kind.FLUSH_DIR]
        chosen = self.rng.choice(flushes)
        if self.rng.randrange(2):
            chosen = next(number for number in flushes if number > first)
        return f"{chosen}*:{errno.EIO}"

    def taken_name(self):
        """The plan in which one of the names turns out to be taken."""
        names = [number for number, call in enumerate(self.rehearse(), 1)
                 if call.kind == calls.Kind.RENAME
                 and not RECORD.search(call.path2)]
        return f"{self.rng.choice(names)}:{errno.EEXIST}"

    def judge(self, state):
        if self.first is None:
            self.first = {name: state.file_key(name)
                          for name in state.paths()}
        for name, key in self.first.items():
            if state.file_key(name) != key:
                raise trial.Wrong(f"{name} was changed")
        self.put(state)
        if self.rng.randrange(4) == 0:
            # killed again, while it recovers
            self.recover(f"{self.rng.randrange(1, 9)}:kill")
            self.counts[("recovery", "killed, and begun anew")] += 1
        self.recover()
        self.judge_folder()

    def judge_done(self, durable, final):
        # Records go last, and the next run removes what is left of them.
        lost = set(final.names) - set(durable.names)
        if lost or any(name.endswith(".journal") for name in durable.names):
            raise trial.Wrong(f"lost are {sorted(lost)} of "
                              f"{sorted(final.names)}")
        for overlay in self.overlays:
            self.judge_overlay(durable, overlay)

    def put(self, state):
        """STATE in the very folders that the journal names."""
        for root, _, files in os.walk(self.folder):
            for name in files:
                os.unlink(os.path.join(root, name))
        trial.write_files(state, self.folder)
        inodes = {str(ino): self.inode_now(state, file)
                  for file, ino in state.history.made.items()}
        for name in state.paths():
            if RECORD.search(name):
                with open(self.path(name), "r+", encoding="ascii",
                          errors="surrogateescape") as file:
                    text = re.sub(
                        r'("inode": *)([0-9]+)\b(?=.)',
                        lambda m: m[1] + inodes.get(m[2], m[2]),
                        file.read(), flags=re.DOTALL)
                    file.seek(0)
                    file.truncate()
                    file.write(text)
                os.chmod(self.path(name), 0o1600)

    def inode_now(self, state, file):
        for name, other in state.names.items():
            if other == file:
                return str(os.stat(self.path(name)).st_ino)
        return "1"  # it has no name, nobody will find it

    def recover(self, plan=None):
        for folder in sorted({os.path.dirname(o) for o in self.overlays}):
            done = calls.run(self.folder,
                             ["snapshot", "-q", "--recover", folder],
                             plan=plan)
            if plan is None and done.returncode != 0:
                raise trial.Wrong(f"--recover {folder}: exit "
                                  f"{done.returncode}: {done.stderr}")

    def judge_folder(self):
        found = disk.History.of_folder(self.folder)
        state = found.state([], "recovered")
        there = set(state.paths()) - set(self.first)
        if there not in (set(), set(self.overlays)):
            raise trial.Wrong(f"there is {sorted(there)}, of "
                              f"{sorted(self.overlays)}")
        self.counts[("outcome", "all" if there else "none")] += 1
        for overlay in there:
            self.judge_overlay(state, overlay)

    def judge_overlay(self, state, overlay):
        image = qcow2.Image(state.content(overlay))
        problems, leaks = image.check()
        if problems or leaks:
            raise trial.Wrong(f"{overlay}: {problems}, {leaks} leaks")
        backing = os.path.normpath(os.path.join(os.path.dirname(overlay),
                                                image.backing))
        if backing != self.overlays[overlay]:
            raise trial.Wrong(f"{overlay}: its backing file is {backing}")
        if any(image.l1):
            raise trial.Wrong(f"{overlay} is not empty")


def main():
    if subprocess.run([calls.IMGCHAIN, "snapshot", "--help"], check=False,
                      stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit("no imgchain snapshot")
    trial.main(Snapshot, default_number=12, first_seed=1, min_states=800,
               needed=["outcome", "recovery", "a name is taken",
                       "a flush fails"])


if __name__ == "__main__":
    main()
