# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a check over many generated chains, and says what they covered.

A check is called as check(chain) for each seed and raises Mismatch. Several
run at once, each in a folder of its own.

IMGCHAIN_CASES=N   how many chains instead of the default
IMGCHAIN_SEED=N    only this one, and its folder is kept
"""

import collections
import concurrent.futures
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))
import generate  # noqa: E402

SKIP = 77
IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")


class Mismatch(Exception):
    """imgchain and its peer do not agree."""


class Chain:
    """A generated chain in its folder, and ways to run programs there."""

    def __init__(self, plan, folder):
        self.plan = plan
        self.folder = folder
        self.top = plan.top
        # What a check decides by chance is as repeatable as the chain.
        self.rng = random.Random(f"check {plan.seed}")

    def run(self, *command, stdout=subprocess.PIPE):
        """Exit code, stdout and stderr of COMMAND in the chain's folder."""
        done = subprocess.run(command, cwd=self.folder, stdout=stdout,
                              stderr=subprocess.PIPE, check=False,
                              timeout=300)
        return done

    def ok(self, *command):
        """Stdout of a COMMAND that must succeed."""
        done = self.run(*command)
        if done.returncode != 0:
            raise Mismatch(f"{shlex.join(command)}: exit {done.returncode}: "
                           f"{done.stderr.decode(errors='replace')}")
        return done.stdout

    def imgchain(self, *args):
        return self.ok(IMGCHAIN, *args)

    def both(self, *args):
        """The same arguments to both programs: two JSON documents."""
        return (json.loads(self.ok("qemu-img", *args)),
                json.loads(self.imgchain(*args)))

    def format_args(self, layer):
        """-f where the format has to be said, and now and then elsewhere."""
        if layer.fmt == "raw" or self.rng.random() < 0.5:
            return ["-f", layer.fmt]
        return []


def _one(check, seed, planner):
    plan = planner(seed)
    # An alphabetic name: {dir} must need no quoting inside qemu-io commands.
    folder = tempfile.mkdtemp(prefix="imgchain-case-")
    try:
        generate.build(plan, folder)
        check(Chain(plan, folder))
        return plan, None
    except (Mismatch, generate.BuildError, subprocess.TimeoutExpired,
            json.JSONDecodeError) as error:
        return plan, f"{type(error).__name__}: {error}"
    finally:
        if "IMGCHAIN_SEED" in os.environ:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _report_failure(plan, text):
    print(f"\nFAILED: seed {plan.seed}: {text}")
    print(f"To see it again: IMGCHAIN_SEED={plan.seed} {sys.argv[0]}, or")
    for line in plan.script("/tmp/chain"):
        print(f"    {line}")


def _report_counts(counts):
    by_option = collections.defaultdict(dict)
    for (option, value), number in counts.items():
        by_option[option][value] = number
    print("\nlayers and requests by option value:")
    for option in sorted(by_option):
        values = by_option[option]
        order = sorted(values, key=lambda v: (v.isdigit() and int(v), v))
        print(f"  {option}: " + ", ".join(
            f"{value} {values[value]}" for value in order))


def run(check, default_number, first_seed, planner=generate.plan):
    """Call CHECK for chain after chain, as PLANNER makes them of seeds;
    returns the exit code."""
    for program in ("qemu-img", "qemu-io"):
        if not shutil.which(program):
            print(f"skipped: no {program}")
            return SKIP
    number = int(os.environ.get("IMGCHAIN_CASES", default_number))
    if "IMGCHAIN_SANITIZED" in os.environ:
        number = (number + 5) // 6
    seeds = range(first_seed, first_seed + number)
    if "IMGCHAIN_SEED" in os.environ:
        seeds = [int(os.environ["IMGCHAIN_SEED"])]
    counts = collections.Counter()
    failed = 0
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for plan, text in pool.map(
                lambda seed: _one(check, seed, planner), seeds):
            counts += plan.counts
            if text:
                failed += 1
                _report_failure(plan, text)
    _report_counts(counts)
    print(f"\n{len(seeds)} chains, {failed} failed, "
          f"{time.monotonic() - begin:.0f} s")
    missing = generate.wanted_values() - set(counts)
    if len(seeds) >= 300 and missing:
        print(f"option values never met: {sorted(missing)}")
        return 1
    return 1 if failed else 0
