#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every command where something is missing: address space, descriptors,
/proc, io_uring, threads, openat2, Landlock, memory, a file system that can be
written to. What can be done without it gives the same exit code, output and
files; what cannot gives one line and its exit code. Nothing ends by a
signal.

IMGCHAIN_SEED=N  another choice of allocations that fail
"""

import errno
import hashlib
import json
import mmap
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "..", "crash", "support")
import examples  # noqa: E402
import outcome  # noqa: E402
import trial  # noqa: E402

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
FORBID = os.path.join(os.environ.get("IMGCHAIN_BUILD", "."), "tests", "forbid")
MEMSHIM = os.environ.get("IMGCHAIN_MEMSHIM", "libmemshim.so")
IS_SANITIZED = bool(os.environ.get("IMGCHAIN_SANITIZED"))
TIMEOUT = 120
ALLOCATIONS_FIRST = 25  # so many fail one after the other,
ALLOCATIONS_MORE = 10   # and so many of the rest, by seed

READERS = [
    ["info", "top.qcow2"],
    ["info", "--backing-chain", "--output", "json", "top.qcow2"],
    ["map", "--output", "json", "top.qcow2"],
    ["map", "top.qcow2"],
    ["check", "--backing-chain", "--output", "json", "top.qcow2"],
    ["check", "top.qcow2"],
    ["check", "-m", "4", "top.qcow2"],
    ["compare", "top.qcow2", "same.raw"],
    ["compare", "--all", "--output", "json", "top.qcow2", "new.qcow2"],
    ["compare", "packed.qcow2", "same.raw"],
    ["digest", "top.qcow2"],
    ["digest", "--flat", "packed.qcow2"],
    ["validate", "snapshot", "--source", "top.qcow2", "--dest", "next.qcow2",
     "--dest-format", "qcow2", "--output", "json"],
    ["inspect", "--policy", "chain", "--output", "json", "top.qcow2"],
    ["inspect", "-f", "qcow2", "packed.qcow2"],
    ["tree", "."],
]

# A name, and what stands before the command.
MISSING = [
    ("1 GiB of address space", ["prlimit", "--as=1073741824"]),
    ("64 descriptors", ["prlimit", "--nofile=64"]),
    ("no /proc", ["unshare", "-m", "sh", "-c",
                  "umount -l /proc && exec \"$@\"", "sh"]),
    ("no io_uring", [FORBID, "io_uring"]),
    ("no threads", [FORBID, "threads"]),
    ("an old kernel", [FORBID, "io_uring,landlock,openat2,seccomp"]),
]


def run(folder, args, before=(), env=None):
    """The completed process of imgchain ARGS after the words of BEFORE. A
    copy has another inode than the one before: its number is left out."""
    done = subprocess.run([*before, IMGCHAIN, *args], cwd=folder, check=False,
                          text=True, errors="backslashreplace",
                          timeout=TIMEOUT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, **(env or {})})
    done.stdout = re.sub(r'"inode": \d+', '"inode": 0', done.stdout)
    return done


def files(folder):
    """A hash of every file below FOLDER; an undo record names inodes, and is
    only there."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            if name.endswith((".imgchain-undo", ".imgchain-repair")):
                found[os.path.relpath(path, folder)] = "there"
                continue
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = hashlib.sha256(
                    file.read()).hexdigest()
    return found


def build(folder):
    examples.build(folder)
    trial.qemu("qemu-img", "convert", "-O", "raw", "top.qcow2", "same.raw",
               cwd=folder)
    trial.qemu("qemu-img", "convert", "-c", "-O", "qcow2", "top.qcow2",
               "packed.qcow2", cwd=folder)
    trial.qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "top.qcow2",
               "-F", "qcow2", "next.qcow2", cwd=folder)
    trial.qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 3 640k 32k",
               "next.qcow2", cwd=folder)


def one_line(done, codes=(1, 2)):
    """DONE failed, and says why as it should."""
    lines = done.stderr.splitlines()
    # A verdict of its own kind: what could not be looked at is unproven.
    if done.returncode == 2 and '"unproven"' in done.stdout and not lines:
        return
    # Unproven, and then not even that could be shown.
    if len(lines) == 2 and lines[1] == "imgchain: out of memory":
        lines.pop()
    if done.returncode not in codes or len(lines) != 1 or \
            not lines[0].startswith("imgchain: "):
        raise trial.Wrong(f"exit {done.returncode}, stderr {done.stderr!r}")


def without_remedies(text):
    """A check without its remedy is still a check (chain/ops/remedy.h)."""
    return re.sub(r',\n *"remedy": "(\\.|[^"\\])*"', "", text)


class Place:
    """Fresh copies of the images, and what each command does there when
    nothing is missing."""

    def __init__(self, work):
        self.source = os.path.join(work, "source")
        self.folder = os.path.join(work, "files")
        self.counter = os.path.join(work, "count")
        os.makedirs(self.source)
        build(self.source)
        with open(self.counter, "wb") as file:
            file.write(bytes(8))
        self.normal = {}
        for args in self.commands():
            self.normal[tuple(args)] = self.result(args)
            if self.normal[tuple(args)][0] not in (0, 1) or \
                    self.normal[tuple(args)][2]:
                raise trial.Wrong(f"{args}: {self.normal[tuple(args)]}")

    @staticmethod
    def commands():
        return READERS + [example.args for example in examples.EXAMPLES]

    def result(self, args, before=(), env=None):
        outcome.fresh(self.source, self.folder)
        done = run(self.folder, args, before, env)
        return done.returncode, done.stdout, done.stderr, files(self.folder)


def is_as_ever(place, args, found, words):
    """Is FOUND what ARGS give, as far as the WORDS before it allow? Without
    openat2 nothing can be kept inside of a folder: a chain is not judged."""
    want = place.normal[tuple(args)]
    if "chain" not in args or not any("openat2" in word for word in words):
        return found == want
    doc = json.loads(found[1])
    doubts = [(check["id"], "no openat2" in check["message"])
              for check in doc["checks"] if check["result"] == "unproven"]
    return found[0] == 2 and doc["verdict"] == "unproven" and \
        doubts == [("chain-whole", True)] and found[2:] == want[2:]


def check_missing(place):
    """Nothing is missing that matters."""
    for name, before in MISSING:
        if IS_SANITIZED and name in ("1 GiB of address space", "no /proc"):
            continue
        probe = subprocess.run([*before, "true"], check=False,
                               stderr=subprocess.PIPE, text=True)
        if probe.returncode != 0:
            print(f"not had here: {name}: {probe.stderr.strip()}")
            continue
        for args in place.commands():
            found = place.result(args, before)
            if not is_as_ever(place, args, found, before):
                want = place.normal[tuple(args)]
                raise trial.Wrong(f"{name}: {' '.join(args)}: {found}\n"
                                  f"normally: {want}")
        print(f"{len(place.commands()):5} commands with {name}")


def check_all_missing(place):
    before = sum((words for name, words in MISSING
                  if name != "no /proc" and not
                  (IS_SANITIZED and "address" in name)), [])
    for args in place.commands():
        found = place.result(args, before)
        if not is_as_ever(place, args, found, before):
            raise trial.Wrong(f"all of it: {' '.join(args)}: {found}")
    print(f"{len(place.commands()):5} commands with all of it")


def check_descriptors(place):
    """A chain of more files than may be open."""
    folder = os.path.join(place.folder, "deep")
    outcome.fresh(place.source, place.folder)
    os.makedirs(folder)
    shutil.copy(os.path.join(place.source, "old.qcow2"),
                os.path.join(folder, "0.qcow2"))
    for i in range(1, 80):
        trial.qemu("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b",
                   f"{i - 1}.qcow2", "-F", "qcow2", f"{i}.qcow2", "1M",
                   cwd=folder)
    for command in ("map", "check --backing-chain",
                    "info --output json --backing-chain"):
        args = [*command.split(), "79.qcow2"]
        whole = run(folder, args)
        if whole.returncode != 0 or whole.stderr:
            raise trial.Wrong(f"{args}: {whole}")
        done = run(folder, args, ["prlimit", "--nofile=64"])
        if command.startswith("check"):
            # It checks what it could open; the rest is one of its findings.
            if done.returncode != 1 or done.stderr or \
                    "Too many open files" not in done.stdout:
                raise trial.Wrong(f"{args}: {done}")
            continue
        one_line(done)
        if "Too many open files" not in done.stderr or done.stdout:
            raise trial.Wrong(f"{args}: {done}")
    print("    3 commands with more files than descriptors")


def check_read_only(place):
    """Readers do as always; writers say so."""
    script = ("mount --bind . . && mount -o remount,ro,bind . && "
              "cd \"$PWD\" && exec \"$@\"")
    before = ["unshare", "-m", "sh", "-c", script, "sh"]
    outcome.fresh(place.source, place.folder)
    probe = subprocess.run([*before, "touch", "new"], cwd=place.folder,
                           check=False, stderr=subprocess.PIPE, text=True)
    if "Read-only" not in probe.stderr:
        print(f"not had here: a read-only mount: {probe.stderr.strip()}")
        return
    for args in READERS:
        found, want = place.result(args, before), place.normal[tuple(args)]
        # Whether it may be written is among what these two tell.
        if args[0] in ("validate", "tree"):
            found = (found[2:] if found[0] in (0, 1) else found)
            want = want[2:]
        if found != want:
            raise trial.Wrong(f"read-only: {' '.join(args)}: {found}")
    for example in examples.EXAMPLES:
        outcome.fresh(place.source, place.folder)
        done = run(place.folder, example.args, before)
        one_line(done)
        if "Read-only file system" not in done.stderr:
            raise trial.Wrong(f"read-only: {example.name}: {done.stderr}")
        if files(place.folder) != files(place.source):
            raise trial.Wrong(f"read-only: {example.name}: files changed")
    print(f"{len(place.commands()):5} commands on a read-only file system")


def allocations(place):
    with open(place.counter, "r+b") as file:
        with mmap.mmap(file.fileno(), 8) as map_:
            return struct.unpack("=Q", map_[:])[0]


def judge_memory(place, args, example, judge, plan):
    """One run in which allocations fail as PLAN says."""
    outcome.fresh(place.source, place.folder)
    done = run(place.folder, args, env={"LD_PRELOAD": MEMSHIM,
                                        "MEMSHIM_FAIL": plan,
                                        "MEMSHIM_COUNT": place.counter})
    try:
        if example is None:
            if files(place.folder) != files(place.source):
                raise trial.Wrong("files changed")
            normal = place.normal[tuple(args)]
            if (done.returncode, without_remedies(done.stdout),
                    done.stderr) != (normal[0], without_remedies(normal[1]),
                                     normal[2]):
                one_line(done)
        elif done.returncode == 0:
            judge.judge(done, 0)
        else:
            one_line(done)
            judge.judge(done, errno.ENOMEM)
    except trial.Wrong as error:
        raise trial.Wrong(f"{' '.join(args)}: MEMSHIM_FAIL={plan}: "
                          f"{error}") from error


class MemoryJudge(outcome.Judge):
    @staticmethod
    def judge_message(done, code):
        one_line(done)


def check_memory(place):
    seed = int(os.environ.get("IMGCHAIN_SEED", "1"))
    rng = random.Random(seed)
    runs = failed = 0
    jobs = [(args, None) for args in READERS]
    jobs += [(example.args, example) for example in examples.EXAMPLES]
    for args, example in jobs:
        judge = None
        outcome.fresh(place.source, place.folder)
        if example:
            judge = MemoryJudge(example, place.folder)
            before = judge.take()
        run(place.folder, args, env={"LD_PRELOAD": MEMSHIM,
                                     "MEMSHIM_COUNT": place.counter})
        if judge:
            judge.learn(before, judge.take())
        count = allocations(place)
        if count < 10:
            raise trial.Wrong(f"{args}: {count} allocations: not counted")
        numbers = set(range(1, min(count, ALLOCATIONS_FIRST) + 1))
        numbers |= {rng.randrange(1, count + 1)
                    for _ in range(ALLOCATIONS_MORE)}
        for number in sorted(numbers):
            plans = [f"{number}"] + [f"{number}+"] * (number % 4 == 0)
            for plan in plans:
                try:
                    judge_memory(place, args, example, judge, plan)
                except trial.Wrong as error:
                    print(f"FAIL: {error}")
                    failed += 1
                runs += 1
    print(f"{runs:5} runs in which an allocation failed (seed {seed})")
    if failed:
        raise trial.Wrong(f"{failed} of them")


def check_address_space(place):
    """Less and less of it, given by the caller's limit and by our own."""
    runs = 0
    for args in READERS:
        for mib in range(12, 40, 2):
            before = ["prlimit", f"--as={mib << 20}"]
            if run(place.folder, ["--version"], before).returncode != 0:
                continue
            for found in (run(place.folder, args, before),
                          run(place.folder,
                              args + ["--max-address-space", f"{mib + 4}M"])):
                runs += 1
                normal = place.normal[tuple(args)]
                if (found.returncode, found.stdout,
                        found.stderr) != normal[:3]:
                    one_line(found)
    if runs < 100:
        raise trial.Wrong(f"only {runs} runs with little address space")
    print(f"{runs:5} runs with little address space")


def main():
    for program in ("qemu-img", "qemu-io", "prlimit", "unshare"):
        if not shutil.which(program):
            print(f"SKIP: no {program}")
            return trial.SKIP
    work = tempfile.mkdtemp(prefix="imgchain-limits-",
                            dir=trial.fast_folder())
    try:
        place = Place(work)
        check_missing(place)
        check_all_missing(place)
        check_descriptors(place)
        check_read_only(place)
        if not IS_SANITIZED:
            outcome.fresh(place.source, place.folder)
            check_address_space(place)
            check_memory(place)
    except trial.Wrong as error:
        print(f"FAIL: {error}")
        return 1
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
