#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A link from one document to another file leads there.
. "$(dirname "$0")/lib.bash"

for file in $(files '*.md'); do
    while read -r link; do
        [[ $link == *://* ]] || [ -e "$(dirname "$file")/$link" ] ||
            breach "$file: $link does not exist"
    done < <(grep -oE '\]\([^)# ]+' "$file" | sed 's/^](//')
    # Files that are named in running text, in back quotes.
    rooms='docs|scripts|tests|libimg|qcow2|chain|tools|fuzz|\.ci|cmake'
    while read -r name; do
        [ -e "$name" ] || breach "$file: $name does not exist"
    done < <(grep -oP "(?<=\x60)($rooms)/[A-Za-z0-9_/.-]+(?=\x60)" "$file")
done
verdict
