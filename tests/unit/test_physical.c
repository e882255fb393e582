/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Physical extents: on whatever the temporary folder is, and on file systems
 * made for the purpose, where this may be done (a mount name space of the
 * test's own, so that nothing stays mounted).
 */
#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <linux/fs.h>

#include <img/memory.h>

#include "scratch.h"

#define EXTENTS_MAX 64u
#define MIB (1u << 20)

static struct scratch scratch;
static struct img_error err;

struct answer {
    struct img_physical extents[EXTENTS_MAX];
    size_t nr;
    bool supported;
};

static void ask(struct img_file *file, uint64_t off, uint64_t len, size_t nr,
                struct answer *answer)
{
    memset(answer, 0xff, sizeof(*answer));
    unit_ok(img_file_physical(file, off, len, answer->extents, nr, &answer->nr,
                              &answer->supported, &err),
            &err);
    ck_assert_uint_le(answer->nr, nr);
    for (size_t i = 1; i < answer->nr; i++) {
        ck_assert_uint_ge(answer->extents[i].off,
                          answer->extents[i - 1].off +
                              answer->extents[i - 1].len);
    }
}

/* [0, 1M) data, [1M, 2M) hole, [2M, 3M) data, [3M, 4M) preallocated */
static const char *write_layout(const char *name)
{
    IMG_AUTO(img_free_ptr) uint8_t *bytes = malloc(MIB);
    const char *path;
    int fd;

    scratch_fill(bytes, MIB, 9);
    scratch_write(&scratch, name, bytes, MIB, 0);
    path = scratch_write(&scratch, name, bytes, MIB, 2 * MIB);
    fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    if (fallocate(fd, 0, 3 * MIB, MIB) && errno != EOPNOTSUPP) {
        ck_abort_msg("fallocate: %s", strerror(errno));
    }
    close(fd);
    return path;
}

/* How much of [OFF, OFF + LEN) extents with TRUSTED or not cover. */
static uint64_t covered(const struct answer *answer, bool trusted, uint64_t off,
                        uint64_t len)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < answer->nr; i++) {
        const struct img_physical *extent = &answer->extents[i];
        uint64_t start = extent->off > off ? extent->off : off;
        uint64_t end = extent->off + extent->len;
        end = end < off + len ? end : off + len;
        if (extent->is_trusted == trusted && start < end) {
            sum += end - start;
        }
    }
    return sum;
}

/* What a file system that tells everything says about the layout. */
static void check_layout(struct img_file *file)
{
    struct answer answer, part;

    ask(file, 0, 8 * MIB, EXTENTS_MAX, &answer);
    ck_assert(answer.supported);
    ck_assert_uint_eq(covered(&answer, true, 0, MIB), MIB);
    ck_assert_uint_eq(covered(&answer, true, 2 * MIB, MIB), MIB);
    ck_assert_uint_eq(covered(&answer, true, MIB, MIB), 0);
    ck_assert_uint_eq(covered(&answer, false, 0, 3 * MIB), 0);
    ck_assert_uint_eq(covered(&answer, true, 3 * MIB, MIB), 0);
    ck_assert_uint_eq(covered(&answer, false, 3 * MIB, MIB), MIB);

    ask(file, MIB, MIB, EXTENTS_MAX, &part); /* the hole */
    ck_assert(part.supported);
    ck_assert_uint_eq(part.nr, 0);
    ask(file, 0, 8 * MIB, 1, &part); /* one at a time */
    ck_assert_uint_eq(part.nr, 1);
    ck_assert_uint_eq(part.extents[0].off, 0);
    ck_assert_uint_eq(part.extents[0].physical_off,
                      answer.extents[0].physical_off);
    ask(file, 4096, 1, EXTENTS_MAX, &part); /* may begin before */
    ck_assert_uint_eq(part.nr, 1);
    ck_assert_uint_eq(part.extents[0].physical_off - part.extents[0].off,
                      answer.extents[0].physical_off);
    ask(file, UINT64_MAX - 5, 5, EXTENTS_MAX, &part);
    ck_assert_uint_eq(part.nr, 0);
}

static void check_slice(struct img_file *file)
{
    struct answer whole, part;
    struct img_file *slice;

    ask(file, 0, MIB, EXTENTS_MAX, &whole);
    unit_ok(img_file_slice(file, 8192, 2 * MIB, &slice, &err), &err);
    ask(slice, 0, 8 * MIB, EXTENTS_MAX, &part);
    ck_assert(part.supported);
    ck_assert_uint_eq(part.extents[0].off, 0);
    ck_assert_uint_eq(part.extents[0].physical_off,
                      whole.extents[0].physical_off + 8192);
    ck_assert_uint_eq(covered(&part, true, 0, MIB - 8192), MIB - 8192);
    ck_assert_uint_eq(covered(&part, true, 2 * MIB - 8192, 8192), 8192);
    ck_assert_uint_eq(covered(&part, true, 2 * MIB, 8 * MIB), 0);
    img_file_unref(slice);
}

START_TEST(test_temporary_folder)
{
    struct img_file *file;
    struct answer answer;

    scratch_open(&scratch);
    file = scratch_open_file(write_layout("layout"));
    ask(file, 0, 8 * MIB, EXTENTS_MAX, &answer);
    if (!answer.supported) {
        printf("SKIP: the file system of %s has no FIEMAP\n", scratch.dir);
        ck_assert_uint_eq(answer.nr, 0);
    } else if (answer.nr > 0 && !answer.extents[0].is_trusted) {
        printf("SKIP: the file system of %s is not trusted\n", scratch.dir);
    } else {
        check_layout(file);
        check_slice(file);
    }
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_unsupported)
{
    struct img_fault fault = {.short_read = 1};
    struct answer answer;
    struct img_file *memory, *faulty, *proc;

    unit_ok(img_file_from_memory("m", "abc", 3, &memory, &err), &err);
    ask(memory, 0, 3, EXTENTS_MAX, &answer);
    ck_assert(!answer.supported);
    ck_assert_uint_eq(answer.nr, 0);
    unit_ok(img_file_with_faults(memory, &fault, &faulty, &err), &err);
    ask(faulty, 0, 3, EXTENTS_MAX, &answer);
    ck_assert(!answer.supported);
    img_file_unref(faulty);
    img_file_unref(memory);
    proc = scratch_open_file("/proc/self/status");
    ask(proc, 0, 100, EXTENTS_MAX, &answer);
    ck_assert(!answer.supported);
    img_file_unref(proc);
}
END_TEST

static bool run(const char *fmt, const char *a, const char *b)
{
    char command[1024];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(command, sizeof(command), fmt, a, b);
#pragma GCC diagnostic pop
    return system(command) == 0;
}

/*
 * A fresh file system on DIR/mnt, which from now on is the scratch folder.
 * False with a SKIP line where that cannot be done.
 */
static bool mount_fresh(const char *make, const char *options)
{
    const char *disk, *mnt;
    char mount_command[256];

    if (geteuid() != 0 || unshare(CLONE_NEWNS) ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
        printf("SKIP: no mount name space of our own\n");
        return false;
    }
    disk = scratch_write(&scratch, "disk", "", 0, 0);
    mnt = scratch_path(&scratch, "mnt");
    ck_assert_int_eq(truncate(disk, 400ll * MIB), 0);
    ck_assert_int_eq(mkdir(mnt, 0755), 0);
    snprintf(mount_command, sizeof(mount_command),
             "mount -o loop%s '%%s' '%%s' >&2", options);
    if (!run(make, disk, "") || !run(mount_command, disk, mnt)) {
        printf("SKIP: cannot make or mount: %s\n", make);
        return false;
    }
    return true;
}

static void unmount(const char *name)
{
    ck_assert_int_eq(umount2(scratch_path(&scratch, name), 0), 0);
}

static struct img_file *reflink(const char *from, const char *name)
{
    const char *path = scratch_write(&scratch, name, "", 0, 0);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(path, O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(ioctl(out, FICLONE, in), 0);
    close(in);
    close(out);
    return scratch_open_file(path);
}

/* A copy by reflink lies where the original does, until it is written. */
static void check_reflinks(void)
{
    const char *path = write_layout("mnt/layout");
    struct img_file *file = scratch_open_file(path);
    struct img_file *copy = reflink(path, "mnt/copy");
    struct answer a, b;

    check_layout(file);
    check_slice(file);
    ask(file, 0, 3 * MIB, EXTENTS_MAX, &a);
    ask(copy, 0, 3 * MIB, EXTENTS_MAX, &b);
    ck_assert_uint_eq(a.nr, b.nr);
    for (size_t i = 0; i < a.nr; i++) {
        if (a.extents[i].is_trusted) {
            ck_assert_uint_eq(a.extents[i].physical_off,
                              b.extents[i].physical_off);
            ck_assert(b.extents[i].is_trusted);
        }
    }
    scratch_write(&scratch, "mnt/copy", "changed", 7, 0);
    ask(copy, 0, 1, EXTENTS_MAX, &b);
    ck_assert_uint_ne(a.extents[0].physical_off, b.extents[0].physical_off);
    img_file_unref(copy);
    img_file_unref(file);
}

/* Many small extents need more than one question to the kernel. */
static void check_many_extents(void)
{
    size_t nr = 500;
    IMG_AUTO(img_free_ptr)
    struct img_physical *extents = calloc(nr + 1, sizeof(*extents));
    struct img_file *file;
    size_t out_nr;
    bool supported;

    /* at full length from the start, or XFS preallocates behind the end */
    scratch_write(&scratch, "mnt/many", "", 0, 0);
    ck_assert_int_eq(
        truncate(scratch_path(&scratch, "mnt/many"), (off_t)(nr * 2 * 65536)),
        0);
    for (size_t i = 0; i < nr; i++) {
        scratch_write(&scratch, "mnt/many", &i, sizeof(i),
                      (off_t)(i * 2 * 65536));
        scratch.nr--;
        free(scratch.paths[scratch.nr]);
    }
    file = scratch_open_file(scratch_path(&scratch, "mnt/many"));
    unit_ok(img_file_physical(file, 0, 1u << 30, extents, nr + 1, &out_nr,
                              &supported, &err),
            &err);
    ck_assert_uint_eq(out_nr, nr);
    for (size_t i = 0; i < nr; i++) {
        ck_assert_uint_eq(extents[i].off, i * 2 * 65536);
    }
    img_file_unref(file);
}

/* overlayfs hands on another file system's answer: not to be trusted. */
static void check_overlay(void)
{
    struct img_file *file;
    struct answer answer;

    ck_assert_int_eq(mkdir(scratch_path(&scratch, "mnt/lower"), 0755), 0);
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "mnt/upper"), 0755), 0);
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "mnt/work"), 0755), 0);
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "merged"), 0755), 0);
    write_layout("mnt/lower/layout");
    ck_assert_int_eq(chdir(scratch_path(&scratch, "mnt")), 0);
    if (mount("overlay", scratch_path(&scratch, "merged"), "overlay", 0,
              "lowerdir=lower,upperdir=upper,workdir=work")) {
        printf("SKIP: no overlayfs: %s\n", strerror(errno));
    } else {
        file = scratch_open_file(scratch_path(&scratch, "merged/layout"));
        ask(file, 0, 8 * MIB, EXTENTS_MAX, &answer);
        ck_assert_uint_eq(covered(&answer, true, 0, 8 * MIB), 0);
        img_file_unref(file);
        unmount("merged");
    }
    ck_assert_int_eq(chdir("/"), 0);
}

START_TEST(test_xfs)
{
    scratch_open(&scratch);
    if (mount_fresh("mkfs.xfs -q -m reflink=1 '%s' %s", "")) {
        check_reflinks();
        check_many_extents();
        check_overlay();
        unmount("mnt");
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_btrfs)
{
    scratch_open(&scratch);
    if (mount_fresh("mkfs.btrfs -q '%s' %s >/dev/null 2>&1", "")) {
        check_reflinks();
        unmount("mnt");
    }
    scratch_close(&scratch);
}
END_TEST

/* Compressed and inline extents are not the bytes that are read. */
START_TEST(test_btrfs_compressed)
{
    struct img_file *file;
    struct answer answer;
    uint8_t bytes[MIB / 4];

    scratch_open(&scratch);
    if (mount_fresh("mkfs.btrfs -q '%s' %s >/dev/null 2>&1",
                    ",compress-force=zlib")) {
        memset(bytes, 'a', sizeof(bytes));
        file = scratch_open_file(
            scratch_write(&scratch, "mnt/packed", bytes, sizeof(bytes), 0));
        ask(file, 0, MIB, EXTENTS_MAX, &answer);
        ck_assert(answer.supported);
        ck_assert_uint_eq(covered(&answer, false, 0, sizeof(bytes)),
                          sizeof(bytes));
        ck_assert_uint_eq(covered(&answer, true, 0, MIB), 0);
        img_file_unref(file);
        file = scratch_open_file(
            scratch_write(&scratch, "mnt/inline", "tiny", 4, 0));
        ask(file, 0, MIB, EXTENTS_MAX, &answer);
        ck_assert_uint_gt(answer.nr, 0);
        ck_assert_uint_eq(covered(&answer, true, 0, MIB), 0);
        img_file_unref(file);
        unmount("mnt");
    }
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("physical", test_temporary_folder, test_unsupported, test_xfs,
           test_btrfs, test_btrfs_compressed)
