#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A check of 2^28 allocated clusters (16 TiB of 64 KiB each) fits into 512 MiB
# of memory, a limit that is given is kept, and qemu-img agrees about an image
# that is full in the same way and smaller.
set -euo pipefail
imgchain=${IMGCHAIN:-imgchain}
fullimage=${IMGCHAIN_BUILD:?}/tests/fullimage
for program in qemu-img /usr/bin/time python3; do
    command -v "$program" >/dev/null || {
        echo "skipped: no $program"
        exit 77
    }
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/imgchain-full.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail()
{
    echo "$*"
    head -c 500 err
    exit 1
}

# check WANTED-EXIT MIB ARGS...
check()
{
    local wanted=$1 limit=$(($2 * 1024)) status=0 peak
    shift 2
    /usr/bin/time -o peak -f '%M %e' "$imgchain" check --output json "$@" \
        >out 2>err || status=$?
    read -r peak seconds < <(tail -n 1 peak)
    echo "$peak KiB, $seconds s: check $*"
    [ "$status" -eq "$wanted" ] || fail "exit $status, expected $wanted"
    # A sanitizer's own memory would be measured.
    [ -n "${IMGCHAIN_SANITIZED-}" ] || [ "$peak" -le "$limit" ] ||
        fail "over $limit KiB"
}

# found KEY VALUE: in the JSON of the last check.
found()
{
    python3 - "$1" "$2" <<'PY' || fail "$1: not $2"
import json, sys
sys.exit(json.load(open("out"))[sys.argv[1]] != int(sys.argv[2]))
PY
}

# The file system may end files at 16 TiB, the metadata is in the file, too.
clusters=$(((1 << 28) - 49152))
bits=16
if [ -n "${IMGCHAIN_SANITIZED-}" ]; then
    clusters=$((1 << 22))
fi
"$fullimage" full.qcow2 $bits $clusters >/dev/null
check 0 512 full.qcow2
found allocated-clusters $clusters
found fragmented-clusters 0
found corruptions 0
check 1 64 --max-memory 4M full.qcow2
grep -q 'the check needs more memory than it was given' err ||
    fail 'another message than that of the limit'
rm full.qcow2

# Leaks at the end of a file of 2^22 clusters, and what qemu-img says.
clusters=$((1 << 22))
"$fullimage" leaks.qcow2 12 $clusters 5 >/dev/null
check 3 64 leaks.qcow2
found leaks 5
found allocated-clusters $clusters
cp out ours
status=0
qemu-img check -f qcow2 --output json leaks.qcow2 >out 2>err || status=$?
[ $status -eq 3 ] || fail "qemu-img ended with $status"
for key in leaks allocated-clusters total-clusters image-end-offset; do
    found "$key" "$(python3 -c \
        'import json,sys; print(json.load(open("ours"))[sys.argv[1]])' "$key")"
done
