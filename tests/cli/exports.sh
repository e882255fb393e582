#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The shared library exports exactly what the installed headers declare.
. "$(dirname "$0")/../lib.sh"
requires cmake nm readelf python3
[ -n "${IMGCHAIN_BUILD-}" ] || skip 'no build folder (IMGCHAIN_BUILD)'

prefix=$test_dir/prefix
cmake --install "$IMGCHAIN_BUILD" --prefix "$prefix" >install.log ||
    fail "cmake --install failed: $(cat install.log)"
library=$(find "$prefix" -name libimgchain.so)
[ -n "$library" ] || fail 'no libimgchain.so'
readelf -d "$library" | grep -qF '[libimgchain.so.0]' || fail 'no SONAME'

python3 - "$prefix/include/imgchain" <<'PYTHON' | sort >declared
import pathlib
import re
import sys
for path in pathlib.Path(sys.argv[1]).rglob("*.h"):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    for name in re.findall(r"^IMG_PUBLIC[^;(]*?(\w+)\(", text, re.M):
        print(name)
PYTHON
[ "$(wc -l <declared)" -ge 20 ] || fail 'too few public functions'
nm -D --defined-only "$library" | awk '$2 == "T" { print $3 }' |
    sed 's/@.*//' | sort >exported
diff -u declared exported >&2 || fail 'declared and exported differ'
