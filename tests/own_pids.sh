# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Source it first: root's script begins anew in a PID namespace of its own, of
# which it sees all processes, whatever runs beside it.
if [ "$(id -u)" = 0 ] && [ -z "${IMGCHAIN_OWN_PIDS-}" ]; then
    export IMGCHAIN_OWN_PIDS=yes
    if unshare --pid --fork --mount-proc true 2>/dev/null; then
        exec unshare --pid --fork --mount-proc --kill-child "$0" "$@"
    fi
fi
if [ "$(id -u)" != 0 ]; then
    echo "$0: skipped: only root sees all processes" >&2
    exit 77
fi
