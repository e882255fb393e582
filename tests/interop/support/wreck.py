# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images to be damaged, damage from a seed, and a reader that says of every
piece of a damaged image what it shows or that it cannot be read.

Written from the format's specification; shares nothing with imgchain.
"""
import os
import struct
import subprocess
import zlib

MIB = 1 << 20
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
OFFSET = 0x00fffffffffffe00
DATA_FILE, COMPRESSION, EXTENDED = 4, 8, 16
STREAM = "a stream that cannot be inflated"

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


class Image:
    """An image in memory: to be damaged, and to be read."""

    def __init__(self, path, external=None):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        self.external = external
        (self.version, self.backing, _, self.bits, self.size, self.crypt,
         self.l1_size, self.l1, self.rt, self.rt_clusters, self.snapshots_nr,
         self.snapshots_off) = struct.unpack_from(">IQIIQIIQQIIQ", self.data,
                                                  4)
        self.cluster = 1 << self.bits
        self.incompatible, self.order = 0, 4
        if self.version >= 3:
            self.incompatible, = struct.unpack_from(">Q", self.data, 72)
            self.order, = struct.unpack_from(">I", self.data, 96)
        self.extended = bool(self.incompatible & EXTENDED)
        self.is_external = bool(self.incompatible & DATA_FILE)
        self.entry_len = 16 if self.extended else 8
        self.nr = self.cluster // self.entry_len

    def u64(self, off):
        part = bytes(self.data[off:off + 8])
        return int.from_bytes(part.ljust(8, b"\0"), "big")

    def put(self, off, value, length=8):
        if off + length <= len(self.data):
            self.data[off:off + length] = (
                value & ((1 << 8 * length) - 1)).to_bytes(length, "big")

    # -- where things are

    def snapshots(self):
        """(offset of the entry, L1 offset, L1 entries) of each."""
        at, found = self.snapshots_off, []
        for _ in range(self.snapshots_nr):
            if at + 40 > len(self.data):
                break
            l1, entries, id_len, name_len = struct.unpack_from(
                ">QIHH", self.data, at)
            extra, = struct.unpack_from(">I", self.data, at + 36)
            found.append((at, l1, entries))
            at += (40 + extra + id_len + name_len + 7) & ~7
        return found

    def words(self, off, count):
        return [o for o in range(off, min(off + 8 * count,
                                          len(self.data) - 7), 8)
                if self.u64(o)]

    def l1_places(self):
        return self.words(self.l1, self.l1_size)

    def snapshot_l1_places(self):
        return [o for _, l1, n in self.snapshots() for o in self.words(l1, n)]

    def l2_places(self, l1_places):
        found = []
        for place in l1_places:
            table = self.u64(place) & OFFSET
            found += [o for o in range(table, table + self.cluster,
                                       self.entry_len)
                      if o + self.entry_len <= len(self.data) and self.u64(o)]
        return found

    def rt_places(self):
        return self.words(self.rt, self.rt_clusters * self.cluster // 8)

    def extension(self, kind):
        """Offset of the data of header extension KIND, or None."""
        at = struct.unpack_from(">I", self.data, 100)[0] \
            if self.version >= 3 else 72
        while at + 8 <= self.cluster:
            found, length = struct.unpack_from(">II", self.data, at)
            if found == 0:
                return None
            if found == kind:
                return at + 8
            at += 8 + (length + 7 & ~7)
        return None

    # -- what it shows

    def shows(self, l1_off=None, l1_size=None, size=None):
        """For each piece (cluster or subcluster): the bytes, 0 for
        unallocated, None where nobody can read it, or STREAM."""
        l1_off = self.l1 if l1_off is None else l1_off
        l1_size = self.l1_size if l1_size is None else l1_size
        size = self.size if size is None else size
        clusters = -(-size // self.cluster)
        out = []
        for number in range(clusters):
            out += self.cluster_shows(l1_off, l1_size, number)
        return out

    def pieces(self, value):
        return [value] * (32 if self.extended else 1)

    def cluster_shows(self, l1_off, l1_size, number):
        idx = number // self.nr
        if idx >= l1_size:
            return self.pieces(None)
        place = l1_off + 8 * idx
        if place + 8 > len(self.data):
            return self.pieces(None)
        table = self.u64(place) & OFFSET
        if table == 0:
            return self.pieces(0)
        if table % self.cluster or table >= len(self.data):
            return self.pieces(None)
        at = table + number % self.nr * self.entry_len
        return self.entry_shows(self.u64(at), self.u64(at + 8)
                                if self.extended else 0)

    def entry_shows(self, entry, bitmap):
        if entry & COMPRESSED:
            return self.compressed_shows(entry)
        off = entry & OFFSET
        if self.extended:
            return self.subclusters_show(entry, off, bitmap)
        if self.version >= 3 and entry & ZERO:
            return [bytes(self.cluster)]
        if self.version < 3 and entry & ZERO:
            return [None]
        if off == 0 and not (self.is_external and entry & COPIED):
            return [0]
        return [self.piece(off, 0, self.cluster)]

    def piece(self, off, skip, length):
        source = self.external if self.is_external else self.data
        if off % self.cluster or (not self.is_external and
                                  off >= len(self.data)):
            return None
        found = bytes(source[off + skip:off + skip + length])
        return found.ljust(length, b"\0")

    def subclusters_show(self, entry, off, bitmap):
        length, out = self.cluster // 32, []
        is_here = off != 0 or (self.is_external and entry & COPIED)
        for i in range(32):
            alloc, zero = bitmap >> i & 1, bitmap >> 32 + i & 1
            if alloc and (zero or not is_here):
                out.append(None)
            elif alloc:
                out.append(self.piece(off, i * length, length))
            elif zero:
                out.append(bytes(length))
            else:
                out.append(0)
        return out

    def compressed_shows(self, entry):
        shift = 62 - (self.bits - 8)
        off = entry & ((1 << shift) - 1)
        sectors = (entry >> shift & ((1 << (62 - shift)) - 1)) + 1
        length = sectors * 512 - off % 512
        if self.is_external or off >= len(self.data):
            return self.pieces(None)
        stored = bytes(self.data[off:off + length])
        if self.incompatible & COMPRESSION:
            # Not inflated here: the stored bytes must stay the same.
            return self.pieces(b"zstd" + stored.rstrip(b"\0"))
        try:
            out = zlib.decompressobj(-12).decompress(stored, self.cluster)
        except zlib.error:
            return self.pieces(STREAM)
        if len(out) != self.cluster:
            return self.pieces(STREAM)
        part = self.cluster // len(self.pieces(0))
        return [out[i:i + part] for i in range(0, self.cluster, part)]


def shown(image):
    """What the disk and each snapshot that makes sense show, by name."""
    out = {"disk": image.shows()}
    for at, l1, entries in image.snapshots():
        extra = int.from_bytes(image.data[at + 36:at + 40], "big")
        size = image.u64(at + 48) if extra >= 16 else image.size
        if extra <= 1024 and l1 % image.cluster == 0 and \
                l1 < len(image.data) and entries < 1 << 16:
            name = bytes(image.data[at + 40 + extra:][:8])
            out["snapshot %s %d" % (name, l1)] = \
                image.shows(l1, entries, min(size, 1 << 24))
    return out


def difference(before, after, is_alone):
    """What could be read and is not the same any more, or None. IS_ALONE: no
    backing file, so that unallocated pieces are zeros."""
    for name, pieces in before.items():
        if name not in after:
            continue
        for number, piece in enumerate(pieces):
            now = after[name][number] if number < len(after[name]) else None
            if piece is None or piece == STREAM or now == piece:
                continue
            if is_alone and piece == 0 and now and now != STREAM and \
                    not any(now):
                continue
            return "%s, piece %d: showed %r, shows %r" % (
                name, number, piece and piece[:16], now and now[:16])
    return None


# -- Damage: each takes (rng, image), False when there is nothing to damage.

def flip(rng, image, off, length=8):
    bit = rng.randrange(length * 8)
    if off + bit // 8 < len(image.data):
        image.data[off + bit // 8] ^= 1 << (bit % 8)


def target(rng, image):
    """Somewhere an entry could wrongly lead."""
    places = image.l1_places()
    tables = [image.u64(p) & OFFSET for p in places]
    blocks = [image.u64(p) & OFFSET for p in image.rt_places()]
    some = [0, image.cluster, image.l1, image.rt, len(image.data),
            len(image.data) - 512, len(image.data) + 5 * image.cluster,
            1 << 50, 512 * 3, image.snapshots_off]
    some += [rng.choice(tables)] if tables else []
    some += [rng.choice(blocks)] if blocks else []
    some += [rng.randrange(max(len(image.data) // image.cluster, 1)) *
             image.cluster]
    return rng.choice(some) & OFFSET


def lead_astray(rng, image, place):
    value = image.u64(place) & ~OFFSET
    image.put(place, value | target(rng, image))


def damage_l1_flip(rng, image):
    places = image.l1_places()
    if places:
        flip(rng, image, rng.choice(places))
    return bool(places)


def damage_l1_astray(rng, image):
    places = image.l1_places()
    if places:
        lead_astray(rng, image, rng.choice(places))
    return bool(places)


def damage_l1_twice(rng, image):
    places = image.l1_places()
    if not places or image.l1_size < 2:
        return False
    to = image.l1 + 8 * rng.randrange(image.l1_size)
    image.put(to, image.u64(rng.choice(places)))
    return True


def damage_l1_swap(rng, image):
    places = image.l1_places()
    if len(places) < 2:
        return False
    a, b = rng.sample(places, 2)
    first, second = image.u64(a), image.u64(b)
    image.put(a, second)
    image.put(b, first)
    return True


def damage_l1_flags(rng, image):
    image.put(image.l1 + 8 * rng.randrange(image.l1_size),
              rng.choice([1 << 63, 1, 1 << 60]))
    return True


def damage_l1_zero(rng, image):
    places = image.l1_places()
    if places:
        image.put(rng.choice(places), 0)
    return bool(places)


def damage_l2_flip(rng, image):
    places = image.l2_places(image.l1_places())
    for _ in range(rng.choice([1, 1, 5])):
        if places:
            flip(rng, image, rng.choice(places), image.entry_len)
    return bool(places)


def damage_l2_astray(rng, image):
    places = image.l2_places(image.l1_places())
    for _ in range(rng.choice([1, 2, 6])):
        if places:
            lead_astray(rng, image, rng.choice(places))
    return bool(places)


def damage_l2_twice(rng, image):
    places = image.l2_places(image.l1_places())
    if not places:
        return False
    source = rng.choice(places)
    for _ in range(rng.choice([1, 3, 40])):
        to = rng.choice(places)
        image.data[to:to + image.entry_len] = \
            image.data[source:source + image.entry_len]
    return True


def damage_l2_random(rng, image):
    places = image.l2_places(image.l1_places())
    if places:
        image.put(rng.choice(places), rng.getrandbits(64))
    return bool(places)


def damage_l2_table(rng, image):
    places = image.l1_places()
    if places:
        table = image.u64(rng.choice(places)) & OFFSET
        size = min(image.cluster, 4096)
        image.data[table:table + size] = rng.choice(
            [rng.randbytes(size), bytes(size), b"\xff" * size])
    return bool(places)


def damage_copied(rng, image):
    places = image.l1_places() + image.l2_places(image.l1_places())
    for place in places:
        if rng.randrange(3) == 0:
            image.put(place, image.u64(place) ^ COPIED)
    return bool(places)


def damage_snapshot_l1(rng, image):
    places = image.snapshot_l1_places()
    if places:
        place = rng.choice(places)
        rng.choice([flip, lead_astray])(rng, image, place)
    return bool(places)


def damage_snapshot_l2(rng, image):
    places = image.l2_places(image.snapshot_l1_places())
    if places:
        place = rng.choice(places)
        rng.choice([flip, lead_astray])(rng, image, place)
    return bool(places)


def damage_snapshot_table(rng, image):
    if image.snapshots_nr == 0:
        return False
    at = rng.choice(image.snapshots())[0]
    rng.choice([
        lambda: flip(rng, image, at, 64),
        lambda: image.put(at + 36, rng.choice([0, 8, 1032, 1 << 30]), 4),
        lambda: image.put(at, target(rng, image)),
        lambda: image.put(at + 8, rng.choice([0, 1 << 20, 1 << 31]), 4),
    ])()
    return True


def damage_snapshots_field(rng, image):
    if image.snapshots_nr == 0:
        return False
    rng.choice([
        lambda: image.put(64, target(rng, image)),
        lambda: image.put(60, image.snapshots_nr + rng.choice([1, 9]), 4),
    ])()
    return True


def damage_rt_flip(rng, image):
    places = image.rt_places()
    if places:
        flip(rng, image, rng.choice(places))
    return bool(places)


def damage_rt_astray(rng, image):
    places = image.rt_places()
    if places:
        lead_astray(rng, image, rng.choice(places))
    return bool(places)


def damage_rt_twice(rng, image):
    places = image.rt_places()
    count = image.rt_clusters * image.cluster // 8
    if places:
        image.put(image.rt + 8 * rng.randrange(min(count, 4)),
                  image.u64(rng.choice(places)))
    return bool(places)


def damage_rt_zero(rng, image):
    for place in image.rt_places():
        if rng.randrange(2):
            image.put(place, 0)
    return True


def damage_rt_field(rng, image):
    rng.choice([
        lambda: image.put(48, target(rng, image)),
        lambda: image.put(48, image.rt + 512),
        lambda: image.put(56, rng.choice([0, 2, 1 << 20]), 4),
    ])()
    return True


def damage_refcounts(rng, image):
    places = image.rt_places()
    if not places:
        return False
    block = image.u64(rng.choice(places)) & OFFSET
    used = len(image.data) // image.cluster
    length = max(1, min((used << image.order) // 8 + 8, image.cluster))
    for _ in range(rng.choice([1, 4, 30])):
        at = block + rng.randrange(length)
        if at < len(image.data):
            image.data[at] = rng.choice([0, 1, 2, 0xff, rng.randrange(256)])
    return True


def damage_refcounts_zero(rng, image):
    places = image.rt_places()
    if places:
        block = image.u64(rng.choice(places)) & OFFSET
        some = rng.randrange(1, image.cluster + 1)
        image.data[block:block + some] = bytes(some)
    return bool(places)


def damage_cut(rng, image):
    if len(image.data) <= 6 * image.cluster:
        return False
    del image.data[-rng.choice([1, 511, 512, image.cluster,
                                2 * image.cluster + 7,
                                len(image.data) // 3]):]
    return True


def damage_longer(rng, image):
    image.data += rng.choice([bytes, rng.randbytes])(
        rng.choice([1, 512, image.cluster, 3 * image.cluster + 1]))
    return True


def damage_autoclear(rng, image):
    if image.version < 3 or not image.data[95]:
        return False
    image.data[95] &= ~1
    return True


def damage_bits(rng, image):
    if image.version < 3:
        return False
    image.put(72, image.incompatible | rng.choice([1, 2, 3]))
    if rng.randrange(2):
        damage_refcounts(rng, image)
    return True


def damage_bitmaps(rng, image):
    data = image.extension(0x23852875)
    if data is None:
        return False
    directory = image.u64(data + 16)
    table = image.u64(directory)
    rng.choice([
        lambda: flip(rng, image, directory, 48),
        lambda: flip(rng, image, data, 24),
        lambda: image.put(table, rng.getrandbits(64)),
        lambda: image.put(table, target(rng, image)),
        lambda: image.put(directory, target(rng, image)),
    ])()
    return True


def damage_l1_field(rng, image):
    rng.choice([
        lambda: image.put(40, target(rng, image)),
        lambda: image.put(36, image.l1_size + rng.choice([1, 700]), 4),
    ])()
    return True


def damage_anywhere(rng, image):
    first = image.cluster
    for _ in range(rng.choice([1, 20])):
        if len(image.data) > first:
            flip(rng, image, rng.randrange(first, len(image.data)), 1)
    return True


DAMAGE = [value for name, value in sorted(globals().items())
          if name.startswith("damage_")]
