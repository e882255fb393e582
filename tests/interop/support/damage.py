# SPDX-License-Identifier: LGPL-2.1-or-later
"""Seeded damage to qcow2 images.

An Image is a file in memory with the few fields that damage needs. Each
damage_ function changes one and says whether there was anything to change;
DAMAGE lists them all. What kinds there are follows the parts of the format:
header, extensions, L1 and L2 tables, refcounts, snapshots, bitmaps.
"""
import struct

BACKING_FORMAT = 0xe2792aca
BITMAPS = 0x23852875
CRYPTO = 0x0537be77
DATA_FILE = 0x44415441


def u32(data, off):
    return struct.unpack_from(">I", data, off)[0]


def put16(data, off, value):
    struct.pack_into(">H", data, off, value & (2 ** 16 - 1))


def put32(data, off, value):
    struct.pack_into(">I", data, off, value & (2 ** 32 - 1))


def u64(data, off):
    return struct.unpack_from(">Q", data, off)[0]


def put64(data, off, value):
    struct.pack_into(">Q", data, off, value & (2 ** 64 - 1))


def words(data, off, count):
    """Offsets of words that are there and not 0."""
    return [o for o in range(off, min(off + 8 * count, len(data) - 7), 8)
            if u64(data, o)]


class Header:
    """The few header fields that damage needs."""

    def __init__(self, data):
        (self.version, _, _, self.cluster_bits, self.size, _, self.l1_size,
         self.l1, self.reftable, self.reftable_clusters, self.snapshots_nr,
         self.snapshots) = struct.unpack_from(">IQIIQIIQQIIQ", data, 4)
        self.cluster = 1 << self.cluster_bits
        self.incompatible = 0
        self.order = 4
        if self.version >= 3:
            self.incompatible, = struct.unpack_from(">Q", data, 72)
            self.order, = struct.unpack_from(">I", data, 96)
        self.entry_len = 16 if self.incompatible & 16 else 8


class Image:
    """An image in memory, to be damaged."""

    OFFSET = 0x00fffffffffffe00

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        self.header = Header(self.data)

    def l1_entries(self):
        return words(self.data, self.header.l1, self.header.l1_size)

    def snapshot_l1_entries(self):
        h, found, off = self.header, [], self.header.snapshots
        for _ in range(h.snapshots_nr):
            l1, size, id_len, name_len = struct.unpack_from(
                ">QIHH", self.data, off)
            extra, = struct.unpack_from(">I", self.data, off + 36)
            found += words(self.data, l1, size)
            off += (40 + extra + id_len + name_len + 7) & ~7
        return found

    def l2_entries(self, l1_entries):
        h, found = self.header, []
        for off in l1_entries:
            table = u64(self.data, off) & self.OFFSET
            count = h.cluster // h.entry_len
            found += [o for o in range(table, table + count * h.entry_len,
                                       h.entry_len)
                      if o + h.entry_len <= len(self.data) and
                      u64(self.data, o)]
        return found

    def reftable_entries(self):
        h = self.header
        return words(self.data, h.reftable,
                     h.reftable_clusters * h.cluster // 8)

    def snapshot_entries(self):
        """Offsets of the entries of the snapshot table."""
        h, found, off = self.header, [], self.header.snapshots
        for _ in range(h.snapshots_nr):
            found.append(off)
            id_len, name_len = struct.unpack_from(">HH", self.data, off + 12)
            off += (40 + u32(self.data, off + 36) + id_len + name_len + 7) & ~7
        return found

    def extensions(self):
        """Offsets of the extensions, the end mark being the last."""
        off = 72 if self.header.version < 3 else u32(self.data, 100)
        found = [off]
        while u32(self.data, off) and off < self.header.cluster - 16:
            off += 8 + (u32(self.data, off + 4) + 7) // 8 * 8
            found.append(off)
        return found

    def extension(self, kind):
        """Offset of the data of the extension of this type, or None."""
        for off in self.extensions():
            if u32(self.data, off) == kind:
                return off + 8
        return None

    def append_extension(self, kind, data):
        """Put one before the end mark; False where a name is in the way."""
        off = self.extensions()[-1]
        if u64(self.data, 8) or off + 16 + len(data) > self.header.cluster:
            return False
        put32(self.data, off, kind)
        put32(self.data, off + 4, len(data))
        self.data[off + 8:off + 8 + len(data)] = data
        return True

    def bitmap_entries(self):
        """Offsets of the entries of the bitmap directory."""
        found, at = [], self.extension(BITMAPS)
        if at is None:
            return found
        off = u64(self.data, at + 16)
        for _ in range(u32(self.data, at)):
            found.append(off)
            name_len, = struct.unpack_from(">H", self.data, off + 18)
            off += (24 + name_len + 7) & ~7
        return found

    def bitmap_table_entries(self):
        found = []
        for off in self.bitmap_entries():
            table = u64(self.data, off)
            found += range(table, table + 8 * u32(self.data, off + 8), 8)
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


def flip(rng, image, off, length=8):
    bit = rng.randrange(length * 8)
    if off + bit // 8 < len(image.data):
        image.data[off + bit // 8] ^= 1 << (bit % 8)


# Each kind of damage: False when the image has nothing to damage so.

def damage_l1(rng, image):
    entries = image.l1_entries()
    if entries:
        flip(rng, image, rng.choice(entries))
    return bool(entries)


def damage_l1_copy(rng, image):
    entries = image.l1_entries()
    if entries and image.header.l1_size > 1:
        to = image.header.l1 + 8 * rng.randrange(image.header.l1_size)
        put64(image.data, to, u64(image.data, rng.choice(entries)))
        return True
    return False


def damage_l1_flags_only(rng, image):
    put64(image.data, image.header.l1 + 8 * rng.randrange(
        image.header.l1_size), rng.choice([1 << 63, 1, 1 << 60]))
    return True


def damage_l2(rng, image):
    entries = image.l2_entries(image.l1_entries())
    for _ in range(rng.choice([1, 1, 5])):
        if entries:
            flip(rng, image, rng.choice(entries), image.header.entry_len)
    return bool(entries)


def damage_l2_copy(rng, image):
    entries = image.l2_entries(image.l1_entries())
    times = rng.choice([1, 3, 40])
    if not entries:
        return False
    source = rng.choice(entries)
    length = image.header.entry_len
    for _ in range(times):
        to = rng.choice(entries)
        to += length * rng.randrange(4) if to + 5 * length < len(
            image.data) else 0
        image.data[to:to + length] = image.data[source:source + length]
    return True


def damage_l2_outside(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if entries:
        off = rng.choice(entries)
        value = u64(image.data, off) & ~image.OFFSET
        where = rng.choice([len(image.data), len(image.data) - 512,
                            len(image.data) + 5 * image.header.cluster,
                            1 << 50, 512, image.header.cluster])
        put64(image.data, off, value | (where & image.OFFSET))
    return bool(entries)


def damage_l2_random(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if entries:
        put64(image.data, rng.choice(entries), rng.getrandbits(64))
    return bool(entries)


def damage_snapshot_l1(rng, image):
    entries = image.snapshot_l1_entries()
    if entries:
        flip(rng, image, rng.choice(entries))
    return bool(entries)


def damage_snapshot_l2(rng, image):
    entries = image.l2_entries(image.snapshot_l1_entries())
    if entries:
        flip(rng, image, rng.choice(entries), image.header.entry_len)
    return bool(entries)


def damage_snapshot_table(rng, image):
    h = image.header
    if h.snapshots_nr == 0:
        return False
    flip(rng, image, h.snapshots, 64)
    return True


def damage_reftable(rng, image):
    entries = image.reftable_entries()
    if entries:
        flip(rng, image, rng.choice(entries))
    return bool(entries)


def damage_reftable_copy(rng, image):
    entries = image.reftable_entries()
    h = image.header
    count = h.reftable_clusters * h.cluster // 8
    if entries:
        put64(image.data, h.reftable + 8 * rng.randrange(min(count, 4)),
              u64(image.data, rng.choice(entries)))
    return bool(entries)


def damage_reftable_drop(rng, image):
    entries = image.reftable_entries()
    if entries:
        put64(image.data, rng.choice(entries), 0)
    return bool(entries)


def refblock_bytes(rng, image):
    entries = image.reftable_entries()
    block = u64(image.data, rng.choice(entries)) & image.OFFSET
    length = min(image.header.cluster, len(image.data) - block)
    used = len(image.data) // image.header.cluster
    used = used * (1 << image.header.order) // 8 + 8
    return block, max(1, min(length, used))


def damage_refcounts(rng, image):
    block, length = refblock_bytes(rng, image)
    for _ in range(rng.choice([1, 4, 30])):
        image.data[block + rng.randrange(length)] = rng.choice(
            [0, 1, 2, 0xff, rng.randrange(256)])
    return True


def damage_refcounts_zero(rng, image):
    block, length = refblock_bytes(rng, image)
    some = rng.randrange(1, length + 1)
    image.data[block:block + some] = bytes(some)
    return True


def damage_truncate(rng, image):
    del image.data[-rng.choice([1, 511, 512, image.header.cluster,
                                2 * image.header.cluster + 7,
                                len(image.data) // 3]):]
    return len(image.data) > 4 * image.header.cluster


def damage_extend(rng, image):
    image.data += bytes(rng.choice([1, 512, image.header.cluster,
                                    9 * image.header.cluster + 1]))
    return True


def damage_autoclear(rng, image):
    if image.header.version < 3 or not image.data[95]:
        return False
    image.data[95] = 0
    return True


def damage_anywhere(rng, image):
    # Past the header: what is metadata there is a matter of luck.
    first = image.header.cluster
    for _ in range(rng.choice([1, 20])):
        flip(rng, image, rng.randrange(first, len(image.data)), 1)
    return True


# Header.

def put_field(rng, image, off, width, values):
    """One of VALUES (numbers, or functions of the image) into a field."""
    value = rng.choice(values)
    (put32 if width == 4 else put64)(image.data, off, value)
    return True


def places(image):
    """Offsets that a table should not be at, and some that it could."""
    h, end = image.header, len(image.data)
    return [0, 512, h.cluster, h.cluster * 2, h.cluster * 3, h.l1, h.reftable,
            end, end - end % h.cluster, end + 9 * h.cluster,
            end - end % h.cluster + 9 * h.cluster, 1 << 40, 1 << 55, 1 << 62,
            (1 << 63) - h.cluster, 1 << 63, (1 << 64) - h.cluster]


def damage_header_l1_offset(rng, image):
    return put_field(rng, image, 40, 8, places(image))


def damage_header_l1_size(rng, image):
    size = image.header.l1_size
    return put_field(rng, image, 36, 4, [0, 1, size - 1, size + 1, size + 999,
                                         1 << 21, (1 << 22) + 1, (1 << 22)])


def damage_header_reftable_offset(rng, image):
    return put_field(rng, image, 48, 8, places(image))


def damage_header_reftable_clusters(rng, image):
    return put_field(rng, image, 56, 4, [0, 2, 3, 200, 1 << 14, 1 << 20])


def damage_header_snapshots_nr(rng, image):
    return put_field(rng, image, 60, 4, [0, 1, 2, 5, 65536, 65537, 1 << 31])


def damage_header_snapshots_offset(rng, image):
    if image.header.snapshots_nr == 0:
        put32(image.data, 60, rng.choice([0, 1, 3]))
    return put_field(rng, image, 64, 8, places(image))


def damage_header_size(rng, image):
    size = image.header.size
    return put_field(rng, image, 24, 8, [0, 1, size - 511, size // 2,
                                         size * 2, 1 << 40, 1 << 63,
                                         (1 << 64) - 512])


def damage_header_cluster_bits(rng, image):
    bits = image.header.cluster_bits
    return put_field(rng, image, 20, 4, [0, 8, bits - 1, bits + 1, 22, 32])


def damage_header_refcount_order(rng, image):
    return image.header.version >= 3 and put_field(
        rng, image, 96, 4, [0, 1, 2, 3, 4, 5, 6, 7, 32])


def damage_header_version(rng, image):
    return put_field(rng, image, 4, 4, [1, 2, 3, 4])


def damage_header_crypt(rng, image):
    return put_field(rng, image, 32, 4, [0, 1, 3])


def damage_header_incompatible(rng, image):
    if image.header.version < 3:
        return False
    bit = rng.choice([0, 1, 2, 3, 4, 5, 63])
    put64(image.data, 72, u64(image.data, 72) ^ (1 << bit))
    return True


def damage_header_other_features(rng, image):
    if image.header.version < 3:
        return False
    off, bit = rng.choice([80, 88]), rng.choice([0, 1, 2, 63])
    put64(image.data, off, u64(image.data, off) ^ (1 << bit))
    return True


def damage_header_length(rng, image):
    return image.header.version >= 3 and put_field(
        rng, image, 100, 4, [0, 96, 104, 105, 112, 120, image.header.cluster,
                             image.header.cluster + 8])


def damage_header_tail(rng, image):
    if image.header.version < 3:
        return False
    image.data[rng.choice([104, 105, 111])] = rng.choice([1, 2, 0x80])
    return True


def damage_header_backing(rng, image):
    put64(image.data, 8, rng.choice([0, 80, 104, 300, image.header.cluster]))
    put32(image.data, 16, rng.choice([0, 1, 8, 1023, 1024]))
    return True


def damage_header_cut(rng, image):
    del image.data[rng.choice([8, 71, 72, 100, 104, 111, 112, 500]):]
    return True


# Extensions.

def damage_extension_length(rng, image):
    found = image.extensions()[:-1]
    return bool(found) and put_field(
        rng, image, rng.choice(found) + 4, 4,
        [0, 1, 16, 17, 24, 1 << 16, 0xfffffff9, 0xffffffff])


def damage_extension_type(rng, image):
    found = image.extensions()
    return put_field(rng, image, rng.choice(found), 4,
                     [0, 1, BACKING_FORMAT, BITMAPS, CRYPTO, DATA_FILE])


def damage_extension_more(rng, image):
    kind, data = rng.choice([
        (BACKING_FORMAT, b"x" * 16), (BACKING_FORMAT, b"raw"),
        (DATA_FILE, b"a name"), (CRYPTO, bytes(16)), (BITMAPS, bytes(24)),
        (BITMAPS, bytes(8)), (0x12345678, b"unknown")])
    return image.append_extension(kind, data)


def damage_extension_crypto(rng, image):
    at = image.extension(CRYPTO)
    if at is None:
        return False
    if rng.randrange(2):
        return put_field(rng, image, at, 8, places(image))
    return put_field(rng, image, at + 8, 8, [0, 1, 512, 1 << 20, 1 << 24,
                                             (1 << 24) + 1, 1 << 63])


def damage_extension_bitmaps(rng, image):
    at = image.extension(BITMAPS)
    if at is None:
        return False
    what = rng.randrange(4)
    if what == 0:
        return put_field(rng, image, at, 4, [0, 1, 2, 4, 65535, 65536])
    if what == 1:
        return put_field(rng, image, at + 4, 4, [1])
    if what == 2:
        return put_field(rng, image, at + 8, 8,
                         [0, 8, u64(image.data, at + 8) - 8,
                          u64(image.data, at + 8) + 8, 67107840, 67107841])
    return put_field(rng, image, at + 16, 8, places(image))


# What lies where something else does.

def overlaps(rng, image):
    h = image.header
    block = [u64(image.data, o) & image.OFFSET
             for o in image.reftable_entries()]
    tables = [u64(image.data, o) & image.OFFSET for o in image.l1_entries()]
    at = image.extension(BITMAPS)
    return rng.choice([0, h.l1, h.reftable] + block[:1] + tables[:1] +
                      ([h.snapshots] if h.snapshots_nr else []) +
                      ([u64(image.data, at + 16)] if at else []))


def damage_overlap_l2(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if entries:
        put64(image.data, rng.choice(entries),
              overlaps(rng, image) | rng.choice([0, 1 << 63]))
    return bool(entries)


def damage_overlap_l1(rng, image):
    entries = image.l1_entries()
    if entries:
        put64(image.data, rng.choice(entries),
              overlaps(rng, image) | rng.choice([0, 1 << 63]))
    return bool(entries)


def damage_overlap_refblock(rng, image):
    entries = image.reftable_entries()
    if entries:
        put64(image.data, rng.choice(entries), overlaps(rng, image))
    return bool(entries)


# L2 entries by kind.

def damage_l2_compressed(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if not entries:
        return False
    sector_bits = image.header.cluster_bits - 8
    off = rng.choice([0, 1, 512, image.header.cluster * 3 + 77,
                      len(image.data) - 1, len(image.data),
                      len(image.data) + 5 * image.header.cluster,
                      (1 << (62 - sector_bits)) - 1])
    sectors = rng.choice([0, 1, (1 << sector_bits) - 1])
    put64(image.data, rng.choice(entries),
          rng.choice([1 << 62, 3 << 62]) | sectors << (62 - sector_bits) |
          off & ((1 << (62 - sector_bits)) - 1))
    return True


def damage_l2_flags(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if not entries:
        return False
    for _ in range(rng.choice([1, 2, 9])):
        off = rng.choice(entries)
        put64(image.data, off, u64(image.data, off) ^ (
            1 << rng.choice([0, 1, 8, 56, 61, 62, 63])))
    return True


def damage_l2_offset_none(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if entries:
        put64(image.data, rng.choice(entries),
              rng.choice([1 << 63, 1, 1 << 63 | 1, 1 << 62]))
    return bool(entries)


def damage_l2_bitmap(rng, image):
    entries = image.l2_entries(image.l1_entries())
    if not entries or image.header.entry_len != 16:
        return False
    for _ in range(rng.choice([1, 4])):
        off = rng.choice(entries)
        if rng.randrange(3) == 0:
            put64(image.data, off, 0)
        put64(image.data, off + 8, rng.choice([
            (1 << 64) - 1, 1 << 32 | 1, 1, 1 << 31, 1 << 63, 0,
            0xffffffff00000000, rng.getrandbits(64)]))
    return True


def damage_l2_many(rng, image):
    """One cluster for many guest clusters: narrow refcounts overflow."""
    entries = image.l2_entries(image.l1_entries())
    if not entries:
        return False
    length = image.header.entry_len
    source = rng.choice(entries)
    one = bytes(image.data[source:source + length])
    table = u64(image.data, image.l1_entries()[0]) & image.OFFSET
    room = min(image.header.cluster, len(image.data) - table)
    if table == 0 or room <= 0:
        return False
    count = min(room // length, rng.choice([2, 5, 20, 300]))
    image.data[table:table + count * length] = one * count
    return True


# Refcount table by kind.

def damage_reftable_place(rng, image):
    entries = image.reftable_entries()
    return bool(entries) and put_field(
        rng, image, rng.choice(entries), 8,
        places(image) + [image.header.reftable | 1, 1, 511])


def damage_reftable_more(rng, image):
    h = image.header
    count = h.reftable_clusters * h.cluster // 8
    off = h.reftable + 8 * rng.randrange(count)
    return off + 8 <= len(image.data) and put_field(
        rng, image, off, 8, places(image))


# Snapshots by field.

def damage_snapshot_field(rng, image):
    entries = image.snapshot_entries()
    if not entries:
        return False
    off = rng.choice(entries)
    what = rng.randrange(6)
    if what == 0:
        return put_field(rng, image, off, 8, places(image))
    if what == 1:
        return put_field(rng, image, off + 8, 4, [
            0, 1, 5, 1 << 16, 1 << 22, (1 << 22) + 1, (1 << 32) - 1])
    if what == 2:
        put16(image.data, off + rng.choice([12, 14]),
              rng.choice([0, 1, 9, 65535]))
        return True
    if what == 3:
        return put_field(rng, image, off + 36, 4, [
            0, 8, 15, 16, 17, 24, 32, 1024, 1025, 1 << 31])
    if what == 4:
        return put_field(rng, image, off + 48, 8, [
            0, 1, 1 << 63, (1 << 64) - 1])
    return put_field(rng, image, off + 32, 4, [0, 1, (1 << 32) - 1])


# Bitmaps by field.

def damage_bitmap_field(rng, image):
    entries = image.bitmap_entries()
    if not entries:
        return False
    off = rng.choice(entries)
    what = rng.randrange(7)
    if what == 0:
        return put_field(rng, image, off, 8, places(image))
    if what == 1:
        return put_field(rng, image, off + 8, 4, [
            0, 1, 2, 3, 1 << 16, 1 << 27, (1 << 27) + 1])
    if what == 2:
        return put_field(rng, image, off + 12, 4, [0, 1, 2, 3, 4, 1 << 31])
    if what == 3:
        image.data[off + 16] = rng.choice([0, 1, 2])
    elif what == 4:
        image.data[off + 17] = rng.choice([0, 8, 9, 16, 31, 32, 63, 64])
    elif what == 5:
        put16(image.data, off + 18, rng.choice([0, 1, 3, 1023, 1024]))
    else:
        return put_field(rng, image, off + 20, 4, [1, 8, 1 << 31])
    return True


def damage_bitmap_name(rng, image):
    entries = image.bitmap_entries()
    if len(entries) < 2:
        return False
    image.data[entries[1] + 24:entries[1] + 26] = \
        image.data[entries[0] + 24:entries[0] + 26]
    return True


def damage_bitmap_table(rng, image):
    entries = [o for o in image.bitmap_table_entries()
               if o + 8 <= len(image.data)]
    return bool(entries) and put_field(
        rng, image, rng.choice(entries), 8,
        places(image) + [1, 2, 1 << 56, image.header.l1 | 1])


DAMAGE = [value for name, value in sorted(globals().items())
          if name.startswith("damage_")]
