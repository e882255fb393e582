#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# validate: verdicts, exit codes, the sheet, JSON, reports and stamps. (Each
# rule has its own cases elsewhere.)
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image base.qcow2 64M
fill base.qcow2 1 0 1M
make_overlay active.qcow2 base.qcow2
fill active.qcow2 2 1M 1M
make_overlay "$PWD/new.qcow2" active.qcow2
request=(validate snapshot --source active.qcow2 --dest "$PWD/new.qcow2"
    --dest-format qcow2)

run "${request[@]}"
expect_exit 0
expect_no_stderr
head -n 1 "$test_dir/stdout" | grep -qx "accepted: $PWD/new.qcow2" ||
    fail 'no verdict on the first line'
run "${request[@]}" --output json
expect_exit 0
expect_json 'doc["verdict"] == "accepted" and doc["operation"] == "snapshot"'
expect_json '{"request-explicit", "dest-exists", "backing-resolves",
              "size-match", "content-equal", "stable-source"
              } <= {c["id"] for c in doc["checks"]}'
expect_json 'all(c["result"] in ("pass", "warn", "skip")
                 for c in doc["checks"])'
expect_json 'set(doc["proof"]) == {"same-file", "both-zero",
                                   "shared-extents", "read"}'
expect_json 'sum(doc["proof"].values()) == 67108864'
run "${request[@]}" -q
expect_exit 0
expect_no_stdout

# Refused: the failed check first, its remedy on one line, whatever its width.
make_overlay "$PWD/small.qcow2" active.qcow2
qemu-img resize -q --shrink small.qcow2 32M
refused=(validate snapshot --source active.qcow2 --dest "$PWD/small.qcow2"
    --dest-format qcow2)
make_overlay "$PWD/smaller.qcow2" active.qcow2
qemu-img resize -q --shrink smaller.qcow2 32M
refused_size=(validate snapshot --source active.qcow2
    --dest "$PWD/smaller.qcow2" --dest-format qcow2)
run "${refused[@]}"
expect_exit 1
head -n 1 "$test_dir/stdout" | grep -qx "refused: $PWD/small.qcow2" ||
    fail 'no verdict on the first line'
grep -m 1 -E '^(FAIL|warning|UNPROVEN) ' "$test_dir/stdout" |
    grep -q '^FAIL ' || fail 'a failed check is not the first'
expect_line 'FAIL size-match'
if grep -vE '^    |^  image |^refused: |^  /' "$test_dir/stdout" |
    grep -n '.\{81\}'; then
    fail 'wider than 80 columns'
fi
run "${refused[@]}" --output json
expect_exit 1
expect_json 'doc["verdict"] == "refused"'
expect_json '[c["remedy"] for c in doc["checks"]
              if c["id"] == "size-match"][0].count("\n") == 0'

# The remedy is a command that works.
python3 - "$test_dir/stdout" <<'PYTHON' >remedy
import json, sys
doc = json.load(open(sys.argv[1], encoding="utf-8"))
print([c["remedy"] for c in doc["checks"] if c["id"] == "size-match"][0])
PYTHON
mkdir bin
ln -s "$imgchain" bin/imgchain
PATH=$PWD/bin:$PATH bash -e remedy
run "${refused[@]}"
expect_exit 0

# Other operations.
qemu-img create -q -f qcow2 "$PWD/copy.qcow2" 64M
run validate copy --source active.qcow2 --dest "$PWD/copy.qcow2" \
    --dest-format qcow2 --output json
expect_exit 0
expect_json 'doc["operation"] == "copy"'
make_overlay "$PWD/shallow.qcow2" base.qcow2
run validate copy --shallow --source active.qcow2 \
    --dest "$PWD/shallow.qcow2" --dest-format qcow2 --output json
expect_exit 0
expect_json 'doc["operation"] == "shallow-copy"'
run validate copy --shallow --synchronous-writes --source active.qcow2 \
    --dest "$PWD/shallow.qcow2" --dest-format qcow2
expect_exit 1
expect_line 'FAIL write-mode'
qemu-img create -q -f raw "$PWD/copy.raw" 64M
run validate copy --raw --source active.qcow2 --dest "$PWD/copy.raw"
expect_exit 0
run "${request[@]}" --require absolute
expect_exit 1
expect_line 'FAIL backing-style'
run "${request[@]}" --require relative
expect_exit 0

# An inherited descriptor is judged as it is.
exec 7<>new.qcow2
run "${request[@]}" --fd 7
expect_exit 0
exec 7>&-

# Not judged at all.
run validate snapshot --source nope.qcow2 --dest new.qcow2
expect_exit 2
expect_no_stdout
grep -q '^imgchain: nope.qcow2: ' "$test_dir/stderr" || fail 'not named'

refuses 2 'there is no user "nobody at all"' "${request[@]}" \
    --as 'nobody at all'
refuses 2 'no version of QEMU: found "seven", expected MAJOR.MINOR' \
    "${request[@]}" --qemu-version seven

# Sizes are human and exact.
run "${refused_size[@]}" --output json
expect_json '("32 MiB (33554432 bytes)", "64 MiB (67108864 bytes)") in [
              (c.get("found"), c.get("expected")) for c in doc["checks"]
              if c["id"] == "size-match"]'

# A relative name is asked for again where it is spelled to be: names in the
# file are counted from there, not from where a link leads.
mkdir links
ln -s ../new.qcow2 links/new.qcow2
run validate snapshot --source active.qcow2 --dest links/new.qcow2 \
    --dest-format qcow2 --output json
expect_json '("imgchain validate snapshot --source active.qcow2 --dest "
              + "'"$PWD"'/links/new.qcow2 --dest-format qcow2") in [
              c["remedy"] for c in doc["checks"]
              if c["id"] == "request-explicit"]'

# Reports.
run "${refused[@]}" --require absolute --report junit=report.xml \
    --report sarif=report.sarif --stamp stamp.json
expect_exit 1
python3 - <<'PYTHON' || fail 'the reports are not as expected'
import json
import xml.etree.ElementTree as tree
suite = tree.parse("report.xml").getroot().find("testsuite")
cases = suite.findall("testcase")
failed = [c.get("name") for c in cases if c.find("failure") is not None]
assert failed == ["backing-style"], failed
assert (suite.get("tests"), suite.get("failures")) == (str(len(cases)), "1")
run = json.load(open("report.sarif", encoding="utf-8"))["runs"][0]
errors = [r["ruleId"] for r in run["results"] if r["level"] == "error"]
assert errors == ["backing-style"], errors
assert len(run["tool"]["driver"]["rules"]) == len(run["results"])
assert json.load(open("stamp.json", encoding="utf-8"))
PYTHON
# No image is replaced by a report, nor a device.
refuses 2 'a report or stamp would replace an image that is judged' \
    "${request[@]}" --report junit=new.qcow2
refuses 2 '/dev/null: is no regular file: not replaced' \
    "${request[@]}" --stamp /dev/null
refuses 2 'nowhere/x.xml: cannot create: No such file or directory' \
    "${request[@]}" --report junit=nowhere/x.xml
[ ! -e nowhere ] || fail 'a folder was made'

# A guest runs on the source (qemu-io has it open for writing): --live reads it
# all the same; an overlay that holds anything is refused, though its contents
# would do.
fill new.qcow2 2 1M 64k
hold active.qcow2
run "${request[@]}"
expect_exit 2
run "${request[@]}" --live --output json
expect_exit 1
expect_json '[c["id"] for c in doc["checks"] if c["result"] == "fail"
             ] == ["content-empty"]'
let_go
run "${request[@]}" --output json
expect_exit 0
expect_json '[c["id"] for c in doc["checks"] if c["result"] == "warn"
             ] == ["content-empty"]'
