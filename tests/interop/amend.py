#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""amend does what qemu-img amend does, from the same bytes.

Of both results the exit code, qemu-img info, the contents of the active image
and of its snapshots, and the bitmaps are compared; qemu-img check must find
nothing. Where imgchain is meant to differ it is said here: it records another
backing file where qemu-img sends its users to rebase; it refuses an image that
was not closed cleanly, a smaller size, and to take the compression type from
an image that needs it; it leaves no bitmap behind that version 2 cannot have.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402
import twice  # noqa: E402

COMPAT = ["0.10", "1.1", "v2", "v3"]
BITS = ["1", "2", "4", "8", "16", "32", "64"]
REFUSED = ["compat=2", "compat=", "refcount_bits=3", "refcount_bits=0",
           "refcount_bits=128", "lazy_refcounts=maybe", "cluster_size=4k",
           "preallocation=off", "compression_type=zstd", "extended_l2=on",
           "encryption=off", "encrypt.format=luks", "no_such=1"]
WANTED = [("outcome", "both did"), ("outcome", "both refused"),
          ("outcome", "named anew"), ("from to", "1.1 0.10"),
          ("from to", "0.10 1.1"), ("bitmaps", "kept"),
          ("snapshots", "kept"), ("data_file", "renamed")] + \
         [("refcount_bits", bits) for bits in BITS] + \
         [("refused", word) for word in REFUSED] + \
         [("lazy_refcounts", word) for word in ("on", "off")] + \
         [("data_file_raw", word) for word in ("on", "off")]


def pick(chain):
    """Some of the options that both know."""
    rng, words, seed = chain.rng, [], chain.plan.seed
    if seed % 4 == 0:
        word = REFUSED[seed // 4 % len(REFUSED)]
        twice.count("refused", word)
        words.append(word)
    if rng.random() < 0.5:
        words.append("compat=" + rng.choice(COMPAT))
    if rng.random() < 0.4:
        bits = BITS[seed % len(BITS)]
        twice.count("refcount_bits", bits)
        words.append("refcount_bits=" + bits)
    if rng.random() < 0.3:
        word = rng.choice(["on", "off"])
        twice.count("lazy_refcounts", word)
        words.append("lazy_refcounts=" + word)
    if rng.random() < 0.15:
        word = rng.choice(["on", "off"])
        twice.count("data_file_raw", word)
        words.append("data_file_raw=" + word)
    if not words or rng.random() < 0.1:
        words.append(f"size={chain.top.size + 512 * rng.randrange(4000)}")
    rng.shuffle(words)
    return words


def is_meant_to_refuse(chain, pair, words):
    compat = [word for word in words if word.startswith("compat=")]
    is_down = compat and compat[-1] in ("compat=0.10", "compat=v2")
    return twice.is_dirty(pair.paths[0] + ".before") or (
        is_down and chain.top.options.get("compression_type") == "zstd")


def count_change(before, ours):
    def compat(state):
        return state.info["format-specific"]["data"]["compat"]

    twice.count("from to", f"{compat(before)} {compat(ours)}")
    if ours.bitmaps:
        twice.count("bitmaps", "kept")
    if ours.snapshots:
        twice.count("snapshots", "kept")


def amend(chain):
    words = pick(chain)
    args = ["amend", "-f", "qcow2", "-o", ",".join(words), chain.top.path]
    pair = twice.Twice(chain, chain.top)
    before = pair.run("true")
    peer, ours = pair.both(*args)
    if is_meant_to_refuse(chain, pair, words):
        twice.count("outcome", "meant to refuse")
        twice.expect(args, "exit code", ours.code, 1)
        twice.expect_untouched(args, before, ours)
        return
    if not peer:
        twice.count("outcome", "qemu-img did not come back")
        twice.expect(args + [ours.stderr], "exit code", ours.code, 0)
        twice.expect(args, "check", ours.problems, "")
        twice.expect(args, "contents", ours.data, before.data.ljust(
            ours.info["virtual-size"], b"\0"))
        twice.expect(args, "snapshots", ours.snapshots, before.snapshots)
        return
    twice.expect(args + [ours.stderr, peer.stderr], "exit code", ours.code,
                 peer.code)
    if ours.code != 0:
        twice.count("outcome", "both refused")
        twice.expect_untouched(args, before, ours)
        return
    twice.count("outcome", "both did")
    count_change(before, ours)
    twice.expect_alike(args, peer, ours)
    twice.expect(args, "contents", ours.data, peer.data)
    twice.expect(args, "bitmaps", ours.bitmaps, peer.bitmaps)
    dry_run(chain, pair, args, ours)


def dry_run(chain, pair, args, after):
    """Of what is done already, and of a refusal, nothing is written."""
    digests = [twice.digest(path) for path in pair.paths]
    done = chain.run(cases.IMGCHAIN, args[0], "--dry-run", *args[1:])
    twice.expect(args, "exit code of a dry run", done.returncode, 0)
    twice.expect(args, "files after a dry run",
                 [twice.digest(path) for path in pair.paths], digests)
    twice.expect(args, "exit code", after.code, 0)


def rename(chain):
    """Another name for the backing file, which leads to the same one."""
    top, below = chain.top, chain.plan.layers[1]
    if twice.is_dirty(os.path.join(chain.folder, top.path)):
        return
    name = os.path.join(chain.folder, below.path)
    args = ["amend", "-f", "qcow2", "-o",
            f"backing_file={name},backing_fmt={below.fmt}", top.path]
    pair = twice.Twice(chain, top)
    before = pair.run("true")
    ours = pair.run(cases.IMGCHAIN, *args)
    twice.expect(args + [ours.stderr], "exit code", ours.code, 0)
    twice.expect(args, "check", ours.problems, "")
    twice.expect(args, "backing file", ours.info.get("backing-filename"), name)
    twice.expect(args, "backing format",
                 ours.info.get("backing-filename-format"), below.fmt)
    twice.expect(args, "bitmaps", ours.bitmaps, before.bitmaps)
    if top.name_style != "json":  # a part of the file is not the file
        twice.expect(args, "contents", ours.data, before.data)
    twice.count("outcome", "named anew")


def rename_data_file(chain):
    """As qemu-img records it, which looks at nothing."""
    path = os.path.join(chain.folder, chain.top.path)
    if "data_file" not in chain.top.options or twice.is_dirty(path):
        return
    name = twice.files_of(chain, chain.top)[1]
    args = ["amend", "-f", "qcow2", "-o", f"data_file={name}", chain.top.path]
    peer, ours = twice.Twice(chain, chain.top).both(*args)
    twice.expect(args + [ours.stderr], "exit code", ours.code, peer.code)
    twice.expect_alike(args, peer, ours)
    twice.count("data_file", "renamed")


def check(chain):
    if chain.top.fmt != "qcow2":
        done = chain.run(cases.IMGCHAIN, "amend", "-f", chain.top.fmt, "-o",
                         "compat=1.1", chain.top.path)
        twice.expect(["amend of", chain.top.fmt], "exit code",
                     done.returncode, 1)
        return
    if not chain.plan.is_readable:
        done = chain.run(cases.IMGCHAIN, "amend", "-o", "compat=1.1",
                         chain.top.path)
        twice.expect(["amend, encrypted"], "exit code", done.returncode, 1)
        return
    amend(chain)
    if len(chain.plan.layers) > 1 and chain.rng.random() < 0.4:
        rename(chain)
    rename_data_file(chain)


if __name__ == "__main__":
    CASES = 120
    sys.exit(twice.finish(cases.run(check, CASES, first_seed=60000), WANTED,
                          twice.number_of_cases(CASES)))
