/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* holders: what both forms of the output say in the same way. */
#include <stdio.h>
#include <unistd.h>

#include "holders.h"

static bool is_used(const struct holders_sight *sight, size_t file)
{
    for (size_t i = 0; i < img_holders_nr(sight->holders); i++) {
        const struct img_holder *holder = img_holders_at(sight->holders, i);

        if (img_holders_target(sight->holders, holder->target)->file == file) {
            return true;
        }
    }
    return false;
}

enum holders_verdict holders_judge(const struct holders_sight *sight,
                                   size_t file)
{
    char why[HOLDERS_WHY_LEN];

    if (is_used(sight, file)) {
        return HOLDERS_USED;
    }
    return holders_blind_spot(sight, file, why)[0] ? HOLDERS_UNKNOWN
                                                   : HOLDERS_UNUSED;
}

const char *holders_blind_spot(const struct holders_sight *sight, size_t file,
                               char out[HOLDERS_WHY_LEN])
{
    const struct img_holders_unseen *unseen =
        img_holders_unseen(sight->holders);
    const char *hint = geteuid() == 0 ? "" : " (root may)";

    out[0] = '\0';
    if (unseen->processes_nr > 0) {
        (void)snprintf(
            out, HOLDERS_WHY_LEN, "%zu process%s could not be looked at%s",
            unseen->processes_nr, unseen->processes_nr == 1 ? "" : "es", hint);
    } else if (unseen->is_hidden) {
        (void)snprintf(out, HOLDERS_WHY_LEN,
                       "/proc hides the processes of others%s", hint);
    } else if (unseen->loops_nr > 0) {
        (void)snprintf(out, HOLDERS_WHY_LEN,
                       "%zu loop device%s could not be looked at",
                       unseen->loops_nr, unseen->loops_nr == 1 ? "" : "s");
    } else if (!img_holders_has_locks(sight->holders, file)) {
        (void)snprintf(out, HOLDERS_WHY_LEN,
                       "it could not be asked for locks of other hosts");
    }
    return out;
}

size_t holders_way(const struct img_holders *holders, size_t target,
                   const char **out, size_t max)
{
    size_t nr = 0, at = target;

    while (img_holders_target(holders, at)->kind != IMG_TARGET_FILE) {
        at = img_holders_target(holders, at)->from;
        nr++;
    }
    for (size_t i = nr; i > 0; i--) {
        if (i <= max) {
            out[i - 1] = img_holders_target(holders, target)->name;
        }
        target = img_holders_target(holders, target)->from;
    }
    return nr < max ? nr : max;
}

const char *holders_access(const struct img_holder *holder)
{
    if (!holder->is_written) {
        return "read-only";
    }
    return holder->is_read ? "read-write" : "write-only";
}
