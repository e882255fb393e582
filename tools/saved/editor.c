/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user's editor: see saved.h. */
#include <errno.h>
#include <img/memory.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "saved.h"

static const char *editor(void)
{
    static const char *const names[] = {"VISUAL", "EDITOR"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = getenv(names[i]);

        if (value && value[0]) {
            return value;
        }
    }
    return "vi";
}

static int wait_for(pid_t child, struct img_error *err)
{
    int status;

    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return img_fail_sys(err, errno, "cannot wait for the editor");
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    return img_fail(err, IMG_SYSTEM, "the editor ended with %s %d",
                    WIFEXITED(status) ? "exit code" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

int saved_editor_run(const char *path, struct img_error *err)
{
    /* The editor may be a command with options; the path is a word of its own,
       whatever is in it. */
    IMG_AUTO(img_free_ptr)
    char *command = img_text(err, "%s \"$1\"", editor());
    pid_t child;

    if (!command) {
        return -1;
    }
    child = fork();
    if (child < 0) {
        return img_fail_sys(err, errno, "cannot start the editor");
    }
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, "imgchain", path, (char *)NULL);
        _exit(127);
    }
    return wait_for(child, err);
}
