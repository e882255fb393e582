#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An include goes down, never up or sideways; each dependency has one home.
. "$(dirname "$0")/lib.bash"

# Which room a public header belongs to.
declare -A room_of=(
    [img/bytes.h]=base [img/checked.h]=base [img/error.h]=base
    [img/hash.h]=base [img/json.h]=base [img/memory.h]=base [img/size.h]=base
    [img/visibility.h]=base [img/xml.h]=base
    [img/holders.h]=io [img/roots.h]=io [img/extent.h]=format
    [img/file.h]=io [img/folder.h]=io [img/write.h]=io [img/newfile.h]=io [img/staged.h]=io
    [img/engine.h]=engine [img/reader.h]=engine [img/thread.h]=engine
    [img/format.h]=format [img/image.h]=format
    [img/partition.h]=format [img/reference.h]=format [img/strict.h]=format
    [qcow2/geometry.h]=codec [qcow2/header.h]=codec
    [qcow2/extensions.h]=codec [qcow2/entry.h]=codec
    [qcow2/refcount.h]=codec [qcow2/snapshot.h]=codec
    [qcow2/bitmap.h]=codec [qcow2/inflate.h]=codec
    [qcow2/deflate.h]=codec [qcow2/create.h]=codec
    [qcow2/image.h]=image [qcow2/check.h]=image
    [qcow2/fresh.h]=fresh [qcow2/edit.h]=edit [qcow2/repair.h]=repair
    [chain/chain.h]=graph [chain/formats.h]=graph [chain/name.h]=graph
    [chain/forest.h]=graph [chain/view.h]=graph
    [chain/links.h]=graph [chain/contents.h]=graph
    [chain/report.h]=report [chain/checks.h]=report
    [chain/compare.h]=ops [chain/digest.h]=ops [chain/validate.h]=ops
    [chain/create.h]=ops [chain/copy.h]=ops [chain/rebase.h]=ops
    [chain/transaction.h]=ops
    [chain/amend.h]=ops [chain/snapshot.h]=ops [chain/inspect.h]=ops
    [chain/relocate.h]=ops
    [chain/holders.h]=live [chain/pivot.h]=live [chain/blockdev.h]=live
    [chain/virt.h]=virt [chain/preflight.h]=virt [chain/libvirt.h]=virt
    [chain/rewrite.h]=virt [chain/metadata.h]=virt
    [chain/redefine.h]=virt [chain/metadata_check.h]=virt
    [chain/abi.h]=virt [chain/saved.h]=virt [chain/saved_check.h]=virt
    [chain/redefine_plan.h]=virt [chain/bundle.h]=virt [chain/forget.h]=virt)
# Which rooms each folder may see.
declare -A sees=(
    [libimg/base]='base'
    [libimg/io]='base io'
    [libimg/engine]='base io engine'
    [libimg/format]='base io format'
    [qcow2/codec]='base codec'
    [qcow2/image]='base io engine format codec image'
    [qcow2/fresh]='base io codec fresh'
    [qcow2/edit]='base io format codec image fresh edit'
    [qcow2/repair]='base io format codec image repair'
    [chain/report]='base io report'
    [chain/graph]='base io format codec image graph'
    [chain/ops]='base io engine format codec image fresh edit repair graph report ops'
    [chain/live]='base io format graph live'
    [chain/virt]='base io graph report virt'
    [tools]='base io engine format codec image fresh edit repair graph report ops live virt')
# The files that may use a library from outside. --version prints the
# versions of all of them (tools/help.c); a test may ask the library itself.
declare -A homes=(
    [json-c]='^(libimg/base/json[a-z_]*\.[ch]|tools/help\.c|(tests|fuzz)/.*)$'
    [liburing]='^(libimg/engine/.*|tools/help\.c|(tests|fuzz)/.*)$'
    [libdeflate]='^(qcow2/codec/inflate[a-z_]*\.c|tools/help\.c|(tests|fuzz)/.*)$'
    [zstd]='^(qcow2/codec/(in|de)flate[a-z_]*\.c|tools/help\.c|(tests|fuzz)/.*)$'
    [zlib]='^(qcow2/codec/(in|de)flate[a-z_]*\.c|tools/help\.c|(tests|fuzz)/.*)$'
    [isa-l]='^(qcow2/codec/deflate[a-z_]*\.c|tools/help\.c|(tests|fuzz)/.*)$'
    [nettle]='^(libimg/base/hash\.c|tools/help\.c|(tests|fuzz)/.*)$'
    [libvirt]='^(chain/virt/library\.h|(tests|fuzz)/.*)$'
    [libxml]='^(chain/virt/xml_library\.h|(tests|fuzz)/.*)$'
    [check.h]='^tests/(unit|fault|corrupt)/')

# check_header FOLDER FILE HEADER: may FILE of room FOLDER include it?
check_header()
{
    local folder=$1 file=$2 header=$3 room
    room=${room_of[$header]-}
    if [ -z "$room" ]; then
        breach "$file: <$header>: in no room; add it to $0"
    elif [[ " ${sees[$folder]} " != *" $room "* ]]; then
        breach "$file: <$header>: $folder may not see $room"
    fi
}

# includes FILE: the names that FILE includes, with their brackets.
includes()
{
    sed -nE 's/^ *# *include *([<"][^>"]+[>"]).*/\1/p' "$1"
}

for folder in "${!sees[@]}"; do
    for file in "$folder"/*.[ch]; do
        for name in $(includes "$file"); do
            case $name in
            '<img/'* | '<qcow2/'* | '<chain/'*)
                name=${name#<}
                check_header "$folder" "$file" "${name%>}"
                ;;
            '"'*)
                name=${name//\"/}
                [ -f "$folder/$name" ] || [[ $name == check.h ]] ||
                    breach "$file: \"$name\": not a header of this room"
                ;;
            esac
        done
    done
done

# Public headers keep to the same arrows.
for header in "${!room_of[@]}"; do
    case ${room_of[$header]} in
    codec | image | fresh | edit | repair) folder=qcow2 ;;
    graph | report | ops | live | virt) folder=chain ;;
    *) folder=libimg ;;
    esac
    file=$folder/include/$header
    [ -f "$file" ] || breach "$file: named in $0, but not there"
    for name in $(includes "$file" | grep -E '^<(img|qcow2|chain)/'); do
        name=${name#<}
        check_header "$folder/${room_of[$header]}" "$file" "${name%>}"
    done
done

for library in "${!homes[@]}"; do
    pattern="^ *# *include *[<\"](${library}[/.]|${library}[>\"])"
    while IFS=: read -r file _; do
        [[ $file =~ ${homes[$library]} ]] ||
            breach "$file: includes $library, whose home is elsewhere"
    done < <(files '*.c' '*.h' | xargs grep -nE "$pattern" || true)
done
verdict
