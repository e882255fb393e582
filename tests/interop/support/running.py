# SPDX-License-Identifier: LGPL-2.1-or-later
"""A running QEMU whose disks are written without a guest, a record of what
they hold, imgchain pivot, and a proxy between the two."""

import contextlib
import json
import os
import random
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


def run_case(name, case, seed):
    begin = time.monotonic()
    machines = []
    with tempfile.TemporaryDirectory(prefix="imgchain-live.") as folder:
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


def run_cases(cases):
    """All functions of CASES that are called case_NAME; the exit code."""
    for program in ("qemu-system-x86_64", "qemu-img", "qemu-io"):
        if subprocess.run(["which", program], capture_output=True,
                          check=False).returncode:
            print(f"no {program}")
            return SKIP
    seed = int(os.environ.get("IMGCHAIN_SEED", "5"))
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    bad = 0
    for name, case in sorted(cases.items()):
        if not name.startswith("case_") or part not in name:
            continue
        try:
            run_case(name[5:], case, seed)
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"{name[5:]}: FAILED (seed {seed}): {error}")
            bad += 1
    return 1 if bad else 0
