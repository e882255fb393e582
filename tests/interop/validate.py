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

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
from reuse_rows import ROWS  # noqa: E402
from room import (  # noqa: E402
    MIB, SIZE, Failed, Room, Unavailable, run, wait_for_fd)

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
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
    room.hold_dest(2500)


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


def check_live(room, row):
    """A destination that was tried on a live libvirt, see reuse_ext.py."""
    row.build(room)
    code, report = judge(
        arguments(row.rules, room, row.validate_options(room)),
        room.folder)
    verdict = row.validate_verdict or row.verdict
    if report["verdict"] != verdict:
        bad = others(report, "", ("fail", "unproven"))
        raise Failed(f"{report['verdict']}, expected {verdict}: {bad}")
    if code != (0 if verdict == "accepted" else 1):
        raise Failed(f"exit {code}")


def tests():
    for name, *rest in CASES:
        yield name, lambda room, rest=rest: check_case(room, *rest)
    for row in ROWS:
        yield f"live {row.id}", lambda room, row=row: check_live(room, row)
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
