# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Saved images that are laid out by hand, for cli/saved_*.sh.

# saved FILE XML [FIELD=VALUE...]: a saved image of the text in the file XML.
saved()
{
    python3 - "$@" <<'PYTHON'
import struct, sys
path, xml, *words = sys.argv[1:]
said = dict(word.split("=", 1) for word in words)
text = open(xml, "rb").read() + b"\0"
cookie = said["cookie"].encode() + b"\0" if "cookie" in said else b""
room = int(said.get("room", 4096))
length = int(said.get("length", len(text) + len(cookie) + room))
fields = [int(said.get("version", 2)), length, int(said.get("running", 1)),
          int(said.get("compression", 0)),
          int(said.get("cookie_at", len(text) if cookie else 0))]
order = ">" if said.get("order") == "big" else "<"
with open(path, "wb") as file:
    file.write(said.get("magic", "LibvirtQemudSave").encode())
    file.write(struct.pack(order + "5I56x", *fields))
    file.write(text + cookie + bytes(room))
    file.write(bytes.fromhex(said.get("stream", "5145564d00000003")) + b"m" * 999)
PYTHON
}

# domain FILE DISK-XML [MORE]
domain()
{
    {
        echo "<domain type='qemu'><name>web1</name>"
        echo '<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>'
        echo '<memory>16384</memory>'
        echo "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
        printf '<devices>%s%s</devices></domain>\n' "$2" "${3-}"
    } >"$1"
}

# disk PATH [FORMAT [MORE]]
disk()
{
    printf "<disk type='file' device='disk'><driver name='qemu' type='%s'/>" \
        "${2:-qcow2}"
    printf "<source file='%s'/><target dev='vda' bus='virtio'/>%s</disk>" \
        "$1" "${3-}"
}

# refused_for ID TEXT [OPTION]: b.xml for a.save, and nothing is changed since
# "remember".
refused_for()
{
    run saved-image define --output json ${3+"$3"} a.save b.xml
    expect_exit 1
    expect_json 'any(c["id"] == "'"$1"'" and c["result"] == "fail"
                     and "'"$2"'" in c["message"]
                     for i in doc["images"] for c in i["report"]["checks"])'
    expect_untouched
}
