#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pivot: disks of a running QEMU, with writes under way.

What was written is recorded here, byte for byte. After each case the running
machine shows that record, and so does the destination's chain when QEMU has
ended. No guest system is needed: writes go to the device by the monitor.

usage: pivot.py [NAME-PART]     only the cases with that in their name
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
MIB = 1 << 20
SIZE = 8 * MIB
SKIP = 77
# Commands that change nothing.
QUERIES = ("qmp_capabilities", "query-", "x-debug-query-")


class Failed(Exception):
    """imgchain or QEMU did not do as it should."""


class Skipped(Exception):
    """The case cannot be made here."""


def must(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                          check=False)
    if done.returncode != 0:
        raise Failed(f"{command}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def expect(is_true, *what):
    if not is_true:
        raise Failed(" ".join(str(w) for w in what))


class Record:
    """What a disk holds, by whoever wrote it."""

    def __init__(self):
        self.bytes = bytearray(SIZE)

    def write(self, pattern, off, length):
        self.bytes[off:off + length] = bytes([pattern]) * length

    def runs(self):
        """(pattern, offset, length) of every run of equal bytes, by 512."""
        begin, last = 0, self.bytes[0]
        for off in range(512, SIZE, 512):
            if self.bytes[off] != last:
                yield last, begin, off - begin
                begin, last = off, self.bytes[off]
        yield last, begin, SIZE - begin


class Disk:
    """A chain NAME.base <- NAME.top, and how QEMU is told about it."""

    def __init__(self, name, rng, cluster=65536):
        self.name, self.top, self.record = name, f"{name}.top", Record()
        self.rng, self.bps = rng, 20000000
        self.lock = threading.Lock()
        must("qemu-img", "create", "-q", "-f", "qcow2", f"{name}.base",
             str(SIZE))
        self.io(f"{name}.base", [(p, p * 128 * 1024, 192 * 1024)
                                 for p in range(1, 48, 2)])
        must("qemu-img", "create", "-q", "-f", "qcow2", "-o",
             f"cluster_size={cluster}", "-b", f"{name}.base", "-F", "qcow2",
             self.top)
        self.io(self.top, [(100 + i, rng.randrange(SIZE // 4096 - 64) * 4096,
                            rng.randrange(1, 64) * 4096) for i in range(12)])

    def io(self, image, writes):
        words = []
        for pattern, off, length in writes:
            words += ["-c", f"write -q -P {pattern} {off} {length}"]
            self.record.write(pattern, off, length)
        must("qemu-io", "-f", "qcow2", *words, image)

    def blockdev(self, wrap=None):
        """Arguments of QEMU: named nodes, and maybe a throttle above."""
        node = self.name
        words = ["-blockdev", json.dumps(
            {"driver": "file", "filename": self.top,
             "node-name": f"{node}-file"})]
        file = f"{node}-file"
        if wrap == "blkdebug":
            # Only what lies where the read fails is lost to the copy.
            words += ["-blockdev", json.dumps(
                {"driver": "blkdebug", "image": file, "node-name": "debug",
                 "inject-error": [{"event": "read_aio", "iotype": "read",
                                   "errno": 5, "once": False}]})]
            file = "debug"
        words += ["-blockdev", json.dumps(
            {"driver": "qcow2", "file": file, "node-name": node})]
        if wrap == "throttle":
            words += ["-object",
                      f"throttle-group,id=slow,x-bps-total={self.bps}",
                      "-blockdev", json.dumps(
                          {"driver": "throttle", "throttle-group": "slow",
                           "file": node, "node-name": f"{node}-slow"})]
            node += "-slow"
        return words + ["-device", f"virtio-blk-pci,drive={node},id=v{node[0]}"]


class Monitor:
    """A QMP connection of the test's own."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        for _ in range(200):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.lock = threading.Lock()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        with self.lock:
            self.socket.sendall(json.dumps(
                {"execute": command, "arguments": {
                    k.replace("_", "-"): v for k, v in arguments.items()}}
            ).encode() + b"\n")
            while True:
                line = self.lines.readline()
                if not line:
                    raise Failed("QEMU has gone")
                answer = json.loads(line)
                if "event" not in answer:
                    break
        if "error" in answer:
            raise Failed(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def hmp(self, line):
        return self.ask("human-monitor-command", command_line=line)


class Machine:
    """A QEMU without a guest, its disks, and the folder that all is in."""

    def __init__(self, *disks, wrap=None):
        words = []
        self.disks = disks
        for disk in disks:
            words += disk.blockdev(wrap)
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "16",
             "-S", "-display", "none", "-nodefaults",
             "-qmp", "unix:qmp.sock,server=on,wait=off",
             "-qmp", "unix:own.sock,server=on,wait=off", *words],
            stdout=open("qemu.out", "wb"),
            stderr=open("qemu.log", "wb"))
        self.monitor = Monitor("own.sock")

    def stop(self):
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()

    def io(self, disk, command):
        """What qemu-io complains of goes to QEMU's own output."""
        said = self.monitor.hmp(
            f'qemu-io -d /machine/peripheral/v{disk.name[0]}/virtio-backend '
            f'"{command}"').strip()
        with open("qemu.out", encoding="utf-8") as file:
            said += file.read()
        expect(not said, command, "says:", said)

    def write(self, disk, pattern=None, off=None, length=None):
        rng = disk.rng
        with disk.lock:
            pattern = pattern or rng.randrange(1, 255)
            length = length or rng.choice((512, 4096, 20480, 65536))
            off = off if off is not None else \
                rng.randrange((SIZE - length) // 512) * 512
            self.io(disk, f"write -q -P {pattern} {off} {length}")
            disk.record.write(pattern, off, length)

    @contextlib.contextmanager
    def writing(self):
        """Writes to all disks, until the block is left."""
        done, failed = threading.Event(), []

        def work():
            try:
                while not done.wait(0.005):
                    for disk in self.disks:
                        self.write(disk)
            except Failed as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        if failed:
            raise failed[0]

    def check_live(self, disk):
        for pattern, off, length in disk.record.runs():
            self.io(disk, f"read -q -P {pattern} {off} {length}")

    def chain(self, disk):
        """The node names of a disk's chain, active layer first."""
        nodes = {n["node-name"]: n for n in
                 self.monitor.ask("query-named-block-nodes", flat=True)}
        graph = self.monitor.ask("x-debug-query-block-graph")
        names = {n["id"]: n["name"] for n in graph["nodes"]}
        down = {(names[e["parent"]], e["name"]): names[e["child"]]
                for e in graph["edges"] if e["name"] in ("file", "backing")}
        found = [d["inserted"]["node-name"] for d in
                 self.monitor.ask("query-block")
                 if f"/v{disk.name[0]}/" in d["qdev"]]
        node, chain = found[0], []
        while node:
            while nodes[node]["drv"] == "throttle":
                node = down[(node, "file")]
            chain.append(node)
            node = down.get((node, "backing"))
        return chain

    def nodes(self, head="imgchain-"):
        return sorted(n["node-name"] for n in
                      self.monitor.ask("query-named-block-nodes", flat=True)
                      if n["node-name"].startswith(head))

    def check_source(self, disk):
        """The guest is where it was, and nothing else is in QEMU."""
        expect(self.chain(disk)[0] == disk.name, "runs on", self.chain(disk))
        expect(not self.nodes(), "remains:", self.nodes())
        expect(not self.monitor.ask("query-jobs"), "a job remains")
        self.write(disk)
        self.check_live(disk)

    def check_dest(self, disk, dest, depth, layers=True):
        """Live, by the graph; and when QEMU has ended, by the headers."""
        self.write(disk)
        self.check_live(disk)
        chain = self.chain(disk)
        expect(len(chain) == depth, "layers:", chain)
        expect(chain[0].startswith("imgchain-") and chain[0].endswith("-f0"),
               "runs on", chain)
        if layers:
            gone = [n["node-name"] for n in self.monitor.ask(
                "query-named-block-nodes", flat=True)
                if n["node-name"] == disk.name]
            expect(not gone, "old nodes remain:", gone)
        expect(not self.monitor.ask("query-jobs"), "a job remains")
        self.monitor.ask("quit")
        self.qemu.wait()
        check_file(disk, dest)


def check_file(disk, dest, fmt="qcow2"):
    must("qemu-img", "convert", "-f", fmt, "-O", "raw", dest, "shown")
    with open("shown", "rb") as file:
        expect(file.read() == disk.record.bytes, f"{dest} shows other bytes")
    os.unlink("shown")


def pivot(*words, sock="qmp.sock"):
    return subprocess.run([IMGCHAIN, "pivot", *words, "--qmp", sock],
                          capture_output=True, text=True, timeout=120,
                          check=False)


def pivots(*words):
    done = pivot(*words, "--output", "json")
    if done.returncode != 0:
        raise Failed(f"{words}: exit {done.returncode}: {done.stderr}"
                     f"{done.stdout[-2000:]}")
    return json.loads(done.stdout)


def fails(text, *words, code=1, sock="qmp.sock"):
    done = pivot(*words, sock=sock)
    expect(done.returncode == code and text in done.stderr,
           words, "exit", done.returncode, done.stderr, done.stdout[-2000:],
           f"expected {code} and {text!r}")
    return done


class Proxy:
    """Between imgchain and QEMU: counts what changes something, and may stop
    to forward after the N-th such command (or its answer)."""

    def __init__(self, stop_at=0, with_answer=True):
        self.stop_at, self.with_answer = stop_at, with_answer
        self.seen, self.muted = [], False
        self.stopped, self.answered = threading.Event(), threading.Event()
        with contextlib.suppress(FileNotFoundError):
            os.unlink("proxy.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("proxy.sock")
        self.listener.listen()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect("qmp.sock")
        back = threading.Thread(target=self.back, args=(server, client))
        back.start()
        for line in client.makefile("rb"):
            command = json.loads(line)["execute"]
            if not command.startswith(QUERIES):
                self.seen.append(command)
            is_last = self.stop_at and len(self.seen) == self.stop_at
            if is_last and not self.with_answer:
                self.stopped.set()
                break
            if is_last:
                self.muted = True
            server.sendall(line)
            if is_last:
                # QEMU has taken it when it has answered.
                self.answered.wait(20)
                self.stopped.set()
                break
        # Until imgchain has gone: to it, QEMU is only slow.
        with contextlib.suppress(OSError):
            client.recv(1)
        self.end(server)
        back.join()
        server.close()
        client.close()

    @staticmethod
    def end(server):
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def back(self, server, client):
        with contextlib.suppress(OSError):
            for line in server.makefile("rb"):
                if not self.muted:
                    client.sendall(line)
                elif b'"event"' not in line:
                    self.answered.set()

    def close(self):
        self.listener.close()
        self.thread.join(30)


# ---- The cases. Each gets a random source of its own.

def case_snapshot(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    with machine.writing():
        told = pivots("snapshot", "--device", "va", "--dest", "snap.qcow2")
    expect(told["result"] == "pivoted" and told["guest-on"] == "dest", told)
    expect([s["command"]["execute"] for s in told["steps"]] ==
           ["blockdev-add", "blockdev-add", "transaction"], told["steps"])
    machine.check_dest(disk, "snap.qcow2", 3, layers=False)


def case_snapshot_reused_by_node(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    os.mkdir("d")
    must("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k",
         "-b", "../a.top", "-F", "qcow2", "d/snap.qcow2")
    with machine.writing():
        pivots("snapshot", "--node", "a", "--dest", "d/snap.qcow2",
               "--reuse-external")
    machine.check_dest(disk, "d/snap.qcow2", 3, layers=False)


def case_full(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    with machine.writing():
        told = pivots("--device", "va", "--dest", "full.qcow2")
    expect([s["command"]["execute"] for s in told["steps"]] ==
           ["blockdev-add", "blockdev-add", "blockdev-mirror", "job-complete",
            "job-dismiss"] + 2 * ["blockdev-del"], told["steps"])
    machine.check_dest(disk, "full.qcow2", 1)


def case_full_raw_stale_throttled(rng):
    disk = Disk("a", rng)
    machine = Machine(disk, wrap="throttle")
    yield machine
    with open("full.raw", "wb") as file:
        file.write(b"\xee" * SIZE)
    with machine.writing():
        pivots("copy", "--device", "va", "--dest", "full.raw", "-f", "raw",
               "--reuse-external")
    expect(machine.nodes("a-slow") == ["a-slow"], "the throttle is gone")
    machine.write(disk)
    machine.check_live(disk)
    expect(len(machine.chain(disk)) == 1, machine.chain(disk))
    machine.monitor.ask("quit")
    machine.qemu.wait()
    check_file(disk, "full.raw", "raw")


def case_shallow(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    with machine.writing():
        told = pivots("copy", "--shallow", "--device", "va", "--dest",
                      "sh.qcow2", "--bandwidth", "32M")
    expect([s["command"]["execute"] for s in told["steps"]] ==
           2 * ["blockdev-add"] + ["blockdev-mirror"] + 2 * ["blockdev-add"] +
           ["transaction", "job-complete", "job-dismiss"] +
           2 * ["blockdev-del"], told["steps"])
    machine.check_dest(disk, "sh.qcow2", 2)


def case_shallow_other_clusters(rng):
    """Both smaller and larger than the source's, over three layers."""
    for cluster in ("512", "2M"):
        disk = Disk("a", rng, cluster=4096)
        must("qemu-img", "create", "-q", "-f", "qcow2", "-b", "a.top", "-F",
             "qcow2", "a.more")
        disk.top = "a.more"
        machine = Machine(disk)
        yield machine
        with machine.writing():
            pivots("copy", "--shallow", "--device", "va", "--dest", "sh.qcow2",
                   "-o", f"cluster_size={cluster}")
        machine.check_dest(disk, "sh.qcow2", 3)
        os.unlink("sh.qcow2")


def case_two_disks(rng):
    disks = [Disk("a", rng), Disk("b", rng)]
    machine = Machine(*disks)
    yield machine
    # One that is refused refuses both.
    must("qemu-img", "create", "-q", "-f", "qcow2", "-b", "a.top", "-F",
         "qcow2", "bad.qcow2")
    both = ["snapshot", "--reuse-external", "--disk", "va=good.qcow2", "--disk"]
    must("qemu-img", "create", "-q", "-f", "qcow2", "-b", "a.top", "-F",
         "qcow2", "good.qcow2")
    done = fails("", *both, "vb=bad.qcow2")
    expect("FAIL backing-resolves" in done.stdout and
           "Nothing was done." in done.stdout, done.stdout)
    fails("two of the disks are the same one", *both, "va=bad.qcow2")
    for disk in disks:
        machine.check_source(disk)
    with machine.writing():
        told = pivots("snapshot", "--disk", "va=a.snap", "--disk", "vb=b.snap")
    steps = [s["command"] for s in told["steps"]]
    expect([s["execute"] for s in steps] == 4 * ["blockdev-add"] +
           ["transaction"], steps)
    expect(len(steps[-1]["arguments"]["actions"]) == 2, steps[-1])
    machine.write(disks[0])
    machine.check_live(disks[0])
    machine.check_dest(disks[1], "b.snap", 3, layers=False)
    check_file(disks[0], "a.snap")


def case_refused(rng):
    """Destinations that libvirt and QEMU would take never reach QEMU."""
    disk = Disk("a", rng)
    must("qemu-img", "create", "-q", "-f", "qcow2", "other", str(SIZE))

    def make(name, backing, *more, size=None, fmt="qcow2"):
        words = ["-b", backing, "-F", fmt, "-u"] if backing else []
        must("qemu-img", "create", "-q", "-f", "qcow2", *words, *more, name,
             str(size or SIZE))

    make("wrong", "other")
    make("skips", "a.base")
    make("none", None)
    make("small", "a.top", size=SIZE - 512)
    make("large", "a.top", size=2 * SIZE)
    make("falsefmt", "a.top", fmt="raw")
    make("gone", "nowhere")
    make("stale", "a.top")
    must("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 0 64k", "stale")
    make("stale0", "a.top")
    must("qemu-io", "-f", "qcow2", "-c", "write -q -z 0 64k", "stale0")
    make("over-base", "a.base")
    must("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 128k 64k", "over-base")
    make("on-top", "a.top")
    machine = Machine(disk)
    yield machine
    rows = [("snapshot", name, check) for name, check in (
        ("wrong", "backing-resolves"), ("skips", "backing-resolves"),
        ("none", "backing-recorded"), ("small", "size-match"),
        ("large", "size-match"), ("falsefmt", "backing-format"),
        ("gone", "backing-resolves"), ("stale", "content-equal"),
        ("a.top", "dest-distinct"))]
    rows += [("shallow", name, check) for name, check in (
        ("wrong", "content-equal"), ("none", "backing-recorded"),
        ("small", "size-match"), ("over-base", "content-equal"),
        ("on-top", "backing-resolves"))]
    rows += [("copy", name, check) for name, check in (
        ("small", "size-match"), ("large", "size-match"),
        ("skips", "backing-none"), ("gone", "backing-none"))]
    rows.append(("snapshot", "stale0", "content-empty"))
    for kind, name, check in rows:
        proxy = Proxy()
        words = ["copy", "--shallow"] if kind == "shallow" else [kind]
        done = pivot(*words, "--device", "va", "--dest", name,
                     "--reuse-external", "--output", "json", sock="proxy.sock")
        proxy.close()
        expect(done.returncode == 1, kind, name, "exit", done.returncode,
               done.stderr)
        told = json.loads(done.stdout)
        bad = [c["id"] for c in told["disks"][0]["report"]["checks"]
               if c["result"] in ("fail", "unproven")]
        expect(told["result"] == "refused" and check in bad, kind, name, bad)
        expect(not proxy.seen and not told["steps"], kind, name, proxy.seen)
    machine.check_source(disk)
    fails("exists already: expected a new name, or --reuse-external",
          "snapshot", "--device", "va", "--dest", "wrong")
    fails('found no block device "vz" in the machine', "snapshot", "--device",
          "vz", "--dest", "new")
    machine.check_source(disk)


def case_no_pivot_abort_resume(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    words = ["copy", "--shallow", "--device", "va", "--dest", "sh.qcow2"]
    told = pivots(*words, "--no-pivot")
    expect(told["result"] == "ready" and told["guest-on"] == "source", told)
    machine.write(disk)
    # Another kind of work on the disk has to wait.
    fails('the disk has a block job already: "imgchain-', "snapshot",
          "--device", "va", "--dest", "x.qcow2")
    told = pivots("--abort", "--device", "va")
    expect(told["result"] == "aborted" and not told["remains"], told)
    machine.check_source(disk)
    fails("the disk has no copy of this program's under way", "--abort",
          "--device", "va")
    os.unlink("sh.qcow2")
    pivots(*words, "--no-pivot")
    with machine.writing():
        told = pivots(*words)
    expect(told["resumed"], told)
    machine.check_dest(disk, "sh.qcow2", 2)


def case_dry_run(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    before = sorted(os.listdir())
    told = {}
    for kind in (["snapshot"], ["copy"], ["copy", "--shallow"]):
        told[kind[-1]] = pivots(*kind, "--device", "va", "--dest", "new.qcow2",
                                "--dry-run")
    expect(sorted(os.listdir()) == before, "files were made")
    machine.check_source(disk)
    for kind, words in (("snapshot", ["snapshot"]),
                        ("--shallow", ["copy", "--shallow"])):
        expect(all(s["result"] == "planned" for s in told[kind]["steps"]), told)
        planned = [s["command"]["execute"] for s in told[kind]["steps"]]
        if kind == "--shallow":
            done = pivots(*words, "--device", "va", "--dest", "new.qcow2")
            expect(planned == [s["command"]["execute"] for s in done["steps"]],
                   planned, done["steps"])
    machine.check_dest(disk, "new.qcow2", 2)


def start(*words, sock="qmp.sock"):
    return subprocess.Popen([IMGCHAIN, "pivot", *words, "--qmp", sock],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def wait_for(what, seconds=20):
    for _ in range(seconds * 50):
        if what():
            return
        time.sleep(0.02)
    raise Failed("it does not come to that")


def case_interrupted(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    for signum in (signal.SIGINT, signal.SIGTERM):
        child = start("copy", "--device", "va", "--dest", "full.qcow2",
                      "--bandwidth", "256k")
        with machine.writing():
            wait_for(lambda: machine.monitor.ask("query-jobs"))
            child.send_signal(signum)
            _, said = child.communicate(timeout=60)
        expect(child.returncode == 1 and said ==
               "imgchain: cancelled\n"
               "imgchain: the guest is still on the source\n",
               child.returncode, said)
        expect(not os.path.exists("full.qcow2"), "the new file remains")
        machine.check_source(disk)


def case_qemu_killed(rng):
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    child = start("copy", "--device", "va", "--dest", "full.qcow2",
                  "--bandwidth", "256k")
    wait_for(lambda: machine.monitor.ask("query-jobs"))
    machine.qemu.kill()
    _, said = child.communicate(timeout=60)
    expect(child.returncode == 1 and said.startswith(
        "imgchain: qmp.sock: QMP: the connection was closed\n"
        "imgchain: what QEMU does cannot be told"), child.returncode, said)


def case_full_file_system(rng):
    disk = Disk("a", rng)
    disk.bps = 1000000
    machine = Machine(disk, wrap="throttle")
    yield machine
    os.mkdir("tiny")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs",
                       "tiny"], check=False, capture_output=True).returncode:
        raise Skipped("no tmpfs can be mounted")
    try:
        child = start("copy", "--device", "va", "--dest", "tiny/full.qcow2")
        wait_for(lambda: machine.monitor.ask("query-jobs"))
        with contextlib.suppress(OSError), open("tiny/much", "wb") as file:
            while True:
                file.write(bytes(65536))
                file.flush()
        _, said = child.communicate(timeout=60)
        expect(child.returncode == 1 and said ==
               "imgchain: the copy failed in QEMU: No space left on device\n"
               "imgchain: the guest is still on the source\n",
               child.returncode, said)
        expect(os.listdir("tiny") == ["much"], os.listdir("tiny"))
        machine.monitor.ask("qom-set", path="/objects/slow", property="limits",
                            value={"bps-total": 0})
        machine.check_source(disk)
    finally:
        subprocess.run(["umount", "-l", "tiny"], check=False)


def case_read_error(rng):
    disk = Disk("a", rng)
    machine = Machine(disk, wrap="blkdebug")
    yield machine
    fails("imgchain: the copy failed in QEMU: Input/output error\n"
          "imgchain: the guest is still on the source\n",
          "copy", "--device", "va", "--dest", "full.qcow2")
    expect(machine.chain(disk)[0] == "a" and not machine.nodes(),
           machine.chain(disk), machine.nodes())
    expect(not machine.monitor.ask("query-jobs"), "a job remains")


def case_busy(rng):
    """A disk that somebody else's job has, and a node in the middle."""
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    must("qemu-img", "create", "-q", "-f", "qcow2", "other", str(SIZE))
    machine.monitor.ask("blockdev-add", driver="qcow2", node_name="other",
                        file={"driver": "file", "filename": "other"})
    machine.monitor.ask("blockdev-mirror", job_id="theirs", device="a",
                        target="other", sync="full", speed=65536)
    for words in (["snapshot"], ["copy"], ["copy", "--shallow"]):
        fails('the disk has a block job already: "theirs"', *words,
              "--device", "va", "--dest", "new.qcow2")
    expect(not os.path.exists("new.qcow2"), "a file was made")
    machine.monitor.ask("block-job-cancel", device="theirs", force=True)


def case_replaced_file(rng):
    """Another file has the name of the one that QEMU runs."""
    disk = Disk("a", rng)
    machine = Machine(disk)
    yield machine
    os.rename("a.top", "moved")
    must("cp", "moved", "a.top")
    done = fails("nobody has this file open: it is not the one that QEMU "
                 "opened under the name", "copy", "--device", "va", "--dest",
                 "full.qcow2")
    expect("a.top: " in done.stderr, done.stderr)
    machine.check_source(disk)


def killed_at(machine, disk, words, stop_at, with_answer):
    """A run that is killed at its N-th change, and a second one. Returns
    whether the first had come to its end before."""
    proxy = Proxy(stop_at, with_answer)
    child = start(*words, sock="proxy.sock")
    while not proxy.stopped.wait(0.02) and child.poll() is None:
        pass
    child.kill()
    child.communicate(timeout=60)
    proxy.close()
    machine.write(disk)
    machine.check_live(disk)
    # The file may be there, and not in QEMU yet.
    done = pivot(*words, "--reuse-external")
    expect(done.returncode == 0, "killed at", proxy.seen, "then exit",
           done.returncode, done.stderr, done.stdout[-1000:])
    machine.write(disk)
    machine.check_live(disk)
    return not proxy.stopped.is_set()


def case_killed(rng):
    """kill -9 at each stage: the guest goes on, a second run finishes."""
    for kind in (["snapshot"], ["copy", "--shallow"]):
        disk = Disk("a", rng)
        machine = Machine(disk)
        yield machine
        if kind[-1] == "--shallow":
            pivots("snapshot", "--device", "va", "--dest", "first")
        is_over, nr, ends = False, 0, 0
        while not is_over:
            nr += 1
            for with_answer in (False, True):
                dest = f"dest{nr}{with_answer}"
                is_over = killed_at(machine, disk, [
                    *kind, "--device", "va", "--dest", dest], nr, with_answer)
                ends += 1
        expect(ends >= (8 if kind == ["snapshot"] else 20), "ends:", ends)
        machine.check_live(disk)
        chain = machine.chain(disk)
        expect(chain[0].endswith("-f0"), chain)
        expect(not machine.monitor.ask("query-jobs"), "a job remains")
        machine.monitor.ask("quit")
        machine.qemu.wait()
        check_file(disk, dest)
        for name in os.listdir():
            if name.startswith(("dest", "first")):
                os.unlink(name)


def run_case(name, case, seed):
    begin = time.monotonic()
    machines = []
    with tempfile.TemporaryDirectory(prefix="imgchain-pivot.") as folder:
        os.chdir(folder)
        try:
            for machine in case(random.Random(f"{seed}{name}")):
                machines.append(machine)
        except Skipped as why:
            print(f"{name}: skipped: {why}")
        finally:
            for machine in machines:
                machine.stop()
            os.chdir("/")
    print(f"{name}: {time.monotonic() - begin:.1f} s", flush=True)


def main():
    for program in ("qemu-system-x86_64", "qemu-img", "qemu-io"):
        if subprocess.run(["which", program], capture_output=True,
                          check=False).returncode:
            print(f"no {program}")
            return SKIP
    seed = int(os.environ.get("IMGCHAIN_SEED", "5"))
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    bad = 0
    for name, case in sorted(globals().items()):
        if not name.startswith("case_") or part not in name:
            continue
        try:
            run_case(name[5:], case, seed)
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"{name[5:]}: FAILED (seed {seed}): {error}")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
