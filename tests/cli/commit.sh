#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# commit: into the backing file or a layer below, -d, --verify, --dry-run.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

# layers: base <- middle <- top, anew; wanted shows what top shows.
layers()
{
    make_image base.qcow2 16M
    fill base.qcow2 1 0 4M
    make_overlay middle.qcow2 base.qcow2
    fill middle.qcow2 2 2M 4M
    make_overlay top.qcow2 middle.qcow2
    fill top.qcow2 3 5M 2M
    fill top.qcow2 0 1M 1M
    qemu-img convert -O qcow2 top.qcow2 wanted.qcow2
}

# allocated FILE: guest bytes that FILE itself holds.
allocated()
{
    qemu-img map --output json "$1" | python3 -c 'import json, sys
print(sum(e["length"] for e in json.load(sys.stdin)
          if e["depth"] == 0 and e["present"]))'
}

layers
remember
run commit --dry-run -f qcow2 top.qcow2
expect_exit 0
expect_no_stderr
expect_line 'would commit        top.qcow2'
expect_line 'into                middle.qcow2'
expect_untouched
run commit --dry-run -f qcow2 -b base.qcow2 --output json top.qcow2
expect_exit 0
expect_json '(doc["operation"], doc["filename"], doc["base"]) == (
              "commit", "top.qcow2", "base.qcow2")'
expect_json 'doc["dry-run"] is True and doc["overlay-emptied"] is False'
expect_json 'doc["invalid-layers"] == ["middle.qcow2"]'
expect_untouched

# Into the backing file; the overlay is emptied.
run commit -f qcow2 --verify top.qcow2
expect_exit 0
expect_no_stderr
expect_line 'committed           top.qcow2'
expect_line 'into                middle.qcow2'
expect_line 'overlay             emptied'
[ "$(allocated top.qcow2)" -eq 0 ] || fail 'the overlay is not empty'
expect_sound top.qcow2 middle.qcow2
expect_equal middle.qcow2 wanted.qcow2
expect_equal top.qcow2 wanted.qcow2

# -d keeps it.
layers
sum=$(sha256sum <top.qcow2)
run commit -f qcow2 -d --output json top.qcow2
expect_exit 0
expect_json 'doc["overlay-emptied"] is False and doc["base-grown"] is False'
expect_json 'doc["written-len"] >= 2 << 20 and doc["invalid-layers"] == []'
[ "$(sha256sum <top.qcow2)" = "$sum" ] || fail 'the overlay was changed'
expect_sound middle.qcow2
expect_equal middle.qcow2 wanted.qcow2

# Further down: the layers between are passed over, the overlay kept.
layers
run commit -p -f qcow2 -b base.qcow2 top.qcow2
expect_exit 0
expect_line 'into                base.qcow2'
expect_line 'invalid now         middle.qcow2'
expect_line 'overlay             kept as it was'
tr '\r' '\n' <"$test_dir/stderr" | grep -qxF '    (100.00/100%)' ||
    fail 'no progress of 100%'
expect_sound base.qcow2 top.qcow2
expect_equal base.qcow2 wanted.qcow2
expect_equal top.qcow2 wanted.qcow2

# A larger overlay makes the base larger. Probing is told.
layers
qemu-img resize -q top.qcow2 32M
run commit top.qcow2
expect_exit 0
expect_stderr <<<'imgchain: top.qcow2: no format was said (-f); probed as qcow2'
expect_line '                    which was made larger'
expect_sound middle.qcow2 top.qcow2
expect_equal top.qcow2 middle.qcow2

# Into a raw base.
qemu-img create -q -f raw base.raw 4M
make_overlay over.qcow2 base.raw raw
fill over.qcow2 6 1M 1M
qemu-img convert -O qcow2 over.qcow2 wanted.qcow2
for cache in none writeback writethrough directsync unsafe; do
    run commit -q -f qcow2 -t "$cache" over.qcow2
    expect_exit 0
    expect_no_stdout
    expect_no_stderr
    expect_equal wanted.qcow2 base.raw raw
done

# Refused, and nothing is changed.
layers
remember
refuses 2 'commit: found 0 operands, expected FILE; see imgchain commit '\
'--help' commit
refuses 2 "--rate-limit: '1M' is refused: rates are not limited" \
    commit -r 1M top.qcow2
refuses 2 'unknown option -U; see imgchain commit --help' commit -U top.qcow2
run commit -f qcow2 base.qcow2
expect_exit 1
expect_message 'base.qcow2'
run commit -f qcow2 -b nowhere.qcow2 top.qcow2
expect_exit 1
expect_message 'nowhere.qcow2'
run commit -f qcow2 -b wanted.qcow2 top.qcow2
expect_exit 1
expect_message 'wanted.qcow2'
run commit -f qcow2 -b top.qcow2 top.qcow2
expect_exit 1
expect_message 'top.qcow2'
run commit -f raw base.raw
expect_exit 1
expect_message 'base.raw'
for file in top.qcow2 middle.qcow2; do
    hold $file
    run commit -f qcow2 top.qcow2
    expect_exit 1
    expect_in_use "$file"
    let_go
done
expect_untouched
