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
qemu-system-x86_64 -M none -S -display none -nodefaults \
    -qmp unix:qmp.sock,server=on,wait=off 2>qemu.log &
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
