#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What imgchain says that libvirt refuses to put on record, libvirt refuses.

Each document of support/redefine_rows.py goes to `metadata redefine` (flags
that it does not have: to `preflight --redefine`), and to virsh. Both refuse it,
and the first reason that imgchain has is of the kind of libvirt's error; or
both take it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import libvirtd  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from redefine_rows import DISKS, Rows, domain  # noqa: E402
from virsh_errors import ACCEPTED, ENVIRONMENT, IMGCHAIN, kind_of  # noqa: E402

SKIP = 77
OWN_FLAGS = {(), ("--current",)}


def first_kind(checks):
    for check in checks:
        found = re.match(r"libvirt refuses it \((\w+)\)", check["message"])
        if check["result"] == "fail" and found:
            return found[1]
    return ACCEPTED


def ask_imgchain(virt, path, flags):
    if flags in OWN_FLAGS:
        command = ["metadata", "redefine", "--connect", virt.uri, "--domain",
                   "vm", "--dry-run", path]
    else:
        command = ["preflight", "--domain",
                   os.path.join(virt.folder, "vm.xml"), "--snapshot", path,
                   "--redefine", *flags]
    done = subprocess.run([IMGCHAIN, *command, "--output", "json"],
                          capture_output=True, text=True, check=False,
                          env=ENVIRONMENT, timeout=60)
    if not done.stdout:
        # It has no name to be told apart by.
        return "XML_ERROR" if "has no name" in done.stderr else \
            f"exit {done.returncode}: {done.stderr}"
    return first_kind(json.loads(done.stdout)["checks"])


class Bed:
    def __init__(self, virt, rows):
        self.virt = virt
        with open(os.path.join(virt.folder, "vm.xml"), "w",
                  encoding="utf-8") as file:
            file.write(domain(rows.folder))
        self.base = [virt.write_xml(one) for one in rows.record()]

    def restore(self):
        """The record as it was."""
        self.virt.virsh("undefine", "vm", "--snapshots-metadata",
                        "--checkpoints-metadata")
        self.virt.must("; ".join(
            [f"define {self.virt.folder}/vm.xml"] +
            [f"snapshot-create vm {path} --redefine" for path in self.base]))

    def compare(self, name, text, flags):
        path = self.virt.write_xml(text)
        said = ask_imgchain(self.virt, path, flags)
        done = self.virt.virsh("snapshot-create", "vm", path, "--redefine",
                               *flags)
        real = kind_of(done.stderr) if done.returncode else ACCEPTED
        if real == ACCEPTED:
            self.restore()
        if said != real:
            print(f"{name}: imgchain {said}, libvirt {real}: "
                  f"{done.stderr.strip()}")
        return said == real


def checkpoints(rows):
    """The same of checkpoints; on record are a, and b on it."""
    def doc(inner, inside=rows.own, time="<creationTime>1</creationTime>"):
        return f"<domaincheckpoint>{inner}{time}{inside}</domaincheckpoint>"
    yield "plain", doc("<name>n</name>")
    yield "no domain", doc("<name>n</name>", "")
    yield "no name", doc("")
    yield "no time", doc("<name>n</name>", time="")
    yield "name with a blank", doc("<name>a b</name>")
    yield "name with a dot", doc("<name>.a</name>")
    yield "parent", doc("<name>n</name><parent><name>b</name></parent>")
    yield "parent absent", doc("<name>n</name><parent><name>x</name></parent>")
    yield "own parent", doc("<name>n</name><parent><name>n</name></parent>")
    yield "loop", doc("<name>a</name><parent><name>b</name></parent>")
    yield "other uuid", doc("<name>n</name>", domain(
        rows.folder, "11111111-2222-3333-4444-555555555556"))
    for name, disks in (
            ("disk", "<disk name='vda'/>"),
            ("disk that is none", "<disk name='vdx'/>"),
            ("disk twice", "<disk name='vda'/><disk name='vda'/>"),
            ("too many disks", "<disk name='vda'/>" * 3),
            ("disk odd", "<disk name='vda' checkpoint='odd'/>"),
            ("disk without a name", "<disk checkpoint='no'/>"),
            ("bitmap of none",
             "<disk name='vda' checkpoint='no' bitmap='x'/>")):
        yield name, doc(f"<name>n</name><disks>{disks}</disks>")
    yield "read-only disk", doc(
        "<name>n</name><disks><disk name='vda'/></disks>",
        domain(rows.folder, disk="<readonly/>"))


def compare_checkpoint(virt, rows, name, text):
    """Beside a and b; taken away again."""
    for base in ("<name>a</name>",
                 "<name>b</name><parent><name>a</name></parent>"):
        virt.must("checkpoint-create", "vm", virt.write_xml(
            f"<domaincheckpoint>{base}<creationTime>1</creationTime>"
            f"{rows.own}</domaincheckpoint>"), "--redefine")
    os.makedirs(os.path.join(virt.folder, "none"), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=virt.folder) as points:
        with open(os.path.join(points, "x"), "w", encoding="utf-8") as file:
            file.write(text)
        done = subprocess.run(
            [IMGCHAIN, "metadata", "redefine", "--connect", virt.uri,
             "--domain", "vm", "--dry-run", "--output", "json",
             "--checkpoints-from", points, os.path.join(virt.folder, "none")],
            capture_output=True, text=True, check=False, env=ENVIRONMENT,
            timeout=60)
    said = first_kind(json.loads(done.stdout)["checks"]) if done.stdout else \
        "XML_ERROR" if "has no name" in done.stderr else done.stderr
    real = virt.virsh("checkpoint-create", "vm", virt.write_xml(text),
                      "--redefine")
    kind = kind_of(real.stderr) if real.returncode else ACCEPTED
    if kind == ACCEPTED:
        virt.virsh("checkpoint-delete vm n --metadata")
    if kind != said:
        print(f"checkpoint, {name}: imgchain {said}, libvirt {kind}: "
              f"{real.stderr.strip()}")
    return kind == said


def main():
    why = libvirtd.missing()
    if why:
        print(f"skipped: {why}")
        return SKIP
    only = sys.argv[1:]
    nr = bad = 0
    with tempfile.TemporaryDirectory(prefix="imgchain-redefine.") as folder:
        os.chmod(folder, 0o755)
        images = os.path.join(folder, "images")
        os.mkdir(images)
        for disk in DISKS:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                            os.path.join(images, f"{disk}.qcow2"), "1M"],
                           check=True)
        rows = Rows(images)
        with Libvirtd(os.path.join(folder, "libvirt")) as virt:
            bed = Bed(virt, rows)
            bed.restore()
            rows.whole = re.search("<domain .*</domain>", virt.must(
                "snapshot-dumpxml", "vm", "off"), re.DOTALL)[0]
            for row in rows.all():
                if not only or row[0] in only:
                    nr += 1
                    bad += not bed.compare(*row)
            for row in checkpoints(rows):
                if not only or row[0] in only:
                    nr += 1
                    bad += not compare_checkpoint(virt, rows, *row)
    print(f"{nr} documents, {bad} that libvirt sees otherwise")
    return 1 if bad or (not only and nr < 100) else 0


if __name__ == "__main__":
    sys.exit(main())
