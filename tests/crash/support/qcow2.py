# SPDX-License-Identifier: LGPL-2.1-or-later
"""qcow2 images in memory: what they show, and whether their refcounts are
right. Written from the format's specification, for the crash tests to judge
by: it shares nothing with imgchain, and refuses what it does not know.
"""

import struct
import zlib

MAGIC = 0x514649fb
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1
OFFSET_MASK = 0x00fffffffffffe00
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = 1, 2, 4, 8, 16
KNOWN_INCOMPATIBLE = 31
EXT_BACKING_FORMAT = 0xe2792aca
EXT_BITMAPS = 0x23852875
EXT_DATA_FILE = 0x44415441
HEADER_V2 = struct.Struct(">IIQIIQIIQQIIQ")
HEADER_V3 = struct.Struct(">QQQII")
BITMAP_IN_USE, BITMAP_AUTO = 1, 2
SUBCLUSTERS = 32


class Broken(Exception):
    """The image cannot be opened, or not be believed."""


def round_up(value, unit):
    return -(-value // unit) * unit


def refcounts_in(block, bits):
    """The counts in BLOCK, without the zeros at its end."""
    used = round_up(len(block.rstrip(b"\0")), 8)
    if bits < 8:
        mask = (1 << bits) - 1
        return [byte >> shift & mask for byte in block[:used]
                for shift in range(0, 8, bits)]
    code = {8: "B", 16: "H", 32: "I", 64: "Q"}[bits]
    return struct.unpack(f">{used * 8 // bits}{code}", block[:used])


class Image:
    """DATA is the file; DATA_FILE the bytes of an external data file."""

    def __init__(self, data, data_file=None):
        self.data = data
        self.external = data_file
        self.parse_header()
        self.parse_extensions()
        self.l1 = self.table(self.l1_off, self.l1_nr)

    def parse_header(self):
        if len(self.data) < 72:
            raise Broken("no header")
        (magic, self.version, backing_off, backing_len, self.cluster_bits,
         self.size, crypt, self.l1_nr, self.l1_off, self.rt_off,
         self.rt_clusters, self.snapshots_nr,
         self.snapshots_off) = HEADER_V2.unpack_from(self.data)
        if magic != MAGIC or self.version not in (2, 3):
            raise Broken("no qcow2 image")
        if crypt:
            raise Broken("encrypted")
        self.incompatible = self.compatible = self.autoclear = 0
        self.refcount_bits, self.header_len = 16, 72
        self.compression = 0
        if self.version == 3:
            (self.incompatible, self.compatible, self.autoclear, order,
             self.header_len) = HEADER_V3.unpack_from(self.data, 72)
            self.refcount_bits = 1 << order
            if self.incompatible & COMPRESSION:
                self.compression = self.data[104]
        if self.incompatible & ~KNOWN_INCOMPATIBLE:
            raise Broken(f"incompatible features {self.incompatible:#x}")
        if self.incompatible & CORRUPT:
            raise Broken("marked corrupt")
        self.cluster = 1 << self.cluster_bits
        self.extended = bool(self.incompatible & EXTENDED_L2)
        self.backing = None
        if backing_off:
            self.backing = self.bytes_at(backing_off, backing_len).decode()

    def bytes_at(self, off, length):
        if off + length > len(self.data):
            raise Broken(f"[{off}, +{length}) lies past the end")
        return self.data[off:off + length]

    def parse_extensions(self):
        self.backing_format = None
        self.bitmaps = None
        self.data_file = None
        at = self.header_len
        while at + 8 <= min(self.cluster, len(self.data)):
            kind, length = struct.unpack_from(">II", self.data, at)
            if kind == 0:
                return
            body = self.bytes_at(at + 8, length)
            if kind == EXT_BACKING_FORMAT:
                self.backing_format = body.decode()
            elif kind == EXT_DATA_FILE:
                self.data_file = body.decode()
            elif kind == EXT_BITMAPS:
                self.bitmaps = struct.unpack(">IIQQ", body[:24])
            at += 8 + round_up(length, 8)

    def table(self, off, number):
        """NUMBER big-endian 64-bit entries; a part past the end is an
        error, as an image like that is not opened."""
        if number and off % self.cluster:
            raise Broken(f"a table at {off}")
        return struct.unpack(f">{number}Q", self.bytes_at(off, 8 * number))

    # -- contents

    @property
    def is_external(self):
        return bool(self.incompatible & DATA_FILE)

    @property
    def l2_nr(self):
        return self.cluster // (16 if self.extended else 8)

    def l2_words(self, off):
        words = self.table(off, self.cluster // 8)
        if self.extended:
            return list(zip(words[::2], words[1::2]))
        return [(word, None) for word in words]

    def raw_bytes(self, off, length):
        """Of the file that has the data; zeros past its end."""
        source = self.external if self.is_external else self.data
        found = source[off:off + length]
        return found + bytes(length - len(found))

    def inflate(self, entry):
        shift = 62 - (self.cluster_bits - 8)
        off = entry & ((1 << shift) - 1)
        sectors = (entry >> shift & ((1 << (62 - shift)) - 1)) + 1
        length = sectors * 512 - off % 512
        if self.compression:
            raise Broken("zstd, which this reader does not know")
        stored = self.data[off:off + length]
        try:
            out = zlib.decompressobj(-12).decompress(stored, self.cluster)
        except zlib.error as error:
            raise Broken(f"compressed cluster at {off}: {error}") from error
        if len(out) != self.cluster:
            raise Broken(f"compressed cluster at {off} is short")
        return out

    def cluster_bytes(self, entry, bitmap, under):
        """One cluster; UNDER is what the backing file has there."""
        if entry & COMPRESSED:
            return self.inflate(entry)
        off = entry & OFFSET_MASK
        if bitmap is not None:
            return self.subcluster_bytes(off, bitmap, under)
        if self.version == 3 and entry & ZERO:
            return bytes(self.cluster)
        if off == 0 and not (self.is_external and entry & COPIED):
            return under
        return self.raw_bytes(off, self.cluster)

    def subcluster_bytes(self, off, bitmap, under):
        part = self.cluster // SUBCLUSTERS
        out = []
        for i in range(SUBCLUSTERS):
            if bitmap >> 32 + i & 1:
                if bitmap >> i & 1:
                    raise Broken("a subcluster that is data and zero")
                out.append(bytes(part))
            elif bitmap >> i & 1:
                out.append(self.raw_bytes(off + i * part, part))
            else:
                out.append(under[i * part:(i + 1) * part])
        return b"".join(out)

    def contents(self, backing=None, l1=None, size=None):
        """All guest bytes. BACKING: those of the backing file."""
        size = self.size if size is None else size
        under = bytearray(round_up(size, self.cluster))
        if backing:
            usable = min(len(backing), len(under))
            under[:usable] = backing[:usable]
        span = self.l2_nr * self.cluster
        for i, l1_entry in enumerate(self.l1 if l1 is None else l1):
            off = l1_entry & OFFSET_MASK
            if off == 0 or i * span >= len(under):
                continue
            for n, (word, bitmap) in enumerate(self.l2_words(off)):
                at = i * span + n * self.cluster
                if (word or bitmap) and at < len(under):
                    under[at:at + self.cluster] = self.cluster_bytes(
                        word, bitmap, bytes(under[at:at + self.cluster]))
        return bytes(under[:size])

    def snapshots(self):
        """(name, L1 table offset, entries, size) of each."""
        at = self.snapshots_off
        for _ in range(self.snapshots_nr):
            fixed = struct.unpack(">QIHHIIQII", self.bytes_at(at, 40))
            l1_off, l1_nr, id_len, name_len = fixed[:4]
            extra_len = fixed[8]
            extra = self.bytes_at(at + 40, extra_len)
            size = (struct.unpack(">Q", extra[8:16])[0]
                    if extra_len >= 16 else self.size)
            name_at = at + 40 + extra_len + id_len
            yield (self.bytes_at(name_at, name_len).decode(), l1_off, l1_nr,
                   size)
            at = round_up(name_at + name_len, 8)
        self.snapshots_end = at

    # -- bitmaps

    def bitmap_entries(self):
        """Name, flags, granularity, and where its table is, of each."""
        if not self.bitmaps or not self.autoclear & 1:
            return
        number, _, _, at = self.bitmaps
        for _ in range(number):
            (table_off, table_nr, flags, _, bits, name_len,
             extra_len) = struct.unpack(">QIIBBHI", self.bytes_at(at, 24))
            name_at = at + 24 + extra_len
            name = self.bytes_at(name_at, name_len).decode()
            yield name, flags, 1 << bits, table_off, table_nr
            at = round_up(name_at + name_len, 8)

    def bitmap_bits(self, table_off, table_nr):
        """One integer; bit N is the bitmap's bit N."""
        parts = []
        for entry in self.table(table_off, table_nr):
            off = entry & OFFSET_MASK
            parts.append(self.bytes_at(off, self.cluster) if off else
                         (b"\xff" if entry & 1 else b"\0") * self.cluster)
        return int.from_bytes(b"".join(parts), "little")

    # -- refcounts

    def refcount_blocks(self):
        return self.table(self.rt_off, self.rt_clusters * self.cluster // 8)

    def stored_refcounts(self):
        """Those that are not 0, by cluster."""
        bits = self.refcount_bits
        per_block = self.cluster * 8 // bits
        out = {}
        for i, off in enumerate(self.refcount_blocks()):
            if off & OFFSET_MASK:
                block = self.bytes_at(off & OFFSET_MASK, self.cluster)
                for n, count in enumerate(refcounts_in(block, bits)):
                    if count:
                        out[i * per_block + n] = count
        return out

    def check(self):
        """(corruptions, leaks): texts, and the number of clusters."""
        counter = _Counter(self)
        counter.count_all()
        return counter.compare()


class _Counter:
    """Counts the references on each cluster."""

    def __init__(self, image):
        self.image = image
        self.refs = {}
        self.compressed = set()  # clusters that may be used by several
        self.problems = []
        self.copied = []  # (what, offset, is the flag set)

    def add(self, off, length, what):
        if length == 0:
            return
        cluster = self.image.cluster
        if what != "compressed data" and off % cluster:
            self.problems.append(f"{what} at {off} is not aligned")
        if off + length - len(self.image.data) >= cluster:
            self.problems.append(f"{what} at {off} lies past the end")
        for n in range(off // cluster, (off + length - 1) // cluster + 1):
            self.refs[n] = self.refs.get(n, 0) + 1
            if what == "compressed data":
                self.compressed.add(n)

    def count_all(self):
        image = self.image
        self.add(0, image.cluster, "header")
        self.add(image.rt_off, image.rt_clusters * image.cluster,
                 "refcount table")
        for off in image.refcount_blocks():
            if off & OFFSET_MASK:
                self.add(off & OFFSET_MASK, image.cluster, "refcount block")
        self.count_l1(image.l1_off, image.l1, True)
        for _, l1_off, l1_nr, _ in image.snapshots():
            self.count_l1(l1_off, image.table(l1_off, l1_nr), False)
        if image.snapshots_nr:
            self.add(image.snapshots_off,
                     image.snapshots_end - image.snapshots_off,
                     "snapshot table")
        self.count_bitmaps()

    def count_l1(self, off, entries, is_active):
        image = self.image
        self.add(off, 8 * len(entries), "L1 table")
        for entry in entries:
            l2_off = entry & OFFSET_MASK
            if l2_off == 0:
                continue
            self.add(l2_off, image.cluster, "L2 table")
            if is_active:
                self.copied.append(("L2 table", l2_off,
                                    bool(entry & COPIED)))
            for word, _ in image.l2_words(l2_off):
                if word:
                    self.count_entry(word, is_active)

    def count_entry(self, word, is_active):
        image = self.image
        if word & COMPRESSED:
            shift = 62 - (image.cluster_bits - 8)
            off = word & ((1 << shift) - 1)
            sectors = (word >> shift & ((1 << (62 - shift)) - 1)) + 1
            first = off & ~511
            self.add(first, sectors * 512, "compressed data")
            return
        off = word & OFFSET_MASK
        if off == 0 or image.is_external:
            return
        self.add(off, image.cluster, "data")
        if is_active:
            self.copied.append(("data", off, bool(word & COPIED)))

    def count_bitmaps(self):
        image = self.image
        if not image.bitmaps or not image.autoclear & 1:
            return
        _, _, length, off = image.bitmaps
        self.add(off, length, "bitmap directory")
        for _, _, _, table_off, table_nr in image.bitmap_entries():
            self.add(table_off, 8 * table_nr, "bitmap table")
            for entry in image.table(table_off, table_nr):
                if entry & OFFSET_MASK:
                    self.add(entry & OFFSET_MASK, image.cluster,
                             "bitmap data")

    def compare(self):
        image = self.image
        stored = image.stored_refcounts()
        problems = list(self.problems)
        leaks = 0
        if not image.incompatible & DIRTY:
            for n, refs in sorted(self.refs.items()):
                if stored.get(n, 0) < refs:
                    problems.append(f"cluster {n}: refcount "
                                    f"{stored.get(n, 0)}, {refs} references")
            leaks = sum(1 for n, count in stored.items()
                        if count > self.refs.get(n, 0))
            for what, off, is_set in self.copied:
                count = stored.get(off >> image.cluster_bits, 0)
                if is_set != (count == 1):
                    problems.append(f"{what} at {off}: COPIED {is_set}, "
                                    f"refcount {count}")
        return problems, leaks


def check_dirty(image):
    """Of an image whose refcounts nobody relies on: no cluster is used
    twice by what is not shared."""
    counter = _Counter(image)
    counter.count_all()
    problems = list(counter.problems)
    if not image.snapshots_nr:
        problems += [f"cluster {n} is used {refs} times"
                     for n, refs in counter.refs.items()
                     if refs > 1 and n not in counter.compressed]
    return problems
