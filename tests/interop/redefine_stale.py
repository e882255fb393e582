#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way back of a run that was killed, when others were at work since.

What is no longer as that run put it is not touched; and of two runs at once
the second is refused.
"""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import libvirtd  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from redefine import (SANITIZED, SHIM, SKIP, Bed, Small,  # noqa: E402
                      compare, expect, restore, shown)


def kill_late(bed, small):
    """A run that has put all on record, and is killed before it says so."""
    log = bed.path("calls")
    shim = {"LD_PRELOAD": SHIM, "CALLSHIM_LOG": log}
    open(log, "wb").close()
    bed.imgchain(*small.words(), env=shim)
    calls = os.path.getsize(log)
    restore(small.virt, small)
    for plan in range(calls, 0, -1):
        done = bed.imgchain(*small.words(), code=None,
                            env={**shim, "CALLSHIM_KILL": f"{plan}+"})
        expect(done.returncode == -signal.SIGKILL, plan, "was not killed")
        small.virt.must("snapshot-list", "small", "--name")
        if bed.records():
            return
        restore(small.virt, small)
    expect(False, "no run left a way back")


def stale(bed, virt, small):
    """A snapshot of the same name is another one by now, and current."""
    kill_late(bed, small)
    virt.must("snapshot-delete", "small", "e", "--metadata")
    virt.must("snapshot-create", "small", virt.write_xml(
        f"<domainsnapshot><name>e</name><state>shutoff</state>"
        f"<creationTime>77</creationTime>{small.inside}</domainsnapshot>"),
        "--redefine", "--current")
    before = shown(virt, "small")
    for words in (small.words(), ("delete", "--metadata", "--connect",
                                  virt.uri, "--domain", "small", "a")):
        done = bed.imgchain(*words, code=1)
        expect("e is not (or not only) what that run put" in done.stderr,
               done.stderr)
        compare(before, shown(virt, "small"), "what was refused")
    done = small.recover()
    expect("e is not what that run put on record, and stays" in done.stderr and
           "c was the current snapshot" in done.stderr, done.stderr)
    now = shown(virt, "small")
    expect(now["snapshot e"] == before["snapshot e"] and
           now["current"].strip() == "e", "the new snapshot was touched")
    expect("snapshot d" not in now and "checkpoint q" not in now,
           "what the run put is still there")
    expect(now["snapshot b"] == small.before["snapshot b"], "b is another")
    expect(not bed.records(), "a way back was left")
    virt.must("snapshot-delete", "small", "e", "--metadata")
    restore(virt, small)


def borne(bed, virt, small):
    """A new snapshot hangs on one that the run put there."""
    kill_late(bed, small)
    virt.must("snapshot-create", "small", virt.write_xml(
        f"<domainsnapshot><name>x</name><state>shutoff</state>"
        f"<parent><name>e</name></parent>"
        f"<creationTime>77</creationTime>{small.inside}</domainsnapshot>"),
        "--redefine")
    bed.imgchain(*small.words(), code=1)
    small.recover()
    now = shown(virt, "small")
    expect("snapshot e" in now and "snapshot d" in now and
           "<name>e</name>" in now["snapshot x"], "x hangs elsewhere", now)
    # One by one: of branches libvirtd 9.0 dies.
    for name in ("x", "e", "d"):
        virt.must("snapshot-delete", "small", name, "--metadata")
    restore(virt, small)


def no_current(bed, virt, small):
    """None was current, which libvirt has no call for: it is told, and the
    domain's record can be changed all the same."""
    def alone():
        for name in virt.must("snapshot-list", "small", "--name").split():
            virt.must("snapshot-delete", "small", name, "--metadata")
        virt.must("snapshot-create", "small", virt.write_xml(
            small.before["snapshot a"]), "--redefine")
        virt.virsh("checkpoint-delete", "small", "q", "--metadata")

    alone()
    log = bed.path("calls")
    shim = {"LD_PRELOAD": SHIM, "CALLSHIM_LOG": log}
    open(log, "wb").close()
    bed.imgchain(*small.words(), env=shim)
    for plan in range(os.path.getsize(log), 0, -1):
        alone()
        bed.imgchain(*small.words(), code=None,
                     env={**shim, "CALLSHIM_KILL": f"{plan}+"})
        virt.must("snapshot-list", "small", "--name")
        if bed.records():
            break
    done = small.recover()
    expect("a is the current snapshot; none was before" in done.stderr,
           done.stderr)
    expect(not bed.records(), "a way back was left")
    bed.imgchain(*small.words())


def forgotten(bed, virt, small):
    """The way back is dropped, even one that makes no sense."""
    way = bed.path("way")
    words = ("--record", way, "--connect", virt.uri, "--domain", "small")
    with open(way, "w", encoding="utf-8") as file:
        file.write("{}")
    os.chmod(way, 0o600)
    before = shown(virt, "small")
    done = bed.imgchain("redefine", "--recover", *words, code=1)
    expect("expected a record" in done.stderr, done.stderr)
    bed.imgchain("redefine", "--forget-record", *words)
    expect(not os.path.exists(way), "the record is still there")
    done = bed.imgchain("redefine", "--forget-record", *words)
    expect("nothing to forget" in done.stderr, done.stderr)
    compare(before, shown(virt, "small"), "what was forgotten")


def secrets(bed, virt, small):
    """A password on record is not lost for a document without it."""
    inside = small.inside.replace(
        "</devices>", "<graphics type='vnc' passwd='a-secret'/></devices>")
    expect(inside != small.inside, "no devices")
    virt.must("snapshot-create", "small", virt.write_xml(
        f"<domainsnapshot><name>g</name><state>shutoff</state>"
        f"<creationTime>9</creationTime>{inside}</domainsnapshot>"),
        "--redefine")
    before = shown(virt, "small")
    expect("a-secret" in before["snapshot g"], "no password on record")
    path = bed.path("g.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(virt.must("snapshot-dumpxml", "small", "g"))
    words = ("redefine", path, "--connect", virt.uri, "--domain", "small")
    done = bed.imgchain(*words, code=1)
    expect("g has a password on record" in done.stderr, done.stderr)
    compare(before, shown(virt, "small"), "what was refused")
    bed.imgchain(*words, "--without-secrets")
    expect("a-secret" not in shown(virt, "small")["snapshot g"], "not done")
    with open(path, "w", encoding="utf-8") as file:
        file.write(before["snapshot g"])
    bed.imgchain(*words)
    compare(before, shown(virt, "small"), "what was put back")


def at_once(bed, virt, small):
    """The lock is held by another run; it is no lock once it has no name."""
    state = bed.path("state", "imgchain")
    os.makedirs(state, exist_ok=True)
    bed.imgchain(*small.words(), "--record", bed.path("way"))
    lock = bed.path("way.lock")
    expect(not os.path.exists(lock), "the lock stays")
    before = shown(virt, "small")
    with open(lock, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = bed.imgchain(*small.words(), "--record", bed.path("way"),
                            code=1)
        expect("another run changes" in done.stderr, done.stderr)
        os.unlink(lock)
        bed.imgchain(*small.words(), "--record", bed.path("way"))
    compare(before, shown(virt, "small"), "what a second run made")


def main():
    why = libvirtd.missing()
    if why or SANITIZED:
        print(f"skipped: {why or 'kills are left to another build'}")
        return SKIP
    with tempfile.TemporaryDirectory(prefix="imgchain-stale.") as folder:
        os.chmod(folder, 0o755)
        bed = Bed(folder)
        images = bed.path("old")
        os.mkdir(images)
        os.chmod(images, 0o777)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                        os.path.join(images, "x.qcow2"), "8M"], check=True)
        with Libvirtd(bed.path("here")) as virt:
            small = Small(bed, virt)
            stale(bed, virt, small)
            borne(bed, virt, small)
            no_current(bed, virt, small)
            at_once(bed, virt, small)
            forgotten(bed, virt, small)
            secrets(bed, virt, small)
    print("what others did stays")
    return 0


if __name__ == "__main__":
    sys.exit(main())
