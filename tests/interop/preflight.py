#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What preflight says that libvirt refuses, a real libvirtd refuses.

Each request goes to preflight, with the machine's own XML, and to virsh. Both
have to refuse it, for the same kind of error, or to let it pass. (What comes of
a destination that libvirt accepts is reuse_ext.py's.)
"""

import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import libvirtd  # noqa: E402
from libvirtd import Disk, Libvirtd  # noqa: E402
from virsh_errors import ACCEPTED, IMGCHAIN, kind_of  # noqa: E402

SKIP = 77
ONLY_AS = ("--name", "--memspec", "--diskspec")


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=120,
                          check=False, **more)


def must(*command, **more):
    done = run(*command, **more)
    if done.returncode != 0:
        raise libvirtd.Failed(f"{command}: {done.stderr}")
    return done.stdout


class Bed:
    """A folder of images, and machines that have them."""

    def __init__(self, virt, folder):
        self.virt, self.folder = virt, folder
        os.chmod(folder, 0o777)
        for name in ("a", "b", "c"):
            must("qemu-img", "create", "-q", "-f", "qcow2",
                 self.path(f"{name}.qcow2"), "8M")
        must("qemu-img", "create", "-q", "-f", "raw", self.path("plain"), "8M")
        for name in ("a", "b"):
            self.overlay(name)
        must("qemu-img", "create", "-q", "-f", "qcow2", self.path("full"),
             "8M")
        self.vda = f"vda,file={self.path('a.new')}"
        self.vdb = f"vdb,file={self.path('b.new')}"

    def path(self, name):
        return os.path.join(self.folder, name)

    def overlay(self, name):
        """The next overlay of NAME.qcow2, new."""
        must("qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{name}.qcow2",
             "-F", "qcow2", self.path(f"{name}.new"), cwd=self.folder)

    def machine(self, name, is_running, more_a="", more_b=""):
        machine = self.virt.define(name, [
            Disk("vda", self.path("a.qcow2"), more=more_a),
            Disk("vdb", self.path("b.qcow2"), more=more_b)])
        if is_running:
            machine.start(paused=False)
        return machine


def ask_preflight(bed, machine, words):
    """The kinds of error that libvirt is to refuse it for, and the verdict."""
    xml = bed.virt.write_xml(machine.dumpxml())
    done = run(IMGCHAIN, "preflight", "--domain", xml, *words, "--output",
               "json")
    if not done.stdout:
        raise libvirtd.Failed(f"preflight {words}: {done.stderr}")
    told = json.loads(done.stdout)
    checks = told["checks"]
    kinds = [m[1] for c in checks if c["result"] == "fail"
             for m in [re.match(r"libvirt refuses it \((\w+)\)",
                                c["message"])] if m]
    return kinds or [ACCEPTED], told["verdict"]


def ask_snapshot(machine, words):
    verb = "snapshot-create-as" if any(w in ONLY_AS for w in words) else \
        "snapshot-create"
    words = list(words)
    if "--snapshot" in words:
        at = words.index("--snapshot")
        words[at:at + 2] = [words[at + 1]]
    return machine.virsh(verb, *words)


def ask_copy(machine, words):
    words = list(words)
    at = words.index("--target")
    target = words[at + 1]
    del words[at:at + 2]
    done = machine.virsh("blockcopy", target, *[
        {"--copy-disk": "--xml"}.get(w, w) for w in words])
    machine.virsh("blockjob", target, "--abort")
    return done


def compare(bed, machine, words):
    """What differs, or None."""
    said, verdict = ask_preflight(bed, machine, words)
    ask = ask_copy if "--target" in words else ask_snapshot
    done = ask(machine, words)
    real = kind_of(done.stderr) if done.returncode else ACCEPTED
    # What libvirt lets pass QEMU can refuse: that is for the other checks.
    is_qemu = "unable to execute QEMU command" in done.stderr
    if real in said or (is_qemu and verdict == "refused"):
        return None
    return f"preflight {said}, libvirt {real}: {done.stderr.strip()}"


def snapshots(bed):
    """Of a running machine with two disks."""
    both = ("--diskspec", bed.vda, "--diskspec", bed.vdb)
    only = ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=no")
    ext = ("--disk-only", "--reuse-external")
    yield (*both, *ext, "--quiesce")
    yield (*both, "--reuse-external", "--quiesce")
    yield (*both, *ext, "--live")
    yield (*both, *ext, "--name", "a/b")
    yield (*both, *ext, "--name", ".a")
    yield (*both, *ext, "--memspec", f"file={bed.path('memory')}")
    yield (*both, *ext, "--diskspec", "vdz,snapshot=no")
    yield ("--diskspec", bed.vda, "--diskspec", "vdz,snapshot=no", *ext)
    yield ("--diskspec", bed.vda, "--diskspec", bed.vda, *ext)
    yield ("--diskspec", bed.vda + ",snapshot=internal", *ext)
    yield ("--diskspec", bed.vda + ",snapshot=no", *ext)
    yield ("--diskspec", "vda,snapshot=no", "--diskspec", "vdb,snapshot=no",
           *ext)
    yield ("--diskspec", "vda,snapshot=internal", "--diskspec",
           "vdb,snapshot=no", *ext)
    yield ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=internal")
    yield ("--diskspec", "vda,snapshot=no", "--name", "s1")
    yield (*only, "--reuse-external", "--name", "s1")
    yield (*only[2:], "--diskspec", bed.vda + ",driver=raw", *ext)
    yield (*only[2:], "--diskspec", bed.vda + ",driver=qcow9", *ext)
    yield (*only[2:], "--diskspec", bed.vda + ",stype=block", *ext)
    yield (*only[2:], "--diskspec", f"vda,file={bed.path('none')}", *ext)
    yield (*only[2:], "--diskspec", f"vda,file={bed.folder}", *ext)
    yield (*only[2:], "--diskspec", "vda,file=a.new", *ext)
    yield (*only, "--disk-only")
    yield ("--diskspec", bed.vda, "--name", "s1", *ext)
    yield ("--name", "qcow2", *ext)


def snapshot_files(bed):
    """The same from XML, which has more to say."""
    def write(inner):
        return bed.virt.write_xml(f"<domainsnapshot>{inner}</domainsnapshot>")
    a_new = f"<source file='{bed.path('a.new')}'/>"
    one = f"<disks><disk name='vda'>{a_new}</disk>" \
        "<disk name='vdb' snapshot='no'/></disks>"
    ext = ("--disk-only", "--reuse-external")
    yield ("--snapshot", write(one), *ext, "--redefine", "--no-metadata")
    yield ("--snapshot", write(one), *ext, "--current")
    yield ("--snapshot", write(one), "--redefine", "--live")
    yield ("--snapshot", write(one), "--redefine")
    yield ("--snapshot", write("<name>n</name>" + one), "--redefine")
    yield ("--snapshot", write("<name>n</name><creationTime>1</creationTime>"),
           "--redefine")
    yield ("--snapshot", write("<name>n</name><creationTime>1</creationTime>"
                               "<state>asleep</state>"), "--redefine")
    for kind in ("volume", "dir", "odd"):
        yield ("--snapshot", write(
            f"<disks><disk name='vda' type='{kind}'>{a_new}</disk></disks>"),
            *ext)
    yield ("--snapshot", write(
        f"<disks><disk name='vda' snapshot='odd'>{a_new}</disk></disks>"),
        *ext)
    yield ("--snapshot", write(f"<disks><disk>{a_new}</disk></disks>"), *ext)
    yield ("--snapshot", write(
        f"<memory snapshot='external'/>{one}"), "--reuse-external")
    yield ("--snapshot", write(
        f"<memory snapshot='no'/>{one}"), *ext, "--quiesce")


def copies(bed):
    """Of a running, persistent machine."""
    full = ("--target", "vda", "--dest", bed.path("full"), "--reuse-external")
    yield (*full, "--format", "qcow2")
    yield ("--target", "vdz", "--dest", bed.path("full"), "--transient-job")
    yield (*full[:2], "--dest", "full", "--transient-job")
    yield (*full[:2], "--dest", bed.path("none"), "--reuse-external",
           "--transient-job", "--format", "qcow2")
    yield (*full[:2], "--dest", bed.path("full"), "--transient-job")
    yield (*full, "--transient-job", "--granularity", "3000")
    yield (*full, "--transient-job", "--blockdev")
    xml = bed.virt.write_xml(
        f"<disk type='file'><source file='{bed.path('full')}'/>"
        f"<driver type='qcow2'/><backingStore type='file'>"
        f"<format type='qcow2'/><source file='{bed.path('c.qcow2')}'/>"
        "<backingStore/></backingStore></disk>")
    yield (*full[:2], "--copy-disk", xml, "--reuse-external",
           "--transient-job")
    xml = bed.virt.write_xml("<disk type='file'><driver type='qcow2'/></disk>")
    yield (*full[:2], "--copy-disk", xml, "--reuse-external",
           "--transient-job")
    # Accepted, and taken back.
    yield (*full, "--transient-job", "--format", "qcow2")
    yield (*full, "--transient-job")


def offline(bed):
    """Of a machine that does not run."""
    yield ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=internal",
           "--reuse-external")
    yield ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=no",
           "--memspec", f"file={bed.path('memory')}", "--reuse-external")
    yield ("--diskspec", "vda,snapshot=no", "--diskspec", "vdb,snapshot=no")
    yield ("--diskspec", f"vda,file={bed.path('none')}", "--diskspec",
           "vdb,snapshot=no", "--reuse-external", "--disk-only")
    yield ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=no",
           "--reuse-external")
    yield ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=internal",
           "--reuse-external", "--disk-only")
    yield ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=no", "--live",
           "--reuse-external")
    yield ("--target", "vda", "--dest", bed.path("full"), "--transient-job",
           "--reuse-external")


def odd_machines(bed):
    """What a disk of a running machine is decides, too."""
    spec = ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=no",
            "--disk-only", "--reuse-external")
    yield "<transient/>", "", spec
    # Of a raw one there is no internal snapshot.
    yield "", "", ("--name", "s1", "--diskspec", "vda,snapshot=internal",
                   "--diskspec", f"vdb,file={bed.path('full')}")
    yield "<readonly/>", "", ("--name", "s1", "--disk-only", "--diskspec",
                              "vdb,snapshot=no", "--reuse-external")


def accepted(bed):
    """Each changes its machine, which is therefore its own."""
    two = ("--diskspec", bed.vda, "--diskspec", bed.vdb)
    one = ("--diskspec", bed.vda, "--diskspec", "vdb,snapshot=no")
    yield True, (*two, "--disk-only", "--reuse-external", "--no-metadata")
    yield True, (*one, "--disk-only", "--reuse-external", "--atomic",
                 "--no-metadata")
    yield False, (*two, "--reuse-external", "--no-metadata", "--disk-only")
    yield False, (*one, "--disk-only", "--reuse-external", "--no-metadata")


class Count:
    """How many there were, and which differ."""

    def __init__(self):
        self.all = self.bad = 0

    def take(self, where, words, why):
        self.all += 1
        if why:
            self.bad += 1
            print(f"{where}: {' '.join(words)}\n  {why}")


def try_all(bed, count):
    running = bed.machine("running", True)
    for where, words in [(f.__name__, w) for f in
                         (snapshots, snapshot_files, copies) for w in f(bed)]:
        count.take(where, words, compare(bed, running, words))
    running.end()
    off = bed.machine("off", False)
    for words in offline(bed):
        count.take("offline", words, compare(bed, off, words))
    for idx, (more_a, more_b, words) in enumerate(odd_machines(bed)):
        odd = bed.machine(f"odd{idx}", True, more_a, more_b)
        count.take("odd", words, compare(bed, odd, words))
        odd.end()
    for idx, (is_running, words) in enumerate(accepted(bed)):
        for name in ("a", "b"):
            os.unlink(bed.path(f"{name}.new"))
            bed.overlay(name)
        machine = bed.machine(f"good{idx}", is_running)
        count.take("accepted", words, compare(bed, machine, words))
        machine.end()


def main():
    why = libvirtd.missing()
    if why:
        print(f"skipped: {why}")
        return SKIP
    count = Count()
    with tempfile.TemporaryDirectory(prefix="imgchain-preflight.") as folder:
        os.chmod(folder, 0o755)
        images = os.path.join(folder, "images")
        os.mkdir(images)
        with Libvirtd(os.path.join(folder, "libvirt")) as virt:
            try_all(Bed(virt, images), count)
    print(f"{count.all} requests, {count.bad} that libvirt sees otherwise")
    return 1 if count.bad else 0


if __name__ == "__main__":
    sys.exit(main())
