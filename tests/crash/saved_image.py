#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""saved-image define: whatever a power loss or a kill leaves, after recovery
every saved image has the old XML, or every one the new, and nothing else of it
is there; the memory behind it is what it was.

The disks that the images name are not there: --force.
"""

import collections
import os
import shutil
import struct
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import calls  # noqa: E402
import transacted  # noqa: E402
import trial  # noqa: E402

DOMAIN = ("<domain type='qemu'><name>{name}</name><devices><disk type='file'>"
          "<driver name='qemu' type='raw'/><source file='{folder}/{name}.raw'/>"
          "<target dev='vda' bus='virtio'/></disk></devices></domain>")


def saved(xml, running, length, memory):
    """A saved image with LENGTH bytes before its MEMORY."""
    return (struct.pack("=16s5I56x", b"LibvirtQemudSave", 2, length, running,
                        0, 0)
            + xml.encode() + bytes(length - len(xml)) + memory)


class Define(transacted.Transacted):
    def build(self):
        rng = self.rng
        number = self.pick("images", [1, 2, 3])
        paused = self.pick("paused", [False, True])
        self.old, self.new = {}, {}
        self.args = ["saved-image", "define", "-q", "--force",
                     "--map", "/old=/a/much/longer/new"]
        self.args += ["--paused"] if paused else []
        for n in range(number):
            name = f"dir{rng.randrange(2)}/{n}.save"
            length = self.pick("room", [600, 4096, 70000])
            memory = b"QEVM" + b"m" * rng.randrange(1, 3000)
            for texts, folder, running in (
                    (self.old, "/old", 1),
                    (self.new, "/a/much/longer/new", not paused)):
                xml = DOMAIN.format(name=f"vm{n}", folder=folder)
                texts[name] = saved(xml, running, length,
                                    memory).decode("latin-1")
            self.args.append(name)
        for texts in (self.old, self.new):
            texts["dir0/bystander"] = texts["dir1/bystander"] = "stays"
        for name, text in self.old.items():
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            with open(self.path(name), "wb") as file:
                file.write(text.encode("latin-1"))
        self.start()

    def expected(self):
        return [("none", self.old), ("all", self.new)]

    def folders(self):
        return ["dir0", "dir1"]

    def recover_args(self, folder):
        return ["saved-image", "define", "-q", "--recover", folder]


def kill_at_each_call(work):
    """Once each; then the next define settles it by itself. How many."""
    for number in range(1, 1000):
        folder = os.path.join(work, str(number))
        os.makedirs(folder)
        scenario = Define(2, folder, collections.Counter())
        scenario.build()
        done = calls.run(folder, scenario.args, plan=f"{number}:kill")
        if done.returncode == 0:
            return number - 1
        names = [name for name in scenario.old if name.endswith(".save")]
        told = calls.run(folder, ["saved-image", "dumpxml", names[0]])
        found = transacted.texts(folder)
        is_left = any(".imgchain-transaction" in name for name in found)
        if is_left != ("a run that was killed" in told.stderr):
            raise trial.Wrong(f"killed at {number}: {sorted(found)}, and "
                              f"dumpxml says {told.stderr!r}")
        # One that asks for nothing new: its folders are put right.
        for name in names:
            again = calls.run(folder, ["saved-image", "define", "-q",
                                       "--running", name])
            if again.returncode != 0:
                raise trial.Wrong(f"killed at {number}: {again.stderr}")
        found = transacted.texts(folder)
        running = [{**texts, **{name: texts[name][:24] + "\1"
                                + texts[name][25:] for name in names}}
                   for texts in (scenario.old, scenario.new)]
        if found not in running:
            raise trial.Wrong(f"killed at {number}: there is {sorted(found)}")
        shutil.rmtree(folder)
    raise trial.Wrong("it never ends")


def main():
    work = tempfile.mkdtemp(prefix="imgchain-crash-", dir=trial.fast_folder())
    try:
        print(f"{kill_at_each_call(work)} calls: kill")
    except trial.Wrong as error:
        sys.exit(f"FAIL: {error}")
    finally:
        shutil.rmtree(work)
    trial.main(Define, default_number=10, first_seed=1, min_states=400,
               needed=["outcome", "recovery", "images", "room", "paused"])


if __name__ == "__main__":
    main()
