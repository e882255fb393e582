/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A folder of a test's own, files in it, and opening them. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/file.h>

#include "unit.h"

struct scratch {
    char dir[256];
    char *paths[64]; /* what scratch_path returned */
    unsigned nr;
};

static inline void scratch_open(struct scratch *scratch)
{
    const char *tmp = getenv("TMPDIR");

    memset(scratch, 0, sizeof(*scratch));
    snprintf(scratch->dir, sizeof(scratch->dir), "%s/imgchain-test-XXXXXX",
             tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(scratch->dir));
}

static inline int scratch_remove_entry(const char *path, const struct stat *st,
                                       int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void scratch_close(struct scratch *scratch)
{
    ck_assert_int_eq(nftw(scratch->dir, scratch_remove_entry, 16,
                          FTW_DEPTH | FTW_PHYS | FTW_MOUNT),
                     0);
    while (scratch->nr > 0) {
        free(scratch->paths[--scratch->nr]);
    }
}

/* The path of NAME in the folder; valid until scratch_close. */
static inline const char *scratch_path(struct scratch *scratch,
                                       const char *name)
{
    char *path = NULL;

    ck_assert_uint_lt(scratch->nr, 64);
    ck_assert_int_ge(asprintf(&path, "%s/%s", scratch->dir, name), 0);
    scratch->paths[scratch->nr++] = path;
    return path;
}

/* LEN bytes at OFF of the file NAME, which is made if need be. Its path. */
static inline const char *scratch_write(struct scratch *scratch,
                                        const char *name, const void *bytes,
                                        size_t len, off_t off)
{
    const char *path = scratch_path(scratch, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, len, off), (ssize_t)len);
    ck_assert_int_eq(close(fd), 0);
    return path;
}

/* Bytes that differ from place to place and from seed to seed. */
static inline void scratch_fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    uint64_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(x >> 56);
    }
}

static inline struct img_file *scratch_open_file(const char *path)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE};
    struct img_file *file = NULL;
    struct img_error err = {0};

    unit_ok(img_file_open(path, &options, &file, &err), &err);
    return file;
}

#endif
