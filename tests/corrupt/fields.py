#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One file per malformed field.

Each case is a good image by the real qemu-img with one thing changed. The
file is named after the case; imgchain must end with exit code 1 and exactly
the expected line on stderr, nothing on stdout. The unchanged images must be
accepted.
"""

import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "interop",
                                "support"))
import peers  # noqa: E402

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
SECRET = ["--object", "secret,id=s,data=fields"]
MAX = 2**64 - 1

# Header fields, by the names of the specification: offset and width.
FIELDS = {
    "version": (4, 4),
    "backing_file_offset": (8, 8),
    "backing_file_size": (16, 4),
    "cluster_bits": (20, 4),
    "size": (24, 8),
    "crypt_method": (32, 4),
    "l1_size": (36, 4),
    "l1_table_offset": (40, 8),
    "refcount_table_offset": (48, 8),
    "refcount_table_clusters": (56, 4),
    "nb_snapshots": (60, 4),
    "snapshots_offset": (64, 8),
    "incompatible_features": (72, 8),
    "compatible_features": (80, 8),
    "autoclear_features": (88, 8),
    "refcount_order": (96, 4),
    "header_length": (100, 4),
    "compression_type": (104, 1),
}

ALIGNED = "expected a multiple of the cluster size 65536, not 0 and below 2^63"


class Image:
    """The bytes of an image, to be changed."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        self.last_put = None

    def get(self, off, width):
        return int.from_bytes(self.data[off:off + width], "big")

    def put(self, off, width, value):
        self.data[off:off + width] = value.to_bytes(width, "big")
        self.last_put = off

    def field(self, name):
        return self.get(*FIELDS[name])

    def set(self, **fields):
        for name, value in fields.items():
            self.put(*FIELDS[name], value)

    def extension(self, kind):
        """Offset of the extension of this type."""
        off = self.field("header_length") if self.get(4, 4) == 3 else 72
        while self.get(off, 4) != kind:
            assert self.get(off, 4) != 0, "no such extension"
            off += 8 + (self.get(off + 4, 4) + 7) // 8 * 8
        return off

    def append_extension(self, kind, data):
        """Put one where the end mark is; the rest of the cluster is 0."""
        off = self.extension(0)
        self.put(off, 4, kind)
        self.put(off + 4, 4, len(data))
        self.data[off + 8:off + 8 + len(data)] = data
        return off

    def l1_entry_off(self, idx=0):
        return self.field("l1_table_offset") + 8 * idx

    def l2_entry_off(self, idx=0, width=8):
        table = self.get(self.l1_entry_off(), 8) & 0x00fffffffffffe00
        return table + width * idx


# ---------------------------------------------------------------- the images

def run(*args):
    done = peers.run(args)
    if done.returncode != 0:
        sys.exit(f"{' '.join(args)}: exit {done.returncode}: {done.stderr}")


def create(name, options, *more):
    run("qemu-img", "create", "-q", *SECRET, "-f", "qcow2", "-o", options,
        *more, name, "1M")


def make_images():
    create("v3", "compat=1.1")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 128k", "v3")
    create("v2", "compat=0.10")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 128k", "v2")
    create("extended", "extended_l2=on")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 64k", "extended")
    create("snapshot", "compat=1.1")
    run("qemu-img", "snapshot", "-c", "tag", "snapshot")
    create("bitmap", "compat=1.1")
    run("qemu-img", "bitmap", "--add", "bitmap", "dirty")
    create("data", "data_file=data.raw")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 64k", "data")
    create("luks", "encrypt.format=luks,encrypt.key-secret=s,"
           "encrypt.iter-time=10")
    run("qemu-img", "create", "-q", "-f", "raw", "base.raw", "1M")
    create("overlay", "backing_file=base.raw,backing_fmt=raw")
    with open("plain.raw", "wb") as file:
        file.write(b"compress me " * 87382)
    run("qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2",
        "plain.raw", "compressed")


# ----------------------------------------------------------------- the cases

CASES = []


def case(image, text, off=None, command="info", name=None):
    """Register a function that breaks IMAGE; TEXT is what is to be said.

    The offset that is to be named is OFF, or what the function returns, or
    else where it last put something.
    """
    def register(change):
        CASES.append((name or change.__name__, image, change, text, off,
                      command))
        return change
    return register


def header_case(name, image, text, at=None, **fields):
    """A case that only sets header fields; the first is the culprit."""
    culprit = at or next(iter(fields))
    CASES.append((name, image, lambda i: i.set(**fields), text,
                  FIELDS[culprit][0], "info"))


def header_cases():
    add = header_case
    add("version", "v3", "version: found 4, expected 2 or 3", version=4)
    add("cluster-bits-low", "v3", "cluster_bits: found 8, expected 9 to 21",
        cluster_bits=8)
    add("cluster-bits-high", "v3", "cluster_bits: found 22, expected 9 to 21",
        cluster_bits=22)
    add("cluster-bits-extended", "extended",
        "cluster_bits: found 13, expected 14 to 21 with extended L2 entries",
        cluster_bits=13)
    add("size", "v3", "size: found 9223372036854775297, expected at most"
        " 9223372036854775296", size=2**63 - 511)
    add("crypt-method", "v3", "crypt_method: found 3, expected 0 (none), 1"
        " (AES) or 2 (LUKS)", crypt_method=3)
    add("l1-size-small", "v3", "l1_size: found 0, expected at least 1 entries"
        " for the size and at most 4194304", l1_size=0)
    add("l1-size-large", "v3", "l1_size: found 4194305, expected at least 1"
        " entries for the size and at most 4194304", l1_size=4194305)
    add("l1-size-outside", "v3", "l1_table_offset: found a table from 196608"
        " to 33751040, expected it inside the file's 458752 bytes",
        at="l1_table_offset", l1_size=4194304)
    add("l1-offset-zero", "v3", "l1_table_offset: found 0, " + ALIGNED,
        l1_table_offset=0)
    add("l1-offset-unaligned", "v3",
        "l1_table_offset: found 197120, " + ALIGNED, l1_table_offset=0x30200)
    add("l1-offset-outside", "v2", "l1_table_offset: found a table from"
        " 1048576 to 1048584, expected it inside the file's 458752 bytes",
        l1_table_offset=1 << 20)
    add("l1-offset-huge", "v3", "l1_table_offset: found"
        " 18446744073709486080, " + ALIGNED, l1_table_offset=MAX - 65535)
    add("reftable-offset-zero", "v3",
        "refcount_table_offset: found 0, " + ALIGNED, refcount_table_offset=0)
    add("reftable-offset-unaligned", "v2",
        "refcount_table_offset: found 65544, " + ALIGNED,
        refcount_table_offset=65544)
    add("reftable-offset-outside", "v3", "refcount_table_offset: found a table"
        " from 1048576 to 1114112, expected it inside the file's 458752 bytes",
        refcount_table_offset=1 << 20)
    add("reftable-clusters-zero", "v3",
        "refcount_table_clusters: found 0, expected 1 to 128",
        refcount_table_clusters=0)
    add("reftable-clusters-large", "v3",
        "refcount_table_clusters: found 129, expected 1 to 128",
        refcount_table_clusters=129)
    add("nb-snapshots", "v3", "nb_snapshots: found 65537, expected at most"
        " 65536", nb_snapshots=65537)
    add("nb-snapshots-data-file", "data", "nb_snapshots: found 1, expected 0"
        " with an external data file", nb_snapshots=1,
        snapshots_offset=0x30000)
    add("snapshots-offset-zero", "snapshot",
        "snapshots_offset: found 0, " + ALIGNED, snapshots_offset=0)
    add("snapshots-offset-unaligned", "v3", "snapshots_offset: found 8,"
        " expected a multiple of the cluster size 65536", snapshots_offset=8)
    add("snapshots-offset-outside", "v3", "snapshots_offset: found 1048576,"
        " expected inside the file's 458752 bytes", at="snapshots_offset",
        nb_snapshots=1, snapshots_offset=1 << 20)
    add("unknown-feature", "v3", "incompatible_features: found unknown bit 63,"
        " expected only bits 0 to 4", incompatible_features=1 << 63)
    add("raw-data-without-data-file", "v3", "autoclear_features: found bit 1"
        " (raw external data), expected it only with incompatible feature bit"
        " 2 (external data file)", autoclear_features=2)
    add("refcount-order", "v3", "refcount_order: found 7, expected at most 6",
        refcount_order=7)
    for length in (96, 111, 65544):
        add("header-length-%d" % length, "v3", "header_length: found %d,"
            " expected a multiple of 8 from 104 to the cluster size 65536"
            % length, header_length=length)
    add("compression-type-unknown", "v3", "compression_type: found 2, expected"
        " 0 (zlib) or 1 (zstd)", compression_type=2,
        incompatible_features=8)
    add("compression-type-without-bit", "v3", "compression_type: found 1,"
        " expected 0 as incompatible feature bit 3 is clear",
        compression_type=1)
    add("compression-bit-without-type", "v3", "compression_type: found 0,"
        " expected 1 as incompatible feature bit 3 is set",
        at="compression_type", incompatible_features=8)
    add("backing-size-zero", "overlay", "backing_file_size: found 0, expected"
        " 1 to 1023 as backing_file_offset is set", backing_file_size=0)
    add("backing-size-large", "overlay", "backing_file_size: found 1024,"
        " expected 1 to 1023 as backing_file_offset is set",
        backing_file_size=1024)
    add("backing-offset-in-header", "overlay", "backing_file_offset: found"
        " 104, expected at least the header's length 112",
        backing_file_offset=104)
    add("backing-offset-outside", "overlay", "backing_file_offset: found"
        " 65529, expected the name's 8 bytes to end in the first cluster"
        " (65536 bytes)", backing_file_offset=65529)


header_cases()


@case("v3", "header padding: found 0x01, expected 0", 107)
def header_padding(image):
    image.data[107] = 1


@case("v3", "header: found 80 bytes, expected at least 104 in version 3", 80)
def truncated_header_v3(image):
    del image.data[80:]


@case("v2", "header: found 71 bytes, expected at least 72 in version 2", 71)
def truncated_header_v2(image):
    del image.data[71:]


@case("v3", "l1_table_offset: found a table from 196608 to 196616, expected it"
      " inside the file's 196608 bytes", 40)
def truncated_before_l1(image):
    del image.data[196608:]


@case("overlay", "header extension 0xe2792aca: found length 32, expected at"
      " most %d", 116)
def backing_offset_in_extension(image):
    image.set(backing_file_offset=128, backing_file_size=8)
    image.put(116, 4, 32)


@case("overlay", "header extension 0xe2792aca: found length 4294967289,"
      " expected at most %d", 116)
def extension_length_wraps(image):
    image.put(116, 4, 0xfffffff9)


@case("overlay", "backing file name: found a NUL byte after 4 bytes, expected"
      " 8 bytes without one")
def backing_name_nul(image):
    image.put(image.field("backing_file_offset") + 4, 1, 0)


@case("v3", "backing format: found 16 bytes, expected at most 15")
def backing_format_long(image):
    image.append_extension(0xe2792aca, b"q" * 16)


@case("overlay", "header extension 0xe2792aca: found twice, expected once")
def backing_format_twice(image):
    # The feature names make way: the area ends at the backing name.
    off = image.extension(0x6803f857)
    image.put(off, 4, 0xe2792aca)


@case("v3", "data file name: found one, expected none without incompatible"
      " feature bit 2")
def data_file_without_bit(image):
    return image.append_extension(0x44415441, b"x")


@case("luks", "crypto header pointer: found none, expected one with"
      " crypt_method 2 (LUKS)", 32)
def crypto_missing(image):
    image.put(image.extension(0x0537be77), 4, 0x0537be78)


@case("luks", "crypto header pointer: found one with crypt_method 0, expected"
      " it only with 2 (LUKS)")
def crypto_without_luks(image):
    image.set(crypt_method=0)
    return image.extension(0x0537be77)


@case("luks", "crypto header offset: found 1, expected a multiple of the"
      " cluster size 65536, not 0 and below 2^63")
def crypto_offset(image):
    image.put(image.extension(0x0537be77) + 8, 8, 1)


@case("luks", "crypto header length: found 16777217, expected 1 to 16777216")
def crypto_length(image):
    image.put(image.extension(0x0537be77) + 16, 8, (16 << 20) + 1)


@case("bitmap", "bitmaps extension, reserved field: found 0x1, expected 0")
def bitmaps_reserved(image):
    image.put(image.extension(0x23852875) + 12, 4, 1)


@case("bitmap", "nb_bitmaps: found 0, expected 1 to 65535")
def bitmaps_none(image):
    image.put(image.extension(0x23852875) + 8, 4, 0)


@case("bitmap", "bitmap_directory_size: found 67107841, expected 1 to"
      " 67107840")
def bitmaps_directory_size(image):
    image.put(image.extension(0x23852875) + 16, 8, 67107841)


@case("bitmap", "bitmap_directory_offset: found 512, expected a multiple of"
      " the cluster size 65536, not 0 and below 2^63")
def bitmaps_directory_offset(image):
    image.put(image.extension(0x23852875) + 24, 8, 512)


def directory(image):
    return image.get(image.extension(0x23852875) + 24, 8)


@case("bitmap", "bitmap granularity_bits: found 8, expected 9 to 31")
def bitmap_granularity(image):
    image.put(directory(image) + 17, 1, 8)


@case("bitmap", "bitmap flags: found 0x4, expected only bits 0 and 1")
def bitmap_flags(image):
    image.put(directory(image) + 12, 4, 4)


@case("bitmap", "bitmap type: found 2, expected 1")
def bitmap_type(image):
    image.put(directory(image) + 16, 1, 2)


@case("bitmap", "bitmap name_size: found 0, expected 1 to 1023")
def bitmap_name_size(image):
    image.put(directory(image) + 18, 2, 0)


@case("bitmap", "bitmap extra_data_size: found 8, expected 0")
def bitmap_extra_data(image):
    image.put(directory(image) + 20, 4, 8)


@case("bitmap", "bitmap_table_size: found 0, expected 1 to 8192")
def bitmap_table_size(image):
    image.put(directory(image) + 8, 4, 0)


@case("bitmap", "bitmap_table_offset: found 0, expected a multiple of the"
      " cluster size 65536, not 0")
def bitmap_table_offset(image):
    image.put(directory(image), 8, 0)


def snapshots(image):
    return image.field("snapshots_offset")


@case("snapshot", "snapshot extra data size: found 1025, expected 16 to 1024")
def snapshot_extra_large(image):
    image.put(snapshots(image) + 36, 4, 1025)


@case("snapshot", "snapshot extra data size: found 15, expected 16 to 1024")
def snapshot_extra_small(image):
    image.put(snapshots(image) + 36, 4, 15)


@case("snapshot", "snapshot L1 size: found 4194305, expected at most 4194304")
def snapshot_l1_size(image):
    image.put(snapshots(image) + 8, 4, 4194305)


@case("snapshot", "snapshot L1 table offset: found 196609, expected a multiple"
      " of the cluster size 65536, not 0")
def snapshot_l1_offset(image):
    image.put(snapshots(image), 8, 196609)


@case("snapshot", "snapshot virtual disk size: found 9223372036854775297,"
      " expected at most 9223372036854775296")
def snapshot_size(image):
    image.put(snapshots(image) + 48, 8, 2**63 - 511)


@case("v3", "L1 entry: found 0x8000000000040001, expected bits 0 to 8 and 56"
      " to 62 to be 0", command="map")
def l1_reserved(image):
    off = image.l1_entry_off()
    image.put(off, 8, image.get(off, 8) | 1)


@case("v3", "L1 entry: found 0x0000000000040200, expected the offset of a"
      " cluster", command="map")
def l1_unaligned(image):
    image.put(image.l1_entry_off(), 8, 0x40200)


@case("v3", "L1 entry: found 0x8000000000000000, expected bit 63 to be 0"
      " without an offset", command="map")
def l1_copied_only(image):
    image.put(image.l1_entry_off(), 8, 1 << 63)


@case("v3", "L1 entry: found 0x0000010000000000, expected an offset inside the"
      " file", command="map")
def l1_outside(image):
    image.put(image.l1_entry_off(), 8, 1 << 40)


def l2_case(image, name, value, text, bitmap=None):
    def change(i):
        width = 8 if bitmap is None else 16
        off = i.l2_entry_off(0, width)
        if value is not None:
            i.put(off, 8, value)
        if bitmap is not None:
            i.put(off + 8, 8, bitmap)
        return off
    CASES.append((name, image, change, "L2 entry for guest offset 0: found "
                  + text, None, "map"))


def l2_cases():
    add = l2_case
    add("v3", "l2-reserved", 0x50002, "0x0000000000050002, expected bits 1 to"
        " 8 and 56 to 61 to be 0")
    add("v3", "l2-unaligned", 0x50200, "0x0000000000050200, expected the"
        " offset of a cluster")
    add("v3", "l2-outside", 1 << 40, "0x0000010000000000, expected an offset"
        " inside the file")
    add("v3", "l2-copied-only", 1 << 63, "0x8000000000000000, expected bit 63"
        " to be 0 without a host offset")
    add("v2", "l2-zero-v2", 1, "0x0000000000000001, expected bit 0 to be 0 in"
        " a version 2 image")
    add("compressed", "l2-compressed-copied", 3 << 62 | 0x50000,
        "0xc000000000050000, expected bit 63 to be 0 for a compressed cluster")
    add("compressed", "l2-compressed-outside", 1 << 62 | 1 << 40,
        "0x4000010000000000, expected compressed data to begin inside the"
        " file")
    add("data", "l2-compressed-data-file", 1 << 62,
        "0x4000000000000000, expected no compressed cluster with an external"
        " data file")
    add("data", "l2-data-file-offset", 1 << 63 | 0x10000,
        "0x8000000000010000, expected the guest's offset in the external data"
        " file")
    add("extended", "l2-subcluster-both", None, "subcluster bitmap"
        " 0x00000001ffffffff, expected no subcluster both allocated and zero",
        bitmap=0x1ffffffff)
    add("extended", "l2-subcluster-no-host", 0, "0x0000000000000000, expected"
        " a host offset for the allocated subclusters", bitmap=1)


l2_cases()


# ---------------------------------------------------------------- the checks

def imgchain(*args):
    return subprocess.run([IMGCHAIN, *args], capture_output=True, timeout=60)


def judge(name, image, change, text, off, command):
    path = name.replace("_", "-") + ".qcow2"
    broken = Image(image)
    found_off = change(broken)
    if off is None:
        off = broken.last_put if found_off is None else found_off
    with open(path, "wb") as file:
        file.write(broken.data)
    if "%d" in text:
        end = broken.field("backing_file_offset") - 120
        text = text % end
    result = imgchain(command, path)
    stderr = result.stderr.decode("utf-8", "replace")
    wanted = "imgchain: %s: %s (offset %d)\n" % (path, text, off)
    os.unlink(path)
    if result.returncode == 1 and stderr == wanted and not result.stdout:
        return True
    print("%s (%s):\n  wanted: exit 1, %r\n  found:  exit %d, %r%s" %
          (name, command, wanted, result.returncode, stderr,
           ", and output" if result.stdout else ""))
    return False


def judge_good(image):
    bad = 0
    for command in ("info", "map"):
        if command == "map" and image == "luks":
            continue
        result = imgchain(command, image)
        if result.returncode != 0 or result.stderr:
            print("%s %s: exit %d, %r" % (command, image, result.returncode,
                                          result.stderr))
            bad += 1
    return bad


def main():
    if shutil.which("qemu-img") is None:
        print("skipped: no qemu-img")
        sys.exit(77)
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        make_images()
        for image in sorted({c[1] for c in CASES}):
            failed += judge_good(image)
        for one in CASES:
            failed += not judge(*one)
        os.chdir("/")
    print("%d cases, %d failed" % (len(CASES), failed))
    sys.exit(failed > 0)


main()
