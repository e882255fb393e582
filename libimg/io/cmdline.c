/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: command lines of processes, and QEMU's options in them. Their bytes
 * are whatever somebody passed to exec.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

#include "proc.h"

/* A machine with hundreds of disks; more is cut off. */
#define CMDLINE_MAX (1u << 20)
#define CMDLINE_STEP (16u << 10)

static int grow(struct img_cmdline *cmdline, size_t *size,
                struct img_error *err)
{
    size_t larger = *size == 0 ? CMDLINE_STEP : 2 * *size;
    char *more = realloc(cmdline->text, larger);

    if (!more) {
        return img_fail_memory(err);
    }
    cmdline->text = more;
    *size = larger;
    return 0;
}

int img_cmdline_load(int proc_fd, struct img_cmdline *out,
                     struct img_error *err)
{
    int fd = openat(proc_fd, "cmdline", O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t n = 1;

    *out = (struct img_cmdline){.text = NULL};
    while (n > 0 && out->len < CMDLINE_MAX) {
        if (out->len + 1 >= size && grow(out, &size, err) != 0) {
            img_cmdline_fini(out);
            if (fd >= 0) {
                close(fd);
            }
            return -1;
        }
        n = fd >= 0 ? read(fd, out->text + out->len, size - 1 - out->len) : 0;
        out->len += n > 0 ? (size_t)n : 0;
    }
    out->text[out->len] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    return 0;
}

void img_cmdline_fini(struct img_cmdline *cmdline)
{
    free(cmdline->text);
    *cmdline = (struct img_cmdline){.text = NULL};
}

const char *img_cmdline_command(const struct img_cmdline *cmdline)
{
    const char *slash = strrchr(cmdline->text, '/');

    return slash ? slash + 1 : cmdline->text;
}

const char *img_cmdline_value(const struct img_cmdline *cmdline,
                              const char *name, const char *after)
{
    const char *end = cmdline->text + cmdline->len;
    const char *arg = after ? after : cmdline->text;

    while (arg < end) {
        const char *next = arg + strlen(arg) + 1;
        const char *word = arg[0] == '-' && arg[1] == '-' ? arg + 1 : arg;

        if (next < end && strcmp(word, name) == 0) {
            return next;
        }
        arg = next;
    }
    return NULL;
}

/* The length of the part at TEXT, up to a comma that is not doubled. */
static size_t part_len(const char *text)
{
    size_t len = 0;

    while (text[len] && (text[len] != ',' || text[len + 1] == ',')) {
        len += text[len] == ',' ? 2 : 1;
    }
    return len;
}

static char *undoubled(const char *text, size_t len, struct img_error *err)
{
    char *out = img_strndup(text, len, err);
    size_t used = 0;

    for (size_t i = 0; out && i < len; i++) {
        out[used++] = text[i];
        i += text[i] == ',';
    }
    if (out) {
        out[used] = '\0';
    }
    return out;
}

int img_option_value(const char *text, const char *key, const char *implied,
                     char **out, struct img_error *err)
{
    size_t key_len = strlen(key);
    bool is_first = true;

    *out = NULL;
    for (const char *part = text; *part; is_first = false) {
        size_t len = part_len(part);
        const char *value = NULL;

        if (len > key_len && memcmp(part, key, key_len) == 0 &&
            part[key_len] == '=') {
            value = part + key_len + 1;
        } else if (is_first && implied && strcmp(implied, key) == 0 &&
                   !memchr(part, '=', len)) {
            value = part;
        }
        if (value) {
            *out = undoubled(value, len - (size_t)(value - part), err);
            return *out ? 0 : -1;
        }
        part += len;
        part += *part == ',';
    }
    return 0;
}

int img_cmdline_guest(const struct img_cmdline *cmdline, char **out,
                      struct img_error *err)
{
    enum img_program program = img_program_of(img_cmdline_command(cmdline));
    const char *value = NULL;

    *out = NULL;
    if (program == IMG_PROGRAM_QEMU_SYSTEM) {
        value = img_cmdline_value(cmdline, "-name", NULL);
    }
    return value ? img_option_value(value, "guest", "guest", out, err) : 0;
}
