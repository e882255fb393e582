/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New files: what stands in the folder at each moment, and what is there
 * after each way to fail.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include <img/newfile.h>

#include "deny.h"
#include "scratch.h"

static struct scratch scratch;
static struct img_error err;
static const struct img_newfile_options fresh = {0};
static const struct img_newfile_options replacing = {.replace = true};
static const struct img_newfile_options under_name = {.named = true};

/* The names in the folder, sorted, each followed by a space. */
static const char *names(void)
{
    static char text[4096];
    struct dirent **entries;
    int nr = scandir(scratch.dir, &entries, NULL, alphasort);

    text[0] = '\0';
    for (int i = 0; i < nr; i++) {
        if (strcmp(entries[i]->d_name, ".") != 0 &&
            strcmp(entries[i]->d_name, "..") != 0) {
            strcat(strcat(text, entries[i]->d_name), " ");
        }
        free(entries[i]);
    }
    free(entries);
    return text;
}

static struct img_newfile *begin(const char *path,
                                 const struct img_newfile_options *options)
{
    struct img_newfile *newfile = NULL;

    unit_ok(img_newfile_new(path, options, &newfile, &err), &err);
    unit_ok(img_file_write(img_newfile_file(newfile), "new", 3, 0, &err), &err);
    return newfile;
}

static void finish(struct img_newfile *newfile)
{
    unit_ok(img_newfile_publish(newfile, &err), &err);
    img_newfile_free(newfile);
}

static void check_content(const char *path, const char *want)
{
    char got[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(read(fd, got, sizeof(got) - 1), 0);
    close(fd);
    ck_assert_str_eq(got, want);
}

static void refuse(const char *path, const struct img_newfile_options *options,
                   enum img_code code, const char *text)
{
    struct img_newfile *newfile = NULL;

    unit_fails(img_newfile_new(path, options, &newfile, &err), &err, code,
               text);
    ck_assert_ptr_null(newfile);
    ck_assert_str_eq(err.path, path);
}

static void refuse_publish(struct img_newfile *newfile, enum img_code code,
                           const char *text)
{
    unit_fails(img_newfile_publish(newfile, &err), &err, code, text);
    ck_assert_str_eq(err.path, img_file_path(img_newfile_file(newfile)));
    img_newfile_free(newfile);
}

START_TEST(test_appears_when_published)
{
    struct img_newfile *newfile;
    const char *path;
    mode_t mask = umask(027);
    struct stat st;

    scratch_open(&scratch);
    path = scratch_path(&scratch, "image");
    newfile = begin(path, &fresh);
    ck_assert_str_eq(names(), "");
    ck_assert_ptr_null(img_newfile_temp_path(newfile));
    ck_assert_str_eq(img_file_path(img_newfile_file(newfile)), path);
    ck_assert(img_file_is_writable(img_newfile_file(newfile)));
    finish(newfile);
    ck_assert_str_eq(names(), "image ");
    check_content(path, "new");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0640);
    umask(mask);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_vanishes_when_freed)
{
    scratch_open(&scratch);
    img_newfile_free(begin(scratch_path(&scratch, "image"), &fresh));
    ck_assert_str_eq(names(), "");
    img_newfile_free(begin(scratch_path(&scratch, "image"), &under_name));
    ck_assert_str_eq(names(), "");
    img_newfile_free(NULL);
    scratch_close(&scratch);
}
END_TEST

/* A handle that somebody else keeps does not keep the name. */
START_TEST(test_temporary_name)
{
    struct img_newfile *newfile;
    struct img_file *file;
    const char *path, *temp;
    char prefix[512];

    scratch_open(&scratch);
    path = scratch_path(&scratch, "image");
    newfile = begin(path, &under_name);
    temp = img_newfile_temp_path(newfile);
    snprintf(prefix, sizeof(prefix), "%s/.image.imgchain-", scratch.dir);
    ck_assert_int_eq(strncmp(temp, prefix, strlen(prefix)), 0);
    ck_assert_uint_eq(strlen(temp), strlen(prefix) + 6);
    check_content(temp, "new");
    file = img_file_ref(img_newfile_file(newfile));
    finish(newfile);
    ck_assert_str_eq(names(), "image ");
    unit_ok(img_file_write(file, "N", 1, 0, &err), &err);
    check_content(path, "New");
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_kept)
{
    struct img_newfile *newfile;
    char temp[512];

    scratch_open(&scratch);
    newfile = begin(scratch_path(&scratch, "image"), &under_name);
    snprintf(temp, sizeof(temp), "%s", img_newfile_temp_path(newfile));
    img_newfile_keep(newfile);
    img_newfile_free(newfile);
    check_content(temp, "new");
    scratch_close(&scratch);
}
END_TEST

/* 255 bytes are a name's limit, for the temporary one as well. */
START_TEST(test_long_name)
{
    char name[256];
    const char *path;

    memset(name, 'x', 255);
    name[255] = '\0';
    scratch_open(&scratch);
    path = scratch_path(&scratch, name);
    finish(begin(path, &under_name));
    check_content(path, "new");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_replaces)
{
    const struct img_newfile_options both = {.replace = true, .named = true};
    struct img_newfile *newfile;
    const char *path;
    struct stat before, after;

    for (int i = 0; i < 2; i++) {
        scratch_open(&scratch);
        path = scratch_write(&scratch, "image", "old", 3, 0);
        ck_assert_int_eq(chmod(path, 0604), 0);
        if (getuid() == 0) {
            ck_assert_int_eq(chown(path, 123, 456), 0);
        }
        ck_assert_int_eq(stat(path, &before), 0);
        newfile = begin(path, i ? &both : &replacing);
        check_content(path, "old");
        finish(newfile);
        check_content(path, "new");
        ck_assert_str_eq(names(), "image ");
        ck_assert_int_eq(stat(path, &after), 0);
        ck_assert(before.st_ino != after.st_ino);
        ck_assert_int_eq(after.st_mode & 07777, 0604);
        ck_assert_uint_eq(after.st_uid, before.st_uid);
        ck_assert_uint_eq(after.st_gid, before.st_gid);
        scratch_close(&scratch);
    }
}
END_TEST

/* Somebody who may not give a file away gives nobody more rights either. */
START_TEST(test_mode_of_anothers_file)
{
    const char *path;
    struct stat st;

    if (getuid() != 0) {
        printf("SKIP: only root can change to another user\n");
        return;
    }
    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    ck_assert_int_eq(chown(path, 123, 456), 0);
    ck_assert_int_eq(chmod(path, 0676), 0);
    ck_assert_int_eq(chmod(scratch.dir, 0777), 0);
    ck_assert_int_eq(setegid(65534), 0);
    ck_assert_int_eq(seteuid(65534), 0);
    finish(begin(path, &replacing));
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(setegid(0), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, 65534);
    ck_assert_int_eq(st.st_mode & 07777, 0666);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_replaces_what_is_not_there)
{
    const char *path;

    scratch_open(&scratch);
    path = scratch_path(&scratch, "image");
    finish(begin(path, &replacing));
    check_content(path, "new");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_exists_already)
{
    struct img_newfile *newfile;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    refuse(path, &fresh, IMG_USAGE, "exists already");
    check_content(path, "old");
    for (int i = 0; i < 3; i++) {
        const struct img_newfile_options *options[] = {&fresh, &under_name,
                                                       &replacing};
        ck_assert_int_eq(unlink(path), 0);
        newfile = begin(path, options[i]);
        scratch_write(&scratch, "image", "old", 3, 0);
        refuse_publish(newfile, IMG_USAGE,
                       "exists already: a file of that name appeared "
                       "meanwhile");
        check_content(path, "old");
        ck_assert_str_eq(names(), "image ");
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_old_file_changes_hands)
{
    struct img_newfile *newfile;
    const char *path, *other;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    other = scratch_write(&scratch, "other", "other", 5, 0);
    newfile = begin(path, &replacing);
    ck_assert_int_eq(rename(other, path), 0);
    refuse_publish(newfile, IMG_CHANGED,
                   "another file has taken the place of the one to be "
                   "replaced");
    check_content(path, "other");
    newfile = begin(path, &replacing);
    ck_assert_int_eq(unlink(path), 0);
    finish(newfile);
    check_content(path, "new");
    ck_assert_str_eq(names(), "image ");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_no_place)
{
    const char *path;

    scratch_open(&scratch);
    refuse(scratch.dir, &fresh, IMG_UNSUPPORTED,
           "is a directory, expected a regular file");
    refuse("/dev/null", &replacing, IMG_UNSUPPORTED,
           "is a character device, expected a regular file");
    refuse(scratch_path(&scratch, ""), &fresh, IMG_USAGE,
           "names a folder, expected a file");
    refuse(scratch_path(&scratch, ".."), &fresh, IMG_USAGE,
           "names a folder, expected a file");
    refuse("", &fresh, IMG_USAGE, "names a folder, expected a file");
    refuse(scratch_path(&scratch, "a/b"), &fresh, IMG_NOT_FOUND,
           "cannot open the folder: No such file or directory");
    refuse("/proc/image", &fresh, IMG_NOT_FOUND,
           "cannot create: No such file or directory");
    path = scratch_path(&scratch, "loop");
    ck_assert_int_eq(symlink("loop", path), 0);
    refuse(path, &fresh, IMG_LOOP,
           "cannot follow the link: Too many levels of symbolic links");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_old_file_in_use)
{
    struct img_file *reader = NULL;
    struct img_newfile *newfile = NULL;
    struct img_open_options options = {.lock = IMG_LOCK_READER};
    const char *path;
    char text[512];

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    unit_ok(img_file_open(path, &options, &reader, &err), &err);
    ck_assert_int_eq(img_newfile_new(path, &replacing, &newfile, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_LOCKED);
    snprintf(text, sizeof(text), "is in use by process %d (", getpid());
    ck_assert_int_eq(strncmp(err.text, text, strlen(text)), 0);
    ck_assert_ptr_nonnull(
        strstr(err.text, "which does not share the write permission"));
    ck_assert_ptr_null(strstr(err.text, "-U"));
    img_file_unref(reader);
    /* both stay locked until the change is made */
    newfile = begin(path, &replacing);
    ck_assert_int_eq(img_file_open(path, &options, &reader, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_LOCKED);
    unit_ok(img_newfile_publish(newfile, &err), &err);
    ck_assert_int_eq(img_file_open(path, &options, &reader, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_LOCKED);
    img_newfile_free(newfile);
    unit_ok(img_file_open(path, &options, &reader, &err), &err);
    img_file_unref(reader);
    scratch_close(&scratch);
}
END_TEST

/* A new file takes no right over the old one; the old one's is asked for. */
START_TEST(test_old_file_read_only)
{
    const uid_t nobody = 65534;
    uid_t user = geteuid();
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    ck_assert_int_eq(chmod(path, 0444), 0);
    if (user == 0) {
        ck_assert_int_eq(chmod(scratch.dir, 0777), 0);
        ck_assert_int_eq(seteuid(nobody), 0);
    }
    refuse(path, &replacing, IMG_DENIED,
           "cannot open for writing: Permission denied");
    ck_assert_int_eq(seteuid(user), 0);
    check_content(path, "old");
    ck_assert_str_eq(names(), "image ");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_links_are_followed)
{
    const char *link, *second, *target;
    struct stat st;

    scratch_open(&scratch);
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "folder"), 0755), 0);
    link = scratch_path(&scratch, "link");
    second = scratch_path(&scratch, "folder/second");
    target = scratch_path(&scratch, "folder/target");
    ck_assert_int_eq(symlink("folder/second", link), 0);
    ck_assert_int_eq(symlink(target, second), 0);
    finish(begin(link, &fresh)); /* dangling */
    check_content(target, "new");
    refuse(link, &fresh, IMG_USAGE, "exists already");
    scratch_write(&scratch, "folder/target", "old", 3, 0);
    finish(begin(link, &replacing));
    check_content(target, "new");
    ck_assert_int_eq(lstat(link, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(lstat(second, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_roots)
{
    struct img_roots *roots = NULL;
    struct img_newfile_options options = {.named = true};
    const char *inside, *path, *link;

    scratch_open(&scratch);
    inside = scratch_path(&scratch, "inside");
    ck_assert_int_eq(mkdir(inside, 0755), 0);
    unit_ok(img_roots_new(&roots, &err), &err);
    unit_ok(img_roots_add(roots, inside, &err), &err);
    options.roots = roots;
    path = scratch_path(&scratch, "inside/image");
    finish(begin(path, &options));
    check_content(path, "new");
    refuse(scratch_path(&scratch, "image"), &options, IMG_DENIED,
           "lies outside the allowed folders");
    link = scratch_path(&scratch, "inside/link");
    ck_assert_int_eq(symlink("../image", link), 0);
    refuse(link, &options, IMG_DENIED, "lies outside the allowed folders");
    ck_assert_str_eq(names(), "inside ");
    img_roots_free(roots);
    scratch_close(&scratch);
}
END_TEST

/* A relative path is one of the folder that was the working one then. */
START_TEST(test_relative)
{
    struct img_newfile *newfile;

    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    newfile = begin("image", &under_name);
    ck_assert_int_eq(
        strncmp(img_newfile_temp_path(newfile), ".image.imgchain-", 16), 0);
    ck_assert_int_eq(chdir("/"), 0);
    finish(newfile);
    ck_assert_str_eq(names(), "image ");
    scratch_close(&scratch);
}
END_TEST

/* Kernels and file systems that lack something, played by a filter. */
START_TEST(test_without_rename_flags)
{
    const char *path;

    scratch_open(&scratch);
    path = scratch_path(&scratch, "image");
    deny_call(SYS_renameat2, DENY_ANY, EINVAL);
    finish(begin(path, &under_name));
    ck_assert_str_eq(names(), "image ");
    refuse(path, &fresh, IMG_USAGE, "exists already");
    ck_assert_int_eq(unlink(path), 0);
    deny_call(SYS_linkat, DENY_ANY, EPERM);
    finish(begin(path, &under_name));
    check_content(path, "new");
    ck_assert_str_eq(names(), "image ");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_without_nameless_files)
{
    struct img_newfile *newfile;
    const char *path;

    scratch_open(&scratch);
    path = scratch_path(&scratch, "image");
    deny_argument(SYS_openat, 2, O_TMPFILE | O_RDWR | O_CLOEXEC, EOPNOTSUPP);
    newfile = begin(path, &fresh);
    ck_assert_ptr_nonnull(img_newfile_temp_path(newfile));
    finish(newfile);
    ck_assert_str_eq(names(), "image ");
    check_content(path, "new");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_link_fails)
{
    struct img_newfile *newfile;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    newfile = begin(path, &replacing);
    deny_call(SYS_linkat, DENY_ANY, ENOSPC);
    refuse_publish(newfile, IMG_SYSTEM,
                   "cannot name the new file: No space left on device");
    check_content(path, "old");
    ck_assert_str_eq(names(), "image ");
    ck_assert_int_eq(unlink(path), 0);
    refuse_publish(begin(path, &fresh), IMG_SYSTEM,
                   "cannot name the new file: No space left on device");
    ck_assert_str_eq(names(), "");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_rename_fails)
{
    struct img_newfile *newfile;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    newfile = begin(path, &replacing);
    deny_call(SYS_renameat, DENY_ANY, EIO);
    refuse_publish(newfile, IMG_IO,
                   "cannot replace the old file: Input/output error");
    check_content(path, "old");
    ck_assert_str_eq(names(), "image ");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_flush_fails)
{
    struct img_newfile *newfile;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "image", "old", 3, 0);
    newfile = begin(path, &replacing);
    deny_call(SYS_fsync, DENY_ANY, EIO);
    refuse_publish(newfile, IMG_IO,
                   "cannot flush what was written: Input/output error");
    check_content(path, "old");
    ck_assert_str_eq(names(), "image ");
    unit_fails(img_folder_flush(path, &err), &err, IMG_IO,
               "cannot flush the folder: Input/output error");
    ck_assert_str_eq(err.path, path);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_folder_flush_fails)
{
    struct img_newfile *newfile;
    const char *path;
    int folder_fd = dup(0); /* what the folder will get */
    char text[256];

    close(folder_fd);
    scratch_open(&scratch);
    path = scratch_path(&scratch, "image");
    newfile = begin(path, &fresh);
    deny_call_on(SYS_fsync, (uint32_t)folder_fd, EIO);
    snprintf(text, sizeof(text),
             "the file is complete, but its name may not outlive a power "
             "loss: cannot flush its folder: Input/output error");
    refuse_publish(newfile, IMG_IO, text);
    check_content(path, "new");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_folder_flush)
{
    const char *path;

    scratch_open(&scratch);
    path = scratch_path(&scratch, "nothing");
    unit_ok(img_folder_flush(path, &err), &err);
    path = scratch_path(&scratch, "no/where");
    unit_fails(img_folder_flush(path, &err), &err, IMG_NOT_FOUND,
               "cannot open the folder: No such file or directory");
    ck_assert_str_eq(err.path, path);
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("newfile", test_appears_when_published, test_vanishes_when_freed,
           test_temporary_name, test_kept, test_long_name, test_replaces,
           test_mode_of_anothers_file, test_replaces_what_is_not_there,
           test_exists_already, test_old_file_changes_hands, test_no_place,
           test_old_file_in_use, test_old_file_read_only,
           test_links_are_followed, test_roots, test_relative,
           test_without_rename_flags, test_without_nameless_files,
           test_link_fails, test_rename_fails, test_flush_fails,
           test_folder_flush_fails, test_folder_flush)
