#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""imgchain check against qemu-img check: the same counts and exit codes.

Images of many kinds are made with qemu-img and qemu-io, checked as they are
and again with each kind of damage. Where imgchain is stricter or more lenient
than QEMU, it must be one of STRICTER, MORE_LENIENT or BEYOND, each with its
reason. With threads imgchain says the same, byte for byte.

CHECK_SEED and CHECK_ROUNDS choose the damage and how much of each kind;
CHECK_KEEP is a folder for the images that failed.
"""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import peers  # noqa: E402
from image import Image  # noqa: E402
from kinds import DAMAGE  # noqa: E402

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
SEED = int(os.environ.get("CHECK_SEED", "1"))
ROUNDS = int(os.environ.get("CHECK_ROUNDS", "6"))
if "IMGCHAIN_SANITIZED" in os.environ:
    ROUNDS = (ROUNDS + 2) // 3
KEEP = os.environ.get("CHECK_KEEP")
MIB = 1 << 20

KEYS = ["corruptions", "leaks", "check-errors", "total-clusters",
        "allocated-clusters", "fragmented-clusters", "compressed-clusters",
        "image-end-offset"]

# What imgchain refuses to open though QEMU checks it, and why.
STRICTER = [
    (r"^header: found \d+ bytes|^header extension 0x\w+: found length",
     "a header that is cut off is an upload that is cut off"),
    (r"^header_length|^header padding",
     "fields of which the specification leaves no choice"),
    (r"^backing_file_(offset|size)|^backing file name|^backing format",
     "a backing file name that readers would see differently"),
    (r"^header extension 0x\w+: found twice|^header extensions: found",
     "readers differ in which of two extensions they take"),
    (r"^data file name",
     "a reference to a file that the image says it does not have"),
    (r"^crypto header",
     "an encryption header that no key can be read from"),
    (r"^nb_bitmaps|^bitmap_directory_|^bitmaps extension|^bitmap ",
     "bitmaps are read whole or not at all"),
]
# What QEMU does not open and imgchain checks all the same, and why.
MORE_LENIENT = [
    (r"encrypt.key-secret|requires a key|AES-CBC encrypted",
     "a check needs no key"),
    (r"Could not read bitmap '.*' from image: Invalid argument",
     "a bitmap may have more bits than the disk"),
    (r"snapshot table offset invalid",
     "a table without entries lies nowhere"),
]
# Counted on top of what QEMU counts, and why.
BEYOND = {
    "data-file-offset": "QEMU fails to read such a cluster",
    "data-file-too-short": "data that is missing",
    "zero-bit-in-version-2": "QEMU fails to read such a cluster",
    "copied-without-offset": "forbidden without an external data file",
    "compressed-past-end": "nothing of the cluster is there",
    "cannot-be-opened": "no command opens the image",
}

OPTIONS = [
    "compat=0.10",
    "compat=0.10,cluster_size=512",
    "compat=0.10,cluster_size=4k,preallocation=metadata",
    "",
    "cluster_size=512",
    "cluster_size=1k,refcount_bits=1",
    "cluster_size=4k,refcount_bits=2",
    "cluster_size=8k,refcount_bits=4",
    "cluster_size=2k,refcount_bits=8",
    "cluster_size=16k,refcount_bits=32",
    "cluster_size=4k,refcount_bits=64",
    "cluster_size=2M",
    "cluster_size=256k,lazy_refcounts=on",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "extended_l2=on,cluster_size=256k,compression_type=zstd",
    "compression_type=zstd",
    "preallocation=metadata",
    "cluster_size=4k,preallocation=falloc",
    "data_file={data}",
    "data_file={data},data_file_raw=on,cluster_size=4k",
    "data_file={data},extended_l2=on",
    "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,"
    "cluster_size=4k",
]


def run(*args, ok=True):
    done = subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, check=False)
    if ok and done.returncode != 0:
        sys.exit("%s: %s" % (" ".join(args), done.stderr.decode()))
    return done


SECRET = ["--object", "secret,id=s,data=check"]


def qemu_io(path, commands, is_encrypted=False):
    args = ["qemu-io"] + ([*SECRET, "--image-opts"] if is_encrypted
                          else ["-f", "qcow2"])
    for command in commands:
        args += ["-c", command]
    run(*args, "driver=qcow2,encrypt.key-secret=s,file.filename=" + path
        if is_encrypted else path)


class Images:
    """Makes the undamaged images; each is a (name, path)."""

    def __init__(self, folder):
        self.folder = folder
        self.rng = random.Random(SEED)
        self.made = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def fill(self, path, size, is_encrypted=False):
        commands = []
        for _ in range(self.rng.choice([3, 12, 40])):
            off = self.rng.randrange(size // 512) * 512
            length = min(self.rng.choice([512, 4096, 65536, 200 * 1024]),
                         size - off)
            verb = self.rng.choice(
                ["write -P 7", "write -P 9", "write -z", "write -z -u",
                 "discard"])
            commands.append("%s %d %d" % (verb, off, length))
        qemu_io(path, commands, is_encrypted)

    def make(self, number, options):
        name = "%02d" % number
        path = self.path(name + ".qcow2")
        size = self.rng.choice([1, 3, 9]) * MIB + self.rng.choice([0, 512])
        options = options.format(data=self.path(name + ".data"))
        create = ["qemu-img", "create", "-q", *SECRET, "-f", "qcow2", "-o",
                  options or "compat=1.1", path, str(size)]
        done = peers.run(create)
        if done.returncode != 0:
            sys.exit("%s: %s" % (" ".join(create), done.stderr))
        small = "refcount_bits=1" in options and "," in options
        is_encrypted = "encrypt" in options
        self.fill(path, size, is_encrypted)
        self.made.append((name + " " + options, path))
        if "data_file" in options or is_encrypted:
            return
        if not small:
            self.snapshots(name + " snapshots " + options, path, size)
        if "0.10" not in options:
            self.bitmaps(name + " bitmaps " + options, path)
        self.compressed(name + " compressed " + options, path, options)

    def copy(self, name, path):
        to = self.path("%d.qcow2" % len(self.made))
        shutil.copy(path, to)
        self.made.append((name, to))
        return to

    def snapshots(self, name, path, size):
        to = self.copy(name, path)
        for i in range(self.rng.choice([1, 2])):
            done = run("qemu-img", "snapshot", "-c", "s%d" % i, to, ok=False)
            if done.returncode == 0:
                self.fill(to, size)

    def bitmaps(self, name, path):
        to = self.copy(name, path)
        for i in range(3):
            run("qemu-img", "bitmap", "--add", "-g",
                self.rng.choice(["512", "64k", "1M"]), to, "b%d" % i)
        self.fill(to, MIB)
        run("qemu-img", "bitmap", "--disable", to, "b1")

    def compressed(self, name, path, options):
        to = self.path("%d.qcow2" % len(self.made))
        kept = ",".join(o for o in options.split(",")
                        if not o.startswith("preallocation"))
        source = self.path("source.raw")
        with open(source, "wb") as file:
            for _ in range(MIB // 1024):
                file.write(self.rng.randbytes(self.rng.choice([0, 60, 900]))
                           .ljust(1024, b"x"))
        run("qemu-img", "convert", "-c", "-O", "qcow2", "-o",
            kept or "compat=1.1", source, to)
        self.fill(to, MIB)
        self.made.append((name, to))


def whole(path):
    """How qemu-img is to open PATH: with the key where there is one."""
    with open(path, "rb") as file:
        head = file.read(36)
    if head[4:8] == b"\0\0\0\3" and head[32:36] == b"\0\0\0\2":
        return [*SECRET, "--image-opts",
                "driver=qcow2,encrypt.key-secret=s,file.filename=" + path]
    return ["-f", "qcow2", path]


class Comparison:
    def __init__(self):
        self.failures = []
        self.cases = 0
        self.agreed = {}
        self.different = {}
        self.unusable = 0

    def check(self, what, path, is_whole=False):
        self.cases += 1
        ours = run(IMGCHAIN, "check", "-f", "qcow2", "--output", "json", path,
                   ok=False)
        theirs = run("qemu-img", "check", "--output", "json", *whole(path),
                     ok=False)
        threaded = run(IMGCHAIN, "check", "-f", "qcow2", "--output", "json",
                       "-m", "3", path, ok=False)
        if (threaded.returncode, threaded.stdout, threaded.stderr) != \
                (ours.returncode, ours.stdout, ours.stderr):
            self.fail(what, "with threads: exit %d, %s" %
                      (threaded.returncode, threaded.stderr.decode()))
        if ours.returncode not in (0, 1, 2, 3):
            self.fail(what, "imgchain died: %d %s" %
                      (ours.returncode, ours.stderr.decode()))
        elif theirs.returncode < 0:
            self.unusable += 1
        elif not theirs.stdout:
            self.not_opened(what, ours, theirs)
        elif not ours.stdout:
            self.explain(what, "refused", STRICTER, ours, is_whole)
        else:
            self.compare(what, ours, theirs)

    def not_opened(self, what, ours, theirs):
        """What QEMU refuses is refused, or found to be corrupt."""
        if ours.returncode in (1, 2):
            self.agree("refused by both" if ours.returncode == 1 else
                       "refused by qemu-img, corrupt here")
        else:
            self.explain(what, "not refused", MORE_LENIENT, theirs)

    def agree(self, verdict):
        self.agreed[verdict] = self.agreed.get(verdict, 0) + 1

    def differ(self, reason):
        self.different[reason] = self.different.get(reason, 0) + 1

    def damage(self, damage, made, broken):
        """ROUNDS images, damaged so; none is a failure."""
        rng = random.Random("%d %s" % (SEED, damage.__name__))
        order = rng.sample(made, len(made)) * ROUNDS
        done, unfit = 0, set()
        for name, path in order:
            if done == ROUNDS or path in unfit:
                continue
            image = Image(path)
            if not damage(rng, image):
                unfit.add(path)
                continue
            done += 1
            image.save(broken)
            before = len(self.failures)
            what = "%s, %s, round %d" % (damage.__name__, name, done)
            self.check(what, broken)
            if KEEP and len(self.failures) > before:
                shutil.copy(broken, os.path.join(KEEP, what.replace("/", "_")))
        if done < ROUNDS:
            self.fail(damage.__name__, "damaged %d images, expected %d" %
                      (done, ROUNDS))

    def fail(self, what, text):
        self.failures.append(what)
        print("FAIL %s: %s" % (what, text))

    def explain(self, what, how, reasons, done, is_whole=False):
        message = done.stderr.decode().strip()
        text = re.sub("^imgchain: [^:]*: ", "", message)
        for pattern, reason in reasons:
            if not is_whole and done.returncode == 1 and re.search(
                    pattern, text):
                self.differ(how + ": " + reason)
                return
        self.fail(what, "%s without a known reason: %s" % (how, message))

    def compare(self, what, ours, theirs):
        mine, other = json.loads(ours.stdout), json.loads(theirs.stdout)
        beyond = mine["corruptions-beyond-qemu"]
        found = {p["id"] for p in mine["problems"]} & set(BEYOND)
        if bool(beyond) != bool(found):
            self.fail(what, "%d beyond QEMU, but found %s" % (beyond, found))
            return
        mine["corruptions"] -= beyond
        expected = theirs.returncode
        if beyond and expected in (0, 3):
            expected = 2
        differs = ["%s: found %d, expected %d" %
                   (key, mine.get(key, 0), other.get(key, 0))
                   for key in KEYS if mine.get(key, 0) != other.get(key, 0)]
        if ours.returncode != expected:
            differs.append("exit code: found %d, expected %d" %
                           (ours.returncode, expected))
        if differs:
            self.fail(what, "; ".join(differs))
        else:
            self.agree(["clean", "not done", "corrupt", "leaks"][
                ours.returncode])
            for one in found:
                self.differ("counted on top: " + BEYOND[one])


def main():
    for tool in ("qemu-img", "qemu-io"):
        if not shutil.which(tool):
            print("skipped: no " + tool)
            sys.exit(77)
    comparison = Comparison()
    with tempfile.TemporaryDirectory() as folder:
        images = Images(folder)
        for number, options in enumerate(OPTIONS):
            images.make(number, options)
        for name, path in images.made:
            comparison.check(name, path, is_whole=True)
        broken = os.path.join(folder, "broken.qcow2")
        for damage in DAMAGE:
            comparison.damage(damage, images.made, broken)
    for verdict, count in sorted(comparison.agreed.items()):
        print("%5d the same: %s" % (count, verdict))
    for reason, count in sorted(comparison.different.items()):
        print("%5d %s" % (count, reason))
    print("%d images, %d kinds of damage, %d compared, %d that qemu-img did "
          "not survive, %d failures" %
          (len(images.made), len(DAMAGE), comparison.cases,
           comparison.unusable, len(comparison.failures)))
    sys.exit(1 if comparison.failures else 0)


if __name__ == "__main__":
    main()
