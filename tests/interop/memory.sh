#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Memory does not grow with the image: every command that reads stays under
# 128 MiB for 16 TiB of nothing and for 60,000 clusters scattered over 1 TiB.
set -euo pipefail
imgchain=${IMGCHAIN:-imgchain}
limit_kib=$((128 * 1024))
support=$(cd "$(dirname "$0")/support" && pwd)
for program in qemu-img qemu-io /usr/bin/time; do
    command -v "$program" >/dev/null || {
        echo "skipped: no $program"
        exit 77
    }
done
# A sanitizer's own memory would be measured: there, only that it works.
if [ -n "${IMGCHAIN_SANITIZED-}" ]; then
    limit_kib=$((1 << 30))
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/imgchain-memory.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
qemu-img create -q -f qcow2 empty.qcow2 16T
qemu-img create -q -f qcow2 -o cluster_size=2M empty-2m.qcow2 16T
"$support/scattered.py" scattered.qcow2 $((1 << 40)) 60000 4096
qemu-img create -q -f qcow2 -b scattered.qcow2 -F qcow2 overlay.qcow2
cp --sparse=always scattered.qcow2 copy.qcow2

failed=0
# measure WANTED-EXIT ARGS...
measure()
{
    local wanted=$1 status=0 peak
    shift
    /usr/bin/time -o peak -f %M "$imgchain" "$@" >out 2>err || status=$?
    peak=$(tail -n 1 peak)
    printf '%7d KiB  imgchain %s\n' "$peak" "$*"
    if [ "$status" -ne "$wanted" ]; then
        echo "  exit $status, expected $wanted: $(head -c 500 err)"
        failed=1
    elif [ "$peak" -gt "$limit_kib" ]; then
        echo "  over $limit_kib KiB"
        failed=1
    fi
}

for image in empty.qcow2 empty-2m.qcow2 scattered.qcow2 overlay.qcow2; do
    for output in human json; do
        measure 0 info --output $output $image
        measure 0 map --output $output $image
        measure 0 check --output $output $image
    done
    measure 0 compare $image $image
done
measure 0 compare empty.qcow2 empty-2m.qcow2
measure 0 compare scattered.qcow2 overlay.qcow2
measure 0 compare scattered.qcow2 copy.qcow2
measure 1 compare scattered.qcow2 empty-2m.qcow2
measure 0 validate snapshot --source scattered.qcow2 \
    --dest overlay.qcow2 --dest-format qcow2
exit $failed
