#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pivot --migrate-to: the whole chain of a running disk to another folder.

The chain of most cases is of every kind: a raw base, compressed clusters,
clusters of several lengths, a bitmap and a snapshot in a backing file, two
files of one name in different folders, relative names. After each case the
new folder alone shows what was written, and the files of the source are what
they were, byte for byte.

usage: migrate.py [NAME-PART]     only the cases with that in their name
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.join(HERE, "support"),
                os.path.join(HERE, "..", "crash", "support")]
import calls  # noqa: E402
from calls import Kind  # noqa: E402
from running import (  # noqa: E402
    IMGCHAIN, MIB, SIZE, Disk, Machine, Proxy, Record, Skipped, check_file,
    expect, fails, must, pivot, pivots, run_cases, start, wait_for)

NEW = ["--device", "va", "--migrate-to", "new"]
FILES = ["base.raw", "mid-1.qcow2", "mid.qcow2", "top.qcow2"]
FOLDERS = ["pool", "old", "src"]


def create(path, backing=None, fmt=None, options=""):
    """BACKING as it is to be recorded, relative to PATH's folder."""
    words = ["-b", backing, "-F", fmt] if backing else []
    must("qemu-img", "create", "-q", "-f", "qcow2", "-o",
         options or "compat=1.1", *words, path, str(SIZE))


class Chain(Disk):
    """base.raw <- mid.qcow2 <- mid.qcow2 <- top.qcow2, in three folders."""

    def __init__(self, rng):
        self.name, self.top, self.record = "a", "src/top.qcow2", Record()
        self.rng, self.lock, self.bps = rng, threading.Lock(), 0
        for name in [*FOLDERS, "new"]:
            os.mkdir(name)
        self.make_base()
        create("old/mid.qcow2", "../pool/base.raw", "raw", "cluster_size=4k")
        # Compressed clusters are written once only.
        self.io("old/mid.qcow2", [(i + 1, i * 65536 + 4096, 4096)
                                  for i in range(32)], " -c")
        self.io("old/mid.qcow2", self.some(8))
        create("src/mid.qcow2", "../old/mid.qcow2", "qcow2",
               "cluster_size=512,refcount_bits=64")
        must("qemu-img", "snapshot", "-c", "before", "src/mid.qcow2")
        must("qemu-img", "bitmap", "--add", "src/mid.qcow2", "marks")
        self.io("src/mid.qcow2", self.some(8))
        create(self.top, "mid.qcow2", "qcow2",
               "cluster_size=128k,extended_l2=on")
        self.io(self.top, self.some(8))
        os.chmod(self.top, 0o660)
        if os.getuid() == 0:
            os.chown(self.top, 12345, 12346)
        self.before = self.state()

    def some(self, count):
        rng = self.rng
        return [(rng.randrange(1, 255), rng.randrange(SIZE // 4096 - 64) * 4096,
                 rng.randrange(1, 64) * 4096) for _ in range(count)]

    def make_base(self):
        with open("pool/base.raw", "wb") as file:
            file.truncate(SIZE)
            for pattern, off, length in self.some(12):
                file.seek(off)
                file.write(bytes([pattern]) * length)
                self.record.write(pattern, off, length)
        os.chmod("pool/base.raw", 0o600)

    def io(self, image, writes, flag=""):
        words = []
        for pattern, off, length in writes:
            self.record.write(pattern, off, length)
            words += ["-c", f"write -q{flag} -P {pattern} {off} {length}"]
        must("qemu-io", "-f", "qcow2", *words, image)

    def state(self):
        """All of the source but what the guest writes."""
        found = {}
        for folder in FOLDERS:
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                st = os.stat(path)
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
                found[path] = (st.st_ino, st.st_size, st.st_mtime_ns, digest)
        found[self.top] = found[self.top][0]
        return found

    def check_untouched(self):
        now = self.state()
        expect(now == self.before, "the source was touched:", now, self.before)


class Single(Disk):
    """One file without a backing file."""

    def __init__(self, rng, fmt):
        self.name, self.top, self.record = "a", f"src/one.{fmt}", Record()
        self.rng, self.lock, self.bps = rng, threading.Lock(), 0
        self.fmt = fmt
        os.mkdir("src")
        os.mkdir("new")
        must("qemu-img", "create", "-q", "-f", fmt, self.top, str(SIZE))
        words = []
        for pattern in range(1, 9):
            off = rng.randrange(SIZE // 65536) * 65536
            self.record.write(pattern, off, 65536)
            words += ["-c", f"write -q -P {pattern} {off} 64k"]
        must("qemu-io", "-f", fmt, *words, self.top)

    def blockdev(self, wrap=None):
        return ["-blockdev", json.dumps(
            {"driver": self.fmt, "node-name": "a",
             "file": {"driver": "file", "filename": self.top}}),
            "-device", "virtio-blk-pci,drive=a,id=va"]


def info(path):
    return json.loads(must("qemu-img", "info", "-U", "--output", "json", path))


def check_new(machine, disk, depth=4, style=""):
    """The new folder alone, when the source is gone; and a QEMU over it."""
    machine.write(disk)
    machine.check_live(disk)
    chain = machine.chain(disk)
    expect(len(chain) == depth and chain[0].endswith("-f0"), "layers:", chain)
    expect(not machine.monitor.ask("query-jobs"), "a job remains")
    machine.monitor.ask("quit")
    machine.qemu.wait()
    disk.check_untouched()
    expect(sorted(os.listdir("new")) == FILES, os.listdir("new"))
    for folder in FOLDERS:
        os.rename(folder, f"{folder}.gone")
    for name, backing, fmt in (("top.qcow2", "mid.qcow2", "qcow2"),
                               ("mid.qcow2", "mid-1.qcow2", "qcow2"),
                               ("mid-1.qcow2", "base.raw", "raw")):
        told = info(f"new/{name}")
        expect(told["backing-filename"] == style + backing and
               told["backing-filename-format"] == fmt, told)
    if style:
        return
    os.rename("new", "moved")
    check_file(disk, "moved/top.qcow2")


def remake(disk):
    """A new source for another run."""
    for folder in FOLDERS:
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{folder}.gone", folder)
    shutil.rmtree("new", ignore_errors=True)
    os.mkdir("new")
    disk.check_untouched()


# ---- The cases. Each gets a random source of its own.

def case_whole(rng):
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    with machine.writing():
        told = pivots(*NEW)
    expect(told["result"] == "pivoted" and told["guest-on"] == "dest" and
           told["kind"] == "shallow-copy", told)
    expect([(os.path.relpath(f["source"]), os.path.relpath(f["filename"]),
             f["format"], f.get("backing-filename"), f["result"])
            for f in told["files"]] ==
           [("src/mid.qcow2", "new/mid.qcow2", "qcow2", "mid-1.qcow2",
             "copied"),
            ("old/mid.qcow2", "new/mid-1.qcow2", "qcow2", "base.raw",
             "copied"),
            ("pool/base.raw", "new/base.raw", "raw", None, "copied")],
           told["files"])
    check_new(machine, disk)
    # Each layer is of the kind that it was.
    features = [info(f"moved/{n}") for n in ("mid.qcow2", "mid-1.qcow2",
                                              "top.qcow2")]
    data = [f["format-specific"]["data"] for f in features]
    expect([f["cluster-size"] for f in features] == [512, 4096, 131072] and
           data[0]["refcount-bits"] == 64 and data[2]["extended-l2"] and
           [b["name"] for b in data[0]["bitmaps"]] == ["marks"] and
           [s["name"] for s in features[0]["snapshots"]] == ["before"],
           features)
    for name in FILES[1:]:
        checked = json.loads(must("qemu-img", "check", "--output", "json",
                                  f"moved/{name}"))
        if name == "mid-1.qcow2":
            expect(checked["compressed-clusters"] > 8, checked)
    base = os.stat("moved/base.raw")
    expect(base.st_size == SIZE and base.st_blocks * 512 < SIZE and
           base.st_mode & 0o777 == 0o600, base)
    top, was = os.stat("moved/top.qcow2"), os.stat("src.gone/top.qcow2")
    expect((top.st_mode, top.st_uid, top.st_gid) ==
           (was.st_mode, was.st_uid, was.st_gid), top, was)
    # QEMU starts from the folder alone.
    disk.top = "moved/top.qcow2"
    machine = Machine(disk)
    yield machine
    machine.check_live(disk)


def case_absolute_by_node(rng):
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    with machine.writing():
        done = pivot("copy", "--node", "a", "--migrate-to", "new", "--absolute")
    expect(done.returncode == 0 and "copied" in done.stdout and
           "mid-1.qcow2" in done.stdout, done.stdout, done.stderr)
    check_new(machine, disk, style=os.path.realpath("new") + "/")
    check_file(disk, "new/top.qcow2")


def case_single(rng):
    """No backing file: a full copy, of the same format."""
    for fmt in ("qcow2", "raw"):
        disk = Single(rng, fmt)
        machine = Machine(disk)
        yield machine
        before = sorted(os.listdir())
        dry = pivots(*NEW, "--dry-run")
        expect(sorted(os.listdir()) == before and not os.listdir("new"), dry)
        # QEMU 7.2 aborts when the monitor writes to a raw disk in the instant
        # in which the job ends.
        with machine.writing():
            ready = pivots(*NEW, "--no-pivot")
        expect(ready["result"] == "ready", ready)
        told = pivots(*NEW)
        expect(told["resumed"] and told["kind"] == "copy" and told["files"] == [] and
               told["disks"][0]["format"] == fmt, told)
        again = pivots(*NEW)
        expect(again["result"] == "pivoted" and not again["steps"], again)
        machine.write(disk)
        machine.check_live(disk)
        machine.monitor.ask("quit")
        machine.qemu.wait()
        shutil.rmtree("src")
        check_file(disk, f"new/one.{fmt}", fmt)
        shutil.rmtree("new")


def case_dry_run(rng):
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    told = pivots(*NEW, "--dry-run")
    expect(told["result"] == "planned" and told["needed"] > 0 and
           all(f["result"] == "planned" and f["needed"] > 0
               for f in told["files"]), told)
    expect(not os.listdir("new"), os.listdir("new"))
    machine.check_source(disk)
    done = pivot(*NEW, "--dry-run")
    expect(done.returncode == 0 and "would copy" in done.stdout and
           "needed" in done.stdout, done.stdout)
    real = pivots(*NEW)
    planned = [s["command"] for s in told["steps"]]
    taken = [s["command"] for s in real["steps"]]
    # HASH follows from the file, which is not there in a dry run.
    node = taken[1]["arguments"]["node-name"][:-3]
    nowhere = planned[1]["arguments"]["node-name"][:-3]
    # So does the length of a cluster.
    expect(taken[2]["arguments"].pop("granularity") == 131072, taken[2])
    expect(json.loads(json.dumps(planned).replace(nowhere, node)) == taken,
           planned, taken)
    check_new(machine, disk)


def case_refused(rng):
    """What is in the folder already is never written, and only the copy of a
    layer is taken for it."""
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine

    def flipped(path, off, out):
        with open(path, "rb") as file:
            data = bytearray(file.read())
        data[off] ^= 1
        with open(out, "wb") as file:
            file.write(data)

    def header(backing="mid-1.qcow2"):
        shutil.copy("src/mid.qcow2", "new/mid.qcow2")
        must("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", backing,
             "new/mid.qcow2")

    def stale_top():
        create("new/top.qcow2")
        must("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 0 64k",
             "new/top.qcow2")

    rows = [
        ("base.raw: is no copy of",
         lambda: flipped("pool/base.raw", 5 * MIB, "new/base.raw")),
        (f"found {SIZE - 512} bytes, expected {SIZE}",
         lambda: must("truncate", "-s", str(SIZE - 512), "new/base.raw")),
        ("found a symbolic link",
         lambda: os.symlink("../pool/base.raw", "new/base.raw")),
        ("found another name of a file of the source",
         lambda: os.link("pool/base.raw", "new/base.raw")),
        ("found no regular file", lambda: os.mkdir("new/base.raw")),
        ("found no regular file", lambda: os.mkfifo("new/base.raw")),
        ('found the backing name "other", expected "mid-1.qcow2"',
         lambda: header(backing="other")),
        (f"found a virtual size of {2 * SIZE}, expected {SIZE}",
         lambda: must("qemu-img", "create", "-q", "-f", "qcow2",
                      "new/mid.qcow2", str(2 * SIZE))),
        ("found no image of its format, expected qcow2",
         lambda: must("truncate", "-s", "1M", "new/mid.qcow2")),
        ("found another header", lambda: header()),
    ]
    for text, make in rows:
        make()
        before = must("stat", "-c", "%i %s %Y", *[
            f"new/{n}" for n in os.listdir("new")])
        done = fails(text, *NEW)
        expect("the guest is still on the source" in done.stderr, done.stderr)
        expect(must("stat", "-c", "%i %s %Y", *[
            f"new/{n}" for n in os.listdir("new")]) == before, "written:", text)
        remake(disk)
    # Of the top, validate judges.
    stale_top()
    digest = must("sha256sum", "new/top.qcow2")
    done = fails("", *NEW)
    expect("FAIL" in done.stdout and digest == must(
        "sha256sum", "new/top.qcow2"), done.stdout)
    expect("3 of 3 backing files are complete there and stay" in done.stderr or
           "FAIL" in done.stdout, done.stderr)
    remake(disk)
    # One that shows the right thing, but by the source's files.
    create("new/top.qcow2", "../src/mid.qcow2", "qcow2",
           "cluster_size=128k,extended_l2=on")
    fails("src/mid.qcow2: lies in another folder: expected a file in the "
          "folder itself", *NEW)
    remake(disk)
    for folder, text in (("nowhere", "nowhere: "), ("src", "src/top.qcow2: "
                         "lies in the folder already"),
                         ("old", "old/mid.qcow2: lies in the folder already"),
                         ("pool/base.raw", "is no folder, expected one")):
        fails(text, "--device", "va", "--migrate-to", folder)
    # Nobody leads the copies out of the allowed folders.
    fails("outside", *NEW, "--root", "src")
    machine.check_source(disk)
    disk.check_untouched()


def case_refused_single(rng):
    disk = Single(rng, "raw")
    machine = Machine(disk)
    yield machine
    with open("new/one.raw", "wb") as file:
        file.write(b"\xee" * SIZE)
    fails("one.raw: is there already, and holds data: expected no file, or an "
          "empty image", *NEW)
    with open("new/one.raw", "rb") as file:
        expect(file.read() == b"\xee" * SIZE, "it was written")
    machine.check_source(disk)


def case_unusual_layers(rng):
    """A base with an external data file, and one of another format."""
    for make, text in (
            (lambda: create("src/base", options="data_file=" +
                            os.path.abspath("src/base.data")),
             "src/base: its contents lie in an external data file"),
            (lambda: must("qemu-img", "create", "-q", "-f", "qed", "src/base",
                          str(SIZE)), "src/base: its format is qed: expected "
             "qcow2 or raw")):
        disk = Single(rng, "qcow2")
        make()
        fmt = "qed" if "qed" in text else "qcow2"
        must("qemu-img", "rebase", "-u", "-b", "base", "-F", fmt, disk.top)
        machine = Machine(disk)
        yield machine
        fails(text, *NEW)
        expect(not os.listdir("new"), os.listdir("new"))
        machine.monitor.ask("quit")
        machine.qemu.wait()
        shutil.rmtree("src")
        shutil.rmtree("new")


def run_with(plan, *words):
    """imgchain pivot with a PLAN of what happens at a change in the folder."""
    return calls.run(os.getcwd(), ["pivot", *NEW, "--qmp", "qmp.sock", *words],
                     plan=plan)


def record_calls(machine, disk):
    """What a run changes in the folder until the disk could pivot, and the
    job is taken back."""
    log = calls.record(os.getcwd(), ["pivot", *NEW, "--qmp", "qmp.sock",
                                     "--no-pivot"], "log")
    aborted = pivots("--abort", *NEW)
    expect(aborted["result"] == "aborted", aborted)
    expect(sorted(os.listdir("new")) == FILES[:3], os.listdir("new"))
    machine.check_source(disk)
    return log


def case_killed_while_copying(rng):
    """kill -9 before and after what matters: a second run goes on."""
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    log = record_calls(machine, disk)
    links = [i for i, c in enumerate(log, 1) if c.kind == Kind.LINK]
    expect(len(links) == 4, links)
    found = set()
    for number in sorted({*links, *range(1, len(log), len(log) // 5)}):
        for plan in ("kill", "killafter") if number in links else ("kill",):
            remake(disk)
            done = run_with(f"{number}:{plan}", "--no-pivot")
            expect(done.returncode == -signal.SIGKILL, done)
            names = os.listdir("new")
            expect(set(names) <= set(FILES), "half a file:", names)
            told = pivots(*NEW, "--no-pivot")
            was_there = [f for f in told["files"] if f["result"] == "found"]
            expect(len(was_there) == len(set(names) & set(FILES[:3])), names,
                   told["files"])
            found.add(len(names))
            pivots("--abort", *NEW)
            machine.write(disk)
    expect(found == {0, 1, 2, 3, 4}, "killed with so many files:", found)
    with machine.writing():
        pivots(*NEW)
    check_new(machine, disk)


def case_stopped_while_copying(rng):
    """SIGINT, no space, a broken disk: what is finished stays, and is told."""
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    log = record_calls(machine, disk)
    links = [i for i, c in enumerate(log, 1) if c.kind == Kind.LINK]
    writes = [next(i for i, c in enumerate(log, 1) if i > link and
                   c.kind == Kind.WRITE) for link in [0, *links[:3]]]
    rows = [(f"{n}:int", "cancelled", i) for i, n in enumerate(writes)]
    rows += [(f"{n}+:{errno.ENOSPC}", "No space left on device", i)
             for i, n in enumerate(writes)]
    flush = max(i for i, c in enumerate(log, 1) if i < links[1] and
                c.kind == Kind.FLUSH)
    rows += [(f"{flush}:{errno.EIO}", "Input/output error", 1)]
    for plan, text, complete in rows:
        remake(disk)
        done = run_with(plan)
        expect(done.returncode == 1 and text in done.stderr and
               "the guest is still on the source\n" in done.stderr, plan, done)
        expect(sorted(os.listdir("new")) == sorted(
            ["base.raw", "mid-1.qcow2", "mid.qcow2"][:complete]), plan,
            os.listdir("new"), done.stderr)
        line = f"{complete} of 3 backing files are complete there and stay: "
        expect((line in done.stderr) == (complete > 0), plan, done.stderr)
    machine.check_source(disk)
    with machine.writing():
        done = pivot(*NEW)
    expect(done.returncode == 0 and done.stderr.count(
        "is there already, and proved to be the copy") == complete, done.stderr)
    check_new(machine, disk)


def case_changed_while_copied(rng):
    """A backing file that somebody writes makes no copy."""
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    log = record_calls(machine, disk)
    links = [i for i, c in enumerate(log, 1) if c.kind == Kind.LINK]
    for at in (links[0], links[2]):
        remake(disk)
        child = subprocess.Popen(
            [IMGCHAIN, "pivot", *NEW, "--qmp", "qmp.sock"],
            env=calls.environment(os.getcwd(), plan=f"{at}:stop"), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        with open("pool/base.raw", "r+b") as file:
            file.seek(SIZE - 1)
            file.write(b"\x01")
        child.send_signal(signal.SIGCONT)
        _, said = child.communicate(timeout=60)
        expect(child.returncode == 1 and "base.raw: " in said and
               "changed" in said, child.returncode, said)
        expect("top.qcow2" not in os.listdir("new"), os.listdir("new"))
        expect(machine.chain(disk)[0] == "a", machine.chain(disk))
        with open("pool/base.raw", "r+b") as file:
            file.seek(SIZE - 1)
            file.write(b"\x00")
        os.utime("pool/base.raw", ns=(0, disk.before["pool/base.raw"][2]))


def case_no_space(rng):
    """Too small a file system is told before anything is written."""
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", "new"],
                      check=False, capture_output=True).returncode:
        raise Skipped("no tmpfs can be mounted")
    try:
        fails("new: there is not enough space for all files: found ", *NEW)
        expect(not os.listdir("new"), os.listdir("new"))
        machine.check_source(disk)
    finally:
        subprocess.run(["umount", "-l", "new"], check=False)


def case_interrupted_mirror(rng):
    """SIGINT while QEMU copies; then a kill, and the job goes on by itself."""
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    with machine.writing():
        child = start(*NEW, "--bandwidth", "64k")
        wait_for(lambda: machine.monitor.ask("query-jobs"))
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    expect(child.returncode == 1 and said.startswith("imgchain: cancelled\n"),
           child.returncode, said)
    expect(sorted(os.listdir("new")) == FILES[:3] and
           "3 of 3 backing files" in said, os.listdir("new"), said)
    machine.check_source(disk)
    child = start(*NEW, "--bandwidth", "64k")
    wait_for(lambda: machine.monitor.ask("query-jobs"))
    child.kill()
    child.communicate(timeout=60)
    # Copies are known by what they hold.
    os.rename("new/mid.qcow2", "kept")
    shutil.copy("kept", "new/mid.qcow2")
    os.rename("kept", "new/mid.qcow2")
    job = machine.monitor.ask("query-block-jobs")[0]
    machine.monitor.ask("block-job-set-speed", device=job["device"], speed=0)
    with machine.writing():
        told = pivots(*NEW)
    expect(told["resumed"] and all(f["result"] == "found"
                                   for f in told["files"]), told)
    check_new(machine, disk)


def case_job_died(rng):
    """The job that a killed run has left fails: its file is made anew."""
    disk = Chain(rng)
    machine = Machine(disk)
    yield machine
    child = start(*NEW, "--bandwidth", "64k")
    wait_for(lambda: machine.monitor.ask("query-jobs"))
    child.kill()
    child.communicate(timeout=60)
    machine.write(disk)
    job = machine.monitor.ask("query-jobs")[0]["id"]
    machine.monitor.ask("job-cancel", id=job)
    wait_for(lambda: not machine.monitor.ask("query-jobs") or
             machine.monitor.ask("query-jobs")[0]["status"] == "concluded")
    with machine.writing():
        told = pivots(*NEW)
    expect(told["result"] == "pivoted" and not told["resumed"], told)
    check_new(machine, disk)


def case_killed_in_qemu(rng):
    """kill -9 at each change of QEMU's: the same command finishes."""
    disk = Chain(rng)
    is_over, number = False, 0
    while not is_over:
        number += 1
        for with_answer in (False, True) if number % 2 else (True,):
            remake(disk)
            machine = Machine(disk)
            yield machine
            proxy = Proxy(number, with_answer)
            child = start(*NEW, sock="proxy.sock")
            while not proxy.stopped.wait(0.02) and child.poll() is None:
                pass
            is_over = not proxy.stopped.is_set()
            child.kill()
            child.communicate(timeout=60)
            proxy.close()
            done = pivot(*NEW)
            expect(done.returncode == 0, "killed at", proxy.seen, "then exit",
                   done.returncode, done.stderr, done.stdout)
            machine.write(disk)
            machine.check_live(disk)
            expect(machine.chain(disk)[0].endswith("-f0"), "runs on",
                   machine.chain(disk))
            machine.monitor.ask("quit")
            machine.qemu.wait()
            check_file(disk, "new/top.qcow2")
            shutil.copy("new/top.qcow2", "kept")
            # The next run's source is the same disk again.
            must("qemu-img", "rebase", "-u", "-b", "mid.qcow2", "-F", "qcow2",
                 "kept")
            os.rename("kept", disk.top)
            disk.before = disk.state()
    expect(number >= 12, "changes:", number)


if __name__ == "__main__":
    sys.exit(run_cases(globals()))
