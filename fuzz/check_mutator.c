/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is the mutator worth its name? Every seed that is named is changed over and
 * over, change upon change as the fuzzer does. What comes out must stay within
 * its room, be the same for the same seed, and often enough get past the
 * header, be clean, and be clean but other than it was.
 *
 * usage: check_mutator FOLDER
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "sound.h"

#define ROOM (128u << 10)
#define ROUNDS 40u
/* Each image is a change of a change, so many times. */
#define CHAIN_LEN 8u

/* In percent of all. Measured: 84, 44 and 29. */
#define WANT_OPEN 70u
#define WANT_CLEAN 30u
#define WANT_LAYERED 20u

struct tally {
    unsigned all, open, clean, layered;
};

static void judge(const uint8_t *data, size_t len, struct tally *tally)
{
    struct qcow2_options options = {0};
    struct img_file *file = NULL;
    struct img_image *image = NULL;
    struct img_error err = {0};

    tally->all++;
    fuzz_require(img_file_from_memory("image", data, len, &file, &err) == 0);
    if (qcow2_open(file, &options, &image, &err) == 0) {
        tally->open++;
        img_image_free(image);
        if (fuzz_is_clean(file, NULL)) {
            tally->clean++;
            tally->layered += sound_is_layered(data, len);
        }
    }
    img_file_unref(file);
}

static void mutate_seed(const uint8_t *seed, size_t seed_len,
                        struct tally *tally)
{
    static uint8_t data[ROOM], again[ROOM];
    uint8_t args[FUZZ_ARGS_NR];

    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t len = seed_len;

        memcpy(data, seed, seed_len);
        for (unsigned i = 0; i < CHAIN_LEN; i++) {
            uint64_t nr = round * CHAIN_LEN + i;
            size_t new_len;

            memcpy(again, data, len);
            new_len = fuzz_mutate(data, len, ROOM, nr);
            fuzz_require(new_len <= ROOM);
            fuzz_require(fuzz_mutate(again, len, ROOM, nr) == new_len);
            fuzz_require(memcmp(again, data, new_len) == 0);
            len = new_len;
        }
        len = fuzz_args(data, len, args);
        judge(data, len, tally);
    }
}

static void mutate_file(const char *folder, const char *name,
                        struct tally *tally)
{
    static uint8_t seed[ROOM];
    char path[4096];
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    fuzz_require(file != NULL);
    len = fread(seed, 1, sizeof(seed), file);
    (void)fclose(file);
    mutate_seed(seed, len, tally);
}

static unsigned percent(unsigned part, unsigned all)
{
    return all > 0 ? part * 100 / all : 0;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    const struct dirent *entry;
    struct tally t = {0};

    if (dir == NULL) {
        (void)fprintf(stderr, "usage: check_mutator FOLDER\n");
        return EXIT_FAILURE;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            mutate_file(argv[1], entry->d_name, &t);
        }
    }
    closedir(dir);
    printf("%u images: %u %% open, %u %% are clean, %u %% can be changed\n",
           t.all, percent(t.open, t.all), percent(t.clean, t.all),
           percent(t.layered, t.all));
    return percent(t.open, t.all) >= WANT_OPEN &&
                   percent(t.clean, t.all) >= WANT_CLEAN &&
                   percent(t.layered, t.all) >= WANT_LAYERED
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}
