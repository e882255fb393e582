#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sandbox: a decoder that an image has taken over (tests/helpers/hijack)
# tries to open files, to change them, to connect and to run programs. Each
# attempt fails; with --no-sandbox the same program's attempts work.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3
hijacked=${IMGCHAIN_HIJACKED:?}
forbid=${IMGCHAIN_BUILD:?}/tests/forbid
real=$imgchain

"$forbid" openat2 true 2>"$test_dir/why" ||
    skip "no filter of system calls: $(cat "$test_dir/why")"
if [ -n "${IMGCHAIN_SANITIZED-}" ]; then
    # A sanitizer goes without the filter, and says so where it matters.
    make_image a.qcow2 1M
    refuses 1 '--require-sandbox: there is no filter of system calls: a build with sanitizers goes without a filter of system calls' \
        info --require-sandbox a.qcow2
    run info a.qcow2
    expect_exit 0
    expect_no_stderr
    exit 0
fi

# hijacked_image FILE WHERE: an image that takes over the decoder WHERE.
hijacked_image()
{
    qemu-img convert -c -f raw -O qcow2 plain.raw "$1"
    fill "$1" 7 0 64k
    qemu-img bitmap --add "$1" marks
    printf 'IMGCHAIN-HIJACK:%s\0' "$2" |
        dd of="$1" bs=1 seek=4096 conv=notrunc status=none
}

python3 -c "print('attack' * 100000, end='')" >plain.raw
truncate -s 1M plain.raw
for where in header bitmap l2 inflate; do
    hijacked_image "$where.qcow2" "$where"
done
dd if=/dev/urandom of=victim bs=1k count=1 status=none
dd if=/dev/urandom of=judged bs=1k count=1 status=none

# Somebody to connect to.
mkfifo "$test_dir/port"
python3 -c '
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0), backlog=64)
print(server.getsockname()[1], flush=True)
time.sleep(600)' >"$test_dir/port" &
listener=$!
end_listener()
{
    kill "$listener"
}
cleanup_hooks+=(end_listener)
read -r HIJACK_PORT <"$test_dir/port"
export HIJACK_PORT

attempts='open;openat2;open by a new ring;open by an early ring
open for writing;create;truncate;ftruncate;write;pwrite;rename;link;chmod
connect;send;bind;exec;kill;ptrace;map code;protect code;bpf;unshare;mount
userfaultfd;dumpable'
attempts=$(tr ';' '\n' <<<"$attempts")
[ "$(wc -l <<<"$attempts")" -eq 26 ]
threads='own late early'

# attempt THREADS EXIT PREFIX... -- ARGS...: run it hijacked; what was done
# and what was denied is in $test_dir/done and denied, sorted.
attempt()
{
    local threads=$1 code=$2 prefix=()
    shift 2
    while [ "$1" != -- ]; do
        prefix+=("$1")
        shift
    done
    shift
    export HIJACK_EARLY=
    [[ $threads == *early* ]] || unset HIJACK_EARLY
    imgchain=$hijacked
    last_command="hijacked $*"
    last_exit=0
    timeout 60 ${prefix[@]+"${prefix[@]}"} "$imgchain" "$@" \
        >"$test_dir/stdout" 2>"$test_dir/stderr" </dev/null || last_exit=$?
    imgchain=$real
    expect_exit "$code"
    sed -nE 's/^hijack ([a-z]+ .*): done$/\1/p' "$test_dir/stderr" |
        sort >"$test_dir/done"
    sed -nE 's/^hijack ([a-z]+ .*): denied .*$/\1/p' "$test_dir/stderr" |
        sort >"$test_dir/denied"
    for thread in $threads; do
        while read -r what; do
            echo "$thread $what"
        done <<<"$attempts"
    done | sort >"$test_dir/all"
    sort "$test_dir/done" "$test_dir/denied" >"$test_dir/tried"
    cmp -s "$test_dir/all" "$test_dir/tried" ||
        fail "not tried: $(comm -23 "$test_dir/all" "$test_dir/tried")"
}

# confined THREADS ARGS...: nothing works, and the answer is the usual one.
confined()
{
    local threads=$1
    shift
    attempt "$threads" 0 -- "$@" --require-sandbox
    [ ! -s "$test_dir/done" ] || fail "worked: $(cat "$test_dir/done")"
    cp "$test_dir/stdout" "$test_dir/confined"
    # It would have.
    attempt "$threads" 0 -- "$@" --no-sandbox
    [ ! -s "$test_dir/denied" ] || fail "denied: $(cat "$test_dir/denied")"
    cmp -s "$test_dir/stdout" "$test_dir/confined" ||
        fail 'another answer in the sandbox'
    grep -qxF 'imgchain: --no-sandbox: whatever an image makes of this program can do all that its user can' \
        "$test_dir/stderr" || fail 'no notice'
}

# run_forbidden WHAT ARGS...: imgchain ARGS on a kernel without WHAT.
run_forbidden()
{
    local what=$1
    shift
    last_command="forbid $what imgchain $*"
    last_exit=0
    "$forbid" "$what" "$imgchain" "$@" \
        >"$test_dir/stdout" 2>"$test_dir/stderr" || last_exit=$?
}

# Tables and contents: nothing may be opened.
cp inflate.qcow2 twin.qcow2
cp l2.qcow2 dest.qcow2
confined "$threads" map l2.qcow2
confined "$threads" check bitmap.qcow2
confined "$threads" compare l2.qcow2 twin.qcow2
qemu-img convert -O raw inflate.qcow2 inflate.raw
confined "$threads" compare --engine sync inflate.qcow2 inflate.raw
confined "$threads" digest inflate.qcow2
# A stranger's image: by name, with a report, as a descriptor, as a stream.
confined "$threads" inspect -f qcow2 l2.qcow2 --report sarif=inspect.sarif
[ -s inspect.sarif ] || fail 'a report was not written'
confined "$threads" inspect -f qcow2 --policy chain l2.qcow2
exec 8<l2.qcow2
confined "$threads" inspect -f qcow2 --fd 8 l2.qcow2
for option in --require-sandbox --no-sandbox; do
    exec 8< <(cat l2.qcow2)
    attempt "$threads" 0 -- inspect -f qcow2 --fd 8 upload "$option"
    if [ $option = --require-sandbox ]; then
        [ ! -s "$test_dir/done" ] || fail "worked: $(cat "$test_dir/done")"
    else
        [ ! -s "$test_dir/denied" ] ||
            fail "denied: $(cat "$test_dir/denied")"
    fi
done
exec 8<&-
qemu-img create -q -f qcow2 -b "$PWD/l2.qcow2" -F qcow2 new.qcow2
fill new.qcow2 7 0 64k
confined "$threads" validate snapshot --source l2.qcow2 \
    --dest "$PWD/new.qcow2" --dest-format qcow2 --stamp stamp \
    --report junit=junit.xml
if [ ! -s stamp ] || [ ! -s junit.xml ]; then
    fail 'a report was not written'
fi
if find . -name '*.??????' | grep -q .; then
    fail 'a file is left over'
fi
# info, which is over at once, has only Landlock for its second step: no
# thread of it is older than that.
confined 'own late' info bitmap.qcow2
confined 'own late' info --output json bitmap.qcow2

# Headers: what is read may be opened, as a backing file has to be.
reads='own open
late open
early open'
while read -r -a words; do
    attempt "$threads" 0 -- "${words[@]}" --require-sandbox
    diff "$test_dir/done" <(sort <<<"$reads") >&2 ||
        fail 'more or less than reading works'
    attempt "$threads" 0 -- "${words[@]}" --no-sandbox
    [ ! -s "$test_dir/denied" ] || fail "denied: $(cat "$test_dir/denied")"
done <<'END'
info header.qcow2
check header.qcow2
map header.qcow2
compare header.qcow2 header.qcow2
inspect -f qcow2 header.qcow2
tree header.qcow2
END
# Inside --root not even that, but for threads that were there before.
attempt 'own late' 0 -- info --root . --require-sandbox header.qcow2
[ ! -s "$test_dir/done" ] || fail "worked: $(cat "$test_dir/done")"

# One of the two is missing: the other still holds, -v tells, and
# --require-sandbox is not content.
attempt "$threads" 0 "$forbid" landlock -- map l2.qcow2
[ ! -s "$test_dir/done" ] || fail "worked: $(cat "$test_dir/done")"
for command in info map check; do
    run_forbidden landlock $command --require-sandbox l2.qcow2
    expect_exit 1
    expect_no_stdout
    expect_stderr <<<'imgchain: --require-sandbox: there is no Landlock: the kernel does not offer it'
    run_forbidden seccomp $command --require-sandbox l2.qcow2
    expect_exit 1
    expect_no_stdout
    expect_stderr <<<'imgchain: --require-sandbox: there is no filter of system calls: the kernel takes no filter of system calls: Function not implemented'
    run_forbidden seccomp,landlock $command -v l2.qcow2
    expect_exit 0
    expect_stderr <<'END'
imgchain: the sandbox has no Landlock: the kernel does not offer it
imgchain: the sandbox has no filter of system calls: the kernel takes no filter of system calls: Function not implemented
imgchain: l2.qcow2: layer 0, qcow2 (probed)
END
    run_forbidden seccomp,landlock $command l2.qcow2
    expect_exit 0
    expect_no_stderr
done
# Landlock alone: no file by any way, no TCP, no program, no other process.
attempt 'own late' 0 "$forbid" seccomp -- map l2.qcow2
for what in open openat2 'open by a new ring' 'open by an early ring' \
    'open for writing' create truncate rename link connect bind exec kill \
    ptrace; do
    for thread in own late; do
        [ "$what" = bind ] || grep -qxF "$thread $what" "$test_dir/denied" ||
            fail "Landlock alone lets pass: $what"
    done
done

# Older kernels' Landlock: as much as they have, and -v tells what they have
# not. (With the filter there is nothing to tell: it refuses the rest.)
abishim=$IMGCHAIN_BUILD/tests/libabishim.so
filterless='imgchain: the sandbox has no filter of system calls: the kernel takes no filter of system calls: Function not implemented'
layer='imgchain: l2.qcow2: layer 0, qcow2 (probed)'
for version in 1 2 3 4 5 6 7; do
    case $version in
    1 | 2) lacks='truncating files, TCP, abstract sockets and signals' ;;
    3) lacks='TCP, abstract sockets and signals' ;;
    4 | 5) lacks='abstract sockets and signals' ;;
    *) lacks= ;;
    esac
    old=(env "LD_PRELOAD=$abishim" "ABISHIM_VERSION=$version")
    attempt 'own late' 0 "$forbid" seccomp "${old[@]}" -- map l2.qcow2
    for what in open openat2 'open by a new ring' 'open by an early ring' \
        'open for writing' create exec; do
        grep -qxF "own $what" "$test_dir/denied" ||
            fail "version $version lets pass: $what"
    done
    last_exit=0
    "${old[@]}" "$forbid" seccomp "$imgchain" map -v l2.qcow2 \
        >"$test_dir/stdout" 2>"$test_dir/stderr" || last_exit=$?
    expect_exit 0
    {
        echo "$filterless"
        [ -z "$lacks" ] || echo "imgchain: the kernel's Landlock (version \
$version) does not restrict $lacks"
        echo "$layer"
    } | expect_stderr
    "${old[@]}" "$imgchain" map -v --require-sandbox l2.qcow2 \
        >"$test_dir/stdout" 2>"$test_dir/stderr" || last_exit=$?
    expect_exit 0
    expect_stderr <<<"$layer"
done
