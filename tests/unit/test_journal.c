/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of transactions: its text, and the steps of a run.
 */
#include <errno.h>
#include <sys/syscall.h>

#include "journal_fixture.h"

#define ID "transaction-0123456789abcdef"
#define OLD_ID "snapshot-0123456789abcdef"

/* So many more succeed. */
static unsigned good_flushes = 1000;

int fsync(int fd)
{
    if (good_flushes == 0) {
        errno = EIO;
        return -1;
    }
    good_flushes--;
    return (int)syscall(SYS_fsync, fd);
}

/* ---- Text. */

START_TEST(test_text_keeps_every_byte)
{
    struct chain_journal again;

    begin();
    plan();
    memcpy(journal.id, ID, sizeof(ID));
    free(journal.files[0].name);
    journal.files[0].name = strdup("a \n%41\xff\xc3\xa4\"\\");
    journal.files[0].temp = NULL;
    char *text = chain_journal_encode(&journal, false, &err);
    ck_assert_ptr_nonnull(text);
    unit_ok(chain_journal_decode(text, strlen(text), journal.id, false, &again,
                                 &err),
            &err);
    ck_assert_str_eq(again.files[0].name, journal.files[0].name);
    ck_assert_str_eq(again.folders[1].path, dirs[1]);
    ck_assert_uint_eq(again.files[1].folder, 1);
    chain_journal_fini(&again);
    free(text);
    chain_journal_fini(&journal);
    end();
}
END_TEST

START_TEST(test_text_keeps_the_decision)
{
    struct chain_journal again;

    begin();
    plan();
    memcpy(journal.id, ID, sizeof(ID));
    for (size_t i = 0; i < 2; i++) {
        journal.files[i].temp = strdup(i ? TEMP_B : TEMP_A);
        journal.files[i].ino = UINT64_MAX - 7;
        journal.files[i].len = 196616;
    }
    char *text = chain_journal_encode(&journal, true, &err);
    ck_assert_ptr_nonnull(text);
    unit_ok(chain_journal_decode(text, strlen(text), journal.id, true, &again,
                                 &err),
            &err);
    ck_assert_str_eq(again.files[1].temp, TEMP_B);
    ck_assert(again.files[1].ino == UINT64_MAX - 7);
    ck_assert_uint_eq(again.files[0].len, 196616);
    chain_journal_fini(&again);
    free(text);
    chain_journal_fini(&journal);
    end();
}
END_TEST

#define HEAD(decided)                                                          \
    "{\"imgchain-transaction\":2,\"id\":\"" ID "\",\"decided\":" decided ","
#define FOLDER "\"folders\":[{\"path\":\"/x\",\"inode\":1}],"
#define FILE_OF(name, temp)                                                    \
    "\"files\":[{\"folder\":0,\"name\":\"" name "\",\"temporary\":\"" temp     \
    "\",\"change\":\"name\",\"inode\":1,\"length\":1}]}"

START_TEST(test_text_refuses_what_no_run_wrote)
{
    static const char foreign[] =
        "is no record of the transaction that it is named after";
    static const char damaged[] =
        "is a damaged record: a name, folder or number in it cannot be what a "
        "transaction wrote";
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{", "is a damaged record: it is no JSON text"},
        {"", "is a damaged record: it is no JSON text"},
        {"[]", foreign},
        {"{\"imgchain-transaction\":\"2\"}", foreign},
        {"{\"imgchain-transaction\":2,\"id\":\"transaction-0123456789abcdee\"}",
         foreign},
        {HEAD("false") FOLDER FILE_OF("a", TEMP_A), foreign},
        {HEAD("true") "\"folders\":[]," FILE_OF("a", TEMP_A), foreign},
        {HEAD("true") FOLDER "\"files\":[]}", foreign},
        {HEAD("true") FOLDER "\"files\":{\"a\":1}}", foreign},
        {HEAD("true") "\"folders\":[{\"path\":\"x\",\"inode\":1}]," FILE_OF(
             "a", TEMP_A),
         damaged},
        {HEAD("true") "\"folders\":[{\"path\":\"/x\"}]," FILE_OF("a", TEMP_A),
         damaged},
        {HEAD("true") "\"folders\":[7]," FILE_OF("a", TEMP_A), damaged},
        {HEAD("true") FOLDER FILE_OF("../a", TEMP_A), damaged},
        {HEAD("true") FOLDER FILE_OF("..", TEMP_A), damaged},
        {HEAD("true") FOLDER FILE_OF("", ".imgchain-abcdef"), damaged},
        {HEAD("true") FOLDER FILE_OF("a%2Fb", TEMP_A), damaged},
        {HEAD("true") FOLDER FILE_OF("a%00", TEMP_A), damaged},
        {HEAD("true") FOLDER FILE_OF("a%4", TEMP_A), damaged},
        {HEAD("true") FOLDER FILE_OF("a", "passwd"), damaged},
        {HEAD("true") FOLDER FILE_OF("a", TEMP_B), damaged},
        {HEAD("true") FOLDER FILE_OF("a", "/etc/.a.imgchain-abcdef"), damaged},
        {HEAD("true") FOLDER FILE_OF("a", ".a.imgchain-abcde/"), damaged},
        {HEAD("true") FOLDER
         "\"files\":[{\"folder\":1,\"name\":\"a\","
         "\"temporary\":\"" TEMP_A
         "\",\"change\":\"name\",\"inode\":1,\"length\":1}]}",
         damaged},
        {HEAD("true") FOLDER "\"files\":[{\"folder\":0,\"name\":\"a\","
                             "\"temporary\":\"" TEMP_A
                             "\",\"inode\":-1,\"length\":1}]}",
         damaged},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unit_fails(chain_journal_decode(cases[i].text, strlen(cases[i].text),
                                        ID, true, &journal, &err),
                   &err, IMG_CORRUPT, cases[i].why);
    }
    const char *good = HEAD("true") FOLDER FILE_OF("a", TEMP_A);
    unit_ok(chain_journal_decode(good, strlen(good), ID, true, &journal, &err),
            &err);
    chain_journal_fini(&journal);
}
END_TEST

START_TEST(test_text_of_another_version)
{
    static const char text[] = "{\"imgchain-transaction\":3}";

    unit_fails(
        chain_journal_decode(text, strlen(text), ID, false, &journal, &err),
        &err, IMG_UNSUPPORTED,
        "is a record of version 3, expected 2: recover with the program "
        "that wrote it");
}
END_TEST

/* Nothing that a transaction may have makes its journal too long. */
START_TEST(test_longest_text)
{
    static char name[NAME_MAX + 1], path[PATH_MAX];
    struct chain_journal again;

    memset(name, '\xff', NAME_MAX);
    memset(path, '\xff', PATH_MAX - 1);
    path[0] = '/';
    unit_ok(chain_journal_init(&journal, CHAIN_JOURNAL_FOLDERS_MAX,
                               CHAIN_JOURNAL_FILES_MAX, &err),
            &err);
    memcpy(journal.id, ID, sizeof(ID));
    for (size_t i = 0; i < journal.folders_nr; i++) {
        journal.folders[i].path = strdup(path);
        journal.folders[i].ino = UINT64_MAX - 1;
    }
    for (size_t i = 0; i < journal.files_nr; i++) {
        journal.files[i] = (struct chain_journal_file){
            .op = CHAIN_JOURNAL_REPLACE,
            .folder = CHAIN_JOURNAL_FOLDERS_MAX - 1,
            .name = strdup(name),
            .temp = strdup(name),
            .is_staged = true,
            .ino = UINT64_MAX - 1,
            .len = UINT64_MAX - 1,
            .old_ino = UINT64_MAX - 1,
            .old_len = UINT64_MAX - 1,
            .old_mtime_ns = INT64_MAX,
            .old_born_ns = INT64_MAX,
        };
    }
    char *text = chain_journal_encode(&journal, true, &err);
    ck_assert_ptr_nonnull(text);
    unit_ok(chain_journal_decode(text, strlen(text), journal.id, true, &again,
                                 &err),
            &err);
    ck_assert_str_eq(again.files[1023].temp, name);
    ck_assert(again.files[7].old_mtime_ns == INT64_MAX);
    ck_assert(again.files[7].old_born_ns == INT64_MAX);
    chain_journal_fini(&again);
    free(text);
    chain_journal_fini(&journal);
}
END_TEST

START_TEST(test_temporary_names)
{
    char name[256], temp[512];

    ck_assert(chain_journal_is_temp(TEMP_A, "a"));
    ck_assert(!chain_journal_is_temp(TEMP_A, "b"));
    ck_assert(!chain_journal_is_temp(TEMP_A "x", "a"));
    ck_assert(!chain_journal_is_temp(".a.imgchain-abcde", "a"));
    ck_assert(!chain_journal_is_temp(".a.imgchain-ABCDEF", "a"));
    ck_assert(!chain_journal_is_temp("a.imgchain-abcdef", "a"));
    /* Longer than there is room for: cut. */
    memset(name, 'n', 255);
    name[255] = '\0';
    snprintf(temp, sizeof(temp), ".%.238s.imgchain-abcdef", name);
    ck_assert_uint_eq(strlen(temp), 255);
    ck_assert(chain_journal_is_temp(temp, name));
}
END_TEST

START_TEST(test_record_names)
{
    enum chain_record kind;
    char id[CHAIN_JOURNAL_ID_LEN + 1], name[CHAIN_RECORD_NAME_LEN];

    for (int i = CHAIN_RECORD_POINTER; i <= CHAIN_RECORD_DONE; i++) {
        chain_record_name((enum chain_record)i, ID, name);
        ck_assert(chain_record_parse(name, &kind, id));
        ck_assert_int_eq((int)kind, i);
        ck_assert_str_eq(id, ID);
    }
    ck_assert(!chain_record_parse(".imgchain-" ID, &kind, id));
    ck_assert(!chain_record_parse(".imgchain-" ID ".journalx", &kind, id));
    ck_assert(!chain_record_parse(".imgchain-snapshot-0.journal", &kind, id));
    ck_assert(!chain_record_parse("imgchain-" ID ".journal", &kind, id));
}
END_TEST

/* ---- A run. */

START_TEST(test_run_gives_all_names)
{
    bool is_undone, is_kept;

    begin();
    run_to_records();
    expect("POINTER ", "POINTER ");
    make_temp(0, TEMP_A);
    make_temp(1, TEMP_B);
    unit_ok(chain_journal_decide(&journal, &is_kept, &err), &err);
    expect(TEMP_A " JOURNAL POINTER ", TEMP_B " POINTER ");
    unit_ok(chain_journal_finish(&journal, &is_undone, &err), &err);
    expect("a ", "b ");
    chain_journal_fini(&journal);
    end();
}
END_TEST

START_TEST(test_run_is_abandoned)
{
    begin();
    run_to_records();
    chain_journal_abandon(&journal, NULL);
    expect("", "");
    chain_journal_fini(&journal);
    end();
}
END_TEST

/* Who cannot know that the files are gone leaves who knows of them. */
START_TEST(test_records_stay_when_files_may)
{
    char text[IMG_ERROR_TEXT_MAX];

    begin();
    run_to_files();
    ck_assert_int_eq(unlink("x/" TEMP_A), 0);
    ck_assert_int_eq(unlink("y/" TEMP_B), 0);
    img_fail(&err, IMG_CANCELLED, "cancelled");
    good_flushes = 1;
    chain_journal_abandon(&journal, &err);
    snprintf(text, sizeof(text),
             "cancelled; a power loss may bring its files back, its records "
             "are kept in \"%s\", a recovery removes both",
             dirs[0]);
    ck_assert_str_eq(err.text, text);
    ck_assert_int_eq(err.code, IMG_CANCELLED);
    expect("POINTER ", "POINTER ");
    die();
    good_flushes = 1000;
    recover("y", "");
    expect("", "");
    end();
}
END_TEST

START_TEST(test_decision_needs_the_files)
{
    bool is_kept = true;

    begin();
    run_to_files();
    ck_assert_int_eq(rename("y/" TEMP_B, "y/elsewhere"), 0);
    unit_fails(chain_journal_decide(&journal, &is_kept, &err), &err,
               IMG_CHANGED,
               "the new file is not in the folder that it was made in");
    ck_assert_str_eq(err.path, dirs[1]);
    ck_assert(!is_kept);
    expect(TEMP_A " POINTER ", "POINTER elsewhere ");
    chain_journal_fini(&journal);
    end();
}
END_TEST

/*
 * The folders and the journal's text are flushed, then the journal's name is
 * not: who cannot flush that it is gone does not know that it is.
 */
START_TEST(test_decision_that_may_be_stable_is_kept)
{
    bool is_kept = false;
    char text[IMG_ERROR_TEXT_MAX];

    begin();
    run_to_files();
    good_flushes = 3;
    snprintf(text, sizeof(text),
             "cannot flush the folder: Input/output error; a power loss may "
             "bring the journal of the transaction back, its files and records "
             "are kept in \"%s\", recover there",
             dirs[0]);
    unit_fails(chain_journal_decide(&journal, &is_kept, &err), &err, IMG_IO,
               text);
    ck_assert_str_eq(err.path, dirs[0]);
    ck_assert(is_kept);
    expect(TEMP_A " POINTER ", TEMP_B " POINTER ");
    die();
    good_flushes = 1000;
    recover("x", TEMP_A " removed;" TEMP_B " removed;");
    expect("", "");
    end();
}
END_TEST

/* Nothing of a decision can be stable before the journal has its name. */
START_TEST(test_decision_that_was_not_begun_is_not_kept)
{
    for (unsigned good = 0; good < 3; good++) {
        bool is_kept = true;

        begin();
        run_to_files();
        good_flushes = good;
        ck_assert_int_eq(chain_journal_decide(&journal, &is_kept, &err), -1);
        ck_assert_int_eq(err.code, IMG_IO);
        ck_assert(!is_kept);
        good_flushes = 1000;
        expect(TEMP_A " POINTER ", TEMP_B " POINTER ");
        chain_journal_fini(&journal);
        end();
    }
}
END_TEST

START_TEST(test_taken_name_takes_all_back)
{
    bool is_undone = false;

    begin();
    run_to_decision();
    make("y/b", "somebody else's");
    unit_fails(chain_journal_finish(&journal, &is_undone, &err), &err,
               IMG_USAGE,
               "exists already: a file of that name appeared meanwhile");
    ck_assert(is_undone);
    chain_journal_abandon(&journal, NULL);
    expect("", "b ");
    chain_journal_fini(&journal);
    end();
}
END_TEST

/* The name that was given is not ours to take back any more. */
START_TEST(test_unfinished_run_says_how_to_go_on)
{
    bool is_undone = true;
    char text[IMG_ERROR_TEXT_MAX];

    begin();
    run_to_decision();
    /* The first is as if it had been named and replaced. */
    ck_assert_int_eq(rename("x/" TEMP_A, "x/kept"), 0);
    make("x/" TEMP_A, "not the file");
    make("y/b", "somebody else's");
    snprintf(text, sizeof(text),
             "exists already: a file of that name appeared meanwhile; the "
             "transaction is decided, its journal is kept in \"%s\", recover "
             "there",
             dirs[0]);
    unit_fails(chain_journal_finish(&journal, &is_undone, &err), &err,
               IMG_USAGE, text);
    ck_assert(!is_undone);
    expect("JOURNAL POINTER a kept ", TEMP_B " POINTER b ");
    chain_journal_fini(&journal);
    end();
}
END_TEST

UNIT_SUITE("journal", test_text_keeps_every_byte, test_text_keeps_the_decision,
           test_text_refuses_what_no_run_wrote, test_text_of_another_version,
           test_longest_text, test_temporary_names, test_record_names,
           test_run_gives_all_names, test_run_is_abandoned,
           test_records_stay_when_files_may, test_decision_needs_the_files,
           test_decision_that_may_be_stable_is_kept,
           test_decision_that_was_not_begun_is_not_kept,
           test_taken_name_takes_all_back,
           test_unfinished_run_says_how_to_go_on)
