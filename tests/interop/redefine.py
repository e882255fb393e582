#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hierarchies of snapshots go from one libvirtd to another, and back.

virsh makes a dozen snapshots of a machine: internal ones with memory, with
branches; of disks only; with memory in a file; and checkpoints. They are
exported, the images copied elsewhere, and all of it put on record by a second
libvirtd, by virsh's commands and through imgchain itself. virsh has to show the
same there. Then runs are killed at each of their calls, and refused half-way.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import libvirtd  # noqa: E402
from libvirtd import Disk, Libvirtd  # noqa: E402
from virsh_errors import ENVIRONMENT, IMGCHAIN  # noqa: E402

SHIM = os.path.abspath(os.environ.get("IMGCHAIN_CALLSHIM", "callshim"))
SANITIZED = os.environ.get("IMGCHAIN_SANITIZED")
SKIP = 77
OLD_UUID = "11111111-2222-3333-4444-555555555555"
NEW_UUID = "99999999-2222-3333-4444-555555555555"


class Wrong(Exception):
    """Not as it should be."""


def expect(is_true, *what):
    if not is_true:
        raise Wrong(" ".join(str(w) for w in what))


class Bed:
    def __init__(self, folder):
        self.folder = folder
        self.env = {**ENVIRONMENT, "XDG_STATE_HOME": self.path("state")}

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def imgchain(self, *words, code=0, env=None):
        done = subprocess.run(
            [IMGCHAIN, "metadata", *words], capture_output=True, text=True,
            check=False, timeout=60, env={**self.env, **(env or {})})
        expect(code is None or done.returncode == code, words, "exit",
               done.returncode, done.stderr)
        return done

    def records(self):
        """Ways back that were left."""
        state = self.path("state", "imgchain")
        names = os.listdir(state) if os.path.isdir(state) else []
        return [name for name in names if name.endswith(".json")]


def make_hierarchy(bed, virt):
    """A machine that runs, with all sorts of snapshots."""
    images = bed.path("old")
    os.mkdir(images)
    os.chmod(images, 0o777)
    for name in ("x", "y"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                        os.path.join(images, f"{name}.qcow2"), "8M"],
                       check=True)
    machine = virt.define("web", [
        Disk("vda", os.path.join(images, "x.qcow2")),
        Disk("vdb", os.path.join(images, "y.qcow2"))], OLD_UUID)
    machine.start()
    ext = "--diskspec vda --diskspec vdb"
    virt.must("; ".join((
        "snapshot-create-as web i1", "snapshot-create-as web i2",
        "snapshot-revert web i1", "snapshot-create-as web i3",
        "snapshot-create-as web i4 'with a description & more'",
        "snapshot-revert web i2", "snapshot-create-as web 'i 5'",
        "destroy web", "snapshot-create-as web o1",
        "snapshot-create-as web o2", "start web --paused",
        "snapshot-create-as web e1 --disk-only",
        f"snapshot-create-as web e2 --disk-only --diskspec "
        f"vda,file={images}/x.second --diskspec vdb,snapshot=no",
        f"snapshot-create-as web m1 --memspec {images}/m1.mem {ext}",
        "snapshot-create-as web e3 --disk-only",
        "checkpoint-create-as web c1", "checkpoint-create-as web c2",
        "snapshot-create-as web e4 --disk-only")), timeout=120)
    return machine


def shown(virt, name, back=lambda text: text):
    """All that virsh tells of a machine's record, taken back by BACK."""
    names = virt.must("snapshot-list", name, "--name").splitlines()
    points = virt.must("checkpoint-list", name, "--name").splitlines()
    names, points = [[n for n in list_ if n] for list_ in (names, points)]
    told = {
        "tree": virt.must("snapshot-list", name, "--tree"),
        "points": virt.must("checkpoint-list", name, "--tree"),
        "current": virt.virsh("snapshot-current", name, "--name").stdout,
    }
    for one in names:
        told[f"snapshot {one}"] = back(virt.must(
            "snapshot-dumpxml", name, one, "--security-info"))
    for one in points:
        told[f"checkpoint {one}"] = back(virt.must(
            "checkpoint-dumpxml", name, one, "--security-info"))
    return told


def compare(one, other, what):
    for key in {*one, *other}:
        expect(one.get(key) == other.get(key), what, "differs in", key, ":",
               one.get(key), other.get(key))


def taken_back(bed, name):
    def back(text):
        return text.replace(bed.path("new"), bed.path("old")).replace(
            NEW_UUID, OLD_UUID).replace(f"<name>{name}</name>",
                                        "<name>web</name>")
    return back


def carry(bed, here, there):
    """From a running machine to virsh's commands; and on through libvirt."""
    bed.imgchain("export", "--connect", here.uri, "--domain", "web", "--to",
                 bed.path("web.json"), "--security-info")
    shutil.copytree(bed.path("old"), bed.path("new"))
    rules = ("--map", f"{bed.path('old')}={bed.path('new')}", "--uuid",
             NEW_UUID)
    bed.imgchain("redefine", bed.path("web.json"), "--to", bed.path("steps"),
                 "--name", "web2", *rules)
    subprocess.run([bed.path("steps", "steps")], check=True, timeout=60,
                   env={**bed.env, "LIBVIRT_DEFAULT_URI": there.uri},
                   stdout=subprocess.DEVNULL)
    before = shown(here, "web")
    expect(len(before) == 3 + 12 + 2, "not as many as were made:",
           sorted(before))
    compare(before, shown(there, "web2", taken_back(bed, "web2")),
            "what virsh's commands made")
    # What libvirt has in its folders shows the same, and survives a restart.
    there.stop_daemon()
    there.start_daemon()
    compare(before, shown(there, "web2", taken_back(bed, "web2")),
            "what a new daemon reads")
    from_folder(bed, there)
    there.must("snapshot-revert", "web2", "i1")
    expect(there.must("domstate", "web2").strip() == "paused",
           "the snapshot's machine does not come back")


def from_folder(bed, there):
    """A bundle of libvirt's folders says what one of libvirt itself does."""
    kept = os.path.join(there.folder, "lib", "qemu")
    bed.imgchain("export", os.path.join(kept, "snapshot", "web2"),
                 "--checkpoints-from", os.path.join(kept, "checkpoint", "web2"),
                 "--to", bed.path("folder.json"))
    with open(bed.path("folder.json"), encoding="utf-8") as file:
        doc = json.load(file)
    expect(len(doc["snapshots"]) == 12 and len(doc["checkpoints"]) == 2 and
           doc["current"] == "e4", "not what the folders hold")


def carry_back(bed, here, there):
    """To a machine that runs, through libvirt; and from the folder."""
    before = shown(here, "web")
    there.must("destroy", "web2")
    # virsh would lead libvirtd 9.0 to its death: the record has branches.
    for more in ((), ("--checkpoints",)):
        bed.imgchain("delete", "--metadata", "--children", "--connect",
                     here.uri, "--domain", "web", *more, "c1" if more else "i1")
    expect(here.must("snapshot-list", "web", "--name").strip() == "" ==
           here.must("checkpoint-list", "web", "--name").strip(),
           "something was not forgotten")
    expect(here.must("domstate", "web").strip() == "paused", "does not run")
    rules = ("--map", f"{bed.path('new')}={bed.path('old')}", "--uuid",
             OLD_UUID, "--name", "web")
    done = bed.imgchain("redefine", bed.path("folder.json"), "--connect",
                        here.uri, "--domain", "web", "--output", "json",
                        *rules)
    expect(json.loads(done.stdout)["done"], done.stdout)
    compare(before, shown(here, "web"), "what imgchain put on record")
    expect(not bed.records(), "a way back was left:", bed.records())
    # Once more: all are replaced, and nothing changes.
    done = bed.imgchain("redefine", bed.path("web.json"), "--connect",
                        here.uri, "--domain", "web", "--output", "json")
    expect(all(step["replaces"] for step in json.loads(done.stdout)["steps"]),
           done.stdout)
    compare(before, shown(here, "web"), "what was replaced")


def moment(name, parent, inside, time=1):
    parent = f"<parent><name>{parent}</name></parent>" if parent else ""
    return (f"<domainsnapshot><name>{name}</name><state>shutoff</state>{parent}"
            f"<creationTime>{time}</creationTime>{inside}</domainsnapshot>")


class Small:
    """A machine with a, b on it and c on that; c is current. It is to get d on
    a, e on d, which is current, and b becomes a child of d."""

    def __init__(self, bed, virt):
        self.bed, self.virt = bed, virt
        self.inside = libvirtd.domain_xml("small", [
            Disk("vda", bed.path("old", "x.qcow2"))])
        self.virt.must("define", virt.write_xml(self.inside))
        for one, parent in (("a", None), ("b", "a"), ("c", "b")):
            virt.must("snapshot-create", "small", virt.write_xml(
                moment(one, parent, self.inside)), "--redefine",
                *(("--current",) if one == "c" else ()))
        virt.must("checkpoint-create", "small", virt.write_xml(
            "<domaincheckpoint><name>p</name><creationTime>1</creationTime>"
            "</domaincheckpoint>"), "--redefine")
        os.makedirs(bed.path("small"), exist_ok=True)
        for one, parent in (("d", "a"), ("e", "d"), ("b", "d")):
            self.put(one, moment(one, parent, self.inside))
        os.makedirs(bed.path("points"), exist_ok=True)
        with open(bed.path("points", "q"), "w", encoding="utf-8") as file:
            file.write("<domaincheckpoint><name>q</name><parent><name>p</name>"
                       "</parent><creationTime>2</creationTime>"
                       "</domaincheckpoint>")
        refused = bed.imgchain(*self.words(), code=1)
        expect("OPERATION_UNSUPPORTED" in refused.stderr, refused.stderr)
        self.restart()
        self.before = shown(virt, "small")

    def restart(self):
        """It has to run: else no snapshot goes beside a checkpoint."""
        self.virt.must("start", "small", "--paused")

    def put(self, name, text):
        with open(self.bed.path("small", name), "w", encoding="utf-8") as file:
            file.write(text)

    def words(self):
        return ("redefine", self.bed.path("small"), "--checkpoints-from",
                self.bed.path("points"), "--current", "e", "--connect",
                self.virt.uri, "--domain", "small")

    def recover(self, **more):
        return self.bed.imgchain("redefine", "--recover", "--connect",
                                 self.virt.uri, "--domain", "small", **more)


def refused_half_way(bed, virt):
    """By something that only libvirt itself looks at."""
    small = Small(bed, virt)
    small.put("e", moment("e", "d", small.inside.replace(
        "<vcpu>1<", "<vcpu>many<")))
    done = bed.imgchain(*small.words(), code=1)
    expect("libvirt: " in done.stderr and "remain" not in done.stderr,
           done.stderr)
    compare(small.before, shown(virt, "small"), "what was taken back")
    expect(not bed.records(), "a way back was left")
    small.put("e", moment("e", "d", small.inside))
    return small


def killed(bed, virt, small):
    """At each message: nothing, or all of it, is on record after recovery."""
    log = bed.path("calls")
    shim = {"LD_PRELOAD": SHIM, "CALLSHIM_LOG": log}
    open(log, "wb").close()
    bed.imgchain(*small.words(), env=shim)
    after = shown(virt, "small")
    expect(after["current"].strip() == "e", "e is not current")
    calls = os.path.getsize(log)
    expect(calls > 20, "few calls:", calls)
    restore(virt, small)
    kills = recoveries = 0
    # Before the last ten libvirt is only asked what there is.
    for plan in [f"{n}{how}" for n in (*range(1, calls - 10, 7),
                                       *range(calls - 10, calls + 1))
                 for how in ("", "+")]:
        done = bed.imgchain(*small.words(), code=None,
                            env={**shim, "CALLSHIM_KILL": plan})
        expect(done.returncode == -signal.SIGKILL, plan, "was not killed")
        kills += 1
        settle(virt)
        if bed.records():
            recoveries += 1
            if recoveries % 2 == 0:
                # Recovery is killed as well.
                small.recover(code=None, env={
                    **shim, "CALLSHIM_KILL": f"{10 + recoveries}+"})
                settle(virt)
            small.recover()
        now = shown(virt, "small")
        if now != after:
            compare(small.before, now, f"after a kill at {plan}")
        else:
            restore(virt, small)
        expect(not bed.records(), plan, "left a way back")
    expect(recoveries >= 8, "few recoveries:", recoveries)
    # The next run does what --recover does, and then its own.
    for plan in range(calls, 0, -1):
        done = bed.imgchain(*small.words(), code=None,
                            env={**shim, "CALLSHIM_KILL": f"{plan}+"})
        expect(done.returncode == -signal.SIGKILL, plan, "was not killed:",
               done.stderr)
        settle(virt)
        if bed.records():
            break
        restore(virt, small)
    expect(bed.records(), "no way back")
    bed.imgchain(*small.words())
    compare(after, shown(virt, "small"), "what the next run made")
    return kills


def settle(virt):
    """The daemon has done what the killed client last asked for."""
    virt.must("snapshot-list", "small", "--name")


def restore(virt, small):
    """As before, by virsh."""
    commands = ["snapshot-delete small a --children --metadata",
                "checkpoint-delete small p --children --metadata"]
    for one in ("a", "b", "c"):
        path = virt.write_xml(small.before[f"snapshot {one}"])
        commands.append(f"snapshot-create small {path} --redefine" +
                        (" --current" if one == "c" else ""))
    point = virt.write_xml(small.before["checkpoint p"])
    commands.append(f"checkpoint-create small {point} --redefine")
    virt.must("; ".join(commands))
    compare(small.before, shown(virt, "small"), "what the test put back")


def deleted(bed, virt, small):
    """What virsh deletes through libvirt, and imgchain: the same; and what
    imgchain deletes in the folder a new daemon reads."""
    for words in (("b",), ("b", "--children"), ("a", "--children-only")):
        restore(virt, small)  # no branches: libvirtd 9.0 lives
        virt.must("snapshot-delete", "small", "--metadata", *words)
        wanted = shown(virt, "small")
        restore(virt, small)
        bed.imgchain("delete", "--metadata", "--connect", virt.uri,
                     "--domain", "small", *words)
        compare(wanted, shown(virt, "small"), f"delete {words}, by libvirt,")
        restore(virt, small)
        virt.stop_daemon()
        bed.imgchain("delete", "--metadata", os.path.join(
            virt.folder, "lib", "qemu", "snapshot", "small"), *words)
        virt.start_daemon()
        compare(wanted, shown(virt, "small"), f"delete {words}, by hand,")


def main():
    why = libvirtd.missing()
    if why:
        print(f"skipped: {why}")
        return SKIP
    with tempfile.TemporaryDirectory(prefix="imgchain-redefine.") as folder:
        os.chmod(folder, 0o755)
        bed = Bed(folder)
        with Libvirtd(bed.path("here")) as here, \
                Libvirtd(bed.path("there"), cache=here.cache) as there:
            make_hierarchy(bed, here)
            carry(bed, here, there)
            carry_back(bed, here, there)
            small = refused_half_way(bed, here)
            if SANITIZED:
                print("kills: left to a build without a sanitizer")
            else:
                print(killed(bed, here, small), "kills")
            restore(here, small)
            deleted(bed, here, small)
    print("carried, and carried back")
    return 0


if __name__ == "__main__":
    sys.exit(main())
