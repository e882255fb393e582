# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which of libvirt's errors virsh tells of; and imgchain beside libvirt."""

import os
import re
import subprocess

IMGCHAIN = os.path.abspath(os.environ.get("IMGCHAIN", "imgchain"))
ACCEPTED = "accepted"
# How virsh begins the text of each.
KINDS = {
    "invalid argument:": "INVALID_ARG",
    "operation failed:": "OPERATION_FAILED",
    "XML error:": "XML_ERROR",
    "internal error:": "INTERNAL_ERROR",
    "Requested operation is not valid:": "OPERATION_INVALID",
    "unsupported configuration:": "CONFIG_UNSUPPORTED",
    "argument unsupported:": "ARGUMENT_UNSUPPORTED",
    "Operation not supported:": "OPERATION_UNSUPPORTED",
    "block copy still active:": "BLOCK_COPY_ACTIVE",
    "XML document failed to validate against schema": "XML_INVALID_SCHEMA",
    "missing name information": "NO_NAME",
    "missing source information": "NO_SOURCE",
    "invalid snapshot name": "XML_DETAIL",
}


def kind_of(text):
    """The error's kind in what virsh says; SYSTEM_ERROR has any beginning."""
    lines = [re.sub(r"^error: ", "", line)
             for line in text.strip().splitlines()]
    for line in lines:
        for beginning, kind in KINDS.items():
            if line.startswith(beginning):
                return kind
        # These begin with what they are about.
        if re.search("[Ff]lags? '.*(required by|mutually exclusive)", line):
            return "INVALID_ARG"
    return "SYSTEM_ERROR"


def sanitized():
    """What an imgchain under a sanitizer needs in its environment.

    The sanitizer stands before the xdr_* functions of a library that libvirt's
    library brings, and looks for the real ones when the program starts: they
    have to be there by then.
    """
    needed = subprocess.run(["ldd", IMGCHAIN], capture_output=True, text=True,
                            check=True).stdout
    first = re.search(r"libasan\.so\.\d+", needed)
    found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True,
                           check=True).stdout
    real = re.search(r"libtirpc\.so\.\d+", found)
    return {"LD_PRELOAD": f"{first[0]} {real[0]}"} if first and real else {}


ENVIRONMENT = {**os.environ, **sanitized()}
