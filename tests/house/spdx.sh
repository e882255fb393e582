#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every source file names its licence in its first lines.
. "$(dirname "$0")/lib.bash"

for file in $(files '*.c' '*.h' '*.py' '*.sh' '*.bash' '*.cmake' \
    CMakeLists.txt) scripts/* .ci/*; do
    head -n 3 "$file" |
        grep -q 'SPDX-License-Identifier: LGPL-2\.1-or-later' ||
        breach "$file: no SPDX line"
done
verdict
