#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is installed is whole: the command runs, and a program of somebody
# else compiles against the library as C, as C++ and through CMake.
. "$(dirname "$0")/lib.bash"
build=${IMGCHAIN_BUILD:-build/dev}

dir=$(mktemp -d "${TMPDIR:-/tmp}/imgchain-install.XXXXXX")
trap 'rm -rf "$dir"' EXIT
prefix=$dir/usr
cmake --install "$build" --prefix "$prefix" >"$dir/log" || {
    cat "$dir/log"
    breach 'cmake --install'
    verdict
}
# The prefix is known when it is configured; here it is another one.
lib=$(dirname "$(find "$prefix" -name 'libimgchain.so')")
sed -i "s@^prefix=.*@prefix=$prefix@" "$lib/pkgconfig/imgchain.pc"
export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib

cat >"$dir/user.c" <<'END'
#include <chain/chain.h>
#include <chain/compare.h>
#include <chain/validate.h>
#include <chain/view.h>
#include <img/roots.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    static struct img_error err;
    struct chain_options options;
    struct chain *chain;
    struct chain_view *view;
    struct chain_extent extent;

    chain_options_init(&options);
    if (argc != 2 || chain_open(argv[1], &options, &chain, &err)) {
        puts(err.text);
        return 1;
    }
    if (chain_view_new(chain, 0, &view, &err) ||
        chain_view_at(view, 0, chain_view_len(view), &extent, &err)) {
        puts(err.text);
        return 1;
    }
    printf("%s %llu\n", chain_layer_format(chain_layer_at(chain, 0)),
           (unsigned long long)extent.e.len);
    chain_view_free(view);
    chain_free(chain);
    return 0;
}
END
cp "$dir/user.c" "$dir/user.cc"
read -ra flags <<<"$(pkg-config --cflags --libs imgchain)"
sanitize=${IMGCHAIN_SANITIZED:+-fsanitize=$IMGCHAIN_SANITIZED}
# shellcheck disable=SC2086 # empty or one word
gcc -std=gnu17 -Wall -Werror $sanitize "$dir/user.c" -o "$dir/user-c" \
    "${flags[@]}" || breach 'C program'
# shellcheck disable=SC2086
g++ -std=c++17 -Wall -Werror $sanitize "$dir/user.cc" -o "$dir/user-cc" \
    "${flags[@]}" || breach 'C++ program'
mkdir "$dir/cmake"
cp "$dir/user.c" "$dir/cmake"
cat >"$dir/cmake/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(imgchain 0.1 REQUIRED)
add_executable(user user.c)
target_link_libraries(user PRIVATE imgchain::imgchain)
END
if ! { cmake -S "$dir/cmake" -B "$dir/cmake/build" -G Ninja \
    -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_FLAGS="$sanitize" &&
    cmake --build "$dir/cmake/build"; } >"$dir/log"; then
    cat "$dir/log"
    breach 'CMake package'
fi

truncate -s 3M "$dir/image.raw"
for program in "$dir/user-c" "$dir/user-cc" "$dir/cmake/build/user"; do
    found=$("$program" "$dir/image.raw") || breach "$program: $found"
    [ "$found" = 'raw 3145728' ] ||
        breach "$program: found $found, expected raw 3145728"
done
"$prefix/bin/imgchain" --version | grep -q '^imgchain [0-9]' ||
    breach 'the installed command has no version'
"$prefix/bin/imgchain" info "$dir/image.raw" | grep -q 3145728 ||
    breach 'the installed command does not work'
verdict
