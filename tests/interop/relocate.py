#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""metadata relocate: a domain with two disks on one base, internal snapshots
with and without memory, a branch, external ones, and a memory file, made by a
real libvirt, goes to another folder. There another libvirt, or the same one,
is given the new XML; the old folder is taken away; and then the machine shows
what it showed, the snapshots are the same, and it goes back to them.

usage: relocate.py
"""

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
from libvirtd import Disk, Failed, Libvirtd, Machine, missing  # noqa: E402

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
SKIP = 77
MIB = 1 << 20
NAME = "vm"


def expect(is_true, *what):
    if not is_true:
        raise Failed(" ".join(str(word) for word in what))


def tool(*words):
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    expect(done.returncode == 0, words, done.stderr)
    return done.stdout


def relocate(*words, code=0):
    """(what it says as JSON, or its one line of error)."""
    done = subprocess.run(
        [IMGCHAIN, "metadata", "relocate", "--output", "json", *words],
        check=False, capture_output=True, text=True)
    expect(done.returncode == code, words, "exit", done.returncode,
           done.stderr)
    return json.loads(done.stdout) if code == 0 else done.stderr


class Room:
    """The machine, and what is known of it."""

    def __init__(self, folder):
        self.folder = folder
        self.old = self.place("old")
        self.shown = {}   # snapshot -> what the guest saw then

    def place(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o777)
        return path

    def image(self, name, size=None, *words):
        path = os.path.join(self.old, name)
        tool("qemu-img", "create", "-q", "-f", "qcow2", *words, path,
             *([size] if size else []))
        return path

    def see(self, machine):
        return [machine.read("vda"), machine.read("vdb")]

    def make(self, virt):
        base = self.image("base.qcow2", "4M")
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", base)
        disks = [self.image(f"{disk}.qcow2", None, "-b", base, "-F", "qcow2")
                 for disk in ("a", "b")]
        machine = virt.define(NAME, [Disk("vda", disks[0]),
                                     Disk("vdb", disks[1])])
        machine.must("snapshot-create-as", "off")
        machine.start()
        self.change(machine, 2)
        machine.must("snapshot-create-as", "one")
        self.shown["one"] = self.see(machine)
        self.change(machine, 3)
        machine.must("snapshot-create-as", "two")
        self.shown["two"] = self.see(machine)
        machine.must("snapshot-revert", "one", "--paused")
        self.change(machine, 4)
        machine.must("snapshot-create-as", "branch")
        self.shown["branch"] = self.see(machine)
        machine.must("snapshot-create-as", "outside", "--disk-only")
        self.change(machine, 5)
        memory = os.path.join(self.old, "memory")
        machine.must("snapshot-create-as", "memory", "--memspec",
                     f"file={memory},snapshot=external")
        machine.must("resume")  # QEMU takes its images again only then
        self.change(machine, 6)
        self.shown["now"] = self.see(machine)
        self.saved = os.path.join(self.old, "saved")
        machine.must("save", self.saved, "--paused")
        machine.is_started = False
        return machine

    @staticmethod
    def change(machine, pattern):
        machine.write("vda", pattern, pattern * 65536, 65536)
        machine.write("vdb", pattern + 100, pattern * 131072, 4096)


def listing(virt):
    return (virt.must("snapshot-list", NAME, "--tree"),
            virt.must("snapshot-current", NAME, "--name"))


def dump(virt, folder):
    """The domain's XML, as virsh gives it."""
    path = os.path.join(folder, f"{NAME}.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(virt.must("dumpxml", NAME, "--inactive",
                             "--security-info"))
    return path


def snapshots(virt):
    return os.path.join(virt.folder, "lib", "qemu", "snapshot", NAME)


def follow(virt, said):
    """Do what remains to be done."""
    for step in said["steps"]:
        words = shlex.split(step)
        expect(words[0] == "virsh", step)
        virt.must(*words[1:])


def check_state(room, source, copy):
    """The same memory; and XML that leads to the old folder no more."""
    with open(source, "rb") as one, open(copy, "rb") as other:
        one, other = one.read(), other.read()
    head = 92 + struct.unpack_from("=I", one, 20)[0]
    expect(one[head:] == other[head:], copy, "has other memory")
    expect(room.old.encode() in one[:head], source, "has no such path")
    expect(room.old.encode() not in other[:head], copy, "leads back")


def check_files(room, said):
    """Each copy shows what its source shows, and nothing leads back."""
    seen = set()
    for file in said["files"]:
        expect(file["source"] not in seen, "twice:", file["source"])
        seen.add(file["source"])
        if os.path.basename(file["source"]) in ("memory", "saved"):
            check_state(room, file["source"], file["filename"])
            continue
        if file["format"] == "qcow2":
            tool("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2",
                 file["source"], file["filename"])
            tool("qemu-img", "check", "-q", "-f", "qcow2", file["filename"])
        info = json.loads(tool("qemu-img", "info", "-f", file["format"],
                               "--output", "json", file["filename"]))
        expect(room.old not in json.dumps(info), file["filename"], info)
    for document in said["documents"]:
        with open(document["filename"], encoding="utf-8") as file:
            expect(room.old not in file.read(), document["filename"])


def check_machine(room, virt, before, is_restored):
    """Without the old folder: the list, the guest's bytes."""
    expect(listing(virt) == before, listing(virt), "instead of", before)
    machine = Machine(virt, NAME)
    if is_restored:
        expect(machine.is_running(), "it was not restored")
        machine.must("resume")
        expect(room.see(machine) == room.shown["now"], "restored, it shows "
               "something else")
        machine.must("destroy")
    machine.start()
    expect(room.see(machine) == room.shown["now"], "it shows something else")
    machine.end()
    return machine


def check_revert(room, machine, names=("two",)):
    """To internal snapshots, which are in the images below."""
    for name in names:
        done = machine.virsh("snapshot-revert", name, "--paused", "--force")
        expect(done.returncode == 0, name, done.stderr)
        expect(room.see(machine) == room.shown[name], name, "shows other")
    machine.virsh("destroy")


def case_copy(room, virt, second):
    """To another libvirt, and back again."""
    xml, new = dump(virt, room.folder), room.place("new")
    before = listing(virt)
    words = ["--domain", xml, "--snapshots", snapshots(virt), "--saved",
             room.saved, "--to", new]
    planned = relocate(*words, "--dry-run")
    expect(os.listdir(new) == [], os.listdir(new))
    said = relocate(*words)
    expect([f["filename"] for f in planned["files"]] ==
           [f["filename"] for f in said["files"]], "the plan was another")
    check_files(room, said)
    expect(len([f for f in said["files"]
                if f["filename"].endswith("/base.qcow2")]) == 1, "the base")
    # Taken back, unless something has changed.
    overlay = next(f["filename"] for f in said["files"]
                   if f["filename"].endswith("/a.qcow2"))
    with open(overlay, "r+b") as file:
        file.seek(100000)
        file.write(b"x")
    wrong = relocate(*words, "--undo", code=1)
    expect("is no copy of" in wrong, wrong)
    os.unlink(overlay)
    wrong = relocate(*words, "--undo", code=1)
    expect("is not there" in wrong, wrong)
    for file in said["files"] + said["documents"]:
        if os.path.exists(file["filename"]):
            os.unlink(file["filename"])
    relocate(*words)
    relocate(*words, "--undo")
    expect(os.listdir(new) == [], os.listdir(new))
    said = relocate(*words, "--absolute")
    check_files(room, said)
    hidden = room.old + ".hidden"
    os.rename(room.old, hidden)
    follow(second, said)
    machine = check_machine(room, second, before, is_restored=True)
    check_revert(room, machine, ("two", "one", "branch"))
    os.rename(hidden, room.old)


def case_running(room, virt, machine):
    """Nothing is moved under a machine that runs."""
    xml, new = dump(virt, room.folder), room.place("away")
    machine.start()
    wrong = relocate("--domain", xml, "--snapshots", snapshots(virt), "--to",
                     new, "--move", "--xml-to", new, code=1)
    expect(re.search(r"qemu-system", wrong), wrong)
    machine.end()
    expect(os.listdir(new) == [], os.listdir(new))


def case_outside(room, virt):
    """An overlay of the base that is not part of it."""
    xml, new = dump(virt, room.folder), room.place("away")
    other = room.image("other.qcow2", None, "-b", "base.qcow2", "-F",
                       "qcow2")
    wrong = relocate("--domain", xml, "--snapshots", snapshots(virt), "--to",
                     new, "--move", "--xml-to", new, code=1)
    expect("other.qcow2: is an overlay of" in wrong, wrong)
    os.unlink(other)
    expect(os.listdir(new) == [], os.listdir(new))


def case_move(room, virt):
    """libvirt's own files, while it does not run."""
    new, before = room.place("moved"), listing(virt)
    virt.stop_daemon()
    xml = os.path.join(virt.folder, "etc", "qemu", f"{NAME}.xml")
    said = relocate("--domain", xml, "--snapshots", snapshots(virt), "--saved",
                    room.saved, "--to", new, "--move")
    expect(os.listdir(room.old) == [], os.listdir(room.old))
    expect(all(d["filename"] == d["source"] for d in said["documents"]),
           said["documents"])
    os.rmdir(room.old)
    virt.start_daemon()
    virt.must("restore", os.path.join(new, "saved"))
    machine = check_machine(room, virt, before, is_restored=True)
    check_revert(room, machine)


def case_back(room, virt):
    """A move back, while libvirt runs, which is then told."""
    machine = Machine(virt, NAME)
    machine.start()
    room.shown["now"] = room.see(machine)  # it has gone back to a snapshot
    machine.end()
    xml, before = dump(virt, room.folder), listing(virt)
    room.place("old")
    said = relocate("--domain", xml, "--snapshots", snapshots(virt), "--to",
                    room.old, "--move", "--xml-to", room.old)
    moved = [f["source"] for f in said["files"]]
    expect(not any(os.path.exists(path) for path in moved), moved)
    follow(virt, said)
    machine = check_machine(room, virt, before, is_restored=False)
    check_revert(room, machine)


def main():
    why = missing()
    if why:
        print(f"skipped: {why}")
        return SKIP
    folder = tempfile.mkdtemp(prefix="imgchain-relocate-")
    os.chmod(folder, 0o755)
    try:
        room = Room(folder)
        with Libvirtd(os.path.join(folder, "first")) as virt, \
                Libvirtd(os.path.join(folder, "second"),
                         virt.cache) as second:
            machine = room.make(virt)
            machine.end()
            case_copy(room, virt, second)
            case_running(room, virt, machine)
            case_outside(room, virt)
            case_move(room, virt)
            case_back(room, virt)
    except Failed as error:
        print(f"FAIL: {error}")
        return 1
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
