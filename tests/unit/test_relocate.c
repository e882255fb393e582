/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Relocating a chain: names, what is refused and in which words, what is taken
 * for a copy. That copies are right is also shown with a running QEMU.
 */
#include "relocate_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include <chain/transaction.h>
#include <img/image.h>
#include <img/roots.h>

static void check_file(size_t idx, const char *to, const char *backing_name)
{
    const struct chain_relocated *file = &result.files[idx];

    ck_assert_str_eq(file->to, to);
    if (backing_name) {
        ck_assert_str_eq(file->backing_name, backing_name);
        ck_assert_str_eq(file->backing_format, file[1].format);
    } else {
        ck_assert_ptr_null(file->backing_name);
    }
}

static void check_states(enum chain_relocated_state state)
{
    for (size_t i = 0; i < result.nr; i++) {
        ck_assert_int_eq((int)result.files[i].state, (int)state);
    }
}

/* ---- Names. */

START_TEST(test_names)
{
    begin();
    make_chain();
    request.dry_run = true;
    unit_ok(relocate(), &err);
    ck_assert_uint_eq(result.nr, 3);
    check_file(0, "new/top", "mid");
    check_file(1, "new/mid", "base");
    check_file(2, "new/base", NULL);
    check_states(CHAIN_RELOCATED_NOT_YET);
    ck_assert_uint_eq(names_nr("new"), 0);
    end();
}
END_TEST

/* Of one name the higher layer keeps it; a number goes before the suffix. */
START_TEST(test_names_taken)
{
    begin();
    make("two/x-1.q", "D", NULL, NULL);
    make("one/x.q", "D", "../two/x-1.q", "qcow2");
    make("two/x.q", "D", "../one/x.q", "qcow2");
    make("one/.h", "D", "../two/x.q", "qcow2");
    request.source = "one/.h";
    request.taken = ".h";
    request.dry_run = true;
    unit_ok(relocate(), &err);
    check_file(0, "new/.h-1", "x.q");
    check_file(1, "new/x.q", "x-1.q");
    check_file(2, "new/x-1.q", "x-1-1.q");
    check_file(3, "new/x-1-1.q", NULL);
    end();
}
END_TEST

/* What could be read as a protocol; and absolute names. */
START_TEST(test_names_recorded)
{
    char want[400];

    begin();
    make("two/nbd:x", "D", NULL, NULL);
    make("one/top", "D", "../two/nbd:x", "qcow2");
    unit_ok(relocate(), &err);
    check_file(0, "new/top", "./nbd:x");
    check_states(CHAIN_RELOCATED_COPIED);
    ck_assert_int_eq(unlink("new/top") | unlink("new/nbd:x"), 0);
    request.style = CHAIN_MAKE_ABSOLUTE;
    request.folder = "one/../new/";
    unit_ok(relocate(), &err);
    snprintf(want, sizeof(want), "%s/new/nbd:x", scratch.dir);
    check_file(0, "one/../new/top", want);
    unit_ok(relocate(), &err);
    check_states(CHAIN_RELOCATED_FOUND);
    end();
}
END_TEST

/* ---- Copies. */

/* As it was before it was proved: what is written to a copy afterwards keeps
   it from being removed. */
START_TEST(test_found_as_proved)
{
    struct chain_relocation *relocation;
    struct chain_transaction *transaction;
    struct chain_change change = {.kind = CHAIN_CHANGE_REMOVE,
                                  .path = "new/base"};

    begin();
    make_chain();
    unit_ok(relocate(), &err);
    chain_relocate_result_fini(&result);
    unit_ok(chain_relocation_new(&request, &result, &relocation, &err), &err);
    unit_ok(chain_relocation_look(relocation, &err), &err);
    check_states(CHAIN_RELOCATED_FOUND);
    const struct chain_relocated_found *found = &result.files[2].found;
    change.dev = found->dev;
    change.ino = found->ino;
    change.old_len = found->len;
    change.mtime_ns = found->mtime_ns;
    unit_ok(chain_transaction_new(&transaction, &err), &err);
    unit_ok(chain_transaction_add(transaction, &change, NULL, &err), &err);
    chain_transaction_free(transaction, NULL);
    unit_ok(chain_transaction_new(&transaction, &err), &err);
    struct timespec later[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    ck_assert_int_eq(utimensat(AT_FDCWD, "new/base", later, 0), 0);
    unit_fails(chain_transaction_add(transaction, &change, NULL, &err), &err,
               IMG_CHANGED, "was changed, or replaced, meanwhile");
    chain_transaction_free(transaction, NULL);
    chain_relocation_free(relocation);
    end();
}
END_TEST

static void check_bytes(const char *name, const char *source)
{
    uint8_t a[16384], b[16384];
    FILE *files[2] = {fopen(name, "rb"), fopen(source, "rb")};

    ck_assert(files[0] && files[1]);
    size_t len = fread(a, 1, sizeof(a), files[0]);
    ck_assert_uint_eq(fread(b, 1, sizeof(b), files[1]), len);
    ck_assert_int_eq(memcmp(a, b, len), 0);
    fclose(files[0]);
    fclose(files[1]);
}

START_TEST(test_copied_then_found)
{
    struct stat before, after;

    begin();
    make_chain();
    unit_ok(relocate(), &err);
    check_states(CHAIN_RELOCATED_COPIED);
    /* Where the name stays what it was, so does every byte. */
    check_bytes("new/base", "two/base");
    check_bytes("new/mid", "two/mid");
    unit_ok(chain_relocate_check_whole("new/top", "qcow2", "new", NULL, &err),
            &err);
    ck_assert_int_eq(stat("new/top", &before), 0);
    unit_ok(relocate(), &err);
    check_states(CHAIN_RELOCATED_FOUND);
    ck_assert_uint_eq(result.needed_len, 0);
    ck_assert_int_eq(stat("new/top", &after), 0);
    ck_assert(before.st_ino == after.st_ino);
    ck_assert(before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
    /* One that is missing is made; those over it are found. */
    ck_assert_int_eq(unlink("new/mid"), 0);
    unit_ok(relocate(), &err);
    ck_assert_int_eq((int)result.files[1].state, CHAIN_RELOCATED_COPIED);
    ck_assert_int_eq((int)result.files[2].state, CHAIN_RELOCATED_FOUND);
    end();
}
END_TEST

/* A dry run proves what is there, and does not call anything else found. */
START_TEST(test_dry_run_proves)
{
    begin();
    make_chain();
    unit_ok(relocate(), &err);
    request.dry_run = true;
    unit_ok(relocate(), &err);
    check_states(CHAIN_RELOCATED_FOUND);
    scratch_write(&scratch, "new/mid", "?", 1, 6 * 512 + 100);
    unit_fails(
        relocate(), &err, IMG_USAGE,
        "is no copy of \"one/../two/mid\": found other bytes from offset "
        "3172, expected the same");
    ck_assert_str_eq(err.path, "new/mid");
    end();
}
END_TEST

START_TEST(test_no_copy)
{
    begin();
    make_chain();
    scratch_write(&scratch, "new/base", "short", 5, 0);
    unit_fails(relocate(), &err, IMG_USAGE,
               "is no copy of \"one/../two/base\": found 5 bytes, expected "
               "1300");
    ck_assert_int_eq(unlink("new/base"), 0);
    make("new/top", "D..a", "other", "qcow2");
    unit_fails(relocate(), &err, IMG_USAGE,
               "is no copy of \"one/top\": found the backing name \"other\", "
               "expected \"mid\"");
    make("new/top", "D..a", NULL, NULL);
    unit_fails(relocate(), &err, IMG_USAGE,
               "is no copy of \"one/top\": found the backing name \"none\", "
               "expected \"mid\"");
    make("new/top", "D..a.", "mid", "qcow2");
    unit_fails(relocate(), &err, IMG_USAGE,
               "is no copy of \"one/top\": found a virtual size of 2560, "
               "expected 2048");
    make("new/top", "D..a", "mid", "raw");
    unit_fails(relocate(), &err, IMG_USAGE,
               "is no copy of \"one/top\": found another header, expected that "
               "of the layer with its new backing name");
    /* What was found wrong kept everything else from being made. */
    ck_assert_uint_eq(names_nr("new"), 1);
    end();
}
END_TEST

START_TEST(test_names_of_the_source)
{
    begin();
    make_chain();
    ck_assert_int_eq(link("two/mid", "new/mid"), 0);
    unit_fails(relocate(), &err, IMG_USAGE,
               "is there already: found another name of a file of the source, "
               "expected the copy of \"one/../two/mid\" or no file");
    ck_assert_int_eq(unlink("new/mid"), 0);
    ck_assert_int_eq(symlink("nowhere", "new/mid"), 0);
    unit_fails(relocate(), &err, IMG_USAGE,
               "is there already: found a symbolic link, expected the copy of "
               "\"one/../two/mid\" or no file");
    end();
}
END_TEST

/* ---- What is refused. */

START_TEST(test_layers)
{
    begin();
    make("two/base", "D", NULL, NULL);
    make("one/top", "D",
         "json:{\"driver\":\"raw\",\"offset\":512,\"size\":512,\"file\":{"
         "\"driver\":\"file\",\"filename\":\"two/base\"}}",
         NULL);
    unit_fails(relocate(), &err, IMG_UNSUPPORTED,
               "it is named by a json: that says more than a path: no plain "
               "name can be recorded for its copy");
    tiny_qcow2_write(
        "one/top", &(struct tiny_qcow2){.clusters = "D", .data_file = "data"});
    scratch_write(&scratch, "one/data", "0123456789", 10, 502);
    unit_fails(relocate(), &err, IMG_UNSUPPORTED,
               "its contents lie in an external data file, which is not copied "
               "along");
    ck_assert_str_eq(err.path, "one/top");
    end();
}
END_TEST

START_TEST(test_folders)
{
    struct img_roots *roots = NULL;

    begin();
    make_chain();
    request.folder = "two/.";
    unit_fails(relocate(), &err, IMG_USAGE,
               "lies in the folder already that the files are to go to: "
               "expected another folder");
    ck_assert_str_eq(err.path, "one/../two/mid");
    request.folder = "one/top";
    unit_fails(relocate(), &err, IMG_USAGE, "is no folder, expected one");
    request.folder = "nowhere";
    ck_assert_int_eq(relocate(), -1);
    ck_assert_int_eq((int)err.code, IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, "nowhere");
    unit_ok(img_roots_new(&roots, &err), &err);
    unit_ok(img_roots_add(roots, "one", &err), &err);
    unit_ok(img_roots_add(roots, "two", &err), &err);
    request.folder = "new";
    request.roots = roots;
    ck_assert_int_eq(relocate(), -1);
    ck_assert_int_eq((int)err.code, IMG_DENIED);
    img_roots_free(roots);
    end();
}
END_TEST

START_TEST(test_space)
{
    begin();
    make_chain();
    request.more_len = (uint64_t)INT64_MAX / 2;
    ck_assert_int_eq(relocate(), -1);
    ck_assert_int_eq((int)err.code, IMG_SYSTEM);
    ck_assert_int_eq(err.sys_errno, ENOSPC);
    ck_assert_msg(
        strncmp(err.text, "there is not enough space for all files: ", 41) == 0,
        "%s", err.text);
    ck_assert_str_eq(err.path, "new");
    ck_assert_uint_eq(names_nr("new"), 0);
    end();
}
END_TEST

/* The number of files that are done when it is time to stop. */
static volatile int cancel;

static void stop_after_first(void *opaque, const struct chain_relocated *file)
{
    (void)opaque;
    (void)file;
    cancel = 1;
}

START_TEST(test_cancelled)
{
    begin();
    make_chain();
    cancel = 0;
    request.cancel = &cancel;
    request.done = stop_after_first;
    unit_fails(relocate(), &err, IMG_CANCELLED, "cancelled");
    ck_assert_uint_eq(names_nr("new"), 1);
    ck_assert_int_eq((int)result.files[2].state, CHAIN_RELOCATED_COPIED);
    ck_assert_int_eq((int)result.files[1].state, CHAIN_RELOCATED_NOT_YET);
    end();
}
END_TEST

/* ---- A folder of its own. */

START_TEST(test_whole)
{
    begin();
    make_chain();
    make("new/top", "D", "../two/mid", "qcow2");
    unit_fails(
        chain_relocate_check_whole("new/top", "qcow2", "new", NULL, &err), &err,
        IMG_USAGE,
        "lies in another folder: expected a file in the folder itself");
    ck_assert_str_eq(err.path, "new/../two/mid");
    make("new/top", "D", "link", "qcow2");
    make("new/base", "D", NULL, NULL);
    ck_assert_int_eq(symlink("base", "new/link"), 0);
    unit_fails(
        chain_relocate_check_whole("new/top", "qcow2", "new", NULL, &err), &err,
        IMG_USAGE, "is a symbolic link: expected a file in the folder itself");
    make("new/top", "D", "./base", "qcow2");
    unit_ok(chain_relocate_check_whole("new/top", "qcow2", "new", NULL, &err),
            &err);
    end();
}
END_TEST

/* ---- Several chains. */

/* two/mid and its base are below both. */
static void make_forest(void)
{
    static const struct chain_relocate_source more[] = {
        {"two/branch", "qcow2"}, {"two/mid", "qcow2"}, {"two/memory", "raw"}};

    make_chain();
    make("two/branch", "a.D.", "mid", "qcow2");
    scratch_write(&scratch, "two/memory", "0123456789", 10, 0);
    request.more = more;
    request.more_nr = 3;
}

START_TEST(test_each_file_once)
{
    begin();
    make_forest();
    unit_ok(relocate(), &err);
    ck_assert_uint_eq(result.nr, 5);
    check_file(0, "new/top", "mid");
    check_file(1, "new/mid", "base");
    ck_assert_str_eq(result.files[3].to, "new/branch");
    ck_assert_str_eq(result.files[3].backing_name, "mid");
    ck_assert_uint_eq(result.files[3].backing, 1);
    ck_assert_str_eq(result.files[4].to, "new/memory");
    ck_assert(result.files[1].is_top && !result.files[2].is_top);
    check_states(CHAIN_RELOCATED_COPIED);
    ck_assert_uint_eq(names_nr("new"), 5);
    unit_ok(
        chain_relocate_check_whole("new/branch", "qcow2", "new", NULL, &err),
        &err);
    unit_ok(relocate(), &err);
    check_states(CHAIN_RELOCATED_FOUND);
    request.is_new = true;
    unit_fails(relocate(), &err, IMG_USAGE, "exists already");
    end();
}
END_TEST

START_TEST(test_one_format_for_a_file)
{
    static const struct chain_relocate_source more[] = {{"two/mid", "raw"}};

    begin();
    make_chain();
    request.more = more;
    request.more_nr = 1;
    unit_fails(relocate(), &err, IMG_USAGE,
               "is read as qcow2 here and as raw there: expected one format");
    ck_assert_str_eq(err.path, "two/mid");
    ck_assert_uint_eq(names_nr("new"), 0);
    end();
}
END_TEST

START_TEST(test_made_elsewhere_with_another_beginning)
{
    static const char *const made[] = {"stage/top", "stage/mid", "stage/base",
                                       "stage/branch", "stage/memory"};
    struct chain_relocation *relocation;
    char text[11] = "";

    begin();
    make_forest();
    ck_assert_int_eq(mkdir("stage", 0700), 0);
    unit_ok(chain_relocation_new(&request, &result, &relocation, &err), &err);
    result.files[4].head = "abc";
    result.files[4].head_len = 3;
    unit_ok(chain_relocation_look(relocation, &err), &err);
    unit_ok(chain_relocation_run(relocation, made, &err), &err);
    chain_relocation_free(relocation);
    ck_assert_uint_eq(names_nr("new"), 0);
    ck_assert_uint_eq(names_nr("stage"), 5);
    FILE *file = fopen("stage/memory", "re");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(text, 1, 10, file), 10);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_str_eq(text, "abc3456789");
    end();
}
END_TEST

START_TEST(test_who_is_to_be_alone_is_told_who_is_there)
{
    const struct img_open_options options = {.lock = IMG_LOCK_READER};
    struct img_file *file;
    int ready[2];
    char byte = 0, text[256];

    begin();
    make_chain();
    request.exclusive = true;
    request.dry_run = true;
    unit_ok(relocate(), &err);
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        byte = img_file_open("two/mid", &options, &file, &err) == 0;
        (void)!write(ready[1], &byte, 1);
        pause();
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    snprintf(text, sizeof(text), "is in use by process %d (", (int)pid);
    ck_assert_int_eq(relocate(), -1);
    ck_assert_msg(strncmp(err.text, text, strlen(text)) == 0, "%s", err.text);
    ck_assert_int_eq((int)err.code, (int)IMG_LOCKED);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    end();
}
END_TEST

UNIT_SUITE("relocate", test_names, test_names_taken, test_names_recorded,
           test_found_as_proved, test_copied_then_found, test_dry_run_proves,
           test_no_copy, test_names_of_the_source, test_layers, test_folders,
           test_space, test_cancelled, test_whole, test_each_file_once,
           test_one_format_for_a_file,
           test_made_elsewhere_with_another_beginning,
           test_who_is_to_be_alone_is_told_who_is_there)
