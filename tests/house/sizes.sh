#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# No function over 100 lines, no file over 600, no line over 80 columns.
. "$(dirname "$0")/lib.bash"
command -v ctags >/dev/null || skip 'no ctags'

mapfile -t sources < <(files '*.c' '*.h')
while read -r end begin name file; do
    lines=$((end - begin + 1))
    [ "$lines" -le 100 ] ||
        breach "$file:$begin: $name has $lines lines, at most 100"
done < <(ctags --fields=+ne --kinds-C=f -x --_xformat='%{end} %n %N %F' \
    "${sources[@]}")
for file in "${sources[@]}"; do
    lines=$(wc -l <"$file")
    [ "$lines" -le 600 ] || breach "$file: $lines lines, at most 600"
    breach_lines 'over 80 columns' < <(
        awk -v file="$file" 'length($0) > 80 { print file ":" NR }' "$file"
    )
done
verdict
