#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""metadata delete in libvirt's folder: whatever a power loss or a kill leaves,
after recovery every document is what it was, or what it was to become.

metadata redefine --to: its folder is there with all that belongs into it, or
it is not there.
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

SNAPSHOT = """<domainsnapshot>
  <name>{name}</name>
  <state>shutoff</state>
{parent}  <creationTime>{time}</creationTime>
  <disks><disk name='vda' snapshot='internal'/></disks>
  <domain type='qemu'><name>vm</name>
    <uuid>00000000-0000-4000-8000-000000000001</uuid><memory>16384</memory>
    <os><type>hvm</type></os><devices><disk type='file' device='disk'>
    <driver name='qemu' type='qcow2'/><source file='/images/a.qcow2'/>
    <target dev='vda' bus='virtio'/></disk></devices></domain>
  <active>{active}</active>
</domainsnapshot>
"""


def make_documents(scenario, number):
    """A hierarchy of so many, of which one is current; their names."""
    rng = scenario.rng
    names = [f"s{n}" for n in range(number)]
    current = rng.choice(names)
    os.makedirs(scenario.path("vm"))
    for n, name in enumerate(names):
        parent = names[rng.randrange(n)] if n else None
        with open(scenario.path(f"vm/{name}.xml"), "w",
                  encoding="ascii") as file:
            file.write(SNAPSHOT.format(
                name=name, time=n, active=int(name == current),
                parent=f"  <parent><name>{parent}</name></parent>\n"
                if parent else ""))
    return names


class Delete(transacted.Transacted):
    def build(self):
        names = make_documents(self, self.rng.randrange(2, 7))
        which = self.pick("which", ["it", "--children", "--children-only"])
        # The first one is the root: the others are all below it.
        name = names[0] if which == "--children-only" else \
            self.rng.choice(names)
        self.args = ["metadata", "delete", "-q", "--metadata", "vm", name]
        self.args += [] if which == "it" else [which]
        self.old = transacted.texts(self.folder)
        self.new = transacted.rehearse(self)
        if self.old == self.new:
            raise RuntimeError(f"{self.args} changed nothing")
        self.start()

    def expected(self):
        return [("none", self.old), ("all", self.new)]

    def folders(self):
        return ["vm"]

    def recover_args(self, folder):
        # Transactions are all of one kind: any command's recovery will do.
        return ["metadata", "relocate", "-q", "--recover", folder]


class Folder(trial.Scenario):
    """redefine --to. The model of a disk renames no folders: what is stable
    when the folder gets its name is read from the log."""

    def build(self):
        make_documents(self, 3)
        self.args = ["metadata", "redefine", "-q", "--to", "out", "--map",
                     "/images=/elsewhere", "vm"]
        self.old = transacted.texts(self.folder)
        self.new = transacted.rehearse(self)

    def run_with(self, plan):
        """Its exit code; what is seen is the old or the new."""
        done = calls.run(self.folder, self.args, plan=plan)
        found = {name: text for name, text
                 in transacted.texts(self.folder).items()
                 if not name.startswith(".")}
        if found not in (self.old, self.new):
            raise trial.Wrong(f"{plan}: there is {sorted(found)}")
        return done.returncode

    def judge_order(self):
        log = os.path.join(self.folder, "..", "log")
        dirty, is_named = set(), False
        for call in calls.record(self.folder, self.args, log):
            if call.kind in (calls.Kind.FLUSH, calls.Kind.FLUSH_DIR):
                dirty.discard(call.ino)
            elif call.kind == calls.Kind.RENAME:
                if dirty:
                    raise trial.Wrong("not all is flushed before its name")
                is_named = True
            elif call.kind in calls.DATA or call.kind == calls.Kind.CREATE:
                dirty.add(call.ino)
        if not is_named or call.kind != calls.Kind.FLUSH_DIR:
            raise trial.Wrong("the folder's name is not flushed")


def fail_at_each_call(work, way):
    """redefine --to with a call that fails, or kills. How many."""
    for number in range(1, 1000):
        folder = os.path.join(work, way, str(number))
        os.makedirs(folder)
        scenario = Folder(3, folder, collections.Counter())
        scenario.build()
        if scenario.run_with(f"{number}:{way}") == 0:
            if transacted.texts(folder) != scenario.new:
                raise trial.Wrong(f"{number}:{way}: exit 0, and no folder")
            return number - 1
        hidden = [name for name in os.listdir(folder) if name[0] == "."]
        if way != "kill" and hidden:
            raise trial.Wrong(f"{number}:{way}: left {hidden}")
        shutil.rmtree(folder)
    raise trial.Wrong("it never ends")


def kill_at_each_call(work):
    """Once each; then the same again does it. How many."""
    for number in range(1, 1000):
        folder = os.path.join(work, str(number))
        os.makedirs(folder)
        scenario = Delete(3, folder, collections.Counter())
        scenario.build()
        if calls.run(folder, scenario.args,
                     plan=f"{number}:kill").returncode == 0:
            return number - 1
        again = calls.run(folder, scenario.args)
        found = transacted.texts(folder)
        if found != scenario.new:
            raise trial.Wrong(f"killed at {number}, and done again: there is "
                              f"{sorted(found)}, {again.stderr}")
        shutil.rmtree(folder)
    raise trial.Wrong("it never ends")


def judge_order(work):
    folder = os.path.join(work, "order")
    os.makedirs(folder)
    scenario = Folder(3, folder, collections.Counter())
    scenario.build()
    scenario.judge_order()


def main():
    work = tempfile.mkdtemp(prefix="imgchain-crash-", dir=trial.fast_folder())
    try:
        print(f"{kill_at_each_call(work)} calls of delete: kill")
        judge_order(work)
        for way in ("kill", str(errno.EIO), str(errno.ENOSPC)):
            print(f"{fail_at_each_call(work, way)} calls of redefine: {way}")
    except trial.Wrong as error:
        sys.exit(f"FAIL: {error}")
    finally:
        shutil.rmtree(work)
    trial.main(Delete, default_number=12, first_seed=1, min_states=400,
               needed=["outcome", "recovery", "which"])


if __name__ == "__main__":
    main()
