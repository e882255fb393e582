#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# preflight: what libvirt would refuse, case by case; the disks of a request
# together; what is printed. (What libvirt really does is compared in
# interop/reuse_ext.py; the rules for a destination have tests of their own.)
. "$(dirname "$0")/../lib.sh"
requires qemu-img qemu-io python3

# disk TARGET FILE [MORE]: one of a domain, with MORE in it.
disk()
{
    printf "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    printf "<source file='%s'/><target dev='%s' bus='virtio'/>%s</disk>" \
        "$PWD/$2" "$1" "${3-}"
}

# domain FILE ID DISKS [MORE]: its XML; running if ID is one.
domain()
{
    local id=${2:+" id='$2'"}
    {
        echo "<domain type='qemu'$id><name>web1</name>"
        echo '<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>'
        echo '<memory>16384</memory><os><type>hvm</type></os>'
        printf '<devices>%s%s</devices></domain>\n' "$3" "${4-}"
    } >"$1"
}

# refused_by ID TEXT ARGUMENTS...: exit 1, and check ID fails with TEXT.
refused_by()
{
    local id=$1 text=$2
    shift 2
    run preflight "$@" --output json
    expect_exit 1
    expect_json 'any(c["id"] == "'"$id"'" and c["result"] == "fail"
                     and "'"$text"'" in c["message"] for c in doc["checks"])'
}

make_image base.qcow2 16M
fill base.qcow2 1 0 1M
make_overlay a.qcow2 base.qcow2
make_overlay b.qcow2 base.qcow2
make_overlay a.new a.qcow2
make_overlay b.new b.qcow2
make_overlay a.copy base.qcow2
qemu-img create -q -f qcow2 a.full 16M
domain live.xml 3 "$(disk vda a.qcow2)$(disk vdb b.qcow2)"
domain off.xml '' "$(disk vda a.qcow2)$(disk vdb b.qcow2)"
vda=vda,file=$PWD/a.new
vdb=vdb,file=$PWD/b.new
both=(--domain live.xml --diskspec "$vda" --diskspec "$vdb" --disk-only
    --reuse-external)
copy=(--domain live.xml --target vda --dest "$PWD/a.copy" --format qcow2
    --shallow --reuse-external --transient-job)

# Accepted: two disks, running and not; copies; in each form of the request.
run preflight "${both[@]}"
expect_exit 0
expect_no_stderr
head -n 1 "$test_dir/stdout" | grep -qx 'accepted: the snapshot of domain web1' ||
    fail 'no verdict on the first line'
expect_line "    virsh snapshot-create-as web1 --diskspec $vda --diskspec $vdb --disk-only --reuse-external"
run preflight "${both[@]}" --output json
expect_exit 0
expect_json '{"libvirt-xml", "libvirt-flags", "libvirt-disks", "domain-chain",
              "dest-shared"} <= {c["id"] for c in doc["checks"]}'
expect_json '[c["disk"] for c in doc["checks"] if c["id"] == "content-equal"
              ] == ["vda", "vdb"]'
expect_json '[q["execute"] for q in doc["qmp"]] == ["blockdev-add"] * 4 + [
              "transaction"]'
expect_json 'len(doc["qmp"][4]["arguments"]["actions"]) == 2'
expect_json 'doc["proof"]["same-file"] == 2 * 16777216'
expect_json '[d["disk"] for d in doc["disks"]] == ["vda", "vdb"]'
run preflight "${both[@]}" -q
expect_exit 0
expect_no_stdout
cat >snap.xml <<XML
<domainsnapshot><name>s1</name><disks>
<disk name='vda' snapshot='external'><driver type='qcow2'/>
<source file='$PWD/a.new'/></disk><disk name='vdb' snapshot='no'/>
</disks></domainsnapshot>
XML
run preflight --domain off.xml --snapshot snap.xml --reuse-external \
    --disk-only --output json
expect_exit 0
expect_json 'doc["running"] is False and doc["qmp"] == []'
expect_json 'doc["virsh"].startswith("virsh snapshot-create web1 snap.xml ")'
run preflight "${copy[@]}" --output json
expect_exit 0
expect_json '[q["execute"] for q in doc["qmp"]] == ["blockdev-add"] * 2 + [
              "blockdev-mirror"] + ["blockdev-add"] * 2 + ["transaction",
              "job-complete"]'
expect_json 'doc["qmp"][2]["arguments"]["sync"] == "top"'
expect_json 'doc["qmp"][3]["arguments"]["filename"].endswith("/base.qcow2")'
cat >copy.xml <<XML
<disk type='file'><driver type='qcow2'/><source file='$PWD/a.full'/></disk>
XML
run preflight --domain live.xml --copy-disk copy.xml --target vda \
    --reuse-external --transient-job --output json
expect_exit 0
expect_json 'doc["operation"] == "copy" and len(doc["qmp"]) == 4'
expect_json 'doc["virsh"] == " ".join(["virsh blockcopy web1 vda --xml",
             "copy.xml --reuse-external --transient-job --wait --pivot"])'

# A machine that runs has its disks open for writing.
hold a.qcow2
run preflight "${both[@]}"
expect_exit 0
let_go

# What libvirt refuses, in its own words for the kind of error.
refused_by libvirt-flags INVALID_ARG "${both[@]}" --current
refused_by libvirt-flags 'does not go with --no-metadata' "${both[@]}" \
    --redefine --no-metadata
refused_by request-halt 'destroys the domain' "${both[@]}" --redefine --halt
refused_by libvirt-flags '--quiesce goes with --disk-only' \
    --domain live.xml --diskspec "$vda" --quiesce
refused_by libvirt-domain ARGUMENT_UNSUPPORTED "${both[@]}" --quiesce
refused_by libvirt-domain OPERATION_UNSUPPORTED "${both[@]}" --live
refused_by libvirt-domain 'transient domain cannot be halted' "${both[@]}" \
    --halt --transient
refused_by libvirt-name XML_DETAIL "${both[@]}" --name a/b
refused_by libvirt-memory 'memory cannot go' "${both[@]}" \
    --memspec "file=$PWD/memory"
refused_by libvirt-disks '3 disks are asked for' "${both[@]}" \
    --diskspec vdz,snapshot=no
refused_by libvirt-disks 'no disk' --domain live.xml --diskspec "$vda" \
    --diskspec vdz,snapshot=no --disk-only --reuse-external
refused_by libvirt-disks 'names the disk twice' --domain live.xml \
    --diskspec "$vda" --diskspec "$vda" --disk-only --reuse-external
refused_by libvirt-disks 'an external snapshot alone has' --domain live.xml \
    --diskspec "$vda,snapshot=internal" --disk-only
refused_by libvirt-disks 'needs a disk to take part' --domain live.xml \
    --diskspec vda,snapshot=no --diskspec vdb,snapshot=no --disk-only
refused_by libvirt-disks 'are not mixed' --domain off.xml \
    --diskspec "$vda" --diskspec vdb,snapshot=internal --reuse-external \
    --disk-only
refused_by libvirt-disks 'so has each' --domain off.xml --snapshot snap.xml \
    --reuse-external
refused_by libvirt-disk 'qcow2 or qed only' --domain live.xml \
    --diskspec "$vda,driver=raw" --diskspec "$vdb" --disk-only \
    --reuse-external
refused_by libvirt-disk 'that is to be reused is not there' --domain live.xml \
    --diskspec "vda,file=$PWD/none" --diskspec vdb,snapshot=no --disk-only \
    --reuse-external
refused_by libvirt-disk 'is a regular file' --domain live.xml \
    --diskspec "vda,file=$PWD" --diskspec vdb,snapshot=no --disk-only \
    --reuse-external
refused_by libvirt-disk 'is a block device' --domain live.xml \
    --diskspec "$vda,stype=block" --diskspec "$vdb" --disk-only \
    --reuse-external
refused_by libvirt-disk '--reuse-external is not asked for' \
    --domain live.xml --diskspec "$vda" --diskspec "$vdb" --disk-only
refused_by libvirt-xml XML_ERROR --domain live.xml \
    --diskspec vda,file=a.new --diskspec "$vdb" --disk-only --reuse-external
for more in '<shareable/>' '<transient/>' \
    "<mirror type='file' job='copy'><format type='raw'/><source file='/x'/>
     </mirror>"; do
    domain odd.xml 3 "$(disk vda a.qcow2 "$more")"
    refused_by libvirt-disk 'libvirt refuses it' --domain odd.xml \
        --diskspec "$vda" --disk-only --reuse-external
done
refused_by libvirt-domain 'runs' --domain off.xml "${copy[@]:2}"
refused_by libvirt-domain 'with --transient-job only' "${copy[@]:0:10}"
run preflight "${copy[@]:0:10}" --transient
expect_exit 0
refused_by libvirt-flags 'power of two' "${copy[@]}" --granularity 3k
refused_by libvirt-flags '512 bytes to 64 MiB' "${copy[@]}" --granularity 128M
refused_by libvirt-disk 'no disk' --domain live.xml --target vdz --dest /x
refused_by libvirt-disk 'absolute' --domain live.xml --target vda --dest x
refused_by libvirt-disk BLOCK_COPY_ACTIVE --domain odd.xml "${copy[@]:2}"

# What it takes and should not.
run preflight --domain live.xml --diskspec "$vda" --name s1 --disk-only \
    --reuse-external --output json
expect_exit 1
expect_json '[(c["disk"], c["result"]) for c in doc["checks"]
              if c["id"] == "disk-unlisted"] == [("vdb", "warn")]'
expect_json 'any(c["id"] == "dest-exists" and c["result"] == "fail" and
                 c["image"].endswith("/b.s1") for c in doc["checks"])'
ln a.new again.new
refused_by dest-shared 'the destination of vda too' --domain live.xml \
    --diskspec "$vda" --diskspec "vdb,file=$PWD/again.new" --disk-only \
    --reuse-external
refused_by dest-shared 'a layer of vdb too' --domain live.xml \
    --diskspec "vda,file=$PWD/b.qcow2" --diskspec vdb,snapshot=no \
    --disk-only --reuse-external
printf memory >memory
domain one.xml 3 "$(disk vda a.qcow2)"
refused_by memory-file 'overwrites it unasked' --domain one.xml \
    --diskspec "$vda" --memspec "file=$PWD/memory" --reuse-external --live
refused_by write-mode 'QEMU 7.2 loses' "${copy[@]}" --synchronous-writes
refused_by request-explicit 'no format is named' --domain live.xml \
    --target vda --dest "$PWD/a.copy" --shallow --reuse-external \
    --transient-job
# The XML stands above the headers: what runs is not what they say.
domain other.xml 3 "$(disk vda a.qcow2 "<backingStore type='file'>
<format type='qcow2'/><source file='$PWD/b.qcow2'/><backingStore/>
</backingStore>")"
refused_by domain-chain 'other layers' --domain other.xml --diskspec "$vda" \
    --disk-only --reuse-external
domain short.xml 3 "$(disk vda a.qcow2 '<backingStore/>')"
refused_by domain-chain 'other layers' --domain short.xml --diskspec "$vda" \
    --disk-only --reuse-external
# What cannot be judged from here is not accepted.
domain net.xml 3 "$(disk vda a.qcow2)<disk type='network'>
<driver name='qemu' type='raw'/><source protocol='nbd' name='x'>
<host name='localhost'/></source><target dev='vdb'/></disk>"
run preflight --domain net.xml --diskspec "$vda" --disk-only \
    --diskspec "$vdb" --reuse-external --output json
expect_exit 2
expect_json 'doc["verdict"] == "unproven"'
expect_json '[c["disk"] for c in doc["checks"] if c["id"] == "request-local"
              ] == ["vdb"]'

# Redefine touches no disk.
cat >redefine.xml <<XML
<domainsnapshot><name>s1</name><state>disk-snapshot</state>
<creationTime>1</creationTime></domainsnapshot>
XML
run preflight --domain off.xml --snapshot redefine.xml --redefine
expect_exit 0
sed -i 's/<creationTime>.*<\/creationTime>//' redefine.xml
refused_by libvirt-redefine INTERNAL_ERROR --domain off.xml \
    --snapshot redefine.xml --redefine

# Usage, and files that are no such XML.
unusable()
{
    local text=$1
    shift
    run "$@"
    expect_exit 2
    expect_no_stdout
    grep -qF "imgchain: $text" "$test_dir/stderr" ||
        fail "not said: $text"
    [ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'more than one line'
}
unusable 'option --domain is missing' preflight --snapshot snap.xml
unusable 'expected one of --snapshot' preflight --domain live.xml
unusable 'a flag of snapshots does not go with a copy' preflight "${copy[@]}" --disk-only
unusable 'an option of copies does not go with a snapshot' preflight "${both[@]}" --shallow
unusable 'snap.xml: line 1' preflight --domain snap.xml --snapshot snap.xml
unusable 'none.xml: ' preflight --domain none.xml --snapshot snap.xml
unusable 'a report would replace an image' preflight "${both[@]}" \
    --report junit=a.new
