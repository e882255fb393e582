#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# New images on block devices that are full of old bytes: nothing of them
# shows, not in what has a place and was not written, nor behind the disk's
# end, nor in raw data files; a device that is too short is told.
set -eu
freshgen=${IMGCHAIN_BUILD:-build/dev}/tests/freshgen
freshgen=$(realpath "$freshgen")
skip()
{
    echo "SKIP: $*"
    exit 77
}
command -v qemu-img qemu-io >/dev/null || skip 'no qemu-img or qemu-io'
[ -x "$freshgen" ] || skip 'no freshgen'
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

fail()
{
    echo "FAIL: $*"
    exit 1
}

# attach FILE LENGTH: a loop device of a file of 0xaa, named in $loop.
attach()
{
    head -c "$2" /dev/zero | tr '\0' '\252' >"$1"
    loop=$(losetup --find --show "$1" 2>/dev/null) || skip 'no loop device'
    loops+=("$loop")
}

# refill FILE DEVICE: 0xaa all over it again, by way of the device.
refill()
{
    head -c "$(stat -c %s "$1")" /dev/zero | tr '\0' '\252' |
        dd of="$2" bs=1M iflag=fullblock oflag=direct status=none
}

# Data at both ends of the disk, which ends amid a cluster; the rest was not
# said anything of.
disk=4000256
base64 -w 0 /dev/urandom | head -c "$disk" >source
truncate -s "$disk" expected
dd if=source of=expected bs=65536 count=2 conv=notrunc status=none
dd if=source of=expected bs=65536 seek=61 skip=61 conv=notrunc status=none
printf 'd 0 131072\nd 3997696 2560\n' >script

attach image 8M
image=$loop
attach data 4M
data=$loop

# same OPTION...: an image with them on the device shows what it should.
same()
{
    local options=(-o size="$disk") option
    for option; do
        options+=(-o "$option")
    done
    refill image "$image"
    "$freshgen" "${options[@]}" source "$image" ${with_data:+"$data"} \
        <script >said || fail "$*: freshgen"
    qemu-img check -q -f qcow2 "$image" || fail "$*: check"
    qemu-img convert -f qcow2 -O raw "$image" seen
    cmp seen expected || fail "$*: contents"
}

with_data=
for prealloc in off metadata falloc full; do
    same preallocation="$prealloc"
    same preallocation="$prealloc" cluster_size=4k compat=0.10
    same preallocation="$prealloc" extended_l2=on
    # What lies behind the end is not seen when the disk is made longer.
    cp --sparse=never "$image" grown
    qemu-img resize -q -f qcow2 grown 4000768
    qemu-img convert -f qcow2 -O raw grown seen
    tail -c 512 seen | cmp -n 512 - /dev/zero || fail 'behind the end'
done
with_data=1
for options in preallocation=off preallocation=full data_file_raw=on \
    'data_file_raw=on extended_l2=on'; do
    refill data "$data"
    # shellcheck disable=SC2086 # a list
    same data_file="$data" $options
    case $options in
    data_file_raw*) cmp -n "$disk" "$data" expected || fail "$options: raw" ;;
    esac
done

# too_short TEXT OPTION...: freshgen says exactly that.
too_short()
{
    local text=$1 options=() option
    shift
    for option; do
        options+=(-o "$option")
    done
    if "$freshgen" "${options[@]}" source "$image" ${with_data:+"$data"} \
        </dev/null >/dev/null 2>said; then
        fail "$*: made on a device that is too short"
    fi
    [ "$(cat said)" = "freshgen: $text" ] || fail "$*: $(cat said)"
}

full='No space left on device'
too_short "$data: data file: found 4194304 bytes, expected at least 8388608:\
 $full" size=8M data_file="$data"
with_data=
too_short "$image: the image ends at 196608 bytes and needs 8388608 more,\
 expected at most 8388608: $full" size=8M preallocation=metadata
qemu-io -r -f raw -c 'read -q -P 0 0 512' "$image" ||
    fail 'a header is left of a failure'
echo 'fresh_devices: ok'
