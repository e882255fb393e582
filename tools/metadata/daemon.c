/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Does libvirt's daemon run, and keep a file? */
#include <fcntl.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metadata.h"

/* libvirt's daemons keep a lock on their pid file. *PID: 0 where the kernel
   does not tell, as of another PID namespace. */
static bool is_locked(const char *folder, const char *name, int *pid)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/libvirt/%s", folder, name);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool is = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    *pid = lock.l_pid;
    close(fd);
    return is;
}

static bool is_daemon_there(int *pid)
{
    static const char *const names[] = {"libvirtd.pid", "virtqemud.pid"};
    const char *own = getenv("XDG_RUNTIME_DIR");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is_locked("/run", names[i], pid) ||
            (own && is_locked(own, names[i], pid))) {
            return true;
        }
    }
    return false;
}

/* Does libvirt itself keep the file there? */
static bool is_libvirts(const char *path)
{
    IMG_AUTO(img_free_ptr) char *real = realpath(path, NULL);

    return real && strstr(real, "/libvirt/qemu/") != NULL;
}

bool daemon_holds(const char *path, int *pid)
{
    return is_libvirts(path) && is_daemon_there(pid);
}
