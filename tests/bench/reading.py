# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only reads: info, map, check, compare."""

import os

from images import run, same


def compare(a, b, fmt_b="qcow2", *flags):
    return same("compare", *flags, "-f", "qcow2", "-F", fmt_b, a, b)


def slow_compare(images, *flags):
    a, b = images.slow([images.converted(512, "a"),
                        images.converted(512, "b")], 5)
    return compare(a, b, "qcow2", *flags)


def slow_shared(images):
    paths = images.overlays(512)
    base = images.converted(512, "a")
    one, two, _ = images.slow([*paths, base], 5)
    # The overlays name their base by its fast path.
    for path in paths:
        run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b",
            os.path.basename(base), "-F", "qcow2", path)
    return compare(one, two)


def cases():
    """(name, target ratio or None, function of Images -> two commands)"""
    return [
        ("info", 3, lambda i: same(
            "info", "--output=json", "-f", "qcow2", i.backing_chain(1))),
        ("info --backing-chain, 60 deep", None, lambda i: same(
            "info", "--output=json", "--backing-chain", "-f", "qcow2",
            i.backing_chain(60))),
        ("map, 1 TiB with 60,000 clusters", 40, lambda i: same(
            "map", "--output=json", "-f", "qcow2", i.scattered())),
        ("check of the same", 4, lambda i: same(
            "check", "-f", "qcow2", i.scattered())),
        ("compare of it with itself", 50, lambda i: compare(
            i.scattered(), i.scattered())),
        ("compare, two overlays on one base", 50, lambda i: compare(
            *i.overlays(2400))),
        ("compare, separate files, warm", 2, lambda i: compare(
            i.converted(2400, "a"), i.converted(2400, "b"))),
        ("compare, separate files, -T none", 1.5, lambda i: compare(
            i.converted(2400, "a"), i.converted(2400, "b"), "qcow2",
            "-T", "none")),
        ("compare, zlib with raw", 4, lambda i: compare(
            i.converted(2400, "zlib", "-c"), i.source(2400), "raw")),
        ("compare, zstd with raw", 3, lambda i: compare(
            i.converted(2400, "zstd", "-c", "-o", "compression_type=zstd"),
            i.source(2400), "raw")),
        ("compare, 5 ms a read", 12, slow_compare),
        ("compare, 5 ms a read, -T none", 12,
         lambda i: slow_compare(i, "-T", "none")),
        ("compare, one base behind 5 ms", 12, slow_shared),
        ("map, 2,000 extents over 10 layers", None, lambda i: same(
            "map", "--output=json", "-f", "qcow2", i.spread_chain(10))),
        ("map, 2,000 extents over 200 layers", None, lambda i: same(
            "map", "--output=json", "-f", "qcow2", i.spread_chain(200))),
    ]
