/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of chain_relocate share: folders, chains, expectations. */
#ifndef TESTS_RELOCATE_FIXTURE_H
#define TESTS_RELOCATE_FIXTURE_H

#include <chain/relocate.h>

#include <dirent.h>

#include "scratch.h"
#include "tiny_qcow2.h"

static struct scratch scratch;
static struct img_error err;
static struct chain_relocate_request request;
static struct chain_relocate_result result;

/* Every test works in an empty folder of its own, with folders in it. */
static inline void begin(void)
{
    static const char *const folders[] = {"one", "two", "new"};

    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(mkdir(folders[i], 0755), 0);
    }
    request = (struct chain_relocate_request){
        .source = "one/top",
        .source_format = "qcow2",
        .folder = "new",
        .threads = 1,
        .engine = 2,
    };
    result = (struct chain_relocate_result){0};
}

static inline void end(void)
{
    chain_relocate_result_fini(&result);
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}

static inline void make(const char *path, const char *clusters,
                        const char *backing, const char *format)
{
    tiny_qcow2_write(path, &(struct tiny_qcow2){.clusters = clusters,
                                                .fill = (uint8_t)path[0],
                                                .backing = backing,
                                                .format = format});
}

/* one/top over two/mid over a raw base of an odd length. */
static inline void make_chain(void)
{
    uint8_t bytes[1300];

    memset(bytes, 'b', sizeof(bytes));
    scratch_write(&scratch, "two/base", bytes, sizeof(bytes), 0);
    make("two/mid", ".DzJ", "base", "raw");
    make("one/top", "D..a", "../two/mid", "qcow2");
}

static inline int relocate(void)
{
    chain_relocate_result_fini(&result);
    return chain_relocate(&request, &result, &err);
}

/* Names in FOLDER. */
static inline unsigned names_nr(const char *folder)
{
    const struct dirent *entry;
    unsigned nr = 0;
    DIR *dir = opendir(folder);

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir))) {
        nr += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..");
    }
    closedir(dir);
    return nr;
}

#endif
