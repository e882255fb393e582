#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# metadata list, tree, show, check and undefine-check over libvirt's folders and
# files: what is printed, and the rules with real images. (What libvirt itself
# says is compared in interop/metadata.py.)
. "$(dirname "$0")/../lib.sh"
requires qemu-img python3 xmllint

uuid=c7a5fdbd-edaf-9455-926a-d65c16db1809

# domain DISKS [MORE]: a domain; DISKS are TARGET=FILE words.
domain()
{
    local disk
    printf "<domain type='qemu'><name>web1</name><uuid>%s</uuid>" "$uuid"
    printf '<memory>16384</memory><os><type>hvm</type>%s</os><devices>' "${2-}"
    for disk in $1; do
        printf "<disk type='file' device='disk'><driver name='qemu' "
        printf "type='qcow2'/><source file='%s'/><target dev='%s' " \
            "$PWD/${disk#*=}" "${disk%%=*}"
        printf "bus='virtio'/></disk>"
    done
    echo '</devices></domain>'
}

# snap NAME PARENT STATE TIME MEMORY DISKS BEFORE [ACTIVE]: its document, in
# snapshot/web1; DISKS and BEFORE as TARGET=FILE, FILE empty: internal.
snap()
{
    local disk
    {
        echo "<domainsnapshot><name>$1</name><state>$3</state>"
        [ -z "$2" ] || echo "<parent><name>$2</name></parent>"
        echo "<creationTime>$4</creationTime><memory $5/><disks>"
        for disk in $6; do
            if [ -n "${disk#*=}" ]; then
                echo "<disk name='${disk%%=*}' snapshot='external' type='file'>"
                echo "<driver type='qcow2'/><source file='$PWD/${disk#*=}'/>"
                echo '</disk>'
            else
                echo "<disk name='${disk%%=*}' snapshot='internal'/>"
            fi
        done
        echo "</disks>$(domain "$7")<active>${8-0}</active></domainsnapshot>"
    } >"snapshot/web1/$1.xml"
}

# saved FILE MAGIC: a saved image of the domain, as far as it matters.
saved()
{
    domain vda=a.s2 | python3 -c '
import struct, sys
xml = sys.stdin.buffer.read().strip() + b"\0" + bytes(256)
head = sys.argv[2].encode() + struct.pack("=5I", 2, len(xml), 1, 0, 0)
open(sys.argv[1], "wb").write(head + bytes(56) + xml + b"QEVM" + bytes(4096))
' "$1" "$2"
}

# The hierarchy: s1 internal, s2 an overlay, s3 an overlay with memory; e
# branches off.
make_all()
{
    rm -rf ./*
    if [ -d ../all ]; then
        cp -a ../all/. .
        return
    fi
    mkdir -p snapshot/web1 save
    make_image a.qcow2 1M
    qemu-img snapshot -c s1 a.qcow2
    qemu-img snapshot -c e a.qcow2
    make_overlay a.s2 a.qcow2
    make_overlay a.s3 a.s2
    saved mem LibvirtQemudSave
    snap s1 '' shutoff 1700000000 "snapshot='no'" vda= vda=a.qcow2
    snap s2 s1 disk-snapshot 1700000100 "snapshot='no'" vda=a.s2 vda=a.qcow2
    snap s3 s2 running 1700000200 "snapshot='external' file='$PWD/mem'" \
        vda=a.s3 vda=a.s2 1
    snap e s1 shutoff 1700000300 "snapshot='no'" vda= vda=a.qcow2
    domain vda=a.s3 >web1.xml
    cp -a . ../all
}

make_all
export TZ=UTC

# ---- list, tree, show.

run metadata list snapshot/web1
expect_exit 0
expect_no_stderr
expect_stdout <<'TEXT'
  s1  2023-11-14 22:13:20 +0000  shutoff  internal
  s2  2023-11-14 22:15:00 +0000  disk-snapshot  external, disk only  on s1
* s3  2023-11-14 22:16:40 +0000  running  external, memory  on s2
  e  2023-11-14 22:18:20 +0000  shutoff  internal  on s1
TEXT
run metadata tree snapshot/web1
expect_exit 0
expect_stdout <<'TEXT'
s1  internal, shutoff, 2023-11-14 22:13:20 +0000
├─ s2  external, disk only, disk-snapshot, 2023-11-14 22:15:00 +0000
│  └─ s3  external, memory, running, 2023-11-14 22:16:40 +0000, current
└─ e  internal, shutoff, 2023-11-14 22:18:20 +0000
TEXT
run metadata tree snapshot/web1 --output dot
expect_exit 0
expect_line '  n2 -> n1;'
expect_line '  n2 [label="s3\nexternal, memory, running, 2023-11-14 22:16:40 +0000, current", penwidth=2];'
run metadata tree snapshot/web1 --output svg
expect_exit 0
xmllint --noout "$test_dir/stdout" || fail 'no SVG'
run metadata tree snapshot/web1 --output json
expect_exit 0
expect_json '[s["name"] for s in doc["snapshots"]] == ["s1", "s2", "s3", "e"]'
expect_json 'doc["unread"] == []'
run metadata list snapshot/web1 --output json
expect_json 'doc[2]["memory"]["filename"].endswith("/mem")'
expect_json '(doc[2]["disks"][0]["filename"].endswith("/a.s3") and
              doc[2]["disks"][0]["source"].endswith("/a.s2") and
              doc[2]["disks"][0]["snapshot"] == "external")'
expect_json 'doc[0]["current"] is False and doc[2]["current"] is True'
expect_json 'doc[3]["parent"] == "s1" and "parent" not in doc[0]'
expect_json 'doc[1]["creation-time"] == 1700000100 and doc[1]["problems"] == []'
run metadata show s3 snapshot/web1
expect_exit 0
expect_line "  overlay           $PWD/a.s3 (qcow2)"
expect_line "  before it         $PWD/a.s2 (qcow2)"
expect_line 'current             yes'
run metadata show s1 snapshot/web1
expect_line 'child               s2'
expect_line 'child               e'
run metadata show s2 snapshot/web1 --xml
expect_exit 0
cmp -s "$test_dir/stdout" snapshot/web1/s2.xml || fail 'not the document'
refuses 1 'found no snapshot of the name x' metadata show x snapshot/web1
refuses 1 '--current: found no snapshot of the name x' \
    metadata list --current x snapshot/web1
run metadata list --current s2 snapshot/web1/s2.xml snapshot/web1/s1.xml
expect_exit 0
grep -q '^\* s2 ' "$test_dir/stdout" || fail 's2 is not current'
refuses 2 "expected libvirt's folder of a domain's snapshots, their files, or --connect" \
    metadata list
refuses 2 '--connect and files exclude each other' metadata tree --connect \
    test:///default snapshot/web1
refuses 2 "--require-sandbox does not go with --connect: libvirt's library is not confined" \
    metadata list --connect test:///default --domain x --require-sandbox

# A hostile folder: names are escaped, what is no document is told.
printf 'junk\n' >"snapshot/web1/$(printf 'a\033[31m')"
sed 's/<name>e</<name>e\&#x9b;"\&lt;</; s/<name>s1</<name>gone</' \
    snapshot/web1/e.xml >snapshot/web1/odd.xml
run metadata tree snapshot/web1
expect_exit 1
LC_ALL=C grep -q $'\x1b\|\xc2\x9b' "$test_dir/stdout" "$test_dir/stderr" &&
    fail 'control characters are printed'
grep -qF '\x1b[31m' "$test_dir/stderr" || fail 'the file is not told of'
expect_line '     its parent gone is not there'
run metadata tree snapshot/web1 --output svg
xmllint --noout "$test_dir/stdout" || fail 'no SVG'
run metadata tree snapshot/web1 --output json
expect_exit 1
expect_json '([s["problems"][0]["id"] for s in doc["snapshots"]
               if s["problems"]] == ["parent-missing"])'
expect_json 'len(doc["unread"]) == 1'

# ---- check.

# finds ID RESULT MOMENT [ARGUMENTS...]: a check comes out like that, and all
# that fails or is unproven is of IDs in $follows.
finds()
{
    local id=$1 result=$2 moment=$3 code=0
    shift 3
    case $result in fail) code=1 ;; unproven) code=2 ;; esac
    run metadata check --domain web1.xml --output json \
        "${@:-snapshot/web1}"
    expect_exit $code
    expect_json '(any(c["id"] == "'"$id"'" and c["result"] == "'"$result"'" and
                      c.get("moment", "") == "'"$moment"'"
                      for c in doc["checks"]) and
                  {c["id"] for c in doc["checks"]
                   if c["result"] in ("fail", "unproven")} <=
                  set("'"$id ${follows-}"'".split()))'
}

make_all
run metadata check --domain web1.xml snapshot/web1
expect_exit 0
head -n 1 "$test_dir/stdout" | grep -qx 'accepted: the metadata of domain web1' ||
    fail 'no verdict on the first line'
run metadata check --domain web1.xml --root "$PWD" --output json snapshot/web1
expect_exit 0
expect_json 'all(c["result"] == "pass" for c in doc["checks"])'
expect_json 'doc["operation"] == "check" and doc["snapshots"] == 4'
expect_json '({"libvirt-redefine", "metadata-read", "metadata-active",
               "overlay-backing", "snapshot-chain", "domain-disk",
               "internal-snapshot", "stranded-snapshot", "memory-file"} <=
              {c["id"] for c in doc["checks"]})'
mkdir elsewhere
follows=memory-file finds image-readable unproven s1 --root elsewhere \
    --root snapshot snapshot/web1
refuses 2 "option --domain is missing: the domain's XML" metadata check \
    snapshot/web1
refuses 2 '--checkpoints and --checkpoints-from exclude each other' metadata \
    check --domain web1.xml --checkpoints --checkpoints-from x snapshot/web1

echo junk >snapshot/web1/junk
finds metadata-read fail ''
make_all
mv snapshot/web1/e.xml snapshot/web1/f
finds metadata-filename fail e
expect_json '([c["remedy"] for c in doc["checks"] if c["result"] == "fail"] ==
              ["mv -n -- snapshot/web1/f snapshot/web1/e.xml"])'
make_all
sed -i 's/<active>.*<.active>//' snapshot/web1/e.xml
finds metadata-active fail e
# Files as virsh dumps them have none.
finds internal-snapshot pass '' --current s3 snapshot/web1/*.xml
make_all
sed -i 's/<active>0/<active>1/' snapshot/web1/e.xml
finds metadata-current fail e
make_all
sed -i 's/<name>s1</<name>gone</' snapshot/web1/s2.xml
follows=metadata-current-kept finds libvirt-parent fail s2
follows=libvirt-parent finds metadata-current-kept fail s3
make_all
sed -i 's/<name>s1</<name>s3</' snapshot/web1/s2.xml
follows='metadata-current-kept snapshot-chain' finds libvirt-parent fail s2
make_all
cp snapshot/web1/s2.xml snapshot/web1/s2b.xml
follows='metadata-filename' finds metadata-double fail s2
make_all
sed -i 's/<name>web1</<name>old</' snapshot/web1/e.xml
finds metadata-domain-name warn e
make_all
sed -i "s/<uuid>c7/<uuid>d8/" snapshot/web1/e.xml
finds libvirt-redefine fail e
make_all
sed -i 's/<state>shutoff/<state>asleep/' snapshot/web1/e.xml
finds libvirt-redefine fail e

# Images.
make_all
mv a.s2 away
follows='overlay-backing snapshot-chain domain-disk' finds image-exists fail ''
make_all
printf 'X%.0s' {1..512} | dd of=a.s3 conv=notrunc status=none
follows=domain-disk finds image-format fail ''
make_all
qemu-img rebase -u -b "" a.s3
finds overlay-backing fail s3
expect_json 'any(c.get("remedy", "").startswith("imgchain rebase -f qcow2 -u")
                 for c in doc["checks"])'
make_all
make_overlay between a.qcow2
qemu-img rebase -u -b between -F qcow2 a.s2
finds overlay-backing warn s2
make_all
domain vda=a.s2 >web1.xml
finds domain-disk warn s3
domain vda=a.qcow2 >web1.xml
finds domain-disk fail s3
domain '' >web1.xml
finds domain-disk warn s3
make_all
snap e s3 shutoff 1700000300 "snapshot='no'" vda= vda=a.qcow2
finds snapshot-chain fail e
make_all
sed -i "s|<driver type='qcow2'/><source|<driver type='qcow2'/><snapshotDeleteInProgress/><source|" \
    snapshot/web1/s2.xml
finds delete-unfinished warn s2
make_all
qemu-img snapshot -d e a.qcow2
finds internal-snapshot fail e
expect_json 'any(c.get("remedy") == "virsh snapshot-delete --metadata web1 e"
                 for c in doc["checks"])'
make_all
sed -i "s/<state>shutoff/<state>running/; s/<memory [^>]*>/<memory snapshot='internal'\/>/" \
    snapshot/web1/e.xml
finds internal-memory fail e
make_all
qemu-img snapshot -c stray a.s3
finds stranded-snapshot warn ''
rm snapshot/web1/e.xml
finds stranded-snapshot warn ''

# Memory.
make_all
rm mem
finds memory-file fail s3
saved mem LibvirtQemudPart
finds memory-file fail s3
echo junk >mem
finds memory-file fail s3
saved mem LibvirtQemudSave
finds memory-file pass ''
sed -i 's/<uuid>c7/<uuid>d8/' mem
finds memory-file fail s3
saved mem LibvirtQemudSave
sed -i 's/a\.s2/a.s9/' mem
finds memory-file warn s3

# Checkpoints, alone and beside snapshots.
make_all
mkdir -p checkpoint/web1
for name in c1 c2; do
    {
        echo "<domaincheckpoint><name>$name</name>"
        [ $name = c1 ] || echo '<parent><name>c1</name></parent>'
        echo '<creationTime>1700000400</creationTime><disks>'
        echo "<disk name='vda' checkpoint='bitmap' bitmap='$name'/></disks>"
        echo "$(domain vda=a.s3)</domaincheckpoint>"
    } >checkpoint/web1/$name.xml
    qemu-img bitmap --add a.s3 $name
done
run metadata list --checkpoints checkpoint/web1
expect_exit 0
expect_line '  c2  2023-11-14 22:20:00 +0000  -  checkpoint  on c1'
run metadata show c2 --checkpoints checkpoint/web1
expect_line 'disk                vda: bitmap c2'
both=(--checkpoints-from checkpoint/web1 snapshot/web1)
finds bitmap-exists pass '' "${both[@]}"
expect_json 'doc["checkpoints"] == 2 and doc["snapshots"] == 4'
finds bitmap-exists pass '' --checkpoints checkpoint/web1
qemu-img bitmap --disable a.s3 c1
finds bitmap-recording fail c1 "${both[@]}"
qemu-img bitmap --remove a.s3 c1
finds bitmap-exists fail c1 "${both[@]}"
qemu-img bitmap --add a.s3 c1
qemu-img bitmap --add a.s3 stray
finds stranded-bitmap warn '' "${both[@]}"
sed -i "s/<domain type='qemu'>/<domain type='qemu' id='4'>/" web1.xml
finds bitmap-exists unproven '' "${both[@]}"
domain vdb=a.s3 >web1.xml
finds checkpoint-disk fail c1 "${both[@]}"

# Reports.
make_all
qemu-img snapshot -d e a.qcow2
run metadata check --domain web1.xml snapshot/web1 --report junit=r.xml \
    --report sarif=r.json
expect_exit 1
grep -q 'classname="metadata.check.e.vda" name="internal-snapshot"' r.xml ||
    fail 'no case in the JUnit report'
xmllint --noout r.xml || fail 'no JUnit'
python3 - <<'PYTHON' || fail 'not in the SARIF report'
import json
results = json.load(open("r.json"))["runs"][0]["results"]
assert [r["properties"]["moment"] for r in results if r["level"] == "error"] == ["e"]
PYTHON
expect_line 'FAIL internal-snapshot'
expect_line '  of       e'

# ---- undefine-check.

make_all
run metadata undefine-check --domain web1.xml snapshot/web1 --output json
expect_exit 1
expect_json '([c["id"] for c in doc["checks"] if c["result"] == "fail"] ==
              ["undefine-snapshots"])'
expect_json 'any(c["id"] == "undefine-stranded" and c["found"] == "2: s1, e"
                 for c in doc["checks"] if "found" in c)'
expect_json '(doc["steps"][0] == "imgchain metadata export --domain web1.xml " +
              "--to web1.json snapshot/web1")'
expect_json '(doc["steps"][-2] == "(umask 077; set -C; virsh dumpxml " +
              "--inactive --security-info --domain='$uuid' >domain.xml)")'
expect_json '(doc["steps"][-1] == "virsh undefine --domain='$uuid' " +
              "--snapshots-metadata # web1")'
: >save/web1.save
: >vars.fd
domain vda=a.s3 "<nvram>$PWD/vars.fd</nvram>" |
    sed "s|<devices>|&<tpm model='tpm-crb'><backend type='emulator'/></tpm>|" >web1.xml
run metadata undefine-check --domain web1.xml snapshot/web1
expect_exit 1
expect_line "    virsh undefine --domain=$uuid --snapshots-metadata --managed-save --keep-nvram --keep-tpm # web1"
expect_line '    test ! -e web1.save && cp --reflink=auto -- save/web1.save web1.save &&'
run metadata undefine-check --domain web1.xml --transient snapshot/web1 \
    --output json
expect_exit 1
expect_json '"transient" in doc["checks"][0]["message"]'
domain vda=a.s3 >web1.xml
rm -r snapshot/web1/* save/web1.save
run metadata undefine-check --domain web1.xml snapshot/web1 --output json
expect_exit 0
expect_json 'doc["steps"] == []'
# Where libvirt keeps saved states is not known of any other folder.
mv snapshot/web1 other
run metadata undefine-check --domain web1.xml other
expect_exit 2
run metadata undefine-check --domain web1.xml --managed-save mem other
expect_exit 1
expect_line '    test ! -e mem && cp --reflink=auto -- mem mem &&'
