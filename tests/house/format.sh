#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# C is laid out by clang-format.
. "$(dirname "$0")/lib.bash"
command -v clang-format >/dev/null || skip 'no clang-format'

files '*.c' '*.h' | xargs clang-format --dry-run -Werror || breach 'layout'
verdict
