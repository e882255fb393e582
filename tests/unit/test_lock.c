/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's locks: children take them byte by byte as QEMU does, and where
 * qemu-io is installed the real one is on the other side.
 */
#include <errno.h>

#include "deny.h"
#include "holder.h"

static struct scratch scratch;
static struct img_error err;
static const struct img_open_options reader = {.lock = IMG_LOCK_READER};
static const struct img_open_options forced = {.lock = IMG_LOCK_NONE};

static const char *new_image(void)
{
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "x", 1, 0);
    ck_assert_int_eq(truncate(path, 1 << 20), 0);
    return path;
}

static struct img_file *open_reader(const char *path)
{
    struct img_file *file = NULL;

    unit_ok(img_file_open(path, &reader, &file, &err), &err);
    return file;
}

/* AFTER is what the message says behind the process id. */
static void check_locked(const char *path, pid_t pid, const char *after)
{
    struct img_file *file = NULL;
    char text[512];

    snprintf(text, sizeof(text),
             "is in use by process %d (%s; use -U to read it all the same", pid,
             after);
    unit_fails(img_file_open(path, &reader, &file, &err), &err, IMG_LOCKED,
               text);
    ck_assert_ptr_null(file);
    ck_assert_str_eq(err.path, path);
    /* nothing is left behind: no lock, and -U gets in */
    unit_ok(img_file_open(path, &forced, &file, &err), &err);
    img_file_unref(file);
}

START_TEST(test_reader_takes_what_qemu_takes)
{
    static const int none[] = {0};
    const char *path = new_image();
    struct img_file *file = open_reader(path);
    struct img_file *second = open_reader(path);

    check_held_bytes(path, qemu_reader);
    img_file_unref(second);
    check_held_bytes(path, qemu_reader);
    img_file_unref(file);
    check_held_bytes(path, none);
    unit_ok(img_file_open(path, &forced, &file, &err), &err);
    check_held_bytes(path, none);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_readers_share)
{
    const char *path = new_image();
    struct child child = start_qemu(path, qemu_reader);

    img_file_unref(open_reader(path));
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_writer_is_named)
{
    const char *path = new_image();
    struct child child = start_qemu(path, qemu_writer);

    check_locked(path, child.pid,
                 "qemu-system-x86_64, guest \"vm,1\"), which holds the write "
                 "lock");
    stop_child(child);
    img_file_unref(open_reader(path));
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_conflict_releases)
{
    static const int resize[] = {103, 0};
    const char *path = new_image();
    struct child child = start_qemu(path, resize);

    check_locked(path, child.pid,
                 "qemu-system-x86_64, guest \"vm,1\"), which holds the resize "
                 "lock");
    check_held_bytes(path, resize);
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_mirror_target)
{
    static const int no_sharing[] = {200, 0};
    const char *path = new_image();
    struct child child = start_qemu(path, no_sharing);

    check_locked(path, child.pid,
                 "qemu-system-x86_64, guest \"vm,1\"), which does not share "
                 "the consistent read permission");
    stop_child(child);
    child = start_qemu(path, qemu_mirror_target);
    check_locked(path, child.pid,
                 "qemu-system-x86_64, guest \"vm,1\"), which holds the write "
                 "lock");
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_exclusive_lock)
{
    static const int bytes[] = {201, 0};
    const char *path = new_image();
    struct child child =
        start_holder(path, bytes, F_OFD_SETLK, F_WRLCK, "locker", "x");

    check_locked(path, child.pid,
                 "locker), which holds an exclusive write lock");
    check_held_bytes(path, bytes);
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_classic_lock)
{
    static const int bytes[] = {101, 0};
    const char *path = new_image();
    struct child child = start_holder(path, bytes, F_SETLK, F_RDLCK,
                                      "bad\nname\033[1m", "guest=x");

    check_locked(path, child.pid,
                 "bad\\x0aname\\x1b[1m), which holds the write lock");
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_guest_without_key)
{
    const char *path = new_image();
    struct child child = start_holder(path, qemu_writer, F_OFD_SETLK, F_RDLCK,
                                      "qemu-kvm", "plain,process=p");

    check_locked(path, child.pid,
                 "qemu-kvm, guest \"plain\"), which holds the write lock");
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

/* Another file's locks, or other bytes of this one, mean nothing. */
START_TEST(test_unrelated_locks)
{
    static const int others[] = {99, 102, 104, 202, 204, 999, 0};
    const char *path = new_image();
    const char *second = scratch_write(&scratch, "second", "x", 1, 0);
    struct child a = start_qemu(second, qemu_writer);
    struct child b = start_qemu(path, others);

    img_file_unref(open_reader(path));
    stop_child(a);
    stop_child(b);
    scratch_close(&scratch);
}
END_TEST

static void writer_test(struct img_file *file, struct img_lock_holder *holder)
{
    memset(holder, 0xff, sizeof(*holder));
    unit_ok(img_file_writer_test(file, holder, &err), &err);
}

START_TEST(test_writer_test)
{
    const char *path = new_image();
    struct img_lock_holder holder;
    struct img_file *file = open_reader(path);
    struct img_file *second = open_reader(path);
    struct child child;

    writer_test(file, &holder); /* both handles are ours */
    ck_assert(!holder.is_held);
    ck_assert_int_eq(holder.pid, 0);
    ck_assert_str_eq(holder.command, "");

    child = start_qemu(path, qemu_reader);
    writer_test(file, &holder);
    ck_assert(holder.is_held);
    ck_assert_int_eq(holder.pid, child.pid);
    ck_assert_str_eq(holder.what, "write");
    ck_assert_str_eq(holder.command, "qemu-system-x86_64, guest \"vm,1\"");
    check_held_bytes(path, qemu_reader); /* it took nothing */
    stop_child(child);
    writer_test(file, &holder);
    ck_assert(!holder.is_held);
    img_file_unref(second);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_writer_test_of_wrappers)
{
    static const int resize[] = {203, 0};
    struct img_fault fault = {.short_read = 1};
    struct img_lock_holder holder;
    struct img_file *file, *slice, *faulty, *memory;
    const char *path = new_image();
    struct child child;

    unit_ok(img_file_open(path, &forced, &file, &err), &err);
    unit_ok(img_file_slice(file, 512, 512, &slice, &err), &err);
    unit_ok(img_file_with_faults(slice, &fault, &faulty, &err), &err);
    child = start_qemu(path, resize);
    writer_test(faulty, &holder);
    ck_assert(holder.is_held);
    ck_assert_int_eq(holder.pid, child.pid);
    ck_assert_str_eq(holder.what, "resize");
    stop_child(child);
    writer_test(faulty, &holder);
    ck_assert(!holder.is_held);
    unit_ok(img_file_from_memory("m", "x", 1, &memory, &err), &err);
    writer_test(memory, &holder);
    ck_assert(!holder.is_held);
    img_file_unref(memory);
    img_file_unref(faulty);
    img_file_unref(slice);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

/* An inherited descriptor's lock lives in the shared description. */
START_TEST(test_inherited_descriptor)
{
    const char *path = new_image();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct img_file *file = NULL;
    struct child child = start_qemu(path, qemu_writer);
    char text[256];

    snprintf(text, sizeof(text),
             "is in use by process %d (qemu-system-x86_64, guest \"vm,1\"), "
             "which holds the write lock; use -U to read it all the same",
             child.pid);
    unit_fails(img_file_open_fd(fd, "fd", &reader, &file, &err), &err,
               IMG_LOCKED, text);
    stop_child(child);
    unit_ok(img_file_open_fd(fd, "fd", &reader, &file, &err), &err);
    check_held_bytes(path, qemu_reader);
    img_file_unref(file);
    close(fd);
    ck_assert(!is_locked(path, 201));
    scratch_close(&scratch);
}
END_TEST

/* A holder that cannot be seen is "another process". */
START_TEST(test_holder_out_of_sight)
{
    const char *path = new_image();
    struct img_file *file = NULL;
    struct child child;

    if (getuid() != 0) {
        printf("SKIP: only root can change to another user\n");
        scratch_close(&scratch);
        return;
    }
    child = start_qemu(path, qemu_writer);
    ck_assert_int_eq(chmod(scratch.dir, 0755), 0);
    ck_assert_int_eq(seteuid(65534), 0);
    unit_fails(img_file_open(path, &reader, &file, &err), &err, IMG_LOCKED,
               "is in use by another process, which holds the write lock; "
               "use -U to read it all the same");
    ck_assert_int_eq(seteuid(0), 0);
    stop_child(child);
    scratch_close(&scratch);
}
END_TEST

static int run_qemu_io(const char *options, const char *path,
                       const char *command, char *output, size_t size)
{
    char line[1024];
    FILE *pipe_file;
    size_t n;

    snprintf(line, sizeof(line), "qemu-io -f raw %s -c '%s' '%s' 2>&1", options,
             command, path);
    pipe_file = popen(line, "r");
    ck_assert_ptr_nonnull(pipe_file);
    n = fread(output, 1, size - 1, pipe_file);
    output[n] = '\0';
    return pclose(pipe_file);
}

static void check_qemu_reads(const char *path, const char *format,
                             bool shares_writing)
{
    struct child child = start_qemu_io(path, format, "-r");
    struct img_file *file = open_reader(path);
    struct img_lock_holder holder;

    writer_test(file, &holder);
    ck_assert_int_eq(holder.is_held, !shares_writing);
    if (holder.is_held) {
        ck_assert_int_eq(holder.pid, child.pid);
        ck_assert_str_eq(holder.command, "qemu-io");
        ck_assert_str_eq(holder.what, "write");
    }
    img_file_unref(file);
    stop_child(child);
}

START_TEST(test_real_qemu)
{
    const char *path = new_image();
    struct child child;
    char command[512];

    if (have_qemu_io()) {
        child = start_qemu_io(path, "raw", "-twriteback");
        check_locked(path, child.pid, "qemu-io), which holds the write lock");
        stop_child(child);
        check_qemu_reads(path, "raw", true);
        snprintf(command, sizeof(command),
                 "qemu-img create -q -f qcow2 '%s' 1M", path);
        ck_assert_int_eq(system(command), 0);
        check_qemu_reads(path, "qcow2", false);
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_real_qemu_respects_reader)
{
    const char *path = new_image();
    struct img_file *file = open_reader(path);
    char output[4096];

    if (have_qemu_io()) {
        ck_assert_int_ne(
            run_qemu_io("", path, "write 0 512", output, sizeof(output)), 0);
        ck_assert_msg(strstr(output, "Failed to get \"write\" lock"), "%s",
                      output);
        ck_assert_int_eq(
            run_qemu_io("-r", path, "read 0 512", output, sizeof(output)), 0);
        img_file_unref(file);
        file = NULL;
        ck_assert_int_eq(
            run_qemu_io("", path, "write 0 512", output, sizeof(output)), 0);
    }
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_file_system_without_locks)
{
    static const char text[] =
        "the file system lets no image be locked (No locks available), so "
        "that other users of the file stay unseen; use -U to read it all "
        "the same";
    const char *path = new_image();
    struct img_lock_holder holder;
    struct img_file *file = NULL;

    deny_call(SYS_fcntl, F_OFD_SETLK, ENOLCK);
    unit_fails(img_file_open(path, &reader, &file, &err), &err, IMG_SYSTEM,
               text);
    ck_assert_str_eq(err.path, path);
    unit_ok(img_file_open(path, &forced, &file, &err), &err);
    deny_call(SYS_fcntl, F_OFD_GETLK, EINVAL);
    unit_fails(img_file_writer_test(file, &holder, &err), &err, IMG_SYSTEM,
               "cannot ask who has it locked: Invalid argument");
    ck_assert_str_eq(err.path, path);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("lock", test_file_system_without_locks,
           test_reader_takes_what_qemu_takes, test_readers_share,
           test_writer_is_named, test_conflict_releases, test_mirror_target,
           test_exclusive_lock, test_classic_lock, test_guest_without_key,
           test_unrelated_locks, test_writer_test, test_writer_test_of_wrappers,
           test_inherited_descriptor, test_holder_out_of_sight, test_real_qemu,
           test_real_qemu_respects_reader)
