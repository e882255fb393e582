#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Which files are opened, as the kernel sees it: each layer once, nothing but
# the chain's own files, and only the operand where nothing else is asked for.
set -euo pipefail
imgchain=${IMGCHAIN:-imgchain}
for program in qemu-img strace; do
    command -v "$program" >/dev/null || {
        echo "skipped: no $program"
        exit 77
    }
done
# LeakSanitizer cannot work under strace.
export ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0"

dir=$(mktemp -d "${TMPDIR:-/tmp}/imgchain-opens.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir sub
qemu-img create -q -f raw base.img 1M
qemu-img create -q -f qcow2 -b ../base.img -F raw sub/mid.qcow2
qemu-img create -q -f qcow2 -o "data_file=$dir/top.data" \
    -b "$dir/sub/mid.qcow2" -F qcow2 top.qcow2
cp top.qcow2 twin.qcow2
qemu-img create -q -f qcow2 -b "$dir/top.qcow2" -F qcow2 new.qcow2
failed=0

# What a program may open besides the images.
harmless='^(/lib|/lib64|/usr/lib|/etc/ld\.so\.|/proc(/|$)|/sys/|/dev/null$)'
harmless+='|^/usr/share/(locale|zoneinfo)|^/etc/(localtime|nsswitch|passwd)'

# opened WANTED-EXIT ARGS...: names of images opened by a command, sorted,
# with their counts, relative to $dir.
opened()
{
    local wanted=$1 status=0
    shift
    strace -f -qq -y -s 4096 -e trace=open,openat,openat2 -e signal=none \
        -o trace "$imgchain" "$@" >out 2>err || status=$?
    if [ "$status" -ne "$wanted" ]; then
        echo "imgchain $*: exit $status, expected $wanted: $(cat err)" >&2
        return 1
    fi
    # O_PATH only names a file, to see what it is; nothing is read by it. A
    # file without a name is made for output that may become long.
    grep -E '= [0-9]+' trace | grep -vE 'O_PATH|O_TMPFILE|\(-?[0-9]+<(/proc|/sys)' |
        sed -nE 's/^[^"]*"([^"]*)".*/\1/p' |
        grep -vE "$harmless" | sed "s@^$dir/@@; s@^\./@@; s@^sub/\.\./@@" |
        sort | uniq -c | awk '{ print $1, $2 }'
}

# expect WANTED-EXIT ARGS... <<< LINES
expect()
{
    local wanted found
    wanted=$(cat)
    found=$(opened "$@") || failed=1
    if [ "$found" != "$wanted" ]; then
        shift
        printf 'imgchain %s opened:\n%s\nexpected:\n%s\n' "$*" "$found" \
            "$wanted"
        failed=1
    fi
}

whole_chain='1 base.img
1 sub/mid.qcow2
1 top.data
1 top.qcow2'
expect 0 info top.qcow2 <<<'1 top.qcow2'
expect 0 info --output json top.qcow2 <<<'1 top.qcow2'
# Clusters in a data file are held against its length.
expect 0 check top.qcow2 <<<'1 top.data
1 top.qcow2'
expect 0 info --backing-chain top.qcow2 <<<"$whole_chain"
expect 0 map --output json top.qcow2 <<<"$whole_chain"
# Two chains: what both have is opened for each.
expect 0 compare top.qcow2 twin.qcow2 <<<'2 base.img
2 sub/mid.qcow2
2 top.data
1 top.qcow2
1 twin.qcow2'
expect 0 validate snapshot --source top.qcow2 --dest new.qcow2 \
    --dest-format qcow2 <<<'2 base.img
1 new.qcow2
2 sub/mid.qcow2
2 top.data
2 top.qcow2'

# A stranger's image: the file alone, whatever it names; or the chain.
expect 1 inspect -f qcow2 top.qcow2 <<<'1 top.qcow2'
expect 0 inspect -f qcow2 --policy chain --root "$dir" top.qcow2 \
    <<<"$whole_chain"
qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 1M
expect 1 inspect -f vmdk flat.vmdk <<<'1 flat.vmdk'
expect 1 inspect -f vmdk --policy chain flat.vmdk <<<'1 flat.vmdk'

# A name in a header is not followed where only the header is asked for, nor
# out of the folders that are allowed.
echo secret >secret
qemu-img rebase -u -b "$dir/secret" -F raw top.qcow2
expect 0 info top.qcow2 <<<'1 top.qcow2'
expect 1 inspect -f qcow2 top.qcow2 <<<'1 top.qcow2'
expect 1 inspect -f qcow2 --policy chain --root "$dir/sub" \
    sub/mid.qcow2 <<<'1 mid.qcow2'
expect 1 map --root "$dir/sub" sub/mid.qcow2 <<<'1 mid.qcow2'
grep -q 'lies outside the allowed folders' err || {
    echo "wrong message: $(cat err)"
    failed=1
}
exit $failed
