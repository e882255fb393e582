#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# stdout: JSON whole or not at all, write errors reported, nothing with -q, no
# colours off a terminal.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

make_image a.qcow2 64M
fill a.qcow2 1 0 128k
make_overlay broken.qcow2 a.qcow2

# refused_write EXIT TEXT ARGS...: with standard output going to a full disk.
refused_write()
{
    local code=$1 text=$2 status=0
    shift 2
    "$imgchain" "$@" >/dev/full 2>"$test_dir/stderr" || status=$?
    [ "$status" -eq "$code" ] || fail "$*: exit $status, expected $code"
    expect_stderr <<<"imgchain: $text"
}

full='standard output: cannot write: No space left on device'
for form in human json; do
    refused_write 1 "$full" info --output $form a.qcow2
    refused_write 1 "$full" map --output $form a.qcow2
    refused_write 1 "$full" tree --output $form a.qcow2
    refused_write 1 "$full" check --output $form a.qcow2
    refused_write 2 "$full" compare --output $form a.qcow2 a.qcow2
done
refused_write 1 "$full" --help
refused_write 1 "$full" --version

# A reader that went away is an error with a message, not a signal.
python3 - "$imgchain" <<'PYTHON' || fail 'a closed pipe is not reported'
import os, subprocess, sys
reader, writer = os.pipe()
os.close(reader)
done = subprocess.run([sys.argv[1], "info", "a.qcow2"], stdout=writer,
                      stderr=subprocess.PIPE, check=False)
text = b"imgchain: standard output: cannot write: Broken pipe\n"
assert (done.returncode, done.stderr) == (1, text), done
PYTHON

# Closed descriptors are not taken over by images.
status=0
"$imgchain" info a.qcow2 >&- 2>"$test_dir/stderr" <&- || status=$?
[ "$status" -eq 1 ] || fail "closed stdout: exit $status, expected 1"
expect_stderr <<<'imgchain: standard output: cannot write: Bad file descriptor'
status=0
"$imgchain" info nope 2>&- || status=$?
[ "$status" -eq 1 ] || fail "closed stderr: exit $status, expected 1"

# JSON that cannot be completed does not begin: the second table is broken.
make_image late.qcow2 2G -o cluster_size=64k
fill late.qcow2 1 0 64k
fill late.qcow2 1 1G 64k
l1=$(od -An -tx8 -j40 -N8 --endian=big late.qcow2 | tr -d ' ')
poke late.qcow2 $((16#$l1 + 16)) 8000000000000200
run map --output json late.qcow2
expect_exit 1
expect_no_stdout
grep -q '^imgchain: late.qcow2: ' "$test_dir/stderr" || fail 'no message'
# People are shown what could be read.
run map late.qcow2
expect_exit 1
[ "$(wc -l <"$test_dir/stdout")" -le 2 ] || fail 'more than the first extent'

# Past 16 MiB a document waits in a file; it is the same document. (Tables of
# zeros and holes by turns, which qemu-io would need a minute for.)
make_image wide.qcow2 1G -o cluster_size=512
python3 - <<'PYTHON'
import struct
TABLES = 3125
with open("wide.qcow2", "r+b") as file:
    file.seek(40)
    l1, = struct.unpack(">Q", file.read(8))
    end = file.seek(0, 2) + 511 & ~511
    file.seek(l1)
    file.write(b"".join(struct.pack(">Q", 1 << 63 | end + i * 512)
                        for i in range(TABLES)))
    file.seek(end)
    file.write(struct.pack(">QQ", 1, 0) * 32 * TABLES)
PYTHON
TMPDIR=$test_dir run map --output json wide.qcow2
expect_exit 0
[ "$(stat -c %s "$test_dir/stdout")" -gt $((16 << 20)) ] ||
    fail 'the document is not longer than 16 MiB'
expect_json '(len(doc) == 200000 and
    all(e["present"] == (i % 2 == 0) for i, e in enumerate(doc)))'

# -q
for command in info map check tree; do
    run "$command" -q a.qcow2
    expect_exit 0
    expect_no_stdout
    expect_no_stderr
done
run compare -q a.qcow2 a.qcow2
expect_exit 0
expect_no_stdout
run info -q nope
expect_exit 1
expect_stderr <<<'imgchain: nope: cannot open: No such file or directory'

# -v: every layer that was opened, on stderr.
tells_layers()
{
    run "$@"
    expect_exit 0
    # What the sandbox lacks here is another matter.
    sed -i '/^imgchain: the sandbox has no /d' "$test_dir/stderr"
}
tells_layers map -v broken.qcow2
expect_stderr <<'TEXT'
imgchain: broken.qcow2: layer 0, qcow2 (probed)
imgchain: a.qcow2: layer 1, qcow2
TEXT
tells_layers info -v --output json -f qcow2 broken.qcow2
expect_stderr <<<'imgchain: broken.qcow2: layer 0, qcow2'
expect_json 'doc["format"] == "qcow2"'

# No escape sequences in a pipe; on a terminal only without NO_COLOR.
TERM=xterm run check a.qcow2
if grep -q $'\e' "$test_dir/stdout"; then
    fail 'colours in a pipe'
fi
if command -v script >/dev/null; then
    TERM=xterm script -qec "$imgchain info a.qcow2" /dev/null \
        >"$test_dir/stdout" </dev/null
    grep -q $'\e\[' "$test_dir/stdout" || fail 'no colours on a terminal'
    NO_COLOR=1 TERM=xterm script -qec "$imgchain info a.qcow2" /dev/null \
        >"$test_dir/stdout" </dev/null
    if grep -q $'\e\[' "$test_dir/stdout"; then
        fail 'colours in spite of NO_COLOR'
    fi
fi

# Progress: qemu-img's text on stderr, or a JSON object a line.
run compare -p a.qcow2 a.qcow2
expect_exit 0
tr '\r' '\n' <"$test_dir/stderr" | grep -qxF '    (100.00/100%)' ||
    fail 'no progress of 100%'
run compare --progress=json a.qcow2 a.qcow2
expect_exit 0
python3 - "$test_dir/stderr" <<'PYTHON' || fail 'bad progress'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert lines and lines[-1]["done"] == lines[-1]["total"] > 0, lines
assert all(set(line) == {"done", "total", "rate", "phase"} for line in lines)
PYTHON
run compare -q -p a.qcow2 a.qcow2
expect_no_stderr

# What was done is done, although nobody can be told.
for form in human json; do
    told="$full; what was to be done is done, only the report is not whole"
    refused_write 1 "$full" create --dry-run --output $form -f qcow2 b.qcow2 1M
    [ ! -e b.qcow2 ] || fail 'a dry run made it'
    refused_write 1 "$told" create --output $form -f qcow2 b.qcow2 1M
    refused_write 1 "$told" resize --output $form -f qcow2 b.qcow2 2M
    refused_write 1 "$told" amend --output $form -f qcow2 \
        -o lazy_refcounts=on b.qcow2
    refused_write 1 "$told" copy --output $form -f qcow2 -O qcow2 a.qcow2 \
        c.qcow2
    refused_write 1 "$told" snapshot --output $form \
        --disk a.qcow2=d.qcow2,format=qcow2
    refused_write 1 "$told" commit --output $form -f qcow2 d.qcow2
    refused_write 1 "$told" rebase --output $form -f qcow2 -b c.qcow2 \
        -F qcow2 d.qcow2
    expect_equal a.qcow2 d.qcow2
    rm b.qcow2 c.qcow2 d.qcow2 d.qcow2.imgchain-undo
done
