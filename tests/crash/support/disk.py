# SPDX-License-Identifier: LGPL-2.1-or-later
"""A folder in memory, and what calls do to it.

A file has an id that lives longer than a name and is never used again (an
inode number is). Its contents are what it had at first and a tuple of changes;
that tuple, not the bytes, is what tells two contents apart.
"""

import os

import calls as calls_mod
from calls import Kind

SECTOR = 512
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
CACHE_MAX = 64


class Change:
    """One call of a kind in calls.DATA on file FILE; part of a write that
    was torn has a window (in the file)."""

    def __init__(self, idx, call, file, window=None):
        self.idx = idx
        self.call = call
        self.file = file
        self.window = window
        self.key = idx if window is None else (idx, window)

    def torn(self, window):
        return Change(self.idx, self.call, self.file, window)

    @property
    def is_write(self):
        return self.call.kind in (Kind.WRITE, Kind.CLONE)

    def sectors(self):
        """Where a write can be torn."""
        first = self.call.off // SECTOR + 1
        end = self.call.off + len(self.call.data)
        return [n * SECTOR for n in range(first, (end - 1) // SECTOR + 1)]

    def apply(self, content):
        call = self.call
        if self.is_write:
            start, end = call.off, call.off + len(call.data)
            if self.window:
                start, end = max(start, self.window[0]), min(end,
                                                            self.window[1])
            extend(content, end)
            content[start:end] = call.data[start - call.off:end - call.off]
        elif call.kind == Kind.TRUNCATE:
            del content[call.len:]
            extend(content, call.len)
        else:
            self.apply_fallocate(content)

    def apply_fallocate(self, content):
        call = self.call
        end = call.off + call.len
        if not call.aux & KEEP_SIZE:
            extend(content, end)
        if call.aux & (PUNCH_HOLE | ZERO_RANGE):
            end = min(end, len(content))
            if call.off < end:
                content[call.off:end] = bytes(end - call.off)


def extend(content, length):
    if length > len(content):
        content.extend(bytes(length - len(content)))


class NameChange:
    """One call of a kind in calls.NAMES."""

    def __init__(self, idx, call, file):
        self.idx = idx
        self.call = call
        self.file = file
        self.key = idx

    def apply(self, names):
        call = self.call
        if call.kind in (Kind.CREATE, Kind.LINK):
            names[call.path] = self.file
        elif call.kind == Kind.RENAME:
            names.pop(call.path, None)
            names[call.path2] = self.file
        elif call.kind == Kind.UNLINK:
            if names.get(call.path) == self.file:
                del names[call.path]

    def apply_folder(self, folders):
        if self.call.kind == Kind.MKDIR:
            folders.add(self.call.path)
        elif self.call.kind == Kind.RMDIR:
            folders.discard(self.call.path)

    def folders(self):
        paths = [self.call.path]
        if self.call.path2:
            paths.append(self.call.path2)
        return {os.path.dirname(path) or "." for path in paths}


class State:
    """What a disk may hold: names, and for each file the changes that
    reached it, in the order of the calls."""

    def __init__(self, history, names, changes, label, folders):
        self.history = history
        self.folders = folders  # that were made meanwhile
        self.names = names      # path -> file id
        self.changes = changes  # file id -> tuple of Change
        self.label = label

    def key(self):
        return (frozenset(self.names.items()), frozenset(self.folders),
                frozenset((file, tuple(c.key for c in changes))
                          for file, changes in self.changes.items()
                          if changes))

    def file_key(self, path):
        """Equal for equal contents (and a few others that are equal)."""
        file = self.names.get(path)
        if file is None:
            return None
        return (file, tuple(c.key for c in self.changes.get(file, ())))

    def paths(self):
        return sorted(self.names)

    def content(self, path):
        """The bytes of PATH; None: no such name."""
        key = self.file_key(path)
        if key is None:
            return None
        cache = self.history.cache
        if key not in cache:
            if len(cache) >= CACHE_MAX:
                del cache[next(iter(cache))]
            content = bytearray(self.history.contents.get(key[0], b""))
            for change in self.changes.get(key[0], ()):
                change.apply(content)
            cache[key] = bytes(content)
        return cache[key]


class History:
    """A folder as it was, and the calls that were made on it."""

    def __init__(self, names, contents, folders):
        self.first_names = names     # path -> file id
        self.contents = contents     # file id -> bytes
        self.first_folders = folders
        self.events = []  # Change, NameChange, Flush
        self.made = {}    # file id -> the inode that it had
        self.cache = {}

    @classmethod
    def of_folder(cls, folder):
        """Read FOLDER as it is now; add() takes what follows."""
        names, contents, inos, folders = {}, {}, {}, []
        for root, dirs, files in os.walk(folder):
            folders += [os.path.relpath(os.path.join(root, name), folder)
                        for name in dirs]
            for name in files:
                full = os.path.join(root, name)
                file = f"first {os.stat(full).st_ino}"
                inos[os.stat(full).st_ino] = file
                names[os.path.relpath(full, folder)] = file
                with open(full, "rb") as opened:
                    contents[file] = opened.read()
        history = cls(names, contents, folders)
        history.inos = inos
        return history

    def add(self, log):
        """The calls of LOG happened; those that failed did nothing."""
        for idx, call in enumerate(log):
            if call.result < 0:
                continue
            if call.kind in (Kind.CREATE, Kind.TMPFILE):
                self.inos[call.ino] = f"made {idx}"
                self.made[f"made {idx}"] = call.ino
            file = self.inos.get(call.ino)
            if call.kind in calls_mod.DATA:
                self.events.append(Change(idx, call, file))
            elif call.kind in calls_mod.NAMES:
                self.events.append(NameChange(idx, call, file))
            elif call.kind == Kind.FLUSH:
                self.events.append(Flush(call, file))
            elif call.kind == Kind.FLUSH_DIR:
                self.events.append(Flush(call, None))

    def state(self, events, label):
        """What is there after EVENTS and no others, in this order."""
        names = dict(self.first_names)
        changes, folders = {}, set()
        for event in events:
            if isinstance(event, NameChange):
                event.apply(names)
                event.apply_folder(folders)
            elif isinstance(event, Change):
                changes.setdefault(event.file, []).append(event)
        there = {"", *self.first_folders, *folders}
        # What lies in a folder that is not there is lost with it.
        names = {name: file for name, file in names.items()
                 if os.path.dirname(name) in there}
        return State(self, names,
                     {file: tuple(c) for file, c in changes.items()}, label,
                     folders)


class Flush:
    """fsync or fdatasync of a file, or of a folder (file None)."""

    def __init__(self, call, file):
        self.call = call
        self.file = file

    def settles(self, event):
        """Is EVENT, which came before, stable after this?"""
        if isinstance(event, Change):
            return event.file == self.file
        return self.file is None and isinstance(event, NameChange) and \
            self.call.path in event.folders()
