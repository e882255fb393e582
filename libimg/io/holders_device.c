/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: devices that were made from a file, from such a device, and so on:
 * loop devices, partitions, and what stands in the holders folder of sysfs
 * (device mapper, RAID).
 */
#include "holders.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <img/memory.h>

#define BLOCK "/sys/class/block"
#define PATH_LEN 320u
#define BACKING_LEN 4097u
#define TARGETS_MAX 65536u /* what is made of what, for all files together */

struct loop {
    char name[64];
    struct img_identity backing;
};

struct loops {
    struct loop *list;
    size_t nr;
};

/* The number of block device NAME; false if there is none. */
static bool device_number(const char *name, uint64_t *out)
{
    char path[PATH_LEN], text[32];
    unsigned major, minor;

    (void)snprintf(path, sizeof(path), BLOCK "/%.200s/dev", name);
    (void)img_proc_text(AT_FDCWD, path, text, sizeof(text));
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
    if (sscanf(text, "%u:%u", &major, &minor) != 2) {
        return false;
    }
    *out = makedev(major, minor);
    return true;
}

/* How the kernel packs a device number, see LOOP_GET_STATUS64. */
static uint64_t unpack_device(uint64_t packed)
{
    return makedev((unsigned)((packed & 0xfff00) >> 8),
                   (unsigned)((packed & 0xff) | ((packed >> 12) & 0xfff00)));
}

/* Ask the loop device itself. */
static bool backing_by_status(const char *name, struct img_identity *out)
{
    struct loop_info64 info;
    char path[PATH_LEN];
    uint64_t number;
    struct stat st;
    int fd;
    bool is_told;

    (void)snprintf(path, sizeof(path), "/dev/%.200s", name);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return false;
    }
    is_told = fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) &&
              device_number(name, &number) && st.st_rdev == number &&
              ioctl(fd, LOOP_GET_STATUS64, &info) == 0;
    close(fd);
    if (is_told) {
        *out = (struct img_identity){.dev = unpack_device(info.lo_device),
                                     .ino = info.lo_inode,
                                     .rdev = unpack_device(info.lo_rdevice),
                                     .is_file = true};
    }
    return is_told;
}

/* Or go by the name of its file, which may be another's by now. */
static bool backing_by_name(const char *text, struct img_identity *out)
{
    return img_proc_identity(AT_FDCWD, text, out) == 0 && out->is_file;
}

static int add_loop(struct loops *loops, const char *name,
                    struct img_holders *holders, struct img_error *err)
{
    char path[PATH_LEN], text[BACKING_LEN];
    struct img_identity backing;
    struct loop *loop;
    size_t len;

    (void)snprintf(path, sizeof(path), BLOCK "/%.200s/loop/backing_file", name);
    len = img_proc_text(AT_FDCWD, path, text, sizeof(text));
    if (len == 0) {
        return 0; /* it has no file */
    }
    text[len - 1] = '\0'; /* a newline */
    if (!backing_by_status(name, &backing) &&
        !backing_by_name(text, &backing)) {
        holders->unseen.loops_nr++;
        return 0;
    }
    loop = img_holders_push(&loops->list, &loops->nr, sizeof(*loop), err);
    if (!loop) {
        return -1;
    }
    (void)snprintf(loop->name, sizeof(loop->name), "%.63s", name);
    loop->backing = backing;
    return 0;
}

static int find_loops(struct loops *loops, struct img_holders *holders,
                      struct img_error *err)
{
    DIR *dir = img_proc_dir(AT_FDCWD, BLOCK);
    const struct dirent *entry;
    int rc = 0;

    while (dir && rc == 0 && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, "loop", 4) == 0) {
            rc = add_loop(loops, entry->d_name, holders, err);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return rc;
}

/* Device NAME was made from target FROM. */
static int add_device(struct img_holders *holders, size_t from,
                      enum img_target_kind kind, const char *name,
                      struct img_error *err)
{
    size_t file = holders->targets[from].file;
    struct img_target *target;
    char path[PATH_LEN];
    uint64_t number;
    size_t len;

    if (!device_number(name, &number)) {
        return 0; /* gone */
    }
    for (size_t i = 0; i < holders->targets_nr; i++) {
        if (holders->targets[i].file == file &&
            holders->targets[i].identity.rdev == number) {
            return 0;
        }
    }
    if (holders->targets_nr >= TARGETS_MAX) {
        return img_fail(err, IMG_LIMIT, "more than %u devices are made from it",
                        TARGETS_MAX);
    }
    target = img_holders_push(&holders->targets, &holders->targets_nr,
                              sizeof(*target), err);
    if (!target) {
        return -1;
    }
    target->kind = kind;
    target->file = file;
    target->from = from;
    target->identity = (struct img_identity){.rdev = number, .is_file = true};
    (void)snprintf(target->name, sizeof(target->name), "%.63s", name);
    (void)snprintf(path, sizeof(path), BLOCK "/%.200s/dm/name", name);
    len = img_proc_text(AT_FDCWD, path, target->label, sizeof(target->label));
    target->label[len > 0 ? len - 1 : 0] = '\0';
    /* That a disk has partitions does not yet use it. */
    return kind == IMG_TARGET_PARTITION ||
                   img_holders_add(holders, IMG_HOLDER_DEVICE,
                                   holders->targets_nr - 1, err)
               ? 0
               : -1;
}

static bool is_partition(const char *folder, const char *name)
{
    char path[PATH_LEN + 300];

    (void)snprintf(path, sizeof(path), "%s/%.255s/partition", folder, name);
    return access(path, F_OK) == 0;
}

/* What the names in FOLDER of sysfs are to target FROM. */
static int add_folder(struct img_holders *holders, size_t from,
                      const char *folder, enum img_target_kind kind,
                      struct img_error *err)
{
    DIR *dir = img_proc_dir(AT_FDCWD, folder);
    const struct dirent *entry;
    int rc = 0;

    while (dir && rc == 0 && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && (kind != IMG_TARGET_PARTITION ||
                                        is_partition(folder, entry->d_name))) {
            rc = add_device(holders, from, kind, entry->d_name, err);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return rc;
}

static int add_of_device(struct img_holders *holders, size_t from,
                         struct img_error *err)
{
    uint64_t number = holders->targets[from].identity.rdev;
    char path[PATH_LEN];

    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(number),
                   minor(number));
    if (add_folder(holders, from, path, IMG_TARGET_PARTITION, err) != 0) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders",
                   major(number), minor(number));
    return add_folder(holders, from, path, IMG_TARGET_DEVICE, err);
}

int img_holders_add_devices(struct img_holders *holders, struct img_error *err)
{
    struct loops loops = {.list = NULL};
    int rc = find_loops(&loops, holders, err);

    /* The list grows while it is walked. */
    for (size_t i = 0; rc == 0 && i < holders->targets_nr; i++) {
        for (size_t k = 0; rc == 0 && k < loops.nr; k++) {
            if (img_identity_is_same(&loops.list[k].backing,
                                     &holders->targets[i].identity)) {
                rc = add_device(holders, i, IMG_TARGET_LOOP, loops.list[k].name,
                                err);
            }
        }
        if (rc == 0 && holders->targets[i].identity.rdev != 0) {
            rc = add_of_device(holders, i, err);
        }
    }
    free(loops.list);
    return rc;
}
