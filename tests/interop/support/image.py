# SPDX-License-Identifier: LGPL-2.1-or-later
"""An image in memory: where its parts are, and a reader that says of every
piece of a damaged image what it shows or that it cannot be read.

Written from the format's specification; shares nothing with imgchain.
"""
import struct
import zlib

COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
OFFSET = 0x00fffffffffffe00
DATA_FILE, COMPRESSION, EXTENDED = 4, 8, 16
BITMAPS = 0x23852875  # header extension
STREAM = "a stream that cannot be inflated"


class Image:
    """An image in memory: to be damaged, and to be read."""

    def __init__(self, path, external=None):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        self.external = external
        (self.version, self.backing, _, self.cluster_bits, self.size,
         self.crypt, self.l1_size, self.l1, self.reftable,
         self.reftable_clusters, self.snapshots_nr, self.snapshots_off) = struct.unpack_from(">IQIIQIIQQIIQ", self.data,
                                                  4)
        self.cluster = 1 << self.cluster_bits
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

    def u32(self, off):
        return self.u64(off) >> 32

    def u16(self, off):
        return self.u64(off) >> 48

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

    def reftable_places(self):
        return self.words(self.reftable,
                          self.reftable_clusters * self.cluster // 8)

    def snapshot_places(self):
        """Offsets of the entries of the snapshot table."""
        return [at for at, _, _ in self.snapshots()]

    def extensions(self):
        """Offsets of the extensions, the end mark being the last."""
        off = 72 if self.version < 3 else self.u32(100)
        found = [off]
        while self.u32(off) and off < self.cluster - 16:
            off += 8 + (self.u32(off + 4) + 7) // 8 * 8
            found.append(off)
        return found

    def extension(self, kind):
        """Offset of the data of header extension KIND, or None."""
        for off in self.extensions():
            if self.u32(off) == kind:
                return off + 8
        return None

    def append_extension(self, kind, data):
        """Put one before the end mark; False where a name is in the way."""
        off = self.extensions()[-1]
        if self.u64(8) or off + 16 + len(data) > self.cluster:
            return False
        self.put(off, kind, 4)
        self.put(off + 4, len(data), 4)
        self.data[off + 8:off + 8 + len(data)] = data
        return True

    def bitmap_places(self):
        """Offsets of the entries of the bitmap directory."""
        found, at = [], self.extension(BITMAPS)
        if at is None:
            return found
        off = self.u64(at + 16)
        for _ in range(self.u32(at)):
            found.append(off)
            off += (24 + self.u16(off + 18) + 7) & ~7
        return found

    def bitmap_table_places(self):
        found = []
        for off in self.bitmap_places():
            table = self.u64(off)
            found += range(table, table + 8 * self.u32(off + 8), 8)
        return found

    def save(self, path):
        """What is zero stays a hole."""
        step = 1 << 16
        with open(path, "wb") as file:
            for off in range(0, len(self.data), step):
                block = self.data[off:off + step]
                if block.count(0) != len(block):
                    file.seek(off)
                    file.write(block)
            file.truncate(len(self.data))

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
        shift = 62 - (self.cluster_bits - 8)
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
