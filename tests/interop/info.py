#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""info --output json says everything that qemu-img's says.

Keys may be added to any object; none may be missing or have another value.
Each chain is described twice: its active layer alone, and all of it.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))
import cases  # noqa: E402


def differences(peer, ours, where=""):
    """What of PEER is not in OURS, as lines."""
    if isinstance(peer, dict) and isinstance(ours, dict):
        for key, value in peer.items():
            if key not in ours:
                yield f"{where}.{key}: missing, expected {value!r}"
            else:
                yield from differences(value, ours[key], f"{where}.{key}")
    elif isinstance(peer, list) and isinstance(ours, list):
        if len(peer) != len(ours):
            yield f"{where}: {len(ours)} entries, expected {len(peer)}"
        for idx, (left, right) in enumerate(zip(peer, ours)):
            yield from differences(left, right, f"{where}[{idx}]")
    elif is_json_name(peer) and is_json_name(ours):
        # QEMU's order of the keys is that of its hash table.
        yield from differences(json.loads(peer[5:]), json.loads(ours[5:]),
                               where)
    elif peer != ours or type(peer) is not type(ours):
        yield f"{where}: found {ours!r}, expected {peer!r}"


def is_json_name(value):
    return isinstance(value, str) and value.startswith("json:{")


def check(chain):
    name = chain.top.path
    if chain.rng.random() < 0.3:
        name = os.path.join(chain.folder, name)
    for extra in ([], ["--backing-chain"]):
        args = ["info", "--output", "json", *extra,
                *chain.format_args(chain.top), name]
        peer, ours = chain.both(*args)
        found = list(differences(peer, ours))
        if found:
            raise cases.Mismatch(" ".join(args) + "\n  " + "\n  ".join(found))


if __name__ == "__main__":
    sys.exit(cases.run(check, default_number=300, first_seed=0))
