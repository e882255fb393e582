/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Landlock: rules about files that the kernel attaches to the process, also
 * for what it asks of an io_uring. Descriptors that are open stay as they
 * are; restrictions can be added, never taken back.
 *
 * Numbers are the kernel's (include/uapi/linux/landlock.h), up to version 7
 * of its interface: the header of a build may be older than the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <img/roots.h>

#include "sandbox_impl.h"

/* Versions: 2 REFER, 3 TRUNCATE, 4 TCP, 5 ioctl of devices, 6 scopes. */
#define FS_REFER (1ull << 13)
#define FS_TRUNCATE (1ull << 14)
#define FS_IOCTL_DEV (1ull << 15)
#define FS_ALL ((1ull << 13) - 1)
#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define NET_TCP 3ull
#define SCOPE_ALL 3ull

struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scope;
};

int sandbox_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
                       LANDLOCK_CREATE_RULESET_VERSION);

    return abi > 0 ? (int)abi : 0;
}

const char *sandbox_landlock_lacks(int abi)
{
    if (abi >= 6) {
        return NULL;
    }
    if (abi >= 4) {
        return "abstract sockets and signals";
    }
    if (abi == 3) {
        return "TCP, abstract sockets and signals";
    }
    return "truncating files, TCP, abstract sockets and signals";
}

/* As much of what is known here as ABI has; its size for the kernel. */
static size_t ruleset_init(struct ruleset *out, int abi)
{
    *out = (struct ruleset){.fs = FS_ALL};
    if (abi >= 2) {
        out->fs |= FS_REFER;
    }
    if (abi >= 3) {
        out->fs |= FS_TRUNCATE;
    }
    if (abi >= 4) {
        out->net = NET_TCP;
    }
    if (abi >= 5) {
        out->fs |= FS_IOCTL_DEV;
    }
    if (abi >= 6) {
        out->scope = SCOPE_ALL;
        return sizeof(*out);
    }
    return abi >= 4 ? offsetof(struct ruleset, scope)
                    : offsetof(struct ruleset, net);
}

static int allow(int rules_fd, int folder_fd, uint64_t access,
                 struct img_error *err)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access,
                                              .parent_fd = folder_fd};

    if (syscall(SYS_landlock_add_rule, rules_fd, LANDLOCK_RULE_PATH_BENEATH,
                &rule, 0) < 0) {
        return img_fail_sys(err, errno, "cannot add a rule of Landlock");
    }
    return 0;
}

static int allow_path(int rules_fd, const char *path, uint64_t access,
                      struct img_error *err)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc;

    if (fd < 0) {
        img_fail_sys(err, errno, "cannot open the folder");
        img_error_set_path(err, path);
        return -1;
    }
    rc = allow(rules_fd, fd, access, err);
    close(fd);
    return rc;
}

static int add_rules(const struct sandbox *sandbox, enum sandbox_step step,
                     int rules_fd, struct img_error *err)
{
    int fd;

    if (SANDBOX_SANITIZED && allow_path(rules_fd, "/proc", FS_READ, err) < 0) {
        return -1;
    }
    for (size_t i = 0;
         step == SANDBOX_OPENING && (fd = img_roots_fd(sandbox->roots, i)) >= 0;
         i++) {
        if (allow(rules_fd, fd, FS_READ, err) < 0) {
            return -1;
        }
    }
    return 0;
}

int sandbox_landlock(const struct sandbox *sandbox, enum sandbox_step step,
                     int abi, struct img_error *err)
{
    struct ruleset ruleset;
    size_t len = ruleset_init(&ruleset, abi);
    long fd, rc;

    /* The ioctls of block devices below a root must stay. */
    if (step == SANDBOX_OPENING) {
        ruleset.fs &= ~FS_IOCTL_DEV;
    }
    fd = syscall(SYS_landlock_create_ruleset, &ruleset, len, 0);
    if (fd < 0) {
        return img_fail_sys(err, errno, "cannot make rules of Landlock");
    }
    rc = add_rules(sandbox, step, (int)fd, err);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, (int)fd, 0) < 0) {
        rc = img_fail_sys(err, errno, "cannot set rules of Landlock");
    }
    close((int)fd);
    return (int)rc;
}
