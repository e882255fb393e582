#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each call by which a command changes a file fails once: no space, a broken
device, an interruption, half a write. Then the exit code is 1 and one line
names a file; what was only read is as it was, what was to be made is not
there or complete, and what was changed in place shows the old or the new."""

import errno
import os
import shutil
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "..", "crash", "support")
import calls  # noqa: E402
import examples  # noqa: E402
import outcome  # noqa: E402
import trial  # noqa: E402
from calls import Kind  # noqa: E402

BREAKING = [errno.ENOSPC, errno.EIO]
# Calls that POSIX lets a signal interrupt.
INTERRUPTED = (Kind.WRITE, Kind.TRUNCATE, Kind.FALLOCATE, Kind.FLUSH)


def plans(call, number):
    """What can happen to CALL, the NUMBERth: (plan, does it matter)."""
    for code in BREAKING:
        yield f"{number}:{code}", True
    yield f"{number}+:{errno.ENOSPC}", True
    if call.kind in INTERRUPTED:
        yield f"{number}:{errno.EINTR}", False
    if call.kind == Kind.WRITE and call.result > 1:
        yield f"{number}:short", False


def check(example, work):
    """How many faults."""
    source = os.path.join(work, "source")
    folder = os.path.join(work, "files")
    outcome.fresh(source, folder)
    judge = outcome.Judge(example, folder)
    before = judge.take()
    log = calls.record(folder, example.args, os.path.join(work, "log"))
    judge.learn(before, judge.take())
    faults = 0
    for number, call in enumerate(log, 1):
        for plan, matters in plans(call, number):
            outcome.fresh(source, folder)
            done = calls.run(folder, example.args, plan=plan)
            faults += 1
            try:
                judge.judge(done, int(plan.split(":")[1])
                            if matters else 0)
            except trial.Wrong as error:
                raise trial.Wrong(f"{example.name}: call {number} ({call}), "
                                  f"SYSSHIM_PLAN={plan}: {error}") from error
    return faults


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no qemu-img or qemu-io")
        return trial.SKIP
    work = tempfile.mkdtemp(prefix="imgchain-fault-", dir=trial.fast_folder())
    failed = 0
    try:
        os.makedirs(os.path.join(work, "source"))
        examples.build(os.path.join(work, "source"))
        for example in examples.EXAMPLES:
            try:
                print(f"{check(example, work):5} faults: {example.name}")
            except (trial.Wrong, RuntimeError) as error:
                print(f"FAIL: {error}")
                failed += 1
    finally:
        shutil.rmtree(work)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
