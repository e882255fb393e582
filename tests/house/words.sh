#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Nothing is left for later, and no text knows one machine.
. "$(dirname "$0")/lib.bash"

mapfile -t all < <(files '*.c' '*.h' '*.py' '*.sh' '*.bash' '*.cmake' \
    '*.md' CMakeLists.txt)
all+=(scripts/* .ci/*)
later='TO''DO|FIX''ME|XX''X|HA''CK'
breach_lines 'left for later' < <(grep -nwE "$later" "${all[@]}")
machine='/ho''me/|/ro''ot/|/wo''rk/|/Us''ers/'
breach_lines 'a path of one machine' < <(grep -nE "$machine" "${all[@]}")
breach_lines 'white space at the end' < <(grep -nE '[ 	]+$' "${all[@]}")
breach_lines 'tab in C' < <(
    files '*.c' '*.h' | xargs grep -nP '\t'
)
verdict
