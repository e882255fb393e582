#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# clang-tidy has nothing to say (.clang-tidy: what it is asked).
. "$(dirname "$0")/lib.bash"
command -v clang-tidy >/dev/null || skip 'no clang-tidy'
database=${IMGCHAIN_BUILD:-build/dev}
[ -f "$database/compile_commands.json" ] ||
    skip "no $database/compile_commands.json (a preset makes one)"

# The analyzer follows a third of the paths that it would: it is nearly all of
# this test's time, and CI has two cores.
# One file a process: clang-tidy 14 carries what it knows of va_list from one
# file to the next. The count of suppressed warnings is no news.
files '*.c' | grep -E '^(libimg|qcow2|chain|tools)/' |
    xargs -n 1 -P "$(nproc)" clang-tidy --quiet -p "$database" \
        --extra-arg=-Xclang --extra-arg=-analyzer-config \
        --extra-arg=-Xclang --extra-arg=max-nodes=75000 2> >(
        grep -vE '^[0-9]+ warnings? (generated|treated)' >&2 || true
    ) || breach 'clang-tidy'
verdict
