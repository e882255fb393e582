# SPDX-License-Identifier: LGPL-2.1-or-later
"""A folder with a chain of known contents, and the destinations in it."""

import contextlib
import json
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20
SIZE = 16 * MIB


class Failed(Exception):
    """imgchain, or what it is compared with, did not do as it should."""


class Unavailable(Exception):
    """The case cannot be made here."""


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True,
                          errors="surrogateescape", timeout=120, check=False,
                          **more)
    if done.returncode != 0:
        raise Failed(f"{command}: exit {done.returncode}: {done.stderr}")
    return done.stdout


class Room:
    """A folder with base.qcow2 <- active.qcow2 and a destination."""

    def __init__(self, folder):
        self.folder = folder
        self.source = self.path("active.qcow2")
        self.dest = self.path("dest.qcow2")
        self.format = "qcow2"
        self.mounts = []
        self.children = []
        self.loops = []
        self.outside = None
        self.img("create", "-f", "qcow2", "base.qcow2", str(SIZE))
        self.io("base.qcow2", "write -P 1 0 1M", "write -P 3 8M 1M",
                "write -P 4 12M 1M")
        self.overlay("active.qcow2", "base.qcow2")
        self.io("active.qcow2", "write -P 2 1M 64k", "write -z 8M 64k")

    def path(self, name):
        return os.path.join(self.folder, name)

    def img(self, *args):
        return run("qemu-img", args[0], *args[1:], cwd=self.folder)

    def io(self, image, *commands, fmt="qcow2"):
        words = [w for c in commands for w in ("-c", c)]
        return run("qemu-io", "-f", fmt, *words, image, cwd=self.folder)

    def overlay(self, name, backing, *options, size=None, fmt="qcow2"):
        self.img("create", "-f", "qcow2", *options, "-b", backing, "-F", fmt,
                 name, *([str(size)] if size else []))

    def rebase(self, backing, fmt="qcow2", image="dest.qcow2"):
        self.img("rebase", "-u", "-f", "qcow2", "-b", backing,
                 *(["-F", fmt] if fmt else []), image)

    def copy(self, source, dest):
        shutil.copyfile(self.path(source), self.path(dest))

    def encrypted(self, *options):
        """qemu-img measures the processor for it, which can fail."""
        for time_ms in (10, 50, 200, 500, 1000, 2000):
            with contextlib.suppress(Failed):
                self.img("create", "-f", "qcow2", *options, "--object",
                         "secret,id=s,data=abc", "-o",
                         "encrypt.format=luks,encrypt.key-secret=s,"
                         f"encrypt.iter-time={time_ms}", "dest.qcow2",
                         str(SIZE))
                return
        raise Failed("qemu-img makes no LUKS image")

    def patch(self, off, data, name="dest.qcow2"):
        with open(self.path(name), "r+b") as image:
            image.seek(off)
            image.write(data)

    def read(self, off, length, name="dest.qcow2"):
        with open(self.path(name), "rb") as image:
            image.seek(off)
            return image.read(length)

    def forget_format(self, name="dest.qcow2"):
        """The backing format's extension becomes one that nobody knows."""
        head = self.read(0, 65536, name)
        at = head.index(struct.pack(">I", 0xE2792ACA), 72)
        self.patch(at, struct.pack(">I", 0x12345678), name)

    def set_incompatible(self, bits, name="dest.qcow2"):
        old = struct.unpack(">Q", self.read(72, 8, name))[0]
        self.patch(72, struct.pack(">Q", old | bits), name)

    def write_header(self, extensions, backing, off, name="dest.qcow2"):
        """Extensions (type, bytes; lengths may be odd) and a backing name."""
        area = b""
        for kind, data in extensions:
            area += struct.pack(">II", kind, len(data)) + data
            area += bytes(-len(data) % 8)
        area += bytes(8)
        start = struct.unpack(">I", self.read(100, 4, name))[0]
        self.patch(start, area.ljust(1024, b"\0"), name)
        self.patch(off, backing.encode(), name)
        self.patch(8, struct.pack(">QI", off, len(backing)), name)

    def contents(self):
        """What the guest sees through active.qcow2."""
        shown = bytearray(SIZE)
        shown[0:MIB] = b"\1" * MIB
        shown[8 * MIB:9 * MIB] = b"\3" * MIB
        shown[12 * MIB:13 * MIB] = b"\4" * MIB
        shown[MIB:MIB + 65536] = b"\2" * 65536
        shown[8 * MIB:8 * MIB + 65536] = bytes(65536)
        return shown

    def hold_dest(self, milliseconds):
        """Somebody else uses the destination for a while, and it alone."""
        name = json.dumps({"driver": "qcow2", "backing": None, "file": {
            "driver": "file", "filename": self.dest}})
        self.children.append(subprocess.Popen(
            ["qemu-io", "-c", f"sleep {milliseconds}", f"json:{name}"],
            stdout=subprocess.DEVNULL))
        wait_for_fd(self.children[-1].pid, self.dest)
        # Reaped at once: a zombie would count as a process to wait for.
        threading.Thread(target=self.children[-1].wait, daemon=True).start()
        time.sleep(0.3)

    def device(self, size):
        """The destination becomes a block device."""
        if os.geteuid() != 0:
            raise Unavailable("a loop device needs root")
        with open(self.path("device"), "wb") as file:
            file.truncate(size)
        done = subprocess.run(
            ["losetup", "--find", "--show", self.path("device")],
            check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"no loop device: {done.stderr}")
        self.dest = done.stdout.strip()
        # libvirt gives it to QEMU's user, and to root afterwards.
        self.loops.append((self.dest, os.stat(self.dest)))

    def private_file(self, size):
        """A file of somebody else's, in another folder."""
        self.outside = tempfile.mkdtemp(prefix="imgchain-outside-")
        os.chmod(self.outside, 0o755)
        path = os.path.join(self.outside, "private")
        with open(path, "wb") as file:
            file.write(b"secret! " * (size // 8))
        os.chmod(path, 0o600)
        return path

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
        for loop, status in self.loops:
            subprocess.run(["losetup", "-d", loop], check=False)
            os.chown(loop, status.st_uid, status.st_gid)
        if self.outside:
            shutil.rmtree(self.outside)
        for mount in self.mounts:
            subprocess.run(["umount", mount], check=False,
                           capture_output=True)

    # Destinations that pass.
    def good(self, operation):
        if operation == "snapshot":
            self.overlay("dest.qcow2", "active.qcow2")
        elif operation == "shallow":
            self.overlay("dest.qcow2", "base.qcow2")
        else:
            self.img("create", "-f", "qcow2", "dest.qcow2", str(SIZE))


def wait_for_fd(pid, path):
    for _ in range(5000):
        with contextlib.suppress(OSError):
            for entry in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{entry}") == path:
                    return True
        time.sleep(0.001)
    raise Failed(f"process {pid} never opened {path}")
