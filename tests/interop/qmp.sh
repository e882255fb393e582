#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The QMP client and a real QEMU: greeting, answers of any length, refusals,
# events, a second client, and a QEMU that is killed.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-system-x86_64
qmpask=${IMGCHAIN_BUILD:-build/dev}/tests/qmpask
[ -x "$qmpask" ] || skip "no $qmpask"

stop_qemu()
{
    kill -9 "$qemu" 2>/dev/null || true
    wait "$qemu" 2>/dev/null || true
}
make_image base.qcow2 8M
make_overlay top.qcow2 base.qcow2
qemu-img create -q -f raw raw.img 4M
qemu-system-x86_64 -M pc -m 16 -S -display none -nodefaults \
    -qmp unix:qmp.sock,server=on,wait=off \
    -object throttle-group,id=slow,x-bps-total=100000000 \
    -blockdev '{"driver": "throttle", "throttle-group": "slow", "node-name":
                "limited", "file": {"driver": "qcow2", "node-name": "top",
                "file": {"driver": "file", "filename": "top.qcow2"}}}' \
    -device virtio-blk-pci,drive=limited,id=vda \
    -drive file=raw.img,format=raw,if=virtio,id=old 2>qemu.log &
qemu=$!
cleanup_hooks+=(stop_qemu)
for _ in $(seq 100); do
    [ -S qmp.sock ] && break
    sleep 0.1
done

# ask TEXT ARGS...: the answer has TEXT in it.
ask()
{
    local text=$1
    shift
    "$qmpask" qmp.sock "$@" >answer 2>error || fail "qmpask: $(cat error)"
    grep -qF -- "$text" answer || fail "no $text in: $(head -c 2000 answer)"
}

ask '"major":' query-version
ask '"status":"prelaunch"' query-status
ask 'refused: blockdev-del: Failed to find node with node-name='\''x\x0a'\''' \
    blockdev-del '{"node-name": "x\n"}'
ask 'refused: no-such-thing: The command no-such-thing has not been found' \
    no-such-thing -
# A device by its id, its path and its drive's name; through a filter.
chain_of()
{
    "$qmpask" qmp.sock chain "$1" >answer 2>error || fail "$(cat error)"
    sed 's/#block[0-9]*/#/g' answer
}
expected='limited top qcow2 8388608 rw on file top.qcow2
# # qcow2 8388608 ro on file base.qcow2'
[ "$(chain_of vda)" = "$expected" ] || fail "vda: found $(cat answer)"
[ "$(chain_of /machine/peripheral/vda/virtio-backend)" = "$expected" ] ||
    fail "the path of vda: found $(cat answer)"
[ "$(chain_of old)" = '# # raw 4194304 rw on file raw.img' ] ||
    fail "old: found $(cat answer)"
! "$qmpask" qmp.sock chain vd 2>error || fail 'vd is there'
grep -qF 'found no block device "vd" in the machine' error || fail "$(cat error)"

# The schema is the longest answer that there is.
ask '"meta-type":"enum"' query-qmp-schema
[ "$(wc -c <answer)" -gt 100000 ] || fail 'the schema is shorter than expected'

make_image a.qcow2 1M
ask '"node-name":"f"' \
    blockdev-add '{"driver": "qcow2", "node-name": "f", "file":
                   {"driver": "file", "filename": "a.qcow2"}}' \
    query-named-block-nodes '{"flat": true}'
ask '"event":"RESUME"' system_reset - cont -

# A monitor that somebody else holds does not greet.
python3 - <<'EOF' || fail 'a monitor that is taken'
import os, socket, subprocess
holder = socket.socket(socket.AF_UNIX)
holder.connect("qmp.sock")
holder.recv(4096)
asker = os.path.join(os.environ.get("IMGCHAIN_BUILD", "build/dev"),
                     "tests/qmpask")
done = subprocess.run([asker, "qmp.sock"], stderr=subprocess.PIPE, text=True,
                      timeout=60)
assert done.returncode == 1, done
assert "no greeting came within" in done.stderr, done
EOF

stop_qemu
! "$qmpask" qmp.sock query-status 2>error || fail 'it talks to nobody'
grep -qF 'cannot connect to it: Connection refused' error ||
    fail "found $(cat error)"
