#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unknown commands, options and values: one line that names them, a hint
# where something similar exists, exit 2 (1 for check). --help of everything.
. "$(dirname "$0")/../lib.sh"

refuses 2 'no command given; see imgchain --help'
refuses 2 'unknown command infp; did you mean info?' infp
refuses 2 'unknown command comapre; did you mean compare?' comapre a b
refuses 2 'unknown command frobnicate; see imgchain --help' frobnicate
refuses 2 'unknown command a\x1bb; see imgchain --help' $'a\eb'
refuses 2 'unknown command validate zzz; see imgchain validate --help' \
    validate zzz
refuses 2 'unknown option --versoin; did you mean --version?' --versoin
refuses 2 'validate: no operation given; see imgchain validate --help' validate
refuses 2 'unknown command validate snapsht; did you mean snapshot?' \
    validate snapsht
refuses 2 'unknown option --backin-chain; did you mean --backing-chain?' \
    info --backin-chain a
refuses 2 'unknown option --zzz; see imgchain info --help' info --zzz a
refuses 2 'unknown option -Z; see imgchain info --help' info -Z a
refuses 2 'unknown option -Z; see imgchain info --help' info -qZ a
refuses 1 'unknown option -Z; see imgchain check --help' check -Z a
refuses 1 'unknown option --outptu; did you mean --output?' \
    check --outptu json a
refuses 2 'unknown option --requier; did you mean --require?' \
    validate snapshot --requier=x --source a --dest b
refuses 2 'option --quiet takes no value' info --quiet=3 a
refuses 2 'option --format needs a value: FMT' info -f
refuses 2 "--output: 'xml' is none of human, json" info --output xml a
refuses 2 "--output: 'xml' is none of human, json, dot, svg" \
    tree --output xml a
refuses 2 "--engine: 'fast' is none of auto, io_uring, sync" \
    info --engine fast a
refuses 2 "--max-depth: '0' is no depth: at least 1" info --max-depth 0 a
refuses 2 "--max-depth: '201' is over the limit of 200" info --max-depth 201 a
refuses 2 "--fd: '-1' is no number" info --fd -1
refuses 2 "--progress: 'xml' is not json" info --progress=xml a
refuses 2 "--start-offset: '1Q' is no size: expected bytes, or a number and \
one of k, M, G, T, P, E" map -s 1Q a
refuses 2 "--start-offset: '0x1g' is no size" map -s 0x1g a
refuses 2 "--start-offset: '0x10000000000000000' is too large" \
    map -s 0x10000000000000000 a
refuses 2 "--start-offset: '16E' is too large" map -s 16E a
refuses 2 "--start-offset: '1.5' is no whole number of bytes" map -s 1.5 a
refuses 2 "--require: 'maybe' is none of relative, absolute" \
    validate snapshot --require maybe
refuses 2 "--report: 'pdf=x' is none of junit=FILE, sarif=FILE" \
    validate copy --report pdf=x
refuses 2 "--cache: 'lots' is none of none, directsync, writeback, \
writethrough, unsafe" compare -T lots a b
refuses 2 'info: found 0 operands, expected FILE; see imgchain info --help' \
    info
refuses 2 'info: found 2 operands, expected FILE; see imgchain info --help' \
    info a b
refuses 1 'check: found 0 operands, expected FILE; see imgchain check --help' \
    check
refuses 2 'compare: found 1 operand, expected A B; see imgchain compare --help' \
    compare a
refuses 2 "validate snapshot: found 1 operand, expected --source ACTIVE \
--dest FILE; see imgchain validate snapshot --help" validate snapshot a
refuses 2 "option --source is missing: the disk's active layer" \
    validate snapshot --dest a
refuses 2 'option --dest is missing: the pre-created file' \
    validate copy --source a
refuses 2 '--raw and --dest-format name different formats' \
    validate copy --source a --dest b --raw --dest-format qcow2

IMGCHAIN_ENGINE=fast refuses 2 \
    "IMGCHAIN_ENGINE: 'fast' is none of auto, io_uring, sync" info a

commands=()
# Every command has help on stdout with a usage line, every common option and
# an example, in 80 columns, one line an option.
while read -r command; do
    commands+=("$command")
done < <("$imgchain" --help |
    sed -nE '/^Commands:/,/^$/s/^  ([a-z]+( [a-z]+)?)  .*/\1/p')
[ "${#commands[@]}" -ge 13 ] || fail "too few commands: ${commands[*]}"
for command in "${commands[@]}"; do
    # shellcheck disable=SC2086 # two words
    run $command --help
    expect_exit 0
    expect_no_stderr
    head -n 1 "$test_dir/stdout" |
        grep -q "^Usage: imgchain $command \[OPTIONS\] " ||
        fail 'no usage line'
    for option in --output -q -v -p --root --allow-probe --engine \
        --max-memory --max-depth --help; do
        [ "$(grep -cE -- "^  (-., |    )?${option}[], =[]|^  ${option}, " \
            "$test_dir/stdout")" -eq 1 ] || fail "not one line for $option"
    done
    grep -qx 'Example:' "$test_dir/stdout" || fail 'no example'
    if grep -n '.\{81\}' "$test_dir/stdout"; then
        fail 'help is wider than 80 columns'
    fi
    # What is written is shared with nobody; a running disk always is;
    # preflight goes by the domain's XML, and holders locks nothing; of
    # metadata only some open images.
    case $command in
    commit | amend | resize | snapshot | pivot | holders | preflight | \
        'metadata list' | 'metadata tree' | 'metadata show' | \
        'metadata export' | 'metadata redefine' | 'metadata delete' | \
        'metadata relocate' | \
        'saved-image dumpxml' | 'saved-image define' | \
        'saved-image edit') shared=0 ;;
    *) shared=1 ;;
    esac
    [ "$(grep -c '^  -U, --force-share ' "$test_dir/stdout")" -eq $shared ] ||
        fail 'not the expected --force-share'
    cp "$test_dir/stdout" "$test_dir/help"
    # shellcheck disable=SC2086
    run help $command
    cmp -s "$test_dir/help" "$test_dir/stdout" ||
        fail "help $command differs from $command --help"
done

run --help
expect_exit 0
for command in info map tree holders check compare 'validate snapshot' \
    'validate copy' create copy rebase commit amend resize snapshot \
    pivot; do
    grep -q "^  $command  *[A-Z]" "$test_dir/stdout" || fail "no $command"
done
run validate --help
expect_exit 0
expect_line 'Usage: imgchain validate OPERATION [OPTIONS] ARGS'

run --version
expect_exit 0
grep -qE '^imgchain [0-9]+\.[0-9]+\.[0-9]+$' "$test_dir/stdout" ||
    fail 'no version of its own'
for library in json-c libdeflate liburing libxml2 zlib zstd; do
    grep -qE "^$library [0-9]+\." "$test_dir/stdout" || fail "no $library"
done
