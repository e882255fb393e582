/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the values of options mean. A refused value is IMG_USAGE with a text
 * that goes on after the value ("is none of ..."); options.c puts option and
 * value before it.
 */
#include <chain/chain.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

/* More than cores help; each has buffers of its own. */
#define THREADS_MAX 64u
/* A timer's seconds are signed on some machines; this is 31 years. */
#define SECONDS_MAX 1000000000u
/* The program and its libraries themselves. */
#define ADDRESS_SPACE_MIN (16u << 20)

int option_flag(void *field, const char *arg, struct img_error *err)
{
    (void)arg;
    (void)err;
    *(bool *)field = true;
    return 0;
}

int option_text(void *field, const char *arg, struct img_error *err)
{
    (void)err;
    *(const char **)field = arg;
    return 0;
}

int option_size(void *field, const char *arg, struct img_error *err)
{
    return size_parse(arg, field, err);
}

int option_output(void *field, const char *arg, struct img_error *err)
{
    enum output_format *output = field;

    if (strcmp(arg, "human") == 0) {
        *output = OUTPUT_HUMAN;
    } else if (strcmp(arg, "json") == 0) {
        *output = OUTPUT_JSON;
    } else {
        return img_fail(err, IMG_USAGE, "is none of human, json");
    }
    return 0;
}

int option_tree_output(void *field, const char *arg, struct img_error *err)
{
    enum output_format *output = field;

    if (strcmp(arg, "dot") == 0) {
        *output = OUTPUT_DOT;
    } else if (strcmp(arg, "svg") == 0) {
        *output = OUTPUT_SVG;
    } else if (option_output(field, arg, err) < 0) {
        return img_fail(err, IMG_USAGE, "is none of human, json, dot, svg");
    }
    return 0;
}

int option_engine(void *field, const char *arg, struct img_error *err)
{
    enum img_engine_kind *engine = field;

    if (strcmp(arg, "auto") == 0) {
        *engine = IMG_ENGINE_AUTO;
    } else if (strcmp(arg, "io_uring") == 0) {
        *engine = IMG_ENGINE_URING;
    } else if (strcmp(arg, "sync") == 0) {
        *engine = IMG_ENGINE_SYNC;
    } else {
        return img_fail(err, IMG_USAGE, "is none of auto, io_uring, sync");
    }
    return 0;
}

int option_root(void *field, const char *arg, struct img_error *err)
{
    struct img_roots **roots = field;

    if (!*roots && img_roots_new(roots, err) < 0) {
        return -1;
    }
    return img_roots_add(*roots, arg, err);
}

int option_progress(void *field, const char *arg, struct img_error *err)
{
    enum progress_mode *mode = field;

    if (!arg) {
        *mode = PROGRESS_TEXT;
    } else if (strcmp(arg, "json") == 0) {
        *mode = PROGRESS_JSON;
    } else {
        return img_fail(err, IMG_USAGE, "is not json");
    }
    return 0;
}

static int parse_number(const char *arg, unsigned long max, unsigned long *out,
                        struct img_error *err)
{
    char *end;

    if (arg[0] < '0' || arg[0] > '9') {
        return img_fail(err, IMG_USAGE, "is no number");
    }
    /* Saturates at ULONG_MAX, which is over every maximum here. */
    *out = strtoul(arg, &end, 10);
    if (*end) {
        return img_fail(err, IMG_USAGE, "is no number");
    }
    if (*out > max) {
        return img_fail(err, IMG_USAGE, "is over the limit of %lu", max);
    }
    return 0;
}

int option_number(const char *arg, unsigned max, unsigned *out,
                  struct img_error *err)
{
    unsigned long value = 0;

    if (parse_number(arg, max, &value, err) < 0) {
        return -1;
    }
    *out = (unsigned)value;
    return 0;
}

int option_depth(void *field, const char *arg, struct img_error *err)
{
    unsigned depth = 0;

    if (option_number(arg, CHAIN_MAX_DEPTH, &depth, err) < 0) {
        return -1;
    }
    if (depth == 0) {
        return img_fail(err, IMG_USAGE, "is no depth: at least 1");
    }
    *(unsigned *)field = depth;
    return 0;
}

int option_threads(void *field, const char *arg, struct img_error *err)
{
    unsigned threads = 0;

    if (option_number(arg, THREADS_MAX, &threads, err) < 0) {
        return -1;
    }
    if (threads == 0) {
        return img_fail(err, IMG_USAGE, "is no number of threads: at least 1");
    }
    *(unsigned *)field = threads;
    return 0;
}

int option_fd(void *field, const char *arg, struct img_error *err)
{
    int *fd = field;
    unsigned long value = 0;

    if (parse_number(arg, 1u << 30, &value, err) < 0) {
        return -1;
    }
    *fd = (int)value;
    return 0;
}

int option_seconds(void *field, const char *arg, struct img_error *err)
{
    unsigned seconds = 0;

    if (option_number(arg, SECONDS_MAX, &seconds, err) < 0) {
        return -1;
    }
    if (seconds == 0) {
        return img_fail(err, IMG_USAGE, "is no time: at least 1");
    }
    *(unsigned *)field = seconds;
    return 0;
}

int option_address_space(void *field, const char *arg, struct img_error *err)
{
    uint64_t len = 0;

    if (size_parse(arg, &len, err) < 0) {
        return -1;
    }
    if (len < ADDRESS_SPACE_MIN) {
        return img_fail(err, IMG_USAGE, "is too small: at least 16M");
    }
    *(uint64_t *)field = len;
    return 0;
}

/* qemu-img's cache modes, as far as a reader tells them apart: direct or not.
 */
int option_cache(void *field, const char *arg, struct img_error *err)
{
    bool *is_direct = field;

    if (strcmp(arg, "none") == 0 || strcmp(arg, "directsync") == 0) {
        *is_direct = true;
    } else if (strcmp(arg, "writeback") == 0 ||
               strcmp(arg, "writethrough") == 0 || strcmp(arg, "unsafe") == 0) {
        *is_direct = false;
    } else {
        return img_fail(err, IMG_USAGE,
                        "is none of none, directsync, writeback, "
                        "writethrough, unsafe");
    }
    return 0;
}
