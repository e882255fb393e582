#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sparse image whose clusters are scattered over its addresses.

usage: scattered.py FILE [VIRTUAL-SIZE [CLUSTERS [BYTES-EACH]]]

By default 60,000 clusters of 64 KiB in 1 TiB, in random order, made by
qemu-io; the same every time.
"""

import random
import subprocess
import sys

CLUSTER = 65536


def make(path, virtual=1 << 40, clusters=60000, each=CLUSTER):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path,
                    str(virtual)], check=True)
    places = random.Random(1).sample(range(virtual // CLUSTER), clusters)
    script = "".join(f"write -q -P {idx % 255 + 1} {place * CLUSTER} {each}\n"
                     for idx, place in enumerate(places))
    subprocess.run(["qemu-io", "-t", "unsafe", "-f", "qcow2", path],
                   input=script, text=True, stdout=subprocess.DEVNULL,
                   check=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    make(sys.argv[1], *(int(arg) for arg in sys.argv[2:]))
