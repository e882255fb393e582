#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# check: exit codes 0, 1, 2, 3 and 63, ImageCheck's keys, qemu-img's words.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image good.qcow2 1M
fill good.qcow2 1 0 128k
run check good.qcow2
expect_exit 0
expect_no_stderr
qemu-img check good.qcow2 >"$test_dir/qemu"
expect_stdout <"$test_dir/qemu"

run check --output json good.qcow2
expect_exit 0
expect_json 'doc["filename"] == "good.qcow2" and doc["format"] == "qcow2"'
expect_json '(doc["check-errors"], doc["corruptions"], doc["leaks"]) == (0, 0, 0)'
expect_json 'doc["total-clusters"] == 16 and doc["allocated-clusters"] == 2'
expect_json 'doc["problems"] == []'

# be64 FILE OFFSET: the number there, in hexadecimal.
be64()
{
    od -An -tx8 "-j$2" -N8 --endian=big "$1" | tr -d ' '
}

# A leak: a cluster behind the end of everything gets a refcount of 1.
cp good.qcow2 leak.qcow2
block=$((16#$(be64 leak.qcow2 $((16#$(be64 leak.qcow2 48))))))
clusters=$(($(stat -c %s leak.qcow2) / 65536))
truncate -s +64k leak.qcow2
poke leak.qcow2 $((block + 2 * clusters)) 0001
run check leak.qcow2
expect_exit 3
expect_line '1 leaked clusters were found on the image.'
run check --output json leak.qcow2
expect_exit 3
expect_json 'doc["leaks"] == 1 and doc["corruptions"] == 0'
expect_json '[p["kind"] for p in doc["problems"]] == ["leak"]'
expect_json "doc['problems'][0]['offset'] == $clusters * 65536"
expect_json 'set(doc["problems"][0]) == {"kind", "id", "offset", "message"}'
expect_json 'doc["problems"][0]["id"] == "leak"'

# A corruption: the refcount of a cluster in use is lowered to 0.
cp good.qcow2 bad.qcow2
poke bad.qcow2 $((block + 2 * (clusters - 1))) 0000
run check bad.qcow2
expect_exit 2
# A problem is one line, but for a terminal that is narrower.
grep -qE '^corruption: .{70,}\)$' "$test_dir/stdout" || fail 'no long line'
if command -v script >/dev/null; then
    TERM=xterm NO_COLOR=1 script -qec \
        "stty cols 80; $imgchain check bad.qcow2 || true" /dev/null \
        >"$test_dir/stdout" </dev/null
    grep -q '^corruption: ' "$test_dir/stdout" || fail 'no problem on a terminal'
    if tr -d '\r' <"$test_dir/stdout" | grep -n '.\{81\}'; then
        fail 'wider than 80 columns'
    fi
fi
run check --output json bad.qcow2
expect_exit 2
expect_json 'doc["corruptions"] >= 1'
expect_json 'doc["problems"][0]["kind"] == "corruption"'
expect_json 'doc["problems"][-1]["id"] == "refcount-too-small"'
expect_json 'doc["problems"][-1]["owner"] == "data"'
expect_json 'doc["problems"][-1]["guest-offset"] == 65536'
expect_json 'set(doc["problems"][0]) == {"kind", "id", "offset", "owner", "guest-offset", "message"}'

# A chain: the worst of all layers; layers without refcounts are passed over.
qemu-img create -q -f raw base.raw 1M
make_overlay low.qcow2 base.raw raw
make_overlay high.qcow2 low.qcow2
run check --backing-chain --output json high.qcow2
expect_exit 0
expect_json '[d["filename"] for d in doc] == ["high.qcow2", "low.qcow2"]'
make_overlay over.qcow2 leak.qcow2
run check over.qcow2
expect_exit 0
run check --backing-chain over.qcow2
expect_exit 3

refuses 63 'base.raw: this image format (raw) does not support checks' \
    check base.raw
refuses 63 'good.qcow2: this image format (raw) does not support checks' \
    check -f raw good.qcow2
refuses 1 'nope: cannot open: No such file or directory' check nope
refuses 1 'option -r: repair is not available in this version' \
    check -r all good.qcow2
for cache in none directsync writeback; do
    run check -T $cache good.qcow2
    expect_exit 0
done
