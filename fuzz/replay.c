/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzz target over files, and over the files in folders: the main
 * function of targets that are built without libFuzzer.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <img/memory.h>

#include "fuzz.h"

/* Larger inputs would say more about the reader than about the target. */
#define MAX_INPUT_LEN (16l << 20)

static int fail(const char *path)
{
    (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
}

static void close_file(FILE **file)
{
    if (*file != NULL) {
        (void)fclose(*file);
    }
}

/* The input is a copy of exactly its length, so that sanitizers see its end. */
static int replay_file(const char *path, size_t *done)
{
    IMG_AUTO(close_file) FILE *file = fopen(path, "rb");
    IMG_AUTO(img_free_ptr) uint8_t *data = NULL;
    struct stat st;
    size_t len;

    if (file == NULL || fstat(fileno(file), &st) < 0) {
        return fail(path);
    }
    if (st.st_size > MAX_INPUT_LEN) {
        errno = EFBIG;
        return fail(path);
    }
    len = (size_t)st.st_size;
    data = malloc(len > 0 ? len : 1);
    if (data == NULL || fread(data, 1, len, file) != len) {
        return fail(path);
    }
    LLVMFuzzerTestOneInput(data, len);
    *done += 1;
    return 0;
}

static void close_folder(DIR **dir)
{
    if (*dir != NULL) {
        closedir(*dir);
    }
}

static int replay_folder(const char *path, size_t *done)
{
    IMG_AUTO(close_folder) DIR *dir = opendir(path);
    const struct dirent *entry;

    if (dir == NULL) {
        return fail(path);
    }
    while ((entry = readdir(dir)) != NULL) {
        IMG_AUTO(img_free_ptr) char *name = NULL;

        if (entry->d_name[0] == '.') {
            continue;
        }
        if (asprintf(&name, "%s/%s", path, entry->d_name) < 0) {
            name = NULL;
            return fail(path);
        }
        if (replay_file(name, done) < 0) {
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    size_t done = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;
        int ret = stat(argv[i], &st) < 0 ? fail(argv[i])
                  : S_ISDIR(st.st_mode)  ? replay_folder(argv[i], &done)
                                         : replay_file(argv[i], &done);

        if (ret < 0) {
            return EXIT_FAILURE;
        }
    }
    printf("%zu inputs\n", done);
    return done > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
