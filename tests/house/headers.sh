#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each header compiles alone as C; what users of the library see, as C++ too.
. "$(dirname "$0")/lib.bash"

cc=${CC:-gcc}
cxx=${CXX:-g++}
flags=(-D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DIMGCHAIN_VERSION='"0"'
    -Ilibimg/include -Iqcow2/include -Ichain/include
    -Wall -Wextra -Werror -fsyntax-only)
read -ra libxml2 < <(pkg-config --cflags libxml-2.0)
flags+=("${libxml2[@]}")

for header in $(files '*.h'); do
    printf '#include "%s"\n' "$PWD/$header" |
        "$cc" -std=gnu17 "${flags[@]}" -I"$(dirname "$header")" -x c - ||
        breach "$header: does not compile alone"
done
while read -r header; do
    printf '#include "%s"\n' "$PWD/$header" |
        "$cxx" -std=c++17 "${flags[@]}" -x c++ - ||
        breach "$header: does not compile as C++"
done < <(grep -rl 'extern "C"' --include='*.h' \
    libimg/include qcow2/include chain/include)
verdict
