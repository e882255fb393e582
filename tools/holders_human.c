/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* holders: for people; a file, and below it who uses it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "holders.h"

#define LABEL_WIDTH 9

static void put(struct output *out, const char *label, const char *text)
{
    if (!text) {
        return;
    }
    output_style(out, STYLE_DIM);
    output_printf(out, "    %-*s ", LABEL_WIDTH, label);
    output_style(out, STYLE_PLAIN);
    output_escaped(out, text);
    output_text(out, "\n");
}

static void put_permissions(struct output *out, const char *label,
                            unsigned bits)
{
    char text[128];
    size_t len = 0;

    for (unsigned i = 0; i < IMG_PERMS_NR; i++) {
        if (bits & (1u << i)) {
            len +=
                (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
                                 len > 0 ? ", " : "", img_permission_name(i));
        }
    }
    put(out, label, len > 0 ? text : NULL);
}

static void put_lock(struct output *out, const struct img_lock *lock)
{
    const char *how = lock->is_exclusive ? "exclusively" : "shared";
    char text[128];

    if (lock->last == UINT64_MAX) {
        (void)snprintf(text, sizeof(text), "bytes from %" PRIu64 " on, %s",
                       lock->first, how);
    } else if (lock->last != lock->first) {
        (void)snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 ", %s",
                       lock->first, lock->last, how);
    } else {
        (void)snprintf(text, sizeof(text), "byte %" PRIu64 "%s, %s",
                       lock->first, lock->first == 0 ? " (virtlockd's)" : "",
                       how);
    }
    put(out, "locked", text);
}

static void put_locks(struct output *out, const struct img_holder *holder)
{
    struct img_lock_meaning meaning;

    img_locks_decode(holder->locks, holder->locks_nr, &meaning);
    put_permissions(out, "uses", meaning.uses);
    put_permissions(out, "forbids", meaning.forbids);
    for (size_t i = 0; i < holder->locks_nr; i++) {
        if (!img_lock_is_qemu(&holder->locks[i])) {
            put_lock(out, &holder->locks[i]);
        }
    }
}

static void put_way(struct output *out, const struct img_holders *holders,
                    const struct img_holder *holder)
{
    const char *way[HOLDERS_WAY_MAX];
    size_t nr = holders_way(holders, holder->target, way, HOLDERS_WAY_MAX);
    char text[HOLDERS_WAY_MAX * 66] = "";
    size_t len = 0;

    nr -= holder->kind == IMG_HOLDER_DEVICE;
    for (size_t i = 0; i < nr; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
                                i > 0 ? ", " : "", way[i]);
    }
    put(out, "through", nr > 0 ? text : NULL);
}

static void put_process(struct output *out, const struct holders_sight *sight,
                        size_t idx)
{
    const struct img_holder *holder = img_holders_at(sight->holders, idx);
    const struct img_process *process =
        img_holders_process(sight->holders, holder->process);
    const struct chain_held_link *link = NULL;
    char access[64];

    output_printf(out, "  process %d (", process->pid);
    output_escaped(out, process->command);
    output_text(out, "), user ");
    output_escaped(out, sight->users[holder->process]);
    if (process->guest) {
        output_text(out, ", domain \"");
        output_escaped(out, process->guest);
        output_text(out, "\"");
    }
    output_text(out, "\n");
    put(out, "role", chain_role_text(chain_roles_of(sight->roles, idx)));
    while ((link = chain_roles_link(sight->roles, idx, link))) {
        put(out, "overlay", link->overlay->path);
    }
    (void)snprintf(access, sizeof(access), "%s%s", holders_access(holder),
                   holder->is_mapped ? ", mapped" : "");
    put(out, "access", access);
    put_locks(out, holder);
    put(out, "uuid", process->uuid);
    put(out, "monitor", process->monitor);
}

static void put_device(struct output *out, const struct img_target *target)
{
    output_text(out, target->kind == IMG_TARGET_LOOP ? "  loop device "
                                                     : "  part of device ");
    output_escaped(out, target->name);
    if (target->label[0]) {
        output_text(out, " (");
        output_escaped(out, target->label);
        output_text(out, ")");
    }
    output_text(out, "\n");
}

static void put_mount(struct output *out, const struct img_holder *holder)
{
    output_text(out, "  mounted on ");
    output_escaped(out, holder->where);
    if (holder->pid > 0) {
        output_printf(out, ", as process %d sees it", holder->pid);
    }
    output_text(out, "\n");
}

static void put_unseen(struct output *out, const struct img_holder *holder)
{
    output_text(out, "  locked by a process that cannot be seen from here");
    if (holder->pid > 0) {
        output_printf(out, ", %d", holder->pid);
    }
    output_text(out, "\n");
    put_locks(out, holder);
}

static void put_holder(struct output *out, const struct holders_sight *sight,
                       size_t idx)
{
    const struct img_holder *holder = img_holders_at(sight->holders, idx);

    switch (holder->kind) {
    case IMG_HOLDER_PROCESS:
        put_process(out, sight, idx);
        break;
    case IMG_HOLDER_DEVICE:
        put_device(out, img_holders_target(sight->holders, holder->target));
        break;
    case IMG_HOLDER_MOUNT:
        put_mount(out, holder);
        break;
    case IMG_HOLDER_SWAP:
        output_text(out, "  swapped to\n");
        break;
    case IMG_HOLDER_UNSEEN:
        put_unseen(out, holder);
        break;
    }
    put_way(out, sight->holders, holder);
}

static void put_file(struct output *out, const struct holders_sight *sight,
                     size_t file)
{
    static const char *const verdicts[] = {
        [HOLDERS_UNUSED] = "not in use",
        [HOLDERS_USED] = "in use",
        [HOLDERS_UNKNOWN] = "unknown",
    };

    output_style(out, STYLE_BOLD);
    output_escaped(out, sight->paths[file]);
    output_style(out, STYLE_PLAIN);
    output_printf(out, ": %s\n", verdicts[holders_judge(sight, file)]);
    for (size_t i = 0; i < img_holders_nr(sight->holders); i++) {
        size_t target = img_holders_at(sight->holders, i)->target;

        if (img_holders_target(sight->holders, target)->file == file) {
            put_holder(out, sight, i);
        }
    }
}

void holders_human(struct output *out, const struct holders_sight *sight)
{
    for (size_t i = 0; i < sight->nr; i++) {
        put_file(out, sight, i);
    }
}
