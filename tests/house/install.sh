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
# It was configured for another prefix.
lib=$(dirname "$(find "$prefix" -name 'libimgchain.so')")
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

cat >"$dir/writer.c" <<'END'
#include <chain/copy.h>
#include <chain/create.h>
#include <stdio.h>

/* Overlay FILE, and copy what it shows to DEST. */
int main(int argc, char **argv)
{
    static struct img_error err;
    struct chain_create_request create = {.format = "qcow2"};
    struct chain_copy_request copy;
    struct chain_made made;
    struct chain_copy_result copied;

    if (argc != 4) {
        return 2;
    }
    create.path = argv[2];
    create.backing_name = argv[1];
    create.backing_format = "raw";
    if (chain_create(&create, &made, &err)) {
        puts(err.text);
        return 1;
    }
    chain_copy_request_init(&copy);
    copy.source = argv[2];
    copy.source_format = "qcow2";
    copy.dest.path = argv[3];
    copy.verify = true;
    if (chain_copy(&copy, &copied, &err)) {
        puts(err.text);
        return 1;
    }
    printf("%s over %s, %llu\n", made.format, made.backing_format,
           (unsigned long long)copied.made.virtual_len);
    chain_made_fini(&made);
    chain_copy_result_fini(&copied);
    return 0;
}
END
# shellcheck disable=SC2086
gcc -std=gnu17 -Wall -Werror $sanitize "$dir/writer.c" -o "$dir/writer" \
    "${flags[@]}" || breach 'C program that writes'
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
printf 'guest' | dd of="$dir/image.raw" conv=notrunc status=none
found=$("$dir/writer" "$dir/image.raw" "$dir/over.qcow2" "$dir/copy.raw") ||
    breach "writer: $found"
[ "$found" = 'qcow2 over raw, 3145728' ] || breach "writer: found $found"
cmp "$dir/image.raw" "$dir/copy.raw" || breach 'the copy'
"$prefix/bin/imgchain" --version | grep -q '^imgchain [0-9]' ||
    breach 'the installed command has no version'
"$prefix/bin/imgchain" info "$dir/image.raw" | grep -q 3145728 ||
    breach 'the installed command does not work'
verdict
