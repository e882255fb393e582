#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# docs/cli.md holds what --help prints, for every command; and --help names
# every option that a command takes.
. "$(dirname "$0")/lib.bash"
imgchain=${IMGCHAIN:-build/dev/tools/imgchain}

scripts/help-in-docs || breach 'docs/cli.md is out of step'
# Every long option in the tables of the source stands in some help text.
helps=
while read -r command; do
    # shellcheck disable=SC2086 # "validate copy" is two words
    helps+=$("$imgchain" $command --help)
done < <("$imgchain" --help |
    sed -nE '/^Commands:/,/^$/s/^  ([a-z]+( [a-z]+)?)  .*/\1/p')
options=$(grep -ohE "^ *\{('.'|0), \"[a-z-]+\"" tools/*.c | cut -d'"' -f2 |
    sort -u)
[ "$(wc -l <<<"$options")" -ge 20 ] || breach "options not found in tools/"
for option in $options; do
    grep -qE -- "--$option\b" <<<"$helps" || breach "--$option: in no --help"
done
verdict
