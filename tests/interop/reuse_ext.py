#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""imgchain's verdict on a reused destination beside what libvirt does with it.

For each row of support/reuse_rows.py a machine of a real libvirtd has a disk
of known contents. imgchain judges the destination; then libvirt gets it all
the same, the guest writes, and what it sees is compared with a record of the
test's own: at once, after a new start, with a definition that names just the
new file, and by qemu-img. Whatever ends badly must have been refused; where
imgchain accepts, all is as it was. docs/reuse-ext.md is the outcome.

usage: reuse_ext.py [--write] [ID...]
  --write  write docs/reuse-ext.md, instead of comparing it
  ID       only these rows, and no document

With other versions than libvirt 9.0 and QEMU 7.2 only imgchain's verdict is
compared with the row, and what happens with the verdict.
"""

import concurrent.futures
import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from xml.sax.saxutils import quoteattr

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import libvirtd  # noqa: E402
from libvirtd import Disk, Libvirtd  # noqa: E402
from reuse_document import document  # noqa: E402
from reuse_rows import (  # noqa: E402
    CUT, HANGS, LONGER, NO, NO_OPEN, NO_START, NOT_SEEN, OTHER, ROWS, SAME,
    YES)
from room import MIB, SIZE, Failed, Room, Unavailable  # noqa: E402

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..",
                        "..", "docs", "reuse-ext.md")
SKIP = 77
# Much of the time they wait for each other, not for the processor.
WORKERS = 3
KNOWN = ("9.0", "7.2")
SNAPSHOT_FLAGS = ["--disk-only", "--reuse-external", "--no-metadata",
                  "--atomic"]
EXITS = {YES: 0, NO: 1, "unproven": 2}


def dest_kind(room):
    return "block" if room.loops else "file"


def dest_xml(room):
    """The destination of a copy, as libvirt gets it."""
    source = "dev" if room.loops else "file"
    driver = f"<driver type='{room.format}'/>" if room.format else ""
    return (f"<disk type='{dest_kind(room)}'>"
            f"<source {source}={quoteattr(room.dest)}/>{driver}</disk>")


def diskspec(room):
    kind = ",stype=block" if room.loops else ""
    return (f"vda,snapshot=external,file={room.dest},driver={room.format}"
            f"{kind}")


def copy_flags(row):
    """virsh's and imgchain's alike."""
    return ["--reuse-external", "--transient-job"] + (
        ["--shallow"] if row.rules == "shallow" else []) + (
        ["--synchronous-writes"] if row.sync else []) + (
        ["--granularity", str(row.granularity)] if row.granularity else [])


class Trial:
    """One row in a room and on a machine of its own."""

    def __init__(self, virt, row, room):
        self.virt, self.row, self.room = virt, row, room
        self.record = room.contents()
        self.machine = None

    def define(self, path, fmt="qcow2", kind="file"):
        self.machine = self.virt.define(self.row.id,
                                        [Disk("vda", path, fmt, kind)])

    def write(self, pattern, off, length):
        self.machine.write("vda", pattern, off, length)
        self.record[off:off + length] = bytes([pattern]) * length

    # What imgchain says

    def request(self):
        """The operation, as imgchain preflight gets it."""
        row, room = self.row, self.room
        if row.rules == "snapshot":
            return ["--diskspec", diskspec(room), *SNAPSHOT_FLAGS]
        return ["--copy-disk", self.virt.write_xml(dest_xml(room)),
                "--target", "vda", *copy_flags(row)]

    def judge(self):
        """Verdict, and the ids of the checks that failed or warned."""
        live = [] if self.machine.is_started else ["--inactive"]
        words = [IMGCHAIN, "preflight", "--domain",
                 self.virt.write_xml(self.machine.dumpxml(*live)),
                 *self.request()]
        if self.row.rooted:
            words += ["--root", self.room.folder]
        done = subprocess.run(words + ["--output", "json"], check=False,
                              capture_output=True, text=True, timeout=120)
        if not done.stdout:
            raise Failed(f"preflight: exit {done.returncode}: {done.stderr}")
        report = json.loads(done.stdout)
        if done.returncode != EXITS[report["verdict"]]:
            raise Failed(f"{report['verdict']}, exit {done.returncode}")
        found = {result: [c["id"] for c in report["checks"]
                          if c["result"] == result]
                 for result in ("fail", "warn", "unproven")}
        return report["verdict"], found

    # What libvirt does

    def snapshot(self):
        done = self.machine.virsh("snapshot-create-as", *SNAPSHOT_FLAGS,
                                  "--diskspec", diskspec(self.room))
        return self.outcome(done)

    def copy(self):
        row = self.row
        words = ["vda", "--xml", self.virt.write_xml(dest_xml(self.room)),
                 *copy_flags(row)]
        if not row.writes and not row.restarts:
            return self.outcome(self.machine.virsh("blockcopy", *words,
                                                   "--wait", "--pivot"))
        self.machine.must("blockcopy", *words)
        while not self.machine.qmp("query-block-jobs")[0]["ready"]:
            time.sleep(0.02)
        if row.restarts:
            self.virt.stop_daemon()
            self.virt.start_daemon()
        self.write(0x66, 12 * MIB + 8192, 4096)
        return self.outcome(self.machine.virsh("blockjob", "vda", "--pivot"))

    def outcome(self, done):
        """As a row puts it; errors in libvirt's words."""
        if done.returncode == 0:
            return "ok"
        said = " ".join(done.stderr.split())
        if not said:
            return "job fails"
        jobs = self.machine.qmp("query-block-jobs") \
            if self.machine.is_running() else []
        if not jobs:
            return f"refused: {said}"
        self.machine.must("blockjob", "vda", "--abort")
        return f"pivot fails: {said}"

    def is_private_file_taken(self):
        if not self.room.outside:
            return False
        status = os.stat(os.path.join(self.room.outside, "private"))
        return status.st_uid == pwd.getpwnam(libvirtd.USER).pw_uid

    # What is seen then

    def compare(self, shown):
        if shown is None:
            return NO_OPEN
        if len(shown) < SIZE and shown == self.record[:len(shown)]:
            return CUT
        if shown[:SIZE] != self.record or any(shown[SIZE:]):
            return OTHER
        return SAME if len(shown) == SIZE else LONGER

    def seen_by_guest(self):
        return self.compare(self.machine.read("vda"))

    def seen_when_started(self):
        self.machine.end()
        try:
            self.machine.start()
        except libvirtd.Failed:
            return NO_START
        return self.seen_by_guest()

    def seen_by_new_definition(self):
        self.machine.end()
        self.define(self.room.dest, self.room.format or "qcow2",
                    dest_kind(self.room))
        return self.seen_when_started()

    def seen_by_qemu_img(self):
        self.machine.end()
        shown = self.room.path("shown")
        loops = self.row.after[-1] == HANGS
        try:
            done = subprocess.run(
                ["qemu-img", "convert", "-f", self.room.format or "qcow2",
                 "-O", "raw", self.room.dest, shown], check=False,
                capture_output=True, timeout=2 if loops else 60)
        except subprocess.TimeoutExpired:
            return HANGS
        if done.returncode != 0:
            return NO_OPEN
        with open(shown, "rb") as file:
            return self.compare(file.read())

    def do(self):
        """What libvirt did, and what was seen, as in a row."""
        if self.row.operation == "offline":
            did, live = self.snapshot(), NOT_SEEN
        else:
            did = self.copy() if self.row.rules != "snapshot" \
                else self.snapshot()
            if self.is_private_file_taken():
                did += "; the private file belongs to QEMU's user"
            self.write(0x55, 3 * MIB + 4096, 4096)
            live = self.seen_by_guest()
        if not did.startswith("ok"):
            return did, (live,) + (NOT_SEEN,) * 3
        return did, (live, self.seen_when_started(),
                     self.seen_by_new_definition(), self.seen_by_qemu_img())

    def run(self):
        """Verdict, checks, what libvirt did, what was seen."""
        self.row.build(self.room)
        self.define(self.room.source)
        if self.row.operation != "offline":
            self.machine.start()
        try:
            verdict, checks = self.judge()
            if os.environ.get("IMGCHAIN_SANITIZED"):
                return verdict, checks, None, None
            return verdict, checks, *self.do()
        finally:
            self.machine.end()


def is_bad(did, after):
    """Whether there is anything that nobody wants."""
    return not did == "ok" or any(
        seen not in (SAME, NOT_SEEN) for seen in after)


def is_as_expected(row, did, after):
    if row.did.startswith(("ok", "job")):
        is_same = did == row.did
    else:
        kind, text = row.did.split(": ", 1)
        is_same = did.startswith(kind) and text in did
    return is_same and after == row.after


def complaints(row, verdict, checks, did, after):
    if verdict != row.verdict:
        yield f"imgchain: {verdict} {checks}, expected {row.verdict}"
    if did is None:
        return
    if is_bad(did, after) and verdict == YES:
        yield f"accepted, but {did}, {after}"
    if libvirtd.versions() == KNOWN and not is_as_expected(row, did, after):
        yield f"libvirt: {did}, {after}; expected {row.did}, {row.after}"


def own_daemon(virt, row, folder):
    """Only a row that stops its daemon has one of its own."""
    if row.restarts:
        return Libvirtd(os.path.join(folder, "virt"), cache=virt.cache)
    return contextlib.nullcontext(virt)


def run_row(virt, row):
    """(result or None, complaints)"""
    folder = os.path.realpath(tempfile.mkdtemp(prefix="imgchain-reuse-"))
    os.chmod(folder, 0o755)
    room = None
    try:
        room = Room(folder)
        with own_daemon(virt, row, folder) as daemon:
            found = Trial(daemon, row, room).run()
        return found, list(complaints(row, *found))
    except (Failed, libvirtd.Failed, subprocess.TimeoutExpired,
            json.JSONDecodeError) as error:
        return None, [str(error)]
    except Unavailable as why:
        print(f"{row.id}: skipped: {why}")
        return None, []
    finally:
        if room:
            room.close()
        shutil.rmtree(folder, ignore_errors=True)


def run_rows(rows):
    results, bad = {}, 0
    with tempfile.TemporaryDirectory(prefix="imgchain-libvirt-") as folder, \
            Libvirtd(folder) as virt, \
            concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for row, (found, wrong) in zip(rows, pool.map(
                lambda row: run_row(virt, row), rows)):
            results[row.id] = found
            bad += bool(wrong)
            for text in wrong:
                print(f"FAILED: {row.id} ({row.title}): {text}", flush=True)
    return results, bad


def check_document(results, is_to_write):
    text = document(ROWS, results)
    if is_to_write:
        with open(DOCUMENT, "w", encoding="utf-8") as file:
            file.write(text)
        return 0
    with open(DOCUMENT, encoding="utf-8") as file:
        if file.read() == text:
            return 0
    print("FAILED: docs/reuse-ext.md is not what happened; run "
          "tests/interop/reuse_ext.py --write")
    return 1


def main():
    why = libvirtd.missing()
    if why:
        print(f"skipped: {why}")
        return SKIP
    ids = [word for word in sys.argv[1:] if word != "--write"]
    rows = [row for row in ROWS if row.id in ids or not ids]
    begin = time.monotonic()
    results, bad = run_rows(rows)
    print(f"{len(rows)} rows, {bad} failed, {time.monotonic() - begin:.0f} s")
    if bad or not rows:
        return 1
    if None in results.values():
        return SKIP
    if ids or libvirtd.versions() != KNOWN or \
            os.environ.get("IMGCHAIN_SANITIZED"):
        return 0
    return check_document(results, "--write" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
