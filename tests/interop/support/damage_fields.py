# SPDX-License-Identifier: LGPL-2.1-or-later
"""Seeded damage to the fields of qcow2 images: header, extensions, entries of
the snapshot table and of the bitmap directory, and what overlaps. See
damage.py.
"""
from damage import damage_refcounts, flip, target
from image import BITMAPS, OFFSET

BACKING_FORMAT = 0xe2792aca
CRYPTO = 0x0537be77
DATA_FILE = 0x44415441


def put_field(rng, image, off, width, values):
    """One of VALUES into a field."""
    image.put(off, rng.choice(values), width)
    return True


def places(image):
    """Offsets that a table should not be at, and some that it could."""
    end = len(image.data)
    return [0, 512, image.cluster, image.cluster * 2, image.cluster * 3,
            image.l1, image.reftable,
            end, end - end % image.cluster, end + 9 * image.cluster,
            end - end % image.cluster + 9 * image.cluster,
            1 << 40, 1 << 55, 1 << 62,
            (1 << 63) - image.cluster, 1 << 63, (1 << 64) - image.cluster]


def damage_header_l1_offset(rng, image):
    return put_field(rng, image, 40, 8, places(image))


def damage_header_l1_size(rng, image):
    size = image.l1_size
    return put_field(rng, image, 36, 4, [0, 1, size - 1, size + 1, size + 999,
                                         1 << 21, (1 << 22) + 1, (1 << 22)])


def damage_header_reftable_offset(rng, image):
    return put_field(rng, image, 48, 8, places(image))


def damage_header_reftable_clusters(rng, image):
    return put_field(rng, image, 56, 4, [0, 2, 3, 200, 1 << 14, 1 << 20])


def damage_header_snapshots_nr(rng, image):
    return put_field(rng, image, 60, 4, [0, 1, 2, 5, 65536, 65537, 1 << 31])


def damage_header_snapshots_offset(rng, image):
    if image.snapshots_nr == 0:
        image.put(60, rng.choice([0, 1, 3]), 4)
    return put_field(rng, image, 64, 8, places(image))


def damage_header_size(rng, image):
    size = image.size
    return put_field(rng, image, 24, 8, [0, 1, size - 511, size // 2,
                                         size * 2, 1 << 40, 1 << 63,
                                         (1 << 64) - 512])


def damage_header_cluster_bits(rng, image):
    bits = image.cluster_bits
    return put_field(rng, image, 20, 4, [0, 8, bits - 1, bits + 1, 22, 32])


def damage_header_refcount_order(rng, image):
    return image.version >= 3 and put_field(
        rng, image, 96, 4, [0, 1, 2, 3, 4, 5, 6, 7, 32])


def damage_header_version(rng, image):
    return put_field(rng, image, 4, 4, [1, 2, 3, 4])


def damage_header_crypt(rng, image):
    return put_field(rng, image, 32, 4, [0, 1, 3])


def damage_header_incompatible(rng, image):
    if image.version < 3:
        return False
    bit = rng.choice([0, 1, 2, 3, 4, 5, 63])
    image.put(72, image.u64(72) ^ (1 << bit))
    return True


def damage_header_other_features(rng, image):
    if image.version < 3:
        return False
    off, bit = rng.choice([80, 88]), rng.choice([0, 1, 2, 63])
    image.put(off, image.u64(off) ^ (1 << bit))
    return True


def damage_header_length(rng, image):
    return image.version >= 3 and put_field(
        rng, image, 100, 4, [0, 96, 104, 105, 112, 120, image.cluster,
                             image.cluster + 8])


def damage_header_tail(rng, image):
    if image.version < 3:
        return False
    image.data[rng.choice([104, 105, 111])] = rng.choice([1, 2, 0x80])
    return True


def damage_header_backing(rng, image):
    image.put(8, rng.choice([0, 80, 104, 300, image.cluster]))
    image.put(16, rng.choice([0, 1, 8, 1023, 1024]), 4)
    return True


def damage_header_cut(rng, image):
    del image.data[rng.choice([8, 71, 72, 100, 104, 111, 112, 500]):]
    return True


def damage_autoclear(rng, image):
    if image.version < 3 or not image.data[95]:
        return False
    image.data[95] &= ~1
    return True


def damage_marked(rng, image):
    if image.version < 3:
        return False
    image.put(72, image.incompatible | rng.choice([1, 2, 3]))
    if rng.randrange(2):
        damage_refcounts(rng, image)
    return True


def damage_field_l1(rng, image):
    rng.choice([
        lambda: image.put(40, target(rng, image)),
        lambda: image.put(36, image.l1_size + rng.choice([1, 700]), 4),
    ])()
    return True


def damage_field_reftable(rng, image):
    rng.choice([
        lambda: image.put(48, target(rng, image)),
        lambda: image.put(48, image.reftable + 512),
        lambda: image.put(56, rng.choice([0, 2, 1 << 20]), 4),
    ])()
    return True


def damage_field_snapshots(rng, image):
    if image.snapshots_nr == 0:
        return False
    rng.choice([
        lambda: image.put(64, target(rng, image)),
        lambda: image.put(60, image.snapshots_nr + rng.choice([1, 9]), 4),
    ])()
    return True


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
                         [0, 8, image.u64(at + 8) - 8,
                          image.u64(at + 8) + 8, 67107840, 67107841])
    return put_field(rng, image, at + 16, 8, places(image))


def damage_extension_crypto(rng, image):
    at = image.extension(CRYPTO)
    if at is None:
        return False
    if rng.randrange(2):
        return put_field(rng, image, at, 8, places(image))
    return put_field(rng, image, at + 8, 8, [0, 1, 512, 1 << 20, 1 << 24,
                                             (1 << 24) + 1, 1 << 63])


def damage_extension_length(rng, image):
    found = image.extensions()[:-1]
    return bool(found) and put_field(
        rng, image, rng.choice(found) + 4, 4,
        [0, 1, 16, 17, 24, 1 << 16, 0xfffffff9, 0xffffffff])


def damage_extension_more(rng, image):
    kind, data = rng.choice([
        (BACKING_FORMAT, b"x" * 16), (BACKING_FORMAT, b"raw"),
        (DATA_FILE, b"a name"), (CRYPTO, bytes(16)), (BITMAPS, bytes(24)),
        (BITMAPS, bytes(8)), (0x12345678, b"unknown")])
    return image.append_extension(kind, data)


def damage_extension_type(rng, image):
    found = image.extensions()
    return put_field(rng, image, rng.choice(found), 4,
                     [0, 1, BACKING_FORMAT, BITMAPS, CRYPTO, DATA_FILE])


def overlaps(rng, image):
    block = [image.u64(o) & OFFSET
             for o in image.reftable_places()]
    tables = [image.u64(o) & OFFSET for o in image.l1_places()]
    at = image.extension(BITMAPS)
    return rng.choice([0, image.l1, image.reftable] + block[:1] + tables[:1] +
                      ([image.snapshots_off] if image.snapshots_nr else []) +
                      ([image.u64(at + 16)] if at else []))


def damage_overlap_l1(rng, image):
    entries = image.l1_places()
    if entries:
        image.put(rng.choice(entries),
              overlaps(rng, image) | rng.choice([0, 1 << 63]))
    return bool(entries)


def damage_overlap_l2(rng, image):
    entries = image.l2_places(image.l1_places())
    if entries:
        image.put(rng.choice(entries),
              overlaps(rng, image) | rng.choice([0, 1 << 63]))
    return bool(entries)


def damage_overlap_refblock(rng, image):
    entries = image.reftable_places()
    if entries:
        image.put(rng.choice(entries), overlaps(rng, image))
    return bool(entries)


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


def damage_snapshot_field(rng, image):
    entries = image.snapshot_places()
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
        image.put(off + rng.choice([12, 14]), rng.choice([0, 1, 9, 65535]), 2)
        return True
    if what == 3:
        return put_field(rng, image, off + 36, 4, [
            0, 8, 15, 16, 17, 24, 32, 1024, 1025, 1 << 31])
    if what == 4:
        return put_field(rng, image, off + 48, 8, [
            0, 1, 1 << 63, (1 << 64) - 1])
    return put_field(rng, image, off + 32, 4, [0, 1, (1 << 32) - 1])


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


def damage_bitmap_field(rng, image):
    entries = image.bitmap_places()
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
        image.put(off + 18, rng.choice([0, 1, 3, 1023, 1024]), 2)
    else:
        return put_field(rng, image, off + 20, 4, [1, 8, 1 << 31])
    return True


def damage_bitmap_name(rng, image):
    entries = image.bitmap_places()
    if len(entries) < 2:
        return False
    image.data[entries[1] + 24:entries[1] + 26] = \
        image.data[entries[0] + 24:entries[0] + 26]
    return True


def damage_bitmap_table(rng, image):
    entries = [o for o in image.bitmap_table_places()
               if o + 8 <= len(image.data)]
    return bool(entries) and put_field(
        rng, image, rng.choice(entries), 8,
        places(image) + [1, 2, 1 << 56, image.l1 | 1])


def damage_reftable_place(rng, image):
    entries = image.reftable_places()
    return bool(entries) and put_field(
        rng, image, rng.choice(entries), 8,
        places(image) + [image.reftable | 1, 1, 511])


def damage_reftable_more(rng, image):
    count = image.reftable_clusters * image.cluster // 8
    off = image.reftable + 8 * rng.randrange(count)
    return off + 8 <= len(image.data) and put_field(
        rng, image, off, 8, places(image))
