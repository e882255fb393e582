#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""metadata relocate: whatever a power loss leaves, after recovery the domain is
in the old folder or in the new one, with all its images and all its XML, or
(a copy) in both; and nothing else of it is there.
"""

import os
import sys

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import transacted  # noqa: E402
import trial  # noqa: E402

DOMAIN = """<domain type='qemu'><name>vm</name>
<uuid>00000000-0000-4000-8000-000000000001</uuid><memory>16384</memory>
<os><type>hvm</type></os><devices>{disks}</devices></domain>
"""
DISK = ("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        "<source file='{path}'/><target dev='{name}' bus='virtio'/></disk>")
SNAPSHOT = """<domainsnapshot><name>s</name><state>shutoff</state>
<creationTime>1</creationTime><memory snapshot='external' file='{memory}'/>
<disks><disk name='vda' snapshot='external' type='file'>
<driver type='qcow2'/><source file='{top}'/></disk></disks>
{domain}<active>1</active></domainsnapshot>
"""


class Relocation(transacted.Transacted):
    def build(self):
        for folder in ("old", "new", "xml"):
            os.makedirs(self.path(folder))
        self.make_images()
        self.make_xml()
        move = self.pick("move", ["yes", "no"])
        place = self.pick("xml", ["in place", "elsewhere"]) \
            if move == "yes" else "elsewhere"
        self.args = ["metadata", "relocate", "-q", "--domain", "xml/vm.xml",
                     "--snapshots", "xml/s.xml", "--to", "new",
                     self.pick("style", ["--relative", "--absolute"])]
        if move == "yes":
            self.args += ["--move"]
        if place == "elsewhere":
            self.args += ["--xml-to", self.pick("xml to", ["new", "xml"])]
        if "xml" in self.args[-1:]:
            os.rename(self.path("xml/vm.xml"), self.path("xml/domain.xml"))
            self.args[self.args.index("xml/vm.xml")] = "xml/domain.xml"
        self.old = transacted.texts(self.folder)
        self.new = transacted.rehearse(self)
        self.start()

    def make_images(self):
        options = {"cluster_size": self.pick("cluster", [512, 4096])}
        self.create("old/base.qcow2", options, 64 << 10)
        self.scribble("old/base.qcow2", "qcow2", 64 << 10, 2)
        for name, backing in (("a", "base"), ("b", "base"), ("top", "a")):
            self.create(f"old/{name}.qcow2", options, None,
                        f"{backing}.qcow2")
            self.scribble(f"old/{name}.qcow2", "qcow2", 64 << 10, 1)
        with open(self.path("old/memory"), "wb") as file:
            file.write(self.rng.randbytes(777))

    def make_xml(self):
        def disks(first):
            return "".join(DISK.format(path=self.path(f"old/{file}.qcow2"),
                                       name=name)
                           for name, file in (("vda", first), ("vdb", "b")))
        with open(self.path("xml/vm.xml"), "w", encoding="ascii") as file:
            file.write(DOMAIN.format(disks=disks("top")))
        with open(self.path("xml/s.xml"), "w", encoding="ascii") as file:
            file.write(SNAPSHOT.format(
                memory=self.path("old/memory"),
                top=self.path("old/top.qcow2"),
                domain=DOMAIN.format(disks=disks("a"))))

    def expected(self):
        return [("none", self.old), ("all", self.new)]

    def folders(self):
        return ["new", "old", "xml"]

    def recover_args(self, folder):
        return ["metadata", "relocate", "-q", "--recover", folder]


if __name__ == "__main__":
    trial.main(Relocation, default_number=4, first_seed=1, min_states=400,
               needed=["outcome", "recovery", "move"])
