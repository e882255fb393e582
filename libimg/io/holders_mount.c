/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room io: what is mounted from a device, and what is swapped to. */
#include "holders.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <img/memory.h>

/* Undo the kernel's \ooo in place. */
static void unescape(char *text)
{
    char *out = text;

    for (; *text; text++) {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' &&
            text[2] >= '0' && text[2] <= '7' && text[3] >= '0' &&
            text[3] <= '7') {
            *out++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 +
                            (text[3] - '0'));
            text += 3;
        } else {
            *out++ = *text;
        }
    }
    *out = '\0';
}

static FILE *open_list(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    FILE *list = fd >= 0 ? fdopen(fd, "re") : NULL;

    if (!list && fd >= 0) {
        close(fd);
    }
    return list;
}

struct mount {
    uint64_t dev;
    char *where;
    struct img_identity source; /* of a path; else none */
};

/*
 * "ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS [TAG...] - TYPE SOURCE OPTIONS".
 * Some file systems have a number of their own there: then the source tells.
 */
static bool mount_parse(char *line, int proc_fd, struct mount *out)
{
    char *rest = line, *words[5], *tail = strstr(line, " - ");
    unsigned major, minor;
    char *source;

    for (size_t i = 0; i < 5; i++) {
        words[i] = strsep(&rest, " ");
        if (!words[i]) {
            return false;
        }
    }
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
    if (!tail || sscanf(words[2], "%u:%u", &major, &minor) != 2) {
        return false;
    }
    *out = (struct mount){.dev = makedev(major, minor), .where = words[4]};
    unescape(out->where);
    tail += 3;
    (void)strsep(&tail, " ");
    source = strsep(&tail, " ");
    if (source && source[0] == '/') {
        char path[4200];

        unescape(source);
        (void)snprintf(path, sizeof(path), "root%.4096s", source);
        if (img_proc_identity(proc_fd, path, &out->source) != 0) {
            out->source.is_file = false;
        }
    }
    return true;
}

static int add_mount(struct img_holders *holders, const struct mount *mount,
                     int pid, struct img_error *err)
{
    for (size_t i = 0; i < holders->targets_nr; i++) {
        const struct img_identity *wanted = &holders->targets[i].identity;
        struct img_holder *holder;

        if (wanted->rdev == 0 ||
            (wanted->rdev != mount->dev &&
             !img_identity_is_same(wanted, &mount->source))) {
            continue;
        }
        holder = img_holders_add(holders, IMG_HOLDER_MOUNT, i, err);
        if (!holder) {
            return -1;
        }
        holder->pid = pid;
        holder->where = img_strndup(mount->where, strlen(mount->where), err);
        if (!holder->where) {
            return -1;
        }
    }
    return 0;
}

int img_holders_add_mounts(struct img_holders *holders, int proc_fd, int pid,
                           struct img_error *err)
{
    FILE *list = open_list(proc_fd, "mountinfo");
    char *line = NULL;
    size_t size = 0;
    int rc = 0;

    while (list && rc == 0 && getline(&line, &size, list) > 0) {
        struct mount mount;

        line[strcspn(line, "\n")] = '\0';
        if (mount_parse(line, proc_fd, &mount)) {
            rc = add_mount(holders, &mount, pid, err);
        }
    }
    free(line);
    if (list) {
        (void)fclose(list);
    }
    return rc;
}

static int add_swap(struct img_holders *holders, const char *path,
                    struct img_error *err)
{
    struct img_identity identity;

    if (img_proc_identity(AT_FDCWD, path, &identity) != 0) {
        return 0;
    }
    for (size_t i = 0; i < holders->targets_nr; i++) {
        if (img_identity_is_same(&holders->targets[i].identity, &identity) &&
            !img_holders_add(holders, IMG_HOLDER_SWAP, i, err)) {
            return -1;
        }
    }
    return 0;
}

int img_holders_add_swaps(struct img_holders *holders, struct img_error *err)
{
    FILE *list = open_list(AT_FDCWD, "/proc/swaps");
    char *line = NULL;
    size_t size = 0;
    int rc = 0;

    while (list && rc == 0 && getline(&line, &size, list) > 0) {
        if (line[0] == '/') { /* the first line says what the others mean */
            line[strcspn(line, " \t\n")] = '\0';
            unescape(line);
            rc = add_swap(holders, line, err);
        }
    }
    free(line);
    if (list) {
        (void)fclose(list);
    }
    return rc;
}
