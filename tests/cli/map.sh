#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# map: qemu-img's lines, merged as qemu-img merges them.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image base.qcow2 4M
fill base.qcow2 1 0 1M
make_overlay top.qcow2 base.qcow2
fill top.qcow2 2 256k 128k
qemu-io -f qcow2 -c 'write -q -z 2M 64k' -c 'write -q -z 512k 64k' top.qcow2

# same_as_qemu ARGS...: as qemu-img map, but for the key "compressed".
same_as_qemu()
{
    run map "$@"
    expect_exit 0
    expect_no_stderr
    sed -i 's/, "compressed": [a-z]*//' "$test_dir/stdout"
    qemu-img map "$@" >"$test_dir/expected" 2>/dev/null || true
    cmp -s "$test_dir/expected" "$test_dir/stdout" || {
        diff -u "$test_dir/expected" "$test_dir/stdout" >&2
        fail "map $* differs from qemu-img map"
    }
}

qemu-img create -q -f qcow2 empty.qcow2 0
qemu-img create -q -f qcow2 big.qcow2 16T
truncate -s 1M sparse.raw
printf 'data' | dd of=sparse.raw bs=1 seek=500k conv=notrunc status=none
qemu-img convert -c -O qcow2 base.qcow2 packed.qcow2
for file in base.qcow2 top.qcow2 empty.qcow2 big.qcow2 sparse.raw; do
    same_as_qemu "$file"
    same_as_qemu --output=json "$file"
    same_as_qemu -U --output=json "$file"
done
same_as_qemu --output=json packed.qcow2
same_as_qemu --output=json -s 100k -l 300k top.qcow2
same_as_qemu --output=json -s 1000 -l 3000 top.qcow2
same_as_qemu --output=json -s 0x40000 -l 0X1Abc top.qcow2
same_as_qemu --output=json -s 1m -l 0.5m top.qcow2
same_as_qemu --output=json -s 3M top.qcow2
same_as_qemu --output=json -s 5M top.qcow2
same_as_qemu --output=json --start-offset=0 --max-length=1 top.qcow2
same_as_qemu --output=json -f raw top.qcow2

# Compressed clusters have no offset to show; they are named instead.
run map packed.qcow2
expect_exit 0
expect_stdout <<'E2'
Offset          Length          Mapped to       File
0               0x100000        compressed      packed.qcow2
E2
run map --output json packed.qcow2
expect_json 'doc[0]["compressed"] is True and doc[1]["compressed"] is False'

# An internal snapshot, by name and by id, shows what was there.
cp base.qcow2 snap.qcow2
qemu-img snapshot -c before snap.qcow2
fill snap.qcow2 3 2M 64k
run map --output json snap.qcow2
expect_json 'sum(e["length"] for e in doc if e["data"]) == 1048576 + 65536'
for name in before 1; do
    run map --output json --snapshot $name snap.qcow2
    expect_exit 0
    expect_json 'sum(e["length"] for e in doc if e["data"]) == 1048576'
done
run map --snapshot never snap.qcow2
expect_exit 1
expect_no_stdout
grep -q '^imgchain: snap.qcow2: .*never' "$test_dir/stderr" || fail 'not named'
