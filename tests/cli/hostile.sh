#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Images that ask for more than there is: loops, claims of sizes, tables
# that are named over and over. Each command gives its answer or an error
# within a second of processor time and 64 MiB, four seconds and 72 MiB where
# it has to look at four million wrong entries.
. "$(dirname "$0")/../lib.sh"
requires python3 /usr/bin/time

limit_kib=$((64 * 1024))
limit_centis=100
# Under a sanitizer: only that it ends.
if [ -n "${IMGCHAIN_SANITIZED-}" ]; then
    limit_kib=$((1 << 30))
    limit_centis=3000
fi

python3 - <<'PYTHON'
import os
import struct
import zlib

C = 65536
COPIED = 1 << 63


def header(size, l1, bits=16, backing=b"", extensions=b""):
    cluster = 1 << bits
    if backing:
        extensions += struct.pack(">II", 0xe2792aca, 5) + b"qcow2\0\0\0"
    off = 104 + len(extensions) + 8 if backing else 0
    head = struct.pack(">IIQIIQIIQQIIQQQQII", 0x514649fb, 3, off,
                       len(backing), bits, size, 0, l1, 3 * cluster, cluster,
                       1, 0, 0, 0, 0, 0, 4, 104) + extensions
    head = head.ljust(off or len(head), b"\0") + backing
    return head.ljust(cluster, b"\0")


def make(name, head, *parts, length=0):
    with open(name, "wb") as file:
        file.write(head + bytes(3 * len(head)))
        for off, data in parts:
            file.seek(off)
            file.write(data)
        if length:
            file.truncate(length)


make("loop-a", header(1 << 20, 1, backing=b"loop-b"))
make("loop-b", header(1 << 20, 1, backing=b"loop-a"))
make("self", header(1 << 20, 1, backing=b"self"))
make("huge", header(1 << 62, 1))
make("l1-4g", header(1 << 30, 1 << 29))
make("extensions", header(1 << 20, 1, bits=21,
                          extensions=struct.pack(">II", 77, 0) * 262000))
os.mkdir("deep")
for i in range(10000):
    name = b"d%d" % (i + 1) if i < 9999 else b""
    make(f"deep/d{i}", header(1 << 15, 1, bits=9, backing=name))

# 65,536 L1 entries on one table, and the most there can be, out of order, on
# tables that lie in the holes of a file of 1 TiB.
table = b"".join(struct.pack(">Q", COPIED | 20 * C) for i in range(8192))
make("shared", header(65536 * 8192 * C, 65536),
     (3 * C, struct.pack(">Q", COPIED | 19 * C) * 65536), (19 * C, table),
     (20 * C, b"x" * C))
nr = 1 << 22
l1 = b"".join(struct.pack(">Q", COPIED | (1000 + (i * 2654435761 + 7) % nr * 3)
                          * C) for i in range(nr))
make("absent", header(nr * 8192 * C, nr), (3 * C, l1), length=1 << 40)
nr = 1 << 17
l1 = b"".join(struct.pack(">Q", COPIED | (1000 + (i * 2654435761 + 7) % nr * 99)
                          * C) for i in range(nr))
make("holes", header(nr * 8192 * C, nr), (3 * C, l1), length=1 << 40)

# Half a TiB out of one stored cluster.
big = 2 << 20
deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
stream = deflate.compress(b"\1" * big) + deflate.flush()
entry = 1 << 62 | (len(stream) + 511) // 512 << 49 | 5 * big
make("bomb", header(1 << 39, 1, bits=21),
     (3 * big, struct.pack(">Q", 4 * big)),
     (4 * big, struct.pack(">Q", entry) * (big // 8)), (5 * big, stream))
PYTHON

# bounded CODES ARGS...: exits with one of CODES, in time and memory.
bounded()
{
    local codes=$1 seconds centis kib
    shift
    last_command="imgchain $*"
    last_exit=0
    timeout 60 /usr/bin/time -o "$test_dir/used" -f '%U %S %M' "$imgchain" \
        "$@" >"$test_dir/stdout" 2>"$test_dir/stderr" || last_exit=$?
    [[ " $codes " == *" $last_exit "* ]] ||
        fail "exit $last_exit, expected one of $codes"
    read -r user system kib < <(tail -n 1 "$test_dir/used")
    seconds=$(awk -v u="$user" -v s="$system" 'BEGIN { print (u + s) * 100 }')
    centis=${seconds%.*}
    [ "$centis" -le "$limit_centis" ] ||
        fail "${centis} hundredths of a second, at most $limit_centis"
    [ "$kib" -le "$limit_kib" ] || fail "$kib KiB, at most $limit_kib"
}

for image in loop-a self deep/d0 huge l1-4g extensions; do
    bounded 1 inspect -f qcow2 $image
    bounded 1 inspect -f qcow2 --policy chain $image
    bounded '0 1' info $image
    bounded 1 info --backing-chain $image
    bounded '1 2' check $image
    bounded 1 map $image
    bounded 2 compare $image $image
    bounded '1 2' validate copy --source $image --dest $image
done
grep -q 'the chain is a loop' <<<"$("$imgchain" info --backing-chain loop-a \
    2>&1)" || fail 'the loop is not named'
grep -q 'more than 200 layers' <<<"$("$imgchain" info --backing-chain \
    deep/d0 2>&1)" || fail 'the depth is not named'

for image in shared absent bomb; do
    bounded 0 inspect -f qcow2 $image
    bounded 1 inspect -f qcow2 --max-ratio 1000 $image
    bounded 0 info $image
    bounded 0 info --backing-chain $image
    bounded 0 map --output json -l 1M $image
done
bounded 2 check shared
bounded 2 check holes
# One table that is there, among those that lie in holes, is looked into.
printf '\200\0\0\0\0\0\17\1' |
    dd of=holes bs=1 seek=$((1000 * 65536)) conv=notrunc status=none
bounded 2 check --output json holes
expect_json 'doc["allocated-clusters"] == 1'
bounded '0 2 3' check bomb
# Each of the four million entries is looked at, and wrong in two ways; besides
# the table there is a byte for each of 12 million clusters.
limit_centis=$((limit_centis * 4)) limit_kib=$((limit_kib + 8192)) \
    bounded 2 check absent
# A stream that never ends is left when it is too long.
bounded 1 inspect --max-actual-size 1M - < <(cat /dev/zero 2>/dev/null)
