#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# metadata export, redefine and delete, without libvirt.
. "$(dirname "$0")/../lib.sh"

uuid=11111111-2222-3333-4444-555555555555
other=99999999-2222-3333-4444-555555555555

# says EXIT TEXT ARGS...: no output, one line that begins with TEXT.
says()
{
    local code=$1 text=$2
    shift 2
    run "$@"
    expect_exit "$code"
    expect_no_stdout
    grep -qF "imgchain: $text" "$test_dir/stderr" || fail "not said: $text"
    [ "$(wc -l <"$test_dir/stderr")" -eq 1 ] || fail 'more than one line'
}

# domain: a domain as libvirt has it in a snapshot.
domain()
{
    cat <<XML
  <domain type='qemu'><name>web</name><uuid>$uuid</uuid><devices>
    <disk type='file'><driver type='qcow2'/><source file='/old/a.qcow2'/>
      <target dev='vda'/></disk></devices></domain>
XML
}

# moment NAME PARENT TIME ACTIVE: one in the folder snaps, as libvirt keeps it.
moment()
{
    {
        echo '<!-- made by libvirt -->'
        echo "<domainsnapshot>"
        echo "  <name>$1</name>"
        echo "  <state>shutoff</state>"
        [ -z "$2" ] || printf '  <parent>\n    <name>%s</name>\n  </parent>\n' "$2"
        echo "  <creationTime>$3</creationTime>"
        echo "  <disks><disk name='vda' snapshot='internal'/></disks>"
        domain
        echo "  <active>$4</active>"
        echo "</domainsnapshot>"
    } >"snaps/$1.xml"
}

# snapshots: a, b and c on it, d on a; c is current.
snapshots()
{
    rm -rf snaps
    mkdir snaps
    moment a '' 1 0
    moment b a 2 0
    moment c b 3 1
    moment d a 4 0
}
snapshots
domain >web.xml
mkdir points
cat >points/p1 <<XML
<domaincheckpoint><name>p1</name><creationTime>1</creationTime>
$(domain)</domaincheckpoint>
XML
cat >points/p2 <<XML
<domaincheckpoint><name>p2</name><parent><name>p1</name></parent>
<creationTime>2</creationTime>$(domain)</domaincheckpoint>
XML

# A bundle: whole, private, and never in the place of another file.
run metadata export snaps --domain web.xml --checkpoints-from points \
    --to web.json
expect_exit 0
expect_line 'web.json: 4 snapshots, 2 checkpoints, the domain'
[ "$(stat -c %a web.json)" = 600 ] || fail 'others may read it'
python3 - <<'PY' || fail 'not the bundle that it should be'
import json
doc = json.load(open("web.json"))
assert doc["format"] == "imgchain-metadata" and doc["version"] == 1
assert doc["made-by"].startswith("imgchain ") and doc["current"] == "c"
assert [s["name"] for s in doc["snapshots"]] == ["a", "b", "c", "d"]
for one in doc["snapshots"]:
    assert one["xml"] == open(f"snaps/{one['name']}.xml").read()
assert [p["name"] for p in doc["checkpoints"]] == ["p1", "p2"]
assert doc["domain"] == open("web.xml").read()
PY
says 1 'web.json: exists already' metadata export snaps --to web.json
says 2 'option --to is missing' metadata export snaps
says 2 '--security-info goes with --connect' metadata export snaps \
    --to x.json --security-info
echo '<odd/>' >snaps/odd
run metadata export snaps --to x.json
expect_exit 1
[ ! -e x.json ] || fail 'a bundle without one of the files'
rm snaps/odd
run metadata export snaps --to few.json --output json
expect_json 'doc == {"filename": "few.json", "snapshots": 4, "checkpoints": 0,
                     "domain": False}'

# Read strictly.
# broken TEXT PYTHON: the bundle after PYTHON was done to it.
broken()
{
    python3 - "$2" <<'PY'
import json, sys
doc = json.load(open("web.json"))
exec(sys.argv[1])
json.dump(doc, open("broken.json", "w"))
PY
    says 1 "broken.json: $1" metadata redefine broken.json --dry-run
}
broken 'found a bundle of version 2, expected 1' 'doc["version"] = 2'
broken 'found other JSON' 'doc["format"] = "x"'
broken 'found the key "more"' 'doc["more"] = 1'
broken 'found the key "x"' 'doc["snapshots"][0]["x"] = 1'
broken 'the document that is called "z" has another name' \
    'doc["snapshots"][0]["name"] = "z"'
broken 'found two documents of one name' \
    'doc["snapshots"].append(doc["snapshots"][0])'
broken 'found a "current" that is not there' 'doc["current"] = "z"'
broken '"current" is no text' 'doc["current"] = 3'
broken 'found a document without its name' 'del doc["snapshots"][0]["xml"]'
broken 'found no list of documents' 'doc["checkpoints"] = {}'
broken 'found no list of documents' 'del doc["snapshots"]'
broken 'a: line 1' 'doc["snapshots"][0]["xml"] = "<a>"'

# The steps: parents first, the current one last; rewritten.
run metadata redefine web.json --map /old=/new --uuid "$other" --name 'my web' \
    --to out/
expect_exit 0
expect_stdout <<'TEXT'
snapshot a
snapshot b  on a
snapshot d  on a
snapshot c  on b  current
checkpoint p1
checkpoint p2  on p1
TEXT
[ "$(ls out)" = "$(printf '%s\n' 001-a.xml 002-b.xml 003-d.xml 004-c.xml \
    005-p1.xml 006-p2.xml domain.xml steps)" ] || fail 'not these files'
[ "$(stat -c %a out out/steps out/001-a.xml | xargs)" = '700 700 600' ] ||
    fail 'others may read it'
[ -z "$(find . -name '*imgchain*')" ] || fail 'something was left'
grep -q "file='/new/a.qcow2'" out/001-a.xml || fail 'no other path'
grep -q "<uuid>$other</uuid>" out/005-p1.xml || fail 'no other uuid'
grep -q "<name>my web</name>" out/domain.xml || fail 'no other name'
mkdir bin
printf '#!/bin/sh\necho "$*" >>%q\n' "$PWD/said" >bin/virsh
chmod +x bin/virsh
PATH=$PWD/bin:$PATH out/steps
cat >expected <<'TEXT'
define --file=domain.xml
snapshot-create --domain=my web --xmlfile=001-a.xml --redefine
snapshot-create --domain=my web --xmlfile=002-b.xml --redefine
snapshot-create --domain=my web --xmlfile=003-d.xml --redefine
snapshot-create --domain=my web --xmlfile=004-c.xml --redefine --current
checkpoint-create --domain=my web --xmlfile=005-p1.xml --redefine
checkpoint-create --domain=my web --xmlfile=006-p2.xml --redefine
TEXT
cmp -s said expected || fail "virsh was asked for: $(cat said)"
says 1 'out: exists already' metadata redefine web.json --to out
# One that others hang on is current by a call of its own.
run metadata redefine snaps --current a --to again --without-checkpoints
expect_exit 0
tail -n 1 out/steps >/dev/null
[ "$(grep -c 001-a.xml again/steps)" = 2 ] || fail 'not made the current one'
tail -n 1 again/steps | grep -q '001-a.xml --redefine --current' ||
    fail 'the current one is not the last'
# Names that no shell and no file system should see.
# shellcheck disable=SC2016
sed -i 's/<name>a</<name>a; $(x) ä</' snaps/*.xml
run metadata redefine snaps --to odd
expect_exit 0
[ -f 'odd/001-a____x____.xml' ] || fail "not this name: $(ls odd)"
snapshots

# All findings are told, and nothing is done.
sed -i 's/shutoff/asleep/' snaps/b.xml
sed -i "s/$uuid/$other/" snaps/d.xml
run metadata redefine snaps --to none --output json
expect_exit 1
[ ! -e none ] || fail 'it was done all the same'
expect_json 'doc["verdict"] == "refused" and not doc["done"]'
expect_json '[(c["id"], c["image"]) for c in doc["checks"]] == [
    ("libvirt-redefine", "snaps/b.xml"), ("libvirt-redefine", "snaps/d.xml"),
    ("libvirt-parent", "snaps/c.xml")]'
run metadata redefine snaps --to none
expect_exit 1
grep -q 'CONFIG_UNSUPPORTED' "$test_dir/stderr" || fail 'no class'
grep -q "found uuid $other, expected uuid $uuid" "$test_dir/stderr" ||
    fail 'no uuid'
snapshots
says 1 '--current: found no snapshot' metadata redefine snaps \
    --current zz --dry-run
run metadata redefine snaps --dry-run --map /none=/new
grep -q 'no path lies at or below /none' "$test_dir/stderr" ||
    fail 'a rule that met nothing is not told'
says 2 'expected --to or --connect' metadata redefine snaps
says 2 '--recover, --forget-record and --record go with --connect' metadata redefine \
    snaps --to x --recover
says 2 '--connect and --to exclude each other' metadata redefine snaps \
    --to x --connect test:///default --domain test

# Forgetting, in libvirt's folder.
says 2 'option --metadata is missing' metadata delete snaps a
says 2 '--children and --children-only exclude' metadata delete --metadata \
    --children --children-only snaps a
says 2 "expected libvirt's folder" metadata delete --metadata a
says 1 'found no snapshot of the name zz' metadata delete --metadata \
    snaps zz
cp -r snaps before
run metadata delete --metadata --dry-run snaps b
expect_exit 0
diff -r snaps before || fail 'a dry run changes files'
run metadata delete --metadata snaps b
expect_exit 0
expect_stdout <<'TEXT'
b  goes
c  changes
TEXT
[ "$(ls -A snaps)" = "$(printf '%s\n' a.xml c.xml d.xml)" ] || fail 'not these files'
{ diff before/c.xml snaps/c.xml || true; } | grep '^[<>]' | tr -d ' ' >changed
printf '<<name>b</name>\n><name>a</name>\n' | cmp -s - changed ||
    fail "not one line: $(cat changed)"
# Its root: children have none; the current one's parent is current.
run metadata delete --metadata snaps a
expect_exit 0
! grep -q '<parent>' snaps/*.xml || fail 'the parent is gone'
snapshots
run metadata delete --metadata snaps c
expect_exit 0
grep -q '<active>1' snaps/b.xml || fail 'its parent is not current'
snapshots
run metadata delete --metadata --children snaps b
expect_exit 0
[ "$(ls -A snaps)" = "$(printf '%s\n' a.xml d.xml)" ] || fail 'not these files'
grep -q '<active>1' snaps/a.xml || fail 'its parent is not current'
snapshots
run metadata delete --metadata --children-only snaps a --output json
expect_exit 0
expect_json '[(x["name"], x["what"]) for x in doc] == [
    ("a", "changes"), ("b", "goes"), ("c", "goes"), ("d", "goes")]'
grep -q '<active>1' snaps/a.xml || fail 'it is not current'
run metadata delete --metadata --checkpoints points p1
expect_exit 0
! grep -q '<parent>' points/p2 || fail 'the parent is gone'

# Two documents of one name, and a ring: what becomes of them is not known.
snapshots
sed 's/<parent>/<parent >/' snaps/b.xml >snaps/b2.xml
says 1 'snaps/b2.xml: is the second document of its name' metadata delete \
    --metadata snaps d
snapshots
moment a c 1 0
run metadata delete --metadata snaps d
expect_exit 1
grep -q 'its parents lead back to it' "$test_dir/stderr" || fail 'a ring'
# Two that claim to be the current one.
snapshots
moment d a 4 1
says 1 '2 snapshots claim to be the current one' metadata export snaps \
    --to two.json
run metadata export snaps --current d --to two.json
expect_exit 0
grep -q '"current": *"d"' two.json || fail 'not the one that was named'

# libvirt's own folder, while its daemon runs.
mkdir -p own/libvirt/qemu/snapshot run/libvirt
snapshots
cp -r snaps own/libvirt/qemu/snapshot/web
: >run/libvirt/libvirtd.pid
python3 - <<'PY' &
import fcntl, time
file = open("run/libvirt/libvirtd.pid", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
open("ready", "w").close()
time.sleep(60)
PY
holder=$!
for _ in $(seq 100); do
    [ -e ready ] && break
    sleep 0.1
done
export XDG_RUNTIME_DIR=$PWD/run
says 1 'own/libvirt/qemu/snapshot/web: is kept by libvirt, whose daemon runs' \
    metadata delete --metadata own/libvirt/qemu/snapshot/web a
[ -e own/libvirt/qemu/snapshot/web/a.xml ] || fail 'deleted all the same'
kill "$holder"
wait "$holder" || :
run metadata delete --metadata own/libvirt/qemu/snapshot/web a
expect_exit 0
