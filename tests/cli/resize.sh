#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# resize: absolute and relative sizes, --shrink, raw only when it is said.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

# virtual FILE: its size for the guest.
virtual()
{
    qemu-img info --output json "$1" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])'
}

make_image a.qcow2 4M
fill a.qcow2 3 0 4M
remember
run resize --dry-run -f qcow2 a.qcow2 +4M
expect_exit 0
expect_no_stderr
expect_stdout <<'TEXT'
would resize        a.qcow2
from                4 MiB (4194304 bytes)
to                  8 MiB (8388608 bytes)
TEXT
expect_untouched
run resize -f qcow2 a.qcow2 +4M
expect_exit 0
expect_no_stderr
expect_line 'resized             a.qcow2'
[ "$(virtual a.qcow2)" -eq 8388608 ] || fail 'not 8 MiB'
run resize -f qcow2 --output json a.qcow2 16M
expect_exit 0
expect_json 'doc == {"operation": "resize", "filename": "a.qcow2",
                     "dry-run": False, "format": "qcow2",
                     "old-virtual-size": 8388608,
                     "virtual-size": 16777216}'
expect_sound a.qcow2
# A size that begins with '-' is no option, wherever options stand.
run resize -f qcow2 --shrink a.qcow2 -8M
expect_exit 0
[ "$(virtual a.qcow2)" -eq 8388608 ] || fail 'not smaller'
run resize --shrink -q -- a.qcow2 -4M
expect_exit 0
expect_no_stdout
expect_no_stderr
[ "$(virtual a.qcow2)" -eq 4194304 ] || fail 'not smaller'
qemu-io -r -f qcow2 -c 'read -P 3 0 4M' a.qcow2 >"$test_dir/stdout"
if grep -q 'verification failed' "$test_dir/stdout"; then
    fail 'contents changed'
fi
run resize a.qcow2 4M
expect_exit 0
expect_stderr <<<'imgchain: a.qcow2: no format was said (-f); probed as qcow2'
for prealloc in off metadata falloc full; do
    run resize -p -f qcow2 --preallocation $prealloc a.qcow2 +1M
    expect_exit 0
    expect_sound a.qcow2
done
[ "$(virtual a.qcow2)" -eq 8388608 ] || fail 'not 8 MiB'

# A raw image only when it is said to be one.
truncate -s 1M plain.raw
run resize -f raw plain.raw 3M
expect_exit 0
expect_no_stderr
[ "$(stat -c %s plain.raw)" -eq 3145728 ] || fail 'not 3 MiB'
run resize -f raw --shrink plain.raw -1M
expect_exit 0
[ "$(stat -c %s plain.raw)" -eq 2097152 ] || fail 'not 2 MiB'

# Refused, and nothing is changed.
remember
refuses 2 'resize: found 1 operand, expected FILE [+|-]SIZE; see imgchain '\
'resize --help' resize a.qcow2
refuses 2 "SIZE: '1Q' is no size: expected bytes, or a number and one of k, \
M, G, T, P, E" resize a.qcow2 +1Q
refuses 2 "SIZE: '' is no size" resize a.qcow2 +
refuses 2 'unknown option -x; see imgchain resize --help' resize a.qcow2 -x
refuses 1 'a.qcow2: cannot be made smaller by 8 MiB (8388608 bytes): it has '\
'8 MiB (8388608 bytes)' resize -f qcow2 --shrink a.qcow2 -8M
refuses 1 'plain.raw: probed as raw, and a file that is written in place is '\
'only taken for qcow2 unasked: its format must be said (-f)' \
    resize plain.raw 4M
run resize -f qcow2 a.qcow2 4M
expect_exit 1
expect_message '--shrink'
run resize -f raw plain.raw 1M
expect_exit 1
expect_message '--shrink'
run resize -f qcow2 a.qcow2 0
expect_exit 1
expect_message 'a.qcow2: '
run resize -f qcow2 --preallocation some a.qcow2 9M
expect_exit 1
expect_message 'some'
run resize -f qcow2 nowhere.qcow2 1M
expect_exit 1
expect_message 'imgchain: nowhere.qcow2: cannot open: No such file'
hold a.qcow2
for size in 9M +1M; do
    run resize -f qcow2 a.qcow2 $size
    expect_exit 1
    expect_in_use a.qcow2
done
let_go
expect_untouched

# What lies beyond the new end is looked at before the size changes: an L2
# entry that cannot be read refuses it, also in a dry run.
make_image bad.qcow2 4M
fill bad.qcow2 5 0 64k
fill bad.qcow2 6 3M 64k
entry=$((0x40000 + 48 * 8))
cp bad.qcow2 loose.qcow2
poke bad.qcow2 $((entry)) 8000000000000001
remember
for more in --dry-run -q; do
    refuses 1 'bad.qcow2: L2 entry for guest offset 3145728: found '\
'0x8000000000000001, expected bit 63 to be 0 without a host offset '\
"(offset $entry)" resize $more -f qcow2 --shrink bad.qcow2 1M
done
expect_untouched
# Later than that, what has happened is said: the data's refcount is 0 here.
poke loose.qcow2 $((0x20000 + 6 * 2)) 0000
refuses 1 'loose.qcow2: refcount: found 0 for a cluster that was in use, '\
'expected at least 1; it has its new size already, what lay beyond is lost, '\
'and some of that may still take up space (qemu-img check -r leaks) '\
'(offset 393216)' resize -q -f qcow2 --shrink loose.qcow2 1M
[ "$(virtual loose.qcow2)" -eq 1048576 ] || fail 'not 1 MiB'

# So large an L1 table that the refcount table has to move to count it: the
# header names both of the new ones afterwards.
qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 64K
fill small.qcow2 5 0 64K
cp small.qcow2 wanted.qcow2
run resize -f qcow2 small.qcow2 64G
expect_exit 0
expect_no_stderr
expect_sound small.qcow2
expect_equal small.qcow2 wanted.qcow2
