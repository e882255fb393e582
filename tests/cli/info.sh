#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# info: the sheet for people, QEMU's keys for programs, one file or a chain.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image base.qcow2 64G
make_overlay top.qcow2 base.qcow2
sync -f .
on_disk=$(($(stat -c %b top.qcow2) * 512))

run info top.qcow2
expect_exit 0
expect_no_stderr
expect_stdout <<E2
image               top.qcow2
format              qcow2 (probed)
virtual size        64 GiB (68719476736 bytes)
size on disk        $((on_disk / 1024)) KiB ($on_disk bytes)
cluster size        64 KiB (65536 bytes)
backing file        base.qcow2
backing format      qcow2
compat              1.1
compression-type    zlib
refcount-bits       16
lazy-refcounts      no
corrupt             no
extended-l2         no
E2

# Only the operand is looked at: its base may be gone.
mv base.qcow2 away.qcow2
run info --output json -f qcow2 top.qcow2
expect_exit 0
expect_json 'doc["probed"] is False'
expect_json 'doc["full-backing-filename"] == "base.qcow2"'
refuses 1 'base.qcow2: cannot open: No such file or directory' \
    info --output json --backing-chain top.qcow2
# People see how far it goes.
run info --backing-chain top.qcow2
expect_exit 1
expect_line 'image               top.qcow2'
expect_stderr <<<'imgchain: base.qcow2: cannot open: No such file or directory'
mv away.qcow2 base.qcow2

# same_as_qemu ARGS...: every key that qemu-img prints has the same value.
same_as_qemu()
{
    run info --output json "$@"
    expect_exit 0
    qemu-img info --output json "$@" >"$test_dir/qemu"
    python3 - "$test_dir/qemu" "$test_dir/stdout" <<'PYTHON' || fail 'differs'
import json, sys
theirs, ours = (json.load(open(name, encoding="utf-8"))
                for name in sys.argv[1:])
if not isinstance(theirs, list):
    theirs, ours = [theirs], [ours]
assert len(theirs) == len(ours), (len(theirs), len(ours))
for their, our in zip(theirs, ours):
    for key, value in their.items():
        assert our.get(key) == value, (key, value, our.get(key))
PYTHON
}

mkdir sub
make_overlay sub/high.qcow2 ../top.qcow2
qemu-img snapshot -c first sub/high.qcow2
qemu-img bitmap --add -g 128k sub/high.qcow2 dirt
fill sub/high.qcow2 7 1M 64k
qemu-img create -q -f raw plain.raw 3M
# Delayed allocation would change the size on disk between two looks.
sync -f .
same_as_qemu sub/high.qcow2
same_as_qemu --backing-chain sub/high.qcow2
same_as_qemu -f raw top.qcow2
same_as_qemu plain.raw
same_as_qemu --backing-chain plain.raw

run info sub/high.qcow2
expect_line 'backing file        ../top.qcow2'
expect_line '  found at          sub/../top.qcow2'
expect_line 'internal snapshots'
expect_line '  1  first'
expect_line 'bitmaps             flags ["auto"], name dirt, granularity 131072'

# A backing format that is not recorded is not guessed, unless asked: the
# type of the header extension is changed to one that nobody knows.
cp top.qcow2 silent.qcow2
at=$(LC_ALL=C grep -obUaP '\xe2\x79\x2a\xca' silent.qcow2 | head -n 1 | cut -d: -f1)
poke silent.qcow2 "$at" 0badcafe
run info silent.qcow2
expect_exit 0
expect_line 'backing format      not recorded'
run info --output json --backing-chain silent.qcow2
expect_exit 1
expect_no_stdout
grep -qF 'qemu-img rebase -u' "$test_dir/stderr" || fail 'no remedy'
run info --output json --backing-chain --allow-probe silent.qcow2
expect_exit 0
expect_json '[layer["probed"] for layer in doc] == [True, True]'

# A snapshot's name may be longer than anybody shows: both cut it alike.
qemu-img create -q -f qcow2 long.qcow2 1M
qemu-img snapshot -c name long.qcow2
python3 - long.qcow2 <<'PYTHON'
import struct
import sys
with open(sys.argv[1], "r+b") as image:
    image.seek(64)
    table, = struct.unpack(">Q", image.read(8))
    image.seek(table)
    entry = bytearray(image.read(40))
    extra, = struct.unpack(">I", entry[36:40])
    rest = image.read(extra)
    entry[12:16] = struct.pack(">HH", 200, 700)
    image.seek(table)
    image.write(entry + rest + b"7" * 200 + "ä".encode() * 350)
PYTHON
run info --output json long.qcow2
expect_exit 0
qemu-img info --output json long.qcow2 >peer.json
python3 - "$test_dir/stdout" peer.json <<'PYTHON' || fail 'names differ'
import json
import sys
ours, peer = (json.load(open(name, "rb")) for name in sys.argv[1:])
ours, peer = ours["snapshots"][0], peer["snapshots"][0]
assert len(peer["id"]) == 127 and ours["id"] == peer["id"], (ours, peer)
assert len(peer["name"]) in (127, 128), peer
assert ours["name"][:127] == peer["name"][:127] == "ä" * 127, (ours, peer)
assert len(ours["name"]) == 128, ours
PYTHON
