#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check -r all: a power loss at any instant takes nothing that could be read.

In every state of a repair of a damaged image what could be read shows the
same, and once a byte was changed the undo record is there, whole. Some of the
states are repaired again, which must come to the same end, and undone.
"""

import os
import random
import shutil
import subprocess
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
sys.path.append(os.path.join(os.path.dirname(__file__), os.pardir, "interop",
                             "support"))
import calls  # noqa: E402
import trial  # noqa: E402
from damage import damage_longer  # noqa: E402
from damage_fields import damage_field_l1  # noqa: E402
from image import Image, difference, shown  # noqa: E402
from kinds import BELOW_HEADER  # noqa: E402

IMAGE = "broken.qcow2"
RECORD = IMAGE + ".imgchain-repair"
# Of these there are enough images that can be repaired, and states.
KINDS = [kind for kind in BELOW_HEADER
         if kind not in (damage_field_l1, damage_longer)]


def imgchain(*args, cwd):
    done = subprocess.run([calls.IMGCHAIN, "check", "-q", *args], cwd=cwd,
                          check=False, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode < 0 or done.returncode > 3:
        raise trial.Wrong(f"check {args}: {done.returncode}: {done.stderr}")
    return done.returncode


trial.SAMPLE = 8


class Repair(trial.Scenario):
    def build(self):
        rng = self.rng
        options = self.options()
        size = rng.randrange(64, 700) * 1024
        self.create("base.qcow2", {}, size)
        self.create("good.qcow2", options, size,
                    "base.qcow2" if rng.randrange(2) else None)
        self.scribble("good.qcow2", "qcow2", size, rng.randrange(2, 8),
                      extra="d")
        if rng.randrange(3) == 0:
            self.compress("good.qcow2", options["cluster_size"], size, 4)
        if options.get("refcount_bits") != 1 and rng.randrange(3) == 0:
            trial.qemu("qemu-img", "snapshot", "-c", "s", "good.qcow2",
                       cwd=self.folder)
            self.scribble("good.qcow2", "qcow2", size, 2)
            self.counts[("snapshot", "yes")] += 1
        self.break_it()
        self.args = ["check", "-q", "-r", "all", "-f", "qcow2", IMAGE]
        self.seen = {}

    def break_it(self):
        """Damage that can be repaired, with something to write."""
        for _ in range(50):
            image = Image(self.path("good.qcow2"))
            kind = self.rng.choice(KINDS)
            if not kind(random.Random(self.rng.random()), image):
                continue
            if self.rng.randrange(3) == 0:
                self.rng.choice(KINDS)(self.rng, image)
            with open(self.path(IMAGE), "wb") as file:
                file.write(image.data)
            if imgchain("-f", "qcow2", IMAGE, cwd=self.folder) != 0 and \
                    imgchain("-r", "all", "--dry-run", "-f", "qcow2", IMAGE,
                             cwd=self.folder) == 0:
                break
        self.counts[("damage", kind.__name__)] += 1
        os.unlink(self.path("good.qcow2"))
        self.was = bytes(image.data)
        self.before = shown(image)
        self.is_alone = image.backing == 0

    def compare(self, image):
        found = difference(self.before, shown(image),
                                  self.is_alone)
        if found:
            raise trial.Wrong(found)

    def judge(self, state):
        key = state.file_key(IMAGE)
        content = state.content(IMAGE)
        if content != self.was and RECORD not in state.names:
            raise trial.Wrong("changed, and there is no undo record")
        if key in self.seen:
            return
        self.seen[key] = True
        with open(self.path("state"), "wb") as file:
            file.write(content)
        self.compare(Image(self.path("state")))

    def look(self, state, folder):
        """Repaired again it comes to an end, undone it is as it was."""
        shutil.copy(os.path.join(folder, IMAGE),
                    os.path.join(folder, "again.qcow2"))
        code = imgchain("-r", "all", "--no-undo", "-f", "qcow2",
                        "again.qcow2", cwd=folder)
        trial.qemu("qemu-img", "check", "-q", "-f", "qcow2", "again.qcow2",
                   cwd=folder)
        if code != 0:
            raise trial.Wrong(f"repaired again: exit {code}")
        self.compare(Image(os.path.join(folder, "again.qcow2")))
        if RECORD not in state.names:
            return
        # The record is one of another inode.
        self.set_inode(os.path.join(folder, RECORD),
                       os.stat(os.path.join(folder, IMAGE)).st_ino)
        if imgchain("--undo", RECORD, "-f", "qcow2", IMAGE, cwd=folder) != 0:
            raise trial.Wrong("it cannot be undone")
        with open(os.path.join(folder, IMAGE), "rb") as file:
            if file.read() != self.was:
                raise trial.Wrong("undone, and not as it was")

    @staticmethod
    def set_inode(path, ino):
        import zlib
        with open(path, "r+b") as file:
            head = bytearray(file.read(60))
            head[16:24] = ino.to_bytes(8, "big")
            head[56:60] = zlib.crc32(head[:56]).to_bytes(4, "big")
            file.seek(0)
            file.write(head)


if __name__ == "__main__":
    trial.main(Repair, default_number=60, first_seed=1, min_states=800,
               needed=["snapshot", "extended_l2"])
