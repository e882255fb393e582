#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tree: who backs whom, what is wrong with it, and the four forms of output.
. "$(dirname "$0")/../lib.sh"
requires qemu-img python3

mkdir d d/below
make_image d/base.qcow2 1G
chmod 0444 d/base.qcow2
make_overlay d/mid.qcow2 base.qcow2
chmod 0444 d/mid.qcow2
make_overlay d/top.qcow2 mid.qcow2
make_overlay d/other.qcow2 base.qcow2
make_image d/below/deep.qcow2 1M
echo text >d/README
touch -d 2020-01-01 d/base.qcow2
touch -d 2020-01-02 d/mid.qcow2
run tree d
expect_exit 0
expect_no_stderr
expect_stdout <<'E2'
d/base.qcow2  qcow2, 1 GiB
├─ d/mid.qcow2  qcow2, 1 GiB
│  └─ d/top.qcow2  qcow2, 1 GiB
└─ d/other.qcow2  qcow2, 1 GiB
1 other file: no image format recognised
E2
run tree -R d
expect_exit 0
expect_line 'd/below/deep.qcow2  qcow2, 1 MiB'
expect_line '     note: stands alone: no base, no overlays here'

# A file: the chain under it, found outside the folders that were named.
run tree d/top.qcow2
expect_exit 0
expect_stdout <<'E2'
d/base.qcow2  qcow2, 1 GiB
└─ d/mid.qcow2  qcow2, 1 GiB
   └─ d/top.qcow2  qcow2, 1 GiB
E2
# What stands behind "file:" counts from the working directory, as in QEMU.
make_image apart.qcow2 1M
qemu-img create -q -f qcow2 -b file:apart.qcow2 -F qcow2 d/named.qcow2
run tree d/named.qcow2
expect_exit 0
expect_line '└─ d/named.qcow2  qcow2, 1 MiB'
rm d/named.qcow2

# One file under two names is one image.
ln d/top.qcow2 d/twin.qcow2
run tree --output json d/top.qcow2 d/twin.qcow2
expect_json 'len(doc["images"]) == 3'
rm d/twin.qcow2

run tree --output json d
expect_exit 0
expect_json 'len(doc["images"]) == 4 and doc["other-files"] == 1'
expect_json '[i["overlays"] for i in doc["images"]
             if i["filename"] == "d/base.qcow2"
             ] == [["d/mid.qcow2", "d/other.qcow2"]]'
expect_json '[i["base"] for i in doc["images"]
             if i["filename"] == "d/top.qcow2"] == ["d/mid.qcow2"]'
expect_json 'all(i["problems"] == [] for i in doc["images"])'

# has_problem FILE ID: the JSON says so, and of no other image.
has_problem()
{
    expect_json "[i['filename'] for i in doc['images']
                 if any(p['id'] == '$2' for p in i['problems'])] == ['$1']"
}

chmod 0644 d/mid.qcow2
touch d/mid.qcow2
touch -d 2021-01-01 d/top.qcow2
run tree --output json d
has_problem d/mid.qcow2 writable-base
has_problem d/mid.qcow2 newer-base

mkdir w
qemu-img create -q -u -f qcow2 -b gone.qcow2 -F qcow2 w/lost.qcow2 1M
qemu-img create -q -u -f qcow2 -b two.qcow2 -F qcow2 w/one.qcow2 1M
qemu-img create -q -u -f qcow2 -b one.qcow2 -F qcow2 w/two.qcow2 1M
qemu-img create -q -u -f qcow2 -b ../d/base.qcow2 -F raw w/wrong.qcow2 1M
qemu-img create -q -u -f qcow2 -b nbd://h/x -F raw w/net.qcow2 1M
printf 'QFI\xfb\0\0\0\x09 not really' >w/junk.qcow2
run tree --output json w
expect_exit 0
has_problem w/gone.qcow2 missing
has_problem w/wrong.qcow2 wrong-format
has_problem w/net.qcow2 no-file
has_problem w/junk.qcow2 unreadable
expect_json 'sorted(i["filename"] for i in doc["images"]
             if any(p["id"] == "loop" for p in i["problems"])
             ) == ["w/one.qcow2", "w/two.qcow2"]'
run tree w
expect_exit 0
expect_line '     missing: there is no such file'
expect_line '     loop: its backing files lead back to it (through two.qcow2)'
expect_line "        wrong format: records its base as raw, the base is qcow2"

# Pictures are well-formed; names in them are text.
make_image 'w/<&">.qcow2' 1M
run tree --output svg w
expect_exit 0
python3 - "$test_dir/stdout" <<'PYTHON' || fail 'no SVG'
import sys
import xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
space = "{http://www.w3.org/2000/svg}"
assert root.tag == space + "svg"
names = [e.text for e in root.iter(space + "text")
         if e.get("class") == "name"]
assert 'w/<&">.qcow2' in names, names
assert len(names) == 9, names
PYTHON
run tree --output dot w
expect_exit 0
head -n 1 "$test_dir/stdout" | grep -qx 'digraph images {' || fail 'no DOT'
[ "$(grep -c ' -> ' "$test_dir/stdout")" -eq 4 ] || fail 'not 4 arrows'

# A path that is not there fails; the others are shown.
run tree nope d/base.qcow2
expect_exit 1
expect_stderr <<<'imgchain: nope: cannot open: No such file or directory'
grep -q '^d/base.qcow2  qcow2' "$test_dir/stdout" || fail 'not shown'
# Confinement holds for bases, too.
rm w/junk.qcow2
run tree --root "$PWD/w" --output json w
expect_exit 0
has_problem w/../d/base.qcow2 unreadable
# ... and nothing is told about a file outside, not even its mode.
chmod 0666 d/base.qcow2
run tree --root "$PWD/w" w
expect_exit 0
! sed -n '/base.qcow2  not read/,/└─/p' "$test_dir/stdout" |
    grep -q 'its mode' ||
    fail 'the mode of a file outside of the root was told'
