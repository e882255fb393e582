/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Data on stdout: see output.h. */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <img/memory.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox.h"
#include "terminal.h"

#define STREAM_LEN (64u << 10)
#define SPILL_LEN (16u << 20)
#define STDOUT_NAME "standard output"

struct output {
    enum output_mode mode;
    bool has_colour;
    char *buf;
    size_t len, room;
    int spill;       /* unlinked file, or -1 */
    int spill_errno; /* why it could not be opened ahead */
    bool has_failed;
    struct img_error err;
};

int output_new(enum output_mode mode, struct output **out,
               struct img_error *err)
{
    struct output *output = img_calloc(1, sizeof(*output), err);

    if (!output) {
        return -1;
    }
    output->mode = mode;
    output->spill = -1;
    output->has_colour =
        mode == OUTPUT_STREAM && terminal_has_colour(STDOUT_FILENO);
    *out = output;
    return 0;
}

void output_free(struct output *output)
{
    if (!output) {
        return;
    }
    if (output->spill >= 0) {
        close(output->spill);
    }
    free(output->buf);
    free(output);
}

void output_free_ptr(struct output **output)
{
    output_free(*output);
}

static int write_all(int fd, const char *buf, size_t len, const char *name,
                     struct img_error *err)
{
    while (len > 0) {
        ssize_t done = write(fd, buf, len);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            int saved = errno;

            img_fail_sys(err, saved, "cannot write");
            img_error_set_path(err, name);
            return -1;
        }
        buf += done;
        len -= (size_t)done;
    }
    return 0;
}

/* A file without a name, in the folder for large temporary files. */
static int spill_open(struct output *output)
{
    static const char *const fallbacks[] = {NULL, "/var/tmp", "/tmp"};

    for (size_t i = 0; i < sizeof(fallbacks) / sizeof(fallbacks[0]); i++) {
        const char *dir = i == 0 ? getenv("TMPDIR") : fallbacks[i];
        char path[IMG_ERROR_PATH_MAX];

        if (!dir || !dir[0]) {
            continue;
        }
        output->spill = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (output->spill >= 0) {
            return 0;
        }
        if ((size_t)snprintf(path, sizeof(path), "%s/imgchain-XXXXXX", dir) >=
            sizeof(path)) {
            continue;
        }
        output->spill = mkostemp(path, O_CLOEXEC);
        if (output->spill >= 0) {
            unlink(path);
            return 0;
        }
    }
    return img_fail_sys(&output->err, errno, "cannot create a temporary file");
}

void output_prepare(struct output *output)
{
    if (output->mode != OUTPUT_WHOLE || output->spill >= 0) {
        return;
    }
    if (spill_open(output) == 0) {
        sandbox_allow_writing(output->spill);
    } else {
        output->spill_errno = output->err.sys_errno;
    }
}

/* Empty the buffer: to stdout, or into the spill file. */
static void drain(struct output *output)
{
    int rc = 0;

    if (output->has_failed || output->len == 0) {
        output->len = 0;
        return;
    }
    if (output->mode == OUTPUT_STREAM) {
        rc = write_all(STDOUT_FILENO, output->buf, output->len, STDOUT_NAME,
                       &output->err);
    } else {
        if (output->spill_errno != 0) {
            rc = img_fail_sys(&output->err, output->spill_errno,
                              "cannot create a temporary file");
        } else if (output->spill < 0) {
            rc = spill_open(output);
        }
        if (rc == 0) {
            rc = write_all(output->spill, output->buf, output->len,
                           "temporary file", &output->err);
        }
    }
    output->has_failed = rc < 0;
    output->len = 0;
}

void output_fail(struct output *output, const struct img_error *err)
{
    if (!output->has_failed) {
        output->err = *err;
        output->has_failed = true;
    }
}

/* Room for LEN more bytes, LEN at most STREAM_LEN. NULL: failed. */
static char *reserve(struct output *output, size_t len)
{
    size_t limit = output->mode == OUTPUT_STREAM ? STREAM_LEN : SPILL_LEN;

    if (output->has_failed) {
        return NULL;
    }
    if (output->room - output->len < len && output->len + len > limit) {
        drain(output);
    }
    if (output->room - output->len < len) {
        size_t room = output->room ? output->room * 2 : STREAM_LEN;
        char *grown = realloc(output->buf, room);

        if (!grown) {
            img_fail_memory(&output->err);
            output->has_failed = true;
            return NULL;
        }
        output->buf = grown;
        output->room = room;
    }
    return output->has_failed ? NULL : output->buf + output->len;
}

void output_bytes(struct output *output, const char *text, size_t len)
{
    if (output->mode == OUTPUT_NOWHERE) {
        return;
    }
    while (len > 0) {
        size_t piece = len < STREAM_LEN / 2 ? len : STREAM_LEN / 2;
        char *to = reserve(output, piece);

        if (!to) {
            return;
        }
        memcpy(to, text, piece);
        output->len += piece;
        text += piece;
        len -= piece;
    }
}

void output_text(struct output *output, const char *text)
{
    output_bytes(output, text, strlen(text));
}

void output_printf(struct output *output, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, fmt);
    len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0) {
        struct img_error err;

        img_fail_memory(&err);
        output_fail(output, &err);
        return;
    }
    output_bytes(output, text, (size_t)len);
    free(text);
}

void output_u64(struct output *output, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    output_bytes(output, digits + at, sizeof(digits) - at);
}

void output_escaped(struct output *output, const char *text)
{
    char shown[4 * IMG_ERROR_PATH_MAX];

    output_bytes(output, shown,
                 img_escape(text, strlen(text), shown, sizeof(shown)));
}

void output_style(struct output *output, enum output_style style)
{
    static const char *const codes[] = {
        [STYLE_PLAIN] = "\033[0m", [STYLE_BOLD] = "\033[1m",
        [STYLE_GOOD] = "\033[32m", [STYLE_BAD] = "\033[1;31m",
        [STYLE_WARN] = "\033[33m", [STYLE_DIM] = "\033[2m",
    };

    if (output->has_colour) {
        output_text(output, codes[style]);
    }
}

void output_json(struct output *output, struct img_json *value)
{
    char *text = NULL;

    if (!output->has_failed) {
        text = img_json_text(value, true, &output->err);
        output->has_failed = text == NULL;
    }
    img_json_free(value);
    if (text) {
        output_text(output, text);
        output_text(output, "\n");
    }
    free(text);
}

/* Hand the spill file of FROM, then its buffer, to SINK. */
static int replay(struct output *from,
                  int (*sink)(void *opaque, const char *buf, size_t len,
                              struct img_error *err),
                  void *opaque, struct img_error *err)
{
    char piece[STREAM_LEN / 4];
    off_t off = 0;

    while (from->spill >= 0) {
        ssize_t got = pread(from->spill, piece, sizeof(piece), off);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return img_fail_sys(err, errno, "cannot read a temporary file");
        }
        if (got == 0) {
            break;
        }
        if (sink(opaque, piece, (size_t)got, err) < 0) {
            return -1;
        }
        off += got;
    }
    return sink(opaque, from->buf, from->len, err);
}

static int sink_output(void *opaque, const char *buf, size_t len,
                       struct img_error *err)
{
    (void)err;
    output_bytes(opaque, buf, len);
    return 0;
}

static int sink_stdout(void *opaque, const char *buf, size_t len,
                       struct img_error *err)
{
    (void)opaque;
    return write_all(STDOUT_FILENO, buf, len, STDOUT_NAME, err);
}

void output_append(struct output *output, struct output *other)
{
    if (output->has_failed) {
        return;
    }
    if (other->has_failed) {
        output->err = other->err;
        output->has_failed = true;
    } else if (replay(other, sink_output, output, &output->err) < 0) {
        output->has_failed = true;
    }
}

int output_finish(struct output *output, struct img_error *err)
{
    if (!output->has_failed && output->mode == OUTPUT_STREAM) {
        drain(output);
    }
    if (output->has_failed) {
        *err = output->err;
        return -1;
    }
    if (output->mode == OUTPUT_WHOLE) {
        int rc = replay(output, sink_stdout, NULL, err);

        output->len = 0;
        return rc;
    }
    return 0;
}
