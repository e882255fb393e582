#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""saved-image against a real libvirt.

Machines that virsh has saved, raw and in each compression that this libvirt
has, running and paused: dumpxml prints what virsh does, check accepts them and
knows their compression; their disks move, define gives them the new paths, the
memory stays byte for byte, and virsh brings them back with what they had
written. A managed save, too.

Then changes of the XML (support/saved_edits.py), put to virsh
save-image-define and to imgchain: what virsh refuses is refused; what virsh
takes is taken, or stands in the list of what is stricter on purpose; what
virsh reads afterwards is what was asked for. And headers that lie: never taken
by imgchain; those that do virsh no harm are put to it as well.
"""

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import saved_bases  # noqa: E402
import saved_edits  # noqa: E402
from libvirtd import QEMU_CONF, Disk, Failed, Libvirtd, missing  # noqa: E402

SKIP = 77
IMGCHAIN = os.environ["IMGCHAIN"]
FORMATS = {"raw": 0, "gzip": 1, "bzip2": 2, "xz": 3, "lzop": 4}
ENDINGS = re.compile(r"\n+\Z")


def expect(is_true, *what):
    if not is_true:
        raise Failed(" ".join(str(word) for word in what))


def imgchain(*words, code=0, **options):
    done = subprocess.run([IMGCHAIN, "saved-image", *words], check=False,
                          capture_output=True, text=True, timeout=60, **options)
    if code is not None and done.returncode != code:
        raise Failed(f"imgchain saved-image {words}: exit {done.returncode}, "
                     f"not {code}: {done.stdout}{done.stderr}")
    return done


def region_of(path):
    with open(path, "rb") as file:
        head = file.read(92)
    return 92 + struct.unpack("=I", head[20:24])[0]


def memory_hash(path):
    with open(path, "rb") as file:
        file.seek(region_of(path))
        return hashlib.sha256(file.read()).hexdigest()


def identity(path):
    stat = os.stat(path)
    return stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size


# ---- Machines that are saved, and come back

class Trip:
    """A machine whose disk moves while it is saved."""

    def __init__(self, virt, folder, name):
        self.virt, self.name = virt, name
        self.old = os.path.join(folder, "old")
        self.new = os.path.join(folder, "new")
        for place in (self.old, self.new):
            os.makedirs(place, exist_ok=True)
            os.chmod(place, 0o777)
        self.path = os.path.join(self.old, f"{name}.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.path,
                        "4M"], check=True)
        self.machine = virt.define(name, [Disk("vda", self.path)])

    def begin(self, paused):
        self.machine.start(paused=paused)
        self.machine.write("vda", 7, 1 << 20, 4096)
        self.wanted = bytearray(4 << 20)
        self.wanted[1 << 20:(1 << 20) + 4096] = b"\7" * 4096

    def move(self):
        shutil.move(self.path, self.new)

    def check_back(self, paused):
        """It goes on where it was, on its disk's new place."""
        self.machine.is_started = True
        state = self.machine.must("domstate").strip()
        expect(state == ("paused" if paused else "running"), self.name, state)
        expect(f"{self.new}/{self.name}.qcow2" in self.machine.dumpxml(),
               "not the new path")
        expect(self.machine.read("vda") == self.wanted, "not its data")
        self.machine.write("vda", 8, 2 << 20, 4096)
        self.wanted[2 << 20:(2 << 20) + 4096] = b"\x08" * 4096
        expect(self.machine.read("vda") == self.wanted, "it does not go on")
        self.machine.end()


def check_text(virt, path):
    """virsh and imgchain print the same, with secrets and without."""
    for options in ([], ["--security-info"]):
        theirs = virt.must("save-image-dumpxml", path, *options)
        ours = imgchain("dumpxml", path, *options).stdout
        expect(saved_edits.known(theirs) == saved_edits.known(ours),
               f"dumpxml {options}:\n{theirs}\n----\n{ours}")


def check_trip(virt, folder, kind, paused):
    trip = Trip(virt, folder, f"vm-{kind}")
    path = os.path.join(folder, f"{kind}.save")
    trip.begin(paused)
    trip.machine.must("save", path)
    check_text(virt, path)
    found = imgchain("check", "--output", "json", path).stdout
    expect(f"as the header says: {kind}" in found, kind, found)
    trip.move()
    imgchain("check", path, code=1)
    memory, before = memory_hash(path), identity(path)
    # What cannot be, first: it is refused, and the file is what it was.
    imgchain("define", "--map", f"{trip.old}=/nowhere", path, code=1)
    imgchain("define", "--map", f"{trip.old}={trip.new}", path)
    expect(memory_hash(path) == memory, "the memory was touched")
    expect(identity(path) == before, "it is another file")
    imgchain("check", path)
    check_text(virt, path)
    virt.must("restore", path)
    trip.check_back(paused)


def check_managed(virt, folder):
    """A managed save, which is begun paused by define."""
    trip = Trip(virt, folder, "vm-managed")
    trip.begin(paused=False)
    trip.machine.must("managedsave")
    path = os.path.join(virt.folder, "lib", "qemu", "save", "vm-managed.save")
    check_text(virt, path)
    trip.move()
    imgchain("define", "--paused", "--map", f"{trip.old}={trip.new}", path)
    trip.machine.must("start")
    trip.check_back(paused=True)


def use_format(virt, kind):
    with open(os.path.join(virt.folder, "etc", "qemu.conf"), "w",
              encoding="utf-8") as file:
        file.write(f'{QEMU_CONF}save_image_format = "{kind}"\n')
    virt.stop_daemon()
    virt.start_daemon()


def check_trips(virt, folder):
    for number, kind in enumerate(FORMATS):
        if kind != "raw" and not shutil.which(kind):
            raise Failed(f"no {kind}")
        use_format(virt, kind)
        check_trip(virt, folder, kind, paused=number % 2 == 0)
    check_managed(virt, folder)
    print(f"{len(FORMATS) + 1} machines were saved, moved and restored")


# ---- Headers that lie

def check_hostile(virt, folder):
    """Each is refused by imgchain in one line; virsh agrees where it is asked
    (it would abort, or believe, where it is not)."""
    good = saved_edits.image(saved_edits.STORED)
    length = struct.unpack("=I", good[20:24])[0]

    def with_number(at, value):
        return good[:at] + struct.pack("=I", value) + good[at + 4:]
    rows = {  # name: (bytes, is virsh asked)
        "short": (good[:91], True),
        "empty": (b"", True),
        "partial": (b"LibvirtQemudPart" + good[16:], True),
        "magic": (b"LibvirtQemudSavf" + good[16:], True),
        "version": (with_number(16, 3), True),
        "length 0": (with_number(20, 0), True),
        "length past the end": (with_number(20, len(good)), True),
        "length near 2^32": (with_number(20, 0xffffffff), False),
        "cookie past the space": (with_number(32, length + 1), False),
        "cookie near 2^32": (with_number(32, 0xfffffff0), False),
        "no NUL": (good[:92] + b"x" * length + good[92 + length:], False),
        "cut in the XML": (good[:200], True),
    }
    path = os.path.join(folder, "hostile.save")
    for name, (data, is_asked) in rows.items():
        with open(path, "wb") as file:
            file.write(data)
        for words in (["dumpxml", path], ["define", "--paused", path]):
            done = imgchain(*words, code=1)
            expect(done.stderr.startswith(f"imgchain: {path}: ") and
                   done.stderr.count("\n") == 1, name, done.stderr)
        imgchain("check", path, code=1)
        with open(path, "rb") as file:
            expect(file.read() == data, name, "was changed")
        if is_asked:
            expect(virt.virsh("save-image-dumpxml", path).returncode == 1,
                   name, "virsh takes it")
    # Of the other byte order, and older: read by both, and written natively.
    swapped = bytearray(good)
    for at in range(16, 36, 4):
        swapped[at:at + 4] = good[at:at + 4][::-1]
    for name, data in (("other byte order", bytes(swapped)),
                       ("version 0", with_number(16, 0)),
                       ("version 1", with_number(16, 1))):
        with open(path, "wb") as file:
            file.write(data)
        check_text(virt, path)
        imgchain("define", "--paused", path)
        check_text(virt, path)
    print(f"{len(rows)} headers that lie, 3 that are old or foreign")


# ---- Changes of the XML

def check_edits(virt, folder):
    """Each by itself, to a fresh image."""
    edits = list(saved_edits.edits())
    base = saved_edits.image(saved_edits.BASE)
    theirs = saved_edits.ask_virsh(virt, folder, base, edits)
    ours = saved_edits.ask_imgchain(folder, base, edits)
    counts, wrong = {}, []
    for edit in edits:
        verdict, refusal = ours[edit.name], theirs[edit.name]
        said = "refused" if refusal else "taken"
        counts[said, verdict] = counts.get((said, verdict), 0) + 1
        fault = saved_edits.fault(edit, refusal, verdict)
        if fault:
            wrong.append(f"{edit.name}: {fault} (virsh: {refusal or 'takes it'})")
    if wrong:
        raise Failed(f"{len(wrong)} of {len(edits)}:\n" + "\n".join(wrong))
    for (said, verdict), number in sorted(counts.items()):
        print(f"virsh: {said}, imgchain: {verdict}: {number}")


def check_bases(virt, folder):
    """Changes of other domains, with an answer for each."""
    wrong, number = [], 0
    for text, edits, wanted in saved_bases.groups():
        base = saved_edits.image(text)
        theirs = saved_edits.ask_virsh(virt, folder, base, edits)
        ours = saved_edits.ask_imgchain(folder, base, edits)
        number += len(edits)
        for name, said in wanted.items():
            if ours[name] != said.rstrip("*"):
                wrong.append(f"{name}: {ours[name]}, not {said}")
            if bool(theirs[name]) != (said == "refused"):
                wrong.append(f"{name}: {said}, and virsh: "
                             f"{theirs[name] or 'takes it'}")
    if wrong:
        raise Failed("\n".join(wrong))
    print(f"{number} changes of other domains")


def check_written(virt, folder):
    """What was asked for is what virsh reads afterwards."""
    path = os.path.join(folder, "written.save")
    xml = os.path.join(folder, "written.xml")
    for edit in saved_edits.edits():
        if not edit.is_plain:
            continue
        with open(path, "wb") as file:
            file.write(saved_edits.image(saved_edits.BASE))
        with open(xml, "w", encoding="utf-8") as file:
            file.write(edit.text)
        imgchain("define", "--force", path, xml)
        again = os.path.join(folder, "again.save")
        with open(again, "wb") as file:
            file.write(saved_edits.image(edit.text))
        expect(virt.must("save-image-dumpxml", path) ==
               virt.must("save-image-dumpxml", again), edit.name)


def run(folder):
    with Libvirtd(os.path.join(folder, "virt")) as virt:
        check_hostile(virt, folder)
        check_edits(virt, folder)
        check_bases(virt, folder)
        check_written(virt, folder)
        check_trips(virt, folder)


def main():
    why = missing()
    if why:
        print(f"saved_image.py: skipped: {why}")
        sys.exit(SKIP)
    folder = tempfile.mkdtemp(prefix="imgchain-saved-")
    os.chmod(folder, 0o755)
    try:
        run(folder)
    except Failed as error:
        sys.exit(f"FAIL: {error}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
