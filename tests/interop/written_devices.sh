#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Commands that write, on block devices: one that is mounted is refused by all
# of them and by validate, and is not changed; one that is free is written.
set -eu
imgchain=${IMGCHAIN_BUILD:-build/dev}/tools/imgchain
imgchain=$(realpath "$imgchain")
skip()
{
    echo "SKIP: $*"
    exit 77
}
command -v qemu-img qemu-io mkfs.ext4 >/dev/null ||
    skip 'no qemu-img, qemu-io or mkfs.ext4'
[ "$(id -u)" = 0 ] || skip 'loop devices need root'

dir=$(mktemp -d)
device=
cleanup()
{
    umount "$dir/mnt" 2>/dev/null || true
    [ -z "$device" ] || losetup -d "$device"
    rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"

fail()
{
    echo "FAIL: $*"
    exit 1
}

busy='is in use: it is mounted, or another device or program has it to itself'

# refuses COMMAND...: with just that text.
refuses()
{
    local status=0
    "$imgchain" "$@" >said 2>&1 || status=$?
    [ "$status" -eq 1 ] || fail "$*: exit $status: $(cat said)"
    [ "$(cat said)" = "imgchain: $device: $busy" ] || fail "$*: $(cat said)"
}

# judges VERDICT-CODE: may the device become a copy of source?
judges()
{
    local status=0
    "$imgchain" validate copy --raw --source source --source-format raw \
        --dest "$device" >said 2>&1 || status=$?
    [ "$status" -eq "$1" ] || fail "validate: exit $status: $(cat said)"
}

truncate -s 16M disk
truncate -s 16M source
qemu-io -f raw -c 'write -q -P 7 1M 2M' source
device=$(losetup --find --show disk 2>/dev/null) || skip 'no loop device'
mkfs.ext4 -q "$device"
qemu-img create -q -f qcow2 -b "$device" -F raw over.qcow2
qemu-io -c 'write -q -P 9 1M 1M' over.qcow2
mkdir mnt
mount "$device" mnt 2>/dev/null || skip 'nothing can be mounted'
sync -f mnt
sha256sum "$device" over.qcow2 >before

refuses create -f raw "$device" 1M
refuses create -f qcow2 "$device" 1M
refuses copy -q -f raw -O raw source "$device"
refuses copy -q -f raw -O qcow2 source "$device"
refuses copy -q -n -f raw -O raw source "$device"
refuses copy -q -n --target-is-zero -t none -f raw -O raw source "$device"
refuses rebase -f qcow2 -b '' "$device"
refuses resize -f raw "$device" 16M
refuses commit -f qcow2 over.qcow2
refuses create --root / -f raw "$device" 1M
judges 1
grep -q '^FAIL dest-unused$' said || fail "validate: $(cat said)"
sha256sum --quiet -c before || fail 'something was changed'

# The same device, free.
umount mnt
judges 0
"$imgchain" copy -q -n -t none -f raw -O raw source "$device"
cmp source "$device" || fail 'copy -n'
"$imgchain" commit -q -f qcow2 over.qcow2
qemu-io -r -f raw -c 'read -q -P 9 1M 1M' "$device" || fail 'commit'
# Of a device the absolute path is recorded, unless another is asked for.
named()
{
    qemu-img info -U --output json "$1" | grep -qF "\"backing-filename\": \"$2\"" ||
        fail "backing name of $1"
}
relative=$(realpath --relative-to=. "$device")
"$imgchain" create -q --for snapshot --source "$device" --source-format raw a
"$imgchain" create -q --for snapshot --source "$device" --source-format raw \
    --relative b
"$imgchain" snapshot -q --disk "$device=c,format=raw"
named a "$device"
named b "$relative"
named c "$device"
for over in a c; do
    "$imgchain" validate snapshot -q --source "$device" --source-format raw \
        --dest "$dir/$over" --dest-format qcow2 || fail "validate $over"
done

qemu-img create -q -f qcow2 base.qcow2 8M
"$imgchain" create -q -f qcow2 -b "$dir/base.qcow2" -F qcow2 "$device"
"$imgchain" rebase -q -f qcow2 -b '' "$device"
"$imgchain" resize -q -f qcow2 "$device" 12M
"$imgchain" amend -q -f qcow2 -o lazy_refcounts=on "$device"
qemu-img check -q -f qcow2 "$device" || fail 'check'

# Repair has to find its place in front of the end of the device.
qemu-img create -q -f qcow2 good.qcow2 4M
qemu-io -c 'write -q -P 7 0 1M' good.qcow2
for off in '\0\003\0\0\0\0\0\0' '\0\0\0\0\0\003\0\0'; do
    dd if=good.qcow2 of="$device" conv=notrunc status=none
    # refcount_table_offset: past the end, or that of the L1 table.
    printf '%b' "$off" | dd of="$device" bs=1 seek=48 conv=notrunc status=none
    "$imgchain" check -q -r all -f qcow2 "$device" ||
        fail "check -r all: exit $?"
    qemu-img check -q -f qcow2 "$device" || fail "not repaired ($off)"
    qemu-img compare -q -f qcow2 -F qcow2 "$device" good.qcow2 ||
        fail "repaired, but other contents ($off)"
done
[ ! -e "$device.imgchain-repair" ] || fail 'a record next to a device'
echo 'written_devices: ok'
