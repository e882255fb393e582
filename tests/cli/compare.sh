#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# compare: verdict, exit codes, differences and what the proof rests on.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image a.qcow2 4M
fill a.qcow2 1 0 1M
qemu-img convert -O raw a.qcow2 b.raw

run compare a.qcow2 b.raw
expect_exit 0
head -n 1 "$test_dir/stdout" | grep -qx 'Images are identical.' ||
    fail 'not qemu-img'\''s first line'
run compare --output json -f qcow2 -F raw a.qcow2 b.raw
expect_exit 0
expect_json 'doc["result"] == "identical" and doc["virtual-size"] == 4194304'
expect_json '"first-difference" not in doc and "differences" not in doc'
expect_json 'sum(doc["proof"].values()) == 4194304'
expect_json 'doc["proof"]["read"] == 1048576'

# A shared base is the same file: nothing is read.
make_overlay left.qcow2 a.qcow2
make_overlay right.qcow2 a.qcow2
run compare --output json left.qcow2 right.qcow2
expect_exit 0
expect_json 'doc["proof"]["same-file"] == 1048576'
expect_json 'doc["proof"]["read"] == 0'

# Differences: the first one, or all of them, exact to the byte.
cp b.raw c.raw
poke c.raw 70001 ff
poke c.raw 3000000 ffff
run compare a.qcow2 c.raw
expect_exit 1
expect_line 'Content mismatch at offset 70001!'
run compare --output json a.qcow2 c.raw
expect_exit 1
expect_json 'doc["result"] == "different" and doc["first-difference"] == 70001'
run compare --all --output json a.qcow2 c.raw
expect_exit 1
expect_json 'doc["differences"] == [{"start": 70001, "length": 1},
                                    {"start": 3000000, "length": 2}]'
run compare --all a.qcow2 c.raw
expect_exit 1
head -n 1 "$test_dir/stdout" |
    grep -qx 'Content mismatch at offset 70001!' || fail 'wrong first line'
expect_line '70001               1'
expect_line '3000000             2'
run compare --all --output json a.qcow2 b.raw
expect_exit 0
expect_json 'doc["differences"] == []'
run compare -q a.qcow2 c.raw
expect_exit 1
expect_no_stdout
expect_no_stderr

# Sizes.
cp b.raw longer.raw
truncate -s 5M longer.raw
run compare a.qcow2 longer.raw
expect_exit 0
expect_line 'Sizes differ: 4194304 and 5242880 bytes.'
head -n 1 "$test_dir/stdout" | grep -qx 'Warning: Image size mismatch!' ||
    fail 'no warning as qemu-img gives it'
run compare longer.raw c.raw
expect_exit 1
head -n 1 "$test_dir/stdout" |
    grep -qx 'Content mismatch at offset 70001!' || fail 'wrong first line'
run compare -s a.qcow2 longer.raw
expect_exit 1
expect_line 'Strict mode: Image size mismatch!'
poke longer.raw 5000000 01
run compare a.qcow2 longer.raw
expect_exit 1
[ "$(sed -n '1,2p' "$test_dir/stdout")" = 'Warning: Image size mismatch!
Content mismatch at offset 5000000!' ] || fail 'not the lines of qemu-img'

# Both engines, past the cache or not, one verdict.
for engine in sync auto; do
    for cache in writeback none; do
        run compare --engine $engine -T $cache a.qcow2 c.raw
        expect_exit 1
        expect_line 'Content mismatch at offset 70001!'
    done
done
IMGCHAIN_ENGINE=sync run compare a.qcow2 b.raw
expect_exit 0

# Internal snapshots on either side.
cp a.qcow2 snap.qcow2
qemu-img snapshot -c before snap.qcow2
fill snap.qcow2 9 0 64k
run compare snap.qcow2 a.qcow2
expect_exit 1
run compare -l before snap.qcow2 a.qcow2
expect_exit 0
run compare -L before a.qcow2 snap.qcow2
expect_exit 0

# Could not open, could not read allocation, could not read data.
refuses 2 'nope: cannot open: No such file or directory' compare nope a.qcow2
refuses 2 'nope: cannot open: No such file or directory' compare a.qcow2 nope
cp a.qcow2 map.qcow2
l1=$((16#$(od -An -tx8 -j40 -N8 --endian=big map.qcow2 | tr -d ' ')))
poke map.qcow2 $l1 8000000000000200
run compare --output json map.qcow2 b.raw
expect_exit 3
expect_json 'doc["result"] == "unproven" and "reason" in doc'
qemu-img convert -c -O qcow2 a.qcow2 packed.qcow2
l1=$((16#$(od -An -tx8 -j40 -N8 --endian=big packed.qcow2 | tr -d ' ')))
l2=$((16#$(od -An -tx8 -j$l1 -N8 --endian=big packed.qcow2 | tr -d ' ') &
    0x00fffffffffffe00))
data=$((16#$(od -An -tx8 -j$l2 -N8 --endian=big packed.qcow2 | tr -d ' ') &
    0x003fffffffffffff))
poke packed.qcow2 $data ffffffffffffffff
run compare --output json packed.qcow2 b.raw
expect_exit 4
expect_json 'doc["result"] == "unproven" and "reason" in doc'
grep -q '^imgchain: packed.qcow2: ' "$test_dir/stderr" || fail 'not named'
run compare packed.qcow2 b.raw
expect_exit 4
head -n 1 "$test_dir/stdout" | grep -q '^Unproven: ' || fail 'no verdict'
