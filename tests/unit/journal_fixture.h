/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of the journal share: two folders x and y, a run that makes
 * x/a and y/b, and its steps.
 */
#ifndef TESTS_JOURNAL_FIXTURE_H
#define TESTS_JOURNAL_FIXTURE_H

#include "../../chain/ops/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"

#define TEMP_A ".a.imgchain-abcdef"
#define TEMP_B ".b.imgchain-012345"

static struct scratch scratch;
static struct img_error err;
static struct chain_journal journal;
static char *dirs[2]; /* real paths of the folders x and y */
static char told[1024];

static inline void on_done(void *opaque, const char *path, const char *what)
{
    const char *name = strrchr(path, '/') + 1;

    (void)opaque;
    ck_assert_int_eq(path[0], '/');
    size_t len = strlen(told);
    snprintf(told + len, sizeof(told) - len, "%s %s;", name, what);
}

static const struct chain_recovery asked = {.done = on_done};
static const struct chain_recovery by_the_way = {.done = on_done,
                                                 .is_by_the_way = true};
static const struct chain_recovery dry = {.done = on_done, .is_dry = true};

static inline void begin(void)
{
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    ck_assert_int_eq(mkdir("x", 0755), 0);
    ck_assert_int_eq(mkdir("y", 0755), 0);
    dirs[0] = realpath("x", NULL);
    dirs[1] = realpath("y", NULL);
    ck_assert(dirs[0] && dirs[1]);
    told[0] = '\0';
}

static inline void end(void)
{
    free(dirs[0]);
    free(dirs[1]);
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}

/* Everything in DIR, sorted by name, ids as "ID". */
static inline const char *listing(const char *dir)
{
    static char text[1024];
    struct dirent **entries;
    int nr = scandir(dir, &entries, NULL, alphasort);

    ck_assert_int_ge(nr, 0);
    text[0] = '\0';
    for (int i = 0; i < nr; i++) {
        char id[CHAIN_JOURNAL_ID_LEN + 1];
        enum chain_record record;
        const char *name = entries[i]->d_name;
        size_t len = strlen(text);
        if (chain_record_parse(name, &record, id)) {
            static const char *const kinds[] = {"POINTER", "NEW", "JOURNAL",
                                                "DONE"};
            snprintf(text + len, sizeof(text) - len, "%s ", kinds[record]);
        } else if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            snprintf(text + len, sizeof(text) - len, "%s ", name);
        }
        free(entries[i]);
    }
    free(entries);
    return text;
}

static inline void expect(const char *x, const char *y)
{
    ck_assert_str_eq(listing("x"), x);
    ck_assert_str_eq(listing("y"), y);
}

/* The files x/a and y/b are planned. */
static inline void plan(void)
{
    unit_ok(chain_journal_init(&journal, 2, 2, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        journal.folders[i].path = strdup(dirs[i]);
        journal.files[i].folder = i;
        journal.files[i].name = strdup(i ? "b" : "a");
    }
}

static inline void make(const char *path, const char *bytes)
{
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(bytes, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void make_temp(size_t idx, const char *temp)
{
    struct stat st;
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", dirs[idx], temp);
    make(path, idx ? "contents of b" : "contents of a");
    ck_assert_int_eq(stat(path, &st), 0);
    journal.files[idx].temp = strdup(temp);
    journal.files[idx].ino = st.st_ino;
    journal.files[idx].len = (uint64_t)st.st_size;
}

/* A run up to its records, its files, its decision. */
static inline void run_to_records(void)
{
    plan();
    unit_ok(chain_journal_begin(&journal, &err), &err);
}

static inline void run_to_files(void)
{
    run_to_records();
    make_temp(0, TEMP_A);
    make_temp(1, TEMP_B);
}

static inline void run_to_decision(void)
{
    bool is_kept;

    run_to_files();
    unit_ok(chain_journal_decide(&journal, &is_kept, &err), &err);
}

static inline void recover(const char *dir, const char *expected)
{
    unit_ok(chain_journal_recover(dir, &asked, &err), &err);
    ck_assert_str_eq(told, expected);
    told[0] = '\0';
}

static inline void recover_fails(const char *dir, enum img_code code,
                                 const char *path, const char *text)
{
    char full[512];

    unit_fails(chain_journal_recover(dir, &asked, &err), &err, code, text);
    snprintf(full, sizeof(full), "%s/%s", scratch.dir, path);
    char resolved[PATH_MAX];
    const char *real = realpath(full, resolved);
    ck_assert_str_eq(err.path, real ? real : full);
    ck_assert_str_eq(told, "");
}

/* It cannot be gone on for that reason: the text says what to do. */
static inline void recover_is_stuck(const char *dir, const char *path,
                                    const char *why)
{
    char text[IMG_ERROR_TEXT_MAX];

    snprintf(text, sizeof(text),
             "%s: put back what was there, then recover; or, to leave all "
             "files as they are now, remove \".imgchain-%s.journal\" first",
             why, journal.id);
    recover_fails(dir, IMG_CHANGED, path, text);
}

/* The path of the record in DIR, below the test's folder. */
static inline const char *record(const char *dir, enum chain_record kind)
{
    static char path[256];
    char name[CHAIN_RECORD_NAME_LEN];

    snprintf(path, sizeof(path), "%s/%s", dir,
             chain_record_name(kind, journal.id, name));
    return path;
}

/* The run dies: its locks go, its files stay. The id is kept. */
static inline void die(void)
{
    char id[sizeof(journal.id)];

    memcpy(id, journal.id, sizeof(id));
    chain_journal_fini(&journal);
    memcpy(journal.id, id, sizeof(id));
}

#endif
