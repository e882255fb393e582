#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Formats that are only described: info against qemu-img info, key by key.

Images are made by the real qemu-img in every format and sub-format that it
can create besides raw and qcow2. imgchain may tell more than qemu-img; what
qemu-img tells must be the same, but for the EXCEPTIONS. Reading contents
(map) must fail and name the format. Files that a VMDK descriptor names must
never be opened, which strace watches.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import peers  # noqa: E402

IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")

# (name of the check, path of the key, why imgchain does not print it). They
# are facts of other files, which imgchain does not open because the text of
# an untrusted descriptor names them; qemu-img does.
EXTENTS_UNREAD = [
    (r"/cluster-size", "the grain size is in the headers of the extents"),
    (r"/actual-size", "qemu-img adds what the extents take on disk"),
    (r"/format-specific/data/extents/\d+/cluster-size",
     "the grain size is in the headers of the extents"),
]


class Image:
    """An image to make, and what to expect of it."""

    def __init__(self, path, fmt, options=(), size="10M", backing=None,
                 declared=None, exceptions=(), object_args=()):
        self.path = path
        self.fmt = fmt              # what qemu-img makes it as
        self.options = options
        self.size = size
        self.backing = backing      # (path, format)
        self.declared = declared    # given by -f to both, or None to probe
        self.exceptions = exceptions
        self.object_args = object_args

    def command(self):
        args = ["qemu-img", "create", "-q", "-f", self.fmt]
        args += self.object_args
        if self.options:
            args += ["-o", ",".join(self.options)]
        if self.backing:
            args += ["-b", self.backing[0], "-F", self.backing[1]]
        args.append(self.path)
        if self.size:
            args.append(self.size)
        return args


def luks(path, *options, size="10M"):
    return Image(path, "luks", ["key-secret=s", "iter-time=10", *options],
                 size=size, object_args=["--object",
                                         "secret,id=s,data=secret"])


IMAGES = [
    # The subfolder shows how extent names are resolved.
    Image("sparse.vmdk", "vmdk"),
    Image("sub/sparse.vmdk", "vmdk", ["subformat=monolithicSparse"]),
    Image("compat6.vmdk", "vmdk", ["compat6=on"]),
    Image("zeroed.vmdk", "vmdk", ["zeroed_grain=on"], size="3G"),
    Image("lsi.vmdk", "vmdk", ["adapter_type=lsilogic", "hwversion=7"]),
    Image("stream.vmdk", "vmdk", ["subformat=streamOptimized"]),
    Image("flat.vmdk", "vmdk", ["subformat=monolithicFlat"],
          exceptions=EXTENTS_UNREAD),
    Image("sub/flat.vmdk", "vmdk", ["subformat=monolithicFlat"],
          exceptions=EXTENTS_UNREAD),
    Image("split-flat.vmdk", "vmdk", ["subformat=twoGbMaxExtentFlat"],
          size="5G", exceptions=EXTENTS_UNREAD),
    Image("split-sparse.vmdk", "vmdk", ["subformat=twoGbMaxExtentSparse"],
          size="5G", exceptions=EXTENTS_UNREAD),
    Image("sub/split-sparse.vmdk", "vmdk",
          ["subformat=twoGbMaxExtentSparse"], exceptions=EXTENTS_UNREAD),
    Image("child.vmdk", "vmdk", size=None, backing=("sparse.vmdk", "vmdk")),
    Image("dynamic.vpc", "vpc", ["subformat=dynamic"]),
    Image("dynamic-force.vpc", "vpc", ["subformat=dynamic", "force_size=on"]),
    Image("dynamic-large.vpc", "vpc", ["subformat=dynamic"], size="1T"),
    # Without -f a fixed VHD is raw to both: QEMU does not look at its end.
    Image("fixed.vpc", "vpc", ["subformat=fixed"]),
    Image("fixed-declared.vpc", "vpc", ["subformat=fixed"], declared="vpc"),
    Image("fixed-force.vpc", "vpc", ["subformat=fixed", "force_size=on"],
          declared="vpc"),
    Image("dynamic.vhdx", "vhdx", ["subformat=dynamic"]),
    Image("fixed.vhdx", "vhdx", ["subformat=fixed"]),
    Image("blocks.vhdx", "vhdx", ["block_size=1M", "log_size=2M"]),
    Image("large.vhdx", "vhdx", size="4T"),
    Image("dynamic.vdi", "vdi"),
    Image("static.vdi", "vdi", ["static=on"]),
    Image("large.vdi", "vdi", size="1T"),
    Image("plain.qed", "qed"),
    Image("small.qed", "qed", ["cluster_size=4k", "table_size=2"], size="1M"),
    Image("child.qed", "qed", size=None, backing=("plain.qed", "qed")),
    Image("sub/child.qed", "qed", size=None, backing=("../plain.qed", "qed")),
    Image("on-raw.qed", "qed", size=None, backing=("base.raw", "raw")),
    Image("plain.qcow", "qcow"),
    Image("child.qcow", "qcow", size="20M", backing=("base.raw", "raw")),
    Image("aes.qcow", "qcow", ["encrypt.format=aes", "encrypt.key-secret=s"],
          object_args=["--object", "secret,id=s,data=secret"]),
    Image("plain.parallels", "parallels"),
    Image("clusters.parallels", "parallels", ["cluster_size=2M"], size="1T"),
    luks("default.luks"),
    luks("odd.luks", size="10240001"),
    luks("essiv.luks", "cipher-alg=twofish-256", "cipher-mode=cbc",
         "ivgen-alg=essiv", "ivgen-hash-alg=sha256", "hash-alg=sha1"),
    luks("serpent.luks", "cipher-alg=serpent-192", "hash-alg=sha512"),
    luks("cast5.luks", "cipher-alg=cast5-128", "cipher-mode=cbc",
         "hash-alg=ripemd160"),
]


def run(folder, *args):
    return subprocess.run(args, cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120,
                          check=False)


def make(folder, image):
    """True when qemu-img made it. iter-time measures, which can fail."""
    done = peers.run(image.command(), cwd=folder)
    if done.returncode == 0:
        return True
    print(f"cannot make {image.path}: {done.stderr.strip()}")
    return False


def leaves(value, path=""):
    """Every number, string and bool of a JSON value, by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}/{key}")
    elif isinstance(value, list):
        yield f"{path}/#", len(value)
        for idx, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{idx}")
    else:
        yield path, value


def info(folder, tool, image):
    args = [tool, "info", "--output", "json"]
    if image.declared:
        args += ["-f", image.declared]
    done = run(folder, *args, image.path)
    if done.returncode != 0:
        return None, f"{tool} info exits {done.returncode}: {done.stderr}"
    return json.loads(done.stdout), None


def compare_info(folder, image):
    """What differs, as lines; and which exceptions were needed."""
    qemu, error = info(folder, "qemu-img", image)
    if error:
        return [error], set()
    ours, error = info(folder, IMGCHAIN, image)
    if error:
        return [error], set()
    found = dict(leaves(ours))
    problems = []
    used = set()
    for path, expected in leaves(qemu):
        if path in found and found[path] == expected and \
                type(found[path]) is type(expected):
            continue
        excuse = next((pattern for pattern, _ in image.exceptions
                       if re.fullmatch(pattern, path)), None)
        if excuse:
            used.add(excuse)
            continue
        problems.append(f"{path}: found {found.get(path, 'nothing')!r}, "
                        f"expected {expected!r}")
    return problems, used


def check_map(folder, image):
    """Contents are refused by name; raw is what a fixed VHD looks like."""
    fmt = image.declared or image.fmt
    if not image.declared and image.path == "fixed.vpc":
        return []
    args = [IMGCHAIN, "map", "--output", "json"]
    if image.declared:
        args += ["-f", image.declared]
    done = run(folder, *args, image.path)
    want = f"cannot read contents of this format ({fmt})"
    problems = []
    if done.returncode != 1:
        problems.append(f"map exits {done.returncode}, expected 1")
    if want not in done.stderr or done.stderr.count("\n") != 1:
        problems.append(f"map says {done.stderr!r}, expected {want!r}")
    if done.stdout:
        problems.append(f"map prints {done.stdout!r}")
    return problems


def check_opens(folder, image):
    """Only the image itself is opened, of all files in the folder."""
    log = os.path.join(folder, "strace.log")
    args = ["strace", "-f", "-e", "trace=open,openat,openat2", "-o", log,
            IMGCHAIN, "info", "--output", "json", image.path]
    run(folder, *args)
    with open(log, encoding="utf-8", errors="replace") as file:
        text = file.read()
    opened = set(re.findall(r'"([^"]*\.vmdk)"', text))
    if not any(name.endswith(os.path.basename(image.path))
               for name in opened):
        return [f"strace saw no open of {image.path}"]
    others = [name for name in opened
              if os.path.basename(name) != os.path.basename(image.path)]
    return [f"info opens {name}" for name in others]


def check(folder, image):
    problems, used = compare_info(folder, image)
    problems += check_map(folder, image)
    # (LeakSanitizer cannot work under a tracer.)
    if image.fmt == "vmdk" and not os.environ.get("IMGCHAIN_SANITIZED"):
        problems += check_opens(folder, image)
    return problems, used


def main():
    for tool in ("qemu-img", "strace"):
        if shutil.which(tool) is None:
            print(f"SKIP: {tool} is not installed")
            return 77
    failed = 0
    used = set()
    with tempfile.TemporaryDirectory(prefix="foreign-") as folder:
        os.mkdir(os.path.join(folder, "sub"))
        run(folder, "qemu-img", "create", "-q", "-f", "raw", "base.raw",
            "10M")
        for image in IMAGES:
            if not make(folder, image):
                failed += 1
                continue
            problems, needed = check(folder, image)
            used |= needed
            failed += bool(problems)
            print("FAIL" if problems else "ok  ", image.path)
            for problem in problems:
                print("     ", problem)
    for pattern, why in EXTENTS_UNREAD:
        if pattern not in used:
            print(f"FAIL exception {pattern} was not needed ({why})")
            failed += 1
    print(f"{len(IMAGES)} images, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
