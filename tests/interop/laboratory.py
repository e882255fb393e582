#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The laboratory itself (support/libvirtd.py): that daemons are apart, that
what is read is what a guest sees, that machines outlive their daemon, and that
nothing outlives a test that is killed.

usage: laboratory.py [--hold FOLDER]    the latter is for itself
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
from libvirtd import Disk, Failed, Libvirtd, missing  # noqa: E402

SKIP = 77
MIB = 1 << 20


def expect(is_true, *what):
    if not is_true:
        raise Failed(" ".join(str(word) for word in what))


def make_disk(folder):
    path = os.path.join(folder, "top.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "4M"],
                   check=True)
    return path


def processes(folder):
    """Command lines of what has something to do with FOLDER."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), \
                open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read().decode(errors="replace")
            if folder in line and int(pid) != os.getpid():
                found.append(line.replace("\0", " "))
    return found


def check_apart(first, second, path):
    """A machine of one daemon is none of the other's."""
    machine = first.define("vm", [Disk("vda", path)])
    expect("vm" in first.must("list", "--all", "--name"), "no machine")
    expect(not second.must("list", "--all", "--name").strip(),
           "the second daemon knows the first one's machine")
    # The same name, the same UUID: as if it had moved.
    second.define("vm", [Disk("vda", path)])
    expect(first.must("domuuid", "vm") == second.must("domuuid", "vm"),
           "not the same UUID")
    return machine


def check_reading(machine):
    """What was written is read, and what was not is zero."""
    machine.write("vda", 7, MIB, 4096)
    wanted = bytearray(4 * MIB)
    wanted[MIB:MIB + 4096] = b"\7" * 4096
    expect(machine.read("vda") == wanted, "read other bytes than written")
    return wanted


def check_two_users(second):
    """QEMU's own locks hold between the two."""
    done = second.virsh("start", "vm", "--paused")
    expect(done.returncode == 1 and 'Failed to get "write" lock' in
           done.stderr, "two machines on one disk:", done.stderr)


def check_daemon_restart(virt, machine, wanted):
    virt.stop_daemon()
    expect(virt.virsh("version").returncode != 0, "the daemon answers")
    virt.start_daemon()
    expect(machine.is_running(), "the machine has ended with the daemon")
    expect(machine.read("vda") == wanted, "the machine shows other bytes")


def check_killed():
    """A test that holds a running machine gets SIGKILL."""
    with tempfile.TemporaryDirectory(prefix="imgchain-lab-") as folder:
        os.chmod(folder, 0o755)
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--hold", folder],
            stdout=subprocess.PIPE, text=True)
        said = child.stdout.readline()
        expect(said == "running\n", "said", repr(said))
        expect(len(processes(folder)) >= 3, processes(folder))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        end = time.monotonic() + 30
        while processes(folder) and time.monotonic() < end:
            time.sleep(0.05)
        expect(not processes(folder), "left:", processes(folder))


def hold(folder):
    with Libvirtd(os.path.join(folder, "virt")) as virt:
        virt.define("vm", [Disk("vda", make_disk(folder))]).start()
        print("running", flush=True)
        signal.pause()


def main():
    if sys.argv[1:2] == ["--hold"]:
        return hold(sys.argv[2])
    why = missing()
    if why:
        print(f"skipped: {why}")
        return SKIP
    with tempfile.TemporaryDirectory(prefix="imgchain-lab-") as folder:
        os.chmod(folder, 0o755)
        path = make_disk(folder)
        with Libvirtd(os.path.join(folder, "first")) as first, \
                Libvirtd(os.path.join(folder, "second"),
                         cache=first.cache) as second:
            machine = check_apart(first, second, path)
            machine.start()
            wanted = check_reading(machine)
            check_two_users(second)
            check_daemon_restart(first, machine, wanted)
        expect(not processes(folder), "left:", processes(folder))
    check_killed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
