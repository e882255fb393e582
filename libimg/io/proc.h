/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io, private: reading /proc and /sys. What stands there may change or
 * vanish while it is read; whatever fails reads as "nothing".
 */
#ifndef IO_PROC_H
#define IO_PROC_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/holders.h>

/* Up to SIZE - 1 bytes of a small file, terminated; their number. */
size_t img_proc_text(int dir_fd, const char *name, char *buf, size_t size);
/* A folder below DIR_FD for reading its names; NULL with errno. */
DIR *img_proc_dir(int dir_fd, const char *name);
/* The next name that is a number; NULL at the end. */
const char *img_proc_number(DIR *dir);
/* Where a link leads, terminated; "" and 0 if it cannot be told. */
size_t img_proc_link(int dir_fd, const char *name, char *buf, size_t size);

/*
 * What NAME leads to (asked of no server, which might not answer). Returns
 * an errno.
 */
int img_proc_identity(int dir_fd, const char *name, struct img_identity *out);

/* A kernel thread or a process that has ended: neither has files. */
bool img_proc_is_empty(int proc_fd);

/* The descriptor's lines in fdinfo. */
#define IMG_FDINFO_MAX 8192u /* about a hundred locks */
/* One "lock:" line; false: it is no such line. */
struct img_lock_line {
    char class[8]; /* "OFDLCK", "POSIX", "FLOCK", "LEASE" ... */
    uint64_t ino;
    struct img_lock lock;
};
bool img_lock_line_parse(const char *line, struct img_lock_line *out);

/* The arguments of a process, each ended by NUL. */
struct img_cmdline {
    char *text; /* own */
    size_t len;
};
/* Empty for a kernel thread and for one that is gone. */
int img_cmdline_load(int proc_fd, struct img_cmdline *out,
                     struct img_error *err);
void img_cmdline_fini(struct img_cmdline *cmdline);
/* The last part of the first argument; "" if there is none. Borrowed. */
const char *img_cmdline_command(const struct img_cmdline *cmdline);
/*
 * The argument behind the next option NAME ("-name"; also "--name") past
 * AFTER, which this returned before or is NULL. NULL: there is none.
 */
const char *img_cmdline_value(const struct img_cmdline *cmdline,
                              const char *name, const char *after);
/*
 * The value of KEY in QEMU's KEY=VALUE,...; a comma in a value is doubled. A
 * first part without "=" is the value of IMPLIED (may be NULL). *out NULL:
 * it is not there. Free with free().
 */
int img_option_value(const char *text, const char *key, const char *implied,
                     char **out, struct img_error *err);

enum img_program img_program_of(const char *command);

/*
 * The guest's name in QEMU's arguments; *out NULL: there is none, or it is not
 * QEMU. Free with free().
 */
int img_cmdline_guest(const struct img_cmdline *cmdline, char **out,
                      struct img_error *err);

/* All about the process whose folder in /proc is PROC_FD. */
int img_process_load(int proc_fd, int pid, struct img_process *out,
                     struct img_error *err);
void img_process_fini(struct img_process *process);

#endif
