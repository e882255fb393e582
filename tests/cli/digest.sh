#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# digest: one hash for one content, its forms of output, what is refused.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3 sha256sum

make_image base.qcow2 4M
fill base.qcow2 1 0 1M
make_overlay top.qcow2 base.qcow2
fill top.qcow2 2 256k 128k
qemu-img convert -O raw top.qcow2 flat.raw

# hash_of ARGS...: the hash that digest prints.
hash_of()
{
    run digest "$@"
    expect_exit 0
    expect_no_stderr
    cut -d' ' -f1 "$test_dir/stdout"
}

one=$(hash_of -f qcow2 top.qcow2)
[ "${#one}" -eq 64 ] || fail "found a hash of ${#one} digits, expected 64"
[ "$(hash_of -f raw flat.raw)" = "$one" ] || fail 'raw: another hash'
[ "$(hash_of -f raw -T none flat.raw)" = "$one" ] || fail '-T none: another hash'
[ "$(hash_of --image-opts driver=qcow2,file.filename=top.qcow2)" = "$one" ] ||
    fail '--image-opts: another hash'
[ "$(hash_of -f qcow2 base.qcow2)" != "$one" ] || fail 'the base: the same hash'

# The lines of sha256sum, and its hash.
sha256sum flat.raw >expected
run digest --flat -f raw flat.raw
expect_exit 0
cmp expected "$test_dir/stdout" || fail '--flat is not what sha256sum prints'

# The vector of a block of zeros: SHA-256 over its digest and its length.
truncate -s 64k zeros.raw
expected=$(python3 -c '
import hashlib
inner = hashlib.sha256(bytes(65536)).digest()
print(hashlib.sha256(inner + (65536).to_bytes(8, "little")).hexdigest())')
[ "$(hash_of -f raw zeros.raw)" = "$expected" ] || fail 'a block of zeros'

# More zeros are another content: the length counts.
truncate -s 128k zeros.raw
[ "$(hash_of -f raw zeros.raw)" != "$expected" ] || fail 'two blocks of zeros'

# Nothing at all, and much of nothing.
qemu-img create -q -f qcow2 empty.qcow2 0
hash_of empty.qcow2 >/dev/null
qemu-img create -q -f qcow2 big.qcow2 1T
hash_of big.qcow2 >/dev/null

run digest --output json -f qcow2 top.qcow2
expect_exit 0
expect_json "doc['digest'] == '$one' and doc['filename'] == 'top.qcow2'"
expect_json "doc['algorithm'] == 'sha256' and doc['block-size'] == 65536"
expect_json "doc['format'] == 'qcow2' and doc['virtual-size'] == 4 << 20"
expect_json "(doc['zero-len'], doc['read-len']) == (3 << 20, 1 << 20)"

# An internal snapshot.
qemu-img snapshot -c before base.qcow2
before=$(hash_of -f qcow2 base.qcow2)
fill base.qcow2 7 2M 64k
[ "$(hash_of -f qcow2 -l before base.qcow2)" = "$before" ] ||
    fail 'the snapshot has another hash than the disk had'
[ "$(hash_of -f qcow2 base.qcow2)" != "$before" ] || fail 'nothing changed'

# Quiet, and what cannot be read.
run digest -q -f raw flat.raw
expect_exit 0
expect_no_stdout
refuses 1 'missing.raw: cannot open: No such file or directory' \
    digest -f raw missing.raw
rm base.qcow2
run digest -f qcow2 top.qcow2
expect_exit 1
expect_message 'base.qcow2: cannot open: No such file or directory'
expect_no_stdout
refuses 2 'digest: found 0 operands, expected FILE; see imgchain digest --help' \
    digest
