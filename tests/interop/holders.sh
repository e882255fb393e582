#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# holders and the real programs: a machine's active layer, its backing file
# and the target of a block copy; a shared disk, qemu-nbd, qemu-io; loop
# devices, partitions, mounts and swap.
. "$(dirname "$0")/../own_pids.sh"
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io qemu-nbd qemu-system-x86_64 mkswap losetup python3
qmpask=${IMGCHAIN_BUILD:-build/dev}/tests/qmpask
case $qmpask in
/*) ;;
*) qmpask=$IMGCHAIN_SOURCE/$qmpask ;;
esac
[ -x "$qmpask" ] || skip "no $qmpask"

pids=()
loops=()
tidy()
{
    swapoff swap 2>/dev/null || true
    umount mnt 2>/dev/null || true
    [ ${#pids[@]} -eq 0 ] || kill -9 "${pids[@]}" 2>/dev/null || true
    local loop
    for loop in ${loops[@]+"${loops[@]}"}; do
        losetup -d "$loop" 2>/dev/null || true
    done
}
cleanup_hooks+=(tidy)

# wait_for SOCKET
wait_for()
{
    for _ in $(seq 200); do
        [ ! -S "$1" ] || return 0
        sleep 0.05
    done
    fail "no $1: $(cat qemu.log)"
}

# is FILE EXPRESSION: true in Python of h, the first holder of FILE, and of
# all of them.
is()
{
    run holders --output json "$1"
    expect_exit 0
    expect_json "(lambda all, h: $2)(doc['images'][0]['holders'],
                                     doc['images'][0]['holders'][0])"
}

make_image base.qcow2 8M
make_overlay mid.qcow2 base.qcow2
make_overlay active.qcow2 mid.qcow2
make_image target.qcow2 8M
qemu-img create -q -f raw shared.raw 1M
# The monitor is passed as a descriptor, as libvirt does.
python3 -c "import os, socket
s = socket.socket(socket.AF_UNIX)
s.bind('qmp.sock')
s.listen()
os.dup2(s.fileno(), 9)
os.execvp('qemu-system-x86_64', ['qemu-system-x86_64', '-M', 'pc', '-m', '16',
    '-S', '-display', 'none', '-nodefaults',
    '-name', 'guest=web1,debug-threads=on',
    '-uuid', '11111111-2222-3333-4444-555555555555',
    '-chardev', 'socket,id=charmonitor,fd=9,server=on,wait=off',
    '-mon', 'chardev=charmonitor,id=monitor,mode=control',
    '-drive', 'file=active.qcow2,format=qcow2,if=none,id=d,node-name=top',
    '-device', 'virtio-blk-pci,drive=d',
    '-drive', 'file=shared.raw,format=raw,if=none,id=e',
    '-device', 'virtio-blk-pci,drive=e,share-rw=on'])" 2>qemu.log &
pids+=("$!")
vm=$!
disown "$vm"
wait_for qmp.sock
"$qmpask" qmp.sock query-status >/dev/null

domain="h['pid'] == $vm and h['domain'] == 'web1' and len(all) == 1 and
        h['uuid'] == '11111111-2222-3333-4444-555555555555' and
        h['program'] == 'qemu-system' and h['user'] == 'root' and
        h['monitor'] == '$PWD/qmp.sock'"
is active.qcow2 "$domain and h['role'] == 'active' and
    h['access'] == 'read-write' and h['backing-of'] == [] and
    h['locks']['uses'] == ['consistent-read', 'write', 'resize'] and
    h['locks']['forbids'] == ['write', 'resize']"
is mid.qcow2 "$domain and h['role'] == 'backing' and
    h['access'] == 'read-only' and
    h['backing-of'] == [{'filename': '$PWD/active.qcow2', 'format': 'qcow2'}]
    and h['locks']['uses'] == ['consistent-read']"
is base.qcow2 "$domain and
    [o['filename'] for o in h['backing-of']] == ['$PWD/mid.qcow2']"
is shared.raw "$domain and h['role'] == 'shared' and
    h['locks']['forbids'] == []"
run holders target.qcow2
expect_stdout <<<'target.qcow2: not in use'

# Two readers of one image: the machine and qemu-nbd.
qemu-nbd -r -t -f qcow2 -k "$PWD/nbd.sock" base.qcow2 2>qemu.log &
pids+=("$!")
nbd=$!
disown "$nbd"
wait_for nbd.sock
is base.qcow2 "len(all) == 2 and
    [(o['program'], o['access']) for o in all if o['pid'] == $nbd] ==
        [('qemu-nbd', 'read-only')]"
kill -9 "$nbd"
while kill -0 "$nbd" 2>/dev/null; do sleep 0.01; done

# The target of a copy that goes on; then of a commit.
"$qmpask" qmp.sock blockdev-add '{"driver": "qcow2", "node-name": "new",
    "file": {"driver": "file", "filename": "target.qcow2"}}' \
    blockdev-mirror '{"job-id": "copy", "device": "top", "target": "new",
    "sync": "full"}' >/dev/null
is target.qcow2 "$domain and h['role'] == 'copy-target' and
    'consistent-read' in h['locks']['forbids']"
"$qmpask" qmp.sock block-job-cancel '{"device": "copy", "force": true}' \
    >/dev/null
# The image is written while the job goes on, here until it is told to end.
"$qmpask" qmp.sock block-commit '{"job-id": "commit", "device": "top"}' \
    >/dev/null
is base.qcow2 "$domain and h['role'] == 'commit-target'"
is mid.qcow2 "$domain and h['role'] == 'backing'"

# What a refused command says, and what is found here, is one and the same.
run rebase -u -f qcow2 -b '' active.qcow2
expect_exit 1
expect_message "is in use by process $vm (qemu-system-x86_64, guest \"web1\")"

make_image free.qcow2 1M
hold free.qcow2
is free.qcow2 "h['pid'] == $holder and h['program'] == 'qemu-io' and
    h['role'] == 'active'"
let_go
kill -9 "$vm"
while kill -0 "$vm" 2>/dev/null; do sleep 0.01; done
run holders base.qcow2 mid.qcow2 active.qcow2 shared.raw target.qcow2
expect_exit 0
[ "$(grep -c ': not in use$' "$test_dir/stdout")" = 5 ] ||
    fail 'the machine is gone, and its images are in use'

# attach FILE [OPTION...]: a loop device of it, named in $loop.
attach()
{
    loop=$(losetup --find --show "${@:2}" "$1" 2>"$test_dir/said") ||
        skip "no loop device: $(cat "$test_dir/said")"
    loops+=("$loop")
}
truncate -s 16M disk
mkfs.ext4 -q disk
attach disk
name=${loop#/dev/}
is disk "len(all) == 1 and h['kind'] == 'device' and h['device'] == '$name'
    and h['device-kind'] == 'loop' and h['via'] == []"
run holders disk "$loop"
expect_exit 0
expect_stdout <<E2
disk: in use
  loop device $name
$loop: not in use
E2
# The device is known by its number, its file by its inode.
mknod twin b "$((0x$(stat -c %t "$loop")))" "$((0x$(stat -c %T "$loop")))"
mv disk moved
make_image disk 1M
sleep 600 3<twin &
pids+=("$!")
disown "$!"
until [ "$(readlink "/proc/$!/fd/3")" = "$PWD/twin" ]; do sleep 0.01; done
is "$loop" "len(all) == 1 and h['pid'] == $!"
is moved "[(o['kind'], o['via']) for o in all] ==
    [('device', []), ('process', ['$name'])]"
run holders disk
expect_stdout <<<'disk: not in use'
kill -9 "$!"

# Mounted, here and in a mount namespace of others.
mkdir -p $'mnt/a b\n'
mount "$loop" $'mnt/a b\n'
is "$loop" "len(all) == 1 and h['kind'] == 'mount' and
    h['mount-point'] == '$PWD/mnt/a b\\n'"
run holders moved
expect_line "  mounted on $PWD/mnt/a b\\x0a"
umount $'mnt/a b\n'
unshare -m sh -c "mount '$loop' mnt && : >mounted && sleep 600" &
pids+=("$!")
disown "$!"
until [ -e mounted ]; do sleep 0.01; done
is "$loop" "h['kind'] == 'mount' and h['mount-point'] == '$PWD/mnt' and
    h['seen-by-pid'] > 1"
kill -9 "$!"

# A loop device on a loop device, and a partition of a disk.
losetup -d "$loop"
truncate -s 16M parts
# One partition: 8192 sectors from sector 2048 on.
poke parts 446 00000000830000000008000000200000
poke parts 510 55aa
attach parts -P
name=${loop#/dev/}
if [ -e "/sys/class/block/${name}p1" ]; then
    is parts "len(all) == 1 and h['kind'] == 'device'"
    run holders "$loop"
    expect_stdout <<<"$loop: not in use"
    number=$(cat "/sys/class/block/${name}p1/dev")
    mknod part b "${number%:*}" "${number#*:}"
    sleep 600 3<part &
    pids+=("$!")
    disown "$!"
    until [ "$(readlink "/proc/$!/fd/3")" = "$PWD/part" ]; do sleep 0.01; done
    is "$loop" "h['pid'] == $! and h['via'] == ['${name}p1']"
    is parts "[o['via'] for o in all] == [[], ['$name', '${name}p1']]"
    kill -9 "$!"
fi
attach "$loop"
is parts "[(o['device'], o['via']) for o in all] ==
    [('$name', []), ('${loop#/dev/}', ['$name'])]"

# Swapped to.
truncate -s 4M swap
dd if=/dev/zero of=swap bs=1M count=4 status=none
chmod 0600 swap
mkswap swap >/dev/null
if swapon swap 2>"$test_dir/said"; then
    is swap "h == {'kind': 'swap', 'via': []}"
    swapoff swap
else
    echo "no swap here: $(cat "$test_dir/said")"
fi
