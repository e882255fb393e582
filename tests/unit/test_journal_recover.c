/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a recovery makes of every state that a killed run can leave, and of
 * records that no run wrote.
 */
#include <errno.h>

#include "deny.h"
#include "journal_fixture.h"

/* ---- Recovery. */

START_TEST(test_nothing_to_recover)
{
    begin();
    make("x/" TEMP_A, "of another program, perhaps");
    recover("x", "");
    expect(TEMP_A " ", "");
    end();
}
END_TEST

START_TEST(test_live_run_is_left_alone)
{
    begin();
    run_to_decision();
    recover_fails("x", IMG_LOCKED, "x",
                  "a transaction is under way in this folder right now");
    recover_fails("y", IMG_LOCKED, "y",
                  "a transaction is under way in this folder right now");
    unit_ok(chain_journal_recover("x", &by_the_way, &err), &err);
    unit_ok(chain_journal_recover("y", &by_the_way, &err), &err);
    ck_assert_str_eq(told, "");
    expect(TEMP_A " JOURNAL POINTER ", TEMP_B " POINTER ");
    die();
    recover("y", "a finished;b finished;");
    expect("a ", "b ");
    end();
}
END_TEST

START_TEST(test_dead_before_the_decision_is_undone)
{
    begin();
    run_to_files();
    make("x/.c.imgchain-abcdef", "another name's");
    make("x/.a.imgchain-ABCDEF", "no temporary name");
    make("x/a", "an older file");
    ck_assert_int_eq(symlink("a", "x/.a.imgchain-link00"), 0);
    die();
    unit_fails(chain_journal_recover("x", &dry, &err), &err, IMG_CHANGED,
               "a transaction was cut short in this folder: recover first");
    recover("x", TEMP_A " removed;" TEMP_B " removed;");
    expect(".a.imgchain-ABCDEF .a.imgchain-link00 .c.imgchain-abcdef a ", "");
    recover("x", "");
    end();
}
END_TEST

START_TEST(test_dead_run_is_found_from_each_folder)
{
    begin();
    run_to_files();
    die();
    recover("y", TEMP_A " removed;" TEMP_B " removed;");
    expect("", "");
    end();
}
END_TEST

START_TEST(test_used_file_is_not_removed)
{
    const struct img_open_options options = {.lock = IMG_LOCK_WRITER,
                                             .writable = true};
    struct img_file *file = NULL;
    int ready[2];
    char byte = 0;

    begin();
    run_to_files();
    die();
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        byte = img_file_open("x/" TEMP_A, &options, &file, &err) == 0;
        (void)!write(ready[1], &byte, 1);
        pause();
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    recover("x", TEMP_B " removed;");
    expect(TEMP_A " ", "");
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    end();
}
END_TEST

START_TEST(test_dead_after_the_decision_is_finished)
{
    begin();
    run_to_decision();
    die();
    recover("x", "a finished;b finished;");
    expect("a ", "b ");
    recover("x", "");
    end();
}
END_TEST

START_TEST(test_dead_amid_the_names_is_finished)
{
    begin();
    run_to_decision();
    die();
    ck_assert_int_eq(rename("x/" TEMP_A, "x/a"), 0);
    /* Where rename cannot be told to replace nothing: both names. */
    ck_assert_int_eq(link("y/" TEMP_B, "y/b"), 0);
    recover("y", "a finished;b finished;");
    expect("a ", "b ");
    end();
}
END_TEST

/* Where the new file has neither name nobody knows whether it had its own. */
START_TEST(test_new_file_that_is_gone_is_told)
{
    static const char why[] =
        "the file that a transaction was to give this name has neither this "
        "name nor the one that it was made under";

    begin();
    run_to_decision();
    die();
    ck_assert_int_eq(rename("x/" TEMP_A, "x/moved"), 0);
    recover_is_stuck("x", "x/a", why);
    make("x/a", "the next one");
    recover_is_stuck("y", "x/a", why);
    expect("JOURNAL POINTER a moved ", TEMP_B " POINTER ");
    ck_assert_int_eq(rename("x/moved", "x/a"), 0);
    recover("x", "a finished;b finished;");
    expect("a ", "b ");
    end();
}
END_TEST

START_TEST(test_taken_name_is_told)
{
    begin();
    run_to_decision();
    die();
    make("x/a", "somebody else's");
    recover_fails("x", IMG_USAGE, "x/a",
                  "a transaction that was decided is to have this name, and "
                  "another file has it: move that one away, then recover");
    expect(TEMP_A " JOURNAL POINTER a ", TEMP_B " POINTER ");
    ck_assert_int_eq(rename("x/a", "x/aside"), 0);
    recover("x", "a finished;b finished;");
    expect("a aside ", "b ");
    end();
}
END_TEST

START_TEST(test_torn_record_was_never_followed)
{
    begin();
    run_to_records();
    ck_assert_int_eq(truncate(record("y", CHAIN_RECORD_POINTER), 30), 0);
    recover_fails("x", IMG_LOCKED, "x",
                  "a transaction is under way in this folder right now");
    recover_fails("y", IMG_LOCKED, "y",
                  "a transaction is under way in this folder right now");
    die();
    recover("y", "");
    expect("POINTER ", "");
    ck_assert_int_eq(truncate(record("x", CHAIN_RECORD_POINTER), 0), 0);
    recover("x", "");
    expect("", "");
    end();
}
END_TEST

START_TEST(test_unnamed_journal_goes)
{
    begin();
    run_to_files();
    die();
    make(record("x", CHAIN_RECORD_NEW_JOURNAL), "half a jour");
    recover("x", TEMP_A " removed;" TEMP_B " removed;");
    expect("", "");
    make(record("x", CHAIN_RECORD_NEW_JOURNAL), "half a jour");
    ck_assert_int_eq(chmod(record("x", CHAIN_RECORD_NEW_JOURNAL), 01600), 0);
    recover("x", "");
    expect("", "");
    end();
}
END_TEST

START_TEST(test_lone_journal_is_finished)
{
    begin();
    run_to_decision();
    die();
    ck_assert_int_eq(unlink(record("x", CHAIN_RECORD_POINTER)), 0);
    recover("x", "a finished;b finished;");
    expect("a ", "b ");
    end();
}
END_TEST

START_TEST(test_lone_pointer_undoes_its_own)
{
    begin();
    run_to_files();
    die();
    ck_assert_int_eq(unlink(record("x", CHAIN_RECORD_POINTER)), 0);
    recover("y", TEMP_A " removed;" TEMP_B " removed;");
    expect("", "");
    end();
}
END_TEST

START_TEST(test_folder_of_the_journal_is_needed)
{
    begin();
    run_to_files();
    die();
    ck_assert_int_eq(rename("x", "z"), 0);
    recover_fails("y", IMG_NOT_FOUND, "x",
                  "cannot open the folder: No such file or directory");
    ck_assert_int_eq(mkdir("x", 0755), 0);
    recover_fails("y", IMG_CHANGED, "x",
                  "is another folder than the one of before");
    ck_assert_int_eq(rmdir("x"), 0);
    /* No link is followed, not even to the very folder. */
    ck_assert_int_eq(symlink("z", "x"), 0);
    unit_fails(chain_journal_recover("y", &asked, &err), &err, IMG_NOT_FOUND,
               "cannot open the folder: Not a directory");
    ck_assert_int_eq(unlink("x"), 0);
    ck_assert_int_eq(rename("z", "x"), 0);
    recover("y", TEMP_A " removed;" TEMP_B " removed;");
    end();
}
END_TEST

START_TEST(test_other_folder_that_is_gone_holds_nothing)
{
    begin();
    run_to_files();
    die();
    ck_assert_int_eq(rename("y", "z"), 0);
    recover("x", TEMP_A " removed;");
    ck_assert_str_eq(listing("x"), "");
    end();
}
END_TEST

/* Records as they were written before there were changes of other kinds. */
START_TEST(test_old_records)
{
    static const char id[] = "snapshot-0123456789abcdef";
    char text[2048];
    struct stat st;

    begin();
    make("x/" TEMP_A, "contents of a");
    ck_assert_int_eq(stat("x/" TEMP_A, &st), 0);
    ino_t file_ino = st.st_ino;
    ck_assert_int_eq(stat("x", &st), 0);
    for (int decided = 0; decided <= 1; decided++) {
        snprintf(text, sizeof(text),
                 "{\"imgchain-snapshot\":1,\"id\":\"0123456789abcdef\","
                 "\"decided\":%s,\"folders\":[{\"path\":\"%s\","
                 "\"inode\":%ju}],\"files\":[{\"folder\":0,"
                 "\"name\":\"a\",\"temporary\":\"" TEMP_A "\","
                 "\"inode\":%ju,\"length\":13}]}",
                 decided ? "true" : "false", dirs[0], (uintmax_t)st.st_ino,
                 (uintmax_t)file_ino);
        memcpy(journal.id, id, sizeof(id));
        const char *name =
            record("x", decided ? CHAIN_RECORD_JOURNAL : CHAIN_RECORD_POINTER);
        make(name, text);
        ck_assert_int_eq(chmod(name, 0600), 0);
    }
    recover("x", "a finished;");
    expect("a ", "");
    end();
}
END_TEST

/* ---- Records that others put there. */

START_TEST(test_foreign_file_is_not_named)
{
    static const char foreign[] =
        "is not the file that the journal of the transaction tells of";

    begin();
    run_to_decision();
    die();
    ck_assert_int_eq(rename("y/" TEMP_B, "y/aside"), 0);
    make("y/" TEMP_B, "contents of c");
    recover_is_stuck("x", "y/" TEMP_B, foreign);
    ck_assert_int_eq(unlink("y/" TEMP_B), 0);
    ck_assert_int_eq(symlink("aside", "y/" TEMP_B), 0);
    ck_assert_int_eq(chain_journal_recover("x", &asked, &err), -1);
    ck_assert_int_eq(strncmp(err.text, foreign, strlen(foreign)), 0);
    ck_assert_int_eq(unlink("y/" TEMP_B), 0);
    ck_assert_int_eq(link("y/aside", "y/" TEMP_B), 0);
    recover_is_stuck("x", "y/" TEMP_B, foreign);
    ck_assert_int_eq(unlink("y/aside"), 0);
    told[0] = '\0';
    recover("x", "a finished;b finished;");
    end();
}
END_TEST

START_TEST(test_record_that_is_no_plain_file)
{
    static const char text[] = "is named like the record of a transaction, but "
                               "is no small file with one name";
    const char *name;

    begin();
    run_to_files();
    die();
    name = record("x", CHAIN_RECORD_POINTER);
    ck_assert_int_eq(link(name, "second"), 0);
    recover_fails("x", IMG_CORRUPT, name, text);
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(symlink("../second", name), 0);
    unit_fails(chain_journal_recover("x", &asked, &err), &err, IMG_CORRUPT,
               text);
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(mkfifo(name, 01600), 0);
    recover_fails("x", IMG_CORRUPT, name, text);
    ck_assert_int_eq(unlink(name), 0);
    make(name, "");
    ck_assert_int_eq(truncate(name, CHAIN_RECORD_LEN_MAX + 1), 0);
    recover_fails("x", IMG_CORRUPT, name, text);
    ck_assert_str_eq(listing("y"), TEMP_B " POINTER ");
    end();
}
END_TEST

START_TEST(test_damaged_journal_decides_nothing)
{
    begin();
    run_to_decision();
    die();
    ck_assert_int_eq(truncate(record("x", CHAIN_RECORD_JOURNAL), 20), 0);
    recover_fails("y", IMG_CORRUPT, record("x", CHAIN_RECORD_JOURNAL),
                  "is a damaged record: it is no JSON text");
    expect(TEMP_A " JOURNAL POINTER ", TEMP_B " POINTER ");
    end();
}
END_TEST

START_TEST(test_another_user_s_record)
{
    begin();
    run_to_files();
    die();
    if (geteuid() != 0) { /* nobody else can give it away */
        end();
        return;
    }
    const char *name = record("x", CHAIN_RECORD_POINTER);
    ck_assert_int_eq(chown(name, 4321, 4321), 0);
    recover_fails("x", IMG_DENIED, name,
                  "is the record of a transaction of user 4321: only that user "
                  "can go on with it");
    unit_ok(chain_journal_recover("x", &by_the_way, &err), &err);
    expect(TEMP_A " POINTER ", TEMP_B " POINTER ");
    /* A file of another user's is neither removed nor named. */
    ck_assert_int_eq(chown(name, 0, 0), 0);
    ck_assert_int_eq(chown("y/" TEMP_B, 4321, 4321), 0);
    recover("x", TEMP_A " removed;");
    expect("", TEMP_B " ");
    end();
}
END_TEST

/* That the journal is gone, or there, may not be stable yet. */
static void unflushed(const char *x)
{
    die();
    deny_argument(SYS_fsync, 0, DENY_ANY, EIO);
    recover_fails("x", IMG_IO, "x",
                  "cannot flush the folder: Input/output error");
    expect(x, TEMP_B " POINTER ");
    end();
}

START_TEST(test_nothing_is_undone_before_a_flush)
{
    begin();
    run_to_files();
    unflushed(TEMP_A " POINTER ");
}
END_TEST

START_TEST(test_nothing_is_finished_before_a_flush)
{
    begin();
    run_to_decision();
    unflushed(TEMP_A " JOURNAL POINTER ");
}
END_TEST

UNIT_SUITE("journal_recover", test_nothing_to_recover,
           test_live_run_is_left_alone, test_dead_before_the_decision_is_undone,
           test_dead_run_is_found_from_each_folder,
           test_used_file_is_not_removed,
           test_dead_after_the_decision_is_finished,
           test_dead_amid_the_names_is_finished,
           test_new_file_that_is_gone_is_told, test_taken_name_is_told,
           test_torn_record_was_never_followed, test_unnamed_journal_goes,
           test_lone_journal_is_finished, test_lone_pointer_undoes_its_own,
           test_folder_of_the_journal_is_needed,
           test_other_folder_that_is_gone_holds_nothing, test_old_records,
           test_foreign_file_is_not_named, test_record_that_is_no_plain_file,
           test_damaged_journal_decides_nothing, test_another_user_s_record,
           test_nothing_is_undone_before_a_flush,
           test_nothing_is_finished_before_a_flush)
