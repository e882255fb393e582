# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What every script that runs the imgchain command needs:
#
#   . "$(dirname "$0")/../lib.sh"
#   requires qemu-img
#   make_image a.qcow2 1M
#   run info a.qcow2
#   expect_exit 0
#
# A script works in a folder of its own that is removed at the end, and stops
# at the first thing that is not as expected. Exact texts are compared, so
# that a crash never passes for a refusal.
set -euo pipefail

imgchain=${IMGCHAIN:-imgchain}
case $imgchain in
/*) ;;
*/*) imgchain=$PWD/$imgchain ;;
esac
# The caller's settings change nothing.
unset IMGCHAIN_ENGINE NO_COLOR
export LC_ALL=C.UTF-8 TERM=dumb

test_dir=$(mktemp -d "${TMPDIR:-/tmp}/imgchain-test.XXXXXX")
cleanup_hooks=()
last_command=
last_exit=

cleanup()
{
    local hook
    for hook in ${cleanup_hooks[@]+"${cleanup_hooks[@]}"}; do
        "$hook" || true
    done
    rm -rf "$test_dir"
}
trap cleanup EXIT
# What a run printed lies beside the folder that tests work in.
mkdir "$test_dir/work"
cd "$test_dir/work"

# fail TEXT: say what is wrong, with what the last run printed.
fail()
{
    echo "$0: $*" >&2
    if [ -n "$last_command" ]; then
        echo "after: $last_command (exit $last_exit)" >&2
        echo "--- stdout" >&2
        head -c 4096 "$test_dir/stdout" >&2
        echo "--- stderr" >&2
        head -c 4096 "$test_dir/stderr" >&2
    fi
    exit 1
}

skip()
{
    echo "$0: skipped: $*" >&2
    exit 77
}

# requires PROGRAM...: skip the test where one is not installed.
requires()
{
    local program
    for program; do
        command -v "$program" >/dev/null || skip "no $program"
    done
}

# run ARGS...: imgchain ARGS; exit code and output are kept for expect_*.
run()
{
    last_command="imgchain $*"
    last_exit=0
    timeout 300 "$imgchain" "$@" >"$test_dir/stdout" 2>"$test_dir/stderr" \
        </dev/null || last_exit=$?
}

expect_exit()
{
    [ "$last_exit" -eq "$1" ] || fail "exit $last_exit, expected $1"
}

expect_same()
{
    cat >"$test_dir/expected"
    cmp -s "$test_dir/$1" "$test_dir/expected" || {
        diff -u "$test_dir/expected" "$test_dir/$1" >&2 || true
        fail "$1 is not as expected"
    }
}

# Exactly what stands on standard input of these two.
expect_stdout()
{
    expect_same stdout
}

expect_stderr()
{
    expect_same stderr
}

expect_no_stdout()
{
    [ ! -s "$test_dir/stdout" ] || fail "stdout is not empty"
}

expect_no_stderr()
{
    [ ! -s "$test_dir/stderr" ] || fail "stderr is not empty"
}

# expect_line LINE: stdout has exactly this line.
expect_line()
{
    grep -qxF -- "$1" "$test_dir/stdout" || fail "no line on stdout: $1"
}

# expect_json EXPRESSION: true in Python with the document as "doc".
expect_json()
{
    python3 - "$test_dir/stdout" "$1" <<'PYTHON' ||
import json, sys
doc = json.load(open(sys.argv[1], encoding="utf-8"))
sys.exit(0 if eval(sys.argv[2], {"doc": doc}) is True else 1)
PYTHON
        fail "not true of the JSON: $1"
}

# refuses EXIT TEXT ARGS...: no output, one line "imgchain: TEXT" on stderr.
refuses()
{
    local code=$1 text=$2
    shift 2
    run "$@"
    expect_exit "$code"
    expect_no_stdout
    expect_stderr <<<"imgchain: $text"
}

# make_image FILE SIZE [QEMU-IMG-OPTIONS...]: an empty qcow2 image.
make_image()
{
    local file=$1 size=$2
    shift 2
    qemu-img create -q -f qcow2 "$@" "$file" "$size"
}

# make_overlay FILE BACKING [BACKING-FORMAT]: a qcow2 overlay of BACKING.
make_overlay()
{
    qemu-img create -q -f qcow2 -b "$2" -F "${3:-qcow2}" "$1"
}

# fill FILE PATTERN OFFSET LENGTH: guest data in a qcow2 image.
fill()
{
    qemu-io -f qcow2 -c "write -q -P $2 $3 $4" "$1"
}

# poke FILE OFFSET HEX: overwrite bytes of a file.
poke()
{
    # shellcheck disable=SC2001 # a pattern of two characters
    printf '%b' "$(sed 's/../\\x&/g' <<<"$3")" |
        dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# remember: the files that are here, and what is in them.
remember()
{
    find . -type f -exec sha256sum {} + | sort >"$test_dir/remembered"
}

# expect_untouched: all is as remember found it; nothing new is here.
expect_untouched()
{
    find . -type f -exec sha256sum {} + | sort >"$test_dir/found"
    cmp -s "$test_dir/remembered" "$test_dir/found" || {
        diff "$test_dir/remembered" "$test_dir/found" >&2 || true
        fail 'a file was changed, made or removed'
    }
}

# expect_message TEXT: one line on stderr, with TEXT in it.
expect_message()
{
    [ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'stderr is not one line'
    grep -qF -- "$1" "$test_dir/stderr" || fail "no message: $1"
}

# expect_sound FILE...: qemu-img finds no error and no leak.
expect_sound()
{
    local file
    for file; do
        qemu-img check -q -f qcow2 "$file" >"$test_dir/check" 2>&1 ||
            fail "qemu-img check $file: $(cat "$test_dir/check")"
    done
}

# expect_equal A B [FORMAT-OF-B]: the guest sees the same.
expect_equal()
{
    qemu-img compare -q -f qcow2 -F "${3:-qcow2}" "$1" "$2" ||
        fail "$1 and $2 differ"
}

# hold FILE [FORMAT]: a qemu-io of its own has FILE open for writing, until
# let_go. Its process is $holder.
holder=
hold()
{
    local tries=0
    # What an earlier one said is no answer of this one.
    rm -f "$test_dir/held"
    mkfifo "$test_dir/hold"
    qemu-io -f "${2:-qcow2}" "$1" <"$test_dir/hold" >"$test_dir/held" 2>&1 &
    holder=$!
    cleanup_hooks+=(let_go)
    exec 9>"$test_dir/hold"
    # Asked through a lock, it could be the one that is refused.
    echo length >&9
    until grep -q iB "$test_dir/held" 2>"$test_dir/unheard"; do
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] ||
            fail "qemu-io does not open $1: $(cat "$test_dir/held")"
        sleep 0.02
    done
}

# expect_in_use FILE: the one line says who has FILE; -U is not offered.
expect_in_use()
{
    local text="imgchain: $1: is in use by process $holder (qemu-io), which"

    expect_message "$text"
    if grep -q -e ' -U' "$test_dir/stderr"; then
        fail 'an option is offered that there is not'
    fi
}

let_go()
{
    [ -n "$holder" ] || return 0
    exec 9>&-
    wait "$holder" || true
    holder=
    rm -f "$test_dir/hold"
}
