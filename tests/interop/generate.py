#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images of every kind that qemu-img and qemu-io can make, by seed.

plan(seed) decides, without touching a file, on a chain of 1 to 6 layers and
on the commands that make it; build() runs them in a folder. The same seed
gives the same chain on every machine.

usage: tests/interop/generate.py                     test the plans themselves
       tests/interop/generate.py --seed N --dir DIR  build one chain
       tests/interop/generate.py --seed N            print its commands
"""

import argparse
import collections
import dataclasses
import json
import os
import random
import shlex
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import peers  # noqa: E402

CLUSTER_SIZES = [512 << n for n in range(13)]
REFCOUNT_BITS = [1, 2, 4, 8, 16, 32, 64]
FOLDERS = ["", "", "sub", "sub/deep", "a b", "ünïcode"]
NAME_STYLES = ["relative", "relative", "dot", "absolute", "file", "json",
               "json-file", "json-flat"]
# "{dir}" in a command stands for the absolute path of the chain's folder.
HERE = "{dir}"


@dataclasses.dataclass
class Layer:
    """One image of a chain. options is what it was made with."""
    path: str                    # relative to the chain's folder
    fmt: str
    size: int
    options: dict = dataclasses.field(default_factory=dict)
    name_style: str = "none"     # how it names its backing file
    snapshots: list = dataclasses.field(default_factory=list)
    snapshot_size: int = 0       # what the disk measured then
    has_compressed: bool = False
    is_dirty: bool = False
    is_encrypted: bool = False


@dataclasses.dataclass
class Plan:
    """A chain to be: layers[0] is the active one; commands make it."""
    seed: int
    layers: list
    commands: list
    counts: collections.Counter

    @property
    def top(self):
        return self.layers[0]

    @property
    def is_readable(self):
        return not any(layer.is_encrypted for layer in self.layers)

    def script(self, folder):
        """Shell lines that make the chain in FOLDER."""
        lines = [f"mkdir -p {shlex.quote(folder)}",
                 f"cd {shlex.quote(folder)}"]
        return lines + [shlex.join(placed(c, folder)) for c in self.commands]


def placed(command, folder):
    return [arg.replace(HERE, folder) for arg in command]


class _Planner:
    def __init__(self, seed):
        self.seed = seed
        self.rng = random.Random(seed)
        self.commands = []
        self.counts = collections.Counter()

    def chance(self, percent):
        return self.rng.randrange(100) < percent

    def count(self, option, value):
        self.counts[(option, str(value))] += 1

    # -- sizes and places

    def virtual_size(self):
        """64 KiB to 64 MiB, evenly over the powers of two, in sectors."""
        size = 1 << self.rng.randrange(16, 27)
        if self.chance(60):
            size -= 512 * self.rng.randrange(0, size // 1024)
        return size

    def path(self, idx, fmt):
        folder = self.rng.choice(FOLDERS)
        stem = self.rng.choice([f"layer{idx}", f"disk {idx}", f"l{idx}-ä"])
        if folder and self.chance(20):
            stem = f"we:ird{idx}"
        name = f"{stem}.{'img' if fmt == 'raw' else fmt}"
        if folder:
            self.run("mkdir", "-p", folder)
        return os.path.join(folder, name)

    def run(self, *command):
        self.commands.append(list(command))

    # -- one layer

    def qcow2_options(self, has_backing, size):
        rng = self.rng
        options = {"compat": "0.10" if self.chance(15) else "1.1",
                   "cluster_size": rng.choice(CLUSTER_SIZES)}
        if options["compat"] == "1.1":
            options["refcount_bits"] = rng.choice(REFCOUNT_BITS)
            options["lazy_refcounts"] = rng.choice(["on", "off"])
            options["compression_type"] = rng.choice(["zlib", "zstd"])
            if options["cluster_size"] >= 16384 and self.chance(40):
                options["extended_l2"] = "on"
        # With a backing file QEMU only preallocates when there are
        # subclusters to leave unallocated.
        if (not has_backing or "extended_l2" in options) and self.chance(35):
            options["preallocation"] = rng.choice(
                ["metadata", "falloc", "full"] if size <= 4 << 20
                else ["metadata"])
        return options

    def add_data_file(self, options, path, has_backing):
        """Perhaps keep the data in a file of its own."""
        if options["compat"] != "1.1" or not self.chance(15):
            return
        name = os.path.basename(path) + ".data"
        # QEMU takes a relative name from the working directory: only in the
        # chain's own folder does everybody mean the same file by it.
        if os.path.dirname(path) or self.chance(50):
            name = os.path.join(HERE, os.path.dirname(path), name)
        options["data_file"] = name
        if not has_backing and self.chance(50):
            options["data_file_raw"] = "on"
        options.pop("compression_type", None)

    def backing_name(self, style, path, backing):
        """How PATH records the layer BACKING."""
        full = os.path.join(HERE, backing.path)
        file_node = {"driver": "file", "filename": full}
        if style == "absolute":
            return full
        if style == "file":
            return "file:" + full
        if style == "json":
            node = {"driver": backing.fmt, "file": file_node}
            if backing.fmt == "raw" and backing.size >= 65536:
                # A part of the file as an image.
                node.update(offset=4096, size=backing.size - 8192)
                self.count("json raw slice", "yes")
            return "json:" + json.dumps(node, ensure_ascii=False)
        if style == "json-file":
            return "json:" + json.dumps({"file": file_node},
                                        ensure_ascii=False)
        if style == "json-flat":
            return "json:" + json.dumps(
                {"driver": backing.fmt, "file.driver": "file",
                 "file.filename": full}, ensure_ascii=False)
        name = os.path.relpath(backing.path, os.path.dirname(path) or ".")
        if style == "dot" or ":" in name.split("/")[0]:
            name = "./" + name
        return name

    def raw_layer(self, idx):
        size = self.virtual_size()
        path = self.path(idx, "raw")
        options = {}
        if size <= 4 << 20 and self.chance(40):
            options["preallocation"] = self.rng.choice(["falloc", "full"])
        self.run("qemu-img", "create", "-q", "-f", "raw",
                 *self.option_args(options), path, str(size))
        layer = Layer(path, "raw", size, options)
        self.writes(layer)
        if self.chance(30):
            # An end that is no multiple of a sector.
            odd = size - self.rng.randrange(1, 512)
            self.run("truncate", "-s", str(odd), path)
            self.count("raw end", "inside a sector")
        return layer

    @staticmethod
    def option_args(options):
        if not options:
            return []
        text = ",".join(f"{key}={value}".replace(",", ",,")
                        for key, value in options.items())
        return ["-o", text]

    def qcow2_layer(self, idx, backing):
        size = self.virtual_size()
        if backing and self.chance(65):
            size = backing.size
        path = self.path(idx, "qcow2")
        options = self.qcow2_options(backing is not None, size)
        layer = Layer(path, "qcow2", size, options)
        backing_args = []
        if backing:
            layer.name_style = self.rng.choice(NAME_STYLES)
            name = self.backing_name(layer.name_style, path, backing)
            backing_args = [name, backing.fmt]
        if (self.chance(20) and "preallocation" not in options
                and (not backing or size >= backing.size)):
            self.converted(layer, backing, backing_args)
        else:
            self.add_data_file(options, path, backing is not None)
            self.created(layer, backing_args)
        self.writes(layer)
        self.extras(layer)
        return layer

    def created(self, layer, backing_args):
        self.count("made by", "create")
        flags = []
        if backing_args:
            flags = ["-b", backing_args[0], "-F", backing_args[1]]
        self.run("qemu-img", "create", "-q", "-f", "qcow2", *flags,
                 *self.option_args(layer.options), layer.path,
                 str(layer.size))
        if ("preallocation" not in layer.options
                and "data_file" not in layer.options and self.chance(30)):
            self.compressed_writes(layer)

    def converted(self, layer, backing, backing_args):
        """Through convert -c, the clusters compressed in one go."""
        self.count("made by", "convert -c")
        layer.has_compressed = True
        source = Layer("source.qcow2", "qcow2", layer.size)
        flags, out_flags = [], []
        if backing:
            flags = ["-b", os.path.join(HERE, backing.path),
                     "-F", backing.fmt]
            out_flags = ["-B", backing_args[0], "-F", backing_args[1]]
        self.run("qemu-img", "create", "-q", "-f", "qcow2", *flags,
                 source.path, str(source.size))
        self.writes(source)
        self.run("qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2",
                 *out_flags, *self.option_args(layer.options), source.path,
                 layer.path)
        self.run("rm", source.path)

    def compressed_writes(self, layer):
        """Whole clusters, each once: QEMU compresses only into free ones."""
        cluster = layer.options["cluster_size"]
        total = layer.size // cluster
        if total == 0:
            return
        self.count("made by", "write -c")
        layer.has_compressed = True
        chosen = self.rng.sample(range(total), min(total, 6))
        self.io(layer, [f"write -c{self.pattern()} {idx * cluster} {cluster}"
                        for idx in chosen])

    def pattern(self):
        """One byte all over, or text that shows a shift by one."""
        return (f" -P {self.rng.randrange(256)}" if self.chance(50)
                else " -s pattern")

    def range_in(self, layer):
        """A range that likes cluster borders and odd numbers."""
        cluster = layer.options.get("cluster_size", 65536)
        begin = self.rng.randrange(layer.size)
        if self.chance(60):
            begin = begin // cluster * cluster
        if self.chance(30):
            begin = max(0, begin - self.rng.randrange(1, 4096))
        length = self.rng.choice([
            self.rng.randrange(1, 700), 512, 4096, cluster,
            cluster + self.rng.randrange(1, 5000),
            cluster * self.rng.randrange(2, 40)])
        return begin, min(length, layer.size - begin, 1 << 20)

    def writes(self, layer):
        commands = []
        for _ in range(self.rng.randrange(0, 11)):
            begin, length = self.range_in(layer)
            kind = self.rng.choice(["write", "write", "write", "write -z",
                                    "write -z -u", "discard"])
            pattern = self.pattern() if kind == "write" else ""
            self.count("written by", kind)
            commands.append(f"{kind}{pattern} {begin} {length}")
        self.io(layer, commands)

    def io(self, layer, commands):
        if commands:
            flags = [arg for c in commands for arg in ("-c", c)]
            self.run("qemu-io", "-t", "unsafe", "-d", "unmap", "-f",
                     layer.fmt, *flags, layer.path)

    def extras(self, layer):
        """Internal snapshots, bitmaps, an unclean end."""
        options = layer.options
        is_v3 = options["compat"] == "1.1"
        # A snapshot raises refcounts, and compressed clusters that share a
        # host cluster have raised them already.
        bits = options.get("refcount_bits", 16)
        if (self.chance(25) and "data_file" not in options
                and bits > (8 if layer.has_compressed else 1)):
            layer.snapshot_size = layer.size
            for name in self.rng.choice([["one"], ["snap 1", "ß-2"]]):
                self.run("qemu-img", "snapshot", "-c", name, layer.path)
                layer.snapshots.append(name)
                self.writes(layer)
            if is_v3 and self.chance(30):
                layer.size += 512 * self.rng.randrange(1, 3000)
                self.run("qemu-img", "resize", "-q", "-f", "qcow2",
                         layer.path, str(layer.size))
                self.count("resized", "after a snapshot")
        elif is_v3 and self.chance(20):
            for idx in range(self.rng.randrange(1, 4)):
                granularity = 1 << self.rng.randrange(9, 32)
                flags = ["--disable"] if self.chance(30) else []
                self.run("qemu-img", "bitmap", "--add", "-g",
                         str(granularity), *flags, "-f", "qcow2", layer.path,
                         f"bitmap {idx}")
                self.count("bitmap granularity", granularity)
            self.writes(layer)
        if options.get("lazy_refcounts") == "on" and self.chance(25):
            begin, length = self.range_in(layer)
            self.run("sh", "-c",
                     'qemu-io -f qcow2 -c "$1" -c flush -c "sigraise 9" "$2"'
                     " || true", "sh", f"write -P 9 {begin} {length}",
                     layer.path)
            layer.is_dirty = True
            self.count("image", "left dirty")

    def encrypted_layer(self, idx, backing):
        size = self.virtual_size()
        path = self.path(idx, "qcow2")
        kind = self.rng.choice(["luks", "aes"])
        options = {"compat": "1.1",
                   "cluster_size": self.rng.choice(CLUSTER_SIZES[3:]),
                   "encrypt.format": kind, "encrypt.key-secret": "key"}
        if kind == "luks":
            options["encrypt.iter-time"] = 10
            options["encrypt.cipher-alg"] = self.rng.choice(
                ["aes-128", "aes-256", "twofish-256"])
            options["encrypt.hash-alg"] = self.rng.choice(
                ["sha1", "sha256", "sha512"])
        flags = []
        layer = Layer(path, "qcow2", size, options, is_encrypted=True)
        if backing:
            layer.name_style = "relative"
            flags = ["-b", self.backing_name("relative", path, backing),
                     "-F", backing.fmt]
        self.run("qemu-img", "create", "-q", "--object",
                 "secret,id=key,data=secret", "-f", "qcow2", *flags,
                 *self.option_args(options), path, str(size))
        return layer

    # -- the chain

    def plan(self):
        depth = self.rng.randrange(1, 7)
        layers = []
        self.run("sh", "-c", "seq 1 30000 > pattern")
        for idx in range(depth):
            backing = layers[0] if layers else None
            if idx == 0 and self.chance(30):
                layer = self.raw_layer(idx)
            elif idx == depth - 1 and self.chance(5):
                layer = self.encrypted_layer(idx, backing)
            else:
                layer = self.qcow2_layer(idx, backing)
            self.count_layer(layer, backing)
            layers.insert(0, layer)
        self.count("depth", depth)
        return Plan(self.seed, layers, self.commands, self.counts)

    def count_layer(self, layer, backing):
        self.count("format", layer.fmt)
        for key, value in layer.options.items():
            if key not in ("data_file", "encrypt.key-secret"):
                self.count(key, value)
        if layer.fmt == "qcow2":
            self.count("data_file", "data_file" in layer.options)
            self.count("backing name", layer.name_style)
            self.count("snapshots", len(layer.snapshots))
        if backing:
            self.count("overlay is", "longer" if layer.size > backing.size
                       else "shorter" if layer.size < backing.size
                       else "as long")
            self.count("clusters against backing",
                       "other" if layer.options.get("cluster_size") !=
                       backing.options.get("cluster_size") else "same")


def plan(seed):
    """The chain of SEED; touches no file."""
    return _Planner(seed).plan()


class BuildError(Exception):
    """qemu-img or qemu-io did not do what a plan asked for."""


def build(a_plan, folder):
    """Make the chain in FOLDER (which must exist)."""
    for command in a_plan.commands:
        done = peers.run(placed(command, folder), cwd=folder)
        # qemu-io goes on after a failed request; its text tells.
        text = done.stdout + done.stderr
        if done.returncode != 0 or "failed" in text:
            raise BuildError(f"{shlex.join(placed(command, folder))}: "
                             f"exit {done.returncode}: {text.strip()}")


def wanted_values():
    """What several hundred seeds must have met, or the test tests little."""
    wanted = {
        "compat": ["0.10", "1.1"], "cluster_size": CLUSTER_SIZES,
        "refcount_bits": REFCOUNT_BITS, "lazy_refcounts": ["on", "off"],
        "compression_type": ["zlib", "zstd"], "extended_l2": ["on"],
        "preallocation": ["metadata", "falloc", "full"],
        "data_file": [True, False], "data_file_raw": ["on"],
        "depth": range(1, 7), "format": ["raw", "qcow2"],
        "backing name": ["none", *NAME_STYLES], "snapshots": [0, 1, 2],
        "encrypt.format": ["luks", "aes"], "json raw slice": ["yes"],
        "overlay is": ["longer", "shorter", "as long"],
        "clusters against backing": ["same", "other"],
        "made by": ["create", "convert -c", "write -c"],
        "written by": ["write", "write -z", "write -z -u", "discard"],
        "image": ["left dirty"], "resized": ["after a snapshot"],
        "raw end": ["inside a sector"],
    }
    return {(key, str(value)) for key, values in wanted.items()
            for value in values}


def self_test():
    counts = collections.Counter()
    for seed in range(300):
        first, second = plan(seed), plan(seed)
        assert first.commands == second.commands, f"seed {seed} wavers"
        counts += first.counts
    missing = sorted(wanted_values() - set(counts))
    assert not missing, f"300 plans never have {missing}"
    assert plan(1).commands != plan(2).commands
    print(f"300 plans, {len(counts)} option values met, none missing")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--dir")
    args = parser.parse_args()
    if args.seed is None:
        self_test()
        return
    if args.dir:
        os.makedirs(args.dir, exist_ok=True)
        build(plan(args.seed), os.path.abspath(args.dir))
        print(os.path.join(args.dir, plan(args.seed).top.path))
    else:
        print("\n".join(plan(args.seed).script("chain")))


if __name__ == "__main__":
    sys.exit(main())
