/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records that were moved, copied, damaged or taken away, that a run still
 * lives with, or that others put there: what a recovery believes.
 */
#include <errno.h>

#include "transaction_fixture.h"

static const char *stage_of(const char *dir)
{
    static char path[256];
    char name[CHAIN_RECORD_NAME_LEN];

    snprintf(path, sizeof(path), "%s/%s", dir,
             chain_stage_name(journal.id, name));
    return path;
}

/* A run with staged files in both folders, before its decision, dead. */
static void run_to_stages(void)
{
    char path[512];

    begin();
    plan();
    for (size_t i = 0; i < 2; i++) {
        journal.files[i].is_staged = true;
        journal.files[i].temp = strdup(i ? "b" : "a");
    }
    unit_ok(chain_journal_begin(&journal, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", stage_of(i ? "y" : "x"),
                 i ? "b" : "a");
        make(path, "contents");
    }
    die();
}

/* ---- Records without a mark, or without a record. */

START_TEST(test_pointer_without_its_mark)
{
    static const char why[] =
        "was not made by a transaction: it lacks the mode that its owner gives "
        "to records";

    run_to_stages();
    const char *name = record("x", CHAIN_RECORD_POINTER);
    ck_assert_int_eq(chmod(name, 0600), 0);
    recover_fails("x", IMG_DENIED, name, why);
    unit_ok(chain_journal_recover("x", &by_the_way, &err), &err);
    ck_assert_int_eq(access(stage_of("x"), F_OK), 0);
    /* Nor is it taken for one that was cut short. */
    ck_assert_int_eq(truncate(name, 0), 0);
    recover_fails("x", IMG_DENIED, name, why);
    ck_assert_int_eq(access(name, F_OK), 0);
    end();
}
END_TEST

/* What is staged goes only where there is a record, whatever another folder's
   record says. */
START_TEST(test_stage_without_a_record_stays)
{
    char inside[512];

    for (int there = 0; there <= 1; there++) {
        run_to_stages();
        const char *name = record("y", CHAIN_RECORD_POINTER);
        ck_assert_int_eq(there ? chmod(name, 0644) : unlink(name), 0);
        recover("x", "a removed;");
        ck_assert_str_eq(listing("x"), "");
        snprintf(inside, sizeof(inside), "%s/b", stage_of("y"));
        ck_assert_int_eq(access(inside, F_OK), 0);
        ck_assert_int_eq(access(record("y", CHAIN_RECORD_POINTER), F_OK),
                         there ? 0 : -1);
        end();
    }
}
END_TEST

START_TEST(test_stage_that_was_left)
{
    char inside[512];

    run_to_stages();
    ck_assert_int_eq(unlink(record("y", CHAIN_RECORD_POINTER)), 0);
    recover_fails("y", IMG_DENIED, stage_of("y"),
                  "is left of a transaction whose records are gone: see what "
                  "is in it, then remove it");
    unit_ok(chain_journal_recover("y", &by_the_way, &err), &err);
    snprintf(inside, sizeof(inside), "%s/b", stage_of("y"));
    ck_assert_int_eq(unlink(inside), 0);
    recover("y", "");
    ck_assert_str_eq(listing("y"), "");
    end();
}
END_TEST

/* A name for a staged file is more than a name for a temporary one. */
START_TEST(test_staged_name_needs_a_record)
{
    bool is_kept;
    struct stat st;
    char path[512];

    begin();
    plan();
    for (size_t i = 0; i < 2; i++) {
        journal.files[i].is_staged = true;
    }
    unit_ok(chain_journal_begin(&journal, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", stage_of(i ? "y" : "x"),
                 i ? "b" : "a");
        make(path, "contents");
        ck_assert_int_eq(stat(path, &st), 0);
        journal.files[i].temp = strdup(i ? "b" : "a");
        journal.files[i].ino = st.st_ino;
        journal.files[i].len = (uint64_t)st.st_size;
    }
    unit_ok(chain_journal_decide(&journal, &is_kept, &err), &err);
    die();
    ck_assert_int_eq(unlink(record("y", CHAIN_RECORD_POINTER)), 0);
    unit_fails(chain_journal_recover("x", &asked, &err), &err, IMG_DENIED,
               "is missing, or was not made by a transaction: files in its "
               "folder are not changed");
    /* It is this user's own: not passed by, either. */
    ck_assert_int_eq(chain_journal_recover("x", &by_the_way, &err), -1);
    ck_assert_int_eq(access("x/a", F_OK), -1);
    end();
}
END_TEST

/* ---- Who lives. */

START_TEST(test_live_run_whose_record_is_gone)
{
    begin();
    run_to_decision();
    ck_assert_int_eq(unlink(record("x", CHAIN_RECORD_POINTER)), 0);
    recover_fails("x", IMG_LOCKED, "x",
                  "a transaction is under way in this folder right now");
    recover_fails("y", IMG_LOCKED, "y",
                  "a transaction is under way in this folder right now");
    ck_assert_int_eq(unlink(record("y", CHAIN_RECORD_POINTER)), 0);
    recover_fails("x", IMG_LOCKED, "x",
                  "a transaction is under way in this folder right now");
    die();
    recover("x", "a finished;b finished;");
    expect("a ", "b ");
    end();
}
END_TEST

START_TEST(test_live_unnamed_journal)
{
    struct chain_journal_folder folder = {.fd = -1};
    char name[CHAIN_RECORD_NAME_LEN];
    int fd;

    begin();
    run_to_files();
    die();
    ck_assert_int_eq(unlink(record("x", CHAIN_RECORD_POINTER)), 0);
    folder.path = dirs[0];
    unit_ok(chain_folder_open(&folder, &err), &err);
    unit_ok(chain_record_make(
                &folder,
                chain_record_name(CHAIN_RECORD_NEW_JOURNAL, journal.id, name),
                "half a jour", &fd, &err),
            &err);
    recover_fails("x", IMG_LOCKED, "x",
                  "a transaction is under way in this folder right now");
    close(fd);
    unit_fails(chain_journal_recover("x", &dry, &err), &err, IMG_CHANGED,
               "a transaction was cut short in this folder: recover first");
    recover("x", "");
    ck_assert_str_eq(listing("x"), TEMP_A " ");
    close(folder.fd);
    end();
}
END_TEST

/* ---- Damage. */

static void put_text(const char *path, const char *text)
{
    make(path, text);
    ck_assert_int_eq(chmod(path, 01600), 0);
}

START_TEST(test_record_of_another_version)
{
    begin();
    run_to_files();
    die();
    const char *name = record("x", CHAIN_RECORD_POINTER);
    put_text(name, "{\"imgchain-transaction\":3}");
    recover_fails("x", IMG_UNSUPPORTED, name,
                  "is a record of version 3, expected 2: recover with the "
                  "program that wrote it");
    ck_assert_int_eq(chain_journal_recover("x", &by_the_way, &err), -1);
    ck_assert_int_eq(access(name, F_OK), 0);
    end();
}
END_TEST

/* What is damaged was not cut short when something followed it. */
START_TEST(test_damaged_record_that_was_followed)
{
    run_to_wide_decision();
    const char *name = record("x", CHAIN_RECORD_POINTER);
    ck_assert_int_eq(truncate(name, 20), 0);
    recover_fails("x", IMG_CORRUPT, name,
                  "is a damaged record: it is no JSON text");
    ck_assert_int_eq(access(name, F_OK), 0);
    end();
}
END_TEST

START_TEST(test_torn_record_is_left_by_a_dry_run)
{
    begin();
    run_to_records();
    die();
    const char *name = record("y", CHAIN_RECORD_POINTER);
    ck_assert_int_eq(truncate(name, 20), 0);
    unit_fails(chain_journal_recover("y", &dry, &err), &err, IMG_CHANGED,
               "a transaction was cut short in this folder: recover first");
    ck_assert_int_eq(access(name, F_OK), 0);
    end();
}
END_TEST

/* One that cannot be recovered does not keep the others from it. */
START_TEST(test_all_that_can_be_are_recovered)
{
    begin();
    put_text("x/.imgchain-transaction-0000000000000000.pointer",
             "{\"imgchain-transaction\":3}");
    run_to_files();
    die();
    ck_assert_int_eq(chain_journal_recover("x", &asked, &err), -1);
    ck_assert_int_eq(err.code, IMG_UNSUPPORTED);
    ck_assert_str_eq(told, TEMP_A " removed;" TEMP_B " removed;");
    ck_assert_int_eq(unlink("x/.imgchain-transaction-0000000000000000.pointer"),
                     0);
    expect("", "");
    end();
}
END_TEST

/* ---- Our own failures. */

START_TEST(test_own_failure_is_not_passed_by)
{
    begin();
    run_to_decision();
    die();
    if (geteuid() == 0) { /* for whom nothing is denied */
        ck_assert_int_eq(chmod(".", 0755), 0);
        ck_assert_int_eq(chown("x", 4321, 4321), 0);
        ck_assert_int_eq(chown("y", 4321, 4321), 0);
        ck_assert_int_eq(chown("x/" TEMP_A, 4321, 4321), 0);
        ck_assert_int_eq(chown("y/" TEMP_B, 4321, 4321), 0);
        for (int i = 0; i < 3; i++) {
            const char *name =
                record(i == 2 ? "y" : "x",
                       i == 1 ? CHAIN_RECORD_JOURNAL : CHAIN_RECORD_POINTER);
            ck_assert_int_eq(chown(name, 4321, 4321), 0);
            ck_assert_int_eq(chmod(name, 01600), 0);
        }
        ck_assert_int_eq(seteuid(4321), 0);
    }
    ck_assert_int_eq(chmod("y", 0555), 0);
    unit_fails(chain_journal_recover("x", &by_the_way, &err), &err, IMG_DENIED,
               "cannot name the new file: Permission denied");
    ck_assert_int_eq(chmod("y", 0755), 0);
    told[0] = '\0';
    recover("x", "a finished;b finished;");
    ck_assert_int_eq(seteuid(getuid()), 0);
    end();
}
END_TEST

/* ---- Folders that are elsewhere. */

START_TEST(test_folders_that_were_moved)
{
    begin();
    ck_assert_int_eq(mkdir("around", 0755), 0);
    for (size_t i = 0; i < 2; i++) {
        free(dirs[i]);
        ck_assert_int_eq(rename(i ? "y" : "x", i ? "around/y" : "around/x"), 0);
        dirs[i] = realpath(i ? "around/y" : "around/x", NULL);
    }
    run_to_decision();
    die();
    ck_assert_int_eq(rename("around", "moved"), 0);
    recover("moved/y", "a finished;b finished;");
    ck_assert_str_eq(listing("moved/x"), "a ");
    ck_assert_str_eq(listing("moved/y"), "b ");
    ck_assert_int_eq(rename("moved/x", "x"), 0);
    ck_assert_int_eq(rename("moved/y", "y"), 0);
    end();
}
END_TEST

START_TEST(test_folder_of_the_journal_was_moved)
{
    begin();
    run_to_decision();
    die();
    ck_assert_int_eq(rename("x", "z"), 0);
    recover("z", "a finished;b finished;");
    ck_assert_str_eq(listing("z"), "a ");
    ck_assert_str_eq(listing("y"), "b ");
    end();
}
END_TEST

START_TEST(test_copy_of_a_folder)
{
    char text[IMG_ERROR_TEXT_MAX];

    begin();
    run_to_decision();
    die();
    ck_assert_int_eq(mkdir("copy", 0755), 0);
    ck_assert_int_eq(system("cp -a x/. copy"), 0);
    snprintf(text, sizeof(text),
             "holds records of a transaction that was cut short in another "
             "folder, as a copy of that one does: see that its files are as "
             "they should be, then remove \".imgchain-%s.*\" here",
             journal.id);
    recover_fails("copy", IMG_CHANGED, "copy", text);
    expect(TEMP_A " JOURNAL POINTER ", TEMP_B " POINTER ");
    end();
}
END_TEST

UNIT_SUITE("journal-forged", test_pointer_without_its_mark,
           test_stage_without_a_record_stays, test_stage_that_was_left,
           test_staged_name_needs_a_record, test_live_run_whose_record_is_gone,
           test_live_unnamed_journal, test_record_of_another_version,
           test_damaged_record_that_was_followed,
           test_torn_record_is_left_by_a_dry_run,
           test_all_that_can_be_are_recovered,
           test_own_failure_is_not_passed_by, test_folders_that_were_moved,
           test_folder_of_the_journal_was_moved, test_copy_of_a_folder)
