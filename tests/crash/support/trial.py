# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a command once, and judges every state that a power loss during it
could have left behind.

A scenario makes the files, names the command and judges a state; trial.py
records the command's calls, generates the states (replay.py), and has a part
of them looked at by qemu-img as well.

IMGCHAIN_CASES=N   how many scenarios instead of the default
IMGCHAIN_SEED=N    only this one; its folder, and the state that was wrong,
                   are kept
"""

import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import calls
import disk
import qcow2
import replay

SKIP = 77
SAMPLE = 25  # one state in so many is looked at by qemu-img


class Wrong(Exception):
    """A state is not what was promised."""


def qemu(*command, cwd=None, codes=(0,)):
    """Stdout of one of QEMU's programs."""
    done = subprocess.run(command, cwd=cwd, check=False, text=True,
                          errors="backslashreplace", timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode not in codes:
        raise Wrong(f"{' '.join(command)}: exit {done.returncode}: "
                    f"{done.stdout} {done.stderr}")
    return done.stdout


def fast_folder():
    """Where files are made: memory if there is some."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Scenario:
    """Derived ones have build() and judge(state); args is the command."""

    def __init__(self, seed, folder, counts):
        self.seed = seed
        self.folder = folder
        self.rng = random.Random(seed)
        self.counts = counts
        self.args = []
        self.plan = None  # what goes wrong with it (calls.environment)
        self.images = {}  # file key -> (Image, problems)
        self.shown = {}   # file keys of a chain -> contents
        self.tracked = {}  # image -> its bitmaps, and contents, at first

    def pick(self, option, values):
        """One of VALUES, counted as covered."""
        value = self.rng.choice(values)
        self.counts[(option, str(value))] += 1
        return value

    def path(self, name):
        return os.path.join(self.folder, name)

    # -- making images

    def options(self):
        """Random qcow2 options for a small image."""
        rng = self.rng
        chosen = {"compat": self.pick("compat", ["0.10", "1.1", "1.1", "1.1"]),
                  "cluster_size": self.pick("cluster_size",
                                            [512, 1024, 4096, 16384, 65536])}
        if chosen["compat"] == "1.1":
            chosen["refcount_bits"] = self.pick("refcount_bits",
                                                [1, 8, 16, 16, 64])
            if rng.randrange(4) == 0:
                chosen["lazy_refcounts"] = self.pick("lazy_refcounts", ["on"])
            if chosen["cluster_size"] >= 16384 and rng.randrange(2):
                chosen["extended_l2"] = self.pick("extended_l2", ["on"])
        return chosen

    def external(self, name, options):
        """Some images have their data in a file of its own."""
        if options["compat"] != "1.1" or self.rng.randrange(5):
            return
        options["data_file"] = data_name(name)
        self.counts[("data_file", "yes")] += 1

    def bitmaps(self, name, options, size):
        """Some have bitmaps: one that follows writes, one that does not."""
        if options["compat"] != "1.1" or self.rng.randrange(3):
            return
        for extra in (["--add"], ["--add", "--disable"]):
            qemu("qemu-img", "bitmap", *extra, "-g",
                 str(self.rng.choice([512, 4096, 65536])), name,
                 "b" + extra[-1], cwd=self.folder)
        if self.rng.randrange(2):  # else they have no clusters yet
            self.scribble(name, "qcow2", size, 2)
        self.counts[("bitmaps", "yes")] += 1

    def snapshot(self, name, options, size):
        """Some have an internal snapshot, and changes since."""
        if options.get("refcount_bits") == 1 or "data_file" in options or \
                self.rng.randrange(3):
            return
        qemu("qemu-img", "snapshot", "-c", "s", name, cwd=self.folder)
        self.scribble(name, "qcow2", size, 2)
        self.counts[("snapshot", "yes")] += 1

    def create(self, name, options, size=None, backing=None,
               backing_fmt="qcow2"):
        command = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if options:
            command += ["-o", ",".join(f"{k}={v}"
                                       for k, v in options.items())]
        if backing:
            command += ["-b", backing, "-F", backing_fmt]
        command.append(name)
        if size is not None:
            command.append(str(size))
        qemu(*command, cwd=self.folder)

    def scribble(self, name, fmt, size, number, unit=512, extra=()):
        """NUMBER random writes, zeros and discards of multiples of UNIT."""
        rng = self.rng
        commands = []
        for _ in range(number):
            off = rng.randrange(size // unit) * unit
            longest = rng.choice([1, 4, 32, size // unit])
            length = min(size - off,
                         unit * rng.randrange(1, longest + 1))
            length = min(length, 160 << 10)
            verb = rng.choice(["w", "w", "w", "w", "z", *extra])
            if verb == "w":
                commands.append(f"write -q -P {rng.randrange(1, 256)} "
                                f"{off} {length}")
            elif verb == "z":
                commands.append(f"write -q -z {off} {length}")
            elif verb == "d":
                commands.append(f"discard -q {off} {length}")
        args = [arg for command in commands for arg in ("-c", command)]
        qemu("qemu-io", "-f", fmt, *args, name, cwd=self.folder)

    def compress(self, name, cluster, size, number):
        """Some compressed clusters."""
        args = []
        for _ in range(number):
            off = self.rng.randrange(max(size // cluster, 1)) * cluster
            if off + cluster <= size:
                args += ["-c", f"write -q -c -P {self.rng.randrange(1, 256)} "
                         f"{off} {cluster}"]
        if args:
            # QEMU refuses those that have data already.
            qemu("qemu-io", "-f", "qcow2", *args, name, cwd=self.folder,
                 codes=(0, 1))

    # -- judging

    def image(self, state, name):
        """The qcow2 image NAME of STATE, which must not be corrupt."""
        key = image_key(state, name)
        if key[0] is None:
            raise Wrong(f"{name} is not there")
        if key not in self.images:
            try:
                image = qcow2.Image(state.content(name),
                                    state.content(data_name(name)))
                problems = (qcow2.check_dirty(image)
                            if image.incompatible & qcow2.DIRTY
                            else image.check()[0])
            except qcow2.Broken as error:
                image, problems = None, [str(error)]
            self.images[key] = (image, problems)
        image, problems = self.images[key]
        if problems:
            raise Wrong(f"{name}: {'; '.join(problems[:5])}")
        return image

    def chain(self, state, name):
        """Files of the chain from NAME down, as the headers name them."""
        names = []
        while name:
            if name in names or len(names) > 20:
                raise Wrong(f"{name}: the chain has a loop")
            names.append(name)
            if name.endswith(".raw"):
                break
            backing = self.image(state, name).backing
            name = backing and os.path.normpath(
                os.path.join(os.path.dirname(name), backing))
        return names

    def contents(self, state, name):
        """What the guest sees of NAME."""
        names = self.chain(state, name)
        key = tuple(image_key(state, n) for n in names)
        if key not in self.shown:
            under = None
            for layer in reversed(names):
                try:
                    under = (state.content(layer) if layer.endswith(".raw")
                             else self.image(state, layer).contents(under))
                except qcow2.Broken as error:
                    raise Wrong(f"{layer}: {error}") from error
            if len(self.shown) > 256:
                self.shown.clear()
            self.shown[key] = under
        return self.shown[key]

    def judge_bitmaps(self, state, name):
        """A bitmap that claims to be right has a bit for each change since
        the first state; one that is disabled has those that it had."""
        image = self.image(state, name)
        shown = self.contents(state, name)
        if name not in self.tracked:
            self.tracked[name] = (shown, {
                entry[0]: image.bitmap_bits(*entry[3:])
                for entry in image.bitmap_entries()})
        before, bits_before = self.tracked[name]
        for title, flags, unit, *table in image.bitmap_entries():
            if flags & qcow2.BITMAP_IN_USE:
                continue
            want = bits_before[title] & ((1 << -(-len(shown) // unit)) - 1)
            bits = image.bitmap_bits(*table)
            if flags & qcow2.BITMAP_AUTO:
                wrong = (want | changed_bits(before, shown, unit)) & ~bits
            else:
                wrong = want ^ bits
            if wrong:
                raise Wrong(f"{name}: bitmap {title} is wrong at "
                            f"{(wrong & -wrong).bit_length() - 1} of "
                            f"{unit} bytes")

    def judge_done(self, durable, final):
        """What is DURABLE when a run has exited with 0 is what it made, the
        FINAL state: each name, and what the images show."""
        if set(durable.names) != set(final.names):
            raise Wrong(f"{sorted(durable.names)} outlive a power loss, of "
                        f"{sorted(final.names)}")
        for name, _ in self.tops():
            if self.contents(durable, name) != self.contents(final, name) or \
                    self.image(durable, name).backing != \
                    self.image(final, name).backing:
                raise Wrong(f"{name} is not durable")

    def tops(self):
        """The qcow2 images that qemu-img is to look at, and whether their
        whole chains are to be read."""
        return []

    def look(self, state, folder):
        """qemu-img sees no corruption and what the judge saw."""
        for name, is_read in self.tops():
            if name not in state.names or \
                    not state.content(name).startswith(b"QFI\xfb"):
                continue  # the judge has let it pass
            before = self.contents(state, name) if is_read else None
            dirty = self.image(state, name).incompatible & qcow2.DIRTY
            repair = "all" if dirty else "leaks"
            qemu("qemu-img", "check", "-q", "-f", "qcow2", "-r", repair, name,
                 cwd=folder)
            if not is_read:
                continue
            qemu("qemu-img", "convert", "-f", "qcow2", "-O", "raw", name,
                 "seen.raw", cwd=folder)
            with open(os.path.join(folder, "seen.raw"), "rb") as file:
                if file.read() != before:
                    raise Wrong(f"{name}: qemu-img shows something else")


def data_name(name):
    """What the external data file of the image NAME is called, if any."""
    return os.path.splitext(name)[0] + ".data"


def image_key(state, name):
    """Equal for equal contents of an image and of its data file."""
    return state.file_key(name), state.file_key(data_name(name))


def changed_bits(old, new, unit):
    """An integer: bit N is set when unit N of what both have differs."""
    bits = 0
    for off in range(0, min(len(old), len(new)), unit):
        end = min(off + unit, len(old), len(new))
        if old[off:end] != new[off:end]:
            bits |= 1 << off // unit
    return bits


def write_state(state, folder):
    """Make FOLDER hold STATE and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name in [*state.history.first_folders, *state.folders]:
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    write_files(state, folder)


def write_files(state, folder):
    """The files of STATE; two names of one are links."""
    made = {}
    for name in state.paths():
        full = os.path.join(folder, name)
        file = state.names[name]
        if file in made:
            os.link(made[file], full)
            continue
        made[file] = full
        with open(full, "wb") as opened:
            opened.write(state.content(name))


def check_model(history, folder):
    """All calls together give what is really there: nothing was missed."""
    state = replay.final(history)
    found = disk.History.of_folder(folder)
    if set(state.names) != set(found.first_names):
        raise Wrong(f"the log ends with {sorted(state.names)}, but there is "
                    f"{sorted(found.first_names)}")
    for name, file in found.first_names.items():
        if state.content(name) != found.contents[file]:
            raise Wrong(f"the log does not explain {name}")


def judge_all(scenario, history, work):
    """Every state; how many, and how many qemu-img looked at."""
    states_nr = looked_nr = 0
    place = os.path.join(work, "state")
    if scenario.plan is None:
        state = replay.durable(history)
        try:
            scenario.judge_done(state, replay.final(history))
        except Wrong as error:
            write_state(state, place)
            raise Wrong(f"{state.label}: {error}") from error
    for state in replay.states(history, scenario.rng):
        states_nr += 1
        try:
            scenario.judge(state)
            if scenario.rng.randrange(SAMPLE) == 0:
                write_state(state, place)
                scenario.look(state, place)
                looked_nr += 1
        except Wrong as error:
            write_state(state, place)
            raise Wrong(f"{state.label}: {error}") from error
    return states_nr, looked_nr


def run_scenario(make, seed, counts, work):
    folder = os.path.join(work, "files")
    os.makedirs(folder)
    scenario = make(seed, folder, counts)
    scenario.build()
    history = disk.History.of_folder(folder)
    log = calls.record(folder, scenario.args, os.path.join(work, "log"),
                       scenario.plan)
    history.add(log)
    check_model(history, folder)
    try:
        states_nr, looked_nr = judge_all(scenario, history, work)
    except Wrong as error:
        with open(os.path.join(work, "calls.txt"), "w",
                  encoding="utf-8") as file:
            for idx, call in enumerate(log):
                print(idx, call, call.result, file=file)
        raise Wrong(f"imgchain {' '.join(scenario.args)}: {error}") from error
    counts[("events", "calls")] += len(log)
    return states_nr, looked_nr


def run(make, default_number, first_seed, min_states, needed=()):
    """Main: exit code. NEEDED: options that must have been met."""
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no qemu-img or qemu-io")
        return SKIP
    only = os.environ.get("IMGCHAIN_SEED")
    number = int(os.environ.get("IMGCHAIN_CASES", default_number))
    seeds = [int(only)] if only else range(first_seed, first_seed + number)
    counts = collections.Counter()
    begin = time.monotonic()
    totals = [0, 0]
    for seed in seeds:
        work = tempfile.mkdtemp(prefix="imgchain-crash-", dir=fast_folder())
        try:
            found = run_scenario(make, seed, counts, work)
        except (Wrong, RuntimeError) as error:
            print(f"FAIL: IMGCHAIN_SEED={seed}: {error}")
            if only:
                print(f"kept: {work}")
            else:
                shutil.rmtree(work)
            return 1
        totals = [a + b for a, b in zip(totals, found)]
        shutil.rmtree(work)
    for (option, value), count in sorted(counts.items()):
        print(f"{count:7} {option} {value}")
    print(f"{totals[0]} states of {len(seeds)} runs, {totals[1]} of them "
          f"looked at by qemu-img, {time.monotonic() - begin:.0f} s")
    if only or number < default_number:
        return 0
    missing = [option for option in needed
               if not any(key[0] == option for key in counts)]
    if missing or totals[0] < min_states:
        print(f"FAIL: not met: {missing}; {totals[0]} states, expected "
              f"at least {min_states}")
        return 1
    return 0


def main(*args, **options):
    sys.exit(run(*args, **options))
