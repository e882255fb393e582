#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# cppcheck has nothing to say.
. "$(dirname "$0")/lib.bash"
command -v cppcheck >/dev/null || skip 'no cppcheck'

cppcheck --quiet --std=c11 --enable=warning,performance,portability \
    --inline-suppr --error-exitcode=1 -j "$(nproc)" \
    --suppress=missingIncludeSystem -D_GNU_SOURCE -DIMGCHAIN_VERSION='"0"' \
    -Ilibimg/include -Iqcow2/include -Ichain/include \
    libimg qcow2 chain tools || breach 'cppcheck'
verdict
