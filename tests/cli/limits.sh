#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# --max-time and --max-address-space, and limits of the caller (ulimit):
# what reaches one ends with a message and the command's exit code.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io prlimit python3
make_image a.qcow2 64M
fill a.qcow2 1 0 4M
qemu-img convert -O raw a.qcow2 a.raw

# Values.
refuses 2 "--max-time: '0' is no time: at least 1" info --max-time 0 a.qcow2
refuses 2 "--max-time: 'x' is no number" info --max-time x a.qcow2
refuses 1 "--max-time: '2000000000' is over the limit of 1000000000" \
    check --max-time 2000000000 a.qcow2
refuses 2 "--max-address-space: '1M' is too small: at least 16M" \
    map --max-address-space 1M a.qcow2

# Enough of both changes nothing.
for command in info map check 'compare a.raw'; do
    # shellcheck disable=SC2086 # a command and an operand
    run $command a.qcow2
    expect_exit 0
    mv "$test_dir/stdout" "$test_dir/usual"
    options=(--max-time 100)
    [ -n "${IMGCHAIN_SANITIZED-}" ] || options+=(--max-address-space 1G)
    # shellcheck disable=SC2086
    run $command a.qcow2 "${options[@]}"
    expect_exit 0
    expect_no_stderr
    expect_stdout <"$test_dir/usual"
done

# Four million L1 entries that all name one L2 table: 2^35 clusters, which
# map and compare walk for minutes.
python3 - <<'PYTHON'
import struct
CLUSTER = 1 << 21
ENTRIES = 1 << 22
L2 = 32 << 20
with open("endless.qcow2", "wb") as file:
    size = ENTRIES * (CLUSTER // 8) * CLUSTER
    size = min(size, (1 << 63) - 512)
    entries = -(-size // ((CLUSTER // 8) * CLUSTER))
    file.write(struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 21, size, 0,
                           entries, 2 * CLUSTER, CLUSTER, 1, 0, 0))
    file.write(struct.pack(">QQQII", 0, 0, 0, 4, 104))
    file.seek(2 * CLUSTER)
    l2 = 2 * CLUSTER + entries * 8 + CLUSTER & -CLUSTER
    file.write(struct.pack(">Q", l2) * entries)
    file.seek(l2)
    # Zeros and holes in turn, so that no two neighbours are one.
    file.write(struct.pack(">QQ", 1, 0) * (CLUSTER // 16))
    file.truncate(l2 + 2 * CLUSTER)
PYTHON
# timed EXIT TEXT ARGS...: ends in time, with this line.
timed()
{
    local code=$1 text=$2 begin=$SECONDS
    shift 2
    run "$@" --max-time 1
    expect_exit "$code"
    expect_stderr <<<"imgchain: $text"
    [ $((SECONDS - begin)) -le 20 ] || fail 'was not ended in time'
}
# One that cannot be cancelled, and one that can.
timed 1 'stopped: not done after 1 s (--max-time)' map --output json \
    endless.qcow2
expect_no_stdout
cp --sparse=always endless.qcow2 endless2.qcow2
timed 2 'cancelled: not done after 1 s (--max-time)' compare endless.qcow2 \
    endless2.qcow2
expect_no_stdout

# A report that was begun is not left behind, however the command ends.
no_report_left()
{
    local tries=0
    while find reports -type f | grep -q .; do
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || fail "left behind: $(find reports -type f)"
        sleep 0.02
    done
}
mkdir reports
judge=(validate copy --source endless.qcow2 --dest endless2.qcow2
    --dest-format qcow2 --target-is-zero --stamp reports/stamp
    --report "junit=reports/a.xml")
run "${judge[@]}" --max-time 1
expect_exit 2
# Which of both: by whether it was in something that can be cancelled.
expect_message ': not done after 1 s (--max-time)'
no_report_left
"$imgchain" "${judge[@]}" >/dev/null 2>&1 &
judging=$!
tries=0
# has_clerk PID: the second process is there, which removes what is left.
has_clerk()
{
    local stat
    for stat in /proc/[0-9]*/stat; do
        [ "$(sed 's/.*) . //; s/ .*//' "$stat" 2>/dev/null)" != "$1" ] ||
            return 0
    done
    return 1
}
until has_clerk "$judging"; do
    tries=$((tries + 1))
    [ "$tries" -lt 500 ] || fail 'no report is begun'
    sleep 0.02
done
find reports -name 'stamp.*' | grep -q . || fail 'no report is begun'
kill -KILL "$judging"
wait "$judging" 2>/dev/null || true
no_report_left

# The same from outside.
limited()
{
    last_command="$*"
    last_exit=0
    timeout 100 "$@" >"$test_dir/stdout" 2>"$test_dir/stderr" || last_exit=$?
}
limited prlimit --cpu=2 "$imgchain" compare endless.qcow2 endless2.qcow2
expect_exit 2
expect_stderr <<<'imgchain: stopped: the process has used all the processor time it may (ulimit -t)'
# A file that may not become so long: no signal.
limited prlimit --fsize=1000000 "$imgchain" copy -f raw -O raw a.raw b.raw
expect_exit 1
expect_message 'File too large'
[ ! -e b.raw ] || fail 'a part of a copy has got its name'

if [ -z "${IMGCHAIN_SANITIZED-}" ]; then
    # Memory: the limit is named.
    refuses 1 'endless.qcow2: out of memory; the limit is 16777216 bytes (--max-address-space)' \
        map --max-address-space 16M endless.qcow2
fi
