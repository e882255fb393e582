#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private libvirtd, or several side by side, and its machines.

    with Libvirtd(folder) as virt:
        machine = virt.define("vm", [Disk("vda", "/images/top.qcow2")])
        machine.start()
        machine.write("vda", 7, 65536, 4096)      # as its guest would
        virt.must("snapshot-create-as", "vm", "--disk-only", ...)
        assert machine.read("vda") == expected    # what its guest sees
        run([IMGCHAIN, "pivot", "--connect", virt.uri, ...])

FOLDER, the caller's, holds all that the daemon knows: etc, lib, cache, log and
run stand for /etc/libvirt, /var/lib/libvirt and so on in a mount namespace of
its own, so that it sees nothing of the host's, nor does another daemon. Paths
of images are the host's. A second daemon may have the first one's `cache`,
which spares it the second that it takes to ask QEMU what it can do.

Everything runs in a process namespace, too, whose first process (this file,
run as a program) ends when the pipe from the test does: then the kernel kills
what is left, the machines included. So nothing outlives a test, however that
ends. stop_daemon() and start_daemon() leave the machines running.

QEMU runs as Debian's libvirt-qemu: folders on the way to images must let it
pass (0755). Machines have no guest system: they run, or wait (`paused`), and
the monitor writes to their devices.
"""

import contextlib
import functools
import itertools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import uuid
from xml.sax.saxutils import quoteattr

MOUNTS = {"run": "/run/libvirt", "etc": "/etc/libvirt",
          "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt",
          "log": "/var/log/libvirt"}
# No virtlogd, no mount namespaces below this one, and files belong to root
# again when a machine has ended.
QEMU_CONF = """stdio_handler = "file"
namespaces = []
security_driver = "none"
remember_owner = 0
"""
USER = "libvirt-qemu"
START_SECONDS = 60


class Failed(Exception):
    """libvirt or QEMU did not do as it should."""


def missing():
    """Why there can be no libvirtd here, or None."""
    if os.geteuid() != 0:
        return "libvirtd needs root"
    for program in ("libvirtd", "virsh", "qemu-system-x86_64", "qemu-img",
                    "unshare"):
        if not shutil.which(program):
            return f"no {program}"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"no user {USER}"
    done = subprocess.run(["unshare", "-m", "-p", "--fork", "--mount-proc",
                           "true"], check=False, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


@functools.cache
def versions():
    """(libvirt, QEMU), like ("9.0", "7.2")."""
    said = [subprocess.run([program, "--version"], check=True, text=True,
                           capture_output=True).stdout.split()
            for program in ("libvirtd", "qemu-system-x86_64")]
    return (".".join(said[0][2].split(".")[:2]),
            ".".join(said[1][3].split(".")[:2]))


class Disk:
    """One <disk>. MORE is XML that stands inside it."""

    def __init__(self, target, path, fmt="qcow2", kind="file", more=""):
        self.target, self.path, self.fmt = target, path, fmt
        self.kind, self.more = kind, more

    def xml(self):
        source = "dev" if self.kind == "block" else "file"
        return (f"<disk type='{self.kind}' device='disk'>"
                f"<driver name='qemu' type='{self.fmt}'/>"
                f"<source {source}={quoteattr(self.path)}/>"
                f"<target dev='{self.target}' bus='virtio'/>{self.more}</disk>")


def domain_xml(name, disks, number=None):
    """The same NAME has the same UUID, if nothing else is said."""
    number = number or uuid.uuid5(uuid.NAMESPACE_DNS, name)
    return (f"<domain type='qemu'><name>{name}</name><uuid>{number}</uuid>"
            "<memory unit='MiB'>16</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
            "<controller type='usb' model='none'/><memballoon model='none'/>"
            + "".join(disk.xml() for disk in disks) + "</devices></domain>")


class Machine:
    """A domain that its daemon knows by name."""

    def __init__(self, virt, name):
        self.virt, self.name = virt, name
        self.is_started = False

    def virsh(self, command, *words, **options):
        return self.virt.virsh(command, self.name, *words, **options)

    def must(self, command, *words, **options):
        return self.virt.must(command, self.name, *words, **options)

    def start(self, paused=True):
        self.must("start", *(["--paused"] if paused else []))
        self.is_started = True

    def dumpxml(self, *options):
        """The live XML of a running machine, or with --inactive."""
        return self.must("dumpxml", *options)

    def is_running(self):
        return self.must("domstate").strip() in ("running", "paused")

    def end(self):
        """Not running any more, if it was started."""
        if self.is_started:
            self.virsh("destroy")
        self.is_started = False

    def qmp(self, command, **arguments):
        return self.qmp_all((command, arguments))[0]

    def qmp_all(self, *commands):
        """The answers to several (COMMAND, ARGUMENTS), asked by one virsh."""
        lines = [json.dumps({"execute": command, "arguments": {
            k.replace("_", "-"): v for k, v in arguments.items()}})
            for command, arguments in commands]
        said = self.virt.must("; ".join(
            f"qemu-monitor-command {self.name} '{line}'" for line in lines))
        answers = [json.loads(line) for line in said.splitlines() if line]
        for (command, _), answer in zip(commands, answers):
            if "error" in answer:
                raise Failed(f"{command}: {answer['error']['desc']}")
        return [answer["return"] for answer in answers]

    def device(self, target):
        """The qdev path of a disk."""
        alias = f"virtio-disk{ord(target[-1]) - ord('a')}"
        return f"/machine/peripheral/{alias}/virtio-backend"

    def node(self, target, blocks=None):
        """The name of the node that a disk's device runs on."""
        found = [block["inserted"]["node-name"]
                 for block in blocks or self.qmp("query-block")
                 if block["qdev"] == self.device(target)]
        if len(found) != 1:
            raise Failed(f"{self.name}: no disk {target}")
        return found[0]

    def write(self, target, pattern, off, length):
        """The guest writes. What fails shows when it is read."""
        self.must("qemu-monitor-command", "--hmp",
                  f'qemu-io -d {self.device(target)} '
                  f'"write -q -P {pattern} {off} {length}"')

    def read(self, target):
        """All bytes that the guest sees, or None where they cannot be read."""
        socket = os.path.join(self.virt.folder, "nbd", f"{self.name}.sock")
        shown = socket + ".bytes"
        _, blocks = self.qmp_all(("nbd-server-start", {
            "addr": {"type": "unix", "data": {"path": socket}}}),
            ("query-block", {}))
        try:
            self.qmp("block-export-add", type="nbd", id="guest", name="guest",
                     node_name=self.node(target, blocks))
            done = subprocess.run(
                ["qemu-img", "convert", "-f", "raw", "-O", "raw",
                 f"nbd:unix:{socket}:exportname=guest", shown],
                check=False, capture_output=True, text=True, timeout=60)
        finally:
            self.qmp("nbd-server-stop")
        if done.returncode != 0:
            return None
        with open(shown, "rb") as file:
            content = file.read()
        os.unlink(shown)
        return content

    def log(self):
        """What QEMU has said."""
        path = os.path.join(self.virt.folder, "log", "qemu",
                            f"{self.name}.log")
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()


class Libvirtd:
    """The daemon, and the namespaces that it and its machines are in."""

    def __init__(self, folder, cache=None):
        self.folder = os.path.realpath(folder)
        self.cache = cache or os.path.join(self.folder, "cache")
        self.socket = os.path.join(self.folder, "run", "libvirt-sock")
        self.uri = f"qemu:///system?socket={self.socket}"
        self.holder = None
        self.numbers = itertools.count(1)

    def __enter__(self):
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        for name in (*MOUNTS, "nbd", "xml"):
            os.makedirs(os.path.join(self.folder, name), exist_ok=True)
        os.makedirs(self.cache, exist_ok=True)
        os.chmod(self.folder, 0o755)
        os.chmod(os.path.join(self.folder, "nbd"), 0o777)
        with open(os.path.join(self.folder, "etc", "qemu.conf"), "w",
                  encoding="utf-8") as file:
            file.write(QEMU_CONF)
        self.holder = subprocess.Popen(
            ["unshare", "-m", "-p", "--fork", "--kill-child", "--mount-proc",
             sys.executable, os.path.abspath(__file__), self.folder,
             self.cache],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True)
        self.start_daemon()

    def tell(self, word):
        """Ask the holder for something, and wait until it is done."""
        self.holder.stdin.write(word + "\n")
        self.holder.stdin.flush()
        if self.holder.stdout.readline() != f"{word}\n":
            raise Failed(f"the namespaces of {self.folder} have ended")

    def start_daemon(self):
        self.tell("start")
        end = time.monotonic() + START_SECONDS
        while self.virsh("version").returncode != 0:
            if time.monotonic() > end:
                raise Failed(f"libvirtd does not answer: {self.daemon_log()}")
            time.sleep(0.05)

    def stop_daemon(self):
        """The machines go on."""
        self.tell("stop")

    def daemon_log(self):
        with open(os.path.join(self.folder, "log", "libvirtd.log"),
                  encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def close(self):
        if self.holder is None:
            return
        with contextlib.suppress(OSError):
            self.holder.stdin.close()
        self.holder.wait(30)
        self.holder.stdout.close()
        self.holder = None

    def virsh(self, *words, timeout=60):
        return subprocess.run(["virsh", "-q", "-c", self.uri, *words],
                              check=False, capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)

    def must(self, *words, **options):
        done = self.virsh(*words, **options)
        if done.returncode != 0:
            raise Failed(f"virsh {words}: exit {done.returncode}: "
                         f"{done.stderr.strip()}")
        return done.stdout

    def write_xml(self, text):
        """A file for virsh to read."""
        path = os.path.join(self.folder, "xml", f"{next(self.numbers)}.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def define(self, name, disks, number=None):
        """A persistent machine, not started; or a new definition of it."""
        self.must("define", self.write_xml(domain_xml(name, disks, number)))
        return Machine(self, name)


# ---- The first process of the namespaces

def mount(*words):
    subprocess.run(["mount", *words], check=True)


def enter(folder, cache):
    """Put the folders where libvirtd looks for them."""
    mount("-t", "tmpfs", "tmpfs", "/run")
    for name, place in MOUNTS.items():
        os.makedirs(place, exist_ok=True)
        mount("--bind", cache if name == "cache" else
              os.path.join(folder, name), place)
    if os.path.exists("/dev/kvm"):
        # One that nobody can write: libvirt asks QEMU again and again where
        # it is there and does not work.
        none = os.path.join(folder, "no-kvm")
        with open(none, "wb"):
            mount("--bind", none, "/dev/kvm")
            mount("-o", "remount,bind,ro", "/dev/kvm")


def start_libvirtd(folder):
    with open(os.path.join(folder, "log", "libvirtd.log"), "ab") as log:
        return subprocess.Popen(
            ["libvirtd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_DFL))


def stop_libvirtd(daemon):
    """Nobody waits for children here, see hold()."""
    daemon.terminate()
    while os.path.exists(f"/proc/{daemon.pid}"):
        time.sleep(0.01)


def hold(folder, cache):
    enter(folder, cache)
    # libvirt waits for each QEMU to be gone, which is whose parent this is.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    daemon = None
    for line in sys.stdin:
        if line == "start\n":
            daemon = start_libvirtd(folder)
        elif line == "stop\n":
            stop_libvirtd(daemon)
        print(line, end="", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        hold(*sys.argv[1:])
