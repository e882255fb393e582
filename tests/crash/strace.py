#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The log that sysshim writes from inside is what strace sees from outside:
the same calls on the same files in the same order. What the crash tests
replay is all that the program did."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path[0] = os.path.join(os.path.dirname(__file__), "support")
import calls  # noqa: E402
import examples  # noqa: E402
import trial  # noqa: E402
from calls import Kind  # noqa: E402

TRACED = ("open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,"
          "ftruncate,truncate,fallocate,ioctl,copy_file_range,link,linkat,"
          "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,"
          "fsync,fdatasync,sync,syncfs,sync_file_range,msync,sendfile,splice,"
          "io_uring_enter")
LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+|\?)")
FLAGS = {"FALLOC_FL_KEEP_SIZE": 1, "FALLOC_FL_PUNCH_HOLE": 2,
         "FALLOC_FL_ZERO_RANGE": 16}


def fields(text):
    """The arguments of a call, as far as they have no commas inside."""
    return re.split(r", (?![^<\[{(\"]*[>\]})\"])", text)


def normal_name(path):
    """Temporary names are made anew each time."""
    path = re.sub(r"imgchain-[a-z0-9]{6}\b", "imgchain-X", path)
    return re.sub(r"(snapshot|transaction)-[0-9a-zA-Z]{16}", r"\1-X", path)


def from_log(log):
    """Calls of sysshim's LOG that did something, as strace can tell them."""
    for call in log:
        if call.result < 0:
            continue
        name = normal_name(call.path)
        if call.kind == Kind.WRITE:
            yield ("write", call.off, call.result)
        elif call.kind == Kind.TRUNCATE:
            yield ("truncate", call.len)
        elif call.kind == Kind.FALLOCATE:
            yield ("fallocate", call.aux, call.off, call.len)
        elif call.kind == Kind.CLONE:
            yield ("clone", call.len)
        elif call.kind in (Kind.FLUSH, Kind.FLUSH_DIR):
            yield ("flush",)
        elif call.kind == Kind.TMPFILE:
            yield ("create", "")
        elif call.kind == Kind.RENAME:
            yield ("rename", os.path.basename(name),
                   os.path.basename(normal_name(call.path2)))
        else:
            yield (call.kind.name.lower(), os.path.basename(name))


def quoted(text):
    return [os.path.basename(normal_name(part))
            for part in re.findall(r'"((?:[^"\\]|\\.)*)"', text)]


def from_strace(path, folder):
    """The same of what strace wrote to PATH."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = LINE.match(line)
            if not match or match[3].startswith("-") or match[3] == "?":
                continue
            call = one_call(match[1], match[2], int(match[3]), folder, line)
            if call:
                yield call


def one_call(name, text, result, folder, line):
    args = fields(text)
    if name in ("write", "pwrite64", "writev", "pwritev"):
        if folder not in args[0]:
            return None
        off = int(args[-1]) if name == "pwrite64" else None
        return ("write", off, result)
    if name in ("open", "openat"):
        if folder not in line.replace(" = ", " ") or \
                not re.search("O_CREAT|O_TMPFILE|O_TRUNC", text):
            return None
        return ("create", "" if "O_TMPFILE" in text else quoted(text)[0])
    if folder not in text:
        return None
    if name == "ftruncate":
        return ("truncate", int(args[1]))
    if name == "fallocate":
        mode = sum(FLAGS[flag] for flag in args[1].split("|") if flag in FLAGS)
        return ("fallocate", mode, int(args[2]), int(args[3]))
    if name == "ioctl":
        return ("clone", None) if "FICLONE" in text else None
    if name in ("fsync", "fdatasync"):
        return ("flush",)
    if name.startswith("rename"):
        return ("rename", *quoted(text)[:2])
    if name.startswith("link"):
        return ("link", quoted(text)[-1])
    if name.startswith("unlink"):
        return ("unlink", quoted(text)[0])
    if name == "openat2":
        return None if "O_RDWR" not in text and "O_WRONLY" not in text else \
            ("a call that sysshim does not know", name)
    return ("a call that sysshim does not know", name)


def trace(folder, args, out):
    env = dict(os.environ, IMGCHAIN_ENGINE="sync", LC_ALL="C")
    if os.environ.get("IMGCHAIN_SANITIZED"):
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    done = subprocess.run(["strace", "-f", "-y", "-s", "64", "-o", out, "-e",
                           f"trace={TRACED}", calls.IMGCHAIN, *args],
                          cwd=folder, env=env, check=False, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode != 0:
        raise trial.Wrong(f"imgchain {' '.join(args)} under strace: exit "
                          f"{done.returncode}: {done.stderr}")


def check(args, work):
    folder = os.path.join(work, "files")
    out = os.path.join(work, "strace")
    seen = {}
    for who in ("shim", "strace"):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        examples.build(folder)
        if who == "shim":
            log = calls.record(folder, args, os.path.join(work, "log"))
            seen[who] = list(from_log(log))
        else:
            trace(folder, args, out)
            seen[who] = list(from_strace(out, folder))
    for n, (inside, outside) in enumerate(zip(*seen.values())):
        if inside != outside and outside[0] != "clone":
            raise trial.Wrong(f"{args[0]}: call {n}: sysshim has {inside}, "
                              f"strace {outside}")
    if len(seen["shim"]) != len(seen["strace"]) or not seen["shim"]:
        raise trial.Wrong(f"{args[0]}: sysshim has {len(seen['shim'])} calls,"
                          f" strace {len(seen['strace'])}")
    print(f"{args[0]}: {len(seen['shim'])} calls, the same from both sides")


def main():
    for program in ("qemu-img", "qemu-io", "strace"):
        if not shutil.which(program):
            print(f"SKIP: no {program}")
            return trial.SKIP
    if subprocess.run(["strace", "-o", "/dev/null", "true"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        print("SKIP: nothing can be traced here")
        return trial.SKIP
    # not in memory: its file system has other calls to fall back from
    work = tempfile.mkdtemp(prefix="imgchain-strace-")
    try:
        for example in examples.EXAMPLES:
            check(example.args, os.path.realpath(work))
    except (trial.Wrong, RuntimeError) as error:
        print(f"FAIL: {error}")
        return 1
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
