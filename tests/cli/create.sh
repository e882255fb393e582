#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# create: qemu-img's options and defaults, overlays, --for; --dry-run.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

run create -f qcow2 a.qcow2 64M
expect_exit 0
expect_no_stderr
expect_stdout <<'TEXT'
created             a.qcow2
format              qcow2, compat 1.1, clusters of 64 KiB
virtual size        64 MiB (67108864 bytes)
TEXT
expect_sound a.qcow2

# Without -f it is raw, as with qemu-img; an old file is replaced.
run create plain.raw 1M
expect_exit 0
expect_line 'format              raw'
[ "$(stat -c %s plain.raw)" -eq 1048576 ] || fail 'not 1 MiB'
run create plain.raw 3k
expect_exit 0
[ "$(stat -c %s plain.raw)" -eq 3072 ] || fail 'not replaced'

# Options: repeated, listed, switches without a value, doubled commas.
run create -f qcow2 -o lazy_refcounts,cluster_size=4k -o refcount_bits=1 \
    --output json opts.qcow2 10M
expect_exit 0
expect_json '(doc["operation"], doc["filename"], doc["dry-run"]) == (
              "create", "opts.qcow2", False)'
expect_json '(doc["format"], doc["virtual-size"], doc["cluster-size"]) == (
              "qcow2", 10485760, 4096)'
expect_json 'doc["lazy-refcounts"] is True and doc["refcount-bits"] == 1'
expect_json '(doc["compat"], doc["compression-type"], doc["preallocation"],
              doc["extended-l2"]) == ("1.1", "zlib", "off", False)'
qemu-img info --output json opts.qcow2 >"$test_dir/stdout"
expect_json 'doc["format-specific"]["data"]["lazy-refcounts"] is True'
run create -f qcow2 -o lazy_refcounts=on,nolazy_refcounts opts.qcow2 10M
expect_exit 0
qemu-img info --output json opts.qcow2 >"$test_dir/stdout"
expect_json 'doc["format-specific"]["data"]["lazy-refcounts"] is False'
run create -f qcow2 -o size=2M,compat=0.10 sized.qcow2
expect_exit 0
expect_line 'format              qcow2, compat 0.10, clusters of 64 KiB'
expect_line 'virtual size        2 MiB (2097152 bytes)'
run create -f qcow2 -o extended_l2=on,compression_type=zstd,refcount_bits=64 \
    -o preallocation=metadata,lazy_refcounts=on features.qcow2 1M
expect_exit 0
expect_line "features            refcounts of 64 bits, lazy refcounts, \
extended L2 entries, compression zstd, preallocation metadata"
expect_sound features.qcow2 opts.qcow2 sized.qcow2

# What -o can set: qemu-img's names but those of encryption.
names()
{
    sed -nE 's/^  ([a-z_0-9]+)=.*/\1/p' "$1" |
        grep -vE '^(encryption|nocow|extent_size_hint)$' | sort
}
run create -f qcow2 -o help
expect_exit 0
expect_line 'Supported qcow2 options:'
qemu-img create -f qcow2 -o help >"$test_dir/qemu"
[ "$(names "$test_dir/stdout")" = "$(names "$test_dir/qemu")" ] ||
    fail 'not the options of qemu-img'
run create -o '?'
expect_exit 0
expect_line 'Supported raw options:'
refuses 1 '-o help: format: found vmdk, expected qcow2 or raw' \
    create -f vmdk -o help

# Overlays; the name as given, or made relative or absolute.
mkdir base images
run create -q -f qcow2 base/b.qcow2 8M
expect_exit 0
expect_no_stdout
expect_no_stderr
fill base/b.qcow2 7 0 1M
run create -f qcow2 -b ../base/b.qcow2 -F qcow2 images/o.qcow2
expect_exit 0
expect_stdout <<'TEXT'
created             images/o.qcow2
format              qcow2, compat 1.1, clusters of 64 KiB
virtual size        8 MiB (8388608 bytes)
backing file        ../base/b.qcow2
backing format      qcow2
TEXT
expect_equal images/o.qcow2 base/b.qcow2
run create -f qcow2 --relative -b "$PWD/base/b.qcow2" -F qcow2 images/r.qcow2
expect_exit 0
expect_line 'backing file        ../base/b.qcow2'
run create -f qcow2 --absolute -b ../base/b.qcow2 -F qcow2 images/a.qcow2 16M
expect_exit 0
expect_line "backing file        $PWD/base/b.qcow2"
expect_line 'virtual size        16 MiB (16777216 bytes)'
run create -f qcow2 -u -b nowhere.qcow2 -F qcow2 images/u.qcow2 1M
expect_exit 0
run create -f qcow2 -o 'backing_file=../base/b.qcow2,backing_fmt=qcow2' \
    images/o2.qcow2
expect_exit 0
cp base/b.qcow2 'base/with,comma'
run create -f qcow2 -o 'backing_file=../base/with,,comma,backing_fmt=qcow2' \
    images/comma.qcow2
expect_exit 0
expect_line 'backing file        ../base/with,comma'
expect_equal images/comma.qcow2 base/b.qcow2

# Exactly what validate accepts.
run create --for snapshot --source images/o.qcow2 --source-format qcow2 \
    images/snap.qcow2
expect_exit 0
expect_no_stderr
expect_line 'backing file        o.qcow2'
run validate snapshot --source images/o.qcow2 --source-format qcow2 \
    --dest images/snap.qcow2 --dest-format qcow2 --require relative -q
expect_exit 0
run create --for snapshot --source images/o.qcow2 --absolute images/snap2.qcow2
expect_exit 0
expect_stderr <<<"imgchain: images/o.qcow2: no format was said \
(--source-format); it is probed"
run validate snapshot --source images/o.qcow2 --dest images/snap2.qcow2 \
    --dest-format qcow2 --require absolute -q
expect_exit 0
run create --for copy --source images/o.qcow2 --source-format qcow2 \
    images/copy.qcow2
expect_exit 0
run validate copy --source images/o.qcow2 --dest images/copy.qcow2 \
    --dest-format qcow2 -q
expect_exit 0
run create --for copy -f raw --source images/o.qcow2 --source-format qcow2 \
    images/copy.raw
expect_exit 0
run validate copy --raw --source images/o.qcow2 --dest images/copy.raw -q
expect_exit 0
run create --for shallow-copy --source images/o.qcow2 --source-format qcow2 \
    images/shallow.qcow2
expect_exit 0
expect_line 'backing file        ../base/b.qcow2'
run validate copy --shallow --source images/o.qcow2 \
    --dest images/shallow.qcow2 --dest-format qcow2 -q
expect_exit 0

# --dry-run says the same and writes nothing.
remember
run create --dry-run -f qcow2 -b b.qcow2 -F qcow2 base/new.qcow2
expect_exit 0
expect_line 'would create        base/new.qcow2'
expect_untouched
run create --dry-run --for snapshot --source images/o.qcow2 \
    --source-format qcow2 --output json images/new.qcow2
expect_exit 0
expect_json 'doc["dry-run"] is True and doc["backing-filename"] == "o.qcow2"'
run create --dry-run a.qcow2 1M
expect_exit 0
expect_untouched

# Refused: nothing is made, nothing replaced.
refuses 2 'create: found 0 operands, expected FILE [SIZE]; see imgchain '\
'create --help' create
refuses 2 'create: found 3 operands, expected FILE [SIZE]; see imgchain '\
'create --help' create a 1M 2M
refuses 2 "SIZE: '1Q' is no size: expected bytes, or a number and one of k, \
M, G, T, P, E" create x.raw 1Q
refuses 2 'unknown option -1; see imgchain create --help' create x.raw -1
refuses 2 "--options: ',' has an empty option" create -o , x.raw 1M
refuses 2 "--options: 'size' has an option without a value" create -o size x
refuses 1 "x: option: found \"encryption\", expected none: encrypted images \
cannot be made" create -f qcow2 -o encryption x 1M
refuses 2 '--absolute does not go with --relative' \
    create --relative --absolute x.raw 1M
refuses 2 "--for: 'clone' is none of snapshot, copy, shallow-copy" \
    create --for clone x.raw
refuses 2 "option --source is missing: the disk's active layer" \
    create --for copy x.raw
refuses 2 '--source goes with --for' create --source a.qcow2 x.raw 1M
refuses 2 '--for takes size and backing file from ACTIVE: found SIZE, '\
'expected none' create --for copy --source a.qcow2 x.raw 1M
refuses 2 '--for takes size and backing file from ACTIVE: found --backing, '\
'expected none' create --for copy --source a.qcow2 -b a.qcow2 x.raw
run create -f qcow2 x.qcow2
expect_exit 1
expect_message 'imgchain: x.qcow2: '
run create -f vmdk x.vmdk 1M
expect_exit 1
expect_message 'no image of format "vmdk" can be made'
run create -f qcow2 -o frobnicate=1 x.qcow2 1M
expect_exit 1
expect_message 'frobnicate'
run create -f qcow2 -b nowhere.qcow2 -F qcow2 x.qcow2
expect_exit 1
expect_message 'nowhere.qcow2'
run create -f qcow2 -b a.qcow2 x.qcow2
expect_exit 1
expect_message '(-F qcow2)'
run create -f qcow2 nowhere/x.qcow2 1M
expect_exit 1
expect_message 'nowhere/x.qcow2'
run create --for snapshot --source nowhere.qcow2 x.qcow2 -q
expect_exit 1
expect_message 'imgchain: nowhere.qcow2: cannot open: No such file'
expect_untouched

# A computed name that leaves a root: there is one that does not.
mkdir in out
qemu-img create -q -f qcow2 in/a.qcow2 1M
run create -q --root in --root out --for snapshot --source in/a.qcow2 \
    --source-format qcow2 out/x.qcow2
expect_exit 1
expect_message 'out/../in/a.qcow2: lies outside the allowed folders, by the'\
' relative name that leads there; --absolute records one that leaves none'
[ ! -e out/x.qcow2 ] || fail 'out/x.qcow2 is there'
run create -q --root in --root out --for snapshot --source in/a.qcow2 \
    --source-format qcow2 --absolute out/x.qcow2
expect_exit 0
run create -q --root in --root out -f qcow2 -b ../in/a.qcow2 -F qcow2 \
    out/y.qcow2
expect_exit 1
expect_message 'out/../in/a.qcow2: lies outside the allowed folders'
if grep -q -e --absolute "$test_dir/stderr"; then
    fail 'advice about a name that was given'
fi
rm -r in out

# A file that somebody uses is neither replaced nor read.
hold a.qcow2
run create -f qcow2 a.qcow2 1M
expect_exit 1
expect_message "a.qcow2: is in use by process $holder (qemu-io)"
run create -f qcow2 -b a.qcow2 -F qcow2 x.qcow2
expect_exit 1
expect_message "is in use by process $holder (qemu-io)"
expect_untouched
run create -q -U -f qcow2 -b a.qcow2 -F qcow2 x.qcow2
expect_exit 0
let_go
