#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# inspect: options, policies, exit codes, texts, and what it opens. (Images of
# every kind, each with its verdict, are judged in tests/interop/inspect.py.)
# shellcheck disable=SC2002 # cat makes a pipe: that is what is tested
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3 mkfifo

make_image good.qcow2 64M
fill good.qcow2 7 0 1M

run inspect -f qcow2 good.qcow2
expect_exit 0
expect_no_stderr
head -n 2 "$test_dir/stdout" | cmp -s - <(printf '%s\n' \
    'accepted: good.qcow2' '  may be imported; it needs no other file') ||
    fail 'no verdict on the first lines'
run inspect -f qcow2 good.qcow2 -q
expect_exit 0
expect_no_stdout

# Undeclared: accepted, but told, with the command to ask by.
run inspect good.qcow2 --output json
expect_exit 0
expect_json 'doc["verdict"] == "accepted" and doc["operation"] == "inspect"'
expect_json 'doc["policy"] == "self-contained" and doc["format"] == "qcow2"'
expect_json 'doc["virtual-size"] == 67108864 and doc["length"] > 0'
expect_json 'set(doc["identity"]) == {"device", "inode", "modified-ns"}'
expect_json '[("warn", "imgchain inspect -f qcow2 good.qcow2")] == [
              (c["result"], c["remedy"]) for c in doc["checks"]
              if c["id"] == "format-declared"]'
# A check for each kind of reference, from the one list.
expect_json '["reference-backing-file", "reference-data-file",
              "reference-extent", "reference-parent"] == [c["id"]
              for c in doc["checks"] if c["id"].startswith("reference-")]'
expect_json 'len({c["id"] for c in doc["checks"]}) == len(doc["checks"])'

# Refused, with what was found and nothing of the image unescaped.
make_image evil.qcow2 1M
qemu-img rebase -q -u -f qcow2 -F raw -b $'/etc/\e[31mpasswd' evil.qcow2
run inspect -f qcow2 evil.qcow2
expect_exit 1
expect_line 'refused: evil.qcow2'
expect_line '  may not be imported'
expect_line 'FAIL reference-backing-file'
expect_line '  found    "/etc/\x1b[31mpasswd"'
expect_line '  expected no backing file'
if grep -q $'\e' "$test_dir/stdout"; then
    fail 'a control byte of the image is in the output'
fi
run inspect -f raw good.qcow2
expect_exit 1
expect_line 'FAIL format-match'
expect_line '    imgchain inspect -f qcow2 good.qcow2'

# Usage.
refuses 2 'the format "ext4" is not known' inspect -f ext4 good.qcow2
refuses 2 'the format "ext4" is not known' inspect --allow-format ext4 \
    good.qcow2
refuses 2 "--policy: 'any' is none of self-contained, chain" inspect \
    --policy any good.qcow2
refuses 2 "--max-ratio: '0' is no ratio: expected 1 or more" inspect \
    --max-ratio 0 good.qcow2
refuses 2 'nope: cannot open: No such file or directory' inspect nope
refuses 2 "--allow-probe makes no sense for a stranger's image" inspect \
    --allow-probe good.qcow2
refuses 2 'a report would replace the image that is judged' inspect \
    --report junit=good.qcow2 good.qcow2
run inspect --profile qemu-1 good.qcow2
expect_exit 2
expect_message "'qemu-1' is none of qemu-2.12, qemu-3,"
for profile in qemu-6 qemu-7 qemu-8 qemu-9 qemu-10 libvirt-9 oslo \
    go-qcow2reader; do
    expect_message "$profile"
done

# Whatever is no file is refused, at once.
mkfifo fifo
for path in fifo . /dev/null; do
    run inspect $path
    expect_exit 1
    expect_line 'FAIL file-kind'
done
run inspect - # of /dev/null
expect_exit 1
expect_line '  is a character device, expected a regular file or a block device'

# A stream tells what its ends hold; a file on standard input is a file.
"$imgchain" inspect -f qcow2 - <good.qcow2 >"$test_dir/stdout"
expect_line 'accepted: standard input'
cat good.qcow2 | "$imgchain" inspect -f qcow2 --output json - \
    >"$test_dir/stdout"
expect_json 'doc["verdict"] == "accepted" and "identity" not in doc'
make_image far.qcow2 64G
fill far.qcow2 7 20G 64k
fill far.qcow2 7 1G 16M
fill far.qcow2 7 40G 64k
cat far.qcow2 | "$imgchain" inspect -f qcow2 --output json - \
    >"$test_dir/stdout"
expect_json '[("first 8 MiB" in c["message"]) for c in doc["checks"]
              if (c["id"], c["result"]) == ("tables-valid", "skip")] == [True]'
code=0
cat evil.qcow2 | "$imgchain" inspect -f qcow2 - >/dev/null || code=$?
[ "$code" -eq 1 ] || fail "a stream with a backing name: exit $code"
code=0
cat good.qcow2 | "$imgchain" inspect -f qcow2 --max-actual-size 64k - \
    >"$test_dir/stdout" || code=$?
[ "$code" -eq 1 ] || fail "a stream that is too long: exit $code"
expect_line '  the stream is longer than the 65536 bytes that are allowed'

# An inherited descriptor; a writer makes every verdict void.
exec 7<good.qcow2
run inspect -f qcow2 --fd 7
expect_exit 0
exec 7<&-
hold good.qcow2 qcow2
run inspect -f qcow2 good.qcow2
expect_exit 1
expect_line 'FAIL file-unused'
run inspect -f qcow2 -U good.qcow2
expect_exit 0
expect_line 'warning file-unused'
let_go

# Chains: inside of the folders, formats recorded, plain paths.
mkdir in out
make_image in/base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 in/top.qcow2
run inspect -f qcow2 in/top.qcow2
expect_exit 1
run inspect -f qcow2 --policy chain in/top.qcow2 --output json
expect_exit 0
expect_json 'doc["policy"] == "chain"'
expect_json '["the chain is whole, 2 layers"] == [c["message"]
             for c in doc["checks"] if c["id"] == "chain-whole"]'
run inspect -f qcow2 --policy chain --root in --root out in/top.qcow2
expect_exit 0
make_image out/base.qcow2 1M
qemu-img create -q -f qcow2 -b ../out/base.qcow2 -F qcow2 in/leaves.qcow2
run inspect -f qcow2 --policy chain in/leaves.qcow2
expect_exit 1
expect_line 'FAIL chain-confined'
run inspect -f qcow2 --policy chain --root out in/top.qcow2
expect_exit 1
expect_line 'FAIL file-kind'
ln -s "$PWD/out/base.qcow2" in/link.qcow2
qemu-img create -q -f qcow2 -b link.qcow2 -F qcow2 -u in/linked.qcow2 1M
run inspect -f qcow2 --policy chain in/linked.qcow2
expect_exit 1
expect_line 'FAIL chain-confined'
qemu-img create -q -f qcow2 -b nowhere.qcow2 -F qcow2 -u in/broken.qcow2 1M
run inspect -f qcow2 --policy chain in/broken.qcow2
expect_exit 1
expect_line 'FAIL chain-whole'
# Without a recorded format.
cp in/top.qcow2 in/undeclared.qcow2
python3 - in/undeclared.qcow2 <<'PYTHON'
import sys
data = open(sys.argv[1], "rb").read()
data = data.replace(b"\xe2\x79\x2a\xca", b"\x12\x34\x56\x78", 1)
open(sys.argv[1], "wb").write(data)
PYTHON
run inspect -f qcow2 --policy chain in/undeclared.qcow2
expect_exit 1
expect_line 'FAIL chain-formats'
for name in 'nbd:localhost:1' 'json:{"file":{"driver":"file","filename":"b"}}' \
    'file:base.qcow2'; do
    qemu-img create -q -f qcow2 -b "$name" -F raw -u in/proto.qcow2 1M
    run inspect -f qcow2 --policy chain in/proto.qcow2
    expect_exit 1
    expect_line 'FAIL reference-backing-file'
done
# A layer below is judged like the first: raw, but a guest wrote a header.
cp in/base.qcow2 in/base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw -u in/on-raw.qcow2 1M
run inspect -f qcow2 --policy chain in/on-raw.qcow2 --output json
expect_exit 1
expect_json '[("fail", True)] == [(c["result"], c["image"].endswith("base.raw"))
             for c in doc["checks"] if c["id"] == "format-match"]'
qemu-img rebase -q -u -f qcow2 -b top.qcow2 -F qcow2 in/base.qcow2
run inspect -f qcow2 --policy chain in/top.qcow2
expect_exit 1
expect_line 'FAIL chain-whole'

# Reports.
run inspect -f qcow2 evil.qcow2 --report junit=r.xml --report sarif=r.sarif
expect_exit 1
python3 - <<'PYTHON' || fail 'the reports are not as expected'
import json
import xml.etree.ElementTree as tree
suite = tree.parse("r.xml").getroot().find("testsuite")
assert suite.get("name") == "imgchain inspect self-contained"
failed = [(c.get("classname"), c.get("name"))
          for c in suite.findall("testcase") if c.find("failure") is not None]
assert failed == [("inspect.self-contained", "reference-backing-file")], failed
run = json.load(open("r.sarif", encoding="utf-8"))["runs"][0]
assert [r["ruleId"] for r in run["results"] if r["level"] == "error"] == [
    "reference-backing-file"]
PYTHON
