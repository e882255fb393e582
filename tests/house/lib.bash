# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the house rules share. A rule says each breach with `breach` and ends
# with `verdict`.
set -euo pipefail
cd "${IMGCHAIN_SOURCE:-$(dirname "${BASH_SOURCE[0]}")/../..}"
breaches=0

# files PATTERN...: the project's files whose name matches one of them.
files()
{
    local pattern names=(-false)
    for pattern in "$@"; do
        names+=(-o -name "$pattern")
    done
    find . \( -path './build*' -o -path ./.git -o -path './fuzz/corpus*' \) \
        -prune -o -type f \( "${names[@]}" \) -printf '%P\n' | sort
}

breach()
{
    echo "$*"
    breaches=$((breaches + 1))
}

# breach_lines WHY: each line of stdin ("file:line:text") is a breach.
breach_lines()
{
    local line
    while IFS= read -r line; do
        breach "$line: $1"
    done
}

verdict()
{
    if [ "$breaches" -ne 0 ]; then
        echo "$breaches breaches"
        exit 1
    fi
}

skip()
{
    echo "skipped: $*"
    exit 77
}
