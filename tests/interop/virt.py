#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's XML and virsh's specs, read here and by libvirt itself.

The peer is libvirt's test driver, which needs no daemon and parses as every
driver does: virsh -c test:///default. A case is made from its seed, with
mistakes in it. Both take it or refuse it, with an error of the same class, and
what is taken reads the same: libvirt's own dump says what it has understood.

IMGCHAIN_SEED=N makes one case of each kind and shows it, IMGCHAIN_CASES=N
changes how many there are.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import quoteattr

BUILD = os.environ.get("IMGCHAIN_BUILD", "build/dev")
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
HEAD = (f"<name>guest</name><uuid>{UUID}</uuid><memory>1024</memory>"
        "<os><type>hvm</type></os>")
# What libvirt prints before its errors, and ours for the same.
CLASSES = {
    "XML error": "XML_ERROR",
    "unsupported configuration": "CONFIG_UNSUPPORTED",
    "internal error": "INTERNAL_ERROR",
    "invalid argument": "INVALID_ARG",
    "missing source information for device": "NO_SOURCE",
    "missing target information for device": "NO_TARGET",
}
# Only the QEMU driver looks at these.
BEYOND_TEST_DRIVER = ("<shareable/> with",)
# libvirt has read all, and then looks at the snapshot beside the domain.
AFTER_READING = re.compile(
    "cannot generate external snapshot name|refusing to generate external"
    "|requires use of external snapshot mode|must use snapshot mode")
FORMATS = ["raw", "qcow2", "qcow2", "qcow2", "vmdk", "qed", "iso", "dir"]


class Maker:
    """Words from a seed, some of them wrong."""

    def __init__(self, seed, wrong=0.02):
        self.rng = random.Random(seed)
        self.wrong = wrong

    def maybe(self, chance):
        return self.rng.random() < chance

    def word(self, *good):
        if self.maybe(self.wrong):
            return self.rng.choice(["bogus", "", good[0].upper(), "none",
                                    "default", good[0] + " "])
        return self.rng.choice(good)

    def attribute(self, name, *good, chance=0.5):
        if not self.maybe(chance):
            return ""
        return f" {name}={quoteattr(self.word(*good))}"

    def path(self):
        if self.maybe(self.wrong):
            return self.rng.choice(["", "relative.img", "a:b", " /x"])
        return self.rng.choice(["/images/a.qcow2", "/a & b/<c>.img", "/ü'\".x",
                                "/images/../b,c", "/x y", "/dev/vg/lv", "/"])

    def shuffled(self, *parts):
        parts = [part for part in parts if part]
        self.rng.shuffle(parts)
        return "".join(parts)


# Domains

def encryption(make):
    secret = make.rng.choice([f"uuid='{UUID}'", "usage='key'"])
    if make.maybe(make.wrong):
        secret = make.rng.choice(["uuid='x'", "", f"usage='k' uuid='{UUID}'"])
    kind = make.attribute("type", "passphrase", chance=1 - make.wrong)
    inside = f"<secret{kind} {secret}/>" if make.maybe(0.8) else ""
    if make.maybe(make.wrong):
        inside += "<cipher name='aes' size='256'/>"
    return ("<encryption"
            + make.attribute("format", "luks", "luks2", "qcow",
                             chance=1 - make.wrong)
            + make.attribute("engine", "qemu", "librbd", chance=0.2)
            + f">{inside}</encryption>")


def auth(make, kind):
    secret = (f"<secret type={quoteattr(make.word(kind))} usage='key'/>"
              if not make.maybe(make.wrong) else "")
    return ("<auth" + make.attribute("username", "me", chance=1 - make.wrong)
            + make.attribute("type", "chap", "ceph", chance=0.2)
            + f">{secret}</auth>")


def hosts(make):
    if make.maybe(make.wrong):
        return make.rng.choice([
            "<host/>", "<host name='h' port='65536'/>", "<host name='h' "
            "port='x'/>", "<host name='h' socket='/s'/>",
            "<host transport='unix'/>", "<host name='h' transport='ip'/>"])
    return "".join(make.rng.choice([
        "<host name='h1' port='80'/>", "<host name='h2'/>",
        "<host transport='unix' socket='/s'/>",
        "<host name='h3' transport='rdma'/>"])
        for _ in range(make.rng.randint(0, 2)))


def network(make):
    protocol = make.word("nbd", "rbd", "gluster", "iscsi", "https", "ssh")
    names = {"rbd": "pool/image", "gluster": "volume/image",
             "iscsi": "iqn.2013-07.com.example:iscsi/1"}
    name = names.get(protocol, "name")
    if make.maybe(make.wrong):
        name = "/image" if make.maybe(0.5) else "image"
    if protocol == "iscsi":
        name = names["iscsi"]
    kind = "iscsi" if protocol == "iscsi" else "ceph"
    return (f"protocol={quoteattr(protocol)}"
            + make.attribute("name", name, chance=0.95),
            hosts(make) + (auth(make, kind) if make.maybe(0.2) else ""))


def slices(make):
    numbers = ["0", "512", "18446744073709551615", " 7", "+9", "007"]
    if make.maybe(make.wrong):
        numbers = ["-1", "18446744073709551616", "0x10", "1 ", "1k"]
    offset, size = (make.rng.choice(numbers) for _ in "01")
    kind = make.rng.choice(["storage", "storage", "other"])
    return (f"<slices><slice type='{kind}' offset='{offset}'"
            + (f" size='{size}'" if not make.maybe(make.wrong) else "")
            + "/></slices>")


def source(make, kind, policy=False):
    inside = slices(make) if make.maybe(0.15) else ""
    if kind == "network":
        attributes, more = network(make)
        inside += more
    elif kind == "volume":
        attributes = (make.attribute("pool", "p", chance=0.95)
                      + make.attribute("volume", "v", chance=0.95)
                      + make.attribute("mode", "host", "direct", chance=0.2))
    else:
        key = {"block": "dev", "dir": "dir"}.get(kind, "file")
        attributes = f"{key}={quoteattr(make.path())}"
    if make.maybe(0.15):
        inside += encryption(make)
    if policy:
        attributes += make.attribute("startupPolicy", "mandatory",
                                     "optional", "requisite", chance=0.1)
    return f"<source {attributes}>{inside}</source>"


def backing(make, depth=0):
    if make.maybe(0.3) or depth > 5:
        return "<backingStore/>" if make.maybe(0.7) else ""
    kind = make.word("file", "file", "block", "network")
    parts = [
        f"<format type={quoteattr(make.word(*FORMATS))}/>"
        if not make.maybe(make.wrong) else "",
        source(make, kind) if not make.maybe(make.wrong) else "",
        backing(make, depth + 1)]
    return (f"<backingStore type={quoteattr(kind)}>{make.shuffled(*parts)}"
            "</backingStore>")


def disk(make, target):
    kind = make.word("file", "file", "file", "block", "dir", "network",
                     "volume")
    device = make.word("disk", "disk", "cdrom", "lun", "floppy")
    if device == "floppy":
        target = "fd" + target[2:]
    elif device == "cdrom":
        target = "hd" + target[2:]
    bus = {"fd": "fdc", "hd": "ide", "vd": "virtio", "sd": "scsi"}[target[:2]]
    if make.maybe(make.wrong):
        target = make.rng.choice(["vd", "sd", "fd", "nvme"]) + target[2:]
    inside = make.shuffled(
        "<driver" + make.attribute("name", "qemu")
        + make.attribute("type", *FORMATS, chance=0.8)
        + make.attribute("cache", "none", "writeback", "unsafe", chance=0.3)
        + make.attribute("io", "native", "threads", "io_uring", chance=0.3)
        + make.attribute("discard", "unmap", "ignore", chance=0.3)
        + make.attribute("detect_zeroes", "off", "on", "unmap", chance=0.3)
        + "/>" if make.maybe(0.9) else "",
        source(make, kind, policy=True) if make.maybe(0.95) else "",
        backing(make) if make.maybe(0.4) else "",
        "" if make.maybe(make.wrong) else f"<target dev='{target}'"
        + make.attribute("bus", bus) + "/>",
        "<readonly/>" if make.maybe(0.2) else "",
        "<shareable/>" if make.maybe(0.1) else "",
        "<transient/>" if make.maybe(0.1) else "",
        encryption(make) if make.maybe(0.05) else "",
        auth(make, "iscsi") if kind == "network" and make.maybe(0.05) else "",
        "<unknown><source file='/never'/></unknown>" if make.maybe(0.1)
        else "")
    if kind == "file" and make.maybe(0.5):
        kind = ""
    return ("<disk" + (f" type={quoteattr(kind)}" if kind else "")
            + (f" device={quoteattr(device)}"
               if device != "disk" or make.maybe(0.5) else "")
            + make.attribute("snapshot", "no", "internal", "external",
                             "manual", chance=0.2)
            + make.attribute("model", "virtio", "virtio-transitional",
                             chance=0.05)
            + f">{inside}</disk>")


def domain(make, element="domain"):
    letters = make.rng.sample("abcdefgh", make.rng.randint(0, 4))
    disks = "".join(disk(make, make.rng.choice(["vd", "vd", "sd"]) + letter)
                    for letter in letters)
    if letters and make.maybe(make.wrong):
        disks += disk(make, "vd" + letters[0])
    return (f"<{element} type='test'>{HEAD}<devices>{disks}</devices>"
            f"</{element}>")


def said(element, name):
    """An attribute that may be missing, as may the element."""
    return None if element is None else element.get(name)


def peer_layer(around, format_name, typed):
    """What libvirt's dump says of the image in AROUND."""
    found = around.find("source")
    layer = {"type": typed.get("type", "file"), "format": None}
    fmt = around.find(format_name)
    layer["format"] = said(fmt, "type")
    key = {"block": "dev", "dir": "dir"}.get(layer["type"], "file")
    layer["path"] = said(found, key)
    for name in ("protocol", "name", "pool", "volume"):
        layer[name] = said(found, name)
    layer["hosts"] = 0 if found is None else len(found.findall("host"))
    piece = found.find("slices/slice[@type='storage']") \
        if found is not None else None
    for name in ("offset", "size"):
        number = said(piece, name)
        layer[name] = None if number is None else int(number)
    sealed = around.find("encryption")
    if sealed is None and found is not None:
        sealed = found.find("encryption")
    layer["encryption"] = said(sealed, "format")
    secret = None if sealed is None else sealed.find("secret")
    layer["secret"] = said(secret, "uuid") or said(secret, "usage")
    user = around.find("auth")
    if user is None and found is not None:
        user = found.find("auth")
    layer["auth"] = said(user, "username")
    layer["startupPolicy"] = said(found, "startupPolicy")
    return layer


def peer_layers(around):
    """The chain of a disk in libvirt's dump; None where it ends for good."""
    layers = [peer_layer(around, "driver", around)]
    while (around := around.find("backingStore")) is not None:
        if "type" not in around.attrib:
            layers.append(None)
            break
        layers.append(peer_layer(around, "format", around))
    return layers


def peer_disk(found):
    driver, target = found.find("driver"), found.find("target")
    out = {"target": said(target, "dev"), "bus": said(target, "bus"),
           "device": found.get("device"), "model": found.get("model"),
           "snapshot": found.get("snapshot"), "driver": said(driver, "name"),
           "layers": peer_layers(found)}
    for name in ("cache", "io", "discard", "detect_zeroes"):
        out[name] = said(driver, name)
    for name in ("readonly", "shareable", "transient"):
        out[name] = found.find(name) is not None
    return out


def our_layers(layers):
    out = []
    for layer in layers:
        if layer is not None:
            layer = {key: layer.get(key) for key in (
                "type", "format", "path", "protocol", "name", "hosts", "pool",
                "volume", "offset", "size", "encryption", "secret", "auth",
                "startupPolicy")}
            if layer["type"] == "network":
                layer["startupPolicy"] = None  # read, and not printed
        out.append(layer)
    return out


def our_disk(found, peer):
    """A disk of ours with the defaults that libvirt's dump has filled in."""
    out = {key: found.get(key) for key in peer}
    out["layers"] = our_layers(found["layers"])
    out["device"] = out["device"] or "disk"
    out["bus"] = out["bus"] or peer["bus"]
    for name in ("cache", "model"):
        if out[name] == "default":
            out[name] = None
    if out["readonly"] and out["snapshot"] == "no":
        out["snapshot"] = None
    return out


def compare(ours, peer, what):
    if ours != peer:
        raise AssertionError(f"{what}:\n  ours    {ours}\n  libvirt {peer}")


def compare_disks(ours, peer):
    # libvirt sorts them by bus and name.
    peers = {found["target"]: found for found in
             map(peer_disk, peer.findall("devices/disk"))}
    compare(sorted(found["target"] for found in ours["disks"]), sorted(peers),
            "disks")
    for found in ours["disks"]:
        peer_found = peers[found["target"]]
        compare(our_disk(found, peer_found), peer_found, found["target"])


# Snapshots

def snapshot_disk(make, name):
    if make.maybe(0.15):
        return f"<disk name='{name}' snapshot='no'/>"
    kind = make.word("file", "file", "block", "network")
    if make.maybe(make.wrong):
        kind = make.rng.choice(["volume", "dir"])
    driver = "<driver" + make.attribute("type", *FORMATS, chance=0.9) + "/>"
    element = "other" if make.maybe(0.05) else "disk"
    return (f"<{element}"
            + (f" name='{name}'" if not make.maybe(make.wrong) else "")
            + make.attribute("snapshot", "external", chance=0.4)
            + f" type={quoteattr(kind)}>"
            + make.shuffled(driver if make.maybe(0.6) else "",
                            source(make, kind) if make.maybe(0.8) else "")
            + f"</{element}>")


def snapshot(make):
    calm = Maker(make.rng.random(), wrong=0)
    inside = domain(calm)
    names = re.findall(r"<target dev='([a-z]+)'", inside)
    disks = "".join(snapshot_disk(make, name) for name in names)
    if calm.maybe(0.5):
        state, memory = calm.rng.choice(["disk-snapshot", "shutoff"]), ""
        if calm.maybe(0.2):
            memory = "<memory" + make.attribute("snapshot", "no") + "/>"
    else:
        state = calm.rng.choice(["running", "paused"])
        memory = make.rng.choice([
            "", "<memory snapshot='external' file='/m e&amp;m'/>",
            "<memory file='/mem'/>", "<memory snapshot='internal'/>"])
        if make.maybe(make.wrong * 4):
            memory = make.rng.choice([
                "<memory snapshot='external'/>", "<memory file='mem'/>",
                "<memory snapshot='internal' file='/m'/>",
                "<memory snapshot='manual'/>", "<memory snapshot='x'/>",
                "<memory snapshot='no' file='/m'/>"])
    parts = [
        "<description>a &lt;b&gt;\n c</description>", f"<state>{state}</state>",
        f"<creationTime>{calm.rng.randint(0, 2**40)}</creationTime>", memory,
        f"<disks>{disks}</disks>" if disks else "", inside]
    if calm.maybe(0.2):
        parts.append(domain(calm, "inactiveDomain"))
    return ("<domainsnapshot><name>snap</name>" + calm.shuffled(*parts)
            + "</domainsnapshot>")


def compare_snapshots(ours, peer):
    for name in ("name", "description", "state"):
        compare(ours.get(name), peer.findtext(name), name)
    compare(ours.get("creationTime"), int(peer.findtext("creationTime")),
            "creationTime")
    memory = peer.find("memory")
    if "memory" in ours:
        compare(ours["memory"], said(memory, "snapshot"), "memory")
    compare(ours.get("memoryFile"), said(memory, "file"), "memoryFile")
    # libvirt sorts them as the domain's.
    peers = {found.get("name"): found for found in peer.findall("disks/disk")}
    for found in ours["disks"]:
        peer_found = peers[found["name"]]
        if "snapshot" in found:
            compare(found["snapshot"], peer_found.get("snapshot"), "snapshot")
        if peer_found.get("snapshot") != "external":
            continue
        layer, peer_layers_ = our_layers(found["layers"]), \
            peer_layers(peer_found)
        # What is not said, libvirt makes up or leaves out.
        if layer[0]["path"] or layer[0]["protocol"]:
            compare(layer, peer_layers_, found["name"])
    compare_disks(ours["domain"], peer.find("domain"))
    if "inactiveDomain" in ours:
        compare_disks(ours["inactiveDomain"], peer.find("inactiveDomain"))


# Specs

def spec(make, kind):
    keys = ["snapshot=", "driver=", "stype=", "file="]
    values = ["external", "no", "qcow2", "file", "block", "/a,,b", "/a b",
              "/<&>", "", "x=y", ",,", "/c,,,,d"]
    plain = [value for value in values if not re.search("[<&]", value)]
    if kind == "memspec":
        keys, fields = ["snapshot=", "file="], []
    else:
        fields = [make.rng.choice(["vda", "sda", "/path", "a,,b", "<&>", "",
                                   ",,", ",,,,", "file=/x"])]
    for key in make.rng.sample(keys, make.rng.randint(0, len(keys))):
        if make.maybe(0.1):
            key = make.rng.choice(["", "File=", "bogus=", "snapshot", " "])
        # virsh itself does not escape what these have.
        pool = plain if key in ("snapshot=", "driver=") else values
        if key == "stype=":
            pool = ["file", "block", "block", "dir", ""]
        fields.append(key + make.rng.choice(pool))
    if kind == "memspec" and make.maybe(0.4):
        fields.append("/memory")
    if len(fields) > 1 and make.maybe(0.1):
        fields.append(make.rng.choice(fields))
    return ",".join(fields) + ("," if make.maybe(0.05) else "")


def request(text):
    """A request as a list of what it asks for; an empty format is none."""
    out = []
    for found in ElementTree.fromstring(text).iter():
        attributes = {key: value for key, value in found.attrib.items()}
        if found.tag == "driver" and not attributes.get("type"):
            continue
        if found.tag == "source" and not any(attributes.values()):
            continue
        out.append((found.tag, attributes))
    return out


# Both of them

class Virsh:
    """Commands for one virsh, and what it says to each."""

    def __init__(self):
        self.lines = []
        self.number = 0

    def add(self, *commands):
        self.lines.append(f"echo '@{self.number}@'")
        self.lines.extend(commands)
        self.number += 1

    def run(self):
        done = subprocess.run(
            ["virsh", "-q", "-c", "test:///default"],
            input="\n".join(self.lines) + "\n", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
        answers = re.split(r"^@\d+@", done.stdout, flags=re.M)[1:]
        if len(answers) != self.number:
            raise AssertionError(f"virsh: {len(answers)} answers to "
                                 f"{self.number} questions:\n"
                                 + done.stdout[-2000:])
        return answers


def ask_ours(questions):
    done = subprocess.run([os.path.join(BUILD, "tests", "virtdump")],
                          input="\n".join(questions) + "\n", text=True,
                          stdout=subprocess.PIPE, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def class_of(answer):
    """libvirt's first error in ANSWER as ours; None: it took all."""
    found = re.search(r"^error: (.*)", answer, flags=re.M)
    if not found:
        return None
    # "error: Failed to define ..." comes before the reason.
    for text in re.findall(r"^error: (.*)", answer, flags=re.M):
        for start, name in CLASSES.items():
            if text.startswith(start):
                return name
    return "other: " + found.group(1)


def refusals_of(ours):
    found = ours["refusals"]
    for inside in ("domain", "inactiveDomain"):
        found = found + ours.get(inside, {}).get("refusals", [])
    return [refusal for refusal in found
            if not any(text in refusal["text"] for text in BEYOND_TEST_DRIVER)]


def judge_document(ours, answer, dump, root, compare_all):
    """True: both took it. False: both refused it."""
    if "error" in ours:
        raise AssertionError(f"not read: {ours}")
    refused, refusals = class_of(answer), refusals_of(ours)
    is_read = refused is None or AFTER_READING.search(answer)
    if is_read and refusals:
        raise AssertionError(f"libvirt takes it, refused: {refusals}")
    if is_read and refused:
        return False
    if is_read:
        text = dump[dump.index(f"<{root}"):]
        text = text[:text.rindex(f"</{root}>") + len(root) + 3]
        compare_all(ours, ElementTree.fromstring(text))
        return True
    if refused not in [refusal["id"] for refusal in refusals]:
        raise AssertionError(f"libvirt refuses it ({refused}), found: "
                             f"{refusals}\n{answer}")
    return False


def judge_spec(ours, answer):
    refused = re.search("^error: ", answer, flags=re.M)
    if bool(refused) != ("error" in ours):
        raise AssertionError(f"ours: {ours}\nvirsh: {answer}")
    if refused:
        return False
    text = answer[answer.index("<domainsnapshot>"):]
    end = "</domainsnapshot>"
    text = text[:text.rindex(end) + len(end)]
    compare(request(ours["xml"]), request(text), "request")
    return True


def documents(kind, make_one, seeds, folder):
    """Cases of domains or snapshots: questions, and what to ask libvirt."""
    virsh, questions, texts = Virsh(), [], []
    if kind == "snapshot":
        virsh.lines.append(f"define {folder}/guest.xml")
    for seed in seeds:
        path = os.path.join(folder, f"{kind}{seed}.xml")
        texts.append(make_one(Maker(f"{kind} {seed}")))
        with open(path, "w", encoding="utf-8") as out:
            out.write(texts[-1])
        questions.append(f"{kind} {path}")
        if kind == "domain":
            virsh.add(f"define {path}")
            virsh.add("dumpxml guest --inactive", "undefine guest")
        else:
            virsh.add(f"snapshot-create guest {path} --redefine")
            virsh.add("snapshot-dumpxml guest snap",
                      "snapshot-delete guest snap")
    return virsh, questions, texts


def specs(kind, seeds):
    virsh, texts = Virsh(), []
    option = {"diskspec": "--diskspec", "memspec": "--memspec"}[kind]
    for seed in seeds:
        text = spec(Maker(f"{kind} {seed}"), kind) or "x"
        texts.append(text)
        virsh.add(f"snapshot-create-as test --print-xml {option} '{text}'")
    return virsh, [f"{kind} {text}" for text in texts], texts


def run(kind, seeds, folder):
    if kind == "domain":
        virsh, questions, texts = documents(kind, domain, seeds, folder)
    elif kind == "snapshot":
        virsh, questions, texts = documents(kind, snapshot, seeds, folder)
    else:
        virsh, questions, texts = specs(kind, seeds)
    answers, ours = virsh.run(), ask_ours(questions)
    if kind in ("domain", "snapshot"):
        answers = list(zip(answers[::2], answers[1::2]))
    taken, failed = 0, 0
    for seed, text, answer, own in zip(seeds, texts, answers, ours):
        try:
            if kind == "domain":
                taken += judge_document(own, *answer, "domain", compare_disks)
            elif kind == "snapshot":
                taken += judge_document(own, *answer, "domainsnapshot",
                                        compare_snapshots)
            else:
                taken += judge_spec(own, answer)
        except AssertionError as why:
            failed += 1
            if failed <= 3:
                print(f"{kind}, seed {seed}: {why}\n  {text}")
    print(f"{kind}: {len(seeds)} cases, {taken} taken, "
          f"{len(seeds) - taken - failed} refused, {failed} failed")
    # Each of both has to be there, or nothing is compared.
    share = taken / len(seeds)
    if len(seeds) >= 100 and not 0.2 < share < 0.95:
        print(f"{kind}: {share:.0%} were taken, expected some of each")
        failed += 1
    return failed


def main():
    if not shutil.which("virsh"):
        print("skipped: no virsh")
        return 77
    number = int(os.environ.get("IMGCHAIN_CASES", "600"))
    seeds = list(range(number))
    if "IMGCHAIN_SEED" in os.environ:
        seeds = [int(os.environ["IMGCHAIN_SEED"])]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="imgchain-virt-") as folder:
        with open(f"{folder}/guest.xml", "w", encoding="utf-8") as out:
            out.write(f"<domain type='test'>{HEAD}</domain>")
        for kind in ("domain", "snapshot", "diskspec", "memspec"):
            failed += run(kind, seeds, folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
