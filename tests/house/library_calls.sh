#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Below tools/ nothing prints, ends the process, or uses what is banned.
. "$(dirname "$0")/lib.bash"

banned='v?f?printf|v?dprintf|f?puts|f?putc|putchar|perror|_?exit|abort|assert'
banned+='|alloca|strcpy|strcat|sprintf|vsprintf|gets|strtok|system|popen'
for file in $(files '*.c' '*.h' | grep -E '^(libimg|qcow2|chain)/'); do
    # Comments may say such words: drop them, keeping the lines' numbers.
    breach_lines 'not below tools/' < <(
        sed -E 's@//.*@@; s@/\*.*\*/@@; /\/\*/,/\*\//s/.*//' "$file" |
            grep -nE "(^|[^_[:alnum:]>.])($banned) *\(" |
            sed "s@^@$file:@"
    )
done
verdict
