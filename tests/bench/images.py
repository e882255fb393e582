# SPDX-License-Identifier: LGPL-2.1-or-later
"""The images that are measured with: made once, by qemu-img and qemu-io."""

import atexit
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "interop", "support"))
import scattered  # noqa: E402

TOP = os.path.join(HERE, "..", "..")
BUILD = os.path.abspath(os.environ.get(
    "IMGCHAIN_BUILD", os.path.join(TOP, "build", "release")))
IMGCHAIN = os.environ.get(
    "IMGCHAIN", os.path.join(BUILD, "tools", "imgchain"))
MIB = 1 << 20


def run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def same(*args):
    """The same command line for both programs."""
    return ["qemu-img", *args], [IMGCHAIN, *args]

class Images:
    """Makes what a case needs, once, in one folder."""

    def __init__(self, folder, scale):
        self.folder = folder
        self.scale = scale
        self.mounts = []
        atexit.register(self.unmount)

    def path(self, name):
        return os.path.join(self.folder, name)

    def made(self, name, make):
        """The path NAME, made by MAKE(path) unless it is there."""
        path = self.path(name)
        if not os.path.exists(path):
            print(f"  making {name}", file=sys.stderr)
            make(path)
        return path

    def size(self, mib):
        return int(mib * self.scale) * MIB

    def backing_chain(self, depth):
        """DEPTH images with 4 MiB in the base."""
        def make(path):
            os.mkdir(path)
            run("qemu-img", "create", "-q", "-f", "qcow2", f"{path}/0", "64M")
            run("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 4M",
                f"{path}/0")
            for idx in range(1, depth):
                run("qemu-img", "create", "-q", "-f", "qcow2", "-b",
                    f"{idx - 1}", "-F", "qcow2", f"{path}/{idx}")
        folder = self.made(f"chain-{depth}", make)
        return f"{folder}/{depth - 1}"

    def spread_chain(self, depth):
        """2,000 extents spread evenly over DEPTH layers, 64 GiB virtual."""
        def make(path):
            os.mkdir(path)
            for idx in range(depth):
                image = f"{path}/{idx}"
                run("qemu-img", "create", "-q", "-f", "qcow2", image, "64G")
                script = "".join(
                    f"write -q -P {idx + 1} {place * 32 * MIB} 64k\n"
                    for place in range(idx, 2000, depth))
                run("qemu-io", "-t", "unsafe", "-f", "qcow2", image,
                    input=script, text=True)
                if idx:
                    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b",
                        f"{idx - 1}", "-F", "qcow2", image)
        folder = self.made(f"spread-{depth}", make)
        return f"{folder}/{depth - 1}"

    def scattered(self):
        clusters = max(1000, int(60000 * self.scale))
        return self.made("scattered.qcow2", lambda path: scattered.make(
            path, clusters=clusters))

    def source(self, mib):
        """A raw image: MIB of this machine's files, holes between."""
        def make(path):
            left = self.size(mib)
            with open(path, "wb") as out:
                for chunk in usr_chunks():
                    out.write(chunk[:left])
                    left -= len(chunk[:left])
                    if left <= 0:
                        break
                    # Of each 40 MiB the last 16 are a hole.
                    turn, place = divmod(out.tell(), 40 * MIB)
                    if place >= 24 * MIB:
                        out.seek((turn + 1) * 40 * MIB)
                out.truncate(-(-out.tell() // 65536) * 65536)
        return self.made(f"source-{mib}.raw", make)

    def converted(self, mib, name, *flags):
        source = self.source(mib)
        return self.made(f"{name}-{mib}.qcow2", lambda path: run(
            "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-W", "-m",
            "16", *flags, source, path))

    def overlays(self, mib):
        """Two overlays on one base, each with 16 equal private MiB."""
        base = self.converted(mib, "a")
        paths = []
        for name in ("one", "two"):
            def make(path):
                run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base,
                    "-F", "qcow2", path)
                run("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 1M 16M",
                    path)
            paths.append(self.made(f"overlay-{name}-{mib}.qcow2", make))
        return paths

    def slow(self, paths, delay_ms):
        """PATHS as they are seen over a link with DELAY-MS per read."""
        folder = self.path("slow-files")
        mount = self.path("slow")
        for path in (folder, mount):
            os.makedirs(path, exist_ok=True)
        for path in paths:
            link = os.path.join(folder, os.path.basename(path))
            if not os.path.exists(link):
                os.link(path, link)
        self.unmount()
        slowfs = os.path.join(BUILD, "tests", "slowfs")
        server = subprocess.Popen([slowfs, folder, mount, str(delay_ms)])
        self.mounts.append((mount, server))
        names = [os.path.join(mount, os.path.basename(p)) for p in paths]
        until = time.monotonic() + 10
        while not os.path.exists(names[0]):
            if server.poll() is not None or time.monotonic() > until:
                sys.exit("slowfs did not start (root and /dev/fuse needed)")
            time.sleep(0.05)
        return names

    def unmount(self):
        for mount, server in self.mounts:
            subprocess.run(["umount", mount], check=False)
            server.wait()
        self.mounts.clear()


def usr_chunks():
    """Pieces of the files under /usr, the same in each run on a machine;
    then again with each byte changed, as long as somebody asks."""
    for turn in range(64):
        table = bytes((byte + turn) % 256 for byte in range(256))
        for folder, folders, names in os.walk("/usr"):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                with open(path, "rb") as file:
                    while chunk := file.read(MIB):
                        yield chunk.translate(table) if turn else chunk
