#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# saved-image: what is printed, changed, refused and judged. Images are laid out
# by hand here; those of a real libvirt, and what virsh says to the same
# changes, are in interop/saved_image.py.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../saved_lib.sh"
requires qemu-img python3

# stream FILE: a hash of the memory in it.
stream()
{
    python3 - "$1" <<'PYTHON'
import hashlib, struct, sys
data = open(sys.argv[1], "rb").read()
print(hashlib.sha256(data[92 + struct.unpack("<I", data[20:24])[0]:]).hexdigest())
PYTHON
}

mkdir images moved
make_image images/a.qcow2 1M
cp images/a.qcow2 moved/a.qcow2
here=$PWD
vnc="<graphics type='vnc' passwd='geheim' port='5901'/>"
domain a.xml "$(disk "$here/images/a.qcow2")" "$vnc"
saved a.save a.xml cookie='<cookie/>'
touch -d '1 minute' a.save

# ---- dumpxml
run saved-image dumpxml --as-stored a.save
expect_exit 0
expect_no_stderr
sed "s/ passwd='geheim'//" a.xml | expect_stdout
run saved-image dumpxml --as-stored --security-info a.save
expect_exit 0
expect_stdout <a.xml
run saved-image dumpxml --as-stored --output json a.save
expect_exit 0
expect_json '(doc["was-running"] is True and doc["compression-name"] == "raw"
             and doc["version"] == 2 and doc["free"] == 4096
             and doc["cookie"] == "<cookie/>" and "geheim" not in doc["xml"]
             and doc["length"] - doc["stream-offset"] == 1007)'

# What libvirt makes up when it reads it is there, unless it is to be left out.
run saved-image dumpxml a.save
grep -qF "    <controller type='pci' index='0' model='pci-root'/>" \
    "$test_dir/stdout" || fail 'nothing is made up'
"$imgchain" saved-image dumpxml --security-info a.save >whole.xml
run saved-image define a.save whole.xml
expect_exit 0
"$imgchain" saved-image define a.save a.xml >/dev/null

# ---- Headers that are none, or lie: one line each, and nothing is changed.
# broken TEXT FIELDS...
broken()
{
    local text=$1
    shift
    saved bad.save a.xml "$@"
    refuses 1 "bad.save: $text" saved-image dumpxml bad.save
    remember
    run saved-image define --map /a=/b bad.save
    expect_exit 1
    expect_message "$text"
    expect_untouched
    run saved-image check bad.save
    expect_exit 1
}
broken 'the saved image is incomplete: libvirt did not come to the end of writing it' \
    magic=LibvirtQemudPart
broken 'not libvirt'"'"'s saved image: found "LibvirtQemudSafe", expected "LibvirtQemudSave" (offset 0)' \
    magic=LibvirtQemudSafe
broken 'unknown version of libvirt'"'"'s saved image: found 3 (in the other byte order 50331648), expected at most 2 (offset 16)' \
    version=3
broken 'the header has no room for the domain'"'"'s XML: found a length of 0 (offset 20)' \
    length=0
size=$(($(stat -c %s bad.save) - 92))
for length in $((size + 1)) 4294967295 4294967204; do
    broken "the domain's XML goes past the end of the file: found a length of $length, expected at most $size (offset 20)" \
        length=$length
done
for at in 100000 4294967295; do
    saved bad.save a.xml cookie_at=$at
    length=$(($(stat -c %s bad.save) - 92 - 1007))
    broken "the cookie lies past the space of the XML: found offset $at, expected at most $length (offset 32)" \
        cookie_at=$at
done
broken 'the domain'"'"'s XML has no end: found no NUL in its 9 bytes (offset 92)' \
    cookie_at=9
broken "the domain's XML has no end: found no NUL in its 20 bytes (offset 92)" \
    length=20
head -c 91 a.save >bad.save
refuses 1 "bad.save: too short for libvirt's saved image: found 91 bytes, expected a header of 92" \
    saved-image dumpxml bad.save
refuses 1 'no.save: cannot open: No such file or directory' \
    saved-image dumpxml no.save
refuses 1 'images: is a directory, expected a regular file or a block device' \
    saved-image dumpxml images

# A host of the other byte order wrote it: it is read, and written natively.
saved swapped.save a.xml order=big
run saved-image dumpxml --output json --security-info swapped.save
expect_exit 0
expect_json 'doc["byte-order"] == "other" and doc["version"] == 2'
run saved-image define --paused swapped.save
expect_exit 0
run saved-image dumpxml --output json swapped.save
expect_json 'doc["byte-order"] == "native" and doc["was-running"] is False'

# ---- define
before=$(stream a.save)
inode=$(stat -c %i:%a:%s a.save)
chmod 600 a.save
inode=$(stat -c %i:%a:%s a.save)
sed 's/<name>/<title>new<\/title><name>/' a.xml >b.xml
run saved-image define --dry-run a.save b.xml
expect_exit 0
expect_line 'would define        a.save'
cp a.save old.save
run saved-image define a.save b.xml
expect_exit 0
expect_no_stderr
expect_line 'defined             a.save'
[ "$(stream a.save)" = "$before" ] || fail 'the memory was touched'
[ "$(stat -c %i:%a:%s a.save)" = "$inode" ] || fail 'it is another file'
run saved-image dumpxml --as-stored --security-info a.save
expect_stdout <b.xml
# The cookie is still there; what it replaced was.
run saved-image dumpxml --as-stored --output json a.save
expect_json 'doc["cookie"] == "<cookie/>"'
remember
run saved-image define a.save b.xml
expect_exit 0
expect_line 'unchanged           a.save'
expect_untouched
# Back again, byte for byte, from standard input.
"$imgchain" saved-image define a.save - <a.xml >/dev/null
cmp a.save old.save || fail 'not what it was'

run saved-image define --paused a.save
expect_exit 0
expect_line 'restored as         paused'
run saved-image define --running a.save a.xml
expect_exit 0
cmp a.save old.save || fail 'not what it was'

# A pipe is read once; what is not there is no XML; a dry run only reads.
run saved-image define --running a.save <(cat a.xml)
expect_exit 0
refuses 1 'none.save: cannot open: No such file or directory' \
    saved-image define --running a.save none.save
if [ "$(id -u)" -ne 0 ]; then
    chmod 400 a.save
    run saved-image define --dry-run --paused a.save
    expect_exit 0
    chmod 600 a.save
fi

# Too much for its room: refused, with both numbers, and untouched.
python3 - <<'PYTHON'
text = open("a.xml").read()
open("long.xml", "w").write(text.replace("<name>", "<title>%s</title><name>"
                                         % ("x" * 5000)))
PYTHON
remember
long=$(($(stat -c %s long.xml) + 1 + 10))
room=$(($(stat -c %s a.xml) + 1 + 10 + 4096))
refuses 1 "a.save: the new XML does not fit: found $long bytes with the cookie, expected at most $room" \
    saved-image define a.save long.xml
expect_untouched

# What the guest would notice.
sed 's/<name>web1/<name>web2/' a.xml >b.xml
remember
refused_for abi-stable "Target domain name 'web2' does not match source 'web1'"
refused_for abi-stable "Target domain name 'web2' does not match source 'web1'" \
    --force
sed 's/16384/16385/' a.xml >b.xml
remember
refused_for abi-stable "Target domain memory '16385' does not match source '16384'"
domain b.xml "$(disk "$here/images/a.qcow2" qcow2 \
    "<blockio logical_block_size='4096'/>")" "$vnc"
remember
refused_for guest-visible 'Target disk vda blockio is new, source has none'
run saved-image define --force --dry-run a.save b.xml
expect_exit 0
expect_message 'Target disk vda blockio is new'
echo '<domain' >b.xml
remember
run saved-image define a.save b.xml
expect_exit 1
expect_message 'b.xml: line 2: not XML'
expect_untouched

domain b.xml "$(disk "$here/images/a.qcow2")" "$vnc<emulator>/no/qemu</emulator>"
saved e.save b.xml
sed 's|/no/qemu|/no/other|' b.xml >c.xml
run saved-image define e.save c.xml
expect_exit 1
expect_line '  the emulator "/no/other" cannot be run here'
sed 's|</name>|</name><title>t</title>|' b.xml >c.xml
run saved-image define e.save c.xml
expect_exit 0

# The new disk: as the XML says, and as large as the guest knows it.
make_image images/large.qcow2 2M
qemu-img convert -O raw images/a.qcow2 images/a.raw
domain b.xml "$(disk "$here/images/large.qcow2")" "$vnc"
remember
refused_for disk-size 'its size is not what the guest knows'
domain b.xml "$(disk "$here/images/a.qcow2" raw)" "$vnc"
remember
refused_for disk-format 'the XML says raw, and it looks like qcow2'
domain b.xml "$(disk "$here/images/a.raw" qcow2)" "$vnc"
remember
refused_for disk-format 'declared as qcow2'
domain b.xml "$(disk "$here/images/none")" "$vnc"
remember
refused_for disk-exists 'No such file'
run saved-image define --force --dry-run a.save b.xml
expect_exit 0
domain b.xml "$(disk "$here/images/a.raw" raw)" "$vnc"
run saved-image define --dry-run a.save b.xml
expect_exit 0

# ---- --map: several images, all or none.
saved b.save a.xml
saved c.save a.xml
touch -d '1 minute' b.save c.save
run saved-image define --map "$here/images=$here/moved" a.save b.save c.save
expect_exit 0
for file in a b c; do
    run saved-image dumpxml $file.save
    grep -qF "file='$here/moved/a.qcow2'" "$test_dir/stdout" ||
        fail "$file.save names the old path"
done
run saved-image define --output json --map "$here/moved=$here/images" a.save b.save
expect_exit 0
expect_json '([m["to"] for i in doc["images"] for m in i["moves"]] ==
             ["'"$here"'/images/a.qcow2"] * 2)'
head -c 91 a.save >bad.save
remember
run saved-image define --map "$here/images=$here/moved" a.save bad.save c.save
expect_exit 1
expect_untouched
run saved-image define --map "$here/images=$here/none" a.save c.save
expect_exit 1
expect_untouched
# A rule together with new XML.
domain b.xml "$(disk "$here/images/a.qcow2")" "$vnc<input type='mouse' bus='ps2'/>"
run saved-image define --map "$here/images=$here/moved" a.save b.xml
expect_exit 0
run saved-image dumpxml --as-stored --security-info a.save
sed "s|$here/images|$here/moved|" b.xml | expect_stdout
"$imgchain" saved-image define a.save a.xml >/dev/null

# ---- edit
cat >editor <<'SCRIPT'
#!/bin/sh
[ "$(stat -c %a "$1")" = 600 ] || exit 9
grep -q geheim "$1" || exit 8
sed -i "$EDIT" "$1"
SCRIPT
chmod +x editor
export VISUAL=./editor TMPDIR=$test_dir EDIT='s/<name>/<title>e<\/title><name>/'
run saved-image edit a.save
expect_exit 0
expect_line 'defined             a.save'
run saved-image dumpxml --as-stored a.save
grep -qF '<title>e</title>' "$test_dir/stdout" || fail 'not edited'
EDIT=
run saved-image edit a.save
expect_exit 0
expect_line 'unchanged           a.save'
EDIT='s/16384/9999/' run saved-image edit a.save
expect_exit 1
expect_no_stdout
grep -qF "a.save: Target domain memory '9999' does not match source '16384'" \
    "$test_dir/stderr" || fail 'no reason'
kept=$(sed -n 's/.*the edited XML is kept in //p' "$test_dir/stderr")
grep -qF '<memory>9999</memory>' "$kept" || fail 'the edit is lost'
[ "$(stat -c %a "$kept")" = 600 ] || fail 'others can read it'
rm "$kept"
VISUAL='false' run saved-image edit a.save
expect_exit 1
grep -qF 'imgchain: the editor ended with exit code 1' "$test_dir/stderr" ||
    fail 'no reason'
VISUAL='/no/editor' run saved-image edit a.save
expect_exit 1
grep -qF 'imgchain: nothing was done' "$test_dir/stderr" ||
    fail 'not what became of the image'
# left_over: whether a text with secrets in it lies about.
left_over()
{
    [ -n "$(find "$test_dir" -maxdepth 1 -name 'imgchain-*.xml')" ]
}
left_over && fail 'something is left'

# Somebody else was faster: his change stays.
cat >meanwhile <<'SCRIPT'
#!/bin/sh
sed 's|<name>|<title>theirs</title><name>|' a.xml >theirs.xml
"$IMGCHAIN" saved-image define a.save theirs.xml >/dev/null || exit 9
sed -i 's|<name>|<title>ours</title><name>|' "$1"
SCRIPT
chmod +x meanwhile
IMGCHAIN=$imgchain VISUAL=./meanwhile run saved-image edit a.save
expect_exit 1
grep -qF 'a.save: its XML was changed while this one was edited' \
    "$test_dir/stderr" || fail 'no reason'
run saved-image dumpxml --as-stored a.save
grep -qF '<title>theirs</title>' "$test_dir/stdout" || fail 'a lost update'
rm "$test_dir"/imgchain-*.xml
"$imgchain" saved-image define a.save a.xml >/dev/null

# Ctrl-C is the editor's; who is ended leaves no secrets behind.
cat >signal <<'SCRIPT'
#!/bin/sh
pid=$PPID
grep -q imgchain /proc/$pid/comm || pid=$(cut -d' ' -f4 /proc/$pid/stat)
kill -"$SIGNAL" "$pid"
SCRIPT
chmod +x signal
SIGNAL=INT VISUAL=./signal run saved-image edit a.save
expect_exit 0
for SIGNAL in TERM HUP; do
    SIGNAL=$SIGNAL VISUAL=./signal "$imgchain" saved-image edit a.save \
        >/dev/null 2>&1 && fail 'not ended'
    left_over && fail "SIG$SIGNAL leaves secrets"
done
unset VISUAL TMPDIR
rm -f "$test_dir"/imgchain-*.xml

# ---- check
"$imgchain" saved-image define a.save a.xml >/dev/null
touch -d '1 minute' a.save
run saved-image check a.save
expect_exit 0
expect_line 'accepted: a.save'
run saved-image check --output json a.save b.save
expect_exit 0
expect_json '(doc["verdict"] == "accepted" and
             {c["id"] for c in doc["checks"]} == {"saved-header",
             "saved-complete", "saved-compression", "saved-xml",
             "saved-cookie", "disk-exists", "disk-chain", "disk-format"})'

# judged RESULT ID TEXT EXIT FILE: one check of it.
judged()
{
    run saved-image check --output json "$5"
    expect_exit "$4"
    expect_json 'any(c["id"] == "'"$2"'" and c["result"] == "'"$1"'"
                     and "'"$3"'" in c["message"] for c in doc["checks"])'
}
saved x.save a.xml magic=LibvirtQemudPart
judged fail saved-complete 'libvirt did not come to the end' 1 x.save
saved x.save a.xml compression=1
judged fail saved-compression 'not what the header says' 1 x.save
saved x.save a.xml compression=1 stream=1f8b0800
judged pass saved-compression 'as the header says: gzip' 0 x.save
saved x.save a.xml compression=5 stream=28b52ffd
judged warn saved-compression 'from version 11 on' 0 x.save
saved x.save a.xml compression=7
judged fail saved-compression 'no compression that libvirt knows' 1 x.save
saved x.save a.xml compression=7 version=1
judged pass saved-compression 'raw' 0 x.save
saved x.save a.xml order=big
judged warn saved-header 'other byte order' 0 x.save
saved x.save a.xml cookie='<cookie'
judged fail saved-cookie 'not XML' 1 x.save
echo '<network/>' >x.xml
saved x.save x.xml
judged fail saved-xml 'found <network>' 1 x.save
domain x.xml "$(disk "$here/images/a.qcow2" qcow3)"
saved x.save x.xml
judged fail saved-xml 'libvirt refuses it: ' 1 x.save
domain x.xml "$(disk "$here/gone.qcow2")"
saved x.save x.xml
judged fail disk-exists 'No such file' 1 x.save
domain x.xml "$(disk "$here/images/a.raw")"
saved x.save x.xml
judged fail disk-format 'declared as qcow2' 1 x.save
domain x.xml "$(disk "$here/images/a.qcow2" raw)"
saved x.save x.xml
judged warn disk-format 'looks like qcow2' 0 x.save
make_overlay images/top.qcow2 a.qcow2
mv images/a.qcow2 images/aa.qcow2
domain x.xml "$(disk "$here/images/top.qcow2")"
saved x.save x.xml
judged fail disk-chain 'No such file' 1 x.save
mv images/aa.qcow2 images/a.qcow2
judged pass disk-chain 'its chain is whole: 2 layers' 0 x.save
touch -d '2 minutes' images/top.qcow2
judged warn disk-untouched 'written after the memory was saved' 0 x.save
domain x.xml "$(disk "$here/images/a.qcow2")$(disk "$here/images/a.qcow2" |
    sed s/vda/vdb/)"
saved x.save x.xml
judged fail disk-distinct 'the same file as disk vda' 1 x.save
domain x.xml ''
saved x.save x.xml
truncate -s $((92 + $(stat -c %s x.xml) + 1 + 4096)) x.save
judged fail saved-complete 'there is no memory in it' 1 x.save
run saved-image check no.save
expect_exit 1
run saved-image check --report sarif=a.save a.save
expect_exit 2

# ---- Usage.
refuses 2 'expected a saved image' saved-image define
refuses 2 'expected the new XML, --map, --running or --paused' \
    saved-image define a.save
refuses 2 '--running and --paused exclude each other' \
    saved-image define --running --paused a.save
refuses 2 'expected one saved image and its XML, or --map' \
    saved-image define a.save b.save c.save
refuses 2 '--recover goes without files' saved-image define --recover . a.save
run saved-image define --recover .
expect_exit 0
