#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pivot --connect and preflight --connect, with a real libvirtd.

A machine's disks are taken to other files while it writes. What its guest sees
afterwards is compared with a record of the test's own: at once, and when it
has been started again. Copies are cut off in the middle, left ready, aborted
and run out of space.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import libvirtd  # noqa: E402
from libvirtd import Disk, Libvirtd  # noqa: E402
from virsh_errors import ENVIRONMENT, IMGCHAIN  # noqa: E402

SKIP = 77
MIB = 1 << 20
SIZE = 8 * MIB


class Wrong(Exception):
    """imgchain did not do as it should."""


def expect(is_true, *what):
    if not is_true:
        raise Wrong(" ".join(str(w) for w in what))


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                          check=False, **more)
    if done.returncode != 0:
        raise Wrong(f"{command}: exit {done.returncode}: {done.stderr}")
    return done.stdout


class Bed:
    """A machine with two disks of known contents, in a folder of its own."""

    def __init__(self, virt, folder, name, size):
        self.virt, self.name, self.size = virt, name, size
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o777)
        self.record = {}
        for target in ("vda", "vdb"):
            self.make_disk(target)
        self.machine = virt.define(name, [Disk(t, self.path(f"{t}.top"))
                                          for t in self.record])
        self.machine.start()

    def path(self, name):
        return os.path.join(self.folder, name)

    def img(self, *words):
        return run("qemu-img", *words, cwd=self.folder)

    def make_disk(self, target):
        base, top = f"{target}.base", f"{target}.top"
        self.img("create", "-q", "-f", "qcow2", base, str(self.size))
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 2M", "-c",
            f"write -q -P 2 4M {self.size - 4 * MIB}", base, cwd=self.folder)
        self.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 3 1M 2M", top,
            cwd=self.folder)
        bytes_ = bytearray(self.size)
        for pattern, off, length in (
                (1, 0, 2 * MIB), (2, 4 * MIB, self.size - 4 * MIB),
                (3, MIB, 2 * MIB)):
            bytes_[off:off + length] = bytes([pattern]) * length
        self.record[target] = bytes_

    def write(self, target, pattern, off, length):
        self.machine.write(target, pattern, off, length)
        self.record[target][off:off + length] = bytes([pattern]) * length

    def pivot(self, *words, **more):
        return start(self.virt, self.name, *words, **more)

    def source(self, target):
        """The file that libvirt says the disk is."""
        for line in self.machine.must("domblklist").splitlines():
            words = line.split()
            if words and words[0] == target:
                return words[1]
        raise Wrong(f"no disk {target}")

    def has_job(self, target):
        return "type=" in self.machine.must("blockjob", target, "--raw")

    def check(self, target, name, is_started_again=True):
        """The guest sees what was written, on the file NAME."""
        expect(self.source(target) == self.path(name), target, "is on",
               self.source(target), "not", name)
        expect(self.machine.read(target) == bytes(self.record[target]),
               target, "differs")
        if is_started_again:
            self.machine.end()
            self.machine.start()
            expect(self.machine.read(target) == bytes(self.record[target]),
                   target, "differs after a new start")

    def end(self):
        self.machine.end()


def start(virt, name, *words, wait=True):
    """imgchain pivot through libvirt, its end or the process."""
    child = subprocess.Popen(
        [IMGCHAIN, "pivot", words[0], "--connect", virt.uri, "--domain", name,
         *words[1:], "--output", "json"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    return finish(child) if wait else child


def finish(child):
    out, err = child.communicate(timeout=120)
    told = json.loads(out) if out else {}
    return child.returncode, told, err


def done(outcome, result, on):
    code, told, err = outcome
    expect(code == 0 and told["result"] == result and told["guest-on"] == on,
           "exit", code, told.get("result"), told.get("guest-on"), err)
    return told


def failed(outcome, text, on="source"):
    code, told, err = outcome
    expect(code == 1 and text in err, "exit", code, "not said:", text, err)
    if told:
        expect(told["guest-on"] == on, told["guest-on"])
    return told


def case_snapshot(bed):
    """Two disks in one step; names relative; no record, and one."""
    for target in ("vda", "vdb"):
        bed.write(target, 5, 6 * MIB, 4096)
    told = done(bed.pivot("snapshot", "--disk", f"vda={bed.path('a.1')}",
                          "--disk", f"vdb={bed.path('b.1')}"),
                "pivoted", "dest")
    expect([s["call"] for s in told["steps"]] ==
           ["virDomainSnapshotCreateXML"], told["steps"])
    expect(bed.machine.must("snapshot-list", "--name").strip() == "",
           "a snapshot is on record")
    info = json.loads(bed.img("info", "-U", "--output=json", "a.1"))
    expect(info["backing-filename"] == "vda.top", info)
    for target in ("vda", "vdb"):
        bed.write(target, 6, 6 * MIB + 4096, 4096)
    bed.check("vdb", "b.1", False)
    bed.check("vda", "a.1")
    # Again: it is over. Another one, with a record; the other disk stays.
    done(bed.pivot("snapshot", "--disk", f"vda={bed.path('a.1')}"), "pivoted",
         "dest")
    done(bed.pivot("snapshot", "--name", "second", "--disk",
                   f"vda={bed.path('a.2')}"), "pivoted", "dest")
    expect(bed.machine.must("snapshot-list", "--name").strip() == "second",
           "no snapshot is on record")
    bed.check("vdb", "b.1", False)
    bed.check("vda", "a.2", False)


def case_copies(bed):
    """Full and shallow, made and reused, with another cluster size."""
    done(bed.pivot("copy", "--disk", "vda", "--dest", bed.path("full")),
         "pivoted", "dest")
    bed.write("vda", 7, 0, 65536)
    bed.check("vda", "full")
    told = done(bed.pivot("copy", "--shallow", "--disk",
                          f"vdb={bed.path('shallow')}"), "pivoted", "dest")
    expect(told["report"]["verdict"] == "accepted", told["report"])
    bed.write("vdb", 8, 3 * MIB, 65536)
    bed.check("vdb", "shallow")
    bed.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", "-b",
            "vdb.base", "-F", "qcow2", "wide")
    done(bed.pivot("copy", "--shallow", "--reuse-external", "--disk",
                   f"vdb={bed.path('wide')}"), "pivoted", "dest")
    bed.check("vdb", "wide")
    bed.img("create", "-q", "-f", "raw", "flat", str(SIZE))
    done(bed.pivot("copy", "--reuse-external", "-f", "raw", "--disk",
                   f"vda={bed.path('flat')}"), "pivoted", "dest")
    bed.check("vda", "flat")


def case_refused(bed):
    """What is wrong is not asked of libvirt."""
    bed.img("create", "-q", "-f", "qcow2", "-b", "vdb.top", "-F", "qcow2",
            "-u", "wrong", str(SIZE))
    bed.img("create", "-q", "-f", "qcow2", "small", str(SIZE // 2))
    for words, check in (
            (("snapshot", "--disk", f"vda={bed.path('wrong')}"),
             "backing-resolves"),
            (("copy", "--disk", f"vda={bed.path('small')}"), "size-match"),
            (("copy", "--shallow", "--disk", f"vda={bed.path('wrong')}"),
             "content-equal")):
        code, told, err = bed.pivot(*words, "--reuse-external")
        bad = [c["id"] for c in told.get("report", {"checks": []})["checks"]
               if c["result"] == "fail"]
        expect(code == 1 and told["result"] == "refused" and check in bad,
               words, code, bad, err)
        expect(not told["steps"], told["steps"])
    failed(bed.pivot("copy", "--disk", f"vda={bed.path('small')}"),
           "exists already")
    failed(bed.pivot("copy", "--disk", f"vdz={bed.path('x')}"), "no disk")
    told = done(bed.pivot("copy", "--disk", f"vda={bed.path('x')}",
                          "--dry-run"), "planned", "source")
    expect([s["result"] for s in told["steps"]] == ["planned"] * 2, told)
    expect(not os.path.exists(bed.path("x")), "a dry run made a file")
    bed.check("vda", "vda.top", False)


def case_left(bed):
    """Left ready: ended by the same command, or aborted."""
    words = ("copy", "--shallow", "--disk", f"vda={bed.path('left')}")
    done(bed.pivot(*words, "--no-pivot"), "ready", "source")
    expect(bed.has_job("vda"), "no job was left")
    bed.write("vda", 9, 5 * MIB, 65536)
    failed(bed.pivot("snapshot", "--disk", f"vda={bed.path('other')}"),
           "has a block job already")
    told = done(bed.pivot(*words), "pivoted", "dest")
    expect(told["resumed"], "not gone on with")
    bed.check("vda", "left")
    words = ("copy", "--disk", f"vdb={bed.path('gone')}")
    done(bed.pivot(*words, "--no-pivot"), "ready", "source")
    done(bed.pivot(*words, "--abort"), "aborted", "source")
    expect(not bed.has_job("vdb"), "the job is still there")
    failed(bed.pivot(*words, "--abort"), "no such copy under way")
    bed.check("vdb", "vdb.top", False)


def wait_for_job(bed, target):
    for _ in range(400):
        if bed.has_job(target):
            return
        time.sleep(0.02)
    raise Wrong("no job begins")


def case_cut_off(bed):
    """SIGINT takes all back; after kill -9 a second run goes on."""
    words = ("copy", "--disk", f"vda={bed.path('cut')}", "--bandwidth", "1M")
    child = bed.pivot(*words, wait=False)
    wait_for_job(bed, "vda")
    child.send_signal(signal.SIGINT)
    failed(finish(child), "cancelled")
    expect(not bed.has_job("vda"), "the job is still there")
    expect(not os.path.exists(bed.path("cut")), "the file is still there")
    bed.check("vda", "vda.top", False)
    child = bed.pivot(*words, wait=False)
    wait_for_job(bed, "vda")
    expect(child.poll() is None, "it is over already")
    child.kill()
    child.communicate()
    expect(bed.has_job("vda"), "the job ended with its owner")
    bed.write("vda", 4, 7 * MIB, 65536)
    bed.machine.must("blockjob", "vda", "--bandwidth", "100")
    told = done(bed.pivot(*words), "pivoted", "dest")
    expect(told["resumed"], "not gone on with")
    bed.check("vda", "cut")


def case_no_space(bed):
    """A job that fails after libvirt's call has succeeded: with its reason."""
    tight = os.path.join(os.path.dirname(bed.folder), "tight")
    child = bed.pivot("copy", "--disk", f"vdb={tight}/dest", "--bandwidth",
                      "1M", wait=False)
    wait_for_job(bed, "vdb")
    with open(os.path.join(tight, "filler"), "wb") as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            pass
    failed(finish(child), "the copy failed: No space left on device")
    expect(not bed.has_job("vdb"), "the job is still there")
    expect(not os.path.exists(f"{tight}/dest"), "the file is still there")
    bed.check("vdb", "vdb.top", False)


def case_daemon_gone(bed):
    """libvirt ends in the middle: nothing is known, so nothing is removed."""
    words = ("copy", "--disk", f"vda={bed.path('kept')}", "--bandwidth", "1M")
    child = bed.pivot(*words, wait=False)
    wait_for_job(bed, "vda")
    bed.virt.stop_daemon()
    failed(finish(child), "cannot be told", "unknown")
    bed.virt.start_daemon()
    expect(os.path.exists(bed.path("kept")), "QEMU's file was removed")
    bed.write("vda", 4, 7 * MIB, 65536)
    bed.machine.must("blockjob", "vda", "--bandwidth", "100")
    told = done(bed.pivot(*words), "pivoted", "dest")
    expect(told["resumed"], "not gone on with")
    bed.check("vda", "kept", False)


def case_others_jobs(bed):
    """A job that is not this program's is not ended, nor gone on with."""
    bed.img("create", "-q", "-f", "qcow2", "-b", "vdb.base", "-F", "qcow2",
            "wrong")
    failed(bed.pivot("snapshot", "--disk", f"vda={bed.path('x')}", "--disk",
                     f"vda={bed.path('y')}"), "named twice")
    bed.machine.must("blockcopy", "vda", "--dest", bed.path("wrong"),
                     "--format", "qcow2", "--shallow", "--reuse-external",
                     "--transient-job", "--wait")
    for words in (("--shallow",), ()):
        failed(bed.pivot("copy", *words, "--reuse-external", "--disk",
                         f"vda={bed.path('wrong')}"), "but not this one")
    failed(bed.pivot("copy", "--disk", f"vda={bed.path('other')}", "--abort"),
           "no such copy under way")
    expect(bed.has_job("vda"), "the job was ended")
    done(bed.pivot("copy", "--disk", f"vda={bed.path('wrong')}", "--abort"),
         "aborted", "source")
    bed.machine.must("snapshot-create-as", "--no-metadata", "--disk-only",
                     "--diskspec", f"vda,file={bed.path('over')}",
                     "--diskspec", "vdb,snapshot=no")
    bed.machine.must("blockcommit", "vda", "--active",
                     "--shallow", "--wait")
    failed(bed.pivot("copy", "--reuse-external", "--disk",
                     f"vda={bed.path('vda.top')}"), "has a block job already")
    failed(bed.pivot("copy", "--disk", "vda", "--abort"), "no copy under way")
    expect(bed.has_job("vda"), "the commit was ended")
    bed.machine.must("blockjob", "vda", "--pivot")
    bed.check("vda", "vda.top", False)


def case_preflight(bed):
    """The same request, only judged, with the live XML."""
    bed.img("create", "-q", "-f", "qcow2", "-b", "vda.top", "-F", "qcow2",
            "-u", "next", str(SIZE))
    ask = [IMGCHAIN, "preflight", "--connect", bed.virt.uri, "--domain",
           bed.name, "--output", "json", "--reuse-external"]
    said = subprocess.run([*ask, "--disk-only", "--diskspec",
                           f"vda,file={bed.path('next')}", "--diskspec",
                           "vdb,snapshot=no"], capture_output=True, text=True,
                          check=False, env=ENVIRONMENT)
    told = json.loads(said.stdout)
    expect(said.returncode == 0 and told["running"], said.stdout, said.stderr)
    expect("-format" in told["qmp"][-1]["arguments"]["actions"][0]["data"]
           ["node"], told["qmp"])
    node = bed.machine.node("vda")
    expect(told["qmp"][-1]["arguments"]["actions"][0]["data"]["node"] == node,
           told["qmp"][-1], node)
    said = subprocess.run([*ask, "--target", "vda", "--dest",
                           bed.path("next"), "--format", "qcow2"],
                          capture_output=True, text=True, check=False,
                          env=ENVIRONMENT)
    bad = [c["id"] for c in json.loads(said.stdout)["checks"]
           if c["result"] == "fail"]
    expect(said.returncode == 1 and "libvirt-domain" in bad, bad)


def case_nothing_there(bed):
    """No daemon, no domain, one that does not run."""
    failed(start(bed.virt, "nobody", "copy", "--disk", "vda=/x"),
           "libvirt: Domain not found")
    bed.machine.end()
    failed(bed.pivot("copy", "--disk", f"vda={bed.path('x')}"),
           "does not run")
    said = subprocess.run(
        [IMGCHAIN, "pivot", "--connect", "qemu+ssh://elsewhere/system",
         "--domain", "x", "--disk", "vda=/x"], capture_output=True, text=True,
        check=False, env=ENVIRONMENT)
    expect(said.returncode == 1 and "another host" in said.stderr, said.stderr)
    said = subprocess.run(
        [IMGCHAIN, "pivot", "--connect", "qemu:///system?socket=/none",
         "--domain", "x", "--disk", "vda=/x"], capture_output=True, text=True,
        check=False, env=ENVIRONMENT)
    expect(said.returncode == 1 and "libvirt: " in said.stderr and
           said.stderr.count("\n") == 1, said.stderr)


CASES = [case_snapshot, case_copies, case_refused, case_left, case_cut_off,
         case_no_space, case_daemon_gone, case_others_jobs, case_preflight,
         case_nothing_there]


def main():
    why = libvirtd.missing()
    if why:
        print(f"skipped: {why}")
        return SKIP
    wanted = sys.argv[1:]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="imgchain-handoff.") as folder, \
            contextlib.ExitStack() as cleanup:
        os.chmod(folder, 0o755)
        tight = os.path.join(folder, "tight")
        os.mkdir(tight)
        run("mount", "-t", "tmpfs", "-o", "size=64M,mode=0777", "none", tight)
        cleanup.callback(run, "umount", tight)
        with Libvirtd(os.path.join(folder, "libvirt")) as virt:
            for case in CASES:
                name = case.__name__[len("case_"):]
                if wanted and name not in wanted:
                    continue
                # Of little QEMU has copied all before anybody looks.
                large = case in (case_no_space, case_cut_off,
                                 case_daemon_gone)
                bed = Bed(virt, folder, name.replace("_", "-"),
                          6 * SIZE if large else SIZE)
                try:
                    case(bed)
                except (Wrong, libvirtd.Failed) as error:
                    bad += 1
                    print(f"{name}: {error}")
                bed.end()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
