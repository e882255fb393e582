#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# amend: what qemu-img amend changes; --dry-run.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image base.qcow2 4M
make_image a.qcow2 4M
fill a.qcow2 3 0 1M
cp a.qcow2 wanted.qcow2

# specific KEY VALUE: of qemu-img info's format-specific data.
specific()
{
    qemu-img info --output json a.qcow2 >"$test_dir/stdout"
    expect_json "doc['format-specific']['data']['$1'] == $2"
}

remember
run amend --dry-run -f qcow2 -o refcount_bits=64 a.qcow2
expect_exit 0
expect_no_stderr
expect_line 'would amend         a.qcow2'
expect_untouched
run amend -f qcow2 -o refcount_bits=64,lazy_refcounts=on a.qcow2
expect_exit 0
expect_no_stderr
expect_stdout <<'TEXT'
amended             a.qcow2
options             refcount_bits=64
                    lazy_refcounts=on
TEXT
specific refcount-bits 64
specific lazy-refcounts True
expect_sound a.qcow2
expect_equal a.qcow2 wanted.qcow2
run amend -o refcount_bits=16 -o nolazy_refcounts --output json a.qcow2
expect_exit 0
expect_stderr <<<'imgchain: a.qcow2: no format was said (-f); probed as qcow2'
expect_json 'doc == {"operation": "amend", "filename": "a.qcow2",
                     "dry-run": False, "options": ["refcount_bits=16",
                                                   "lazy_refcounts=off"]}'
run amend -p -f qcow2 -t writeback -o compat=0.10 a.qcow2
expect_exit 0
tr '\r' '\n' <"$test_dir/stderr" | grep -qxF '    (100.00/100%)' ||
    fail 'no progress of 100%'
specific compat "'0.10'"
expect_sound a.qcow2
expect_equal a.qcow2 wanted.qcow2
run amend -q -f qcow2 -o compat=1.1 a.qcow2
expect_exit 0
expect_no_stdout
expect_no_stderr
specific compat "'1.1'"

# What -o can set: of qemu-img's list what can be changed at all.
run amend -o help
expect_exit 0
expect_line "Amend options for 'qcow2':"
for option in backing_file backing_fmt compat data_file data_file_raw \
    lazy_refcounts refcount_bits size; do
    grep -q "^  $option=" "$test_dir/stdout" || fail "no $option"
done

# The backing file's format; not raw where the file looks like another.
make_image base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
run amend -f qcow2 -o backing_fmt=raw over.qcow2
expect_exit 1
expect_stderr <<<"imgchain: base.qcow2: it is said to be raw, but looks like \
qcow2; rebase -u --force records it all the same"
truncate -s 1M plain.raw
qemu-img rebase -u -f qcow2 -b plain.raw -F qcow2 over.qcow2
run amend -f qcow2 -o backing_fmt=raw over.qcow2
expect_exit 0

# Refused, and nothing is changed.
remember
refuses 2 'amend: found 0 operands, expected FILE; see imgchain amend --help' \
    amend -o compat=1.1
refuses 2 'option --options (-o) is missing: what to change' amend a.qcow2
refuses 2 "--options: 'compat' has an option without a value" \
    amend -o compat a.qcow2
refuses 1 'a.qcow2: option: found "cluster_size", which is only for new '\
'images; expected compat, lazy_refcounts, refcount_bits, backing_file, '\
'backing_fmt, data_file, data_file_raw or size' \
    amend -f qcow2 -o cluster_size=4k a.qcow2
refuses 1 '-o help: format: found raw, expected qcow2' amend -f raw -o help
refuses 1 'plain.raw: probed as raw, and a file that is written in place is '\
'only taken for qcow2 unasked: its format must be said (-f)' \
    amend -o compat=1.1 plain.raw
run amend -f raw -o compat=1.1 plain.raw
expect_exit 1
expect_message 'plain.raw: '
run amend -f qcow2 -o frobnicate=1 a.qcow2
expect_exit 1
expect_message 'frobnicate'
run amend -f qcow2 -o cluster_size=4k a.qcow2
expect_exit 1
expect_message 'cluster_size'
run amend -f qcow2 -o refcount_bits=3 a.qcow2
expect_exit 1
expect_message '3'
run amend -f qcow2 -o refcount_bits=64,compat=0.10 a.qcow2
expect_exit 1
expect_message '0.10'
hold a.qcow2
run amend -f qcow2 -o refcount_bits=64 a.qcow2
expect_exit 1
expect_in_use a.qcow2
let_go
expect_untouched

# Other names beside the first change, which clears what nobody knows of the
# header's autoclear bits: the name that stays is still the one that it was.
truncate -s 1M flat.raw
qemu-img create -q -f qcow2 -u -b flat.raw -F qcow2 over.qcow2 1M
poke over.qcow2 88 8000000000000000
run amend -f qcow2 -o backing_fmt=raw,lazy_refcounts=on over.qcow2
expect_exit 0
expect_no_stderr
qemu-img info -U --output json over.qcow2 >"$test_dir/stdout"
expect_json 'doc["backing-filename"] == "flat.raw"'
expect_json 'doc["backing-filename-format"] == "raw"'
