# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/reuse-ext.md, made from what reuse_ext.py saw."""

HEAD = """# What libvirt does with a reused file, and what imgchain says

Written by `tests/interop/reuse_ext.py --write`; the test fails if anything
happens otherwise. Each row was run with libvirt 9.0 and QEMU 7.2 on a machine
whose disk is `base.qcow2` (16 MiB) and, above it, `active.qcow2`. imgchain
judged the destination, with the machine running; then libvirt got it all the
same, with `--reuse-external`, the guest wrote, and its disk was compared with a
record of what it ought to hold:

| column | the disk is looked at |
|---|---|
| live | by the machine that went on running |
| restart | after a new start of the same definition |
| fresh | by a machine whose definition names just the new file |
| file | by qemu-img, which goes by the headers |

| entry | meaning |
|---|---|
| same | every byte is as it ought to be |
| DIFFERENT | silent corruption |
| cut off | what there is, is right; the end is missing, the guest gets I/O errors |
| same, zeros after | right, with a tail of zeros that the disk did not have |
| no start | the machine does not start |
| no open | qemu-img cannot open it |
| no end | qemu-img does not come back |
| - | does not apply, or libvirt had refused and the source goes on |

"job fails": the call succeeds, the block job fails later, and virsh says
nothing but "Copy failed". The last column is the verdict of `imgchain preflight`
([preflight.md](preflight.md)) with the checks that failed, or those that
warned. Everything that ends badly is refused beforehand.
"""

PARTS = (
    ("snapshot", "Snapshots of a running machine",
     "The definition keeps the old chain by name, so that a wrong header is "
     "not\nnoticed until somebody trusts it."),
    ("offline", "Snapshots of a stopped machine",
     "libvirt opens nothing: every file is taken."),
    ("copy", "Full copies", None),
    ("shallow", "Shallow copies",
     "The file's own contents have to be those of the active layer's "
     "backing file."),
)


def cell(text):
    return text.replace("|", "\\|")


def verdict_of(verdict, checks):
    if verdict == "accepted":
        return verdict + (f", warns: {', '.join(checks['warn'])}"
                          if checks["warn"] else "")
    return f"{verdict}: {', '.join(checks['fail'] + checks['unproven'])}"


def line(row, found):
    verdict, checks, _, after = found
    cells = [row.id, row.title, row.did, *after, verdict_of(verdict, checks)]
    return "| " + " | ".join(cell(text) for text in cells) + " |\n"


def document(rows, results):
    """Results: by id, what Trial.run() returned."""
    text = HEAD
    for operation, title, remark in PARTS:
        text += f"\n## {title}\n\n" + (f"{remark}\n\n" if remark else "")
        text += ("| id | destination | libvirt | live | restart | fresh | "
                 "file | imgchain |\n|---|---|---|---|---|---|---|---|\n")
        text += "".join(line(row, results[row.id]) for row in rows
                        if row.operation == operation)
    return text
