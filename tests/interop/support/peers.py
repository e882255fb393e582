# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running qemu-img and qemu-io."""

import subprocess
import time

TRIES = 100


def run(command, **options):
    """subprocess.run with what it printed as text. QEMU measures the CPU
    before it makes a LUKS key, and gives up on a clock that did not move
    enough, as it may on a busy machine: then it is asked again."""
    for _ in range(TRIES):
        done = subprocess.run(command, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              **options)
        if "accurate CPU usage" not in done.stderr:
            break
        time.sleep(0.05)
    return done
