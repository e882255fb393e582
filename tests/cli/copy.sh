#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# copy: full and shallow, qemu-img convert's options, -n, progress, signals.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image base.qcow2 64M
fill base.qcow2 1 0 8M
make_overlay active.qcow2 base.qcow2
fill active.qcow2 2 4M 8M
fill active.qcow2 0 20M 2M

# Full; raw unless -O says otherwise, as with qemu-img convert.
run copy -f qcow2 -O qcow2 active.qcow2 full.qcow2
expect_exit 0
expect_no_stderr
expect_line 'copied              active.qcow2'
expect_line 'to                  full.qcow2'
expect_line 'format              qcow2, compat 1.1, clusters of 64 KiB'
expect_line 'virtual size        64 MiB (67108864 bytes)'
grep -qE '^time                [0-9.]+ s, [0-9.]+ [KMGT]iB/s of data$' \
    "$test_dir/stdout" || fail 'no speed'
expect_sound full.qcow2
expect_equal full.qcow2 active.qcow2
run copy -q active.qcow2 full.raw
expect_exit 0
expect_no_stdout
expect_no_stderr
expect_equal active.qcow2 full.raw raw
[ "$(stat -c %b full.raw)" -lt 40960 ] || fail 'the raw file has no holes'

# -S 0: allocated throughout.
for format in raw qcow2; do
    run copy -q -f qcow2 -O "$format" -S 0 active.qcow2 whole
    expect_exit 0
    expect_equal active.qcow2 whole "$format"
    [ "$(($(stat -c %b whole) * 512))" -ge "$(stat -c %s full.raw)" ] ||
        fail "the $format file has holes"
done
expect_sound whole
rm whole

# Shallow: the same backing file, spelled for where the copy stands.
mkdir elsewhere
run copy --shallow -f qcow2 --output json active.qcow2 elsewhere/s.qcow2
expect_exit 0
expect_json '(doc["operation"], doc["source"], doc["filename"]) == (
              "shallow-copy", "active.qcow2", "elsewhere/s.qcow2")'
expect_json 'doc["dry-run"] is False and doc["verified"] is False'
expect_json 'doc["virtual-size"] == 67108864 and doc["format"] == "qcow2"'
expect_json 'doc["backing-filename-format"] == "qcow2"'
expect_json 'all(type(doc[k]) is int for k in ("data-len", "zero-len",
              "read-len", "written-len", "shared-len", "needed-len"))'
expect_json 'doc["data-len"] >= 8 << 20'
expect_json 'doc["engine"] in ("io_uring", "sync")'
expect_sound elsewhere/s.qcow2
expect_equal elsewhere/s.qcow2 active.qcow2
run copy --shallow --relative -f qcow2 active.qcow2 elsewhere/r.qcow2
expect_exit 0
expect_line 'backing file        ../base.qcow2'
mkdir in out
qemu-img create -q -f qcow2 in/low.qcow2 1M
qemu-img create -q -f qcow2 -b low.qcow2 -F qcow2 in/top.qcow2
run copy --shallow -f qcow2 --root in --root out in/top.qcow2 out/x.qcow2
expect_exit 1
expect_message 'out/../in/low.qcow2: lies outside the allowed folders, by the'\
' relative name that leads there; --absolute records one that leaves none'
run copy -q --shallow --absolute -f qcow2 --root in --root out in/top.qcow2 \
    out/x.qcow2
expect_exit 0
rm -r in out
run copy --shallow --absolute -f qcow2 active.qcow2 elsewhere/a.qcow2
expect_exit 0
expect_line "backing file        $PWD/base.qcow2"
# -B names another file of the same contents.
cp base.qcow2 elsewhere/same.qcow2
run copy -f qcow2 -B same.qcow2 -F qcow2 active.qcow2 elsewhere/b.qcow2
expect_exit 0
expect_line 'backing file        same.qcow2'
expect_equal elsewhere/b.qcow2 active.qcow2
# In qemu-img's older words, too; -B goes before them.
run copy -q -f qcow2 -O qcow2 -o backing_file=same.qcow2,backing_fmt=qcow2 \
    -o cluster_size=4k active.qcow2 elsewhere/o.qcow2
expect_exit 0
run info --output json elsewhere/o.qcow2
expect_json '[doc["backing-filename"], doc["cluster-size"]] == [
              "same.qcow2", 4096]'
expect_equal elsewhere/o.qcow2 active.qcow2
run copy -f qcow2 -B same.qcow2 -o backing_file=none.qcow2 active.qcow2 \
    elsewhere/o.qcow2
expect_exit 0
expect_line 'backing file        same.qcow2'

# Compressed, with options, verified; options that have no effect are taken.
run copy -f qcow2 -O qcow2 -c --compress-effort fast -W -C -m 2 --verify \
    -o compression_type=zstd active.qcow2 zstd.qcow2
expect_exit 0
grep -qE '^verified            both show the same, by reading \([0-9.]+ s\)$' \
    "$test_dir/stdout" || fail 'not verified'
expect_line 'features            compression zstd'
expect_sound zstd.qcow2
expect_equal zstd.qcow2 active.qcow2
for options in '-S 0' '-S 64k' '--no-reflink' '-T none -t none' \
    '-T writeback -t unsafe' '--engine sync' '--max-memory 8M'; do
    # shellcheck disable=SC2086 # several words
    run copy -q -f qcow2 -O qcow2 $options active.qcow2 option.qcow2
    expect_exit 0
    expect_sound option.qcow2
    expect_equal option.qcow2 active.qcow2
done
run copy -q --image-opts -O qcow2 driver=qcow2,file.filename=active.qcow2 \
    option.qcow2
expect_exit 0
expect_equal option.qcow2 active.qcow2

# An internal snapshot, by name and by id.
cp base.qcow2 snap.qcow2
qemu-img snapshot -c before snap.qcow2
fill snap.qcow2 9 0 1M
for name in before snapshot.name=before snapshot.id=1; do
    run copy -q -f qcow2 -O qcow2 -l "$name" snap.qcow2 option.qcow2
    expect_exit 0
    expect_equal option.qcow2 base.qcow2
done
run copy -q -f qcow2 -l after snap.qcow2 x.raw
expect_exit 1
expect_message 'after'
[ ! -e x.raw ] || fail 'something was made'

# Into what is there already, when it is fit for it.
run create -q --for copy --source active.qcow2 --source-format qcow2 fit.qcow2
run copy -n -f qcow2 -O qcow2 active.qcow2 fit.qcow2
expect_exit 0
expect_sound fit.qcow2
expect_equal fit.qcow2 active.qcow2
run create -q --for copy -f raw --source active.qcow2 --source-format qcow2 \
    fit.raw
run copy -n --target-is-zero -f qcow2 -O raw active.qcow2 fit.raw
expect_exit 0
expect_equal active.qcow2 fit.raw raw
run create -q --for shallow-copy --source active.qcow2 --source-format qcow2 \
    fit.qcow2
run copy -n --shallow -f qcow2 -O qcow2 active.qcow2 fit.qcow2
expect_exit 0
expect_sound fit.qcow2
expect_equal fit.qcow2 active.qcow2
make_image small.qcow2 32M
remember
run copy -n -f qcow2 -O qcow2 active.qcow2 small.qcow2
expect_exit 1
head -n 1 "$test_dir/stdout" | grep -qx 'refused: small.qcow2' ||
    fail 'no verdict'
expect_line 'FAIL size-match'
run copy -n -f qcow2 -O qcow2 --output json active.qcow2 small.qcow2
expect_exit 1
expect_json 'doc["verdict"] == "refused" and doc["operation"] == "copy"'
expect_json '"size-match" in [c["id"] for c in doc["checks"]
                              if c["result"] == "fail"]'
expect_untouched

# --dry-run: the plan.
run copy --dry-run -f qcow2 -O qcow2 --output json active.qcow2 new.qcow2
expect_exit 0
expect_json 'doc["dry-run"] is True and doc["data-len"] > 0'
expect_json 'doc["needed-len"] > doc["data-len"] and doc["space-left"] > 0'
run copy --dry-run -f qcow2 active.qcow2 new.raw
expect_exit 0
expect_line 'would copy          active.qcow2'
run copy --dry-run -n -f qcow2 -O qcow2 active.qcow2 full.qcow2
expect_untouched

# Progress: qemu-img's text, one line for all; JSON with phases.
run copy -p -q -f qcow2 active.qcow2 x.raw
expect_exit 0
expect_no_stderr
run copy -p -f qcow2 active.qcow2 x.raw
expect_exit 0
tr '\r' '\n' <"$test_dir/stderr" >"$test_dir/lines"
grep -vxE '    \([0-9]+\.[0-9]{2}/100%\)|' "$test_dir/lines" &&
    fail 'progress is not as qemu-img has it'
grep -qxF '    (100.00/100%)' "$test_dir/lines" || fail 'no 100%'
[ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'not one line of progress'
run copy --progress=json --verify -f qcow2 active.qcow2 x.raw
expect_exit 0
python3 - "$test_dir/stderr" <<'PYTHON' || fail 'bad progress'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert all(set(line) == {"done", "total", "rate", "phase"} for line in lines)
phases = [line["phase"] for line in lines]
assert "copy" in phases and "verify" in phases, phases
assert phases.index("copy") < phases.index("verify"), phases
for phase in ("copy", "verify"):
    last = [line for line in lines if line["phase"] == phase][-1]
    assert last["done"] == last["total"] > 0, last
PYTHON
rm x.raw

# Usage.
refuses 2 'copy: found 1 operand, expected SOURCE DEST; see imgchain copy '\
'--help' copy active.qcow2
refuses 2 'copy: found 3 operands, expected SOURCE DEST: several sources are '\
'not put together' copy base.qcow2 active.qcow2 x.raw
refuses 2 "--rate-limit: '1M' is refused: rates are not limited" \
    copy -r 1M active.qcow2 x.raw
refuses 2 '--salvage is refused: what cannot be read is never taken for zeros' \
    copy --salvage active.qcow2 x.raw
refuses 2 '--target-is-zero goes with --no-create (-n)' \
    copy --target-is-zero active.qcow2 x.raw
refuses 2 '--skip-broken-bitmaps goes with --bitmaps' \
    copy --skip-broken-bitmaps active.qcow2 x.raw
refuses 2 '--backing-format (-F) goes with --backing (-B)' \
    copy -F qcow2 active.qcow2 x.raw
refuses 2 '--backing-format (-F) goes with --backing (-B)' \
    copy -O qcow2 -o backing_fmt=qcow2 active.qcow2 x.qcow2
refuses 2 '--compress-effort goes with --compress (-c)' \
    copy --compress-effort best active.qcow2 x.raw
refuses 2 "--compress-effort: 'max' is none of fast, default, best" \
    copy --compress-effort max active.qcow2 x.raw
refuses 2 "--sparse-size: '100' is no multiple of 512 bytes" \
    copy -S 100 active.qcow2 x.raw
refuses 2 "--parallel: '0' is no number of threads: at least 1" \
    copy -m 0 active.qcow2 x.raw
refuses 2 "--parallel: '65' is over the limit of 64" \
    copy -m 65 active.qcow2 x.raw
refuses 2 "--source-cache: 'lots' is none of none, directsync, writeback, \
writethrough, unsafe" copy -T lots active.qcow2 x.raw
refuses 2 "--snapshot: 'snapshot.id=1,snapshot.name=a' names both: expected \
id or name" copy -l snapshot.id=1,snapshot.name=a active.qcow2 x.raw

# What cannot be done leaves nothing.
remember
run copy nowhere.qcow2 x.raw
expect_exit 1
expect_message 'imgchain: nowhere.qcow2: cannot open: No such file'
run copy -c active.qcow2 x.raw
expect_exit 1
expect_message 'compress'
run copy -f qcow2 -O vmdk active.qcow2 x.vmdk
expect_exit 1
expect_message 'vmdk'
run copy -f qcow2 -O qcow2 active.qcow2 active.qcow2
expect_exit 1
expect_message 'active.qcow2'
run copy -f qcow2 -O qcow2 active.qcow2 base.qcow2
expect_exit 1
expect_message 'base.qcow2'
run copy -n -f qcow2 active.qcow2 nowhere.raw
[ "$last_exit" -eq 1 ] || fail 'nowhere.raw was written into'
hold active.qcow2
run copy -f qcow2 active.qcow2 x.raw
expect_exit 1
expect_message "active.qcow2: is in use by process $holder (qemu-io)"
run copy -q -U -f qcow2 active.qcow2 shared.raw
expect_exit 0
rm shared.raw
let_go
hold full.qcow2
run copy -f qcow2 -O qcow2 active.qcow2 full.qcow2
expect_exit 1
expect_message "full.qcow2: is in use by process $holder (qemu-io)"
let_go
expect_untouched

# SIGINT, SIGTERM, SIGHUP: nothing of a new file stays; an old one stays as it
# was. nohup goes on.
dd if=/dev/urandom of=big.raw bs=1M count=256 status=none
make_image old.qcow2 1M
remember
python3 - "$imgchain" <<'PYTHON' || fail 'signals are not handled'
import os
import signal
import subprocess
import sys
import time


def stop(number, delay, dest):
    """One signal after a while; was it met at work?"""
    def ignore():
        # Until the command installs its own handlers.
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)

    work = subprocess.Popen(
        [sys.argv[1], "copy", "-f", "raw", "-O", "qcow2", "--no-reflink",
         "--engine", "sync", "big.raw", dest], preexec_fn=ignore,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(delay)
    work.send_signal(number)
    out, err = work.communicate()
    if work.returncode == 0:
        return False
    assert work.returncode == 1, (work.returncode, out, err)
    assert out == b"", out
    assert err.decode() == (
        f"imgchain: {dest}: cancelled; nothing is left of the copy, and what "
        "was there before is as it was\n"), err
    return True


for number in (signal.SIGINT, signal.SIGTERM):
    assert any(stop(number, n % 10 * 0.02, "new.qcow2") or
               os.remove("new.qcow2") for n in range(40)), number
    assert not os.path.exists("new.qcow2")


def hang_up(ignored, delay):
    """The terminal goes away; how did it end?"""
    work = subprocess.Popen(
        [sys.argv[1], "copy", "-f", "raw", "-O", "qcow2", "--no-reflink",
         "--engine", "sync", "big.raw", "new.qcow2"],
        preexec_fn=lambda: signal.signal(
            signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(delay)
    work.send_signal(signal.SIGHUP)
    _, err = work.communicate()
    if work.returncode == 0:
        os.remove("new.qcow2")
    else:
        assert not os.path.exists("new.qcow2")
    if work.returncode == 1:
        assert b"cancelled; nothing is left of the copy" in err, err
    return work.returncode


assert any(hang_up(False, n % 10 * 0.02) == 1 for n in range(40))
assert all(hang_up(True, n * 0.02) == 0 for n in range(5))
old = open("old.qcow2", "rb").read()
for n in range(40):
    if stop(signal.SIGINT, n % 10 * 0.02, "old.qcow2"):
        break
    open("old.qcow2", "wb").write(old)
else:
    sys.exit("never met at work")
PYTHON
expect_untouched
