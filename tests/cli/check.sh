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
for cache in none directsync writeback; do
    run check -T $cache good.qcow2
    expect_exit 0
done

# Do the layers fit together? What keeps a chain from being followed is an
# error of the layer that names the next one; the others are checked.
links='[(d["filename"], p["kind"], p["id"]) for d in doc for p in d["problems"]]'
qemu-img create -q -f raw long.raw 2M
qemu-img create -q -f qcow2 -b long.raw -F raw short.qcow2 1M
run check --backing-chain --output json short.qcow2
expect_exit 0
expect_json "$links == [('short.qcow2', 'note', 'backing-longer')]"
expect_json 'doc[0]["problems"][0]["message"] == "its backing file \"long.raw\" is longer: found 2097152 bytes, here are 1048576 (its end is not seen)"'
run check --backing-chain short.qcow2
expect_line 'note: its backing file "long.raw" is longer: found 2097152 bytes, here are 1048576 (its end is not seen) (offset 528)'
expect_line 'No errors were found on the image.'
qemu-img create -q -f qcow2 -b base.raw -F raw longer.qcow2 3M
run check --backing-chain --output json longer.qcow2
expect_exit 0
expect_json "$links == [('longer.qcow2', 'note', 'backing-shorter')]"
run check --output json longer.qcow2
expect_json 'doc["problems"] == []'

make_overlay middle.qcow2 good.qcow2
make_overlay top.qcow2 middle.qcow2
mv good.qcow2 away.qcow2
run check --backing-chain --output json top.qcow2
expect_exit 1
expect_json "$links == [('middle.qcow2', 'error', 'backing-missing')]"
expect_json '[d["check-errors"] for d in doc] == [0, 1]'
run check --backing-chain top.qcow2
expect_exit 1
expect_line 'error: good.qcow2: cannot open: No such file or directory (offset 528)'
run check top.qcow2
expect_exit 0

cp base.raw good.qcow2
run check --backing-chain --output json top.qcow2
expect_exit 1
expect_json "$links == [('middle.qcow2', 'error', 'backing-format-differs')]"
cp middle.qcow2 good.qcow2
qemu-img rebase -q -u -f qcow2 -b middle.qcow2 -F qcow2 good.qcow2
run check --backing-chain --output json top.qcow2
expect_exit 1
expect_json "$links == [('good.qcow2', 'error', 'backing-loop')]"
expect_json '[d["filename"] for d in doc] == ["top.qcow2", "middle.qcow2", "good.qcow2"]'
mv away.qcow2 good.qcow2
qemu-img create -q -f qcow2 -b good.qcow2 -F raw asraw.qcow2 1M
run check --backing-chain --output json asraw.qcow2
expect_exit 2
expect_json "[l for l in $links if l[1] != 'note'] == [('asraw.qcow2', 'corruption', 'backing-format-differs')]"
expect_json 'doc[0]["corruptions"] == 1 and doc[0]["corruptions-beyond-qemu"] == 1'
# qemu-img 6.1 and later do not leave the format out.
cp middle.qcow2 unrecorded.qcow2
python3 - unrecorded.qcow2 <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    data = file.read(512)
    file.seek(data.index(b"\xe2\x79\x2a\xca"))
    file.write(b"\x12\x34\x56\x78")
PY
run check --backing-chain --output json unrecorded.qcow2
expect_exit 1
expect_json "$links == [('unrecorded.qcow2', 'error', 'backing-format-not-recorded')]"
run check --backing-chain --max-depth 2 --output json top.qcow2
expect_exit 1
expect_json "$links == [('middle.qcow2', 'error', 'chain-too-deep')]"

# Threads change nothing that is seen.
run check --output json bad.qcow2
cp "$test_dir/stdout" "$test_dir/one"
for number in 1 2 7; do
    run check -m $number --output json bad.qcow2
    expect_exit 2
    cmp "$test_dir/one" "$test_dir/stdout" || fail "-m $number tells other things"
done
run check -r all --dry-run -m 3 bad.qcow2
expect_exit 0
refuses 1 "--parallel: '0' is no number of threads: at least 1" \
    check -m 0 bad.qcow2

# An external data file: where its clusters lie, and whether they are there.
qemu-img create -q -f qcow2 -o data_file=ext.raw ext.qcow2 1M
fill ext.qcow2 1 0 256k
run check --output json ext.qcow2
expect_exit 0
l1=$((16#$(be64 ext.qcow2 40)))
l2=$((16#$(be64 ext.qcow2 $l1) & 0x00fffffffffffe00))
cp ext.qcow2 moved.qcow2
poke moved.qcow2 $((l2 + 8)) 8000000000050000
run check --output json moved.qcow2
expect_exit 2
expect_json '(doc["corruptions"], doc["corruptions-beyond-qemu"]) == (1, 1)'
expect_json "doc['problems'][0]['id'] == 'data-file-offset' and doc['problems'][0]['guest-offset'] == 65536"
truncate -s 128k ext.raw
run check --output json ext.qcow2
expect_exit 2
expect_json '[(p["id"], p["guest-offset"]) for p in doc["problems"]] == [("data-file-too-short", 131072), ("data-file-too-short", 196608)]'
rm ext.raw
run check --output json ext.qcow2
expect_exit 1
expect_json '[(p["kind"], p["id"]) for p in doc["problems"]] == [("error", "data-file-not-opened")]'
expect_json 'doc["allocated-clusters"] == 4'
