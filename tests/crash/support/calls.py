# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a program did to the files of one folder: the log of sysshim.

tests/helpers/shim/shim.h says what the fields of each kind mean.
"""

import dataclasses
import enum
import os
import struct
import subprocess

SHIM = os.environ.get("IMGCHAIN_SYSSHIM", "libsysshim.so")
IMGCHAIN = os.environ.get("IMGCHAIN", "imgchain")
MAGIC = 0x4c4c4143
RECORD = struct.Struct("=IHHqQQQQIIQ")
TIMEOUT = 120


class Kind(enum.IntEnum):
    CREATE = 1
    TMPFILE = 2
    WRITE = 3
    TRUNCATE = 4
    FALLOCATE = 5
    CLONE = 6
    LINK = 7
    RENAME = 8
    UNLINK = 9
    FLUSH = 10
    FLUSH_DIR = 11
    MKDIR = 12
    RMDIR = 13


# Calls that change the bytes of one file, and those that change names.
DATA = (Kind.WRITE, Kind.TRUNCATE, Kind.FALLOCATE, Kind.CLONE)
NAMES = (Kind.CREATE, Kind.LINK, Kind.RENAME, Kind.UNLINK, Kind.MKDIR,
         Kind.RMDIR)


@dataclasses.dataclass
class Call:
    kind: Kind
    result: int
    ino: int
    off: int = 0
    len: int = 0
    aux: int = 0
    path: str = ""
    path2: str = ""
    data: bytes = b""

    def __str__(self):
        if self.kind == Kind.RENAME:
            return f"RENAME {self.path} to {self.path2}"
        if self.kind in (Kind.WRITE, Kind.CLONE):
            return (f"{self.kind.name} {self.path} "
                    f"[{self.off}, +{len(self.data)})")
        if self.kind in DATA:
            return (f"{self.kind.name} {self.path} off={self.off} "
                    f"len={self.len} mode={self.aux}")
        return f"{self.kind.name} {self.path}"


def load(path):
    """The calls that the log at PATH has, failed ones too."""
    with open(path, "rb") as file:
        log = file.read()
    calls = []
    at = 0
    while at < len(log):
        (magic, kind, _, result, ino, off, length, aux, path_len, path2_len,
         data_len) = RECORD.unpack_from(log, at)
        if magic != MAGIC:
            raise ValueError(f"{path}: no record at {at}")
        at += RECORD.size
        texts = log[at:at + path_len + path2_len]
        at += path_len + path2_len
        calls.append(Call(Kind(kind), result, ino, off, length, aux,
                          os.fsdecode(texts[:path_len]),
                          os.fsdecode(texts[path_len:]),
                          log[at:at + data_len]))
        at += data_len
    return calls


def environment(folder, log=None, plan=None):
    """What makes a program run under sysshim."""
    result = dict(os.environ, SYSSHIM_FOLDER=folder, LC_ALL="C",
                  IMGCHAIN_ENGINE="sync")
    preload = [SHIM]
    sanitized = os.environ.get("IMGCHAIN_SANITIZED", "")
    if sanitized:
        # A sanitizer's library wants to be the first one.
        name = "libtsan.so" if "thread" in sanitized else "libasan.so"
        found = subprocess.run(["gcc", f"-print-file-name={name}"],
                               stdout=subprocess.PIPE, check=True, text=True)
        preload.insert(0, found.stdout.strip())
    result["LD_PRELOAD"] = " ".join(preload)
    if log:
        result["SYSSHIM_LOG"] = log
    if plan:
        result["SYSSHIM_PLAN"] = plan
    return result


def run(folder, args, log=None, plan=None):
    """imgchain ARGS in FOLDER: the completed process, output as text."""
    return subprocess.run([IMGCHAIN, *args], cwd=folder, check=False,
                          env=environment(folder, log, plan), text=True,
                          errors="backslashreplace", timeout=TIMEOUT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL)


def record(folder, args, log, plan=None):
    """Run imgchain ARGS, which must succeed, or with a PLAN of what goes
    wrong must fail; the calls that it made."""
    if os.path.exists(log):
        os.unlink(log)
    done = run(folder, args, log, plan)
    if done.returncode != (1 if plan else 0):
        raise RuntimeError(f"imgchain {' '.join(args)}: exit "
                           f"{done.returncode}: {done.stderr}")
    return load(log) if os.path.exists(log) else []
