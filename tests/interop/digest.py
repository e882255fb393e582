#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A digest depends on what the guest sees, and on nothing else.

--flat is what sha256sum says of qemu-img's flattened copy. The digest of
blocks is that of the construction in chain/digest.h, computed here from the
copy by itself. The copy has both of them, too, and loses them when a byte of
it is changed.
"""

import hashlib
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402

BLOCK_LEN = 65536
RAW = "flat.raw"
PACKED = "packed.qcow2"


def block_digest(contents):
    digest = hashlib.sha256()
    for off in range(0, len(contents), BLOCK_LEN):
        block = contents[off:off + BLOCK_LEN]
        digest.update(hashlib.sha256(block).digest())
    digest.update(struct.pack("<Q", len(contents)))
    return digest.hexdigest()


def digest_of(chain, fmt, path, *options):
    text = chain.imgchain("digest", "--output", "json", *options, "-f", fmt,
                          path)
    return json.loads(text)


def expect(chain, fmt, path, contents):
    """Both digests of an image that shows CONTENTS."""
    engine = chain.rng.choice(["auto", "sync"])
    blocks = digest_of(chain, fmt, path, "--engine", engine)
    flat = digest_of(chain, fmt, path, "--flat", "--engine", engine)
    wanted = (block_digest(contents), hashlib.sha256(contents).hexdigest())
    if (blocks["digest"], flat["digest"]) != wanted:
        raise cases.Mismatch(f"{path}: found {blocks} and {flat}, expected "
                             f"{wanted[0]} and {wanted[1]}")
    if blocks["virtual-size"] != len(contents):
        raise cases.Mismatch(f"{path}: found {blocks}, expected "
                             f"{len(contents)} bytes")


def change_a_byte(chain, contents):
    off = chain.rng.randrange(len(contents))
    changed = bytearray(contents)
    changed[off] ^= 1 << chain.rng.randrange(8)
    with open(os.path.join(chain.folder, RAW), "r+b") as file:
        file.seek(off)
        file.write(changed[off:off + 1])
    return bytes(changed)


def check(chain):
    top = chain.top
    if not chain.plan.is_readable:
        done = chain.run(cases.IMGCHAIN, "digest", top.path)
        if done.returncode != 1 or b"encrypted" not in done.stderr:
            raise cases.Mismatch(f"digest of an encrypted image: exit "
                                 f"{done.returncode}: {done.stderr!r}")
        return
    chain.ok("qemu-img", "convert", "-f", top.fmt, "-O", "raw", top.path, RAW)
    with open(os.path.join(chain.folder, RAW), "rb") as file:
        contents = file.read()
    expect(chain, top.fmt, top.path, contents)
    chain.ok("qemu-img", "convert", "-f", "raw", "-c", "-O", "qcow2", RAW,
             PACKED)
    expect(chain, "qcow2", PACKED, contents)
    expect(chain, "raw", RAW, change_a_byte(chain, contents))


if __name__ == "__main__":
    sys.exit(cases.run(check, default_number=50, first_seed=90000))
