/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's locks of a writer, against children and the real qemu-io. */
#include <errno.h>

#include <img/write.h>

#include "deny.h"
#include "holder.h"

static struct scratch scratch;
static struct img_error err;
static const struct img_open_options reader = {.lock = IMG_LOCK_READER};
static const struct img_open_options forced = {.writable = true};
static const struct img_open_options writer = {.writable = true,
                                               .lock = IMG_LOCK_WRITER};
static const int none[] = {0};

static const char *new_image(void)
{
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "x", 1, 0);
    ck_assert_int_eq(truncate(path, 1 << 20), 0);
    return path;
}

static struct img_file *open_as(const char *path,
                                const struct img_open_options *options)
{
    struct img_file *file = NULL;

    unit_ok(img_file_open(path, options, &file, &err), &err);
    return file;
}

/* AFTER is what the message says behind the process id. */
static void check_locked(const char *path, pid_t pid, const char *after)
{
    struct img_file *file = NULL;
    char text[512];

    snprintf(text, sizeof(text), "is in use by process %d (%s", pid, after);
    unit_fails(img_file_open(path, &writer, &file, &err), &err, IMG_LOCKED,
               text);
    ck_assert_ptr_null(file);
    ck_assert_str_eq(err.path, path);
}

START_TEST(test_takes_what_qemu_takes)
{
    const char *path = new_image();
    struct img_file *file = open_as(path, &writer);

    check_held_bytes(path, qemu_writer);
    unit_ok(img_file_lock_reader(file, &err), &err); /* nothing to add */
    unit_ok(img_file_lock_writer(file, &err), &err);
    check_held_bytes(path, qemu_writer);
    img_file_unref(file);
    check_held_bytes(path, none);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_conflicts)
{
    static const struct {
        int byte;
        const char *after;
    } cases[] = {
        {101, "which holds the write lock"},
        {103, "which holds the resize lock"},
        {200, "which does not share the consistent read permission"},
        {201, "which does not share the write permission"},
        {203, "which does not share the resize permission"},
    };
    const char *path = new_image();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int bytes[] = {cases[i].byte, 0};
        struct child child = start_qemu(path, bytes);
        char after[256];
        snprintf(after, sizeof(after),
                 "qemu-system-x86_64, guest \"vm,1\"), %s", cases[i].after);
        check_locked(path, child.pid, after);
        check_held_bytes(path, bytes); /* nothing is left behind */
        stop_child(child);
    }
    img_file_unref(open_as(path, &writer));
    scratch_close(&scratch);
}
END_TEST

/* Bytes that a writer does not mind. */
START_TEST(test_no_conflict)
{
    static const int others[] = {100, 102, 104, 202, 204, 0};
    const char *path = new_image();
    struct child child = start_qemu(path, others);

    img_file_unref(open_as(path, &writer));
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_keeps_others_out)
{
    const char *path = new_image();
    struct img_file *file = open_as(path, &writer);
    struct img_file *second = NULL;
    char text[512];

    snprintf(text, sizeof(text), "is in use by process %d (", getpid());
    ck_assert_int_eq(img_file_open(path, &writer, &second, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_LOCKED);
    ck_assert_int_eq(strncmp(err.text, text, strlen(text)), 0);
    ck_assert_int_eq(img_file_open(path, &reader, &second, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_LOCKED);
    ck_assert_int_eq(strncmp(err.text, text, strlen(text)), 0);
    check_held_bytes(path, qemu_writer);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_upgrade)
{
    static const int other[] = {203, 0};
    const char *path = new_image();
    struct img_open_options options = {.writable = true,
                                       .lock = IMG_LOCK_READER};
    struct img_file *file = open_as(path, &options);
    struct img_file *slice;
    struct child child = start_qemu(path, other);
    char text[256];

    unit_ok(img_file_slice(file, 512, 512, &slice, &err), &err);
    snprintf(text, sizeof(text),
             "is in use by process %d (qemu-system-x86_64, guest \"vm,1\"), "
             "which does not share the resize permission",
             child.pid);
    unit_fails(img_file_lock_writer(slice, &err), &err, IMG_LOCKED, text);
    ck_assert_str_eq(err.path, path);
    check_held_bytes(path, qemu_reader);
    stop_child(child);
    unit_ok(img_file_lock_writer(slice, &err), &err);
    check_held_bytes(path, qemu_writer);
    img_file_unref(slice);
    img_file_unref(file);

    file = open_as(path, &forced);
    check_held_bytes(path, none);
    child = start_qemu(path, qemu_reader);
    ck_assert_int_eq(img_file_lock_writer(file, &err), -1);
    check_held_bytes(path, qemu_reader); /* the child's */
    stop_child(child);
    check_held_bytes(path, none);
    unit_ok(img_file_lock_writer(file, &err), &err);
    check_held_bytes(path, qemu_writer);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_exclusive)
{
    static const int bytes[] = {103, 0};
    const char *path = new_image();
    struct child child =
        start_holder(path, bytes, F_OFD_SETLK, F_WRLCK, "locker", "x");

    check_locked(path, child.pid,
                 "locker), which holds an exclusive resize lock");
    check_held_bytes(path, bytes);
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_without_descriptor)
{
    struct img_file *memory;

    unit_ok(img_file_from_memory("m", "x", 1, &memory, &err), &err);
    unit_ok(img_file_lock_writer(memory, &err), &err);
    img_file_unref(memory);
}
END_TEST

START_TEST(test_file_system_without_locks)
{
    const char *path = new_image();
    struct img_file *file = NULL;

    deny_call(SYS_fcntl, F_OFD_SETLK, ENOLCK);
    unit_fails(img_file_open(path, &writer, &file, &err), &err, IMG_SYSTEM,
               "the file system lets no image be locked (No locks available), "
               "so that other users of the file stay unseen");
    ck_assert_str_eq(err.path, path);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_real_qemu)
{
    const char *path = new_image();
    struct child child;
    struct img_file *file;
    char command[512];

    if (have_qemu_io()) {
        child = start_qemu_io(path, "raw", "-twriteback");
        check_locked(path, child.pid, "qemu-io), which holds the write lock");
        stop_child(child);
        snprintf(command, sizeof(command),
                 "qemu-img create -q -f qcow2 '%s' 1M", path);
        ck_assert_int_eq(system(command), 0);
        child = start_qemu_io(path, "qcow2", "-r");
        check_locked(path, child.pid,
                     "qemu-io), which does not share the write permission");
        stop_child(child);
        file = open_as(path, &writer);
        snprintf(command, sizeof(command),
                 "qemu-io -r -c 'read 0 512' '%s' 2>&1 | grep -q "
                 "'Failed to get shared \"write\" lock'",
                 path);
        ck_assert_int_eq(system(command), 0);
        img_file_unref(file);
    }
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("writer locks", test_file_system_without_locks,
           test_takes_what_qemu_takes, test_conflicts, test_no_conflict,
           test_keeps_others_out, test_upgrade, test_exclusive,
           test_without_descriptor, test_real_qemu)
