#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# So much is rebased and committed that it is written past the page cache.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io

# 100 MiB that are no zeros and never twice the same, and the same again with
# a part that an overlay has written.
make_image old.qcow2 300M
for ((at = 0; at < 100; at += 4)); do
    fill old.qcow2 $((at + 1)) $((at * 3))M 4M
done
make_overlay top.qcow2 old.qcow2
fill top.qcow2 200 10M 60M
fill top.qcow2 201 290M 3000
qemu-img convert -f qcow2 -O raw top.qcow2 wanted.raw

# expect_wanted FILE: it is sound and shows what it is to show.
expect_wanted()
{
    qemu-img check -q -f qcow2 "$1"
    qemu-img compare -q -f qcow2 -F raw "$1" wanted.raw
}

for engine in sync io_uring; do
    for clusters in 4k 64k; do
        cp top.qcow2 alone.qcow2
        qemu-img create -q -f qcow2 -o "cluster_size=$clusters" -b top.qcow2 \
            -F qcow2 small.qcow2
        for file in alone.qcow2 small.qcow2; do
            run rebase --engine "$engine" -f qcow2 -b '' "$file"
            expect_exit 0
            expect_wanted "$file"
        done
        qemu-img create -q -f qcow2 -o "cluster_size=$clusters" base.qcow2 1G
        qemu-img rebase -q -u -f qcow2 -b base.qcow2 -F qcow2 alone.qcow2
        run commit --engine "$engine" -f qcow2 alone.qcow2
        expect_exit 0
        qemu-img check -q -f qcow2 base.qcow2
        expect_wanted alone.qcow2
        qemu-img convert -f qcow2 -O raw small.qcow2 into.raw
        truncate -s 1M into.raw
        qemu-img rebase -q -u -f qcow2 -b into.raw -F raw small.qcow2
        run commit --engine "$engine" -f qcow2 -d small.qcow2
        expect_exit 0
        cmp into.raw wanted.raw
    done
done
