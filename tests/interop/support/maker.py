# SPDX-License-Identifier: LGPL-2.1-or-later
"""Undamaged images of every kind, made by qemu-img from a seed."""
import os
import struct
import subprocess

MIB = 1 << 20

OPTIONS = [
    "compat=0.10",
    "compat=0.10,cluster_size=512",
    "compat=0.10,cluster_size=4k,preallocation=metadata",
    "compat=1.1",
    "cluster_size=512",
    "cluster_size=512,refcount_bits=64",
    "cluster_size=1k,refcount_bits=1",
    "cluster_size=4k,refcount_bits=2",
    "cluster_size=8k,refcount_bits=4",
    "cluster_size=2k,refcount_bits=8",
    "cluster_size=16k,refcount_bits=32",
    "cluster_size=4k,refcount_bits=64",
    "cluster_size=2M",
    "cluster_size=64k,lazy_refcounts=on",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "compression_type=zstd,cluster_size=8k",
    "cluster_size=4k,preallocation=falloc",
    "data_file={data},cluster_size=4k",
    "data_file={data},data_file_raw=on,cluster_size=4k",
    "data_file={data},extended_l2=on,cluster_size=16k",
    "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,"
    "cluster_size=4k",
    "encrypt.format=aes,encrypt.key-secret=s,cluster_size=4k",
]


def run(*args, ok=True, cwd=None):
    done = subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, check=False,
                          cwd=cwd)
    if ok and done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(args), done.stderr.decode()))
    return done


class Maker:
    """Undamaged images below FOLDER: pairs (what, path) in MADE."""

    def __init__(self, folder, rng):
        self.folder, self.rng, self.made = folder, rng, []

    def path(self, name):
        return os.path.join(self.folder, name)

    def scribble(self, path, size, number, backing=True):
        rng, commands = self.rng, []
        verbs = ["write -P 7", "write -P 9", "write -P 33", "write -z",
                 "discard"]
        for _ in range(number):
            off = rng.randrange(size // 512) * 512
            length = min(rng.choice([512, 4096, 30000 // 512 * 512, 1 << 17]),
                         size - off)
            commands += ["-c", "%s %d %d" % (rng.choice(verbs), off, length)]
        run("qemu-io", "-f", "qcow2", *commands, path)

    def make(self, number, options):
        rng = self.rng
        path = self.path("%02d.qcow2" % number)
        size = rng.choice([1, 2, 3]) * MIB + rng.choice([0, 512])
        if "2M" in options:
            size *= 4
        is_crypt = "encrypt" in options
        args = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if is_crypt:
            args += ["--object", "secret,id=s,data=x"]
        elif "data_file" not in options and \
                "preallocation" not in options and number % 3 == 0:
            base = self.path("%02d.raw" % number)
            with open(base, "wb") as file:
                file.write(rng.randbytes(size // 512 * 512))
            args += ["-b", base, "-F", "raw"]
        options = options.format(data=self.path("%02d.data" % number))
        # A busy machine makes QEMU's measuring of its key derivation fail.
        for tries in range(10):
            done = run(*args, "-o", options, path, str(size), ok=tries == 9)
            if done.returncode == 0:
                break
        if is_crypt:
            self.encrypted(path, size)
        else:
            self.scribble(path, size, rng.choice([4, 12, 25]))
        self.made.append((options, path))
        if "data_file" in options or is_crypt:
            return
        if "refcount_bits=1" not in options.split(","):
            self.snapshots(options, path, size)
        if "0.10" not in options:
            self.bitmaps(options, path)
        if "backing" not in options:
            self.compressed(options, size)

    def encrypted(self, path, size):
        opts = "driver=qcow2,file.filename=%s,encrypt.key-secret=s" % path
        kind = "luks" if b"luks" in open(path, "rb").read(8192).lower() \
            else None
        with open(path, "rb") as file:
            crypt = struct.unpack_from(">I", file.read(40), 32)[0]
        kind = kind or ("luks" if crypt == 2 else "aes")
        for _ in range(6):
            off = self.rng.randrange(size // 512) * 512
            run("qemu-io", "--object", "secret,id=s,data=x", "--image-opts",
                opts + ",encrypt.format=" + kind, "-c",
                "write -P 5 %d %d" % (off, min(9216, size - off)))

    def copy(self, what, path):
        to = self.path("c%d.qcow2" % len(self.made))
        run("cp", path, to)
        self.made.append((what, to))
        return to

    def snapshots(self, options, path, size):
        to = self.copy("snapshots " + options, path)
        for i in range(self.rng.choice([1, 2])):
            done = run("qemu-img", "snapshot", "-c", "s%d" % i, to, ok=False)
            if done.returncode == 0:
                self.scribble(to, size, 6)

    def bitmaps(self, options, path):
        to = self.copy("bitmaps " + options, path)
        for i in range(2):
            run("qemu-img", "bitmap", "--add", "-g",
                self.rng.choice(["4k", "64k"]), to, "b%d" % i)
        self.scribble(to, MIB, 5)

    def compressed(self, options, size):
        to = self.path("c%d.qcow2" % len(self.made))
        source = self.path("source.raw")
        with open(source, "wb") as file:
            for _ in range(MIB // 1024):
                file.write(self.rng.randbytes(self.rng.choice([0, 60, 900]))
                           .ljust(1024, b"x"))
        kept = ",".join(o for o in options.split(",")
                        if not o.startswith("preallocation"))
        run("qemu-img", "convert", "-c", "-O", "qcow2", "-o",
            kept or "compat=1.1", source, to)
        self.scribble(to, MIB, 3)
        self.made.append(("compressed " + options, to))
