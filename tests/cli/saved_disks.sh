#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# saved-image define and check: the disks that the XML names, and what lies
# below them and beside them.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../saved_lib.sh"
requires qemu-img python3

mkdir images
make_image images/a.qcow2 1M
make_image images/large.qcow2 2M
here=$PWD
domain a.xml "$(disk "$here/images/a.qcow2")"
saved a.save a.xml
touch -d '1 minute' a.save

# What the XML says of backing files counts, and is judged with them.
# layered MORE: top.qcow2 as vda, with MORE said of what lies below.
layered()
{
    domain b.xml "$(disk "$here/images/top.qcow2" qcow2 "$1")"
}
# below PATH [FORMAT]
below()
{
    printf "<backingStore type='file'><format type='%s'/>" "${2:-qcow2}"
    printf "<source file='%s'/></backingStore>" "$1"
}
make_overlay images/top.qcow2 a.qcow2
layered ''
saved l.save b.xml
touch -d '1 minute' l.save
a=$here/images/a.qcow2
while read -r result id text; do
    read -r more
    layered "${more# }"
    remember
    run saved-image define --output json l.save b.xml
    expect_exit 1
    expect_json 'any(c["id"] == "'"$id"'" and c["result"] == "'"$result"'"
                     and "'"$text"'" in c["message"]
                     for i in doc["images"] for c in i["report"]["checks"])'
    expect_untouched
    saved x.save b.xml
    run saved-image check --output json x.save
    expect_json 'any(c["id"] == "'"$id"'" and c["result"] == "'"$result"'"
                     for c in doc["checks"])'
done <<ROWS
fail disk-chain the chain ends above a backing file that the image has
 <backingStore/>
fail disk-chain No such file
 $(below "$here/images/none")
unproven disk-chain another backing file than the image
 $(below "$here/images/large.qcow2")
unproven disk-chain another format of it
 $(below "$a" raw)
unproven disk-chain no whole file or block device of this host
 <backingStore type='network'><format type='qcow2'/><source protocol='nbd' name='x'><host name='h'/></source></backingStore>
ROWS
layered "$(below "$a")"
run saved-image define --dry-run l.save b.xml
expect_exit 0
saved x.save b.xml
touch -d '1 minute' x.save
run saved-image check x.save
expect_exit 0

# Two disks on one file, whichever of them has changed; and a disk that the
# guest writes to below another one.
# pair VDA VDB: saved in p.save, or refused as new XML of it.
pair()
{
    domain "$1" "$(disk "$here/images/$2.qcow2")$(disk \
        "$here/images/$3.qcow2" | sed s/vda/vdb/)"
}
make_image images/b.qcow2 1M
pair old.xml a b
saved p.save old.xml
touch -d '1 minute' p.save
# shared VDA VDB TEXT
shared()
{
    pair b.xml "$1" "$2"
    remember
    run saved-image define --output json p.save b.xml
    expect_exit 1
    expect_json 'any(c["id"] == "disk-distinct" and "'"$3"'" in c["message"]
                     for i in doc["images"] for c in i["report"]["checks"])'
    expect_untouched
}
shared a a 'the same file as disk vda'
shared b b 'the same file as disk vda'
shared a top 'it is written to, and lies below disk vdb'
shared top a 'it is written to, and lies below disk vda'
pair b.xml top b
run saved-image define --dry-run p.save b.xml
expect_exit 0
pair b.xml a a
saved x.save b.xml
sed 's|</name>|</name><title>t</title>|' b.xml >c.xml
run saved-image define --dry-run x.save c.xml # it was so before
expect_exit 0

# The same image in another format; and what cannot be looked at.
# network FORMAT HOST
network()
{
    printf "<disk type='network' device='disk'>"
    printf "<driver name='qemu' type='%s'/><source protocol='nbd' name='x'>" "$1"
    printf "<host name='%s'/></source><target dev='vda' bus='virtio'/>" "$2"
    printf '</disk>'
}
domain b.xml "$(network qcow2 h)"
saved n.save b.xml
domain b.xml "$(network raw h)"
cp n.save a.save
remember
refused_for disk-format 'it is the image that it was, and of another format'
domain b.xml "$(network qcow2 other)"
remember
run saved-image define a.save b.xml
expect_exit 1
expect_line 'UNPROVEN disk-named'
expect_untouched
run saved-image define --force --dry-run a.save b.xml
expect_exit 0
cp images/a.qcow2 images/raw
domain b.xml "$(disk "$here/images/raw" raw)"
saved a.save b.xml
domain b.xml "$(disk "$here/images/raw" qcow2)"
remember
refused_for disk-format 'it is the image that it was, and of another format'

# A smaller image when the old one is gone: not known, unless it has its name.
domain b.xml "$(disk "$here/gone/a.qcow2")"
saved a.save b.xml
domain b.xml "$(disk "$here/images/large.qcow2")"
remember
run saved-image define a.save b.xml
expect_exit 1
expect_line 'UNPROVEN disk-size'
expect_untouched
domain b.xml "$(disk "$here/images/a.qcow2")"
run saved-image define --dry-run a.save b.xml
expect_exit 0
expect_message 'what the guest ran on is not there any more'

# A hard disk is never optional.
domain b.xml "$(disk "$here/images/none" |
    sed "s|none'|none' startupPolicy='optional'|")"
remember
refused_for disk-exists 'No such file'

# define makes the image younger than its disks: it is the last to tell that one
# was written since the memory was saved, also of a disk that stays.
domain b.xml "$(disk "$here/images/a.qcow2")"
saved a.save b.xml
touch -d '3 minutes' images/a.qcow2
sed 's|</name>|</name><title>t</title>|' b.xml >c.xml
run saved-image define --dry-run a.save c.xml
expect_exit 0
expect_message 'written after the memory was saved'
