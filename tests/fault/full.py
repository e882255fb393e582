#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every command that writes, on a real file system (ext4 in a file) that has
less and less space left: it does what it should, or says that there is no
space, and nothing is lost. With both engines."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "..", "crash", "support")
import calls  # noqa: E402
import examples  # noqa: E402
import outcome  # noqa: E402
import trial  # noqa: E402

FREE_KIB = [0, 8, 40, 96, 160, 288, 416, 640, 2048]
FILL = "fill"


def mount(work):
    """A small ext4 without a reserve; None where that is not allowed."""
    image, place = os.path.join(work, "ext4"), os.path.join(work, "mount")
    os.makedirs(place)
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal",
                           image], check=False, stderr=subprocess.DEVNULL)
    if made.returncode != 0 or subprocess.run(
            ["mount", "-o", "loop", image, place], check=False,
            stderr=subprocess.DEVNULL).returncode != 0:
        return None
    return place


def free_of(place):
    os.sync()  # so that what is deleted counts
    stat = os.statvfs(place)
    return stat.f_bavail * stat.f_frsize


def fill(place, free):
    """Leave FREE bytes, or a few blocks more."""
    with open(os.path.join(place, FILL), "wb") as file:
        size = free_of(place) - free
        while size > 0:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError:  # its own blocks need space, too
                os.ftruncate(file.fileno(), 0)
                size -= 4096


def run(folder, args, engine):
    env = dict(os.environ, LC_ALL="C", IMGCHAIN_ENGINE=engine)
    return subprocess.run([calls.IMGCHAIN, *args], cwd=folder, env=env,
                          check=False, text=True, timeout=120,
                          errors="backslashreplace", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


def check(example, work, place):
    """(done, refused) with so much space."""
    source = os.path.join(work, "source")
    folder = os.path.join(place, "files")
    outcome.fresh(source, folder)
    judge = outcome.Judge(example, folder)
    before = judge.take()
    calls.record(folder, example.args, os.path.join(work, "log"))
    judge.learn(before, judge.take())
    counts = [0, 0]
    for free in FREE_KIB:
        for engine in ("sync", "io_uring"):
            outcome.fresh(source, folder)
            fill(place, free << 10)
            done = run(folder, example.args, engine)
            os.unlink(os.path.join(place, FILL))
            counts[done.returncode != 0] += 1
            try:
                judge.judge(done, errno.ENOSPC)
            except trial.Wrong as error:
                raise trial.Wrong(f"{example.name}: {free} KiB left, "
                                  f"{engine}: {error}") from error
    return counts


def check_space_first(place):
    """A copy that cannot fit is refused before anything is written."""
    folder = os.path.join(place, "copy")
    os.makedirs(folder)
    with open(os.path.join(folder, "source"), "wb") as file:
        file.write(os.urandom(3 << 20))
    fill(place, 1 << 20)
    free = free_of(place)
    for args in (["-O", "raw"], ["-O", "qcow2"], ["--dry-run"]):
        done = run(folder, ["copy", "-f", "raw", *args, "source", "new"],
                   "sync")
        if (done.returncode != 1 or done.stdout or not done.stderr.startswith(
                "imgchain: new: there is not enough space for it: found ")):
            raise trial.Wrong(f"copy {args}: {done}")
        if os.listdir(folder) != ["source"] or free_of(place) != free:
            raise trial.Wrong(f"copy {args}: something is left of it")
    os.unlink(os.path.join(place, FILL))
    shutil.rmtree(folder)


def check_all(work, place):
    failed = 0
    check_space_first(place)
    total = [0, 0]
    os.makedirs(os.path.join(work, "source"))
    examples.build(os.path.join(work, "source"))
    for example in examples.EXAMPLES:
        try:
            counts = check(example, work, place)
            print(f"{counts[0]:5} done, {counts[1]:3} refused: "
                  f"{example.name}")
            total = [a + b for a, b in zip(total, counts)]
        except (trial.Wrong, RuntimeError) as error:
            print(f"FAIL: {error}")
            failed += 1
    if not all(total):
        print(f"FAIL: {total[0]} runs were done, {total[1]} refused: both "
              "must be met")
        failed += 1
    return 1 if failed else 0


def main():
    for program in ("qemu-img", "qemu-io", "mkfs.ext4"):
        if not shutil.which(program):
            print(f"SKIP: no {program}")
            return trial.SKIP
    work = tempfile.mkdtemp(prefix="imgchain-full-")
    place = mount(work)
    try:
        if not place:
            print("SKIP: no file system can be mounted")
            return trial.SKIP
        return check_all(work, place)
    finally:
        if place:
            subprocess.run(["umount", place], check=True)
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
