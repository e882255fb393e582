#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""snapshot: several disks, all or none, whatever happens.

1. Overlays that are made, and overlays that are reused: what was tried on a
   live libvirt and does not need one, with the verdict that it calls for.
2. A run that is killed before each system call that changes something, then
   recovered: all overlays or none, and nothing else is left.
3. Runs that fail half-way, that meet others, a disk of a running QEMU, and a
   QEMU that runs on the overlays.

usage: snapshot.py [NAME-PART]     only the cases with that in their name
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
MIB = 1 << 20
SKIP = 77
# Calls by which a run changes what others can see.
CALLS = ("openat,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,"
         "linkat,unlink,unlinkat,ftruncate,fallocate")


class Failed(Exception):
    """imgchain did not do as it should."""


class Skipped(Exception):
    """The case cannot be made here."""


def run(*command, cwd, **more):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True,
                          errors="surrogateescape", timeout=120, check=False,
                          **more)


def must(*command, cwd, **more):
    done = run(*command, cwd=cwd, **more)
    if done.returncode != 0:
        raise Failed(f"{command}: exit {done.returncode}: {done.stderr}")
    return done.stdout


class Room:
    """Two disks in folders of their own: x/a over x/base, y/b (raw)."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("x", "y"):
            os.mkdir(self.path(name))
        self.img("create", "-q", "-f", "qcow2", "x/base", "4M")
        self.io("x/base", "write -P 1 0 1M")
        self.img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2",
                 "x/a")
        self.io("x/a", "write -P 2 64k 64k")
        self.img("create", "-q", "-f", "raw", "y/b", "2M")
        self.io("y/b", "write -P 3 1M 64k", fmt="raw")
        self.disks = [("x/a", "qcow2", "x/a.snap"), ("y/b", "raw", "y/b.snap")]

    def path(self, name):
        return os.path.join(self.folder, name)

    def img(self, *args):
        return must("qemu-img", *args, cwd=self.folder)

    def io(self, image, *commands, fmt="qcow2"):
        words = [w for c in commands for w in ("-c", c)]
        return must("qemu-io", "-f", fmt, *words, image, cwd=self.folder)

    def words(self, *more):
        args = [IMGCHAIN, "snapshot", *more]
        for active, fmt, overlay in self.disks:
            args += ["--disk", f"{active}={overlay},format={fmt}"]
        return args

    def snapshot(self, *more, **options):
        return run(*self.words(*more), cwd=self.folder, **options)

    def listing(self):
        return sorted(os.path.relpath(os.path.join(where, name), self.folder)
                      for where, _, names in os.walk(self.folder)
                      for name in names)

    def recover(self, *names):
        for name in names:
            must(IMGCHAIN, "snapshot", "--recover", name, cwd=self.folder)

    def check_overlay(self, active, fmt, overlay):
        """It is sound, shows what ACTIVE shows, and names it relatively."""
        self.img("check", "-q", "-f", "qcow2", overlay)
        self.img("compare", "-q", "-f", fmt, "-F", "qcow2", active, overlay)
        told = json.loads(self.img("info", "--output=json", overlay))
        if told["backing-filename"] != os.path.basename(active) or \
                told["backing-filename-format"] != fmt:
            raise Failed(f"{overlay}: {told}")
        must(IMGCHAIN, "validate", "snapshot", "--source", active,
             "--source-format", fmt, "--dest", self.path(overlay),
             "--dest-format", "qcow2", cwd=self.folder)

    def check_all(self):
        for disk in self.disks:
            self.check_overlay(*disk)

    def hold(self, image, fmt="qcow2"):
        """A qemu-io that has IMAGE open for writing."""
        child = subprocess.Popen(
            ["qemu-io", "-f", fmt, "-c", "sleep 100000", image],
            cwd=self.folder, stdout=subprocess.DEVNULL)
        inode = f":{os.stat(self.path(image)).st_ino} "
        for _ in range(200):
            with open("/proc/locks", encoding="ascii") as locks:
                if any(inode in lock for lock in locks):
                    return child
            time.sleep(0.05)
        child.kill()
        raise Failed("qemu-io does not take its locks")


def says(done, code, *texts):
    said = done.stdout + done.stderr
    if done.returncode != code or any(text not in said for text in texts):
        raise Failed(f"{done.args[1:]}: exit {done.returncode} {said!r}, "
                     f"expected {code} {texts!r}")


def same(found, expected, what):
    if found != expected:
        raise Failed(f"{what}: found {found}, expected {expected}")


BEFORE = ["x/a", "x/base", "y/b"]
AFTER = ["x/a", "x/a.snap", "x/base", "y/b", "y/b.snap"]


# ---- 1. Made and reused.

def case_made_atomic(room):
    says(room.snapshot("--atomic"), 0)
    same(room.listing(), AFTER, "files")
    room.check_all()


def case_made_one_by_one(room):
    says(room.snapshot(), 0)
    same(room.listing(), AFTER, "files")
    room.check_all()


def case_made_by_sync(room):
    says(room.snapshot("--atomic", "--engine", "sync"), 0)
    same(room.listing(), AFTER, "files")
    room.check_all()


def case_snapshots_of_snapshots(room):
    says(room.snapshot("--atomic", "-o", "cluster_size=4k"), 0)
    room.disks = [("x/a.snap", "qcow2", "x/a.2"), ("y/b.snap", "qcow2",
                                                   "y/b.2")]
    says(room.snapshot("--atomic"), 0)
    room.check_all()
    told = json.loads(room.img("info", "--output=json", "x/a.2"))
    same(told["cluster-size"], 4096, "clusters of the kind of the layer below")


def case_backing_text(room):
    os.symlink("x", room.path("link"))
    done = run(IMGCHAIN, "snapshot", "--atomic", "--disk",
               "x/a=y/over,format=qcow2,backing=../link/a", cwd=room.folder)
    says(done, 0)
    told = json.loads(room.img("info", "--output=json", "y/over"))
    same(told["backing-filename"], "../link/a", "backing name")
    room.img("compare", "-q", "-f", "qcow2", "-F", "qcow2", "x/a", "y/over")
    for text, why in (("../x/base", "backing-resolves"),
                      ("../y/b", "declared as qcow2 but magic: "),
                      ("missing", "No such file"),
                      ("file:" + room.path("x/a"), "backing-portable")):
        done = run(IMGCHAIN, "snapshot", "--atomic", "--disk",
                   f"x/a=y/bad,format=qcow2,backing={text}", cwd=room.folder)
        says(done, 1)
        if why not in done.stdout + done.stderr:
            raise Failed(f"backing={text}: {done.stdout} {done.stderr}")
        same([n for n in room.listing() if "bad" in n or "imgchain" in n], [],
             "left behind")


def case_plan_writes_nothing(room):
    before = {e.path: e.stat().st_mtime_ns for e in os.scandir(room.folder)}
    says(room.snapshot("--atomic", "--dry-run"), 0, "would create")
    says(room.snapshot("--dry-run"), 0)
    same(room.listing(), BEFORE, "files")
    same({e.path: e.stat().st_mtime_ns for e in os.scandir(room.folder)},
         before, "folders")


def make_good(room):
    room.img("create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2",
             "x/a.snap")
    room.img("create", "-q", "-f", "qcow2", "-b", "b", "-F", "raw",
             "y/b.snap")


def case_reuse_good(room):
    make_good(room)
    for more in ([], ["--atomic"], ["--relative"], ["--dry-run"]):
        says(room.snapshot("--reuse-external", *more), 0)
    same(room.listing(), AFTER, "files")


def patch(room, name, off, data):
    with open(room.path(name), "r+b") as image:
        image.seek(off)
        image.write(data)


def forget_format(room):
    with open(room.path("x/a.snap"), "rb") as image:
        at = image.read(65536).index(struct.pack(">I", 0xE2792ACA), 72)
    patch(room, "x/a.snap", at, struct.pack(">I", 0x12345678))


def set_incompatible(room, bits):
    patch(room, "x/a.snap", 72, struct.pack(">Q", bits))


def rebase(room, backing, fmt="qcow2"):
    room.img("rebase", "-u", "-f", "qcow2", "-b", backing,
             *(["-F", fmt] if fmt else []), "x/a.snap")


def create(room, *options, size="4M", backing="a", fmt="qcow2"):
    room.img("create", "-q", "-f", "qcow2", *options, "-u", "-b", backing,
             "-F", fmt, "x/a.snap", size)


def plain_raw(room):
    room.img("create", "-q", "-f", "raw", "x/a.snap", "4M")


def empty(room):
    with open(room.path("x/a.snap"), "wb"):
        pass


def unlink(room):
    os.unlink(room.path("x/a.snap"))


def folder(room):
    unlink(room)
    os.mkdir(room.path("x/a.snap"))


def hard_link(room):
    unlink(room)
    os.link(room.path("x/a"), room.path("x/a.snap"))


def of_the_other_disk(room):
    unlink(room)
    os.link(room.path("y/b"), room.path("x/a.snap"))


def file_name(room):
    rebase(room, "file:" + room.path("x/a"))


def json_name(room):
    rebase(room, "json:" + json.dumps({"driver": "qcow2", "file": {
        "driver": "file", "filename": room.path("x/a")}}))


# Overlays that libvirt takes, and what becomes of them (live): what spoils a
# good one, and the check that must fail; None: it is accepted.
REUSED = {
    "relative in another folder": (
        lambda room: rebase(room, "../x/a"), None),
    "wrong backing file": (lambda room: rebase(room, "../y/b", "raw"),
                           "backing-resolves"),
    "no backing recorded": (lambda room: room.img(
        "create", "-q", "-f", "qcow2", "x/a.snap", "4M"), "backing-recorded"),
    "skips the active layer": (lambda room: rebase(room, "base"),
                               "backing-resolves"),
    "backing format missing": (forget_format, "backing-recorded"),
    "backing format raw": (lambda room: rebase(room, "a", "raw"),
                           "backing-format"),
    "backing does not exist": (lambda room: rebase(room, "gone"),
                               "backing-resolves"),
    "backing is itself": (lambda room: rebase(room, "a.snap"),
                          "backing-resolves"),
    "file: name": (file_name, "backing-portable"),
    "json: with a format driver": (json_name, "backing-portable"),
    "smaller": (lambda room: create(room, size="2M"), "size-match"),
    "a sector smaller": (lambda room: create(room, size=str(4 * MIB - 512)),
                         "size-match"),
    "larger": (lambda room: create(room, size="8M"), "size-match"),
    "data of its own": (lambda room: room.io("x/a.snap", "write -P 9 0 64k"),
                        "content-equal"),
    "zeros of its own": (lambda room: room.io("x/a.snap", "write -z 0 64k"),
                         "content-equal"),
    "a raw file": (plain_raw, "format-match"),
    "no bytes": (empty, "format-match"),
    "missing": (unlink, "dest-exists"),
    "a folder": (folder, "dest-exists"),
    "a hard link of the active layer": (hard_link, "dest-distinct"),
    "corrupt bit": (lambda room: set_incompatible(room, 2),
                    "metadata-intact"),
    "unknown incompatible bit": (lambda room: set_incompatible(room, 1 << 40),
                                 "metadata-intact"),
    "external data file": (lambda room: create(room, "-o", "data_file=" +
                                               room.path("x/data")),
                           "features-usable"),
    "dirty bit": (lambda room: set_incompatible(room, 1), None),
    "version 2": (lambda room: create(room, "-o", "compat=0.10"), None),
    "clusters of 4k": (lambda room: create(room, "-o", "cluster_size=4k"),
                       None),
    "clusters of 2M": (lambda room: create(room, "-o", "cluster_size=2M"),
                       None),
    "extended L2": (lambda room: create(room, "-o", "extended_l2=on"), None),
    "a bitmap": (lambda room: room.img("bitmap", "--add", "x/a.snap", "one"),
                 None),
}


def case_reused_as_libvirt_would(room):
    for name, (spoil, check) in REUSED.items():
        for path in ("x/a.snap", "y/b.snap", "x/data"):
            with contextlib.suppress(FileNotFoundError):
                full = room.path(path)
                os.rmdir(full) if os.path.isdir(full) else os.unlink(full)
        make_good(room)
        spoil(room)
        before = room.listing()
        for more in ([], ["--atomic"]):
            done = room.snapshot("--reuse-external", "--output", "json", *more)
            report = json.loads(done.stdout)
            failed = [c["id"] for c in report["disks"][0]["report"]["checks"]
                      if c["result"] == "fail"]
            if check is None and (done.returncode != 0 or failed):
                raise Failed(f"{name}: refused: {failed}")
            if check and (done.returncode != 1 or check not in failed or
                          report["verdict"] != "refused"):
                raise Failed(f"{name}: exit {done.returncode}, failed "
                             f"{failed}, expected {check}")
            # The other disk is judged, and nothing is done to it.
            if report["disks"][1]["report"]["verdict"] != "accepted":
                raise Failed(f"{name}: {report['disks'][1]}")
        same(room.listing(), before, name)


def case_disks_in_each_others_way(room):
    os.link(room.path("x/a"), room.path("x/hard"))
    os.symlink("x", room.path("link"))
    two = "x/a=x/one,format=qcow2"
    for other, more, text in (
            ("x/hard=x/two", [], "two disks have the same active layer"),
            ("link/a=x/two", [], "two disks have the same active layer"),
            ("y/b=x/one", [], "two disks have the same overlay"),
            ("y/b=link/one", [], "two disks have the same overlay"),
            ("y/b=y/../link/one", [], "two disks have the same overlay"),
            ("y/b=x/base", [], "exists already"),
            ("y/b=link/base", ["--reuse-external"],
             "the overlay is a file of another disk"),
            ("y/b=x/hard", ["--reuse-external"],
             "the overlay is a file of another disk")):
        for atomic in ([], ["--atomic"]):
            done = run(IMGCHAIN, "snapshot", "--disk", two, "--disk",
                       other + ",format=raw" * other.startswith("y"), *more,
                       *atomic, cwd=room.folder)
            says(done, 1, text)
            same(room.listing(), sorted(BEFORE + ["x/hard"]), other)


# ---- 2. Killed.

# No program can be looked through for leaks while it is traced.
UNCHECKED = {**os.environ, "ASAN_OPTIONS":
             os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
# Under sanitizers everything is slower: each third call will do.
STEP = 3 if "IMGCHAIN_SANITIZED" in os.environ else 1


def strace(room, inject):
    return run("strace", "-f", "-qq", "-o", room.path("trace"), "-e",
               f"trace={CALLS}", "-e", inject,
               *room.words("--atomic", "--engine", "sync"),
               cwd=room.folder, env=UNCHECKED)


def count_calls(room):
    """How many calls of CALLS a whole run makes."""
    done = run("strace", "-f", "-qq", "-o", room.path("trace"), "-e",
               f"trace={CALLS}",
               *room.words("--atomic", "--engine", "sync"), cwd=room.folder,
               env=UNCHECKED)
    if done.returncode != 0:
        raise Skipped(f"strace: {done.stderr.strip()}")
    with open(room.path("trace"), encoding="utf-8",
              errors="replace") as trace:
        lines = [line.split(None, 1)[1] for line in trace]
    room.check_all()
    clear(room)
    # Opening a file to read it changes nothing; the count is by name.
    changing = []
    numbers = {}
    for line in lines:
        name = line.split("(")[0]
        numbers[name] = numbers.get(name, 0) + 1
        if name != "openat" or "O_CREAT" in line or "O_TMPFILE" in line:
            changing.append((name, numbers[name]))
    return changing


def clear(room):
    for name in room.listing():
        if name not in BEFORE:
            os.unlink(room.path(name))


def check_all_or_none(room, what):
    files = room.listing()
    if files == AFTER:
        room.check_all()
        return "all"
    same(files, BEFORE, what)
    return "none"


def case_killed_before_each_call(room):
    if not shutil.which("strace"):
        raise Skipped("no strace")
    outcomes = []
    calls = count_calls(room)[::STEP]
    for name, number in calls:
        what = f"killed before {name} {number}"
        done = strace(room, f"inject={name}:signal=KILL:when={number}")
        os.unlink(room.path("trace"))
        if done.returncode != -signal.SIGKILL and done.returncode != 137:
            raise Failed(f"{what}: exit {done.returncode} {done.stderr}")
        # From either folder; each knows of the other.
        room.recover(*(("x", "y") if number % 2 else ("y", "x")))
        outcomes.append(check_all_or_none(room, what))
        clear(room)
    # First none, from some call on all, and both were met.
    if outcomes != sorted(outcomes, reverse=True) or \
            set(outcomes) != {"all", "none"}:
        raise Failed(f"outcomes {outcomes}")
    print(f"    killed before each of {len(calls)} calls: "
          f"{outcomes.count('none')} times none, "
          f"{outcomes.count('all')} times all")


def case_next_run_recovers(room):
    """Without a word, as the first thing that snapshot does."""
    if not shutil.which("strace"):
        raise Skipped("no strace")
    calls = count_calls(room)
    renames = [call for call in calls if call[0] == "renameat2"]
    same(len(renames), 2, "names given")
    for name, number in (calls[len(calls) // 3], renames[0], renames[1]):
        strace(room, f"inject={name}:signal=KILL:when={number}")
        os.unlink(room.path("trace"))
        if not any("imgchain" in name for name in room.listing()):
            raise Failed("a killed run left nothing")
        says(room.snapshot("--atomic", "--dry-run"), 1,
             "a transaction was cut short in this folder: recover first")
        done = room.snapshot("--atomic")
        if name == "renameat2":
            says(done, 1, "exists already")
        else:
            says(done, 0)
        same(room.listing(), AFTER, "files")
        room.check_all()
        clear(room)


def case_failing_calls_undo(room):
    """ENOSPC and EIO at each call that changes something: none, or all."""
    if not shutil.which("strace"):
        raise Skipped("no strace")
    seen = {"all": 0, "none": 0}
    for name, number in count_calls(room)[::STEP]:
        for error in ("ENOSPC", "EIO"):
            what = f"{error} of {name} {number}"
            done = strace(room, f"inject={name}:error={error}:when={number}")
            os.unlink(room.path("trace"))
            if done.returncode not in (0, 1):
                raise Failed(f"{what}: exit {done.returncode} {done.stderr}")
            left = [n for n in room.listing() if "imgchain" in n]
            if left:
                # Only what could not be removed, and it says so or did it.
                room.recover("x", "y")
            outcome = check_all_or_none(room, what)
            if done.returncode == 1 and outcome == "all" and \
                    "recover there" not in done.stderr:
                raise Failed(f"{what}: failed, but made all: {done.stderr}")
            if done.returncode == 0 and outcome == "none":
                raise Failed(f"{what}: made none, and says nothing")
            if done.returncode == 1 and not re.match(
                    r"imgchain: [^\n]*(No space left|Input/output|space|"
                    r"flush)[^\n]*\n$", done.stderr):
                raise Failed(f"{what}: says {done.stderr!r}")
            seen[outcome] += 1
            clear(room)
    print(f"    failing calls: {seen}")


def case_interrupted(room):
    """SIGINT amid the run: nothing is left."""
    if not shutil.which("strace"):
        raise Skipped("no strace")
    calls = count_calls(room)
    commit = [call for call in calls if call[0] == "renameat"][0]
    for name, number in calls[::3]:
        done = strace(room, f"inject={name}:signal=INT:when={number}")
        os.unlink(room.path("trace"))
        outcome = check_all_or_none(room, f"interrupted at {name} {number}")
        if outcome == "none":
            says(done, 1, "cancelled")
        if calls.index((name, number)) > calls.index(commit):
            same(outcome, "all", f"interrupted after the decision, at {name}")
        clear(room)


# ---- 3. Others.

def case_in_use_is_refused(room):
    for image, fmt in (("x/a", "qcow2"), ("y/b", "raw"), ("x/base", "qcow2")):
        child = room.hold(image, fmt)
        try:
            for more in ([], ["--atomic"], ["--dry-run"],
                         ["--reuse-external"]):
                says(room.snapshot(*more), 1,
                     f"in use by process {child.pid} (qemu-io", image)
            same(room.listing(), BEFORE, "files")
        finally:
            child.kill()
            child.wait()
    says(room.snapshot("--atomic"), 0)


def case_name_is_taken(room):
    for make in (lambda path: os.symlink("nowhere", path),
                 lambda path: os.mkdir(path),
                 lambda path: os.mkfifo(path),
                 lambda path: shutil.copy(room.path("y/b"), path)):
        path = room.path("y/b.snap")
        make(path)
        for more in ([], ["--atomic"], ["--dry-run"]):
            says(room.snapshot(*more), 1, "y/b.snap: exists already")
        same([n for n in room.listing() if n not in BEFORE + ["y/b.snap"]],
             [], "left behind")
        os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) \
            else os.unlink(path)


def case_folder_is_full(room):
    """A real small file system that fills up: none."""
    if os.geteuid() != 0:
        raise Skipped("not the superuser")
    small = room.path("z")
    os.mkdir(small)
    if run("mount", "-t", "tmpfs", "-o", "size=128k", "none", small,
           cwd=room.folder).returncode != 0:
        raise Skipped("no tmpfs")
    try:
        room.disks[1] = ("y/b", "raw", "z/b.snap")
        for more in ([], ["--atomic"]):
            says(room.snapshot(*more), 1, "z/b.snap: ", "space")
            same(room.listing(), BEFORE, "files")
    finally:
        must("umount", small, cwd=room.folder)


def qemu(room, *words):
    if not shutil.which("qemu-system-x86_64"):
        raise Skipped("no qemu-system-x86_64")
    path = room.path("qmp")
    child = subprocess.Popen(
        ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "16",
         "-display", "none", "-nodefaults", "-S", "-qmp",
         f"unix:{path},server=on,wait=off", *words],
        cwd=room.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True)
    for _ in range(400):
        if os.path.exists(path):
            return child
        if child.poll() is not None:
            raise Failed(f"qemu-system: {child.stderr.read()}")
        time.sleep(0.05)
    child.kill()
    raise Failed("qemu-system does not come up")


def qmp(room, *commands):
    """Answers to COMMANDS of a QEMU's monitor."""
    answers = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(room.path("qmp"))
        file = sock.makefile("rw")
        file.readline()
        for command in ({"execute": "qmp_capabilities"}, *commands):
            file.write(json.dumps(command) + "\n")
            file.flush()
            while True:
                answer = json.loads(file.readline())
                if "return" in answer or "error" in answer:
                    break
            answers.append(answer)
    return answers[1:]


def drives(room, files):
    words = []
    for idx, (path, fmt) in enumerate(files):
        words += ["-drive", f"file={path},format={fmt},if=none,id=d{idx}",
                  "-device", f"virtio-blk-pci,drive=d{idx}"]
    return words


def case_running_qemu_is_refused(room):
    child = qemu(room, *drives(room, [("x/a", "qcow2"), ("y/b", "raw")]))
    try:
        done = room.snapshot("--atomic")
        says(done, 1, f"process {child.pid} (qemu-system-")
        same([n for n in room.listing() if n != "qmp"], BEFORE, "files")
    finally:
        child.kill()
        child.wait()


def case_qemu_runs_on_the_overlays(room):
    says(room.snapshot("--atomic"), 0)
    child = qemu(room, *drives(room, [("x/a.snap", "qcow2"),
                                      ("y/b.snap", "qcow2")]))
    try:
        for device, command in (("d0", "read -P 2 64k 64k"),
                                ("d0", "read -P 1 0 64k"),
                                ("d0", "write -P 7 128k 64k"),
                                ("d1", "read -P 3 1M 64k"),
                                ("d1", "write -P 8 0 64k")):
            answer = qmp(room, {"execute": "human-monitor-command",
                                "arguments": {"command-line": f'qemu-io '
                                              f'{device} "{command}"'}})[0]
            if answer.get("return", "error").strip():
                raise Failed(f"{device} {command}: {answer}")
        qmp(room, {"execute": "quit"})
        child.wait(20)
    finally:
        child.kill()
        child.wait()
    # The guest wrote into the overlays, not below.
    room.io("x/a", "read -P 1 128k 64k")
    room.io("x/a.snap", "read -P 7 128k 64k")
    room.io("y/b.snap", "read -P 8 0 64k")
    room.io("y/b", "read -P 0 0 64k", fmt="raw")


def main():
    for program in ("qemu-img", "qemu-io"):
        if not shutil.which(program):
            print(f"skipped: no {program}")
            return SKIP
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    cases = [(name, value) for name, value in sorted(globals().items())
             if name.startswith("case_") and part in name]
    failed = skipped = 0
    for name, case in cases:
        folder_path = os.path.realpath(
            tempfile.mkdtemp(prefix="imgchain-snapshot-"))
        begin = time.monotonic()
        try:
            case(Room(folder_path))
            print(f"ok {name} ({time.monotonic() - begin:.1f} s)")
        except Skipped as why:
            skipped += 1
            print(f"skipped: {name}: {why}")
        except (Failed, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"FAILED: {name}: {error}")
        finally:
            shutil.rmtree(folder_path, ignore_errors=True)
    print(f"{len(cases)} cases, {failed} failed, {skipped} skipped")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
