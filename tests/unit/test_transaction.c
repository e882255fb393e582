/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transactions: each kind of change, what is refused, what is taken back; and
 * journals that would have files changed and that no transaction wrote.
 * Crashes are tests/crash/transaction.py's.
 */
#include <errno.h>
#include <grp.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "deny.h"
#include "transaction_fixture.h"

/* The write after so many more fails. */
static unsigned good_writes = 1000;

ssize_t pwrite(int fd, const void *buf, size_t nbytes, off_t offset)
{
    if (good_writes == 0) {
        errno = EIO;
        return -1;
    }
    good_writes--;
    return syscall(SYS_pwrite64, fd, buf, nbytes, offset);
}

static void expect_nothing_done(void)
{
    expect("doomed old ", "patched ");
    expect_text("x/old", "old bytes");
    expect_text("y/patched", "hello world");
}

/* ---- What is done. */

START_TEST(test_all_kinds)
{
    struct stat before, after;

    open_transaction();
    ck_assert_int_eq(stat("y/patched", &before), 0);
    add_all();
    begin_transaction();
    make(chain_transaction_stage(transaction, 0), "staged");
    unit_ok(chain_transaction_commit(transaction, &err), &err);
    expect("old staged ", "patched written ");
    expect_text("x/staged", "staged");
    expect_text("x/old", "new");
    expect_text("y/written", "written");
    expect_text("y/patched", "HELLO world");
    ck_assert_int_eq(stat("y/patched", &after), 0);
    ck_assert(before.st_ino == after.st_ino);
    close_transaction();
}
END_TEST

START_TEST(test_what_a_replaced_file_keeps)
{
    struct stat st;
    char value[8];

    open_transaction();
    ck_assert_int_eq(chmod("x/old", 0640), 0);
    bool has_attributes = setxattr("x/old", "user.kept", "yes", 3, 0) == 0;
    if (geteuid() == 0) {
        ck_assert_int_eq(chown("x/old", 4321, 4322), 0);
    }
    unit_ok(add(CHAIN_CHANGE_REPLACE, "x/old", "new"), &err);
    begin_transaction();
    unit_ok(chain_transaction_commit(transaction, &err), &err);
    ck_assert_int_eq(stat("x/old", &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    if (geteuid() == 0) {
        ck_assert_uint_eq(st.st_uid, 4321);
        ck_assert_uint_eq(st.st_gid, 4322);
    }
    if (has_attributes) {
        ck_assert_int_eq(getxattr("x/old", "user.kept", value, 8), 3);
    }
    close_transaction();
}
END_TEST

/* X/old of user 5555 and group 4322, as user 4321 replaces it. */
static void replace_as_another(gid_t group)
{
    open_transaction();
    ck_assert_int_eq(chmod(scratch.dir, 0755), 0);
    ck_assert_int_eq(chmod("x", 0777), 0);
    ck_assert_int_eq(chown("x/old", 5555, 4322), 0);
    ck_assert_int_eq(chmod("x/old", 0776), 0);
    ck_assert_int_eq(setgroups(1, &group), 0);
    ck_assert_int_eq(setegid(4321), 0);
    ck_assert_int_eq(seteuid(4321), 0);
    unit_ok(add(CHAIN_CHANGE_REPLACE, "x/old", "new"), &err);
    begin_transaction();
    unit_ok(chain_transaction_commit(transaction, &err), &err);
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(setegid(0), 0);
}

/* Nobody gets rights that only the old group had. */
START_TEST(test_group_of_a_replaced_file)
{
    struct stat st;

    if (geteuid() != 0) { /* who cannot be another */
        return;
    }
    replace_as_another(4322);
    ck_assert_int_eq(stat("x/old", &st), 0);
    ck_assert_uint_eq(st.st_uid, 4321);
    ck_assert_uint_eq(st.st_gid, 4322);
    ck_assert_uint_eq(st.st_mode & 07777, 0776);
    close_transaction();
    replace_as_another(4444);
    ck_assert_int_eq(stat("x/old", &st), 0);
    ck_assert_uint_eq(st.st_gid, 4321);
    ck_assert_uint_eq(st.st_mode & 07777, 0766);
    close_transaction();
}
END_TEST

START_TEST(test_mode_of_a_written_file)
{
    struct chain_change change = change_of(CHAIN_CHANGE_WRITE, "x/new", "text");
    struct stat st;

    open_transaction();
    change.mode = 0604;
    unit_ok(chain_transaction_add(transaction, &change, NULL, &err), &err);
    begin_transaction();
    unit_ok(chain_transaction_commit(transaction, &err), &err);
    ck_assert_int_eq(stat("x/new", &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0604);
    ck_assert_uint_eq(st.st_uid, geteuid());
    close_transaction();
}
END_TEST

START_TEST(test_links_of_a_patched_file_stay)
{
    open_transaction();
    ck_assert_int_eq(link("y/patched", "x/link"), 0);
    unit_ok(add(CHAIN_CHANGE_PATCH, "y/patched", "HELLO"), &err);
    begin_transaction();
    unit_ok(chain_transaction_commit(transaction, &err), &err);
    expect_text("x/link", "HELLO world");
    close_transaction();
}
END_TEST

START_TEST(test_what_is_not_committed_is_gone)
{
    open_transaction();
    add_all();
    begin_transaction();
    make(chain_transaction_stage(transaction, 0), "staged");
    chain_transaction_free(transaction, NULL);
    expect_nothing_done();
    end();
}
END_TEST

/* ---- What is refused. */

START_TEST(test_plan_is_checked)
{
    struct chain_change patch =
        change_of(CHAIN_CHANGE_PATCH, "y/patched", "more than there is");

    open_transaction();
    unit_fails(add(CHAIN_CHANGE_WRITE, "x/old", "a"), &err, IMG_USAGE,
               "exists already");
    ck_assert_str_eq(err.path, "x/old");
    unit_fails(add(CHAIN_CHANGE_NAME, "x/", NULL), &err, IMG_USAGE,
               "exists already");
    unit_fails(add(CHAIN_CHANGE_NAME, "x/.imgchain-old-1", NULL), &err,
               IMG_USAGE, "does not end in the name of a file");
    unit_fails(add(CHAIN_CHANGE_WRITE, "z/a", "a"), &err, IMG_NOT_FOUND,
               "cannot find its folder: No such file or directory");
    unit_ok(add(CHAIN_CHANGE_REMOVE, "x/old", NULL), &err);
    unit_fails(add(CHAIN_CHANGE_REPLACE, "./x/../x/old", "a"), &err, IMG_USAGE,
               "is named twice in one transaction");
    unit_ok(chain_change_stamp(&patch, &err), &err);
    unit_fails(chain_transaction_add(transaction, &patch, NULL, &err), &err,
               IMG_LIMIT,
               "more bytes than it has, or than can be written into it at "
               "once");
    ck_assert_int_eq(symlink("old", "x/link"), 0);
    patch.path = "x/link";
    unit_fails(chain_change_stamp(&patch, &err), &err, IMG_USAGE,
               "is a symbolic link: name the file itself");
    chain_transaction_free(transaction, NULL);
    expect("doomed link old ", "patched ");
    end();
}
END_TEST

START_TEST(test_what_changed_meanwhile_is_left)
{
    open_transaction();
    add_all();
    begin_transaction();
    make(chain_transaction_stage(transaction, 0), "staged");
    make("x/doomed", "another length");
    unit_fails(chain_transaction_commit(transaction, &err), &err, IMG_CHANGED,
               "was changed, or replaced, meanwhile");
    ck_assert_str_eq(err.path, "x/doomed");
    chain_transaction_free(transaction, &err);
    expect("doomed old ", "patched ");
    expect_text("x/doomed", "another length");
    end();
}
END_TEST

START_TEST(test_patch_is_of_the_bytes_that_were_judged)
{
    open_transaction();
    struct chain_change change =
        change_of(CHAIN_CHANGE_PATCH, "y/patched", "HELLO");
    change.old_data = "jello";
    unit_ok(chain_change_stamp(&change, &err), &err);
    unit_ok(chain_transaction_add(transaction, &change, NULL, &err), &err);
    begin_transaction();
    unit_fails(chain_transaction_commit(transaction, &err), &err, IMG_CHANGED,
               "its beginning was changed meanwhile");
    chain_transaction_free(transaction, &err);
    expect_nothing_done();
    end();
}
END_TEST

START_TEST(test_staged_file_is_missing)
{
    open_transaction();
    add_all();
    begin_transaction();
    unit_fails(chain_transaction_commit(transaction, &err), &err, IMG_NOT_FOUND,
               "its new file is not there: No such file or directory");
    chain_transaction_free(transaction, &err);
    expect_nothing_done();
    end();
}
END_TEST

/* Somebody who may rename files in the folder lets the path lead elsewhere. */
START_TEST(test_stage_that_was_exchanged)
{
    char stage[512];

    open_transaction();
    unit_ok(add(CHAIN_CHANGE_NAME, "x/staged", NULL), &err);
    begin_transaction();
    snprintf(stage, sizeof(stage), "%s",
             chain_transaction_stage(transaction, 0));
    *strrchr(stage, '/') = '\0';
    ck_assert_int_eq(rename(stage, "x/away"), 0);
    ck_assert_int_eq(symlink("../y", stage), 0);
    make(chain_transaction_stage(transaction, 0), "elsewhere");
    unit_fails(chain_transaction_commit(transaction, &err), &err, IMG_NOT_FOUND,
               "its new file is not there: No such file or directory");
    int fd = openat(chain_transaction_stage_fd(transaction, 0), "staged",
                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(access("x/away/staged", F_OK), 0);
    unit_fails(chain_transaction_commit(transaction, &err), &err, IMG_CHANGED,
               "is not the folder any more that was made for the new files of "
               "the transaction");
    ck_assert_int_eq(unlink(stage), 0);
    ck_assert_int_eq(rename("x/away", stage), 0);
    unit_ok(chain_transaction_commit(transaction, &err), &err);
    expect("doomed old staged ", "patched staged ");
    close_transaction();
}
END_TEST

/* A folder's default ACL, or a umask, may take modes away. */
START_TEST(test_records_have_their_mode)
{
    open_transaction();
    mode_t mask = umask(0277);
    unit_ok(add(CHAIN_CHANGE_WRITE, "x/written", "text"), &err);
    begin_transaction();
    unit_ok(chain_transaction_commit(transaction, &err), &err);
    umask(mask);
    close_transaction();
}
END_TEST

START_TEST(test_file_system_without_modes)
{
    open_transaction();
    unit_ok(add(CHAIN_CHANGE_WRITE, "x/written", "text"), &err);
    deny_argument(SYS_fchmod, 0, DENY_ANY, EPERM);
    unit_fails(chain_transaction_begin(transaction, on_done, NULL, &err), &err,
               IMG_UNSUPPORTED,
               "this file system does not keep the modes and owners of files, "
               "as a change of several files needs it");
    chain_transaction_free(transaction, NULL);
    expect_nothing_done();
    end();
}
END_TEST

/* ---- What is taken back. */

START_TEST(test_taken_name_takes_all_back)
{
    open_transaction();
    add_all();
    unit_ok(add(CHAIN_CHANGE_WRITE, "y/taken", "ours"), &err);
    begin_transaction();
    make(chain_transaction_stage(transaction, 0), "staged");
    make("y/taken", "theirs");
    unit_fails(chain_transaction_commit(transaction, &err), &err, IMG_USAGE,
               "exists already: a file of that name appeared meanwhile");
    chain_transaction_free(transaction, &err);
    expect("doomed old ", "patched taken ");
    expect_text("x/old", "old bytes");
    expect_text("y/taken", "theirs");
    expect_text("y/patched", "hello world");
    end();
}
END_TEST

/* The first write is the journal's, the next the patch's. */
START_TEST(test_failed_patch_takes_all_back)
{
    open_transaction();
    add_all();
    begin_transaction();
    make(chain_transaction_stage(transaction, 0), "staged");
    good_writes = 1;
    ck_assert_int_eq(chain_transaction_commit(transaction, &err), -1);
    good_writes = 1000;
    /* Nor could the old bytes be written again. */
    ck_assert_msg(strstr(err.text, "cannot write into it") &&
                      strstr(err.text, "recover there"),
                  "%s", err.text);
    chain_transaction_free(transaction, &err);
    recover("y", "staged finished;written finished;old finished;"
                 "patched finished;doomed removed;");
    expect("old staged ", "patched written ");
    expect_text("y/patched", "HELLO world");
    end();
}
END_TEST

/* ---- Recovery, and records that others put there. */

START_TEST(test_decided_removal_is_finished)
{
    run_to_wide_decision();
    unit_fails(chain_transaction_settle("x", true, NULL, NULL, &err), &err,
               IMG_CHANGED,
               "a transaction was cut short in this folder: recover first");
    recover("y", "doomed removed;doomed removed;");
    expect("", "");
    end();
}
END_TEST

/* Somebody else may rename a file of ours, but not give it its mode. */
START_TEST(test_journal_without_its_mark)
{
    static const char text[] =
        "was not made by a transaction: it lacks the mode that its owner gives "
        "to records";

    run_to_wide_decision();
    const char *name = record("x", CHAIN_RECORD_JOURNAL);
    ck_assert_int_eq(chmod(name, 0600), 0);
    recover_fails("x", IMG_DENIED, name, text);
    recover_fails("y", IMG_DENIED, name, text);
    unit_ok(chain_transaction_settle("x", false, on_done, NULL, &err), &err);
    ck_assert_str_eq(told, "");
    ck_assert_int_eq(access("x/doomed", F_OK), 0);
    end();
}
END_TEST

/* Where nobody else can put a record, nobody else can have files changed. */
START_TEST(test_folder_without_a_record_is_left_alone)
{
    static const char text[] =
        "is missing, or was not made by a transaction: files in its folder are "
        "not changed";

    run_to_wide_decision();
    const char *name = record("y", CHAIN_RECORD_POINTER);
    ck_assert_int_eq(chmod(name, 0644), 0);
    recover_fails("x", IMG_DENIED, name, text);
    ck_assert_int_eq(unlink(name), 0);
    unit_fails(chain_journal_recover("x", &asked, &err), &err, IMG_DENIED,
               text);
    ck_assert_int_eq(access("x/doomed", F_OK), 0);
    ck_assert_int_eq(access("y/doomed", F_OK), 0);
    end();
}
END_TEST

START_TEST(test_another_file_is_not_removed)
{
    run_to_wide_decision();
    ck_assert_int_eq(rename("x/doomed", "x/moved"), 0);
    make("x/doomed", "another");
    recover_is_stuck(
        "x", "x/doomed",
        "is not the file that the journal of the transaction tells of");
    expect_text("x/doomed", "another");
    ck_assert_int_eq(access("y/doomed", F_OK), 0);
    ck_assert_int_eq(rename("x/moved", "x/doomed"), 0);
    recover("x", "doomed removed;doomed removed;");
    expect("", "");
    end();
}
END_TEST

/* Nobody but its owner makes a stage. */
START_TEST(test_stage_of_others)
{
    char stage[CHAIN_RECORD_NAME_LEN], path[256], inside[512];

    begin();
    run_to_files();
    die();
    snprintf(path, sizeof(path), "x/%s", chain_stage_name(journal.id, stage));
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(inside, sizeof(inside), "%s/precious", path);
    make(inside, "stays");
    unit_fails(chain_journal_recover("x", &asked, &err), &err, IMG_DENIED,
               "is named like the folder of a transaction, but is none that "
               "this user made");
    ck_assert_str_eq(strrchr(err.path, '/') + 1, stage);
    ck_assert_int_eq(access(inside, F_OK), 0);
    ck_assert_int_eq(chmod(path, 01700), 0);
    unit_ok(chain_journal_recover("x", &asked, &err), &err);
    ck_assert_int_eq(access(path, F_OK), -1);
    end();
}
END_TEST

UNIT_SUITE("transaction", test_all_kinds, test_what_a_replaced_file_keeps,
           test_group_of_a_replaced_file, test_stage_that_was_exchanged,
           test_records_have_their_mode, test_file_system_without_modes,
           test_mode_of_a_written_file, test_links_of_a_patched_file_stay,
           test_what_is_not_committed_is_gone, test_plan_is_checked,
           test_what_changed_meanwhile_is_left,
           test_patch_is_of_the_bytes_that_were_judged,
           test_staged_file_is_missing, test_taken_name_takes_all_back,
           test_failed_patch_takes_all_back, test_decided_removal_is_finished,
           test_journal_without_its_mark,
           test_folder_without_a_record_is_left_alone,
           test_another_file_is_not_removed, test_stage_of_others)
