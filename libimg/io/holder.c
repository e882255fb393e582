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
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

#include "file_impl.h"

#define FDINFO_MAX 8192u   /* about a hundred locks */
#define CMDLINE_MAX 16384u /* -name comes early */

struct search {
    struct stat st;
    uint64_t byte;
    bool write_only;
};

/* Up to SIZE - 1 bytes of a small file, terminated; their number. */
static size_t load_text(int dir_fd, const char *name, char *buf, size_t size)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd >= 0) {
        ssize_t n;
        while (len < size - 1 &&
               (n = read(fd, buf + len, size - 1 - len)) > 0) {
            len += (size_t)n;
        }
        close(fd);
    }
    buf[len] = '\0';
    return len;
}

/*
 * "lock:\t1: OFDLCK  ADVISORY  READ -1 fd:01:1234 100 100": number, class,
 * manner, type, process, device:inode, first and last byte or EOF.
 */
static bool is_lock_match(const char *line, const struct search *search)
{
    char class[8], type[8], last[24];
    uint64_t ino, first;

    /* The kernel's numbers fit. NOLINTNEXTLINE(cert-err34-c) */
    if (sscanf(line,
               "lock: %*d: %7s %*s %7s %*d %*x:%*x:%" SCNu64 " %" SCNu64
               " %23s",
               class, type, &ino, &first, last) != 5) {
        return false;
    }
    if (strcmp(class, "OFDLCK") != 0 || ino != search->st.st_ino ||
        first > search->byte ||
        (search->write_only && strcmp(type, "WRITE") != 0)) {
        return false;
    }
    return strcmp(last, "EOF") == 0 || strtoull(last, NULL, 10) >= search->byte;
}

static bool has_lock_line(char *text, const struct search *search)
{
    char *rest = text;
    char *line;

    while ((line = strsep(&rest, "\n"))) {
        if (strncmp(line, "lock:", 5) == 0 && is_lock_match(line, search)) {
            return true;
        }
    }
    return false;
}

/* Is descriptor NAME of the process at PROC_FD our file? */
static bool is_same_file(int proc_fd, const char *name,
                         const struct search *search)
{
    char link[64];
    struct stat st;

    snprintf(link, sizeof(link), "fd/%s", name);
    return fstatat(proc_fd, link, &st, 0) == 0 &&
           st.st_dev == search->st.st_dev && st.st_ino == search->st.st_ino;
}

static bool is_descriptor_match(int proc_fd, int info_fd, const char *name,
                                const struct search *search)
{
    char text[FDINFO_MAX];

    return load_text(info_fd, name, text, sizeof(text)) > 0 &&
           has_lock_line(text, search) && is_same_file(proc_fd, name, search);
}

/* A folder below DIR_FD for reading its names. */
static DIR *open_dir(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir && fd >= 0) {
        close(fd);
    }
    return dir;
}

/* The next name that is a number; NULL at the end. */
static const char *next_number(DIR *dir)
{
    struct dirent *entry;

    while ((entry = readdir(dir))) {
        if (isdigit((unsigned char)entry->d_name[0])) {
            return entry->d_name;
        }
    }
    return NULL;
}

static bool is_process_match(int proc_fd, const struct search *search)
{
    DIR *infos = open_dir(proc_fd, "fdinfo");
    bool found = false;
    const char *name;

    if (!infos) {
        return false;
    }
    while (!found && (name = next_number(infos))) {
        found = is_descriptor_match(proc_fd, dirfd(infos), name, search);
    }
    closedir(infos);
    return found;
}

void img_holder_find(int fd, uint64_t byte, bool write_only, int *pid)
{
    struct search search = {.byte = byte, .write_only = write_only};
    DIR *processes = open_dir(AT_FDCWD, "/proc");
    const char *name;

    *pid = 0;
    if (processes && fstat(fd, &search.st) == 0) {
        while ((*pid == 0 || *pid == getpid()) &&
               (name = next_number(processes))) {
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

static bool is_qemu(const char *program)
{
    return strncmp(program, "qemu", 4) == 0 || strcmp(program, "kvm") == 0;
}

/*
 * The guest in the value of QEMU's -name: "guest=vm1,debug-threads=on" or
 * just "vm1"; a comma in a name is doubled.
 */
static size_t guest_name(const char *value, char *out, size_t size)
{
    size_t len = 0;

    if (strncmp(value, "guest=", 6) == 0) {
        value += 6;
    }
    for (; *value && len < size; value++) {
        if (*value == ',' && *++value != ',') {
            break;
        }
        out[len++] = *value;
    }
    return len;
}

/* The argument after -name, NULL if there is none. */
static const char *find_name_value(const char *cmdline, size_t len)
{
    const char *end = cmdline + len;
    const char *arg = cmdline;

    while (arg < end) {
        const char *next = arg + strlen(arg) + 1;
        if (next < end &&
            (strcmp(arg, "-name") == 0 || strcmp(arg, "--name") == 0)) {
            return next;
        }
        arg = next;
    }
    return NULL;
}

void img_holder_describe(int pid, char *out, size_t size)
{
    char path[32], cmdline[CMDLINE_MAX], guest[128];
    char program_text[96], guest_text[128];
    const char *program, *slash, *value;
    size_t len, guest_len;

    out[0] = '\0';
    if (pid <= 0) {
        return;
    }
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    len = load_text(AT_FDCWD, path, cmdline, sizeof(cmdline));
    if (len == 0) { /* a kernel thread, or gone */
        return;
    }
    slash = strrchr(cmdline, '/');
    program = slash ? slash + 1 : cmdline;
    img_escape(program, strlen(program), program_text, sizeof(program_text));
    value = is_qemu(program) ? find_name_value(cmdline, len) : NULL;
    if (!value) {
        snprintf(out, size, "%s", program_text);
        return;
    }
    guest_len = guest_name(value, guest, sizeof(guest));
    img_escape(guest, guest_len, guest_text, sizeof(guest_text));
    snprintf(out, size, "%s, guest \"%s\"", program_text, guest_text);
}
