#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# rebase: safe and -u, names of a whole chain, the undo record, --dry-run.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

mkdir templates
make_image templates/old.qcow2 16M
fill templates/old.qcow2 1 0 4M
cp templates/old.qcow2 templates/same.qcow2
cp templates/old.qcow2 templates/new.qcow2
fill templates/new.qcow2 5 2M 1M
make_overlay vm.qcow2 templates/old.qcow2
fill vm.qcow2 2 8M 1M
qemu-img convert -O qcow2 vm.qcow2 wanted.qcow2

# name FILE: the backing name that FILE records.
name()
{
    qemu-img info --output json "$1" |
        python3 -c 'import json, sys; print(json.load(sys.stdin).get(
"backing-filename"))'
}

# The plan first: nothing is written.
remember
run rebase --dry-run -f qcow2 -b templates/new.qcow2 -F qcow2 --output json \
    vm.qcow2
expect_exit 0
expect_no_stderr
expect_json '(doc["operation"], doc["filename"], doc["dry-run"]) == (
              "rebase", "vm.qcow2", True)'
expect_json '(doc["backing-filename"], doc["backing-filename-format"]) == (
              "templates/new.qcow2", "qcow2")'
expect_json 'doc["header-only"] is False and doc["written-len"] >= 1 << 20'
expect_json 'doc["read-len"] > 0'
expect_json 'set(doc["proof"]) == {"same-file", "both-zero",
                                   "shared-extents", "read"}'
run rebase --dry-run -f qcow2 -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 0
expect_line 'would rebase        vm.qcow2'
expect_untouched

# Safe: the guest sees the same on another backing file.
run rebase -f qcow2 -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 0
expect_no_stderr
expect_line 'rebased             vm.qcow2'
expect_line 'backing file        templates/new.qcow2'
expect_line 'backing format      qcow2'
[ "$(name vm.qcow2)" = templates/new.qcow2 ] || fail 'not recorded'
expect_sound vm.qcow2
expect_equal vm.qcow2 wanted.qcow2

# The way back, from the record that was kept.
record=$(sed -n 's/^undo record  *//p' "$test_dir/stdout")
[ -f "$record" ] || fail 'no undo record'
run rebase -f qcow2 --undo "$record" --dry-run vm.qcow2
expect_exit 0
[ "$(name vm.qcow2)" = templates/new.qcow2 ] || fail 'not a dry run'
run rebase -f qcow2 --undo "$record" vm.qcow2
expect_exit 0
expect_line 'restored            vm.qcow2'
[ "$(name vm.qcow2)" = templates/old.qcow2 ] || fail 'not restored'
expect_sound vm.qcow2
expect_equal vm.qcow2 wanted.qcow2
rm -f "$record"

# Without -f the file is probed, which is told.
run rebase --no-undo --verify --output json -b templates/same.qcow2 -F qcow2 \
    vm.qcow2
expect_exit 0
expect_stderr <<<'imgchain: vm.qcow2: no format was said (-f); probed as qcow2'
expect_json '"undo-filename" not in doc'
expect_equal vm.qcow2 wanted.qcow2
run rebase -q --no-undo -b templates/old.qcow2 -F qcow2 vm.qcow2
expect_exit 0
expect_no_stdout
expect_no_stderr

# -u: only the header; nonsense needs --force.
run rebase -f qcow2 -u --no-undo -b templates/same.qcow2 -F qcow2 vm.qcow2
expect_exit 0
expect_line 'written             nothing but the header'
[ "$(name vm.qcow2)" = templates/same.qcow2 ] || fail 'not recorded'
run rebase -f qcow2 -u --no-undo -b vm.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_message 'vm.qcow2'
[ "$(name vm.qcow2)" = templates/same.qcow2 ] || fail 'its own backing file'

# Names of a whole chain; data is not touched.
make_overlay top.qcow2 vm.qcow2
run rebase -f qcow2 --absolute --dry-run top.qcow2
expect_exit 0
expect_line 'would rename in     top.qcow2'
[ "$(name top.qcow2)" = vm.qcow2 ] || fail 'not a dry run'
run rebase -f qcow2 --absolute --output json top.qcow2
expect_exit 0
expect_json '[c["to"] for c in doc["changes"]] == [
              "'"$PWD"'/vm.qcow2", "'"$PWD"'/templates/same.qcow2"]'
expect_json 'set(doc["changes"][0]) == {"filename", "from", "to"}'
[ "$(name top.qcow2)" = "$PWD/vm.qcow2" ] || fail 'not absolute'
[ "$(name vm.qcow2)" = "$PWD/templates/same.qcow2" ] || fail 'not all layers'
run rebase -f qcow2 --relative top.qcow2
expect_exit 0
expect_line 'renamed in          top.qcow2'
expect_line '  to                vm.qcow2'
expect_line '  to                templates/same.qcow2'
[ "$(name vm.qcow2)" = templates/same.qcow2 ] || fail 'not relative'
run rebase -f qcow2 --relative top.qcow2
expect_exit 0
expect_stdout <<<'unchanged           top.qcow2'
expect_equal top.qcow2 wanted.qcow2
run rebase -f qcow2 --no-undo --absolute -b templates/old.qcow2 -F qcow2 \
    vm.qcow2
expect_exit 0
[ "$(name vm.qcow2)" = "$PWD/templates/old.qcow2" ] || fail 'not absolute'

# To stand alone. qemu-img's cache modes are taken.
for cache in none writeback writethrough directsync unsafe; do
    cp vm.qcow2 alone.qcow2
    run rebase -p -f qcow2 --no-undo -t "$cache" -T "$cache" -b '' alone.qcow2
    expect_exit 0
    expect_line 'backing file        none'
    tr '\r' '\n' <"$test_dir/stderr" | grep -qxF '    (100.00/100%)' ||
        fail 'no progress of 100%'
    [ "$(name alone.qcow2)" = None ] || fail 'still has a backing file'
    expect_sound alone.qcow2
    expect_equal alone.qcow2 wanted.qcow2
done

# Refused, and nothing is changed.
mkdir vm.qcow2.imgchain-undo
remember
refuses 1 'vm.qcow2.imgchain-undo: is a directory, expected a regular file' \
    rebase -f qcow2 -u -b templates/same.qcow2 -F qcow2 vm.qcow2
refuses 2 'rebase: found 0 operands, expected FILE; see imgchain rebase '\
'--help' rebase -b ''
refuses 2 'option --backing (-b) is missing: the new backing file, or "" for '\
'none' rebase vm.qcow2
refuses 2 'option --backing (-b) is missing: the new backing file, or "" for '\
'none' rebase -u vm.qcow2
refuses 2 '--force goes with --backing-unsafe (-u)' \
    rebase --force -b '' vm.qcow2
refuses 2 'no backing file (-b "") has neither format nor path' \
    rebase -b '' -F raw vm.qcow2
refuses 2 '--undo goes without options that say what is new' \
    rebase --undo x -b '' vm.qcow2
truncate -s 1M plain.raw
refuses 1 'plain.raw: probed as raw, and a file that is written in place is '\
'only taken for qcow2 unasked: its format must be said (-f)' \
    rebase -b '' plain.raw
rm plain.raw
run rebase -f qcow2 -b templates/nowhere.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_message 'templates/nowhere.qcow2'
run rebase -f raw -b templates/old.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_message 'raw'
run rebase -f qcow2 --undo nowhere vm.qcow2
expect_exit 1
expect_message 'nowhere'
hold vm.qcow2
run rebase -f qcow2 -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_in_use vm.qcow2
run rebase -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_in_use vm.qcow2
# What does not help the real run is not offered for the dry one.
run rebase -f qcow2 --dry-run -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_in_use vm.qcow2
run rebase --dry-run -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_in_use vm.qcow2
let_go
hold templates/new.qcow2
run rebase -f qcow2 --dry-run -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_message "templates/new.qcow2: is in use by process $holder (qemu-io)"
expect_message '; use -U to read it all the same'
run rebase -f qcow2 -b templates/new.qcow2 -F qcow2 vm.qcow2
expect_exit 1
expect_message "templates/new.qcow2: is in use by process $holder (qemu-io)"
let_go
expect_untouched

# SIGINT leaves the old backing file and the same contents.
dd if=/dev/urandom of=big.raw bs=1M count=128 status=none
make_overlay fresh.qcow2 big.raw raw
python3 - "$imgchain" <<'PYTHON' || fail 'SIGINT is not handled'
import re
import shutil
import signal
import subprocess
import sys
import time


def handles_sigint(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        caught = re.search(r"SigCgt:\s*([0-9a-f]+)", status.read()).group(1)
    return int(caught, 16) >> (signal.SIGINT - 1) & 1


for n in range(40):
    shutil.copyfile("fresh.qcow2", "big.qcow2")
    work = subprocess.Popen(
        [sys.argv[1], "rebase", "-f", "qcow2", "--no-undo", "--engine", "sync",
         "-b", "", "big.qcow2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while work.poll() is None and not handles_sigint(work.pid):
        time.sleep(0.001)
    time.sleep(n % 10 * 0.01)
    work.send_signal(signal.SIGINT)
    out, err = work.communicate()
    if work.returncode == 0:
        continue
    assert (work.returncode, out) == (1, b""), (work.returncode, out, err)
    assert re.fullmatch(rb"imgchain: big.qcow2: cancelled; its backing file is "
                        rb"the old one, and the guest sees what it saw( \(\d+ "
                        rb"bytes were copied into it\))?\n", err), err
    break
else:
    sys.exit("never met at work")
PYTHON
[ "$(name big.qcow2)" = big.raw ] || fail 'the backing file was changed'
expect_sound big.qcow2
expect_equal big.qcow2 big.raw raw
