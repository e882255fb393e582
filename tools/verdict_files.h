/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where --report of the judging commands writes to. */
#ifndef VERDICT_FILES_H
#define VERDICT_FILES_H

/* NULL: nowhere. */
struct verdict_files {
    const char *junit, *sarif;
};

#endif
