#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SIGUSR1 says how far the work is, with or without -p; SIGINT and SIGTERM end
# it with a message and the exit code for what could not be judged. So do they
# where space is reserved.
. "$(dirname "$0")/../lib.sh"
requires python3

# Long enough to be met at work, on any machine in one of the attempts.
dd if=/dev/urandom of=a.raw bs=1M count=256 status=none
cp a.raw b.raw
python3 - "$imgchain" <<'PYTHON' || fail 'signals are not handled'
import os
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


def reserve(args, path, left, delay):
    """One SIGINT; was it met before all was written? Then LEFT is left."""
    work = subprocess.Popen(
        [sys.argv[1], *args],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(delay)
    work.send_signal(signal.SIGINT)
    _, err = work.communicate()
    size = os.stat(path).st_size if os.path.exists(path) else None
    if work.returncode == 0:
        assert size >= 512 << 20, size
        os.remove(path)
        return False
    assert work.returncode == 1, (work.returncode, err)
    assert err.startswith(b"imgchain: " + path.encode() + b": cancelled"), err
    assert size == left, size
    return True


full = "preallocation=full"
for path, args, left in (
        ("new.qcow2", ["create", "-f", "qcow2", "-o", full], None),
        ("new.raw", ["create", "-f", "raw", "-o", full], None),
        ("old.raw", ["resize", "-f", "raw", "--" + full], 4096)):
    for n in range(40):
        if left:
            with open(path, "wb") as file:
                file.truncate(left)
        if reserve([*args, path, "512M"], path, left, (n % 10 + 1) * 0.01):
            break
    else:
        sys.exit(f"{path}: never met at work")
PYTHON
