#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SIGUSR1 says how far the work is, with or without -p; SIGINT and SIGTERM end
# it with a message and the exit code for what could not be judged.
. "$(dirname "$0")/../lib.sh"
requires python3

# Long enough to be met at work, on any machine in one of the attempts.
dd if=/dev/urandom of=a.raw bs=1M count=256 status=none
cp a.raw b.raw
python3 - "$imgchain" <<'PYTHON' || fail 'signals are not handled'
import re
import signal
import subprocess
import sys
import time


def start(*options):
    # Ignored until the command installs its own handlers.
    def ignore():
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    return subprocess.Popen(
        [sys.argv[1], "compare", "--engine", "sync", *options, "a.raw",
         "b.raw"], preexec_fn=ignore, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)


def ask():
    """Signals until the work is done; were they answered?"""
    work = start()
    while work.poll() is None:
        work.send_signal(signal.SIGUSR1)
        time.sleep(0.004)
    out, err = work.communicate()
    assert work.returncode == 0, (work.returncode, err)
    assert re.fullmatch(rb"(    \(\d+\.\d\d/100%\)\n)*", err), err
    return bool(err)


def stop(number, delay):
    """One signal after a while; was it met at work?"""
    work = start()
    time.sleep(delay)
    work.send_signal(number)
    out, err = work.communicate()
    if work.returncode == 0:
        return False
    assert work.returncode == 2, (work.returncode, out, err)
    assert out == b"", out
    assert re.fullmatch(rb"imgchain: [^\n]+\n", err), err
    return True


assert any(ask() for _ in range(10)), "SIGUSR1 is never answered"
for number in (signal.SIGINT, signal.SIGTERM):
    assert any(stop(number, (n % 10 + 1) * 0.004) for n in range(40)), number
PYTHON
