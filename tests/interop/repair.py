#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""imgchain check -r against qemu-img check -r, on damaged images.

From a seed: images of every kind, each damaged in several ways (all of
support/kinds.py but those of the header). Of each:
a dry run changes nothing and says what the repair then does; after it
qemu-img finds nothing wrong, at least where its own repair gets that far;
what could be read shows the same; repairing again does nothing; and the
undo record brings back every byte.

IMGCHAIN_SEED chooses the damage, IMGCHAIN_CASES how many images of it,
REPAIR_KEEP a folder for those that fail.
"""
import json
import os
import random
import re
import shutil
import sys
import tempfile

sys.path[:0] = [os.path.join(os.path.dirname(__file__), "support")]
from image import Image, difference, shown  # noqa: E402
from kinds import BELOW_HEADER  # noqa: E402
from maker import OPTIONS, Maker, run  # noqa: E402

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
SEED = int(os.environ.get("IMGCHAIN_SEED", "1"))
CASES = int(os.environ.get("IMGCHAIN_CASES", "320"))
if "IMGCHAIN_SANITIZED" in os.environ:
    CASES = (CASES + 3) // 4

# What is not repaired though qemu-img calls the outcome clean, and why.
REFUSED = [
    (r"l1_table_offset|l1_size|L1 table",
     "without its L1 table an image has nothing: QEMU makes it empty"),
    (r"snapshots with L1 tables of .* they overlap",
     "work is bounded by the length of the file"),
]


def only_beyond_qemu(done):
    """What is left is such as QEMU's check has no eye for."""
    found = json.loads(done.stdout)
    return found["corruptions"] == found["corruptions-beyond-qemu"] and \
        found["check-errors"] == found["leaks"] == 0


class Wrong(Exception):
    pass


def external(path):
    """The external data file of the image that was copied from PATH."""
    name = path[:-len(".qcow2")] + ".data"
    if os.path.exists(name):
        with open(name, "rb") as file:
            return file.read()
    return b""


def read(path):
    with open(path, "rb") as file:
        return file.read()


def compare(before, image, is_alone=False):
    """What could be read must be the same in IMAGE."""
    found = difference(before, shown(image),
                              is_alone and image.backing == 0)
    if found:
        raise Wrong(found)


class Case:
    def __init__(self, folder, what, source, damager):
        self.folder, self.what = folder, what
        self.path = os.path.join(folder, "broken.qcow2")
        self.source, self.damager = source, damager

    def imgchain(self, *args, mode="all"):
        done = run(IMGCHAIN, "check", "-r", mode, "-f", "qcow2", "--output",
                   "json", *args, self.path, ok=False)
        if done.returncode not in (0, 1, 2, 3):
            raise Wrong("imgchain died: %d %s" %
                        (done.returncode, done.stderr.decode()))
        return done

    def qemu(self, path, *args):
        if "encrypt" not in self.what:
            return run("qemu-img", "check", "-q", "-f", "qcow2", *args, path,
                       ok=False)
        kind = "luks" if "luks" in self.what else "aes"
        return run("qemu-img", "check", "-q", "--object",
                   "secret,id=s,data=x", *args, "--image-opts",
                   "driver=qcow2,file.filename=%s,encrypt.format=%s,"
                   "encrypt.key-secret=s" % (path, kind), ok=False)

    def theirs(self):
        """Does qemu-img's own repair get it clean?"""
        copy = os.path.join(self.folder, "theirs.qcow2")
        shutil.copy(self.path, copy)
        self.qemu(copy, "-r", "all")
        return self.qemu(copy).returncode == 0

    def judge(self, counts):
        image = Image(self.source)
        self.damager(image)
        with open(self.path, "wb") as file:
            file.write(image.data)
        was = bytes(image.data)
        outside = external(self.source)
        before = shown(Image(self.path, outside))
        planned = self.imgchain("--dry-run")
        if read(self.path) != was:
            raise Wrong("the dry run wrote")
        ours = self.imgchain()
        if ours.returncode == 1:
            self.refused(ours, was, counts)
            return
        self.compare_plan(planned, ours)
        after = Image(self.path, outside)
        clean = self.qemu(self.path)
        # A key that was damaged is not what a check looks at.
        if ours.returncode == 0 and clean.returncode != 0 and \
                b"cannot unlock" not in clean.stderr:
            raise Wrong("clean for imgchain, %d for qemu-img: %s" %
                        (clean.returncode, clean.stderr.decode()[:300]))
        if ours.returncode != 0 and not only_beyond_qemu(ours) and \
                self.theirs_of(was):
            raise Wrong("exit %d, qemu-img gets it clean: %s" %
                        (ours.returncode, ours.stdout.decode()[-700:]))
        compare(before, after, True)
        # A damaged stream is not what a check looks at.
        if ours.returncode == 0 and None in after.shows():
            raise Wrong("clean, but it cannot be read")
        counts["clean" if ours.returncode == 0 else "better"] += 1
        self.again(ours)
        self.undo(json.loads(ours.stdout), was)

    def theirs_of(self, was):
        now = read(self.path)
        with open(self.path, "wb") as file:
            file.write(was)
        is_clean = self.theirs()
        with open(self.path, "wb") as file:
            file.write(now)
        return is_clean

    def refused(self, ours, was, counts):
        text = ours.stderr.decode()
        if read(self.path) != was:
            raise Wrong("refused, but written: " + text)
        if os.path.exists(self.path + ".imgchain-repair"):
            raise Wrong("refused, but there is a record")
        if self.theirs() and not any(re.search(pattern, text)
                                     for pattern, _ in REFUSED):
            raise Wrong("refused, qemu-img gets it clean: " + text)
        counts["refused"] += 1

    def compare_plan(self, planned, ours):
        plan, done = json.loads(planned.stdout), json.loads(ours.stdout)
        for one in (plan, done):
            one.pop("undo-filename", None)
            one.pop("dry-run")
        if plan != done or planned.returncode != ours.returncode:
            raise Wrong("the plan was another one: %s, done %s" %
                        (planned.stdout.decode()[:1500],
                         ours.stdout.decode()[:1500]))

    def again(self, first):
        now = read(self.path)
        second = self.imgchain("--no-undo")
        if first.returncode == 0 and read(self.path) != now:
            raise Wrong("the second repair wrote")
        if second.returncode != first.returncode:
            raise Wrong("the second repair: exit %d" % second.returncode)
        if read(self.path) != now:
            with open(self.path, "wb") as file:
                file.write(now)

    def undo(self, doc, was):
        record = doc.get("undo-filename")
        if record is None:
            if read(self.path) != was:
                raise Wrong("no record of what was written")
            return
        run(IMGCHAIN, "check", "--undo", record, "-f", "qcow2", self.path)
        if read(self.path) != was:
            raise Wrong("the undo is not exact")
        os.remove(record)

    def leaks(self, counts):
        """-r leaks: no leak is left, contents stay, nothing else is."""
        image = Image(self.source)
        self.damager(image)
        with open(self.path, "wb") as file:
            file.write(image.data)
        outside = external(self.source)
        before = shown(Image(self.path, outside))
        found = run(IMGCHAIN, "check", "-f", "qcow2", "--output", "json",
                    self.path, ok=False)
        ours = self.imgchain("--no-undo", mode="leaks")
        if ours.returncode == 1:
            return
        after = Image(self.path, outside)
        compare(before, after)
        doc, first = json.loads(ours.stdout), json.loads(found.stdout)
        if doc["corruptions"] > first["corruptions"]:
            raise Wrong("-r leaks made corruptions: %s" % doc)
        if first["corruptions"] == 0:
            if ours.returncode != 0 or self.qemu(self.path).returncode != 0:
                raise Wrong("-r leaks left something: %s" % doc)
            counts["leaks"] += 1


def fitting(made, number, kind, seed):
    """The image at NUMBER, or the next one that has what KIND damages."""
    for i in range(len(made)):
        what, path = made[(number + i) % len(made)]
        if kind(random.Random(seed), Image(path)):
            return what, path
    sys.exit("no image has anything for %s" % kind.__name__)


def main():
    for tool in ("qemu-img", "qemu-io"):
        if not shutil.which(tool):
            print("skipped: no " + tool)
            sys.exit(77)
    counts = {"clean": 0, "better": 0, "refused": 0, "leaks": 0}
    kinds, failures, done = set(), 0, 0
    keep = os.environ.get("REPAIR_KEEP")
    with tempfile.TemporaryDirectory() as folder:
        maker = Maker(folder, random.Random(SEED))
        for number, options in enumerate(OPTIONS):
            maker.make(number, options)
        while done < CASES:
            seed = "%d %d" % (SEED, done)
            kind = BELOW_HEADER[done % len(BELOW_HEADER)]
            what, path = fitting(maker.made, done, kind, seed)
            done += 1
            kinds.add(kind)
            case = Case(folder, what, path,
                        lambda image, s=seed, k=kind:
                        k(random.Random(s), image))
            try:
                case.judge(counts)
                if done % 4 == 0:
                    case.leaks(counts)
            except Wrong as error:
                failures += 1
                print("FAIL %s, %s (%s): %s" %
                      (what, kind.__name__, seed, error))
                if keep:
                    image = Image(path)
                    kind(random.Random(seed), image)
                    with open("%s/%s.qcow2" % (keep, seed.replace(" ", "-")),
                              "wb") as file:
                        file.write(image.data)
            for name in os.listdir(folder):
                if ".imgchain-repair" in name:
                    os.remove(os.path.join(folder, name))
    print("%d images, %d cases, %d kinds of damage: %s; %d failures" %
          (len(maker.made), done, len(kinds), counts, failures))
    if CASES >= 320 and len(kinds) < len(BELOW_HEADER):
        print("not met: %s" % (set(BELOW_HEADER) - kinds))
        failures += 1
    sys.exit(1 if failures or counts["clean"] * 2 < done else 0)


if __name__ == "__main__":
    main()
