#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""metadata relocate is stopped at its first call that changes a folder, when
everything has been looked at; what happens then keeps it from what it was
about to do. A copy that is written to is not taken back, and libvirt's own XML
is not replaced under a daemon that has started.

usage: relocate_meanwhile.py
"""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import calls  # noqa: E402

DOMAIN = """<domain type='qemu'><name>vm</name>
<uuid>00000000-0000-4000-8000-000000000001</uuid><memory>16384</memory>
<os><type>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='raw'/><source file='{path}'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>
"""


def expect(is_true, *what):
    if not is_true:
        sys.exit("FAIL: " + " ".join(str(word) for word in what))


def run(args, meanwhile=None):
    """(exit status, stderr) of relocate ARGS; MEANWHILE is called while it
    stands still."""
    env = calls.environment(os.getcwd(), plan="1:stop" if meanwhile else None)
    with subprocess.Popen(
            [calls.IMGCHAIN, "metadata", "relocate", "-q", *args], text=True,
            env=env, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE) as process:
        if meanwhile:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            expect(os.WIFSTOPPED(status), args, "was not stopped:", status)
            try:
                meanwhile()
            finally:
                os.kill(process.pid, signal.SIGCONT)
        _, text = process.communicate(timeout=calls.TIMEOUT)
        return process.returncode, text


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def case_undo(xml):
    args = ["--domain", xml, "--to", "new"]
    expect(run(args)[0] == 0, "no copy")
    before = sorted(os.listdir("new"))

    def change():
        with open("new/disk", "r+b") as file:
            file.seek(5000)
            file.write(b"guest")
    code, text = run([*args, "--undo"], change)
    expect(code == 1 and "new/disk: was changed, or replaced, meanwhile"
           in text, code, text)
    expect(sorted(os.listdir("new")) == before, os.listdir("new"))
    for name in before:
        os.unlink(os.path.join("new", name))


def case_daemon(xml):
    os.mkdir("libvirt/run")
    os.environ["XDG_RUNTIME_DIR"] = os.path.realpath("libvirt/run")
    os.mkdir("libvirt/run/libvirt")
    before = read(xml)
    with open("libvirt/run/libvirt/libvirtd.pid", "w+b") as pid:
        code, text = run(["--domain", xml, "--to", "new", "--move"],
                         lambda: fcntl.lockf(pid, fcntl.LOCK_EX))
        expect(code == 1 and "is kept by libvirt, whose daemon runs" in text,
               code, text)
        expect(read(xml) == before, xml, "was changed")
        expect(os.listdir("old") == ["disk"] and not os.listdir("new"),
               os.listdir("old"), os.listdir("new"))


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in ("old", "new", "libvirt", "libvirt/qemu"):
            os.mkdir(name)
        with open("old/disk", "wb") as file:
            file.write(bytes(range(256)) * 256)
        xml = "libvirt/qemu/vm.xml"
        write(xml, DOMAIN.format(path=os.path.realpath("old/disk")))
        case_undo(xml)
        case_daemon(xml)
        os.chdir("/")


if __name__ == "__main__":
    main()
