/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking for a command in the table (commands.c). */
#include <string.h>

#include "command.h"
#include "nearest.h"

const struct command *command_find(int argc, char **argv, int *words)
{
    for (const struct command *one = commands; one->name; one++) {
        if (argc < 1 || strcmp(one->name, argv[0]) != 0) {
            continue;
        }
        if (!one->verb) {
            *words = 1;
            return one;
        }
        if (argc > 1 && strcmp(one->verb, argv[1]) == 0) {
            *words = 2;
            return one;
        }
    }
    return NULL;
}

bool command_is_group(const char *name)
{
    for (const struct command *one = commands; one->name; one++) {
        if (one->verb && strcmp(one->name, name) == 0) {
            return true;
        }
    }
    return false;
}

const char *command_nearest(const char *group, const char *name)
{
    struct nearest best = {.word = NULL};

    for (const struct command *one = commands; one->name; one++) {
        if (!group) {
            nearest_offer(&best, name, one->name);
        } else if (one->verb && strcmp(one->name, group) == 0) {
            nearest_offer(&best, name, one->verb);
        }
    }
    if (!group && name[0] == '-') {
        nearest_offer(&best, name, "--help");
        nearest_offer(&best, name, "--version");
    }
    return best.word;
}
