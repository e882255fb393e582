/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: which process holds a lock on a file, for messages.
 *
 * Locks of open file descriptions carry no process id, /proc/locks shows -1.
 * But /proc/PID/fdinfo/FD lists the locks that were taken through that very
 * descriptor. A line names the inode; that it is our file is then settled by
 * stat of /proc/PID/fd/FD, because the device number in the line is that of
 * the superblock, not what stat shows on btrfs. Without /proc, or without
 * the right to look, the holder stays unknown.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

#include "file_impl.h"
#include "proc.h"

struct search {
    struct img_identity identity;
    uint64_t byte;
    bool write_only;
};

static bool is_lock_match(const char *text, const struct search *search)
{
    struct img_lock_line line;

    return img_lock_line_parse(text, &line) &&
           strcmp(line.class, "OFDLCK") == 0 &&
           line.ino == search->identity.ino &&
           line.lock.first <= search->byte && line.lock.last >= search->byte &&
           (!search->write_only || line.lock.is_exclusive);
}

static bool has_lock_line(char *text, const struct search *search)
{
    char *rest = text;
    char *line;

    while ((line = strsep(&rest, "\n"))) {
        if (is_lock_match(line, search)) {
            return true;
        }
    }
    return false;
}

static bool is_descriptor_match(int proc_fd, int info_fd, const char *name,
                                const struct search *search)
{
    char text[IMG_FDINFO_MAX], link[64];
    struct img_identity identity;

    (void)snprintf(link, sizeof(link), "fd/%.10s", name);
    return img_proc_text(info_fd, name, text, sizeof(text)) > 0 &&
           has_lock_line(text, search) &&
           img_proc_identity(proc_fd, link, &identity) == 0 &&
           img_identity_is_same(&identity, &search->identity);
}

static bool is_process_match(int proc_fd, const struct search *search)
{
    DIR *infos = img_proc_dir(proc_fd, "fdinfo");
    bool found = false;
    const char *name;

    if (!infos) {
        return false;
    }
    while (!found && (name = img_proc_number(infos))) {
        found = is_descriptor_match(proc_fd, dirfd(infos), name, search);
    }
    closedir(infos);
    return found;
}

void img_holder_find(int fd, uint64_t byte, bool write_only, int *pid)
{
    struct search search = {.byte = byte, .write_only = write_only};
    DIR *processes = img_proc_dir(AT_FDCWD, "/proc");
    const char *name;
    char own[32];

    *pid = 0;
    (void)snprintf(own, sizeof(own), "/proc/self/fd/%d", fd);
    if (processes && img_proc_identity(AT_FDCWD, own, &search.identity) == 0) {
        while ((*pid == 0 || *pid == getpid()) &&
               (name = img_proc_number(processes))) {
            int proc_fd = openat(dirfd(processes), name,
                                 O_PATH | O_DIRECTORY | O_CLOEXEC);
            if (proc_fd < 0) {
                continue;
            }
            if (is_process_match(proc_fd, &search)) {
                *pid = (int)strtol(name, NULL, 10);
            }
            close(proc_fd);
        }
    }
    if (processes) {
        closedir(processes);
    }
}

static void describe(const struct img_cmdline *cmdline, char *out, size_t size)
{
    const char *command = img_cmdline_command(cmdline);
    IMG_AUTO(img_free_ptr) char *guest = NULL;
    char command_text[96], guest_text[128];
    struct img_error ignored;

    img_escape(command, strlen(command), command_text, sizeof(command_text));
    if (img_cmdline_guest(cmdline, &guest, &ignored) != 0 || !guest) {
        (void)snprintf(out, size, "%s", command_text);
        return;
    }
    img_escape(guest, strlen(guest), guest_text, sizeof(guest_text));
    (void)snprintf(out, size, "%s, guest \"%s\"", command_text, guest_text);
}

void img_holder_describe(int pid, char *out, size_t size)
{
    IMG_AUTO(img_cmdline_fini) struct img_cmdline cmdline = {.text = NULL};
    struct img_error ignored;
    char path[32];
    int proc_fd;

    out[0] = '\0';
    (void)snprintf(path, sizeof(path), "/proc/%d", pid);
    proc_fd = pid > 0 ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (proc_fd < 0) { /* unknown, or gone */
        return;
    }
    if (img_cmdline_load(proc_fd, &cmdline, &ignored) == 0) {
        describe(&cmdline, out, size);
    }
    close(proc_fd);
}

bool img_process_holds(int pid, const struct img_stamp *stamp)
{
    const struct img_identity wanted = {.dev = stamp->dev,
                                        .ino = stamp->ino,
                                        .rdev = stamp->rdev,
                                        .is_file = true};
    struct img_identity identity;
    bool is_found = false;
    const char *name;
    char path[32];
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    dir = pid > 0 ? img_proc_dir(AT_FDCWD, path) : NULL;
    while (dir && !is_found && (name = img_proc_number(dir))) {
        is_found = img_proc_identity(dirfd(dir), name, &identity) == 0 &&
                   img_identity_is_same(&identity, &wanted);
    }
    if (dir) {
        closedir(dir);
    }
    return is_found;
}
