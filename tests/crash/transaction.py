#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Transactions: whatever a power loss leaves, after recovery all changes are
made or none, and nothing else of it is there. Each kind of change alone, and
mixed, in one or two folders; names that turn out to be taken, writes and
flushes that fail; recoveries that are killed; runs that are killed, or meet an
error, at each call, also where rename cannot be told to replace nothing; files
that are changed, or come again, after each kill.

The journal knows files by their inodes. A state that is written down again
has others, so they are put into it.
"""

import collections
import errno
import os
import shutil
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import calls  # noqa: E402
import transacted  # noqa: E402
import trial  # noqa: E402
from calls import Kind  # noqa: E402

KINDS = ["name", "write", "replace", "restage", "patch", "remove"]
FATES = ["none", "none", "taken", "patch", "flush", "link"]


class Transaction(transacted.Transacted):
    def build(self):
        rng = self.rng
        folders = self.pick("folders", [1, 2])
        number = self.pick("changes", [1, 2, 4, 6])
        self.old, self.new, self.args = {}, {}, []
        first = self.seed % len(KINDS)  # each kind alone at times
        for n in range(number):
            kind = KINDS[(first + n) % len(KINDS)] if n < 2 else \
                rng.choice(KINDS)
            self.counts[("kind", kind)] += 1
            self.add(kind, f"dir{rng.randrange(folders)}/file{n}")
        for folder in range(folders):
            os.makedirs(self.path(f"dir{folder}"), exist_ok=True)
            self.put_file(f"dir{folder}/bystander", "stays")
        self.start()
        self.choose_fate(rng.choice(FATES))

    def put_file(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)
        self.old[name] = text
        self.new[name] = text

    def add(self, kind, name):
        before = "o" * self.rng.randrange(1500, 2500)
        after = "n" * self.rng.randrange(1, 3000)
        if kind in ("name", "write"):
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            self.args += [kind, name, after]
            self.new[name] = after
            return
        self.put_file(name, before)
        if kind == "remove":
            self.args += [kind, name]
            del self.new[name]
        elif kind == "patch":
            length = self.rng.randrange(1, len(before))
            self.args += [kind, name, before[:length], "p" * length]
            self.new[name] = "p" * length + before[length:]
        else:
            self.args += [kind, name, after]
            self.new[name] = after

    # -- what goes wrong

    def choose_fate(self, fate):
        log = self.rehearse() if fate != "none" else []
        decided = next((number for number, call in enumerate(log, 1)
                        if call.kind == Kind.RENAME
                        and call.path2.endswith(".journal")), None)

        def after(wanted):
            return [number for number, call in enumerate(log, 1)
                    if number > decided and wanted(call)]
        numbers, code = [], errno.EIO
        if fate == "taken":
            numbers = after(lambda call: call.kind == Kind.RENAME)
            code = errno.EEXIST
        elif fate == "patch":
            numbers = after(lambda call: call.kind == Kind.WRITE)
        elif fate == "link":
            numbers = after(lambda call: call.kind == Kind.LINK)
            code = errno.EPERM
        elif fate == "flush":
            numbers = [number for number, call in enumerate(log, 1)
                       if call.kind == Kind.FLUSH_DIR]
        if numbers:
            ever = "*" if fate == "flush" else ""
            self.plan = f"{self.rng.choice(numbers)}{ever}:{code}"
            self.counts[("fate", fate)] += 1

    def rehearse(self):
        """The calls of a run of which nothing stays."""
        with tempfile.TemporaryDirectory() as work:
            folder = os.path.join(work, "files")
            shutil.copytree(self.folder, folder)
            return calls.record(folder, self.args, os.path.join(work, "log"))

    # -- judging

    def expected(self):
        return [("none", self.old), ("all", self.new)]

    def folders(self):
        return sorted(os.path.dirname(name)
                      for name in {**self.old, **self.new})

    def recover_args(self, folder):
        return ["--recover", folder]


def one_of_each(folder):
    """A scenario with a change of each kind, over two folders."""
    scenario = Transaction(3, folder, collections.Counter())
    scenario.old, scenario.new, scenario.args = {}, {}, []
    for n, kind in enumerate(KINDS):
        scenario.add(kind, f"dir{n % 2}/file{n}")
    return scenario


def break_each_call(work, what):
    """Each call of a run fails once, or kills it; then it is recovered. How
    many calls there were."""
    for number in range(1, 1000):
        folder = os.path.join(work, f"{what}{number}")
        os.makedirs(folder)
        scenario = one_of_each(folder)
        plan = f"{number}:{what}"
        done = calls.run(folder, scenario.args, plan=plan)
        found = transacted.texts(folder)
        if done.returncode == 0 and found == scenario.new and number > 60:
            shutil.rmtree(folder)
            return number - 1
        for name in scenario.folders():
            again = calls.run(folder, scenario.recover_args(name))
            if again.returncode != 0:
                raise trial.Wrong(f"{plan}: {again.stderr}")
        found = transacted.texts(folder)
        if found not in (scenario.old, scenario.new) or \
                (done.returncode == 0 and found != scenario.new):
            raise trial.Wrong(f"{plan}: exit {done.returncode}, {done.stderr}"
                              f"there is {sorted(found)}")
        shutil.rmtree(folder)
    raise trial.Wrong(f"{what}: it never ends")


def kill_each_call(work, what):
    """A scenario that was killed at each call, one after the other."""
    for number in range(1, 1000):
        folder = os.path.join(work, f"{what}{number}")
        os.makedirs(folder)
        scenario = one_of_each(folder)
        done = calls.run(folder, scenario.args, plan=f"{number}:kill")
        if done.returncode == 0:
            return
        yield number, scenario
        shutil.rmtree(folder)


def edit_after_kills(work):
    """Whatever the user writes after a kill stays, recovered or refused."""
    for number, scenario in kill_each_call(work, "edit"):
        edited = [name for name in transacted.texts(scenario.folder)
                  if not os.path.basename(name).startswith(".imgchain-") and
                  ".stage" not in name]
        for name in edited:
            with open(scenario.path(name), "a", encoding="ascii") as file:
                file.write("edited")
        for name in scenario.folders():
            calls.run(scenario.folder, scenario.recover_args(name))
        found = transacted.texts(scenario.folder)
        for name in edited:
            if not found.get(name, "").endswith("edited"):
                raise trial.Wrong(f"killed at {number}: the edit of {name} "
                                  "is lost")


def reuse_after_kills(work):
    """What was removed comes again, with the inode that it had. How often
    that was possible."""
    count = 0
    for number, scenario in kill_each_call(work, "reuse"):
        there = transacted.texts(scenario.folder)
        removed = next(name for name in scenario.old
                       if name not in scenario.new)
        if removed in there or any(".imgchain-old-" in name for name in there):
            continue
        with open(scenario.path(removed), "w", encoding="ascii") as file:
            file.write("again")
        for name in there:
            if transacted.RECORD.search(name):
                transacted.claim(scenario.path(name), scenario.path(removed))
        for name in scenario.folders():
            again = calls.run(scenario.folder, scenario.recover_args(name))
            if again.returncode != 0:
                raise trial.Wrong(f"killed at {number}: {again.stderr}")
        if transacted.texts(scenario.folder).get(removed) != "again":
            raise trial.Wrong(f"killed at {number}: {removed} is removed again")
        count += 1
    return count


def main():
    calls.IMGCHAIN = os.path.join(os.environ["IMGCHAIN_BUILD"], "tests",
                                  "transact")
    work = tempfile.mkdtemp(prefix="imgchain-crash-", dir=trial.fast_folder())
    try:
        for what in ("kill", errno.EIO, errno.ENOSPC):
            print(f"{break_each_call(work, what)} calls: {what}")
        os.environ["SYSSHIM_PLAIN_RENAME"] = "yes"
        for what in ("kill", errno.EIO):
            print(f"{break_each_call(work, what)} calls: {what}, plain rename")
        del os.environ["SYSSHIM_PLAIN_RENAME"]
        edit_after_kills(work)
        if reuse_after_kills(work) == 0:
            raise trial.Wrong("no inode was free to be used again")
    except trial.Wrong as error:
        sys.exit(f"FAIL: {error}")
    finally:
        shutil.rmtree(work)
    trial.main(Transaction, default_number=11, first_seed=1, min_states=900,
               needed=["outcome", "recovery", "fate"])


if __name__ == "__main__":
    main()
