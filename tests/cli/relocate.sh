#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# metadata relocate: a domain's images, memory and XML in another folder.
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

# disk FILE NAME: a <disk>.
disk()
{
    echo "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>" \
        "<source file='$PWD/$1'/><target dev='$2' bus='virtio'/></disk>"
}

# domain FILE: whose first disk is FILE.
domain()
{
    cat <<XML
<domain type='qemu'><name>web one</name>
<uuid>00000000-0000-4000-8000-000000000001</uuid><memory>16384</memory>
<os><type>hvm</type><nvram>$PWD/vars</nvram></os>
<devices>$(disk "$1" vda)$(disk old/b.qcow2 vdb)
<disk type='file' device='cdrom'><source file='$PWD/cd.iso'/>
<target dev='hda' bus='ide'/></disk></devices></domain>
XML
}

mkdir old new xml
make_image old/base.qcow2 1M
fill old/base.qcow2 1 0 64k
for name in a b; do
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 old/$name.qcow2
    fill old/$name.qcow2 2 64k 64k
done
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 old/top.qcow2
head -c 777 /dev/zero >old/memory
touch vars cd.iso
domain old/top.qcow2 >web.xml
cat >s1.xml <<XML
<domainsnapshot><name>s1</name><state>running</state>
<creationTime>1</creationTime>
<memory snapshot='external' file='$PWD/old/memory'/>
<disks><disk name='vda' snapshot='external' type='file'>
<driver type='qcow2'/><source file='$PWD/old/top.qcow2'/></disk>
<disk name='vdb' snapshot='no'/></disks>
$(domain old/a.qcow2)<active>1</active></domainsnapshot>
XML
chmod 640 web.xml

# What cannot be meant.
run metadata relocate --to new
expect_exit 2
expect_stderr <<<"imgchain: option --domain is missing: the domain's XML"
run metadata relocate --domain web.xml
expect_exit 2
expect_stderr <<<"imgchain: option --to is missing: the folder that the files \
go to"
run metadata relocate --domain web.xml --to new --move --undo
expect_exit 2
run metadata relocate --domain web.xml --to new --move --name x
expect_exit 2
run metadata relocate --recover new --to new
expect_exit 2
expect_stderr <<<"imgchain: --recover goes alone"

# The file of these tests holds no libvirt's memory.
expect_memory_note()
{
    expect_stderr <<<"imgchain: $PWD/old/memory: is not in the form that \
libvirt gives memory files: no path is looked for in it"
}

# says TEXT: beside that note.
says()
{
    grep -qxF "imgchain: $1" "$test_dir/stderr" || fail "no message: $1"
}

# Only what is the domain's own.
other=00000000-0000-4000-8000-000000000009
sed "s|-000000000001|-000000000009|" s1.xml >s9.xml
run metadata relocate --domain web.xml --snapshots s9.xml --to new
expect_exit 1
expect_stderr <<<'imgchain: s9.xml: is a snapshot of another domain'
sed "/<uuid>/d; s|<name>web one<|<name>web two<|" s1.xml >s9.xml
run metadata relocate --domain web.xml --snapshots s9.xml --to new
expect_exit 1
expect_stderr <<<'imgchain: s9.xml: is a snapshot of another domain'
cat >c9.xml <<XML
<domaincheckpoint><name>c</name><creationTime>1</creationTime>
<domain><uuid>$other</uuid></domain></domaincheckpoint>
XML
run metadata relocate --domain web.xml --checkpoints c9.xml --to new
expect_exit 1
expect_stderr <<<'imgchain: c9.xml: is a checkpoint of another domain'
rm s9.xml c9.xml

# What cannot be done is told by a dry run, and of the file that it is about.
plain=(metadata relocate --domain web.xml --to new)
python3 - old/b.qcow2 <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(79)
    file.write(b"\2")
PY
run "${plain[@]}" --absolute --dry-run
expect_exit 1
grep -q "^imgchain: $PWD/old/b.qcow2: .*corrupt" "$test_dir/stderr" ||
    fail "not refused: $(cat "$test_dir/stderr")"
printf '\0' | dd of=old/b.qcow2 bs=1 seek=79 conv=notrunc status=none
mv vars vars.gone
run "${plain[@]}" --dry-run
expect_exit 0
run "${plain[@]}" --dry-run --name two
expect_exit 1
expect_stderr <<<"imgchain: web.xml: its <nvram> $PWD/vars is not there yet, \
and two domains would share it: take <nvram> out of the XML"
mv vars.gone vars
sed "s|old/b.qcow2|old/gone.qcow2|" s1.xml >s9.xml
run "${plain[@]}" --snapshots s9.xml
expect_exit 1
expect_stderr <<<"imgchain: s9.xml: it names $PWD/old/gone.qcow2, and no such \
file is there"
sed "s|<source file='$PWD/old/top.qcow2'/>|<source file='$PWD/old/top.qcow2'>\
<dataStore type='file'><format type='raw'/><source file='$PWD/vars'/>\
</dataStore></source>|" web.xml >data.xml
run metadata relocate --domain data.xml --to new
expect_exit 1
expect_stderr <<<"imgchain: $PWD/old/top.qcow2: its contents lie in an external \
data file (<dataStore>), which is not copied along"
ln -s web.xml link.xml
run metadata relocate --domain link.xml --to new --move
expect_exit 1
expect_stderr <<<'imgchain: link.xml: is a symbolic link: name the file itself'
rm s9.xml data.xml link.xml

# What the domain is when it is started again goes along, too.
make_image old/next.qcow2 1M
sed "s|<active>|<inactiveDomain>$(domain old/next.qcow2 | tr -d '\n' |
    sed "s/^<domain \(.*\)<.domain>$/\1/; s/^type='qemu'>//")\
</inactiveDomain><active>|" s1.xml >s9.xml
run "${plain[@]}" --snapshots s9.xml --dry-run
expect_exit 0
expect_line "would copy          $PWD/old/next.qcow2"
rm s9.xml
domain old/next.qcow2 >next.xml
python3 - next.xml old/next.save <<'PY'
import struct, sys
text = open(sys.argv[1], "rb").read() + bytes(4096)
with open(sys.argv[2], "wb") as file:
    file.write(b"LibvirtQemudSave" + struct.pack("=5I56x", 2, len(text), 1, 0, 0))
    file.write(text + bytes.fromhex("5145564d00000003") + b"m" * 999)
PY
run "${plain[@]}" --saved old/next.save --dry-run
expect_exit 0
expect_line "would copy          $PWD/old/next.qcow2"
rm next.xml old/next.save old/next.qcow2

# Steps are what a shell takes.
mkdir "it's"
sed "s|<name>web one|<name>-web|" web.xml >dash.xml
sed "s|<name>web one|<name>-web|" s1.xml >s9.xml
run metadata relocate --domain dash.xml --snapshots s9.xml --to "it's" --dry-run
expect_exit 0
expect_line "then                virsh define '$PWD/it'\\''s/-web.xml'"
expect_line "                    virsh snapshot-create --domain -web --xmlfile \
'$PWD/it'\\''s/-web-snapshot-01-s1.xml' --redefine --current"
rm dash.xml s9.xml

# A managed save is nobody's that is named.
mkdir -p lib/qemu/save lib/qemu/snapshot
cp s1.xml lib/qemu/snapshot
touch "lib/qemu/save/web one.save"
run "${plain[@]}" --snapshots lib/qemu/snapshot --move --dry-run
expect_exit 0
grep -qxF "imgchain: $PWD/lib/qemu/save/web one.save: is a managed save of the \
domain, and still leads to the old files: change it with saved-image define \
--map" "$test_dir/stderr" || fail "no note: $(cat "$test_dir/stderr")"
rm -r lib

# A dry run tells, and writes nothing.
words=(metadata relocate --domain web.xml --snapshots s1.xml --to new)
remember
run "${words[@]}" --dry-run
expect_exit 0
expect_memory_note
expect_line "would copy          $PWD/old/top.qcow2"
expect_line "to                  $PWD/new/top.qcow2"
expect_line "would copy          $PWD/old/memory"
expect_line "would write         $PWD/new/web_one.xml"
expect_line "would write         $PWD/new/web_one-snapshot-01-s1.xml"
expect_line "stays where it is   $PWD/cd.iso"
expect_line "would copy          $PWD/vars"
expect_line "then                virsh define $PWD/new/web_one.xml"
expect_line "                    virsh snapshot-create 'web one' \
$PWD/new/web_one-snapshot-01-s1.xml --redefine --current"
expect_untouched
[ -z "$(ls -A new)" ] || fail 'a dry run has written something'

# A copy: each file once; the XML leads to the copies alone.
run "${words[@]}" --output json --name two --uuid \
    00000000-0000-4000-8000-000000000002
expect_exit 0
expect_memory_note
expect_json '[f["filename"].rsplit("/", 1)[1] for f in doc["files"]] == [
    "top.qcow2", "a.qcow2", "base.qcow2", "b.qcow2", "vars",
    "memory"]'
expect_json '(doc["operation"], doc["move"], doc["dry-run"]) == (
    "relocate", False, False)'
expect_json '[d["kind"] for d in doc["documents"]] == ["domain", "snapshot"]'
expect_equal new/top.qcow2 old/top.qcow2
expect_equal new/b.qcow2 old/b.qcow2
cmp old/memory new/memory || fail 'another memory file'
grep -q '<name>two</name>' new/two.xml || fail 'not the new name'
if grep -r "$PWD/old" new/*.xml; then
    fail 'a path leads to the old folder'
fi
[ "$(stat -c %a new/two.xml)" = 600 ] || fail 'others can read the XML'
[ "$(find . -name '.imgchain*' | wc -l)" -eq 0 ] || fail 'something is left'

grep -q "<nvram>$PWD/new/vars</nvram>" new/two.xml || fail 'a shared NVRAM'

# A second one finds the names taken.
run "${words[@]}"
expect_exit 1
says "$PWD/new/memory: exists already"

# The copy is taken back when nobody has changed it, as a whole.
undo=("${words[@]}" --name two --uuid 00000000-0000-4000-8000-000000000002
    --undo)
echo >>new/two.xml
run "${undo[@]}"
expect_exit 1
says "$PWD/new/two.xml: is not the XML that was written"
truncate -s -1 new/two.xml
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 new/mine.qcow2
run "${undo[@]}"
expect_exit 1
says "$PWD/new/mine.qcow2: is an overlay of $PWD/new/a.qcow2, which is to be \
taken back, and is none of the copies itself: expected nobody to rely on them"
rm new/mine.qcow2
run "${undo[@]}"
expect_exit 0
expect_line "removed             $PWD/new/top.qcow2"
[ -z "$(ls -A new)" ] || fail 'something of the copy is left'

# Nothing is moved away from under somebody else.
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 old/other.qcow2
run "${words[@]}" --move
expect_exit 1
says "$PWD/old/other.qcow2: is an overlay of $PWD/old/a.qcow2, which \
is to be moved away, and is not moved itself: copy (without --move), or \
--allow-outside"
rm old/other.qcow2
# Nor an overlay in the new folder, nor the data file of another image.
for folder in new xml; do
    qemu-img create -q -f qcow2 -b "$PWD/old/a.qcow2" -F qcow2 \
        $folder/other.qcow2
    run "${words[@]}" --move --xml-to xml
    expect_exit 1
    says "$PWD/$folder/other.qcow2: is an overlay of $PWD/old/a.qcow2, which \
is to be moved away, and is not moved itself: copy (without --move), or \
--allow-outside"
    rm $folder/other.qcow2
done
truncate -s 1M old/disk.raw
qemu-img create -q -f qcow2 -o "data_file=$PWD/old/disk.raw" \
    old/keeper.qcow2 1M
sed "s|qcow2'/> <source file='$PWD/old/top.qcow2'|raw'/>\
<source file='$PWD/old/disk.raw'|" web.xml >raw.xml
run metadata relocate --domain raw.xml --to new --disk vda --move
expect_exit 1
grep -q "^imgchain: $PWD/old/keeper.qcow2: has its data in .*disk.raw, which \
is to be moved away, and is not moved itself: " "$test_dir/stderr" ||
    fail "the data file of another image: $(cat "$test_dir/stderr")"
[ -e old/disk.raw ] || fail 'the data file was moved'
rm old/disk.raw old/keeper.qcow2 raw.xml
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 new/a.qcow2 2>/dev/null ||
    touch new/a.qcow2
run "${words[@]}" --move
expect_exit 1
says "$PWD/new/a.qcow2: exists already"
rm new/a.qcow2

# Moved: the XML is changed where it is.
cp -r old kept
run "${words[@]}" --move
expect_exit 0
expect_line "moved               $PWD/old/top.qcow2"
expect_line "rewritten           web.xml"
expect_line "then                virsh define web.xml"
[ -z "$(ls -A old)" ] || fail 'something is left in the old folder'
[ "$(stat -c %a web.xml)" = 640 ] || fail 'another mode'
expect_equal new/top.qcow2 kept/top.qcow2
expect_equal new/b.qcow2 kept/b.qcow2
if grep "$PWD/old" web.xml s1.xml; then
    fail 'a path leads to the old folder'
fi

# And back, one disk alone.
run metadata relocate --domain web.xml --to old --disk vdb --xml-to xml
expect_exit 0
[ "$(ls old)" = 'b.qcow2
base.qcow2' ] || fail "not one disk: $(ls old)"
grep -q "$PWD/old/b.qcow2" xml/web_one.xml || fail 'the disk is not in the XML'
grep -q "$PWD/new/top.qcow2" xml/web_one.xml || fail 'the other disk is not'
run metadata relocate --domain web.xml --to xml --disk vdz
expect_exit 1
expect_stderr <<<'imgchain: --disk: the domain has no disk vdz'
run metadata relocate --recover new --output json
expect_exit 0
expect_json '(doc["operation"], doc["filename"], doc["files"]) == (
    "recover", "new", [])'

# What the XML has below a disk counts, whatever the headers say.
rm old/* xml/*
make_image old/lone.qcow2 1M
sed -e "s|$PWD/new/top.qcow2'/>|&<backingStore type='file'>\
<format type='qcow2'/><source file='$PWD/old/lone.qcow2'/></backingStore>|" \
    web.xml >told.xml
run metadata relocate --domain told.xml --to xml --output json
expect_exit 0
expect_json 'any(f["filename"].endswith("/xml/lone.qcow2")
                 for f in doc["files"])'
grep -q "$PWD/xml/lone.qcow2" xml/web_one.xml || fail 'another backing file'

# libvirt's own files are not replaced under a daemon that runs.
mkdir -p etc/libvirt/qemu run/libvirt away
cp web.xml etc/libvirt/qemu/web.xml
cat >hold.py <<'PY'
import fcntl, sys, time
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(60)
PY
coproc HOLD { exec python3 hold.py run/libvirt/libvirtd.pid; }
let_daemon_go()
{
    kill "$daemon" 2>/dev/null || true
}
daemon=$HOLD_PID
cleanup_hooks+=(let_daemon_go)
read -r -u "${HOLD[0]}" _
export XDG_RUNTIME_DIR=$PWD/run
run metadata relocate --domain etc/libvirt/qemu/web.xml --to away --move
expect_exit 1
says "etc/libvirt/qemu/web.xml: is kept by libvirt, whose daemon runs (process \
$daemon): it has read the file and would write it again; stop it, or have the \
new XML written elsewhere (--xml-to)"
let_daemon_go
wait "$daemon" || true
run metadata relocate --domain etc/libvirt/qemu/web.xml --to away --move
expect_exit 0
expect_line "then                start libvirt's daemon"
