# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run of each command that writes, over the same small images."""

import dataclasses
import os
import shutil

import trial


@dataclasses.dataclass
class Example:
    name: str
    args: list
    changed: list = dataclasses.field(default_factory=list)  # in place
    made: list = dataclasses.field(default_factory=list)     # new names


EXAMPLES = [
    Example("rebase", ["rebase", "-q", "-f", "qcow2", "-b", "new.qcow2", "-F",
                       "qcow2", "top.qcow2"], changed=["top.qcow2"]),
    Example("rebase to nothing", ["rebase", "-q", "-f", "qcow2", "-b", "",
                                  "top.qcow2"], changed=["top.qcow2"]),
    Example("commit", ["commit", "-q", "-f", "qcow2", "top.qcow2"],
            changed=["top.qcow2", "old.qcow2"]),
    Example("amend", ["amend", "-q", "-f", "qcow2", "-o", "refcount_bits=32",
                      "top.qcow2"], changed=["top.qcow2"]),
    Example("resize", ["resize", "-q", "-f", "qcow2", "top.qcow2", "600M"],
            changed=["top.qcow2"]),
    Example("check -r", ["check", "-q", "-r", "all", "-f", "qcow2",
                         "leaky.qcow2"], changed=["leaky.qcow2"]),
    Example("copy", ["copy", "-q", "-f", "qcow2", "-O", "qcow2", "top.qcow2",
                     "dest.qcow2"], made=["dest.qcow2"]),
    Example("copy over", ["copy", "-q", "-f", "qcow2", "-O", "qcow2",
                          "top.qcow2", "there.qcow2"], made=["there.qcow2"]),
    Example("copy to raw", ["copy", "-q", "-f", "qcow2", "-O", "raw",
                            "top.qcow2", "dest.raw"], made=["dest.raw"]),
    Example("copy -c", ["copy", "-q", "-c", "-f", "qcow2", "-O", "qcow2",
                        "top.qcow2", "dest.qcow2"], made=["dest.qcow2"]),
    Example("copy with data file", ["copy", "-q", "-f", "qcow2", "-O", "qcow2",
                                    "-o", "data_file=dest.data", "top.qcow2",
                                    "dest.qcow2"], made=["dest.qcow2"]),
    Example("copy --verify with data file",
            ["copy", "-q", "--verify", "-f", "qcow2", "-O", "qcow2", "-o",
             "data_file=dest.data", "top.qcow2", "dest.qcow2"],
            made=["dest.qcow2"]),
    Example("copy -n", ["copy", "-q", "-n", "-f", "qcow2", "-O", "qcow2",
                        "top.qcow2", "there.qcow2"], changed=["there.qcow2"]),
    Example("create", ["create", "-q", "-f", "qcow2", "-o",
                       "preallocation=falloc", "dest.qcow2", "1M"],
            made=["dest.qcow2"]),
    Example("snapshot", ["snapshot", "-q", "--atomic", "--disk",
                         "top.qcow2=a.qcow2", "--disk", "new.qcow2=b.qcow2"],
            made=["a.qcow2", "b.qcow2"]),
]


def leak(path):
    """Clusters behind the end that are counted, but used by nobody."""
    with open(path, "r+b") as file:
        file.seek(48)
        file.seek(int.from_bytes(file.read(8), "big"))
        block = int.from_bytes(file.read(8), "big")
        clusters = file.seek(0, os.SEEK_END) >> 16
        file.truncate((clusters + 9) << 16)
        file.seek(block + 2 * clusters)
        file.write(b"\0\1" * 9)


def build(folder):
    """top.qcow2 over old.qcow2; new.qcow2 to rebase to; there.qcow2, empty,
    to copy into; leaky.qcow2, to be repaired."""
    for name in ("old", "new", "there"):
        trial.qemu("qemu-img", "create", "-q", "-f", "qcow2", f"{name}.qcow2",
                   "1M", cwd=folder)
    trial.qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "old.qcow2",
               "-F", "qcow2", "top.qcow2", cwd=folder)
    trial.qemu("qemu-io", "-c", "write -q -P 1 0 300k", "old.qcow2",
               cwd=folder)
    trial.qemu("qemu-io", "-c", "write -q -P 2 100k 300k", "-c",
               "write -q -z 512k 64k", "new.qcow2", cwd=folder)
    trial.qemu("qemu-io", "-c", "write -q -P 3 600k 100k", "-c",
               "write -q -z 64k 64k", "top.qcow2", cwd=folder)
    shutil.copy(os.path.join(folder, "new.qcow2"),
                os.path.join(folder, "leaky.qcow2"))
    leak(os.path.join(folder, "leaky.qcow2"))
