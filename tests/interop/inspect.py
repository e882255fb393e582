#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""inspect: hostile and harmless images, each with its verdict and check.

Images are made by the real qemu-img in every format that it creates, and by
the writers below; hostile ones are good ones with something changed. A case
says the exit code and which checks must have which result; a refused image
must fail in the checks that are named and, unless `others` is set, in no
others. What can be judged of a stream must be judged alike.
"""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import peers  # noqa: E402

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
SEED = int(os.environ.get("IMGCHAIN_SEED", "20240917"))
SECRET = ["--object", "secret,id=s,data=inspect"]
KINDS = ("backing-file", "data-file", "extent", "parent")

cases = []      # (name, bytes or path, format, args, exit, checks, others)
counts = {}     # of verdicts, for the last line


def case(name, data, fmt, expected, *args, others=False, **checks):
    """CHECKS: id (with _ for -) = result. EXPECTED: exit code."""
    checks = {key.replace("_", "-"): value for key, value in checks.items()}
    cases.append((name, data, fmt, list(args), expected, checks, others))


def good(name, data, fmt, *args, **checks):
    case(name, data, fmt, 0, *args, **checks)


def bad(name, data, fmt, check, *args, others=False):
    """Refused because of CHECK alone, or among others."""
    cases.append((name, data, fmt, list(args), 1, {check: "fail"}, others))


# ---------------------------------------------------------------- the images

def qemu(*args):
    done = peers.run(args)
    if done.returncode != 0:
        sys.exit(f"{' '.join(args)}: exit {done.returncode}: {done.stderr}")


def create(name, fmt, options="", size="1M", *more):
    option = ["-o", options] if options else []
    qemu("qemu-img", "create", "-q", *SECRET, "-f", fmt, *option, *more, name,
         size)
    return read(name)


def read(name):
    with open(name, "rb") as file:
        return file.read()


def put(data, off, what):
    out = bytearray(data)
    out[off:off + len(what)] = what
    return bytes(out)


def be(data, off, width):
    return int.from_bytes(data[off:off + width], "big")


def set_be(data, off, width, value):
    return put(data, off, value.to_bytes(width, "big"))


def filled(name, options, size="1M", write="write -P 7 0 200k"):
    create(name, "qcow2", options, size)
    qemu("qemu-io", "-f", "qcow2", "-c", write, name)
    return read(name)


def l2_off(data):
    return be(data, be(data, 40, 8), 8) & 0x00fffffffffffe00


# ------------------------------------------------------------ qcow2, harmless

def harmless_qcow2():
    for bits in range(9, 22):
        good(f"cluster-{bits}",
             create(f"c{bits}", "qcow2", f"cluster_size={1 << bits}"), "qcow2")
    for width in (1, 2, 4, 8, 32, 64):
        good(f"refcount-{width}",
             create(f"r{width}", "qcow2", f"refcount_bits={width}"), "qcow2")
    for how in ("metadata", "falloc", "full"):
        good(f"prealloc-{how}",
             create(f"p-{how}", "qcow2", f"preallocation={how}"), "qcow2")
    good("lazy", create("lazy", "qcow2", "lazy_refcounts=on"), "qcow2")
    good("extended", filled("extended", "extended_l2=on"), "qcow2",
         features_known="pass", tables_valid="pass")
    good("empty", create("empty", "qcow2", "", "0"), "qcow2")
    good("v2-large", create("v2l", "qcow2", "compat=0.10", "10G"), "qcow2")
    # Bytes at 72 of version 2 are no feature bits.
    v2 = create("v2", "qcow2", "compat=0.10", "1M")
    tail = b"\0" * 4 + struct.pack(">I", 8)
    v2_ext = put(v2, 72, struct.pack(">II", 0x12345678, 8) + b"\xff" * 8 +
                 tail)
    good("v2-extension", v2_ext, "qcow2", extensions_known="warn",
         features_known="pass")
    with open("plain", "wb") as file:
        file.write(b"compress me " * 87382)
    for kind in ("zlib", "zstd"):
        name = f"packed-{kind}"
        qemu("qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2",
             "-o", f"compression_type={kind}", "plain", name)
        good(name, read(name), "qcow2", tables_valid="pass")
    good("luks-inside", create("qluks", "qcow2", "encrypt.format=luks,"
                               "encrypt.key-secret=s,encrypt.iter-time=10"),
         "qcow2", encryption="warn")
    good("aes-inside", create("qaes", "qcow2", "encrypt.format=aes,"
                              "encrypt.key-secret=s"), "qcow2",
         encryption="warn")
    create("snap", "qcow2")
    qemu("qemu-img", "snapshot", "-c", "tag", "snap")
    good("snapshot", read("snap"), "qcow2", internal_state="warn")
    create("bitmap", "qcow2")
    qemu("qemu-img", "bitmap", "--add", "bitmap", "dirty")
    good("bitmap", read("bitmap"), "qcow2", internal_state="warn")


# ------------------------------------------------------------- qcow2, hostile

HEADER = [  # (offset, width, values that are never right)
    (4, 4, (0, 4, 0xffffffff)), (20, 4, (0, 8, 22, 64)),
    (24, 8, (2**62, 2**63, 2**64 - 1)), (32, 4, (3, 255)),
    (36, 4, (0, 0x20000000, 0xffffffff)),
    (40, 8, (0, 1, 0x200, 1 << 40, 2**63, 2**64 - 65536)),
    (48, 8, (0, 0x10001, 1 << 40, 2**64 - 65536)),
    (56, 4, (0, 129, 0xffffffff)), (60, 4, (65537, 0xffffffff)),
    (64, 8, (1, 513)), (96, 4, (7, 64)), (100, 4, (0, 103, 105, 0xffffffff)),
    (104, 1, (1, 2)), (105, 1, (1,)),
]


def hostile_header(q3):
    for off, width, values in HEADER:
        for value in values:
            bad(f"header-{off}-{value:x}", set_be(q3, off, width, value),
                "qcow2", "header-valid")
    for bit in range(5, 64):
        bad(f"incompatible-{bit}", set_be(q3, 72, 8, 1 << bit), "qcow2",
            "features-known")
    for bit in (1, 2, 31, 63):
        good(f"compatible-{bit}", set_be(q3, 80, 8, 1 << bit), "qcow2",
             features_known="warn")
    for bit in (2, 3, 40, 63):
        good(f"autoclear-{bit}", set_be(q3, 88, 8, 1 << bit), "qcow2",
             features_known="warn")
    bad("corrupt-bit", set_be(q3, 72, 8, 2), "qcow2", "state-clean")
    good("dirty-bit", set_be(q3, 72, 8, 1), "qcow2", state_clean="warn")
    bad("cut-header-4", q3[:4], "qcow2", "format-match")
    for length in (40, 71, 72, 103):
        bad(f"cut-header-{length}", q3[:length], "qcow2", "header-valid")
    # A name's offset without a length, and names where no name may be.
    for off, length in ((104, 0), (8, 5), (65530, 16), (1 << 40, 4)):
        data = set_be(set_be(q3, 8, 8, off), 16, 4, length)
        bad(f"backing-{off}-{length}", data, "qcow2", "header-valid")


def hostile_references(q3):
    create("base.raw", "raw", "", "1M")
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F",
         "raw", "overlay")
    bad("backing", read("overlay"), "qcow2", "reference-backing-file")
    for name in (b"/etc/passwd", b"json:{}", b"nbd:x:1", b"a\x1b[31mb"):
        data = set_be(set_be(q3, 8, 8, 0x8000), 16, 4, len(name))
        bad("backing-" + name.hex(), put(data, 0x8000, name), "qcow2",
            "reference-backing-file")
    create("dat", "qcow2", "data_file=dat.raw")
    bad("data-file", read("dat"), "qcow2", "reference-data-file")
    create("datraw", "qcow2", "data_file=dat2.raw,data_file_raw=on")
    bad("data-file-raw", read("datraw"), "qcow2", "reference-data-file")
    bad("data-file-unnamed", set_be(q3, 72, 8, 4), "qcow2",
        "reference-data-file", others=True)


def hostile_tables(q3, cluster=65536):
    table = l2_off(q3)
    l1 = be(q3, 40, 8)
    for bit in list(range(1, 9)) + list(range(56, 62)):
        entry = be(q3, table, 8) | 1 << bit
        bad(f"l2-bit-{bit}", set_be(q3, table, 8, entry), "qcow2",
            "tables-valid")
    for bit in list(range(0, 9)) + list(range(56, 63)):
        entry = be(q3, l1, 8) | 1 << bit
        bad(f"l1-bit-{bit}", set_be(q3, l1, 8, entry), "qcow2",
            "tables-valid")
    copied = 1 << 63
    for name, target in (("header", 0x200), ("l1", l1),
                         ("reftable", be(q3, 48, 8))):
        at = target // cluster * cluster
        if at:
            bad(f"l2-on-{name}", set_be(q3, table, 8, copied | at), "qcow2",
                "tables-valid")
    bad("l2-past-end", set_be(q3, table, 8, copied | 1 << 40), "qcow2",
        "file-complete")
    bad("l1-past-end", set_be(q3, l1, 8, copied | 1 << 40), "qcow2",
        "file-complete")
    end = len(q3)
    for cut in range(1, end // cluster):
        case(f"cut-{cut}", q3[:end - cut * cluster], "qcow2", 1, others=True)
    good("cut-partly", q3[:end - 512], "qcow2", file_complete="warn")
    # Many entries of the L1 table name one L2 table.
    many = create("many", "qcow2", "cluster_size=512", "1M")
    qemu("qemu-io", "-f", "qcow2", "-c", "write 0 32k", "many")
    many = read("many")
    l1 = be(many, 40, 8)
    first = many[l1:l1 + 8]
    many = put(many, l1, first * be(many, 36, 4))
    good("shared-l2", many, "qcow2", amplification="warn")
    bad("shared-l2-ratio", many, "qcow2", "amplification", "--max-ratio", "2",
        others=True)


def bomb():
    """2 MiB clusters of one byte, all the same stored 2 KiB."""
    big = 2 << 20
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    stream = deflate.compress(b"\1" * big) + deflate.flush()
    head = bytearray(big)
    struct.pack_into(">IIQIIQIIQQIIQQQQII", head, 0, 0x514649fb, 3, 0, 0, 21,
                     1 << 39, 0, 1, 3 * big, big, 1, 0, 0, 0, 0, 0, 4, 104)
    sectors = (len(stream) + 511) // 512
    entry = struct.pack(">Q", 1 << 62 | sectors << 49 | 5 * big)
    return b"".join([bytes(head), bytes(2 * big),
                     struct.pack(">Q", 4 * big).ljust(big, b"\0"),
                     entry * (big // 8), stream])


# ---------------------------------------------------------------- the others

MAGICS = {  # a head that probes as the format: (bytes, offset)
    "qcow2": (b"QFI\xfb\0\0\0\3", 0), "qcow": (b"QFI\xfb\0\0\0\1", 0),
    "qed": (b"QED\0", 0), "vmdk": (b"KDMV\1\0\0\0", 0),
    "vdi": (b"\x7f\x10\xda\xbe", 0x40), "vpc": (b"conectix", 0),
    "vhdx": (b"vhdxfile", 0), "luks": (b"LUKS\xba\xbe\0\1", 0),
    "luks2": (b"LUKS\xba\xbe\0\2", 0),
    "parallels": (b"WithoutFreeSpace\2\0\0\0", 0),
    "text-vmdk": (b"# Disk DescriptorFile\nversion=1\n", 0),
}
ISO = (b"\1CD001\1", 32768)
MBR = (b"\x55\xaa", 510)


def mbr(*entries):
    """(flag, type, first, sectors[, chs])"""
    sector = bytearray(512)
    for i, entry in enumerate(entries):
        flag, kind, first, sectors = entry[:4]
        chs = entry[4] if len(entry) > 4 else b"\0\2\0"
        struct.pack_into("<B3sB3sII", sector, 446 + 16 * i, flag, chs, kind,
                         b"\xff\xff\xff", first, sectors)
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def gpt_header(own, other, entries_lba, entries):
    head = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000,
                                 92, 0, 0, own, other, 34, 2000, b"g" * 16,
                                 entries_lba, 128, 128, zlib.crc32(entries)))
    struct.pack_into("<I", head, 16, zlib.crc32(bytes(head)))
    return bytes(head)


def gpt_disk(sectors=2048):
    entries = (b"t" * 16 + b"u" * 16).ljust(128 * 128, b"\0")
    disk = bytearray(sectors * 512)
    disk[:512] = mbr((0, 0xee, 1, sectors - 1))
    last = sectors - 1
    head = gpt_header(1, last, 2, entries)
    disk[512:512 + 92] = head
    disk[1024:1024 + len(entries)] = entries
    twin = gpt_header(last, 1, last - 32, entries)
    disk[last * 512:last * 512 + 92] = twin
    disk[(last - 32) * 512:(last - 32) * 512 + len(entries)] = entries
    return bytes(disk)


def raw_disks():
    zero = bytes(1 << 20)
    good("raw-zero", zero, "raw", partition_table="pass")
    good("raw-tiny", b"x", "raw")
    good("raw-empty", b"", "raw")
    good("raw-mbr", put(zero, 0, mbr((0x80, 0x83, 2048, 0))[:0] +
                        mbr((0x80, 0x83, 1, 100))), "raw",
         partition_table="pass")
    good("raw-mbr-short", put(zero, 0, mbr((0, 0x83, 1, 1 << 20))), "raw",
         partition_table="warn")
    for name, entries in {
            "flag": [(1, 0x83, 1, 9)], "none": [], "empty": [(0, 0x83, 1, 0)],
            "zero": [(0, 0x83, 0, 9)], "hybrid": [(0, 0xee, 1, 9),
                                                  (0, 0x83, 9, 9)],
            "late": [(0, 0xee, 2, 9)],
            "chs": [(0, 0xee, 1, 9, b"\0\1\0")]}.items():
        bad(f"mbr-{name}", put(zero, 0, mbr(*entries)), "raw",
            "partition-table")
    disk = gpt_disk()
    good("gpt", disk, "raw", partition_table="pass")
    good("gpt-grown", disk + zero, "raw", partition_table="pass")
    good("gpt-twin-broken", put(disk, len(disk) - 512, b"X"), "raw",
         partition_table="warn")
    good("gpt-first-broken", put(disk, 512 + 40, b"X"), "raw",
         partition_table="warn")
    good("gpt-entries-broken", put(disk, 1024, b"X"), "raw",
         partition_table="warn")
    bad("gpt-cut", disk[:-4096], "raw", "partition-table")
    both = put(put(disk, 512 + 40, b"X"), len(disk) - 512, b"X")
    bad("gpt-both-broken", both, "raw", "partition-table")
    fat = put(put(put(put(zero, 510, b"\x55\xaa"), 11, b"\0\2"), 16, b"\2"),
              54, b"FAT16")
    good("fat", fat, "raw", partition_table="pass")
    iso = put(bytes(1 << 20), *ISO[::-1])
    good("iso", iso, "raw")
    good("udf", put(zero, 32769, b"NSR02"), "raw")
    good("isohybrid", put(iso, 0, mbr((0x80, 0x17, 0, 100))), "raw",
         partition_table="pass")


def polyglots():
    zero = bytes(1 << 20)
    for name, (magic, off) in MAGICS.items():
        bare = put(zero, off, magic)
        bad(f"raw-is-{name}", bare, "raw", "format-match")
        for other, (signature, where) in (("iso", ISO), ("mbr", MBR)):
            bad(f"{name}-{other}", put(bare, where, signature), "raw",
                "format-single", others=True)
        if off == 0 and name != "vpc":
            bad(f"{name}-vdi", put(bare, 0x40, MAGICS["vdi"][0]), "raw",
                "format-single", others=True)
    bad("raw-vhd-footer", put(zero, len(zero) - 512, b"conectix"), "raw",
        "format-single")
    koly = bytearray(512)
    koly[:12] = b"koly" + struct.pack(">II", 4, 512)
    bad("raw-dmg", zero + bytes(koly), "raw", "format-single")
    q3 = read("q3")
    for name, data in (("iso", put(q3, *ISO[::-1])),
                       ("mbr", put(q3, *MBR[::-1])),
                       ("vdi", put(q3, 0x140, b"")[:0x40] + q3[0x40:]),):
        if name != "vdi":
            bad(f"qcow2-and-{name}", data, "qcow2", "format-single",
                others=True)
    bad("qcow2-vhd-footer", q3 + b"conectix".ljust(512, b"\0"), "qcow2",
        "format-single")
    bad("said-qcow2-is-raw", zero, "qcow2", "format-match")
    bad("said-vmdk-is-qcow2", q3, "vmdk", "format-match")
    # An image in the first sector of the disk inside of an image.
    with open("nest", "wb") as file:
        file.write(q3)
    qemu("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "nest",
         "nested")
    good("nested", read("nested"), "qcow2", guest_header="warn")
    qemu("qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "nest",
         "nested-c")
    good("nested-packed", read("nested-c"), "qcow2", guest_header="warn")


DESC = """# Disk DescriptorFile
version=1
CID=123a681c
parentCID=ffffffff
createType="{kind}"

# Extent description
RW 2048 SPARSE "x.vmdk"

# The Disk Data Base
#DDB
ddb.adapterType = "ide"
"""


def vmdk_with(sparse, text):
    room = be(sparse[36:44][::-1], 0, 8) * 512
    return put(sparse, 512, text.encode("latin-1").ljust(room, b"\0"))


def vmdks():
    sparse = create("s.vmdk", "vmdk")
    good("vmdk", sparse, "vmdk", layout_strict="pass")
    qemu("qemu-img", "convert", "-q", "-f", "raw", "-O", "vmdk", "-o",
         "subformat=streamOptimized", "plain", "so.vmdk")
    good("vmdk-stream", read("so.vmdk"), "vmdk", layout_strict="pass")
    # As VMware streams it: the header that counts comes last.
    marker = struct.pack("<QII", 1, 0, 3).ljust(512, b"\0")
    stream = put(sparse, 56, b"\xff" * 8) + marker + sparse[:512] + bytes(512)
    good("vmdk-footer", stream, "vmdk", layout_strict="pass")
    bad("vmdk-footer-differs", put(stream, len(stream) - 1024 + 72, b"x"),
        "vmdk", "layout-strict")
    bad("vmdk-footer-cut", stream[:-512], "vmdk", "header-valid")
    create("f.vmdk", "vmdk", "subformat=monolithicFlat")
    bad("vmdk-flat", read("f.vmdk"), "vmdk", "reference-extent", others=True)
    create("t.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse", "3G")
    bad("vmdk-split", read("t.vmdk"), "vmdk", "reference-extent", others=True)
    qemu("qemu-img", "create", "-q", "-f", "vmdk", "-b", "s.vmdk", "-F",
         "vmdk", "child.vmdk")
    bad("vmdk-child", read("child.vmdk"), "vmdk", "reference-backing-file",
        others=True)
    plain = DESC.format(kind="monolithicSparse")
    good("vmdk-text", vmdk_with(sparse, plain), "vmdk", layout_strict="pass")
    changes = {
        "type": plain.replace("monolithicSparse", "monolithicFlat"),
        "twice": plain + 'createType="streamOptimized"\n',
        "case": plain + 'CREATETYPE="streamOptimized"\n',
        "line": plain + "something else\n",
        "spaced": plain + "some key=1\n",
        "two": plain + 'RW 2048 SPARSE "y.vmdk"\n',
        "none": plain.replace('RW 2048 SPARSE "x.vmdk"', ""),
        "byte": plain + "# \xe9\n",
        "hidden": plain + '\0RW 2048 FLAT "/etc/passwd" 0\n',
    }
    for name, text in changes.items():
        header_fails = name in ("twice",)
        bad(f"vmdk-text-{name}", vmdk_with(sparse, text), "vmdk",
            "header-valid" if header_fails else "layout-strict", others=True)
    bad("vmdk-folder", vmdk_with(sparse, plain.replace(
        "x.vmdk", "/etc/passwd")), "vmdk", "reference-extent")
    bad("vmdk-parent", vmdk_with(sparse, plain.replace("ffffffff", "00000001")),
        "vmdk", "reference-parent")
    bad("vmdk-hint", vmdk_with(sparse, plain.replace(
        "createType", 'parentFileNameHint="/etc/passwd"\ncreateType')), "vmdk",
        "reference-backing-file")
    foreign = plain.replace('SPARSE "x.vmdk"', 'FLAT "/etc/passwd" 0')
    bad("vmdk-capacity", put(vmdk_with(sparse, foreign), 12, bytes(8)), "vmdk",
        "reference-extent", others=True)
    bad("vmdk-cowd", put(bytes(1 << 20), 0, b"COWD" + struct.pack(
        "<7I", 1, 3, 2048, 16, 4, 1, 0)), "vmdk", "layout-strict",
        others=True)
    bad("vmdk-cut", sparse[:len(sparse) // 2], "vmdk", "header-valid",
        others=True)


def vhds():
    dynamic = create("d.vpc", "vpc", "subformat=dynamic")
    good("vhd", dynamic, "vpc", file_complete="pass")
    bad("vhd-cut", dynamic[:-512], "vpc", "file-complete")
    bad("vhd-footers", put(dynamic, len(dynamic) - 512 + 28, b"evil"), "vpc",
        "layout-strict", others=True)
    bad("vhd-block", set_be(dynamic, be(dynamic, 512 + 16, 8), 4, 1 << 20),
        "vpc", "file-complete")

    def summed(data, off, length, at):
        data = set_be(data, off + at, 4, 0)
        total = ~sum(data[off:off + length]) & 0xffffffff
        return set_be(data, off + at, 4, total)

    child = summed(set_be(dynamic, 60, 4, 4), 0, 512, 64)
    child = child[:-512] + child[:512]
    name = "..\\parent.vhd".encode("utf-16-be")
    child = summed(put(child, 512 + 64, name), 512, 1024, 36)
    bad("vhd-child", child, "vpc", "reference-parent")
    fixed = create("x.vpc", "vpc", "subformat=fixed")
    good("vhd-fixed", fixed, "vpc", format_single="pass")
    good("vhd-fixed-mbr", put(fixed, 0, mbr((0, 0x83, 1, 9))), "vpc")
    bad("vhd-fixed-qcow2", put(fixed, 0, MAGICS["qcow2"][0]), "vpc",
        "format-single")
    bad("vhd-fixed-cut", fixed[:-512], "vpc", "format-match")
    vhdx = create("d.vhdx", "vhdx")
    good("vhdx", vhdx, "vhdx", file_complete="pass")
    guid = bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b")
    item = vhdx.find(guid)
    at = vhdx.rfind(b"metadata", 0, item) + be(vhdx[item + 16:item + 20][::-1],
                                               0, 4)
    bad("vhdx-parent", put(vhdx, at + 4, b"\2"), "vhdx", "reference-parent")
    bad("vhdx-cut", vhdx[:1 << 20], "vhdx", "header-valid")
    vdi = create("d.vdi", "vdi")
    good("vdi", vdi, "vdi", file_complete="pass")
    static = create("s.vdi", "vdi", "static=on")
    good("vdi-static", static, "vdi", file_complete="pass")
    bad("vdi-cut", static[:-4096], "vdi", "file-complete")
    bad("vdi-child", put(vdi, 0x4c, b"\4"), "vdi", "reference-parent")


def other_formats():
    for fmt in ("qed", "qcow", "parallels"):
        data = create(f"o.{fmt}", fmt)
        bad(fmt, data, fmt, "format-allowed")
        good(f"{fmt}-allowed", data, fmt, "--allow-format", fmt)
    create("qedbase.raw", "raw")
    qemu("qemu-img", "create", "-q", "-f", "qed", "-b", "qedbase.raw", "-F",
         "raw", "child.qed")
    bad("qed-child", read("child.qed"), "qed", "reference-backing-file",
        "--allow-format", "qed")
    luks = create("o.luks", "luks", "key-secret=s,iter-time=10")
    good("luks", luks, "luks", encryption="warn")
    bad("luks-is-raw", luks, "raw", "format-match")
    bad("luks2", put(luks, 7, b"\2"), "luks", "format-match", others=True)


def limits(q3):
    good("virtual-at", q3, "qcow2", "--max-virtual-size", "1M")
    bad("virtual-over", q3, "qcow2", "virtual-size", "--max-virtual-size",
        str((1 << 20) - 1))
    good("actual-at", q3, "qcow2", "--max-actual-size", str(len(q3)))
    bad("actual-over", q3, "qcow2", "actual-size", "--max-actual-size",
        str(len(q3) - 1), others=True)
    wide = create("wide", "qcow2", "", "10G")
    bad("ratio-over", wide, "qcow2", "size-ratio", "--max-ratio", "1000")
    good("ratio-under", wide, "qcow2", "--max-ratio", "1000000")
    bad("bomb", bomb(), "qcow2", "amplification", "--max-ratio", "2000",
        others=True)


def profiles():
    images = {  # name: profiles that do not take it
        "q3": (), "v2": (),
        "extended": ("qemu-2.12", "qemu-4", "qemu-5.0", "qemu-5.1", "oslo"),
        "packed-zstd": ("qemu-2.12", "qemu-3", "qemu-5.0", "go-qcow2reader"),
        "packed-zlib": (), "qluks": ("go-qcow2reader",),
        "qaes": ("qemu-7", "libvirt-9", "go-qcow2reader"),
        "d.vhdx": ("libvirt-9", "go-qcow2reader"),
    }
    everyone = ["qemu-2.12", "qemu-3", "qemu-4", "qemu-5.0", "qemu-5.1",
                "qemu-6", "qemu-7", "qemu-10", "libvirt-9", "oslo",
                "go-qcow2reader"]
    sure = {"qemu-2.12", "qemu-4", "qemu-5.1", "qemu-7", "oslo",
            "go-qcow2reader", "libvirt-9"}
    for name, refused in images.items():
        fmt = "vhdx" if name.endswith("vhdx") else "qcow2"
        for profile in everyone:
            if profile in refused:
                bad(f"{name}-for-{profile}", read(name), fmt, "profiles",
                    "--profile", profile)
            elif not refused or (profile in sure and name != "packed-zstd" and
                                 name != "qaes"):
                good(f"{name}-for-{profile}", read(name), fmt, "--profile",
                     profile, profiles="pass")
    # What oslo takes for feature bits behind a version 2 header.
    v2 = put(read("v2"), 72, struct.pack(">II", 0x12345678, 8) + bytes(16))
    bad("v2-for-oslo", v2, "qcow2", "profiles", "--profile", "oslo")
    good("v2-for-qemu", v2, "qcow2", "--profile", "qemu-7")


# ------------------------------------------------------------------- running

def inspect(data, fmt, args, stream=False):
    path = "-" if stream else "image"
    with open("image", "wb") as file:
        file.write(data)
    command = [IMGCHAIN, "inspect", "--output", "json", *args]
    if fmt:
        command += ["-f", fmt]
    if stream:
        # A pipe, not the file: that could be read at any place.
        with subprocess.Popen(["cat", "image"],
                              stdout=subprocess.PIPE) as source:
            done = subprocess.run(command + [path], stdin=source.stdout,
                                  stdout=subprocess.PIPE, timeout=60,
                                  stderr=subprocess.PIPE, check=False)
            source.stdout.close()
    else:
        done = subprocess.run(command + [path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False)
    found = {}
    if done.stdout:
        doc = json.loads(done.stdout)
        found = {c["id"]: c["result"] for c in doc["checks"]}
    return done.returncode, found, done.stderr.decode(), done.stdout


def problems_of(found, code, wanted_code, checks, others):
    problems = []
    if code != wanted_code:
        problems.append(f"exit {code}, expected {wanted_code}")
    for check, result in checks.items():
        if found.get(check) != result:
            problems.append(f"{check} is {found.get(check)}, expected "
                            f"{result}")
    failed = {c for c, result in found.items() if result == "fail"}
    if not others and failed - set(checks):
        problems.append(f"also failed: {sorted(failed - set(checks))}")
    return problems


def run_case(name, data, fmt, args, wanted, checks, others):
    code, found, stderr, out = inspect(data, fmt, args)
    problems = problems_of(found, code, wanted, checks, others)
    if b"\x1b" in out:
        problems.append("a control byte of the image is in the output")
    counts[code] = counts.get(code, 0) + 1
    # What a stream tells may be less, never something else.
    if len(data) < 1 << 22:
        streamed, told, _, _ = inspect(data, fmt, args, stream=True)
        if streamed != code and (streamed, code) != (2, 1):
            problems.append(f"exit {streamed} as a stream, {code} as a file")
        for check, result in told.items():
            if result not in ("skip", "unproven") and \
                    check not in ("file-kind", "file-unused") and \
                    found.get(check) != result:
                problems.append(f"{check} is {result} of a stream, "
                                f"{found.get(check)} of the file")
    if problems:
        print(f"FAIL {name} ({fmt} {' '.join(args)})")
        for problem in problems:
            print("    ", problem)
        print("    ", stderr.strip()[:300])
    return not problems


def random_bytes(q3, nr=60):
    """Any change of a header byte is accepted or refused, never more."""
    rng = random.Random(SEED)
    failed = 0
    for i in range(nr):
        off = rng.randrange(4, 112) if i % 2 else rng.randrange(4, len(q3))
        data = put(q3, off, bytes([rng.randrange(256)]))
        code, _, stderr, _ = inspect(data, "qcow2", [])
        if code not in (0, 1):
            print(f"FAIL seed {SEED}: byte {off}: exit {code}: {stderr}")
            failed += 1
    return failed


def main():
    for tool in ("qemu-img", "qemu-io"):
        if shutil.which(tool) is None:
            print(f"SKIP: {tool} is not installed")
            return 77
    with tempfile.TemporaryDirectory(prefix="inspect-") as folder:
        os.chdir(folder)
        q3 = filled("q3", "compat=1.1")
        good("q3", q3, "qcow2")
        harmless_qcow2()
        hostile_header(q3)
        hostile_references(q3)
        hostile_tables(q3)
        raw_disks()
        polyglots()
        vmdks()
        vhds()
        other_formats()
        limits(q3)
        profiles()
        failed = sum(not run_case(*one) for one in cases)
        failed += random_bytes(q3)
        os.chdir("/")
    refused = {c for one in cases for c, r in one[5].items() if r == "fail"}
    for kind in KINDS:
        if f"reference-{kind}" not in refused:
            print(f"FAIL no image has a reference of kind {kind}")
            failed += 1
    print(f"{len(cases)} images, {failed} failures; exit codes {counts}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
