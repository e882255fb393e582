/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block devices over files, where the test may make them. */
#ifndef TESTS_LOOP_DEVICE_H
#define TESTS_LOOP_DEVICE_H

#include <stdio.h>

#include "unit.h"

/* The path of a new loop device over FILE; false where there is none. */
static inline bool loop_attach(const char *option, const char *file,
                               char *device, size_t size)
{
    char command[512];
    FILE *output;
    bool ok;

    snprintf(command, sizeof(command),
             "losetup %s --find --show '%s' 2>/dev/null", option, file);
    output = popen(command, "r");
    ck_assert_ptr_nonnull(output);
    ok = fgets(device, (int)size, output) != NULL;
    pclose(output);
    if (!ok) {
        printf("SKIP: no loop device\n");
        return false;
    }
    device[strcspn(device, "\n")] = '\0';
    return true;
}

static inline void loop_detach(const char *device)
{
    char command[512];

    snprintf(command, sizeof(command), "losetup -d '%s'", device);
    ck_assert_int_eq(system(command), 0);
}

#endif
