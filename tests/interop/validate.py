#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each rule of validate against images made by qemu-img and qemu-io.

For every rule at least one destination that fails only it (or warns) and one
that passes; each remedy is run by a shell and the destination judged again.
Then the destinations that were tried on a live libvirt, with the verdict that
what happened there calls for.

usage: validate.py [NAME-PART]     only the cases with that in their name
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
MIB = 1 << 20
SIZE = 16 * MIB
SKIP = 77

RULES = {
    "snapshot": """request-explicit dest-exists dest-access dest-unused
        dest-distinct format-match metadata-intact features-usable
        backing-recorded backing-portable backing-resolves backing-format
        backing-style path-policy chain-intact size-match content-equal
        content-empty no-internal-state encryption stable-source""".split(),
    "copy": """request-explicit dest-exists dest-access dest-unused
        dest-distinct format-match metadata-intact features-usable
        backing-none path-policy chain-intact size-match space-enough
        content-stale no-internal-state encryption stable-source""".split(),
    "shallow": """request-explicit dest-exists dest-access dest-unused
        dest-distinct format-match metadata-intact features-usable
        backing-recorded backing-portable backing-resolves backing-format
        backing-style path-policy chain-intact size-match space-enough
        content-equal no-internal-state encryption write-mode shallow-meaning
        stable-source""".split(),
}


class Failed(Exception):
    """imgchain did not judge as it should."""


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
        self.img("create", "-f", "qcow2", "base.qcow2", str(SIZE))
        self.io("base.qcow2", "write -P 1 0 1M", "write -P 3 8M 1M")
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

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
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


def arguments(operation, room, more):
    words = [IMGCHAIN, "validate",
             "snapshot" if operation == "snapshot" else "copy"]
    if operation == "shallow":
        words.append("--shallow")
    words += ["--source", room.source, "--dest", room.dest]
    if room.format:
        words += ["--dest-format", room.format]
    return words + list(more)


def judge(words, folder):
    """Exit code and report."""
    done = subprocess.run(words + ["--output", "json"], capture_output=True,
                          text=True, errors="surrogateescape", cwd=folder,
                          timeout=120, check=False)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise Failed(f"no report: exit {done.returncode}: {done.stderr}") \
            from error
    return done.returncode, report


def check_shape(code, report, rules):
    ids = [c["id"] for c in report["checks"]]
    if ids != rules:
        raise Failed(f"checks {ids}, expected {rules}")
    results = {c["result"] for c in report["checks"]}
    want = ("refused", 1) if "fail" in results else \
        ("unproven", 2) if "unproven" in results else ("accepted", 0)
    if (report["verdict"], code) != want:
        raise Failed(f"verdict {report['verdict']}, exit {code}: "
                     f"expected {want}")


def find(report, rule):
    return next(c for c in report["checks"] if c["id"] == rule)


def others(report, rule, results):
    return [(c["id"], c["result"], c["message"]) for c in report["checks"]
            if c["id"] != rule and c["result"] in results]


def apply_remedy(room, words, check, rule):
    """Run the remedy as a user would; the rule must pass then."""
    remedy = check.get("remedy")
    if not remedy:
        raise Failed(f"{rule}: no remedy: {check}")
    if remedy.startswith("imgchain validate "):
        remedy += " --output json"
    tools = room.path("bin")
    os.makedirs(tools, exist_ok=True)
    link = os.path.join(tools, "imgchain")
    if not os.path.lexists(link):
        os.symlink(IMGCHAIN, link)
    done = subprocess.run(
        ["sh", "-c", remedy], cwd=room.folder, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        errors="surrogateescape", timeout=120, check=False)
    if remedy.startswith("imgchain validate "):
        report = json.loads(done.stdout)
    elif done.returncode != 0:
        raise Failed(f"{remedy}: exit {done.returncode}: {done.stderr}")
    else:
        _, report = judge(words, room.folder)
    after = find(report, rule)
    if after["result"] != "pass":
        raise Failed(f"{rule} after {remedy}: {after}")


CASES = []


def case(rule, operation, result="fail", remedy=True, only=True):
    """BUILD(room) makes the destination and may return more options."""
    def add(build):
        CASES.append((f"{rule}: {build.__name__} ({operation})", rule,
                      operation, result, remedy, only, build))
        return build
    return add


def check_case(room, rule, operation, result, remedy, only, build):
    more = build(room) or []
    words = arguments(operation, room, more)
    code, report = judge(words, room.folder)
    rules = RULES[operation]
    if build.__name__ != "source_alone":
        check_shape(code, report, rules)
    found = find(report, rule)
    if found["result"] != result:
        raise Failed(f"{rule}: {found['result']}, expected {result}: {found}; "
                     f"others {others(report, rule, ('fail', 'unproven'))}")
    also = others(report, rule, ("fail", "unproven"))
    if only and also:
        raise Failed(f"not only {rule}: {also}")
    if remedy:
        apply_remedy(room, words, found, rule)
    elif found.get("remedy"):
        raise Failed(f"a remedy where none was thought of: {found['remedy']}")


# request-explicit

@case("request-explicit", "snapshot")
def raw_overlay(room):
    room.good("snapshot")
    room.format = "raw"


@case("request-explicit", "snapshot", "warn")
def no_format(room):
    room.good("snapshot")
    room.format = None


@case("request-explicit", "copy", "warn")
def relative_path(room):
    room.good("copy")
    room.dest = "dest.qcow2"


# dest-exists

@case("dest-exists", "snapshot")
def missing(room):
    pass


@case("dest-exists", "copy")
def missing_copy(room):
    pass


@case("dest-exists", "shallow")
def dangling_link(room):
    os.symlink("nowhere", room.dest)


@case("dest-exists", "snapshot")
def directory(room):
    os.mkdir(room.dest)


@case("dest-exists", "shallow")
def fifo(room):
    os.mkfifo(room.dest)


@case("dest-exists", "copy")
def unix_socket(room):
    server = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(room.folder) if hasattr(contextlib, "chdir") \
            else contextlib.nullcontext():
        server.bind(room.dest)
    server.close()


# dest-access

def open_way(room):
    """The test's own folders let everybody pass."""
    os.chmod(room.folder, 0o755)


@case("dest-access", "snapshot")
def private_file(room):
    open_way(room)
    room.good("snapshot")
    os.chmod(room.dest, 0o600)
    return ["--as", "nobody"]


@case("dest-access", "copy")
def private_folder(room):
    open_way(room)
    os.mkdir(room.path("inner"))
    room.dest = room.path("inner/dest.qcow2")
    room.img("create", "-f", "qcow2", "inner/dest.qcow2", str(SIZE))
    os.chmod(room.dest, 0o666)
    os.chmod(room.path("inner"), 0o700)
    return ["--as", "nobody"]


def mount(room, name, *options):
    if os.geteuid() != 0:
        raise Unavailable("mounting needs root")
    os.mkdir(room.path(name))
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs",
                           room.path(name)], check=False,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"cannot mount: {done.stderr}")
    room.mounts.append(room.path(name))


@case("dest-access", "copy")
def read_only_mount(room):
    mount(room, "ro")
    room.dest = room.path("ro/dest.qcow2")
    room.img("create", "-f", "qcow2", "ro/dest.qcow2", str(SIZE))
    run("mount", "-o", "remount,ro", room.path("ro"))


# dest-unused

@case("dest-unused", "snapshot")
def held_by_qemu(room):
    room.good("snapshot")
    room.children.append(subprocess.Popen(
        ["qemu-io", "-f", "qcow2", "-c", "sleep 2500", room.dest],
        stdout=subprocess.DEVNULL))
    wait_for_fd(room.children[-1].pid, room.dest)
    # Reaped at once: a zombie would count as a process to wait for.
    threading.Thread(target=room.children[-1].wait, daemon=True).start()
    time.sleep(0.3)


def wait_for_fd(pid, path):
    for _ in range(5000):
        with contextlib.suppress(OSError):
            for entry in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{entry}") == path:
                    return True
        time.sleep(0.001)
    raise Failed(f"process {pid} never opened {path}")


# dest-distinct

@case("dest-distinct", "snapshot")
def hard_link_of_base(room):
    os.link(room.path("base.qcow2"), room.dest)


@case("dest-distinct", "copy")
def symbolic_link_to_active(room):
    os.symlink("active.qcow2", room.dest)


@case("dest-distinct", "shallow", remedy=False)
def active_itself(room):
    room.dest = room.source


# format-match

@case("format-match", "snapshot")
def raw_bytes(room):
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE))


@case("format-match", "snapshot")
def empty_file(room):
    open(room.dest, "wb").close()


@case("format-match", "copy")
def qcow2_as_raw(room):
    room.good("copy")
    room.format = "raw"


@case("format-match", "copy")
def raw_as_qcow2(room):
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE))


@case("format-match", "shallow")
def vmdk_as_qcow2(room):
    room.img("create", "-f", "vmdk", "dest.qcow2", str(SIZE))


@case("format-match", "snapshot")
def probed_raw(room):
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE))
    room.format = None


# metadata-intact

@case("metadata-intact", "snapshot")
def corrupt_bit(room):
    room.good("snapshot")
    room.set_incompatible(2)


@case("metadata-intact", "copy")
def unknown_feature(room):
    room.good("copy")
    room.set_incompatible(1 << 40)


@case("metadata-intact", "shallow")
def refcount_too_low(room):
    room.good("shallow")
    table = struct.unpack(">Q", room.read(48, 8))[0]
    block = struct.unpack(">Q", room.read(table, 8))[0]
    room.patch(block, struct.pack(">H", 0))


@case("metadata-intact", "snapshot", "warn")
def leaked_cluster(room):
    room.good("snapshot")
    table = struct.unpack(">Q", room.read(48, 8))[0]
    block = struct.unpack(">Q", room.read(table, 8))[0]
    room.patch(block + 2 * 9, struct.pack(">H", 1))
    os.truncate(room.dest, 10 * 65536)


@case("metadata-intact", "copy", "warn")
def dirty_bit(room):
    room.img("create", "-f", "qcow2", "-o", "lazy_refcounts=on",
             "dest.qcow2", str(SIZE))
    room.set_incompatible(1)


@case("metadata-intact", "copy")
def cut_short(room):
    room.good("copy")
    os.truncate(room.dest, 80)


# features-usable

@case("features-usable", "copy")
def data_file(room):
    room.img("create", "-f", "qcow2", "-o", "data_file=data.raw",
             "dest.qcow2", str(SIZE))


@case("features-usable", "copy", "pass", remedy=False)
def data_file_allowed(room):
    data_file(room)
    return ["--allow-data-file"]


@case("features-usable", "snapshot")
def extended_l2_in_old_qemu(room):
    room.overlay("dest.qcow2", "active.qcow2", "-o", "extended_l2=on")
    return ["--qemu-version", "5.1"]


@case("features-usable", "snapshot", "pass", remedy=False)
def extended_l2(room):
    room.overlay("dest.qcow2", "active.qcow2", "-o", "extended_l2=on")
    return ["--qemu-version", "5.2.0"]


@case("features-usable", "shallow")
def zstd_in_old_qemu(room):
    room.overlay("dest.qcow2", "base.qcow2", "-o", "compression_type=zstd")
    return ["--qemu-version", "5.0"]


# backing-recorded, backing-none

@case("backing-recorded", "snapshot")
def no_backing(room):
    room.img("create", "-f", "qcow2", "dest.qcow2", str(SIZE))


@case("backing-recorded", "snapshot")
def no_backing_format(room):
    room.good("snapshot")
    room.forget_format()


@case("backing-recorded", "shallow")
def blank_without_backing(room):
    room.img("create", "-f", "qcow2", "dest.qcow2", str(SIZE))


@case("backing-recorded", "shallow")
def raw_blank(room):
    room.format = "raw"
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE))


@case("backing-recorded", "shallow", "pass", remedy=False)
def flat_copy_of_base(room):
    room.img("convert", "-O", "qcow2", "base.qcow2", "dest.qcow2")


@case("backing-recorded", "shallow", "pass", remedy=False)
def raw_copy_of_base(room):
    room.format = "raw"
    room.img("convert", "-O", "raw", "base.qcow2", "dest.qcow2")


@case("backing-none", "copy")
def full_with_backing(room):
    room.overlay("dest.qcow2", "base.qcow2")


@case("backing-none", "copy")
def full_with_backing_version_2(room):
    room.overlay("dest.qcow2", "base.qcow2", "-o", "compat=0.10")


# backing-portable

@case("backing-portable", "snapshot")
def file_protocol(room):
    room.good("snapshot")
    room.rebase("file:" + room.source)


@case("backing-portable", "snapshot")
def json_with_format(room):
    room.good("snapshot")
    room.rebase("json:" + json.dumps({
        "driver": "qcow2",
        "file": {"driver": "file", "filename": room.source}}))


@case("backing-portable", "shallow")
def json_relative(room):
    room.good("shallow")
    room.rebase('json:{"file":{"driver":"file","filename":"base.qcow2"}}')


@case("backing-portable", "snapshot", "pass", remedy=False)
def json_portable(room):
    room.good("snapshot")
    room.rebase("json:" + json.dumps({
        "file": {"driver": "file", "filename": room.source}}))


@case("backing-portable", "snapshot")
def network_name(room):
    room.good("snapshot")
    room.rebase("nbd:localhost:10809", fmt="raw")


@case("backing-portable", "snapshot")
def beyond_what_libvirt_reads(room):
    room.good("snapshot")
    room.write_header([(0xE2792ACA, b"qcow2")], "active.qcow2", 40000)


@case("backing-portable", "snapshot")
def format_after_odd_extension(room):
    room.good("snapshot")
    room.write_header([(0x12345678, b"odd"), (0xE2792ACA, b"qcow2")],
                      "active.qcow2", 1024)


# backing-resolves

@case("backing-resolves", "snapshot")
def another_file(room):
    room.copy("active.qcow2", "other.qcow2")
    room.overlay("dest.qcow2", "other.qcow2")


@case("backing-resolves", "snapshot")
def the_base(room):
    room.overlay("dest.qcow2", "base.qcow2")


@case("backing-resolves", "snapshot")
def itself(room):
    room.good("snapshot")
    room.rebase("dest.qcow2")


@case("backing-resolves", "snapshot")
def backing_missing(room):
    room.good("snapshot")
    room.rebase("gone.qcow2")


@case("backing-resolves", "shallow")
def backing_missing_shallow(room):
    room.good("shallow")
    room.rebase("gone.qcow2")


@case("backing-resolves", "shallow")
def active_as_backing(room):
    room.overlay("dest.qcow2", "active.qcow2")


@case("backing-resolves", "shallow")
def itself_shallow(room):
    room.good("shallow")
    room.rebase("dest.qcow2")


# backing-format

@case("backing-format", "snapshot")
def recorded_raw(room):
    room.good("snapshot")
    room.rebase("active.qcow2", fmt="raw")


@case("backing-format", "shallow")
def recorded_raw_shallow(room):
    room.good("shallow")
    room.rebase("base.qcow2", fmt="raw")


# backing-style

@case("backing-style", "snapshot")
def absolute_not_relative(room):
    room.overlay("dest.qcow2", room.source)
    return ["--require", "relative"]


@case("backing-style", "shallow")
def relative_not_absolute(room):
    room.good("shallow")
    return ["--require", "absolute"]


@case("backing-style", "snapshot")
def from_another_folder(room):
    os.mkdir(room.path("inner"))
    room.dest = room.path("inner/dest.qcow2")
    room.overlay("inner/dest.qcow2", room.source)
    return ["--require", "relative"]


@case("backing-style", "snapshot")
def another_text(room):
    room.good("snapshot")
    return ["--backing-name", "./active.qcow2"]


# path-policy

@case("path-policy", "snapshot")
def backing_outside(room):
    os.mkdir(room.path("in"))
    for name in ("base.qcow2", "active.qcow2"):
        os.rename(room.path(name), room.path("in/" + name))
    room.copy("in/active.qcow2", "outside.qcow2")
    room.source = room.path("in/active.qcow2")
    room.dest = room.path("in/dest.qcow2")
    room.overlay("in/dest.qcow2", "active.qcow2")
    room.rebase("../outside.qcow2", image="in/dest.qcow2")
    return ["--root", room.path("in")]


@case("path-policy", "copy", remedy=False)
def dest_outside(room):
    os.mkdir(room.path("in"))
    for name in ("base.qcow2", "active.qcow2"):
        os.rename(room.path(name), room.path("in/" + name))
    room.source = room.path("in/active.qcow2")
    room.good("copy")
    return ["--root", room.path("in")]


@case("path-policy", "shallow", "warn", remedy=False)
def private_backing(room):
    if os.geteuid() != 0:
        raise Unavailable("chown needs root")
    room.copy("base.qcow2", "private.qcow2")
    os.chown(room.path("private.qcow2"), 1234, 1234)
    os.chmod(room.path("private.qcow2"), 0o600)
    room.overlay("dest.qcow2", "private.qcow2")


# chain-intact

@case("chain-intact", "snapshot", remedy=False)
def base_missing(room):
    room.good("snapshot")
    os.remove(room.path("base.qcow2"))


@case("chain-intact", "snapshot")
def base_format_missing(room):
    room.good("snapshot")
    room.forget_format("active.qcow2")


@case("chain-intact", "copy")
def source_format_missing(room):
    room.good("copy")
    room.forget_format("active.qcow2")


@case("chain-intact", "snapshot", remedy=False)
def source_loop(room):
    room.rebase("active.qcow2", image="base.qcow2")
    room.img("create", "-f", "qcow2", "-u", "-b", "active.qcow2", "-F",
             "qcow2", "dest.qcow2", str(SIZE))


def deep_chain(room, layers):
    below = "base.qcow2"
    for i in range(layers - 2):
        name = f"l{i}.qcow2"
        room.img("create", "-f", "qcow2", "-u", "-b", below, "-F", "qcow2",
                 name, str(SIZE))
        below = name
    room.rebase(below, image="active.qcow2")


@case("chain-intact", "snapshot")
def one_layer_too_many(room):
    deep_chain(room, 200)
    room.img("create", "-f", "qcow2", "-u", "-b", "active.qcow2", "-F",
             "qcow2", "dest.qcow2", str(SIZE))


# size-match

@case("size-match", "snapshot")
def smaller(room):
    room.overlay("dest.qcow2", "active.qcow2", size=8 * MIB)


@case("size-match", "snapshot")
def a_sector_smaller(room):
    room.overlay("dest.qcow2", "active.qcow2", size=SIZE - 512)


@case("size-match", "snapshot")
def larger(room):
    room.overlay("dest.qcow2", "active.qcow2", size=2 * SIZE)


@case("size-match", "snapshot", "pass", remedy=False)
def larger_allowed(room):
    room.overlay("dest.qcow2", "active.qcow2", size=2 * SIZE)
    return ["--allow-larger"]


@case("size-match", "copy")
def larger_raw(room):
    room.format = "raw"
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE + 512))


@case("size-match", "copy")
def smaller_copy(room):
    room.img("create", "-f", "qcow2", "dest.qcow2", str(SIZE - 512))


@case("size-match", "shallow")
def larger_shallow(room):
    room.overlay("dest.qcow2", "base.qcow2", size=2 * SIZE)


# space-enough

@case("space-enough", "copy", remedy=False)
def small_file_system(room):
    mount(room, "small", "-o", "size=1m")
    room.dest = room.path("small/dest.qcow2")
    room.img("create", "-f", "qcow2", "small/dest.qcow2", str(SIZE))


# content-equal

@case("content-equal", "snapshot")
def other_data(room):
    room.good("snapshot")
    room.io("dest.qcow2", "write -P 9 4M 64k")


@case("content-equal", "snapshot")
def zero_clusters(room):
    room.good("snapshot")
    room.io("dest.qcow2", "write -z 0 64k")


@case("content-equal", "shallow")
def stale_clusters(room):
    room.good("shallow")
    room.io("dest.qcow2", "write -P 9 4M 64k")


@case("content-equal", "shallow")
def other_backing(room):
    room.copy("base.qcow2", "other.qcow2")
    room.io("other.qcow2", "write -P 9 15M 512")
    room.overlay("dest.qcow2", "other.qcow2")


@case("content-equal", "shallow", "pass", remedy=False)
def copied_backing(room):
    room.copy("base.qcow2", "other.qcow2")
    room.overlay("dest.qcow2", "other.qcow2")


@case("content-equal", "shallow", "pass", remedy=False)
def backing_longer_than_active(room):
    room.img("create", "-f", "qcow2", "long.qcow2", str(2 * SIZE))
    room.io("long.qcow2", "write -P 5 0 32M")
    room.overlay("active.qcow2", "long.qcow2", size=SIZE)
    room.overlay("dest.qcow2", "long.qcow2", size=SIZE)
    room.io("dest.qcow2", "write -P 5 0 64k")


@case("content-equal", "shallow", "unproven", remedy=False)
def unreadable_backing(room):
    room.img("convert", "-O", "vmdk", "base.qcow2", "base.vmdk")
    room.rebase("base.vmdk", fmt="vmdk", image="active.qcow2")
    room.copy("base.vmdk", "other.vmdk")
    room.overlay("dest.qcow2", "other.vmdk", fmt="vmdk")


# content-empty, content-stale

@case("content-empty", "snapshot", "warn")
def equal_data(room):
    room.good("snapshot")
    room.io("dest.qcow2", "write -P 2 1M 64k")


@case("content-stale", "copy", "warn")
def old_data(room):
    room.good("copy")
    room.io("dest.qcow2", "write -P 9 0 1M")


@case("content-stale", "copy")
def old_data_trusted(room):
    room.good("copy")
    room.io("dest.qcow2", "write -P 9 0 1M")
    return ["--target-is-zero"]


@case("content-stale", "copy", "pass", remedy=False)
def written_zeros_trusted(room):
    room.good("copy")
    room.io("dest.qcow2", "write -P 0 0 1M")
    return ["--target-is-zero"]


@case("content-stale", "copy")
def raw_data_trusted(room):
    room.format = "raw"
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE))
    room.io("dest.qcow2", "write -P 9 8M 512", fmt="raw")
    return ["--target-is-zero"]


@case("content-stale", "copy", "pass", remedy=False)
def raw_as_created(room):
    room.format = "raw"
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE))


@case("content-stale", "copy", "warn")
def raw_data(room):
    room.format = "raw"
    room.img("create", "-f", "raw", "dest.qcow2", str(SIZE))
    room.io("dest.qcow2", "write -P 9 8M 512", fmt="raw")


# no-internal-state

@case("no-internal-state", "snapshot", "warn")
def internal_snapshot(room):
    room.good("snapshot")
    room.img("snapshot", "-c", "it's", "dest.qcow2")


@case("no-internal-state", "copy", "warn")
def bitmaps(room):
    room.good("copy")
    room.img("bitmap", "--add", "dest.qcow2", "b 0")
    room.img("bitmap", "--add", "dest.qcow2", "b1")


# encryption

@case("encryption", "copy")
def luks(room):
    room.encrypted()


# write-mode, shallow-meaning

@case("write-mode", "shallow")
def synchronous(room):
    room.good("shallow")
    return ["--synchronous-writes"]


@case("shallow-meaning", "shallow", "warn", remedy=False)
def source_alone(room):
    room.img("create", "-f", "qcow2", "active.qcow2", str(SIZE))
    room.img("create", "-f", "qcow2", "dest.qcow2", str(SIZE))


# stable-source

def check_stable(room):
    """A file that changes while contents are compared."""
    room.img("create", "-f", "raw", "big.raw", "600M")
    with open(room.path("big.raw"), "r+b") as big:
        block = os.urandom(MIB)
        for _ in range(600):
            big.write(block)
    room.copy("big.raw", "other.raw")
    room.overlay("active.qcow2", "big.raw", fmt="raw")
    room.overlay("dest.qcow2", "other.raw", fmt="raw")
    words = arguments("shallow", room, [])
    for _ in range(5):
        child = subprocess.Popen(words + ["--output", "json"],
                                 stdout=subprocess.PIPE, cwd=room.folder)
        room.children.append(child)
        wait_for_fd(child.pid, room.path("other.raw"))
        child.send_signal(signal.SIGSTOP)
        os.utime(room.path("big.raw"))
        child.send_signal(signal.SIGCONT)
        report = json.loads(child.communicate(timeout=120)[0])
        found = find(report, "stable-source")
        if found["result"] == "unproven":
            break
    if found["result"] != "unproven" or child.returncode != 2:
        raise Failed(f"a change was not noticed: {found}, exit "
                     f"{child.returncode}")
    code, report = judge(words, room.folder)
    if code != 0 or find(report, "stable-source")["result"] != "pass":
        raise Failed(f"nothing changed: exit {code}: {report}")


def check_stamp(room):
    """A stamp names every file of both chains."""
    room.good("snapshot")
    stamp = room.path("stamp.json")
    words = arguments("snapshot", room, ["--stamp", stamp])
    code, _ = judge(words, room.folder)
    with open(stamp, encoding="utf-8") as file:
        names = {os.path.basename(f["path"]) for f in json.load(file)["files"]}
    if code != 0 or names != {"base.qcow2", "active.qcow2", "dest.qcow2"}:
        raise Failed(f"stamp of {names}, exit {code}")


def check_good(room, operation):
    """Every rule passes, and a name that is hard to quote is no obstacle."""
    room.dest = room.path("it's a $(dest)\\n.qcow2")
    room.good(operation)
    os.rename(room.path("dest.qcow2"), room.dest)
    code, report = judge(arguments(operation, room, []), room.folder)
    check_shape(code, report, RULES[operation])
    bad = others(report, "", ("fail", "warn", "unproven", "skip"))
    if bad:
        raise Failed(f"not all pass: {bad}")


def check_quoting(room):
    """A remedy for a name with everything in it that a shell knows."""
    room.dest = room.path("-it's a $(rm x) `d` \"q\".qcow2")
    words = arguments("snapshot", room, [])
    _, report = judge(words, room.folder)
    apply_remedy(room, words, find(report, "dest-exists"), "dest-exists")


# What was tried with libvirt 9.0 and QEMU 7.2: live results are the reason
# for each verdict.
LIVE = []


def live(name, operation, verdict):
    def add(build):
        LIVE.append((name, operation, verdict, build))
        return build
    return add


def simple(name, operation, verdict, *steps):
    def build(room):
        for step in steps:
            step(room)
    live(name, operation, verdict)(build)


def overlay(backing, *options, size=None, fmt="qcow2"):
    return lambda room: room.overlay("dest.qcow2", backing, *options,
                                     size=size, fmt=fmt)


def blank(size=SIZE, fmt="qcow2", *options):
    def make(room):
        room.format = fmt
        room.img("create", "-f", fmt, *options, "dest.qcow2", str(size))
    return make


def written(*commands):
    return lambda room: room.io("dest.qcow2", *commands, fmt=room.format)


def as_format(fmt):
    return lambda room: setattr(room, "format", fmt)


def based_on(backing, fmt="qcow2"):
    return lambda room: room.rebase(backing, fmt)


def other_image(room):
    room.img("create", "-f", "qcow2", "other.qcow2", str(SIZE))
    room.io("other.qcow2", "write -P 7 0 2M")


def linked(target, hard):
    def make(room):
        (os.link if hard else os.symlink)(room.path(target), room.dest)
    return make


YES, NO = "accepted", "refused"
S, C, H = "snapshot", "copy", "shallow"
simple("s1 right overlay", S, YES, overlay("active.qcow2"))
simple("s1 absolute", S, YES,
       lambda r: r.overlay("dest.qcow2", r.source))
simple("s12 by way of a link", S, YES,
       lambda r: os.symlink("active.qcow2", r.path("link.qcow2")),
       overlay("link.qcow2"))
simple("s2 wrong backing", S, NO, other_image, overlay("other.qcow2"))
simple("s3 no backing", S, NO, blank())
simple("s15 skips the active layer", S, NO, overlay("base.qcow2"))
simple("s4 no backing format", S, NO, overlay("active.qcow2"),
       Room.forget_format)
simple("s28 recorded raw", S, NO, overlay("active.qcow2"),
       based_on("active.qcow2", "raw"))
simple("s27 backing missing", S, NO, overlay("active.qcow2"),
       based_on("gone.qcow2"))
simple("s16 backing is itself", S, NO, overlay("active.qcow2"),
       based_on("dest.qcow2"))
simple("s26 file:", S, NO, overlay("active.qcow2"),
       lambda r: r.rebase("file:" + r.source))
simple("s26b json qcow2", S, NO, overlay("active.qcow2"),
       lambda r: r.rebase("json:" + json.dumps({
           "driver": "qcow2", "file": {"driver": "file",
                                       "filename": r.source}})))
simple("s26c bare json", S, NO, overlay("active.qcow2"),
       lambda r: r.rebase("json:" + json.dumps({
           "driver": "file", "filename": r.source})))
simple("s5 smaller", S, NO, overlay("active.qcow2", size=8 * MIB))
simple("s33 a sector smaller", S, NO,
       overlay("active.qcow2", size=SIZE - 512))
simple("s6 larger", S, NO, overlay("active.qcow2", size=32 * MIB))
simple("s8 data clusters", S, NO, overlay("active.qcow2"),
       written("write -P 9 0 64k"))
simple("s32 zero clusters", S, NO, overlay("active.qcow2"),
       written("write -z 0 64k"))
simple("s7 raw file", S, NO, blank(SIZE, "raw"), as_format("qcow2"))
simple("s10 empty file", S, NO, lambda r: open(r.dest, "wb").close())
simple("s9 missing", S, NO)
simple("s11 directory", S, NO, lambda r: os.mkdir(r.dest))
simple("s14 hard link of the active layer", S, NO,
       linked("active.qcow2", True))
simple("s17 corrupt bit", S, NO, overlay("active.qcow2"),
       lambda r: r.set_incompatible(2))
simple("s29 unknown incompatible bit", S, NO, overlay("active.qcow2"),
       lambda r: r.set_incompatible(1 << 33))
simple("s31 external data file", S, NO,
       overlay("active.qcow2", "-o", "data_file=data.raw"))
simple("luks", S, NO,
       lambda r: r.encrypted("-b", "active.qcow2", "-F", "qcow2"))
simple("s17d dirty bit", S, YES,
       overlay("active.qcow2", "-o", "lazy_refcounts=on"),
       lambda r: r.set_incompatible(1))
simple("s18 version 2", S, YES, overlay("active.qcow2", "-o", "compat=0.10"))
simple("s19 4k clusters", S, YES,
       overlay("active.qcow2", "-o", "cluster_size=4k"))
simple("s19b 2M clusters", S, YES,
       overlay("active.qcow2", "-o", "cluster_size=2M"))
simple("s20 extended L2", S, YES,
       overlay("active.qcow2", "-o", "extended_l2=on"))
simple("s30 bitmap", S, YES, overlay("active.qcow2"),
       lambda r: r.img("bitmap", "--add", "dest.qcow2", "b0"))
simple("c1 blank", C, YES, blank())
simple("c1s right overlay", H, YES, overlay("base.qcow2"))
simple("c28 flat copy of the base", H, YES,
       lambda r: r.img("convert", "-O", "qcow2", "base.qcow2", "dest.qcow2"))
simple("c2 smaller", C, NO, blank(8 * MIB))
simple("c2l larger", C, NO, blank(32 * MIB))
simple("c26 raw smaller", C, NO, blank(8 * MIB, "raw"))
simple("c27 raw larger", C, NO, blank(32 * MIB, "raw"))
simple("c2s smaller", H, NO, overlay("base.qcow2", size=8 * MIB))
simple("c2ls larger", H, NO, overlay("base.qcow2", size=32 * MIB))
simple("c3 wrong backing contents", H, NO, other_image, overlay("other.qcow2"))
simple("c24 backing recorded raw", H, NO, overlay("base.qcow2"),
       based_on("base.qcow2", "raw"))
simple("c7 no backing, blank", H, NO, blank())
simple("c8 stale clusters", H, NO, overlay("base.qcow2"),
       written("write -P 9 2M 64k"))
simple("c5 raw blank", H, NO, blank(SIZE, "raw"))
simple("c5s raw stale", H, NO, blank(SIZE, "raw"), written("write -P 9 0 16M"))
simple("c5p raw filled with the base", H, YES, as_format("raw"),
       lambda r: r.img("convert", "-O", "raw", "base.qcow2", "dest.qcow2"))
simple("c4 full of stale data", C, YES, blank(),
       written("write -P 0xee 0 16M"))
simple("c4r raw full of stale data", C, YES, blank(SIZE, "raw"),
       written("write -P 0xee 0 16M"))
simple("c9 records a backing file", C, NO, other_image, overlay("other.qcow2"))
simple("c9v2 the same in version 2", C, NO, other_image,
       overlay("other.qcow2", "-o", "compat=0.10"))
simple("c6 backing missing", H, NO, overlay("base.qcow2"),
       based_on("gone.qcow2"))
simple("c6f backing missing", C, NO, overlay("base.qcow2"),
       based_on("gone.qcow2"))
simple("c16 backing format missing", H, NO, overlay("base.qcow2"),
       Room.forget_format)
simple("c11 raw file as qcow2", C, NO, blank(SIZE, "raw"), as_format("qcow2"))
simple("c12 qcow2 file as raw", C, NO, blank(), as_format("raw"))
simple("c13 no format", C, YES, blank(), as_format(None))
simple("c13s no format", H, YES, overlay("base.qcow2"), as_format(None))
simple("c20 2M clusters", H, YES,
       overlay("base.qcow2", "-o", "cluster_size=2M"))
simple("c20b 512 byte clusters", H, YES,
       overlay("base.qcow2", "-o", "cluster_size=512"))
simple("c21 hard link of the source", C, NO, linked("active.qcow2", True))
simple("c23 backing is itself", H, NO, overlay("base.qcow2"),
       based_on("dest.qcow2"))
simple("c25 file:", H, NO, overlay("base.qcow2"),
       lambda r: r.rebase("file:" + r.path("base.qcow2")))
simple("c30 corrupt", C, NO, blank(), lambda r: r.set_incompatible(2))
simple("c31 missing", C, NO)
simple("c22 backing is the active layer", H, NO, overlay("active.qcow2"))


def check_live(room, operation, verdict, build):
    build(room)
    code, report = judge(arguments(operation, room, []), room.folder)
    if report["verdict"] != verdict:
        bad = others(report, "", ("fail", "unproven"))
        raise Failed(f"{report['verdict']}, expected {verdict}: {bad}")
    if code != (0 if verdict == YES else 1):
        raise Failed(f"exit {code}")


def tests():
    for name, *rest in CASES:
        yield name, lambda room, rest=rest: check_case(room, *rest)
    for name, *rest in LIVE:
        yield f"live {name}", lambda room, rest=rest: check_live(room, *rest)
    for operation in RULES:
        yield f"all pass ({operation})", \
            lambda room, o=operation: check_good(room, o)
    yield "stable-source: changed meanwhile", check_stable
    yield "stamp", check_stamp
    yield "quoting", check_quoting


def covered():
    """Rules without a case that shows their other side."""
    seen = {rest[0] for _, *rest in CASES if rest[2] != "pass"}
    seen.add("stable-source")
    return sorted({r for rules in RULES.values() for r in rules} - seen)


def one(name, check):
    # A plain name: qemu-io splits its commands at spaces.
    folder = os.path.realpath(tempfile.mkdtemp(prefix="imgchain-validate-"))
    room = None
    try:
        room = Room(folder)
        check(room)
        return None
    except Unavailable as why:
        print(f"skipped: {name}: {why}")
        return None
    except (Failed, subprocess.TimeoutExpired, json.JSONDecodeError) as why:
        print(f"FAILED: {name}: {why}")
        return name
    finally:
        if room:
            room.close()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    for program in ("qemu-img", "qemu-io"):
        if not shutil.which(program):
            print(f"skipped: no {program}")
            return SKIP
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    if covered():
        print(f"FAILED: no case for {covered()}")
        return 1
    names = [(n, c) for n, c in tests() if part in n]
    failed = [n for n, c in names if one(n, c)]
    print(f"{len(names)} cases, {len(failed)} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
