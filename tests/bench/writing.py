# SPDX-License-Identifier: LGPL-2.1-or-later
"""What writes: copy, rebase, commit; and the device itself, by fio.

qemu-img convert does not flush what it wrote unless it is told a cache mode
(-t); imgchain always does. Rows that say "flushed" add sync(1) to qemu-img's
side. A row without cache modes gives each program its own defaults.
"""
import json
import os
import shutil
import subprocess

from images import IMGCHAIN, run


def remove(path):
    """What makes room for a destination, and for the device to calm down."""
    def prepare():
        if os.path.exists(path):
            os.unlink(path)
        os.sync()
    return prepare


def copy(images, source, peer_flags, our_flags, flushed=False):
    """convert and copy of SOURCE to one destination, removed before each."""
    dest = images.path("copy-out")
    peer = ["qemu-img", "convert", *peer_flags, source, dest]
    if flushed:
        peer = ["sh", "-c", '"$@" && sync "$0"', dest, *peer]
    return peer, [IMGCHAIN, "copy", *our_flags, source, dest], remove(dest)


def plain(fmt, *flags, flushed=False):
    """The 2.4 GiB qcow2 image to FMT, with the same FLAGS for both."""
    both = ["-f", "qcow2", "-O", fmt]
    return lambda i: copy(i, i.converted(2400, "a"), [*both, *flags], both,
                          flushed)


def packed(name, *flags):
    """A compressed image to raw."""
    both = ["-f", "qcow2", "-O", "raw"]
    return lambda i: copy(i, i.converted(2400, name, *flags),
                          [*both, "-W", "-m", "16"], both, True)


def pack(*our_flags, compression="zlib"):
    """The raw image, compressed."""
    both = ["-f", "raw", "-O", "qcow2", "-c", "-o",
            f"compression_type={compression}"]
    return lambda i: copy(i, i.source(2400), [*both, "-W", "-m", "16"],
                          [*both, *our_flags], True)


def fresh_overlay(images, base, name="rebased.qcow2"):
    """What puts a small overlay on BASE at a path, and that path."""
    path = images.path(name)

    def prepare():
        remove(path)()
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F",
            "qcow2", path)
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 1M 16M", path)
        os.sync()
    return path, prepare


def rebase(images, old, new, fmt="qcow2"):
    path, prepare = fresh_overlay(images, old)
    args = ["-f", "qcow2", "-b", new, *(["-F", fmt] if new else []), path]
    return (["qemu-img", "rebase", *args], [IMGCHAIN, "rebase", *args],
            lambda: (forget(path + ".imgchain-undo"), prepare()))


def forget(path):
    if os.path.exists(path):
        os.unlink(path)


def slow_rebase(images):
    old, new = images.slow([images.converted(512, "a"),
                            images.converted(512, "b")], 5)
    return rebase(images, old, new)


def shared_rebase(images):
    """From an overlay of the base to the base: most of it is the same."""
    base = images.converted(2400, "a")
    between = images.overlays(2400)[0]
    return rebase(images, between, base)


def commit(images):
    """1 GiB of an overlay into its base."""
    top, base = images.path("top.qcow2"), images.path("base.qcow2")
    filled = images.converted(1024, "c")

    def prepare():
        run("qemu-img", "create", "-q", "-f", "qcow2", base, "8G")
        shutil.copyfile(filled, top)
        run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", base, "-F",
            "qcow2", top)
        os.sync()
    args = ["commit", "-f", "qcow2", "-d", top]
    return ["qemu-img", *args], [IMGCHAIN, *args], prepare


def cases():
    """(name, target ratio or None, function of Images -> two commands and
    what to do before each)"""
    fast = ("-W", "-m", "16", "-t", "none")
    return [
        ("copy to qcow2", 3, plain("qcow2")),
        ("copy to qcow2, flushed", None, plain("qcow2", flushed=True)),
        ("copy to qcow2, -W -m 16 -t none", 1, plain("qcow2", *fast)),
        ("copy to raw", 3, plain("raw")),
        ("copy to raw, flushed", None, plain("raw", flushed=True)),
        ("copy to raw, -W -m 16 -t none", 1, plain("raw", *fast)),
        ("copy zlib to raw, -W -m 16, flushed", 2.5, packed("zlib", "-c")),
        ("copy zstd to raw, -W -m 16, flushed", 1.5, packed(
            "zstd", "-c", "-o", "compression_type=zstd")),
        ("copy to zlib, -W -m 16", 1.1, pack()),
        ("copy to zlib, --compress-effort fast", 4,
         pack("--compress-effort", "fast")),
        ("copy to zstd, -W -m 16", None, pack(compression="zstd")),
        ("rebase to an equal base, warm", 2, lambda i: rebase(
            i, i.converted(2400, "a"), i.converted(2400, "b"))),
        ("rebase to an equal base, 5 ms a read", 8, slow_rebase),
        ("rebase to stand alone", 2.5, lambda i: rebase(
            i, i.converted(2400, "a"), "")),
        ("rebase down to the shared base", None, shared_rebase),
        ("commit of 1 GiB", None, commit),
    ]


def device(folder):
    """Sequential bandwidth of FOLDER's device in MiB/s: fio, io_uring, 16
    requests of 1 MiB in flight, O_DIRECT, flushed at the end."""
    path = os.path.join(folder, "fio")
    found = {}
    for name, kind, prepare in (("write, new file", "write", "unlink"),
                                ("write, same file", "write", "keep"),
                                ("read", "read", "keep")):
        if prepare == "unlink":
            forget(path)
        done = subprocess.run(
            ["fio", "--name=x", f"--filename={path}", f"--rw={kind}",
             "--size=2400M", "--bs=1M", "--iodepth=16", "--ioengine=io_uring",
             "--direct=1", "--end_fsync=1", "--fallocate=none",
             "--output-format=json"],
            stdout=subprocess.PIPE, check=True, text=True)
        job = json.loads(done.stdout)["jobs"][0]
        found[name] = round(2400 * 1000 / job["job_runtime"])
    forget(path)
    return found
