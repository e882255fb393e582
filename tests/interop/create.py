#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""create makes what qemu-img create makes, and what validate accepts.

1. Random options, sizes and backing files, given to both programs in the same
   folder: both accept or both refuse; then qemu-img info tells the same of
   both images, and qemu-img check finds nothing.
2. create --for over generated chains, from folders reached through symbolic
   links: validate accepts what was made, and the guest sees what it should.
3. What is only imgchain's: existing files, files in use, devices, plans.

IMGCHAIN_CASES=N  how many random requests (a twelfth of it chains)
IMGCHAIN_SEED=N   only this request and this chain
"""

import collections
import concurrent.futures
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import generate  # noqa: E402

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
MIB = 1 << 20
SKIP = 77


class Failed(Exception):
    """imgchain did not do as it should."""


def run(*command, cwd, **more):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True,
                          errors="surrogateescape", timeout=120, check=False,
                          **more)


def must(*command, cwd, **more):
    done = run(*command, cwd=cwd, **more)
    if done.returncode != 0:
        raise Failed(f"{command}: exit {done.returncode}: {done.stderr}")
    return done.stdout


# ---- 1. The same request to both programs.

# Values of -o: good ones, bad ones.
OPTIONS = {
    "compat": (["0.10", "1.1", "1.1", "v2", "v3"], ["1.0"]),
    "cluster_size": (["512", "4k", "16k", "64k", "128k", "2M", "65536"],
                     ["256", "4M", "3k"]),
    "refcount_bits": (["1", "2", "4", "8", "16", "16", "32", "64"],
                      ["3", "128"]),
    "lazy_refcounts": (["on", "off", "yes"], ["maybe"]),
    "extended_l2": (["on", "on", "off", "true"], ["perhaps"]),
    "compression_type": (["zlib", "zstd"], ["lz4"]),
    "preallocation": (["off", "metadata", "falloc", "full"], ["some"]),
    "data_file": (["data", "data", "d/data"], ["missing/data"]),
    "data_file_raw": (["on", "off"], ["both"]),
    "nocow": (["on", "off"], ["maybe"]),
}
RAW_OPTIONS = {
    "preallocation": (["off", "falloc", "full"], ["metadata"]),
    "nocow": (["on", "off"], ["maybe"]),
    "extent_size_hint": (["64k", "1M"], ["8E"]),
}
SIZES = (["1M", "1M", "3M", "2097152", "64k", "0", "1000", "1.5M", "10G",
          "16T"], ["64P", "8E", "1x", ""])
SMALL = ["1M", "3M", "2097152", "64k", "0", "1000", "1.5M"]
BACKINGS = ([("base.qcow2", "qcow2"), ("d/mid.qcow2", "qcow2"),
             ("odd.raw", "raw"), ("base.qcow2", "raw")],
            [("odd.raw", "qcow2"), ("missing", "qcow2"), ("d", "raw"),
             ("base.qcow2", None), ("base.qcow2", "nonsense"), ("", "qcow2"),
             (None, "qcow2")])
STYLES = ["relative", "relative", "absolute", "file:", "json:"]
PATHS = (["new.img", "new.img", "d/new.img", "link/new.img"],
         ["missing/new.img", "d"])
FORMATS = (["qcow2"] * 4 + ["raw"], ["nonsense"])


FIRST_SEED = 71000
# Everything that can be wrong with a request, one by one.
WRONG = [(what, bad) for what, (_, values) in
         (("format", FORMATS), ("path", PATHS), ("size", SIZES),
          ("backing", BACKINGS)) for bad in values] + [
    ("option", f"{name}={bad}") for table in (OPTIONS, RAW_OPTIONS)
    for name, (_, values) in table.items() for bad in values] + [
    ("option", "unknown=1"), ("option", "backing_fmt=qcow2"),
    ("option", "backing_file=missing,backing_fmt=qcow2")]


class Request:
    """Arguments for both programs, by seed."""

    def __init__(self, seed, folder):
        self.rng = random.Random(f"create {seed}")
        self.counts = collections.Counter()
        self.folder = folder
        # Where something is wrong, mostly only one thing is: each thing that
        # can be in turn, then one by chance.
        self.bad = None
        self.wrong = self.rng.choice([""] * 9 + ["format", "path", "size",
                                                 "backing"] + ["option"] * 4)
        if seed - FIRST_SEED in range(len(WRONG)):
            self.wrong, self.bad = WRONG[seed - FIRST_SEED]
        self.fmt = self.pick("format", FORMATS)
        self.path = self.pick("path", PATHS)
        self.size = self.pick("size", SIZES)
        args = ["-f", self.fmt]
        args += self.backing()
        args += self.options()
        self.args = args + [self.path] + ([self.size] if self.size else [])
        self.count("size", self.size or "none")
        self.count("format", self.fmt)
        self.count("path", self.path)

    def count(self, option, value):
        self.counts[(option, str(value))] += 1

    def pick(self, what, values):
        good, bad = values
        if self.wrong != what:
            return self.rng.choice(good)
        return self.bad if self.bad is not None else self.rng.choice(bad)

    def backing(self):
        rng = self.rng
        if self.wrong != "backing" and (self.fmt == "raw" or
                                        rng.random() < 0.5):
            self.count("backing", "not given")
            return []
        name, fmt = self.pick("backing", BACKINGS)
        style = rng.choice(STYLES)
        self.count("backing", f"{name} as {fmt}")
        if self.wrong != "size" and rng.random() < 0.4:
            self.size = ""
        args = []
        if name:
            self.count("backing name", style)
            name = self.styled(name, fmt, style)
        if name is not None:
            args += ["-b", name]
        if fmt:
            args += ["-F", fmt]
        if rng.random() < 0.15:
            args.append("-u")
            self.count("backing", "unchecked")
        return args

    def styled(self, name, fmt, style):
        full = os.path.join(self.folder, name)
        if style == "relative":
            return os.path.relpath(name, os.path.dirname(self.path) or ".")
        node = {"driver": fmt or "qcow2",
                "file": {"driver": "file", "filename": full}}
        return {"absolute": full, "file:": "file:" + full,
                "json:": "json:" + json.dumps(node)}[style]

    def options(self):
        rng = self.rng
        table = RAW_OPTIONS if self.fmt == "raw" else OPTIONS
        if self.wrong == "option" and self.bad:
            return ["-o", self.bad]
        names = rng.sample(sorted(table), min(len(table), rng.choice(
            [0, 1, 1, 2, 2, 3, 4])))
        if self.wrong == "option" and not names:
            names = [rng.choice(sorted(table))]
        bad = names[0] if self.wrong == "option" else None
        words = [self.option(table, name, name == bad) for name in names]
        if rng.random() < 0.05:
            words.append("size=2M")
            self.count("size", "as an option")
        return ["-o", ",".join(words)] if words else []

    def option(self, table, name, is_bad):
        value = self.rng.choice(table[name][is_bad])
        self.count(name, value)
        # Raw data files have their metadata preallocated.
        if (name in ("preallocation", "data_file_raw")
                and self.size in ("10G", "16T")):
            self.size = self.rng.choice(SMALL)
        if name == "data_file" and "/" in self.path:
            # QEMU takes it from the working directory.
            value = os.path.join(self.folder, value)
        return f"{name}={value}"


def prepare(folder):
    """Files that requests name."""
    os.mkdir(os.path.join(folder, "d"))
    os.symlink("d", os.path.join(folder, "link"))
    must("qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "1M",
         cwd=folder)
    must("qemu-img", "create", "-q", "-f", "qcow2", "-b", "../base.qcow2",
         "-F", "qcow2", "d/mid.qcow2", cwd=folder)
    with open(os.path.join(folder, "odd.raw"), "wb") as file:
        file.write(b"raw bytes" * 100000)


MADE = ("new.img", "d/new.img", "data", "d/data")


def info(request, folder):
    """What qemu-img finds; of a raw image or data file, its bytes."""
    facts = {}
    path = request.path
    if request.fmt == "qcow2":
        told = json.loads(must("qemu-img", "info", "-U", "--output=json", "-f",
                               "qcow2", path, cwd=folder))
        for key in ("actual-size", "filename"):
            told.pop(key)
        facts["info"] = told
        checked = run("qemu-img", "check", "-q", "-f", "qcow2", path,
                      cwd=folder)
        facts["check"] = (checked.returncode, checked.stderr)
    for name in (path, "data", "d/data"):
        full = os.path.join(folder, name)
        if os.path.isfile(full) and not (name == path and
                                         request.fmt == "qcow2"):
            facts[name] = os.stat(full).st_size
    # What is preallocated, qemu-img counts in subclusters, the last one too.
    if "info" in facts and "preallocation=" in " ".join(request.args):
        for name in {"data", "d/data"} & set(facts):
            facts[name] = min(facts[name], facts["info"]["virtual-size"])
    return facts


def try_program(program, request, folder):
    """Exit code, what it said, what was made. The files go."""
    done = run(program, "create", "-q", *request.args, cwd=folder)
    facts = None
    if done.returncode == 0:
        facts = info(request, folder)
    left = [name for name in MADE if os.path.exists(os.path.join(folder, name))]
    for name in left:
        os.unlink(os.path.join(folder, name))
    return done, facts, left


def check_request(seed, folder):
    request = Request(seed, folder)
    before = sorted(os.listdir(folder)) + sorted(
        os.listdir(os.path.join(folder, "d")))
    peer, expected, _ = try_program("qemu-img", request, folder)
    ours, found, left = try_program(IMGCHAIN, request, folder)
    where = f"create {' '.join(map(repr, request.args))}"
    if (peer.returncode == 0) != (ours.returncode == 0):
        raise Failed(f"{where}: qemu-img: exit {peer.returncode} "
                     f"{peer.stderr!r}; imgchain: exit {ours.returncode} "
                     f"{ours.stderr!r}")
    request.count("both", "accept" if peer.returncode == 0 else "refuse")
    if peer.returncode == 0:
        # A backing file that is not there cannot be checked through.
        if found != expected or (found.get("check", (0,))[0] != 0
                                 and "-u" not in request.args):
            raise Failed(f"{where}: found {found}, expected {expected}")
    else:
        if left:
            raise Failed(f"{where}: refused, but left {left}")
        if not ours.stderr.startswith("imgchain: ") or \
                ours.stderr.count("\n") > 2:
            raise Failed(f"{where}: says {ours.stderr!r}")
    after = sorted(os.listdir(folder)) + sorted(
        os.listdir(os.path.join(folder, "d")))
    if before != after:
        raise Failed(f"{where}: left {set(after) - set(before)}")
    return request.counts


WANTED = {(name, value) for table in (OPTIONS, RAW_OPTIONS)
          for name, (values, _) in table.items() for value in values} | {
    ("both", "accept"), ("both", "refuse"), ("backing", "unchecked"),
    ("size", "as an option")} | {
    ("backing", f"{name} as {fmt}") for name, fmt in BACKINGS[0]} | {
    ("backing name", style) for style in STYLES} | {
    ("path", path) for path in PATHS[0]} | {
    ("size", size) for size in SIZES[0]}


# ---- 2. What validate accepts.

OPERATIONS = {
    "snapshot": ["snapshot"],
    "copy": ["copy"],
    "shallow-copy": ["copy", "--shallow"],
}


def place(chain_rng, folder):
    """A path for the new image, spelled in one of many ways."""
    far = os.path.join(folder, "far", "deep")
    os.makedirs(far, exist_ok=True)
    for name, target in (("short", "far/deep"), ("far/back", "..")):
        full = os.path.join(folder, name)
        if not os.path.islink(full):
            os.symlink(target, full)
    spelled = chain_rng.choice(["", "far", "far/deep", "short", "far/back/far",
                                "far/deep/../deep", "short/.."])
    return os.path.join(spelled, "new: a,b.qcow2"), spelled or "."


def check_for(seed, folder):
    plan = generate.plan(seed)
    generate.build(plan, folder)
    rng = random.Random(f"create for {seed}")
    counts = collections.Counter()
    top = plan.top
    for operation, words in OPERATIONS.items():
        path, spelled = place(rng, folder)
        if rng.random() < 0.5:
            path = os.path.join(folder, path)
        style = rng.choice([[], [], ["--relative"], ["--absolute"]])
        source = ["--source", top.path, "--source-format", top.fmt]
        done = run(IMGCHAIN, "create", "--for", operation, *source, *style,
                   "--", path, cwd=folder)
        dest = os.path.join(folder, path)
        require = "absolute" if "--absolute" in style else "relative"
        judged = run(IMGCHAIN, "validate", *words, *source, "--dest", path,
                     "--dest-format", "qcow2", "--require", require,
                     cwd=folder)
        if done.returncode != 0:
            # What it refuses could not have been made to be accepted.
            if os.path.exists(dest):
                raise Failed(f"{operation}: refused, but {path} is there")
            compare_refusal(plan, operation, words, source, folder, done)
            counts[("--for " + operation, "refused")] += 1
            continue
        if judged.returncode != 0:
            raise Failed(f"create --for {operation} {path}: validate exit "
                         f"{judged.returncode}: {judged.stdout} "
                         f"{judged.stderr}")
        see(operation, plan, dest, folder)
        counts[("--for " + operation, "accepted")] += 1
        counts[("spelled", spelled)] += 1
        counts[("style", (style or ["default"])[0])] += 1
        os.unlink(dest)
    return counts


def compare_refusal(plan, operation, words, source, folder, done):
    """As qemu-img would make it, validate does not accept it either."""
    top = plan.top
    backing = []
    if operation == "snapshot":
        backing = ["-u", "-b", os.path.join(folder, top.path), "-F", top.fmt]
    elif operation == "shallow-copy" and len(plan.layers) > 1:
        lower = plan.layers[1]
        backing = ["-u", "-b", os.path.join(folder, lower.path), "-F",
                   lower.fmt]
    size = json.loads(must("qemu-img", "info", "-U", "--output=json", "-f",
                           top.fmt, top.path, cwd=folder))["virtual-size"]
    must("qemu-img", "create", "-q", "-f", "qcow2", *backing, "peer.qcow2",
         str(size), cwd=folder)
    judged = run(IMGCHAIN, "validate", *words, *source, "--dest",
                 "peer.qcow2", "--dest-format", "qcow2", cwd=folder)
    os.unlink(os.path.join(folder, "peer.qcow2"))
    if judged.returncode == 0:
        raise Failed(f"create --for {operation} refuses ({done.stderr!r}), "
                     "and validate accepts what qemu-img makes")


def see(operation, plan, dest, folder):
    """qemu-img opens it, finds nothing wrong, and sees what it should."""
    if plan.is_readable:
        must("qemu-img", "check", "-q", "-f", "qcow2", dest, cwd=folder)
    if operation == "snapshot" and plan.is_readable:
        must("qemu-img", "compare", "-q", "-f", plan.top.fmt, "-F", "qcow2",
             plan.top.path, dest, cwd=folder)
    told = json.loads(must("qemu-img", "info", "--output=json", "-f", "qcow2",
                           dest, cwd=folder))
    want = operation == "snapshot" or (operation == "shallow-copy" and
                                       len(plan.layers) > 1)
    if ("backing-filename" in told) != want:
        raise Failed(f"--for {operation}: {told}")
    cluster = plan.top.options.get("cluster_size")
    if cluster and told["cluster-size"] != cluster:
        raise Failed(f"--for {operation}: clusters of {told['cluster-size']}, "
                     f"the source has {cluster}")


# ---- 3. imgchain's own.

def says(done, code, text):
    if done.returncode != code or text not in done.stderr:
        raise Failed(f"{done.args[1:]}: exit {done.returncode} "
                     f"{done.stderr!r}, expected {code} {text!r}")


def case_replaces_in_one_step(folder):
    path = os.path.join(folder, "a.qcow2")
    must("qemu-img", "create", "-q", "-f", "raw", "a.qcow2", "1M", cwd=folder)
    os.chmod(path, 0o640)
    old = os.open(path, os.O_RDONLY)
    must(IMGCHAIN, "create", "-f", "qcow2", "a.qcow2", "2M", cwd=folder)
    now = os.stat(path)
    if now.st_ino == os.fstat(old).st_ino or os.fstat(old).st_nlink != 0 or \
            os.fstat(old).st_size != MIB:
        raise Failed("the old file was written")
    if stat.S_IMODE(now.st_mode) != 0o640:
        raise Failed(f"mode {now.st_mode:o}")
    os.close(old)


def case_in_use_is_refused(folder):
    must("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M",
         cwd=folder)
    must("qemu-img", "create", "-q", "-f", "qcow2", "b.qcow2", "1M",
         cwd=folder)
    with subprocess.Popen(
            ["qemu-io", "-f", "qcow2", "-c", "sleep 100000", "a.qcow2"],
            cwd=folder, stdout=subprocess.DEVNULL) as holder:
        try:
            wait_for_lock(folder, "a.qcow2")
            who = f"process {holder.pid} (qemu-io"
            for args in (["-f", "qcow2", "a.qcow2", "1M"],
                         ["-f", "qcow2", "--dry-run", "a.qcow2", "1M"],
                         ["-f", "raw", "a.qcow2", "1M"],
                         ["-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2",
                          "c.qcow2"],
                         ["--for", "snapshot", "--source", "a.qcow2",
                          "c.qcow2"]):
                done = run(IMGCHAIN, "create", *args, cwd=folder)
                says(done, 1, who)
            # A data file that is there is none's to replace, used or not.
            done = run(IMGCHAIN, "create", "-f", "qcow2", "-o",
                       "data_file=a.qcow2", "c.qcow2", "1M", cwd=folder)
            says(done, 1, "a.qcow2: exists already")
            # The overlay of a running guest's disk is made all the same.
            must(IMGCHAIN, "create", "-U", "--for", "snapshot", "--source",
                 "a.qcow2", "--source-format", "qcow2", "c.qcow2", cwd=folder)
            must(IMGCHAIN, "validate", "snapshot", "-U", "--source",
                 "a.qcow2", "--dest", os.path.join(folder, "c.qcow2"),
                 "--dest-format", "qcow2", cwd=folder)
        finally:
            holder.kill()


def wait_for_lock(folder, name):
    for _ in range(200):
        if run("qemu-img", "info", name, cwd=folder).returncode != 0:
            return
        time.sleep(0.05)
    raise Failed("qemu-io does not take its locks")


def case_loops_are_refused(folder):
    must("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M",
         cwd=folder)
    must("qemu-img", "create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F",
         "qcow2", "b.qcow2", cwd=folder)
    os.link(os.path.join(folder, "a.qcow2"), os.path.join(folder, "hard"))
    os.symlink("a.qcow2", os.path.join(folder, "soft"))
    for path in ("a.qcow2", "hard", "soft", "./a.qcow2"):
        for backing in ("b.qcow2", "./b.qcow2"):
            done = run(IMGCHAIN, "create", "-f", "qcow2", "-b", backing, "-F",
                       "qcow2", path, cwd=folder)
            says(done, 1, "the new file would take the place of")
    done = run(IMGCHAIN, "create", "-f", "qcow2", "-u", "-b", "./x", "-F",
               "qcow2", "x", "1M", cwd=folder)
    says(done, 1, "the new image would be its own backing file")
    done = run(IMGCHAIN, "create", "-f", "qcow2", "-o",
               "data_file=./y", "y", "1M", cwd=folder)
    says(done, 1, "the image and its data file would be one file")
    done = run(IMGCHAIN, "create", "--for", "copy", "--source", "b.qcow2",
               "hard", cwd=folder)
    says(done, 1, "the new file would take the place of")


def case_depth_is_bounded(folder):
    must("qemu-img", "create", "-q", "-f", "qcow2", "0", "64k", cwd=folder)
    for idx in range(1, 200):
        must("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b",
             str(idx - 1), "-F", "qcow2", str(idx), "64k", cwd=folder)
    done = run(IMGCHAIN, "create", "-f", "qcow2", "-b", "199", "-F", "qcow2",
               "200", cwd=folder)
    says(done, 1, "the chain would have 201 layers: expected at most 200")
    must(IMGCHAIN, "create", "-q", "-f", "qcow2", "-b", "198", "-F", "qcow2",
         "200", cwd=folder)


def case_plan_writes_nothing(folder):
    must("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M",
         cwd=folder)
    before = [(e.name, e.stat().st_mtime_ns) for e in os.scandir(folder)]
    for args in (["-f", "qcow2", "b.qcow2", "1M"],
                 ["-f", "qcow2", "a.qcow2", "2M"],
                 ["-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2"],
                 ["--for", "snapshot", "--source", "a.qcow2", "b.qcow2"],
                 ["--for", "copy", "--source", "a.qcow2", "b.qcow2"],
                 ["-f", "raw", "-o", "preallocation=full", "r", "1M"]):
        must(IMGCHAIN, "create", "--dry-run", *args, cwd=folder)
    after = [(e.name, e.stat().st_mtime_ns) for e in os.scandir(folder)]
    if sorted(before) != sorted(after):
        raise Failed(f"--dry-run: {before} became {after}")


def case_relative_and_absolute(folder):
    os.makedirs(os.path.join(folder, "one/two"))
    os.makedirs(os.path.join(folder, "other"))
    os.symlink("../other", os.path.join(folder, "one/away"))
    must("qemu-img", "create", "-q", "-f", "qcow2", "one/base.qcow2", "1M",
         cwd=folder)
    base = os.path.join(folder, "one/base.qcow2")
    for path, want in (("one/a", "base.qcow2"), ("one/two/b", "../base.qcow2"),
                       ("one/away/c", "../one/base.qcow2"),
                       ("d", "one/base.qcow2")):
        must(IMGCHAIN, "create", "-q", "-f", "qcow2", "-b", base, "-F",
             "qcow2", "--relative", path, cwd=folder)
        told = json.loads(must("qemu-img", "info", "--output=json", path,
                               cwd=folder))
        if told["backing-filename"] != want:
            raise Failed(f"{path}: {told['backing-filename']}, not {want}")
        must("qemu-img", "map", path, cwd=folder)
    must(IMGCHAIN, "create", "-q", "-f", "qcow2", "-b", "../base.qcow2", "-F",
         "qcow2", "--absolute", "one/two/e", cwd=folder)
    told = json.loads(must("qemu-img", "info", "--output=json", "one/two/e",
                           cwd=folder))
    if told["backing-filename"] != os.path.realpath(base):
        raise Failed(f"--absolute: {told['backing-filename']}")


def case_device_in_place(folder):
    """A loop device: qcow2 and raw, and one that is too small."""
    if os.geteuid() != 0 or not shutil.which("losetup"):
        raise Skipped("no loop devices")
    with open(os.path.join(folder, "disk"), "wb") as file:
        file.truncate(4 * MIB)
        file.write(b"QFI\xfb")
    device = run("losetup", "--show", "-f", "disk", cwd=folder).stdout.strip()
    if not device:
        raise Skipped("no loop devices")
    try:
        must(IMGCHAIN, "create", "-q", "-f", "qcow2", device, "64M",
             cwd=folder)
        told = json.loads(must("qemu-img", "info", "--output=json", "-f",
                               "qcow2", device, cwd=folder))
        if told["virtual-size"] != 64 * MIB:
            raise Failed(f"{told}")
        must("qemu-img", "check", "-q", "-f", "qcow2", device, cwd=folder)
        must(IMGCHAIN, "create", "-q", "-f", "raw", device, "4M", cwd=folder)
        told = json.loads(must("qemu-img", "info", "--output=json", device,
                               cwd=folder))
        if told["format"] != "raw" or told["virtual-size"] != 4 * MIB:
            raise Failed(f"after create -f raw: {told}")
        done = run(IMGCHAIN, "create", "-f", "raw", device, "5M", cwd=folder)
        says(done, 1, "the device has 4194304 bytes: expected at least "
                      "5242880")
    finally:
        must("losetup", "-d", device, cwd=folder)


def case_unusable_sources(folder):
    """create --for refuses what no image could be right for."""
    must("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M",
         cwd=folder)
    must("qemu-img", "create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F",
         "qcow2", "b.qcow2", cwd=folder)
    must("qemu-img", "create", "-q", "-f", "vhdx", "v.vhdx", "1M", cwd=folder)
    for args, text in (
            (["snapshot", "--source", "b.qcow2", "-f", "raw"],
             "an overlay cannot be raw"),
            (["shallow-copy", "--source", "b.qcow2", "-f", "raw"],
             "the raw target of a shallow copy has to hold"),
            (["snapshot", "--source", "b.qcow2", "-o", "data_file=d"],
             "features-usable: "),
            (["snapshot", "--source", "b.qcow2", "-o", "size=3M"],
             "which follows from the active layer"),
            (["snapshot", "--source", "missing"], "missing: "),
            (["snapshot", "--source", "v.vhdx"],
             "backing-portable: libvirt does not know the recorded backing "
             "format"),
    ):
        done = run(IMGCHAIN, "create", "--for", *args, "new", cwd=folder)
        says(done, 1, text)
        if os.path.exists(os.path.join(folder, "new")):
            raise Failed(f"{args}: refused, but it is there")
    os.unlink(os.path.join(folder, "a.qcow2"))
    for operation in OPERATIONS:
        done = run(IMGCHAIN, "create", "--for", operation, "--source",
                   "b.qcow2", "new", cwd=folder)
        says(done, 1, "a.qcow2: ")


def case_options_go_before(folder):
    must("qemu-img", "create", "-q", "-f", "qcow2", "-o",
         "cluster_size=128k,extended_l2=on,compression_type=zstd", "a.qcow2",
         "1M", cwd=folder)
    for options, want in (
            ([], (131072, True, "zstd", "1.1")),
            (["-o", "cluster_size=4k"], (4096, False, "zstd", "1.1")),
            (["-o", "extended_l2=off"], (131072, False, "zstd", "1.1")),
            (["-o", "compat=0.10"], (131072, False, "zlib", "0.10"))):
        must(IMGCHAIN, "create", "-q", "--for", "snapshot", "--source",
             "a.qcow2", "--source-format", "qcow2", *options, "b.qcow2",
             cwd=folder)
        told = json.loads(must("qemu-img", "info", "--output=json", "b.qcow2",
                               cwd=folder))
        data = told["format-specific"]["data"]
        found = (told["cluster-size"], data.get("extended-l2", False),
                 data["compression-type"], data["compat"])
        if found != want:
            raise Failed(f"{options}: found {found}, expected {want}")


def case_space_is_checked(folder):
    """A file system that is too small, before anything is written."""
    if os.geteuid() != 0:
        raise Skipped("not the superuser")
    small = os.path.join(folder, "small")
    os.mkdir(small)
    if run("mount", "-t", "tmpfs", "-o", "size=2M", "none", small,
           cwd=folder).returncode != 0:
        raise Skipped("no tmpfs")
    try:
        for options, fmt in (("preallocation=full", "raw"),
                             ("preallocation=falloc", "qcow2")):
            done = run(IMGCHAIN, "create", "-f", fmt, "-o", options,
                       "small/a", "64M", cwd=folder)
            says(done, 1, "there is not enough space for it: found ")
            if os.listdir(small):
                raise Failed(f"left {os.listdir(small)}")
    finally:
        must("umount", small, cwd=folder)


class Skipped(Exception):
    """The case cannot be made here."""


# ---- All.

def in_folder(check, *args):
    folder = os.path.realpath(tempfile.mkdtemp(prefix="imgchain-create-"))
    try:
        return check(*args, folder)
    finally:
        if "IMGCHAIN_SEED" in os.environ:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def one_request(seed):
    def check(folder):
        prepare(folder)
        return check_request(seed, folder)
    return in_folder(check)


def one_chain(seed):
    return in_folder(check_for, seed)


def one_case(case):
    return in_folder(case) or collections.Counter({("case", case.__name__): 1})


def attempt(task):
    function, argument = task
    try:
        return function(argument), None
    except Skipped as why:
        print(f"skipped: {argument.__name__}: {why}")
        return collections.Counter(), None
    except (Failed, generate.BuildError, subprocess.TimeoutExpired) as error:
        name = getattr(argument, "__name__", argument)
        return collections.Counter(), (f"{function.__name__} {name}: {error}\n"
                                       f"    again: IMGCHAIN_SEED={name}")


def tasks():
    seed = os.environ.get("IMGCHAIN_SEED")
    if seed:
        return [(one_request, int(seed)), (one_chain, int(seed))]
    number = int(os.environ.get("IMGCHAIN_CASES", 360))
    if "IMGCHAIN_SANITIZED" in os.environ:
        number = (number + 5) // 6
    cases = [value for name, value in sorted(globals().items())
             if name.startswith("case_")]
    return ([(one_request, FIRST_SEED + i) for i in range(number)]
            + [(one_chain, FIRST_SEED + i) for i in range(number // 12)]
            + [(one_case, case) for case in cases])


def main():
    for program in ("qemu-img", "qemu-io"):
        if not shutil.which(program):
            print(f"skipped: no {program}")
            return SKIP
    counts = collections.Counter()
    failures = []
    todo = tasks()
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for counted, failure in pool.map(attempt, todo):
            counts += counted
            if failure:
                failures.append(failure)
                print(f"FAILED: {failure}")
    by_option = collections.defaultdict(dict)
    for (option, value), number in counts.items():
        by_option[option][value] = number
    for option in sorted(by_option):
        print(f"  {option}: " + ", ".join(
            f"{value} {number}" for value, number
            in sorted(by_option[option].items())))
    print(f"{len(todo)} checks, {len(failures)} failed, "
          f"{time.monotonic() - begin:.0f} s")
    missing = WANTED - set(counts)
    if len(todo) >= 400 and missing:
        print(f"never met: {sorted(missing)}")
        return 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
