#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# snapshot: overlays for several disks, all or none; overlays that are there.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image a.qcow2 8M
fill a.qcow2 1 0 1M
qemu-img create -q -f raw b.raw 4M
cp a.qcow2 'c=1,2.qcow2'
mkdir snaps

disks=(--disk 'a.qcow2=snaps/a1.qcow2,format=qcow2'
    --disk 'b.raw=snaps/b1.qcow2,format=raw')
remember
run snapshot --dry-run "${disks[@]}"
expect_exit 0
expect_no_stderr
expect_line 'would create        snaps/a1.qcow2'
expect_untouched
run snapshot --atomic "${disks[@]}"
expect_exit 0
expect_no_stderr
expect_line 'created             snaps/a1.qcow2'
expect_line 'overlay of          a.qcow2'
expect_line 'backing file        ../a.qcow2'
expect_line 'created             snaps/b1.qcow2'
expect_line 'backing file        ../b.raw'
expect_sound snaps/a1.qcow2 snaps/b1.qcow2
expect_equal snaps/a1.qcow2 a.qcow2
expect_equal snaps/b1.qcow2 b.raw raw
run validate snapshot -q --source a.qcow2 --dest snaps/a1.qcow2 \
    --dest-format qcow2 --require relative
expect_exit 0
# Nothing else is left behind.
find . -type f | sort >"$test_dir/found"
cat >"$test_dir/expected" <<'TEXT'
./a.qcow2
./b.raw
./c=1,2.qcow2
./snaps/a1.qcow2
./snaps/b1.qcow2
TEXT
cmp -s "$test_dir/expected" "$test_dir/found" ||
    fail "other files: $(tr '\n' ' ' <"$test_dir/found")"

# Overlays of overlays; options; a name to record; doubled commas and '='.
run snapshot --output json --absolute -o cluster_size=4k \
    --disk snaps/a1.qcow2=snaps/a2.qcow2,format=qcow2 \
    --disk 'c==1,,2.qcow2=snaps/c,,1.qcow2,backing=../c=1,,2.qcow2'
expect_exit 0
expect_stderr <<<"imgchain: c=1,2.qcow2: no format was said (format=); it is \
probed"
expect_json '(doc["operation"], doc["dry-run"], doc["atomic"],
              doc["reuse-external"], doc["verdict"]) == (
              "snapshot", False, False, False, "accepted")'
expect_json '[(d["source"], d["filename"]) for d in doc["disks"]] == [
              ("snaps/a1.qcow2", "snaps/a2.qcow2"),
              ("c=1,2.qcow2", "snaps/c,1.qcow2")]'
expect_json '[d["backing-filename"] for d in doc["disks"]] == [
              "'"$PWD"'/snaps/a1.qcow2", "../c=1,2.qcow2"]'
expect_json 'all(d["cluster-size"] == 4096 for d in doc["disks"])'
expect_sound snaps/a2.qcow2 snaps/c,1.qcow2
run snapshot -q --disk b.raw=snaps/b2.qcow2,format=raw
expect_exit 0
expect_no_stdout
expect_no_stderr

# Overlays that somebody made: judged, none is made.
run create -q --for snapshot --source snaps/a2.qcow2 --source-format qcow2 \
    snaps/a3.qcow2
make_overlay snaps/wrong.qcow2 ../a.qcow2
remember
run snapshot --reuse-external \
    --disk snaps/a2.qcow2=snaps/a3.qcow2,format=qcow2
expect_exit 0
expect_line 'accepted            snaps/a3.qcow2'
expect_untouched
run snapshot --reuse-external \
    --disk snaps/a2.qcow2=snaps/a3.qcow2,format=qcow2 \
    --disk b.raw=snaps/wrong.qcow2,format=raw
expect_exit 1
expect_line 'refused: snaps/wrong.qcow2'
expect_line 'FAIL backing-resolves'
expect_line 'Nothing was done.'
run snapshot --reuse-external --output json \
    --disk b.raw=snaps/wrong.qcow2,format=raw
expect_exit 1
expect_json 'doc["verdict"] == "refused"'
expect_json '"backing-resolves" in [
              c["id"] for c in doc["disks"][0]["report"]["checks"]
              if c["result"] == "fail"]'
expect_untouched

# Nothing to recover.
run snapshot --recover snaps
expect_exit 0
expect_stdout <<<'nothing to do in    snaps'
run snapshot --recover snaps --output json
expect_exit 0
expect_json 'doc["operation"] == "recover" and doc["files"] == []'

# Refused: all or none, so none.
refuses 2 'option --disk is missing: ACTIVE=NEW' snapshot
refuses 2 "--disk: 'a.qcow2' is not ACTIVE=NEW[,backing=TEXT][,format=FMT]" \
    snapshot --disk a.qcow2
refuses 2 "--disk: '=x' is not ACTIVE=NEW[,backing=TEXT][,format=FMT]" \
    snapshot --disk =x
refuses 2 "--disk: found 'fmt=raw', expected backing=TEXT or format=FMT" \
    snapshot --disk a.qcow2=x,fmt=raw
refuses 2 "--disk: found '', expected backing=TEXT or format=FMT" \
    snapshot --disk a.qcow2=x,
refuses 2 '--recover goes alone' snapshot --recover . --disk a=b
refuses 2 "--recover: 'b' is the second one, expected one" \
    snapshot --recover a --recover b
refuses 2 '--recover goes alone' snapshot --recover . --root .
refuses 2 '--options (-o) does not go with --reuse-external: the overlays are '\
'there' snapshot --reuse-external -o cluster_size=4k --disk a.qcow2=x
refuses 2 'unknown option -f; see imgchain snapshot --help' \
    snapshot -f qcow2 --disk a.qcow2=x
run snapshot --disk a.qcow2=x.qcow2,format=qcow2 \
    --disk nowhere.qcow2=y.qcow2,format=qcow2
expect_exit 1
expect_message 'nowhere.qcow2'
run snapshot --disk a.qcow2=x.qcow2,format=qcow2 \
    --disk b.raw=snaps/b1.qcow2,format=raw
expect_exit 1
expect_message 'snaps/b1.qcow2'
run snapshot --disk a.qcow2=x.qcow2,format=qcow2 \
    --disk b.raw=x.qcow2,format=raw
expect_exit 1
expect_message 'x.qcow2'
run snapshot --disk a.qcow2=x.qcow2,format=qcow2 \
    --disk a.qcow2=y.qcow2,format=qcow2
expect_exit 1
expect_message 'a.qcow2'
run snapshot --disk a.qcow2=a.qcow2,format=qcow2
expect_exit 1
expect_message 'a.qcow2'
hold a.qcow2
run snapshot --disk b.raw=y.qcow2,format=raw \
    --disk a.qcow2=x.qcow2,format=qcow2
expect_exit 1
expect_in_use a.qcow2
let_go
expect_untouched
