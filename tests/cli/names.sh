#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Names of files are names, whatever characters they have; on a terminal they
# are one line without control sequences.
. "$(dirname "$0")/../lib.sh"
requires qemu-img python3

make_image plain.qcow2 1M

# same_as_plain NAME OPERAND...: the file NAME is read as any other.
same_as_plain()
{
    local name=$1
    shift
    cp plain.qcow2 ./"$name"
    run info --output json "$@"
    expect_exit 0
    expect_no_stderr
    expect_json 'doc["virtual-size"] == 1048576'
    run map "$@"
    expect_exit 0
    run check "$@"
    expect_exit 0
    rm -- ./"$name"
}

same_as_plain -f -- -f
same_as_plain -f ./-f
same_as_plain --help -- --help
same_as_plain nbd:x nbd:x
same_as_plain nbd:x:1 ./nbd:x:1
same_as_plain file:y file:y
same_as_plain 'json:{' './json:{'
same_as_plain 'json:x' 'json:x'
same_as_plain $'new\nline' $'new\nline'
same_as_plain $'bell\a\e[2J' $'bell\a\e[2J'
same_as_plain $'latin\xe9' $'latin\xe9'
same_as_plain 'a b"c\d%s' 'a b"c\d%s'

# Operands that are more than paths.
run info 'nbd://host/export'
expect_exit 1
expect_no_stdout
grep -q '^imgchain: .*nbd' "$test_dir/stderr" || fail 'nbd:// not named'
[ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'more than one line'
run info --output json \
    'json:{"driver":"qcow2","file":{"driver":"file","filename":"plain.qcow2"}}'
expect_exit 0
expect_json 'doc["filename"] == "plain.qcow2" and doc["format"] == "qcow2"'

# --image-opts, as qemu-img reads it.
cp plain.qcow2 'a,b=c.qcow2'
run info --output json --image-opts driver=qcow2,file.filename=a,,b=c.qcow2
expect_exit 0
expect_json 'doc["filename"] == "a,b=c.qcow2" and not doc["probed"]'
slice=driver=raw,offset=1k,size=0x400,file.driver=file,file.filename=plain.qcow2
run map --output json --image-opts $slice
expect_exit 0
expect_json '[e["length"] for e in doc] == [1024] and doc[0]["offset"] == 1024'
run check --image-opts driver=qcow2,file.filename=plain.qcow2
expect_exit 0
run compare --image-opts driver=qcow2,file.filename=plain.qcow2 \
    driver=qcow2,file.filename=a,,b=c.qcow2
expect_exit 0
refuses 1 '--image-opts: expected KEY=VALUE,...' info --image-opts plain.qcow2
refuses 2 '--image-opts goes with neither --format nor --fd' \
    info --image-opts -f qcow2 driver=qcow2,file.filename=plain.qcow2
# What is changed in place, too; the driver is the format that is said.
opts=driver=qcow2,file.filename=a,,b=c.qcow2
cp plain.qcow2 under.qcow2
qemu-img create -q -f qcow2 -b under.qcow2 -F qcow2 over.qcow2
for command in 'resize -q' 'amend -q --force -o lazy_refcounts=on' \
    'rebase -q --no-undo -u -b under.qcow2 -F qcow2' 'commit -q'; do
    size=
    [ "$command" != 'resize -q' ] || size=+1M
    # shellcheck disable=SC2086 # several words
    run $command --image-opts "$opts" $size
    expect_exit 0
    expect_no_stderr
done
run info --output json 'a,b=c.qcow2'
expect_json '[doc["backing-filename"], doc["virtual-size"] >> 20,
              doc["format-specific"]["data"]["lazy-refcounts"]] == [
              "under.qcow2", 2, True]'
run resize -q 'json:{"driver":"qcow2","file.filename":"over.qcow2"}' +1M
expect_exit 0
expect_no_stderr
refuses 1 'json:{"driver":"qcow2","file.filename":"over.qcow2"}: is named as '\
'qcow2, and -f says raw' \
    resize -f raw 'json:{"driver":"qcow2","file.filename":"over.qcow2"}' +1M
refuses 1 "json:{\"driver\":\"raw\",\"size\":512,\"file.filename\":\"x\"}: \
names more than a file: found options, expected the path of what is to be \
written" commit --image-opts driver=raw,size=512,file.filename=x
rm 'a,b=c.qcow2' over.qcow2 under.qcow2

# Messages and sheets are escaped.
run info $'no\nsuch\e[31mfile'
expect_exit 1
expect_stderr <<'E2'
imgchain: no\x0asuch\x1b[31mfile: cannot open: No such file or directory
E2
cp plain.qcow2 $'esc\e]0;x\a.qcow2'
for command in info map tree; do
    run "$command" $'esc\e]0;x\a.qcow2'
    expect_exit 0
    if LC_ALL=C grep -q $'[\x01-\x08\x0e-\x1f]' "$test_dir/stdout"; then
        fail "$command prints control characters"
    fi
done
run info $'esc\e]0;x\a.qcow2'
expect_line 'image               esc\x1b]0;x\x07.qcow2'
# JSON keeps the name.
run info --output json $'esc\e]0;x\a.qcow2'
expect_json 'doc["filename"] == "esc\x1b]0;x\x07.qcow2"'

# A backing name from a hostile header.
make_image base.qcow2 1M
qemu-img create -q -u -f qcow2 -F qcow2 -b $'base\e[2J\n.qcow2' top.qcow2 1M
run info top.qcow2
expect_exit 0
expect_line 'backing file        base\x1b[2J\x0a.qcow2'
run map top.qcow2
expect_exit 1
if LC_ALL=C grep -q $'\e' "$test_dir/stderr"; then
    fail 'escape sequence in a message'
fi
[ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'more than one line'
for form in dot svg; do
    run tree --output "$form" top.qcow2
    expect_exit 0
    if LC_ALL=C grep -q $'\e' "$test_dir/stdout"; then
        fail "escape sequence in $form"
    fi
done

# An inherited descriptor, with and without a name.
run_fd()
{
    last_command="imgchain $*"
    last_exit=0
    "$imgchain" "$@" >"$test_dir/stdout" 2>"$test_dir/stderr" 7<plain.qcow2 ||
        last_exit=$?
}
run_fd info --output json --fd 7
expect_exit 0
expect_json 'doc["virtual-size"] == 1048576'
expect_json 'doc["filename"].endswith("/plain.qcow2")'
run_fd info --output json --fd 7 other-name
expect_exit 0
expect_json 'doc["filename"] == "other-name"'
run_fd check --fd 7
expect_exit 0
run_fd compare --fd 7 plain.qcow2
expect_exit 0
expect_line 'Images are identical.'
run info --fd 77
expect_exit 1
expect_no_stdout

# Not images: each refused, none waited for.
mkfifo fifo
mkdir dir
for name in fifo dir /dev/null; do
    run info "$name"
    expect_exit 1
    expect_no_stdout
    [ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'more than one line'
    grep -q "^imgchain: $name: " "$test_dir/stderr" || fail 'not named'
done
