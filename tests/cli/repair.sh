#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# check -r leaks|all, --dry-run, --no-undo, --undo: texts, exit codes, locks.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

# be64 FILE OFFSET: the number there.
be64()
{
    echo $((16#$(od -An -tx8 "-j$2" -N8 --endian=big "$1" | tr -d ' ')))
}

make_image good.qcow2 1M
fill good.qcow2 1 0 128k
reftable=$(be64 good.qcow2 48)
block=$(be64 good.qcow2 "$reftable")
l2=$(($(be64 good.qcow2 "$(be64 good.qcow2 40)") & 0xfffffffffffe00))
data=$(($(be64 good.qcow2 "$l2") & 0xfffffffffffe00))
clusters=$(($(stat -c %s good.qcow2) / 65536))

# Nothing to do: nothing is written, no record is kept.
remember
run check -r all -f qcow2 good.qcow2
expect_exit 0
expect_no_stderr
qemu-img check -r all good.qcow2 >"$test_dir/qemu"
expect_stdout <"$test_dir/qemu"
expect_untouched

# A leak.
cp good.qcow2 leak.qcow2
truncate -s +64k leak.qcow2
poke leak.qcow2 $((block + 2 * clusters)) 0001
cp leak.qcow2 was.qcow2
remember
run check -r leaks --dry-run -f qcow2 leak.qcow2
expect_exit 0
expect_no_stderr
expect_line "would repair: refcount of 1 cluster from $((clusters * 65536)) on: 1 becomes 0 (offset $((clusters * 65536)))"
expect_line 'The following inconsistencies were found and would be repaired:'
expect_untouched
run check -r leaks leak.qcow2
expect_exit 0
expect_message 'leak.qcow2: no format was said (-f); probed as qcow2'
expect_line 'The following inconsistencies were found and repaired:'
expect_line '    1 leaked clusters'
expect_line '    0 corruptions'
expect_line 'No errors were found on the image.'
expect_line 'Undo record: leak.qcow2.imgchain-repair'
expect_sound leak.qcow2

# The way back; once it was used, an image is not undone.
run check --undo leak.qcow2.imgchain-repair --dry-run -f qcow2 leak.qcow2
expect_exit 0
expect_sound leak.qcow2
run check --undo leak.qcow2.imgchain-repair -f qcow2 leak.qcow2
expect_exit 0
expect_line 'restored            leak.qcow2'
cmp leak.qcow2 was.qcow2 || fail 'the undo is not exact'
run check --undo leak.qcow2.imgchain-repair -q -f qcow2 leak.qcow2
expect_exit 0
run check -q -r leaks -f qcow2 leak.qcow2
expect_exit 0
[ -e leak.qcow2.imgchain-repair.2 ] || fail 'no second record'
cp leak.qcow2 used.qcow2
fill used.qcow2 5 512k 128k
mv used.qcow2 longer.qcow2
cat longer.qcow2 >leak.qcow2
refuses 1 'leak.qcow2: found a file of 589824 bytes, expected the 524288 that the repair left' \
    check --undo leak.qcow2.imgchain-repair.2 -f qcow2 leak.qcow2
cat was.qcow2 >leak.qcow2
poke leak.qcow2 $((block + 2 * clusters)) 0007
cp leak.qcow2 used.qcow2
refuses 1 "leak.qcow2: found other bytes than the repair left, expected an image that was not used since (offset $block)" \
    check --undo leak.qcow2.imgchain-repair.2 -f qcow2 leak.qcow2
cmp leak.qcow2 used.qcow2 || fail 'it was undone all the same'
refuses 1 'leak.qcow2.imgchain-repair: undo record: it is one of another file' \
    check --undo leak.qcow2.imgchain-repair -f qcow2 good.qcow2
refuses 1 'was.qcow2: undo record: found something else, expected one of a repair' \
    check --undo was.qcow2 -f qcow2 good.qcow2
head -c 700 leak.qcow2.imgchain-repair >short
refuses 1 'short: undo record: it is not as long as it says' \
    check --undo short -f qcow2 leak.qcow2
refuses 1 'nope: cannot open: No such file or directory' \
    check --undo nope -f qcow2 leak.qcow2

# As many are said to be repaired as qemu-img says.
for fix in leaks all; do
    cp was.qcow2 theirs.qcow2
    qemu-img check -r $fix --output json theirs.qcow2 >"$test_dir/qemu" 2>"$test_dir/talk"
    cp was.qcow2 ours.qcow2
    run check -r $fix --no-undo --output json -f qcow2 ours.qcow2
    expect_exit 0
    python3 - "$test_dir/qemu" "$test_dir/stdout" <<'PYTHON' ||
import json, sys
theirs, ours = (json.load(open(name)) for name in sys.argv[1:])
theirs.pop("filename")
sys.exit(any(ours[key] != value for key, value in theirs.items()))
PYTHON
        fail "not what qemu-img says: $(cat "$test_dir/qemu")"
    cmp ours.qcow2 theirs.qcow2 || fail 'not what qemu-img makes of it'
done

# -r leaks leaves corruptions; -r all does not.
cp good.qcow2 bad.qcow2
poke bad.qcow2 $((block + 2 * (data / 65536))) 00000005
run check -r leaks --no-undo --output json -f qcow2 bad.qcow2
expect_exit 2
expect_json 'doc["leaks-fixed"] == 1 and doc["corruptions"] >= 1'
[ ! -e bad.qcow2.imgchain-repair ] || fail 'a record in spite of --no-undo'
cp good.qcow2 bad.qcow2
poke bad.qcow2 $((block + 2 * (data / 65536))) 00000005
run check -r all --output json -f qcow2 bad.qcow2
expect_exit 0
expect_json '(doc["corruptions"], doc["leaks"], doc["check-errors"]) == (0, 0, 0)'
expect_json 'doc["corruptions-fixed"] == 3 and doc["leaks-fixed"] == 1'
expect_json 'doc["undo-filename"] == "bad.qcow2.imgchain-repair"'
expect_json '[r["kind"] for r in doc["repairs"]] == ["refcounts", "refcounts"]'
expect_json 'doc["problems"] == [] and doc["lost"] == 0 and not doc["dry-run"]'
expect_sound bad.qcow2
expect_equal bad.qcow2 good.qcow2
rm -f bad.qcow2.imgchain-repair

# What cannot be read is told, with where the guest has it; the rest stays.
cp good.qcow2 lost.qcow2
poke lost.qcow2 "$l2" 8000000000000200
run check -r all -f qcow2 lost.qcow2
expect_exit 0
expect_line "not saved: L2 entry 0x8000000000000200 has no multiple of the cluster size as offset: what cannot be read becomes zeros (offset $l2, guest bytes 0 to 65536)"
expect_line '1 things could not be saved; 65536 bytes of the guest'\''s disk that could not be read are zeros.'
expect_sound lost.qcow2
make_image expected.qcow2 1M
fill expected.qcow2 1 64k 64k
expect_equal lost.qcow2 expected.qcow2
cp good.qcow2 lost2.qcow2
poke lost2.qcow2 "$l2" 8000000000000200
run check -r all --no-undo --output json -f qcow2 lost2.qcow2
expect_json 'doc["lost"] == 1 and doc["lost-guest-len"] == 65536'
expect_json '[(r["guest-offset"], r["guest-length"]) for r in doc["repairs"] if r["lost"]] == [(0, 65536)]'

# The refcount table is nowhere: an image that nothing opens is opened again.
cp good.qcow2 rebuild.qcow2
poke rebuild.qcow2 48 0000ffff00000000
run info rebuild.qcow2
expect_exit 1
run check -q -r leaks -f qcow2 rebuild.qcow2
expect_exit 1
expect_message 'refcount_table_offset'
run check -q -r all -f qcow2 rebuild.qcow2
expect_exit 0
expect_sound rebuild.qcow2
expect_equal rebuild.qcow2 good.qcow2

# Without its L1 table there is nothing to be made of an image.
cp good.qcow2 none.qcow2
poke none.qcow2 40 0000ffff00000000
remember
run check -r all -f qcow2 none.qcow2
expect_exit 1
expect_no_stdout
expect_message 'none.qcow2: l1_table_offset: found a table from'
expect_untouched

# Dirty and corrupt bits go after a clean second check only.
for bits in 01 02 03; do
    cp good.qcow2 marked.qcow2
    poke marked.qcow2 79 $bits
    poke marked.qcow2 $((block + 2 * (data / 65536))) 0000
    run check -q -r all --no-undo -f qcow2 marked.qcow2
    expect_exit 0
    [ "$(be64 marked.qcow2 72)" -eq 0 ] || fail "bits $bits are still set"
    expect_sound marked.qcow2
done
cp good.qcow2 marked.qcow2
poke marked.qcow2 79 03
poke marked.qcow2 $((block + 2 * (data / 65536))) 0000
run check -q -r leaks --no-undo -f qcow2 marked.qcow2
expect_exit 2
[ "$(be64 marked.qcow2 72)" -eq 3 ] || fail 'the bits of a corrupt image went'
cp good.qcow2 marked.qcow2
poke marked.qcow2 79 01
run check -r leaks --output json -f qcow2 marked.qcow2
expect_exit 0
expect_json 'doc["marked-clean"] and "undo-filename" in doc'
run check -q --undo marked.qcow2.imgchain-repair -f qcow2 marked.qcow2
[ "$(be64 marked.qcow2 72)" -eq 1 ] || fail 'the undo forgot the dirty bit'

# An image in use is not touched; a dry run does not look at it either.
cp good.qcow2 used.qcow2
hold used.qcow2
run check -r all -f qcow2 used.qcow2
expect_exit 1
expect_in_use used.qcow2
run check -r all --dry-run -f qcow2 used.qcow2
expect_exit 1
expect_in_use used.qcow2
let_go

qemu-img create -q -f raw base.raw 1M
refuses 63 'base.raw: this image format (raw) does not support checks' \
    check -r all base.raw
refuses 63 'good.qcow2: this image format (raw) does not support checks' \
    check -r all -f raw good.qcow2
refuses 1 "option --repair (-r): found 'some', expected leaks or all" \
    check -r some good.qcow2
refuses 1 'options --dry-run and --no-undo go with -r' \
    check --dry-run good.qcow2
refuses 1 'option --undo goes without -r and --no-undo' \
    check -r all --undo x good.qcow2
refuses 1 'option --backing-chain does not go with -r: one file at a time' \
    check -r all --backing-chain good.qcow2
refuses 1 'option --force-share (-U) does not go with -r: a file in use is never written' \
    check -r all -U good.qcow2
refuses 1 'option --image-opts does not go with -r: FILE is a path' \
    check -r all --image-opts driver=qcow2,file.filename=good.qcow2
