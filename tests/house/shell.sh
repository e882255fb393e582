#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Shell scripts pass shellcheck, Python files compile.
. "$(dirname "$0")/lib.bash"
command -v shellcheck >/dev/null || skip 'no shellcheck'

mapfile -t scripts < <(files '*.sh' '*.bash'
    grep -lE '^#!.*\b(ba)?sh\b' scripts/* .ci/* tests/bench/*)
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}" ||
    breach 'shellcheck'
mapfile -t scripts < <(files '*.py'
    grep -lE '^#!.*python3' scripts/* tests/bench/*)
python3 - "${scripts[@]}" <<'END' || breach 'python'
import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name, encoding="utf-8").read(), name)
END
verdict
