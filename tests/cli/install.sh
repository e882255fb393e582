#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is installed works for others: the command, the shared library with
# exactly the public symbols, pkg-config, CMake, and the headers alone, as C
# and as C++.
. "$(dirname "$0")/../lib.sh"
requires cmake pkg-config nm python3 qemu-img
[ -n "${IMGCHAIN_BUILD-}" ] || skip 'no build folder (IMGCHAIN_BUILD)'
[ -z "${IMGCHAIN_SANITIZED-}" ] || skip 'a sanitized library is not installed'
cc=${CC:-cc}
requires "$cc"

prefix=$test_dir/prefix
cmake --install "$IMGCHAIN_BUILD" --prefix "$prefix" >install.log ||
    fail "cmake --install failed: $(cat install.log)"
library=$(find "$prefix" -name libimgchain.so)
[ -n "$library" ] || fail 'no libimgchain.so'
libdir=$(dirname "$library")
readelf -d "$library" | grep -qF '[libimgchain.so.0]' || fail 'no SONAME'

# Exactly what the public headers declare is exported.
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

cat >user.c <<'C'
#include <chain/chain.h>
#include <chain/validate.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    static struct img_error err;
    struct chain_options options;
    struct chain *chain = NULL;

    chain_options_init(&options);
    if (argc != 2 || chain_open(argv[1], &options, &chain, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%zu\n", chain_depth(chain));
    chain_free(chain);
    return 0;
}
C
make_image base.qcow2 1M
make_overlay top.qcow2 base.qcow2

# expect_two PROGRAM: it sees both layers, through the installed library.
expect_two()
{
    local found
    found=$(LD_LIBRARY_PATH=$libdir "$@" top.qcow2) || fail "$1 fails"
    [ "$found" = 2 ] || fail "$1: found $found layers, expected 2"
}

read -ra flags <<<"$(PKG_CONFIG_PATH=$libdir/pkgconfig \
    pkg-config --define-prefix --cflags --libs imgchain)"
"$cc" -Wall -Wextra -Werror -o user user.c "${flags[@]}"
expect_two ./user

mkdir project
cat >project/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(imgchain 0.1 REQUIRED)
add_executable(user ../user.c)
target_link_libraries(user PRIVATE imgchain::imgchain)
CMAKE
cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$prefix" >cmake.log &&
    cmake --build project/build >>cmake.log || fail "$(cat cmake.log)"
expect_two project/build/user

for header in "$prefix"/include/imgchain/*/*.h; do
    "$cc" -std=c11 -Wall -Wextra -Werror -fsyntax-only -x c \
        -I "$prefix/include/imgchain" "$header" || fail "C: $header"
    if command -v c++ >/dev/null; then
        c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -x c++ \
            -I "$prefix/include/imgchain" "$header" || fail "C++: $header"
    fi
done

imgchain=$(find "$prefix" -path '*/bin/imgchain')
run info top.qcow2
expect_exit 0
