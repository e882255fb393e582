#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Chains over block devices: the map and the bytes are qemu-img's, a device is
# known by its number whatever its node is called, and json:'s drivers insist
# on their kind of file.
set -eu
viewdump=${IMGCHAIN_BUILD:-build/dev}/tests/viewdump
viewdump=$(realpath "$viewdump")
skip()
{
    echo "SKIP: $*"
    exit 77
}
command -v qemu-img qemu-io >/dev/null || skip 'no qemu-img or qemu-io'
[ "$(id -u)" = 0 ] || skip 'loop devices need root'

dir=$(mktemp -d)
loops=()
cleanup()
{
    for loop in "${loops[@]}"; do
        losetup -d "$loop"
    done
    rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"

# attach FILE: make a loop device of it, named in $loop.
attach()
{
    loop=$(losetup --find --show "$1" 2>/dev/null) || skip 'no loop device'
    loops+=("$loop")
}

fail()
{
    echo "FAIL: $*"
    exit 1
}

# same OPERAND: bytes and map are qemu-img's.
same()
{
    qemu-img convert -O raw "$1" want
    "$viewdump" --bytes "$1" | cmp - want || fail "bytes of $1"
    qemu-img map --output=json "$1" >want
    "$viewdump" --map "$1" | cmp - want || fail "map of $1"
}

# refused OPERAND TEXT: viewdump says exactly that.
refused()
{
    if "$viewdump" "$1" >/dev/null 2>said; then
        fail "$1 was opened"
    fi
    [ "$(cat said)" = "viewdump: $2" ] || fail "$1: $(cat said)"
}

qemu-img create -q -f raw base 3M
qemu-io -f raw -c 'write -P 7 1M 64k' base >/dev/null
attach base
raw=$loop
# A device is longer than the image on it.
qemu-img create -q -f qcow2 -b "$raw" -F raw image 4M
qemu-io -f qcow2 -c 'write -P 9 2M 100k' image >/dev/null
truncate -s 8M image
attach image
active=$loop
same "$active"

qemu-img create -q -f qcow2 -F qcow2 \
    -b "json:{\"file\":{\"driver\":\"host_device\",\"filename\":\"$active\"}}" \
    top
qemu-io -f qcow2 -c 'write -P 3 1M 4k' top >/dev/null
same top

# The same device by another node is the same file.
mknod twin b "$((0x$(stat -c %t "$raw")))" "$((0x$(stat -c %T "$raw")))"
qemu-img create -q -u -f qcow2 -b "$PWD/twin" -F raw mid 4M
dd if=mid of="$raw" conv=notrunc status=none
qemu-img create -q -u -f qcow2 -b "$raw" -F qcow2 loop.qcow2 4M
refused loop.qcow2 "$raw: its backing file \"$PWD/twin\" is the same file as \
\"$raw\": the chain is a loop"

refused "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\
\"filename\":\"$raw\"}}" "$raw: driver \"file\" needs a regular file, and \
this is a block device"
refused 'json:{"driver":"raw","file":{"driver":"host_device","filename":"base"}}' \
    'base: driver "host_device" needs a block device, and this is a regular file'
echo 'block devices: same as qemu-img'
