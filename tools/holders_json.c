/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* holders: as JSON. */
#include <stdio.h>
#include <string.h>

#include "holders.h"

/* The permissions of BITS, as words for programs. */
static struct img_json *permissions_json(unsigned bits)
{
    struct img_json *list = img_json_array();

    for (unsigned i = 0; i < IMG_PERMS_NR; i++) {
        char word[32];

        if (!(bits & (1u << i))) {
            continue;
        }
        (void)snprintf(word, sizeof(word), "%s", img_permission_name(i));
        for (char *space = word; (space = strchr(space, ' '));) {
            *space = '-';
        }
        img_json_push(list, img_json_string(word));
    }
    return list;
}

static struct img_json *locks_json(const struct img_holder *holder)
{
    struct img_json *json = img_json_object(), *others = img_json_array();
    struct img_lock_meaning meaning;

    img_locks_decode(holder->locks, holder->locks_nr, &meaning);
    img_json_set(json, "uses", permissions_json(meaning.uses));
    img_json_set(json, "forbids", permissions_json(meaning.forbids));
    for (size_t i = 0; i < holder->locks_nr; i++) {
        const struct img_lock *lock = &holder->locks[i];
        struct img_json *one;

        if (img_lock_is_qemu(lock)) {
            continue;
        }
        one = img_json_object();
        img_json_set_u64(one, "first", lock->first);
        if (lock->last != UINT64_MAX) {
            img_json_set_u64(one, "last", lock->last);
        }
        img_json_set_bool(one, "exclusive", lock->is_exclusive);
        img_json_push(others, one);
    }
    img_json_set(json, "others", others);
    return json;
}

static void set_text(struct img_json *json, const char *key, const char *text)
{
    if (text) {
        img_json_set_string(json, key, text);
    }
}

static struct img_json *overlays_json(const struct holders_sight *sight,
                                      size_t idx)
{
    struct img_json *list = img_json_array();
    const struct chain_held_link *link = NULL;

    while ((link = chain_roles_link(sight->roles, idx, link))) {
        struct img_json *one = img_json_object();

        img_json_set_string(one, "filename", link->overlay->path);
        img_json_set_string(one, "format", link->format);
        img_json_push(list, one);
    }
    return list;
}

static void set_process(struct img_json *json,
                        const struct holders_sight *sight, size_t idx)
{
    const struct img_holder *holder = img_holders_at(sight->holders, idx);
    const struct img_process *process =
        img_holders_process(sight->holders, holder->process);

    img_json_set_u64(json, "pid", (uint64_t)process->pid);
    img_json_set_string(json, "command", process->command);
    set_text(json, "executable", process->executable);
    img_json_set_string(json, "user", sight->users[holder->process]);
    img_json_set_string(json, "program", img_program_name(process->program));
    set_text(json, "domain", process->guest);
    set_text(json, "uuid", process->uuid);
    set_text(json, "monitor", process->monitor);
    img_json_set_string(json, "access", holders_access(holder));
    img_json_set_bool(json, "mapped", holder->is_mapped);
    img_json_set_string(json, "role",
                        chain_role_name(chain_roles_of(sight->roles, idx)));
    img_json_set(json, "backing-of", overlays_json(sight, idx));
    img_json_set(json, "locks", locks_json(holder));
}

static void set_mount(struct img_json *json, const struct img_holder *holder)
{
    img_json_set_string(json, "kind", "mount");
    img_json_set_string(json, "mount-point", holder->where);
    if (holder->pid > 0) {
        img_json_set_u64(json, "seen-by-pid", (uint64_t)holder->pid);
    }
}

static void set_device(struct img_json *json, const struct img_target *target)
{
    img_json_set_string(json, "kind", "device");
    img_json_set_string(json, "device", target->name);
    img_json_set_string(json, "device-kind",
                        target->kind == IMG_TARGET_LOOP ? "loop" : "stacked");
    if (target->label[0]) {
        img_json_set_string(json, "label", target->label);
    }
}

static struct img_json *via_json(const struct img_holders *holders,
                                 const struct img_holder *holder)
{
    struct img_json *list = img_json_array();
    const char *way[HOLDERS_WAY_MAX];
    size_t nr = holders_way(holders, holder->target, way, HOLDERS_WAY_MAX);

    /* A device is not on the way to itself. */
    nr -= holder->kind == IMG_HOLDER_DEVICE;
    for (size_t i = 0; i < nr; i++) {
        img_json_push(list, img_json_string(way[i]));
    }
    return list;
}

static struct img_json *holder_json(const struct holders_sight *sight,
                                    size_t idx)
{
    const struct img_holder *holder = img_holders_at(sight->holders, idx);
    struct img_json *json = img_json_object();

    switch (holder->kind) {
    case IMG_HOLDER_PROCESS:
        img_json_set_string(json, "kind", "process");
        set_process(json, sight, idx);
        break;
    case IMG_HOLDER_DEVICE:
        set_device(json, img_holders_target(sight->holders, holder->target));
        break;
    case IMG_HOLDER_MOUNT:
        set_mount(json, holder);
        break;
    case IMG_HOLDER_SWAP:
        img_json_set_string(json, "kind", "swap");
        break;
    case IMG_HOLDER_UNSEEN:
        img_json_set_string(json, "kind", "unseen");
        if (holder->pid > 0) {
            img_json_set_u64(json, "pid", (uint64_t)holder->pid);
        }
        img_json_set(json, "locks", locks_json(holder));
        break;
    }
    img_json_set(json, "via", via_json(sight->holders, holder));
    return json;
}

static struct img_json *image_json(const struct holders_sight *sight,
                                   size_t file)
{
    const struct img_stamp *stamp = &sight->files[file].stamp;
    enum holders_verdict verdict = holders_judge(sight, file);
    struct img_json *json = img_json_object(), *list = img_json_array();

    img_json_set_string(json, "filename", sight->paths[file]);
    img_json_set_u64(json, "dev", stamp->dev);
    img_json_set_u64(json, "inode", stamp->ino);
    if (stamp->rdev != 0) {
        img_json_set_u64(json, "rdev", stamp->rdev);
    }
    img_json_set(json, "in-use",
                 verdict == HOLDERS_UNKNOWN
                     ? img_json_null()
                     : img_json_bool(verdict == HOLDERS_USED));
    for (size_t i = 0; i < img_holders_nr(sight->holders); i++) {
        size_t target = img_holders_at(sight->holders, i)->target;

        if (img_holders_target(sight->holders, target)->file == file) {
            img_json_push(list, holder_json(sight, i));
        }
    }
    img_json_set(json, "holders", list);
    return json;
}

void holders_json(struct output *out, const struct holders_sight *sight)
{
    const struct img_holders_unseen *unseen =
        img_holders_unseen(sight->holders);
    struct img_json *json = img_json_object(), *images = img_json_array();

    for (size_t i = 0; i < sight->nr; i++) {
        img_json_push(images, image_json(sight, i));
    }
    img_json_set(json, "images", images);
    img_json_set_u64(json, "unseen-processes", unseen->processes_nr);
    img_json_set_u64(json, "unseen-loop-devices", unseen->loops_nr);
    img_json_set_bool(json, "hidden-processes", unseen->is_hidden);
    output_json(out, json);
}
