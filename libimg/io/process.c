/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: a process: who runs it, what it calls itself, which guest a QEMU
 * runs and where its monitor listens, and the files that it has open.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

#include "proc.h"

#define STATUS_MAX 4096u
#define LINK_MAX 4096u
#define FILES_MAX 4096u /* more images than a machine has */

static void read_user(int proc_fd, struct img_process *out)
{
    char text[STATUS_MAX];
    const char *line;

    (void)img_proc_text(proc_fd, "status", text, sizeof(text));
    line = strstr(text, "\nUid:");
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
    out->has_uid = line && sscanf(line, "\nUid: %*u %" SCNu32, &out->uid) == 1;
}

/* The name by its arguments; the kernel's where there are none. */
static int read_command(int proc_fd, const struct img_cmdline *cmdline,
                        struct img_process *out, struct img_error *err)
{
    const char *command = img_cmdline_command(cmdline);
    char text[64];

    if (command[0] == '\0') {
        size_t len = img_proc_text(proc_fd, "comm", text, sizeof(text));
        text[len > 0 && text[len - 1] == '\n' ? len - 1 : len] = '\0';
        command = text;
    }
    out->program = img_program_of(command);
    out->command = img_strndup(command, strlen(command), err);
    return out->command ? 0 : -1;
}

static int read_link(int proc_fd, const char *name, char **out,
                     struct img_error *err)
{
    char text[LINK_MAX];
    size_t len = img_proc_link(proc_fd, name, text, sizeof(text));

    *out = len > 0 ? img_strndup(text, len, err) : NULL;
    return len > 0 && !*out ? -1 : 0;
}

/* The path in "unix:PATH,..." of -qmp. */
static int monitor_of_qmp(const struct img_cmdline *cmdline, char **out,
                          struct img_error *err)
{
    const char *value = img_cmdline_value(cmdline, "-qmp", NULL);

    if (!value) {
        value = img_cmdline_value(cmdline, "-qmp-pretty", NULL);
    }
    if (!value || strncmp(value, "unix:", 5) != 0) {
        return 0;
    }
    return img_option_value(value + 5, "path", "path", out, err);
}

/*
 * Line of /proc/PID/net/unix: "NUM: REFS PROTOCOL FLAGS TYPE STATE INODE
 * PATH"; the path of the socket INODE.
 */
static char *unix_path(FILE *list, uint64_t inode, struct img_error *err)
{
    char *line = NULL, *path = NULL;
    size_t size = 0;

    while (!path && getline(&line, &size, list) > 0) {
        uint64_t ino;
        int at = 0;

        line[strcspn(line, "\n")] = '\0';
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
        if (sscanf(line, "%*s %*s %*s %*s %*s %*s %" SCNu64 " %n", &ino, &at) ==
                1 &&
            ino == inode && at > 0 && line[at]) {
            path = img_strndup(line + at, strlen(line + at), err);
        }
    }
    free(line);
    return path;
}

/* The name of the socket that is the process's descriptor NUMBER. */
static int monitor_of_fd(int proc_fd, const char *number, char **out,
                         struct img_error *err)
{
    char name[32], link[64];
    uint64_t inode;
    FILE *list;
    int fd;

    (void)snprintf(name, sizeof(name), "fd/%.10s", number);
    (void)img_proc_link(proc_fd, name, link, sizeof(link));
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
    if (sscanf(link, "socket:[%" SCNu64 "]", &inode) != 1) {
        return 0;
    }
    fd = openat(proc_fd, "net/unix", O_RDONLY | O_CLOEXEC);
    list = fd >= 0 ? fdopen(fd, "re") : NULL;
    if (!list) {
        if (fd >= 0) {
            close(fd);
        }
        return 0;
    }
    err->code = IMG_OK;
    *out = unix_path(list, inode, err);
    (void)fclose(list);
    return !*out && err->code != IMG_OK ? -1 : 0;
}

/* What VALUE of -chardev listens on. */
static int monitor_of_chardev(int proc_fd, const char *value, char **out,
                              struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *fd = NULL;

    if (img_option_value(value, "path", NULL, out, err) != 0 ||
        img_option_value(value, "fd", NULL, &fd, err) != 0) {
        return -1;
    }
    return !*out && fd ? monitor_of_fd(proc_fd, fd, out, err) : 0;
}

/* The -chardev of the first -mon that speaks QMP. */
static int monitor_of_mon(int proc_fd, const struct img_cmdline *cmdline,
                          char **out, struct img_error *err)
{
    const char *mon = NULL, *value = NULL;
    IMG_AUTO(img_free_ptr) char *wanted = NULL;

    while (!wanted && (mon = img_cmdline_value(cmdline, "-mon", mon))) {
        IMG_AUTO(img_free_ptr) char *mode = NULL;

        if (img_option_value(mon, "mode", NULL, &mode, err) != 0) {
            return -1;
        }
        if (mode && strcmp(mode, "control") == 0 &&
            img_option_value(mon, "chardev", "chardev", &wanted, err) != 0) {
            return -1;
        }
    }
    while (wanted && !*out &&
           (value = img_cmdline_value(cmdline, "-chardev", value))) {
        IMG_AUTO(img_free_ptr) char *id = NULL;

        if (img_option_value(value, "id", NULL, &id, err) != 0 ||
            (id && strcmp(id, wanted) == 0 &&
             monitor_of_chardev(proc_fd, value, out, err) != 0)) {
            return -1;
        }
    }
    return 0;
}

/* A relative path is relative to where the process works. */
static int make_absolute(int proc_fd, char **path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *folder = NULL;
    char *whole;

    if (!*path || (*path)[0] == '/' || (*path)[0] == '@') {
        return 0;
    }
    if (read_link(proc_fd, "cwd", &folder, err) != 0) {
        return -1;
    }
    whole = folder ? img_text(err, "%s/%s", folder, *path) : NULL;
    if (folder && !whole) {
        return -1;
    }
    free(*path);
    *path = whole; /* NULL: where it lies cannot be told */
    return 0;
}

static int read_machine(int proc_fd, const struct img_cmdline *cmdline,
                        struct img_process *out, struct img_error *err)
{
    const char *uuid = img_cmdline_value(cmdline, "-uuid", NULL);

    if (out->program != IMG_PROGRAM_QEMU_SYSTEM) {
        return 0;
    }
    if (img_cmdline_guest(cmdline, &out->guest, err) != 0 ||
        (uuid && !(out->uuid = img_strndup(uuid, strlen(uuid), err))) ||
        monitor_of_qmp(cmdline, &out->monitor, err) != 0 ||
        (!out->monitor &&
         monitor_of_mon(proc_fd, cmdline, &out->monitor, err) != 0)) {
        return -1;
    }
    return make_absolute(proc_fd, &out->monitor, err);
}

static int push_file(int proc_fd, const char *number, struct img_process *out,
                     struct img_error *err)
{
    struct img_process_file file = {.fd = (int)strtol(number, NULL, 10)};
    struct img_process_file *more;
    char name[32];

    (void)snprintf(name, sizeof(name), "fd/%.10s", number);
    if (img_proc_identity(proc_fd, name, &file.identity) != 0 ||
        !file.identity.is_file) {
        return 0;
    }
    for (size_t i = 0; i < out->files_nr; i++) {
        if (img_identity_is_same(&out->files[i].identity, &file.identity)) {
            return 0;
        }
    }
    if (read_link(proc_fd, name, &file.path, err) != 0) {
        return -1;
    }
    more = realloc(out->files, (out->files_nr + 1) * sizeof(*more));
    if (!more || !file.path) {
        out->files = more ? more : out->files;
        free(file.path);
        return more ? 0 : img_fail_memory(err);
    }
    out->files = more;
    out->files[out->files_nr++] = file;
    return 0;
}

static int read_files(int proc_fd, struct img_process *out,
                      struct img_error *err)
{
    DIR *dir;
    const char *number;
    int rc = 0;

    if (!img_program_has_locks(out->program)) {
        return 0;
    }
    dir = img_proc_dir(proc_fd, "fd");
    while (dir && rc == 0 && out->files_nr < FILES_MAX &&
           (number = img_proc_number(dir))) {
        rc = push_file(proc_fd, number, out, err);
    }
    if (dir) {
        closedir(dir);
    }
    return rc;
}

int img_process_load(int proc_fd, int pid, struct img_process *out,
                     struct img_error *err)
{
    IMG_AUTO(img_cmdline_fini) struct img_cmdline cmdline = {.text = NULL};

    *out = (struct img_process){.pid = pid};
    read_user(proc_fd, out);
    if (img_cmdline_load(proc_fd, &cmdline, err) != 0 ||
        read_command(proc_fd, &cmdline, out, err) != 0 ||
        read_link(proc_fd, "exe", &out->executable, err) != 0 ||
        read_machine(proc_fd, &cmdline, out, err) != 0 ||
        read_files(proc_fd, out, err) != 0) {
        img_process_fini(out);
        return -1;
    }
    return 0;
}

void img_process_fini(struct img_process *process)
{
    for (size_t i = 0; i < process->files_nr; i++) {
        free(process->files[i].path);
    }
    free(process->files);
    free(process->command);
    free(process->executable);
    free(process->guest);
    free(process->uuid);
    free(process->monitor);
    *process = (struct img_process){.pid = 0};
}
