#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every test file is a test: nothing lies in a test folder and never runs.
. "$(dirname "$0")/lib.bash"

for file in tests/{unit,fault,corrupt}/*.c; do
    [ -e "$file" ] || continue
    [[ $(basename "$file") == test_* ]] ||
        breach "$file: not named test_NOUN.c, so it is not built"
    grep -q '^START_TEST(' "$file" || breach "$file: has no test"
    # Each test is added to the suite.
    while read -r name; do
        [ "$(grep -cw "$name" "$file")" -ge 2 ] ||
            breach "$file: $name is never run"
    done < <(sed -nE 's/^START_TEST\((\w+)\).*/\1/p' "$file")
done
doubled=$(find tests/{unit,fault,corrupt} -name 'test_*.c' -printf '%f\n' |
    sort | uniq -d)
[ -z "$doubled" ] || breach "two test programs named $doubled"
for file in tests/{cli,interop,corrupt,fault,house}/*.{sh,py}; do
    [ -e "$file" ] || continue
    [ -x "$file" ] || breach "$file: not executable"
    head -n 1 "$file" | grep -q '^#!' || breach "$file: no #! line"
done
verdict
