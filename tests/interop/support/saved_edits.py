# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes of a saved domain's XML, and what libvirt and imgchain say to them.

STORED is a domain with a device of every kind, as libvirt writes it. edits() has
changes by hand, and every attribute, text and element of it changed to other
words, left out and doubled. A fault is where the two do not agree and it is on
no list here: of what imgchain is stricter about on purpose, or of what libvirt
cannot read in places that are free to change.
"""

import os
import re
import struct
import subprocess
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
ET.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")
with open(os.path.join(HERE, "saved_domain.xml"), encoding="utf-8") as base:
    STORED = base.read()
TREE = ET.fromstring(STORED)
BASE = ET.tostring(TREE, encoding="unicode")
CHUNK = 40  # images that virsh is asked about at once

# Other words for an attribute of an element of that name.
WORDS = {
    "disk@device": "lun cdrom", "disk@type": "block",
    "disk@model": "virtio virtio-transitional", "driver@type": "raw qcow2",
    "driver@cache": "writeback directsync", "driver@io": "threads",
    "driver@discard": "ignore", "target@bus": "scsi ide virtio sata usb",
    "target@dev": "vdz sdz", "controller@model": "virtio-non-transitional "
    "lsilogic nec-xhci piix3-uhci", "controller@type": "scsi sata",
    "model@type": "e1000 virtio qxl vga rtl8139", "model@name": "ioh3420",
    "filesystem@accessmode": "squash mapped", "filesystem@multidevs": "warn",
    "input@type": "mouse tablet keyboard", "input@bus": "usb virtio ps2",
    "sound@model": "ac97 ich6", "watchdog@model": "ib700",
    "watchdog@action": "none", "memballoon@model": "none",
    "tpm@model": "tpm-tis", "iommu@model": "smmuv3", "hostdev@type": "usb",
    "redirdev@type": "tcp pty", "memory@model": "nvdimm",
    "shmem@role": "master", "domain@type": "kvm", "cpu@mode": "host-model",
    "cpu@match": "minimum strict", "cpu@check": "partial full",
    "model@fallback": "allow", "feature@policy": "optional force disable",
    "timer@tickpolicy": "delay catchup discard", "timer@mode": "native",
    "timer@name": "kvmclock", "clock@offset": "localtime",
    "type@machine": "pc-q35-7.1 pc", "type@arch": "i686",
    "smbios@mode": "emulate", "ioapic@driver": "kvm",
    "source@type": "file anonymous", "access@mode": "private",
    "backend@version": "1.2", "serial@type": "file pty",
    "parallel@type": "file", "console@type": "file",
    "channel@type": "pty spicevmc unix", "smartcard@mode": "host",
    "interface@type": "user network", "graphics@type": "spice",
}
# There are as many root ports as there are devices behind them.
ALIKE = re.compile(r"devices/controller\[[4-8]\]")
SWITCH = {"on": "off", "off": "on", "yes": "no", "no": "yes"}

# Free to change for the rule alone: whether the emulator is there is looked at
# by define itself.
UNREAD = """
    devices/emulator#/usr/bin/qemu-system-x86_64->/usr/bin/qemu-system-x86_64x
"""
UNREAD = {line.strip() for line in UNREAD.splitlines() if line.strip()}
# Stricter on purpose (docs/saved-image.md): what is left out, or there twice,
# and what libvirt does not compare but QEMU's memory stream goes by.
STRICTER = re.compile(
    r" gone$| removed$| doubled$"
    r"|/address@port=|/address@bus=|/address@target="
    r"|controller\[\d+\]/model@name=|currentMemory#"
    r"|input\[2\]@type=mouse->keyboard")


class Edit:
    """IS_PLAIN: taken by both, and looked at afterwards."""

    def __init__(self, name, text, is_plain=False):
        self.name, self.text, self.is_plain = name, text, is_plain


def image(xml, room=65536):
    """A saved image that has never been a machine's."""
    text = xml.encode() + b"\0"
    return (struct.pack("=16s5I56x", b"LibvirtQemudSave", 2, len(text) + room,
                        1, 0, 0) + text + bytes(room) + b"QEVM" + b"m" * 4096)


def known(text):
    """What is printed, but for the empty line that virsh adds."""
    return text.rstrip("\n")


# ---- The changes

def by_hand():
    """Some that a user would make: (name, from, to, both take it)."""
    yield ("title", "<title>a title<", "<title>another<", True)
    yield ("description", ">a description<", ">b<", True)
    yield ("path", "/images/a.qcow2", "/moved/a.qcow2", True)
    yield ("all paths", "/images/", "/moved/", True)
    yield ("cache", 'cache="none" io="native"', 'cache="writeback"', True)
    yield ("boot order", '<boot order="1" />', "", True)
    yield ("password", 'passwd="secret"', 'passwd="other"', True)
    yield ("no password", 'passwd="secret" ', "", True)
    yield ("display", 'type="vnc" port="-1" autoport="yes"',
           'type="vnc" port="5905" autoport="no"', True)
    yield ("bridge", 'bridge="br0"', 'bridge="br1"', True)
    yield ("limit", "<total_bytes_sec>1000000", "<total_bytes_sec>5", True)
    yield ("host's device", '<product id="0xbeef" />',
           '<product id="0xbee5" />', True)
    yield ("pinning", 'cpuset="0-1"', 'cpuset="0"', True)
    yield ("uuid in capitals", "<uuid>5b1c3f5e", "<uuid>5B1C3F5E", True)
    yield ("memory in MiB", '<maxMemory slots="16" unit="KiB">4194304',
           '<maxMemory slots="16" unit="MiB">4096', True)
    yield ("another name", "<name>vm<", "<name>vm2<", False)
    yield ("another uuid", "<uuid>5b1c", "<uuid>6b1c", False)
    yield ("more memory", '<memory unit="KiB">1048576', '<memory unit="KiB">'
           "2097152", False)
    yield ("a CPU more", 'current="1">2', 'current="2">2', False)
    yield ("another MAC", "52:54:00:11:22:33", "52:54:00:11:22:3f", False)
    yield ("another serial", "<serial>S1<", "<serial>S2<", False)
    yield ("read-only", "<target dev=\"vda\"", "<readonly /><target dev=\"vda\"",
           False)
    yield ("no XML", "</domain>", "", False)
    yield ("another document", "<domain ", "<network ", False)


def edits():
    for name, old, new, both in by_hand():
        text = BASE.replace(old, new)
        if name == "another document":
            text = "<network/>"
        if text == BASE:
            raise ValueError(f"{name} changes nothing")
        yield Edit(f"by hand: {name}", text, both)
    yield from mechanical()


def copy():
    return ET.fromstring(BASE)


def walk(node, path):
    for number, child in enumerate(node):
        yield path + [number]
        yield from walk(child, path + [number])


def get(node, path):
    for number in path:
        node = node[number]
    return node


def name_of(path):
    node, words = TREE, []
    for number in path:
        tag = node[number].tag
        like = [child.tag for child in node]
        words.append(tag if like.count(tag) == 1 else
                     f"{tag}[{like[:number].count(tag)}]")
        node = node[number]
    return "/".join(words) or "."


def others(tag, attribute, value):
    words = [word for word in WORDS.get(f"{tag}@{attribute}", "").split()
             if word != value]
    if value in SWITCH:
        words.append(SWITCH[value])
    elif re.fullmatch(r"0x[0-9a-fA-F]+", value):
        words.append(hex(int(value, 16) + 1))
    elif value.isdigit():
        words.append(str(int(value) + 1))
    return words or [value + "x"]


def mechanical():
    for path in [[], *walk(TREE, [])]:
        node, name = get(TREE, path), name_of(path)
        if ALIKE.match(name):
            continue

        def changed(change, path=path):
            root = copy()
            change(get(root, path))
            return ET.tostring(root, encoding="unicode")
        for key, value in node.attrib.items():
            for word in others(node.tag, key, value):
                yield Edit(f"{name}@{key}={value}->{word}", changed(
                    lambda n, k=key, w=word: n.set(k, w)))
            if node.tag != "address" or key == "type":
                yield Edit(f"{name}@{key} gone", changed(
                    lambda n, k=key: n.attrib.pop(k)))
        text = (node.text or "").strip()
        if text:
            for word in others(node.tag, "", text):
                yield Edit(f"{name}#{text}->{word}", changed(
                    lambda n, w=word: setattr(n, "text", w)))
        if path:
            yield from children(path, name)


def children(path, name):
    root = copy()
    around = get(root, path[:-1])
    around.remove(around[path[-1]])
    yield Edit(f"{name} removed", ET.tostring(root, encoding="unicode"))
    if len(path) > 2:
        return
    root = copy()
    around = get(root, path[:-1])
    around.insert(path[-1], ET.fromstring(ET.tostring(around[path[-1]])))
    yield Edit(f"{name} doubled", ET.tostring(root, encoding="unicode"))


# ---- Asking

def ask_virsh(virt, folder, data, wanted):
    """{name: why it refuses, or ""}"""
    answers = {}
    for begin in range(0, len(wanted), CHUNK):
        chunk = wanted[begin:begin + CHUNK]
        commands = []
        for number, edit in enumerate(chunk):
            path = os.path.join(folder, f"asked{number}")
            with open(path + ".save", "wb") as file:
                file.write(data)
            with open(path + ".xml", "w", encoding="utf-8") as file:
                file.write(edit.text)
            commands.append(f"echo --err @@{number}@; "
                            f"save-image-define {path}.save {path}.xml")
        said = virt.virsh("; ".join(commands)).stderr
        parts = re.split(r"@@(\d+)@\n", said)
        for number, text in zip(parts[1::2], parts[2::2]):
            text = re.sub(r"\s*error:\s*\Z", "", text)
            text = re.sub(r"\Aerror: Failed to update \S+\s*(error: )?", "",
                          text)
            answers[chunk[int(number)].name] = text.strip()
    return answers


def ask_imgchain(folder, data, wanted):
    """{name: refused, seen, free} by tests/helpers/abidump.c."""
    old = os.path.join(folder, "old.xml")
    with open(old, "wb") as file:
        file.write(data[92:].split(b"\0")[0])
    lines = []
    for number, edit in enumerate(wanted):
        path = os.path.join(folder, f"new{number}.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(edit.text)
        lines.append(path)
    done = subprocess.run(
        [os.path.join(os.environ["IMGCHAIN_BUILD"], "tests", "abidump"), old],
        input="\n".join(lines) + "\n", check=True, text=True,
        stdout=subprocess.PIPE, timeout=120)
    answers = done.stdout.splitlines()
    for path in lines:
        os.unlink(path)
    return {edit.name: answer for edit, answer in zip(wanted, answers)}


def fault(edit, refusal, verdict):
    """Why the two answers do not go together; None: they do."""
    if refusal:
        return None if verdict != "free" or edit.name in UNREAD else \
            "imgchain takes it"
    if edit.name in UNREAD:
        return "virsh takes it, and it is on the list of what it cannot read"
    if verdict == "refused" and not STRICTER.search(edit.name):
        return "imgchain refuses it"
    return None
