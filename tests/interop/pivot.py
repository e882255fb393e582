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
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
from running import (  # noqa: E402
    SIZE, Disk, Machine, Proxy, Skipped, check_file, expect, fails, must, pivot,
    pivots, run_cases, start, wait_for)


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


if __name__ == "__main__":
    sys.exit(run_cases(globals()))
