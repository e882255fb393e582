#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A limit on the size of files is an error like a full disk: a message, exit
# 1, nothing left behind, and what was there shows what it did.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io

make_image base.qcow2 4M
fill base.qcow2 1 0 2M
make_image top.qcow2 4M -b base.qcow2 -F qcow2
fill top.qcow2 3 600k 100k
make_image new.qcow2 4M
fill new.qcow2 2 100k 1M
mkdir kept
cp -- *.qcow2 kept

# limited BLOCKS FILE ARGS...: refused because FILE would be too long.
limited()
{
    local blocks=$1 file=$2 name
    shift 2
    last_command="imgchain $* (ulimit -f $blocks)"
    last_exit=0
    (
        ulimit -f "$blocks"
        exec "$imgchain" "$@" >/dev/null
    ) 2>&1 </dev/null | cat >"$test_dir/stderr" || last_exit=$?
    : >"$test_dir/stdout"
    expect_exit 1
    [ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'not one line'
    grep -q "^imgchain: $file: cannot .*: File too large" "$test_dir/stderr" ||
        fail 'another message'
    [ "$(ls -A)" = "$(printf '%s\n' base.qcow2 kept new.qcow2 top.qcow2)" ] ||
        fail "left behind: $(ls -A)"
    for name in base new top; do
        qemu-img compare -q -f qcow2 -F qcow2 "$name.qcow2" \
            "kept/$name.qcow2" || fail "$name.qcow2 shows something else"
    done
}

for engine in sync io_uring; do
    export IMGCHAIN_ENGINE=$engine
    limited 256 dest copy -q -f qcow2 -O qcow2 top.qcow2 dest
    limited 256 dest copy -q -f qcow2 -O raw top.qcow2 dest
    limited 1 dest copy -q -c -f qcow2 -O qcow2 top.qcow2 dest
    limited 1 dest create -q -f qcow2 -b base.qcow2 -F qcow2 dest
    limited 256 dest create -q -f qcow2 -o preallocation=full dest 2M
    limited 256 dest create -q -f raw -o preallocation=falloc dest 2M
    limited 1 dest snapshot -q --atomic --disk top.qcow2=dest,format=qcow2 \
        --disk new.qcow2=dest2,format=qcow2
    limited 1 dest snapshot -q --disk top.qcow2=dest,format=qcow2
    limited 1 top.qcow2 amend -q -f qcow2 -o refcount_bits=64 top.qcow2
    limited 1 top.qcow2 resize -q -f qcow2 top.qcow2 600M
    limited 1 top.qcow2 rebase -q --no-undo -f qcow2 -b new.qcow2 -F qcow2 \
        top.qcow2
done
