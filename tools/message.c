/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages on stderr. A line is put together first and written with one
 * write(2), so that lines of several processes on one terminal stay whole.
 */
#include "message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bounds.h"
#include "progress.h"

/* Path (escaped, four bytes a byte), text and what stands around them. */
#define LINE_MAX_LEN (4 * IMG_ERROR_PATH_MAX + IMG_ERROR_TEXT_MAX + 64)

/* The library's advice about a file that somebody writes to. */
static const char share_advice[] = "; use -U";

static bool is_quiet, is_verbose, is_share_unknown;
static const char *written_path;

void message_set_level(bool quiet, bool verbose)
{
    is_quiet = quiet;
    is_verbose = verbose;
}

static void put_line(char *line, size_t size, size_t len)
{
    if (len > size - 2) {
        len = size - 2;
    }
    line[len] = '\n';
    progress_clear();
    /* Nowhere is left to report a failure to. */
    (void)!write(STDERR_FILENO, line, len + 1);
}

static void __attribute__((format(printf, 1, 0)))
put_text(const char *fmt, va_list args)
{
    char line[LINE_MAX_LEN];
    int head = snprintf(line, sizeof(line), "imgchain: ");
    int len = vsnprintf(line + head, sizeof(line) - (size_t)head, fmt, args);

    if (len >= 0) {
        put_line(line, sizeof(line), (size_t)head + (size_t)len);
    }
}

void message_without_share(void)
{
    is_share_unknown = true;
}

/* What the caller's own limits have to do with it, put after AT. */
static size_t put_limit(const struct img_error *err, char *at, size_t size)
{
    uint64_t address_space = bounds_address_space();
    unsigned seconds;
    int len = 0;

    if (err->code == IMG_CANCELLED && bounds_is_time_over(&seconds)) {
        len = snprintf(at, size, ": not done after %u s (--max-time)", seconds);
    } else if (err->code == IMG_MEMORY && address_space > 0) {
        len = snprintf(at, size,
                       "; the limit is %" PRIu64 " bytes (--max-address-space)",
                       address_space);
    }
    return len > 0 ? (size_t)len : 0;
}

void message_written(const char *path)
{
    written_path = path;
}

/* Is the advice of no use? */
static bool is_share_vain(const struct img_error *err)
{
    return is_share_unknown ||
           (written_path && strcmp(err->path, written_path) == 0);
}

void message_error(const struct img_error *err)
{
    char line[LINE_MAX_LEN];
    int head = snprintf(line, sizeof(line), "imgchain: ");
    size_t len =
        img_error_format(err, line + head, sizeof(line) - (size_t)head);
    char *advice = err->code == IMG_LOCKED && is_share_vain(err)
                       ? strstr(line, share_advice)
                       : NULL;

    if (advice) {
        len = (size_t)(advice - line - head);
    }
    len += (size_t)head;
    if (len < sizeof(line)) {
        len += put_limit(err, line + len, sizeof(line) - len);
    }
    put_line(line, sizeof(line), len);
}

void message_failed(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_text(fmt, args);
    va_end(args);
}

void message_note(const char *fmt, ...)
{
    va_list args;

    if (is_quiet) {
        return;
    }
    va_start(args, fmt);
    put_text(fmt, args);
    va_end(args);
}

void message_detail(const char *fmt, ...)
{
    va_list args;

    if (!is_verbose || is_quiet) {
        return;
    }
    va_start(args, fmt);
    put_text(fmt, args);
    va_end(args);
}
