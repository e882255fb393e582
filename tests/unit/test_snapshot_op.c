/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots of several disks: requests, results, and runs that stop. Killed
 * and failing runs, and the real QEMU: tests/interop/snapshot.py.
 */
#include <chain/snapshot.h>

#include <dirent.h>

#include "../../chain/ops/journal.h"
#include "chain_fixture.h"

static struct chain_snapshot_disk disks[2];
static struct chain_snapshot_request request;
static struct chain_snapshot_result result;
static char told[256];

/* x/a over x/base and y/b, each alone in its folder otherwise. */
static void setup(void)
{
    begin();
    ck_assert_int_eq(mkdir("x", 0755), 0);
    ck_assert_int_eq(mkdir("y", 0755), 0);
    make("x/base", NULL, NULL);
    make("x/a", "base", "qcow2");
    make("y/b", NULL, NULL);
    disks[0] = (struct chain_snapshot_disk){
        .active = "x/a", .active_format = "qcow2", .overlay = "x/new"};
    disks[1] = (struct chain_snapshot_disk){
        .active = "y/b", .active_format = "qcow2", .overlay = "y/new"};
    request = (struct chain_snapshot_request){
        .disks = disks, .disks_nr = 2, .atomic = true};
    result = (struct chain_snapshot_result){0};
    told[0] = '\0';
}

static size_t files_in(const char *path)
{
    DIR *dir = opendir(path);
    size_t nr = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir)) {
        nr++;
    }
    closedir(dir);
    return nr - 2;
}

static void expect_files(size_t x, size_t y)
{
    ck_assert_uint_eq(files_in("x"), x);
    ck_assert_uint_eq(files_in("y"), y);
}

static void take(void)
{
    unit_ok(chain_snapshot(&request, &result, &err), &err);
}

static void refuse(enum img_code code, const char *path, const char *text)
{
    unit_fails(chain_snapshot(&request, &result, &err), &err, code, text);
    ck_assert_str_eq(err.path, path);
    chain_snapshot_result_fini(&result);
    expect_files(2, 1);
}

START_TEST(test_made_and_told)
{
    for (int atomic = 0; atomic < 2; atomic++) {
        setup();
        request.atomic = atomic;
        take();
        ck_assert(!result.is_refused);
        ck_assert_uint_eq(result.nr, 2);
        for (size_t i = 0; i < 2; i++) {
            ck_assert_str_eq(result.made[i].path, disks[i].overlay);
            ck_assert_str_eq(result.made[i].backing_name, i ? "b" : "a");
            ck_assert_str_eq(result.made[i].backing_format, "qcow2");
            ck_assert_int_eq((int)chain_report_judgement(result.reports[i]),
                             CHAIN_ACCEPTED);
            const char *paths[] = {disks[i].overlay, disks[i].active, "x/base"};
            expect_paths(disks[i].overlay, paths, i ? 2 : 3);
            chain_free(chain);
        }
        expect_files(3, 2);
        chain_snapshot_result_fini(&result);
        ck_assert_uint_eq(result.nr, 0);
        end();
    }
}
END_TEST

START_TEST(test_plan)
{
    setup();
    request.dry_run = true;
    take();
    ck_assert_str_eq(result.made[1].backing_name, "b");
    ck_assert_int_eq((int)chain_report_judgement(result.reports[0]),
                     CHAIN_ACCEPTED);
    chain_snapshot_result_fini(&result);
    expect_files(2, 1);
    end();
}
END_TEST

START_TEST(test_absolute_names)
{
    char *want;

    setup();
    want = realpath("y/b", NULL);
    request.style = CHAIN_MAKE_ABSOLUTE;
    take();
    ck_assert_str_eq(result.made[1].backing_name, want);
    chain_snapshot_result_fini(&result);
    free(want);
    end();
}
END_TEST

START_TEST(test_disks_in_each_others_way)
{
    setup();
    disks[1].active = "x/../x/a";
    refuse(IMG_USAGE, "x/../x/a",
           "two disks have the same active layer: this is also \"x/a\"");
    disks[1].active = "y/b";
    disks[1].overlay = "y/../x/new";
    refuse(IMG_USAGE, "y/../x/new",
           "two disks have the same overlay: this is also \"x/new\"");
    disks[1].overlay = "x/base";
    refuse(IMG_USAGE, "x/base",
           "exists already: expected a new name, or --reuse-external");
    request.reuse_external = true;
    refuse(IMG_USAGE, "x/base",
           "the overlay is a file of another disk, whose active layer is "
           "\"x/a\"");
    disks[1].overlay = "y/..";
    refuse(IMG_USAGE, "y/..", "the path does not end in the name of a file");
    request.disks_nr = 0;
    refuse(IMG_USAGE, "", "no disk is named");
    request.disks_nr = 1025;
    refuse(IMG_LIMIT, "", "1025 disks in one snapshot: expected at most 1024");
    end();
}
END_TEST

START_TEST(test_one_refusal_refuses_all)
{
    setup();
    make("x/new", "a", "qcow2");
    make("y/new", "b", "raw");
    request.reuse_external = true;
    for (int atomic = 0; atomic < 2; atomic++) {
        request.atomic = atomic;
        take();
        ck_assert(result.is_refused);
        ck_assert_int_eq((int)chain_report_judgement(result.reports[0]),
                         CHAIN_ACCEPTED);
        ck_assert_int_eq((int)chain_report_judgement(result.reports[1]),
                         CHAIN_REFUSED);
        ck_assert_ptr_null(result.made[0].path);
        chain_snapshot_result_fini(&result);
    }
    make("y/new", "b", "qcow2");
    take();
    ck_assert(!result.is_refused);
    chain_snapshot_result_fini(&result);
    end();
}
END_TEST

/* Not with the text that is to be recorded: the first overlay goes, too. */
START_TEST(test_refused_text_undoes_all)
{
    setup();
    disks[1].backing_name = "../x/base";
    for (int atomic = 0; atomic < 2; atomic++) {
        request.atomic = atomic;
        take();
        ck_assert(result.is_refused);
        ck_assert_int_eq((int)chain_report_judgement(result.reports[1]),
                         CHAIN_REFUSED);
        chain_snapshot_result_fini(&result);
        expect_files(2, 1);
    }
    end();
}
END_TEST

START_TEST(test_cancel)
{
    const volatile int cancel = 1;

    setup();
    request.cancel = &cancel;
    refuse(IMG_CANCELLED, "", "cancelled");
    request.atomic = false;
    refuse(IMG_CANCELLED, "", "cancelled");
    end();
}
END_TEST

START_TEST(test_broken_chain)
{
    setup();
    ck_assert_int_eq(rename("x/base", "x/away"), 0);
    refuse(IMG_NOT_FOUND, "x/base", "cannot open: No such file or directory");
    end();
}
END_TEST

static void on_recovered(void *opaque, const char *path, const char *what)
{
    size_t len = strlen(told);

    ck_assert_ptr_eq(opaque, told);
    snprintf(told + len, sizeof(told) - len, "%s %s;", strrchr(path, '/') + 1,
             what);
}

/* What a run that meant x/new and y/other leaves when it is killed. */
static void leave(bool decided)
{
    struct chain_journal journal;

    unit_ok(chain_journal_init(&journal, 2, 2, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        const char *temp =
            i ? ".other.imgchain-aaaaaa" : ".new.imgchain-aaaaaa";
        char path[64];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", i ? "y" : "x", temp);
        make(path, i ? "b" : "a", "qcow2");
        ck_assert_int_eq(stat(path, &st), 0);
        journal.folders[i].path = realpath(i ? "y" : "x", NULL);
        journal.files[i] = (struct chain_journal_file){
            .folder = i,
            .name = strdup(i ? "other" : "new"),
            .temp = strdup(temp),
            .ino = st.st_ino,
            .len = (uint64_t)st.st_size,
        };
    }
    unit_ok(chain_journal_begin(&journal, &err), &err);
    if (decided) {
        bool is_kept;
        unit_ok(chain_journal_decide(&journal, &is_kept, &err), &err);
    }
    chain_journal_fini(&journal);
}

START_TEST(test_next_run_undoes)
{
    setup();
    leave(false);
    request.recovered = on_recovered;
    request.opaque = told;
    take();
    ck_assert(!result.is_refused);
    ck_assert_str_eq(
        told, ".new.imgchain-aaaaaa removed;.other.imgchain-aaaaaa removed;");
    chain_snapshot_result_fini(&result);
    expect_files(3, 2);
    end();
}
END_TEST

START_TEST(test_next_run_finishes)
{
    setup();
    leave(true);
    request.recovered = on_recovered;
    request.opaque = told;
    disks[1].overlay = "y/another";
    unit_fails(chain_snapshot(&request, &result, &err), &err, IMG_USAGE,
               "exists already: expected a new name, or --reuse-external");
    ck_assert_str_eq(err.path, "x/new");
    ck_assert_str_eq(told, "new finished;other finished;");
    chain_snapshot_result_fini(&result);
    expect_files(3, 2);
    end();
}
END_TEST

START_TEST(test_plan_does_not_recover)
{
    char *folder;

    setup();
    leave(true);
    folder = realpath("x", NULL);
    request.dry_run = true;
    unit_fails(chain_snapshot(&request, &result, &err), &err, IMG_CHANGED,
               "a transaction was cut short in this folder: recover first");
    ck_assert_str_eq(err.path, folder);
    chain_snapshot_result_fini(&result);
    unit_ok(chain_snapshot_recover("y", on_recovered, told, &err), &err);
    ck_assert_str_eq(told, "new finished;other finished;");
    expect_files(3, 2);
    free(folder);
    end();
}
END_TEST

UNIT_SUITE("snapshot", test_made_and_told, test_plan, test_absolute_names,
           test_disks_in_each_others_way, test_one_refusal_refuses_all,
           test_refused_text_undoes_all, test_cancel, test_broken_chain,
           test_next_run_undoes, test_next_run_finishes,
           test_plan_does_not_recover)
