#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""metadata list, tree, show, check and undefine-check, with a real libvirtd.

virsh makes a hierarchy of every kind of snapshot, with branches; what is shown
of it is compared with what virsh shows, from libvirt's folder, from files and
through libvirt. A check finds it clean, and finds each of many damages
(support/metadata_damage.py). What libvirt's loader makes of a damaged folder is
looked at with a daemon that starts over it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import libvirtd  # noqa: E402
import metadata_damage  # noqa: E402
from libvirtd import Disk, Libvirtd  # noqa: E402

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
SKIP = 77


def sanitized():
    """What an imgchain under a sanitizer needs: see handoff.py."""
    needed = subprocess.run(["ldd", IMGCHAIN], capture_output=True, text=True,
                            check=True).stdout
    first = re.search(r"libasan\.so\.\d+", needed)
    found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True,
                           check=True).stdout
    real = re.search(r"libtirpc\.so\.\d+", found)
    return {"LD_PRELOAD": f"{first[0]} {real[0]}"} if first and real else {}


ENVIRONMENT = {**os.environ, **sanitized()}


class Wrong(Exception):
    """imgchain did not do as it should."""


def expect(is_true, *what):
    if not is_true:
        raise Wrong(" ".join(str(w) for w in what))


def metadata(*words, code=0):
    """What `imgchain metadata WORDS` prints; it ends with CODE."""
    done = subprocess.run([IMGCHAIN, "metadata", *words], check=False,
                          capture_output=True, text=True, timeout=120,
                          env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    expect(done.returncode == code, words, "exit", done.returncode, "not",
           code, done.stdout[-2000:], done.stderr)
    return done.stdout


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def img(*words):
    subprocess.run(["qemu-img", *words], check=True,
                   stdout=subprocess.DEVNULL)


class Bed:
    """A domain with a hierarchy that virsh has made."""

    def __init__(self, virt, folder):
        self.virt = virt
        self.images = os.path.join(folder, "images")
        os.mkdir(self.images)
        os.chmod(self.images, 0o777)
        for disk in ("vda", "vdb"):
            img("create", "-q", "-f", "qcow2", self.path(f"{disk}.base"), "4M")
        self.machine = virt.define("web1", [
            Disk(disk, self.path(f"{disk}.base")) for disk in ("vda", "vdb")])
        self.folder = os.path.join(virt.folder, "lib/qemu/snapshot/web1")
        self.domain = os.path.join(folder, "web1.xml")

    def path(self, name):
        return os.path.join(self.images, name)

    def snapshot(self, name, *words, vdb=True):
        """External where WORDS say so: each disk to a file of the name's."""
        if words:
            words += ("--diskspec", f"vda,file={self.path(f'vda.{name}')}",
                      "--diskspec", f"vdb,file={self.path(f'vdb.{name}')}"
                      if vdb else "vdb,snapshot=no")
        self.machine.must("snapshot-create-as", name, *words)

    def memory(self, name):
        return ("--memspec", f"file={self.path(f'{name}.mem')}")

    def make(self):
        machine = self.machine
        machine.start(paused=False)
        machine.must("snapshot-create-as", "s1", "--description",
                     "the <first> & oldest")
        self.snapshot("s2")
        machine.must("snapshot-revert", "s1")
        self.snapshot("s3")
        machine.must("destroy")
        self.snapshot("s4")
        machine.must("snapshot-revert", "s1")
        self.snapshot("s5")
        self.snapshot("s6")
        machine.must("snapshot-revert", "s4")
        machine.start(paused=False)
        self.snapshot("s7", "--disk-only")
        self.snapshot("s8", *self.memory("s8"), vdb=False)
        self.snapshot("s9")
        self.snapshot("t1", *self.memory("t1"))
        machine.must("destroy")
        self.snapshot("t2", "--disk-only")
        self.snapshot("t3")
        self.save_domain()

    def save_domain(self):
        write(self.domain, self.machine.dumpxml("--inactive"))

    def files(self, folder):
        """Each snapshot as virsh dumps it, in a file."""
        os.makedirs(folder, exist_ok=True)
        names = self.names()
        for name in names:
            write(os.path.join(folder, name + ".dump"),
                  self.machine.must("snapshot-dumpxml", name))
        return [os.path.join(folder, name + ".dump") for name in names]

    def names(self):
        return self.machine.must("snapshot-list", "--topological",
                                 "--name").split()


# ---- What is shown

def parents_of(virsh_tree):
    """{NAME: PARENT} from the lines of virsh snapshot-list --tree."""
    found, above = {}, []
    for line in virsh_tree.splitlines():
        match = re.match(r"([ |]*)(\+- )?(\w+)$", line)
        if not match:
            continue
        depth = (len(match[1]) - 2) // 4 + 1 if match[2] else 0
        del above[depth:]
        found[match[3]] = above[-1] if above else None
        above.append(match[3])
    return found


def parents_of_ours(tree):
    found, above = {}, []
    for line in tree.splitlines():
        rails, name = re.match(r"([│├└─ ]*)(\S+)  ", line).groups()
        depth = len(rails) // 3
        del above[depth:]
        found[name] = above[-1] if above else None
        above.append(name)
    return found


def facts(text):
    """A list without the names of files, which are the source's own."""
    return {one["name"]: {key: value for key, value in one.items()
                          if key != "filename"} for one in json.loads(text)}


def check_info(bed, one):
    """snapshot-info's lines."""
    info = dict(line.split(":", 1) for line in bed.machine.must(
        "snapshot-info", one["name"]).splitlines() if ":" in line)
    info = {key: value.strip() for key, value in info.items()}
    name = one["name"]
    expect(info["Current"] == ("yes" if one["current"] else "no"), name, info)
    expect(info["State"] == one["state"], name, info, one["state"])
    expect(info["Location"] in one["kind"].split(", ")[0]
           or one["kind"].startswith("mixed"), name, info, one["kind"])
    expect(info["Parent"] == one.get("parent", "-"), name, info)


def compare(bed, folder):
    ask = ["--connect", bed.virt.uri, "--domain", "web1"]
    files = bed.files(os.path.join(folder, "dumps"))
    current = bed.machine.must("snapshot-current", "--name").strip()
    told = facts(metadata("list", "--output", "json", *ask))
    expect(told == facts(metadata("list", "--output", "json", bed.folder)),
           "libvirt and its folder differ")
    expect(told == facts(metadata("list", "--output", "json", "--current",
                                  current, *files)),
           "libvirt and dumped files differ")
    expect(sorted(told) == sorted(bed.names()), "names", sorted(told))
    for one in told.values():
        check_info(bed, one)
    tree = parents_of(bed.machine.must("snapshot-list", "--tree"))
    expect(len(tree) == 12, "virsh's tree", tree)
    for source in (ask, [bed.folder], files):
        expect(parents_of_ours(metadata("tree", *source)) == tree, source)
    for name in told:
        expect(metadata("show", name, "--xml", *ask) ==
               bed.machine.must("snapshot-dumpxml", name), name)
        shown = json.loads(metadata("show", name, bed.folder, "--output",
                                    "json", "--xml"))
        expect(shown["xml"] == read(os.path.join(bed.folder, f"{name}.xml")),
               name)
    disks = {disk["name"]: disk for disk in told["s8"]["disks"]}
    expect(disks["vda"]["filename"] == bed.path("vda.s8") and
           disks["vda"]["source"] == bed.path("vda.s7") and
           disks["vdb"]["snapshot"] == "no", disks)
    expect(told["s1"]["description"] == "the <first> & oldest", told["s1"])
    kinds = {one["kind"] for one in told.values()}
    expect(kinds == {"internal", "internal, memory", "external",
                     "external, memory", "external, disk only"}, kinds)


# ---- What is found

def check(*words, code=0):
    return json.loads(metadata("check", "--output", "json", *words, code=code))


def is_clean(doc, *what):
    found = [c for c in doc["checks"] if c["result"] not in ("pass", "skip")]
    expect(not found, *what, "finds", found)


def clean(bed, folder):
    files = bed.files(os.path.join(folder, "dumps"))
    ask = ["--connect", bed.virt.uri, "--domain", "web1"]
    is_clean(check("--domain", bed.domain, bed.folder), "the folder")
    is_clean(check("--domain", bed.domain, *files), "dumped files")
    is_clean(check(*ask), "libvirt")
    bed.machine.start()
    is_clean(check(*ask), "libvirt, of a running domain")
    bed.machine.must("destroy")


def result_of(doc, wanted, moment):
    """How the check WANTED came out, of MOMENT if that is one."""
    return [c for c in doc["checks"] if c["id"] == wanted and
            c["result"] not in ("pass", "skip") and
            moment in (None, c.get("moment"))]


def judge(damage, place, *words):
    """The damage is found, by its id; nothing else but what follows."""
    code = {"fail": 1, "warn": 0, "unproven": 2}[damage.result]
    doc = check("--domain", place.domain, *words, code=code)
    found = result_of(doc, damage.id, damage.moment)
    expect(found, damage.name, "is not found:", damage.id, damage.moment,
           [c for c in doc["checks"] if c["result"] != "pass"])
    expect(found[0]["result"] == damage.result, damage.name, found)
    expect(damage.text in found[0]["message"], damage.name, found[0])
    others = {c["id"] for c in doc["checks"]
              if c["result"] in ("fail", "unproven")}
    expect(others <= {damage.id, *damage.follows}, damage.name,
           "also finds", others)
    return found[0]


def mend(found, damage, place):
    """What the remedy leaves is clean."""
    expect("remedy" in found, damage.name, "has no remedy")
    subprocess.run(["sh", "-c", found["remedy"].replace(
        "imgchain", IMGCHAIN, 1)], check=True, env=ENVIRONMENT,
        stdout=subprocess.DEVNULL)
    is_clean(check("--domain", place.domain, place.folder),
             "after the remedy of", damage.name)


def each_damage(bed, folder, table, *options):
    """Each on a copy of the metadata; images are put back."""
    kept, wrong = os.path.join(folder, "kept"), []
    shutil.copytree(bed.images, kept)
    for nr, damage in enumerate(table):
        place = metadata_damage.Place(bed, os.path.join(folder, f"d{nr}"))
        damage.do(place)
        try:
            found = judge(damage, place, *options, place.folder)
            if damage.is_mended:
                mend(found, damage, place)
        except Wrong as error:
            wrong.append(str(error))
        shutil.rmtree(place.folder)
        if damage.has_images:
            shutil.rmtree(bed.images)
            shutil.copytree(kept, bed.images)
    shutil.rmtree(kept)
    os.chmod(bed.images, 0o777)
    expect(not wrong, "\n".join(wrong))


def damages(bed, folder):
    each_damage(bed, folder, metadata_damage.SNAPSHOTS)
    is_clean(check("--domain", bed.domain, bed.folder), "what was put back")


# ---- Checkpoints

def make_checkpoints(virt, folder):
    bed = Bed.__new__(Bed)
    bed.virt = virt
    bed.images = os.path.join(folder, "images2")
    os.mkdir(bed.images)
    os.chmod(bed.images, 0o777)
    img("create", "-q", "-f", "qcow2", bed.path("vda.base"), "4M")
    bed.machine = virt.define("web2", [Disk("vda", bed.path("vda.base"))])
    bed.folder = os.path.join(virt.folder, "lib/qemu/checkpoint/web2")
    bed.domain = os.path.join(folder, "web2.xml")
    bed.machine.start(paused=False)
    for name in ("c1", "c2", "c3"):
        bed.machine.must("checkpoint-create-as", name)
        bed.machine.write("vda", 7, 65536, 65536)
    bed.save_domain()
    return bed


def checkpoints(virt, folder):
    bed = make_checkpoints(virt, folder)
    ask = ["--connect", virt.uri, "--domain", "web2"]
    told = json.loads(metadata("list", "--checkpoints", *ask, "--output",
                               "json"))
    expect([one["name"] for one in told] == ["c1", "c2", "c3"], told)
    expect(facts(json.dumps(told)) == facts(metadata(
        "list", "--checkpoints", bed.folder, "--output", "json")), "differ")
    expect(told[2]["disks"] == [{"name": "vda", "checkpoint": "bitmap",
                                 "bitmap": "c3"}], told[2])
    expect(parents_of_ours(metadata("tree", "--checkpoints", bed.folder)) ==
           parents_of(bed.machine.must("checkpoint-list", "--tree")), "tree")
    expect(metadata("show", "c2", "--checkpoints", "--xml", *ask) ==
           bed.machine.must("checkpoint-dumpxml", "c2"), "dumpxml")
    doc = check(*ask, code=2)
    expect(result_of(doc, "bitmap-exists", None), "a running domain's bitmaps",
           doc)
    bed.machine.must("destroy")
    is_clean(check(*ask), "libvirt's checkpoints")
    is_clean(check("--checkpoints", "--domain", bed.domain, bed.folder),
             "the folder of checkpoints")
    each_damage(bed, folder, metadata_damage.CHECKPOINTS, "--checkpoints")


# ---- What libvirt's loader makes of it

def listed(virt, name):
    return virt.must("snapshot-list", name, "--name").split()


def current(virt, name):
    done = virt.virsh("snapshot-current", name, "--name")
    return done.stdout.strip() if done.returncode == 0 else None


def loader(virt, bed, folder):
    """A domain for each trap, and one start of the daemon over all of them."""
    traps = [d for d in metadata_damage.SNAPSHOTS if d.loads]
    places = {}
    for nr, damage in enumerate(traps):
        name = f"trap{nr}"
        virt.define(name, [])
        places[name] = place = metadata_damage.Place(
            bed, os.path.join(virt.folder, "lib/qemu/snapshot", name))
        damage.do(place)
    virt.stop_daemon()
    virt.start_daemon()
    every = sorted(bed.names())
    for (name, place), damage in zip(places.items(), traps):
        found = sorted(listed(virt, name))
        expect(found == sorted(damage.loads(every)), damage.name,
               "libvirt lists", found)
        doc = check("--domain", place.domain, place.folder, code=1)
        is_lost = bool(result_of(doc, "metadata-current-kept", None))
        is_unread = damage.name == "a document that is cut off"  # it was that
        expect((current(virt, name) is None) == (is_lost or is_unread),
               damage.name, "current:", current(virt, name))
    comes_back(virt, places, traps)


def comes_back(virt, places, traps):
    """A file of another name outlives the deletion of its snapshot."""
    name = next(name for (name, _), damage in zip(places.items(), traps)
                if damage.id == "metadata-filename")
    virt.must("snapshot-delete", name, "s6", "--metadata")
    expect("s6" not in listed(virt, name), "s6 is still there")
    virt.stop_daemon()
    virt.start_daemon()
    expect("s6" in listed(virt, name), "s6 does not come back")


# ---- What would be lost

def undefine(virt, bed):
    ask = ["undefine-check", "--connect", virt.uri, "--domain", "web1",
           "--output", "json"]

    def refused(text, wanted):
        doc = json.loads(metadata(*ask, code=1))
        expect(any(text in c["message"] for c in
                   result_of(doc, wanted, None)), text, doc)
        done = virt.virsh("undefine", "web1")
        expect(done.returncode != 0 and text in done.stderr, text, done)
        return doc

    doc = refused("cannot delete inactive domain with 12 snapshots",
                  "undefine-snapshots")
    expect(doc["steps"][0] ==
           f"imgchain metadata export --connect '{virt.uri}' --security-info "
           "--domain web1 --to web1.json", doc["steps"])
    folder = os.path.dirname(bed.domain)
    subprocess.run(["sh", "-c", doc["steps"][0].replace(
        "imgchain", IMGCHAIN, 1)], cwd=folder, check=True, env=ENVIRONMENT,
        stdout=subprocess.DEVNULL)
    expect("s6" in read(os.path.join(folder, "web1.json")), "no bundle")
    inside = result_of(doc, "undefine-stranded", None)
    expect(any("s1, s2, s3, s4, s5, s6" in c.get("found", "") for c in inside),
           inside)
    expect(any(c.get("image") == bed.path("t1.mem") for c in inside), inside)
    bed.machine.start()
    doc = json.loads(metadata(*ask, code=1))
    expect("makes it transient" in result_of(
        doc, "undefine-snapshots", None)[0]["message"], doc)
    bed.machine.must("managedsave")
    doc = json.loads(metadata(*ask, code=1))
    expect(len([c for c in doc["checks"] if c["result"] == "fail"]) == 2, doc)
    by_folder = json.loads(metadata(
        "undefine-check", "--domain", bed.domain, bed.folder, "--output",
        "json", code=1))
    expect(result_of(by_folder, "undefine-managed-save", None)[0]["image"]
           .endswith("/qemu/save/web1.save"), by_folder)
    # Once no snapshot is in the way, libvirt comes to the saved state.
    for name in reversed(bed.names()):
        bed.machine.must("snapshot-delete", name, "--metadata")
    refused("Refusing to undefine while domain managed save image exists",
            "undefine-managed-save")
    bed.machine.must("managedsave-remove")
    doc = json.loads(metadata(*ask))
    expect(doc["verdict"] == "accepted" and doc["steps"] == [], doc)
    virt.must("undefine", "web1")


def undefine_nvram(virt, folder):
    """libvirt refuses for the sake of a file that is there."""
    loader_file = os.path.join(folder, "code.fd")
    nvram = os.path.join(folder, "vars.fd")
    for path in (loader_file, nvram):
        write(path, "")
    xml = libvirtd.domain_xml("web3", []).replace(
        "</os>", f"<loader readonly='yes' type='pflash'>{loader_file}"
        f"</loader><nvram>{nvram}</nvram></os><features><acpi/></features>")
    virt.must("define", virt.write_xml(xml))
    doc = json.loads(metadata("undefine-check", "--connect", virt.uri,
                              "--domain", "web3", "--output", "json", code=1))
    text = "cannot undefine domain with nvram"
    expect(text in result_of(doc, "undefine-nvram", None)[0]["message"], doc)
    done = virt.virsh("undefine", "web3")
    expect(done.returncode != 0 and text in done.stderr, done)
    subprocess.run(["sh", "-c", doc["steps"][-1]], check=True,
                   stdout=subprocess.DEVNULL)
    expect(os.path.exists(nvram), "the NVRAM is gone")


def undefine_checkpoints(virt):
    ask = ["undefine-check", "--connect", virt.uri, "--domain", "web2",
           "--output", "json"]
    doc = json.loads(metadata(*ask, code=1))
    text = "cannot delete inactive domain with 3 checkpoints"
    expect(text in result_of(doc, "undefine-checkpoints", None)[0]["message"],
           doc)
    done = virt.virsh("undefine", "web2")
    expect(done.returncode != 0 and text in done.stderr, done)
    subprocess.run(["sh", "-c", doc["steps"][-1]], check=True,
                   stdout=subprocess.DEVNULL)
    expect("web2" not in virt.must("list", "--all", "--name"), "web2 is there")


def main():
    why = libvirtd.missing()
    if why:
        print(f"{sys.argv[0]}: skipped: {why}", file=sys.stderr)
        return SKIP
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with Libvirtd(os.path.join(folder, "virt")) as virt:
            bed = Bed(virt, folder)
            bed.make()
            compare(bed, folder)
            clean(bed, folder)
            damages(bed, folder)
            loader(virt, bed, folder)
            checkpoints(virt, folder)
            undefine(virt, bed)
            undefine_checkpoints(virt)
            undefine_nvram(virt, folder)
    print(f"{len(metadata_damage.SNAPSHOTS)} damages of snapshots, "
          f"{len(metadata_damage.CHECKPOINTS)} of checkpoints")
    return 0


if __name__ == "__main__":
    sys.exit(main())
