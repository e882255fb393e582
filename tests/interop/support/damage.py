# SPDX-License-Identifier: LGPL-2.1-or-later
"""Seeded damage to qcow2 images: what tables, refcounts and the file's length
may have suffered. damage_fields.py has that of single fields, kinds.py
lists both.

Each damage_ function changes an Image, by the random numbers it is given, and
says whether there was anything to change. The same seed makes the same of the
same image.
"""
from image import COPIED, OFFSET


def flip(rng, image, off, length=8):
    bit = rng.randrange(length * 8)
    if off + bit // 8 < len(image.data):
        image.data[off + bit // 8] ^= 1 << (bit % 8)


def target(rng, image):
    """Somewhere an entry could wrongly lead."""
    places = image.l1_places()
    tables = [image.u64(p) & OFFSET for p in places]
    blocks = [image.u64(p) & OFFSET for p in image.reftable_places()]
    some = [0, image.cluster, image.l1, image.reftable, len(image.data),
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


def damage_l1_copy(rng, image):
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


def damage_l2_outside(rng, image):
    entries = image.l2_places(image.l1_places())
    if entries:
        off = rng.choice(entries)
        value = image.u64(off) & ~OFFSET
        where = rng.choice([len(image.data), len(image.data) - 512,
                            len(image.data) + 5 * image.cluster,
                            1 << 50, 512, image.cluster])
        image.put(off, value | (where & OFFSET))
    return bool(entries)


def damage_l2_copy(rng, image):
    entries = image.l2_places(image.l1_places())
    times = rng.choice([1, 3, 40])
    if not entries:
        return False
    source = rng.choice(entries)
    length = image.entry_len
    for _ in range(times):
        to = rng.choice(entries)
        to += length * rng.randrange(4) if to + 5 * length < len(
            image.data) else 0
        image.data[to:to + length] = image.data[source:source + length]
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


def damage_l2_compressed(rng, image):
    entries = image.l2_places(image.l1_places())
    if not entries:
        return False
    sector_bits = image.cluster_bits - 8
    off = rng.choice([0, 1, 512, image.cluster * 3 + 77,
                      len(image.data) - 1, len(image.data),
                      len(image.data) + 5 * image.cluster,
                      (1 << (62 - sector_bits)) - 1])
    sectors = rng.choice([0, 1, (1 << sector_bits) - 1])
    image.put(rng.choice(entries),
          rng.choice([1 << 62, 3 << 62]) | sectors << (62 - sector_bits) |
          off & ((1 << (62 - sector_bits)) - 1))
    return True


def damage_l2_flags(rng, image):
    entries = image.l2_places(image.l1_places())
    if not entries:
        return False
    for _ in range(rng.choice([1, 2, 9])):
        off = rng.choice(entries)
        image.put(off, image.u64(off) ^ (
            1 << rng.choice([0, 1, 8, 56, 61, 62, 63])))
    return True


def damage_l2_offset_none(rng, image):
    entries = image.l2_places(image.l1_places())
    if entries:
        image.put(rng.choice(entries),
              rng.choice([1 << 63, 1, 1 << 63 | 1, 1 << 62]))
    return bool(entries)


def damage_l2_bitmap(rng, image):
    entries = image.l2_places(image.l1_places())
    if not entries or image.entry_len != 16:
        return False
    for _ in range(rng.choice([1, 4])):
        off = rng.choice(entries)
        if rng.randrange(3) == 0:
            image.put(off, 0)
        image.put(off + 8, rng.choice([
            (1 << 64) - 1, 1 << 32 | 1, 1, 1 << 31, 1 << 63, 0,
            0xffffffff00000000, rng.getrandbits(64)]))
    return True


def damage_l2_many(rng, image):
    """One cluster for many guest clusters: narrow refcounts overflow."""
    entries = image.l2_places(image.l1_places())
    if not entries:
        return False
    length = image.entry_len
    source = rng.choice(entries)
    one = bytes(image.data[source:source + length])
    table = image.u64(image.l1_places()[0]) & OFFSET
    room = min(image.cluster, len(image.data) - table)
    if table == 0 or room <= 0:
        return False
    count = min(room // length, rng.choice([2, 5, 20, 300]))
    image.data[table:table + count * length] = one * count
    return True


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


def damage_reftable_flip(rng, image):
    places = image.reftable_places()
    if places:
        flip(rng, image, rng.choice(places))
    return bool(places)


def damage_reftable_astray(rng, image):
    places = image.reftable_places()
    if places:
        lead_astray(rng, image, rng.choice(places))
    return bool(places)


def damage_reftable_copy(rng, image):
    places = image.reftable_places()
    count = image.reftable_clusters * image.cluster // 8
    if places:
        image.put(image.reftable + 8 * rng.randrange(min(count, 4)),
                  image.u64(rng.choice(places)))
    return bool(places)


def damage_reftable_drop(rng, image):
    entries = image.reftable_places()
    if entries:
        image.put(rng.choice(entries), 0)
    return bool(entries)


def damage_reftable_zero(rng, image):
    for place in image.reftable_places():
        if rng.randrange(2):
            image.put(place, 0)
    return True


def damage_refcounts(rng, image):
    places = image.reftable_places()
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
    places = image.reftable_places()
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


def damage_anywhere(rng, image):
    # Past the header: what is metadata there is a matter of luck.
    first = image.cluster
    for _ in range(rng.choice([1, 20])):
        if len(image.data) > first:
            flip(rng, image, rng.randrange(first, len(image.data)), 1)
    return True
