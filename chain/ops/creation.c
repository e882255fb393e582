/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing new images: see creation.h.
 */
#include "creation.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/size.h>
#include <qcow2/fresh.h>

#include "place.h"

#define SECTOR_LEN 512u
/* So much is reserved before somebody may cancel again. */
#define RESERVE_LEN (64ull << 20)

/* What file systems can be told about an empty file. Hints: where they are
   not taken, the image is as good. */
static void give_hints(const struct chain_create_plan *plan,
                       const struct img_file *file)
{
    uint64_t base;
    int fd = img_file_fd(file, &base);
    struct fsxattr attributes;
    int flags;

    if (plan->nocow && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    if (plan->extent_len > 0 &&
        ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0) {
        attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
        attributes.fsx_extsize = (uint32_t)plan->extent_len;
        (void)ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
    }
}

static bool is_cancelled(const struct chain_create_plan *plan)
{
    return plan->request->cancel && *plan->request->cancel;
}

static int fail_cancelled(struct img_error *err)
{
    return img_fail(err, IMG_CANCELLED, "cancelled");
}

static int check_space(const struct chain_create_plan *plan, uint64_t left_len,
                       struct img_error *err)
{
    uint64_t needed_len = chain_plan_needed_len(plan);
    char needed[IMG_SIZE_TEXT_LEN], left[IMG_SIZE_TEXT_LEN];

    if (needed_len <= left_len) {
        return 0;
    }
    img_fail(err, IMG_SYSTEM,
             "there is not enough space for it: found %s, expected %s",
             img_size_exact(left_len, left),
             img_size_exact(needed_len, needed));
    err->sys_errno = ENOSPC;
    return -1;
}

/* ---- What the file is to hold. */

/* A device keeps its length; what a probe would find in it goes. */
static int write_raw_device(struct img_file *file, struct img_error *err)
{
    uint64_t have = img_file_len(file);

    if (img_file_zero(file, 0, img_min(SECTOR_LEN, have), IMG_ZERO_KEEP, err) <
        0) {
        return -1;
    }
    return img_file_flush(file, err);
}

int chain_creation_write_raw(const struct chain_create_plan *plan,
                             struct img_file *file, struct img_error *err)
{
    uint64_t len = plan->qcow2.virtual_len;
    bool is_full = plan->qcow2.prealloc == QCOW2_PREALLOC_FULL;

    if (img_file_kind(file) == IMG_FILE_BLOCK) {
        return write_raw_device(file, err);
    }
    if (plan->qcow2.prealloc != QCOW2_PREALLOC_OFF) {
        for (uint64_t off = 0; off < len; off += RESERVE_LEN) {
            if (is_cancelled(plan)) {
                return fail_cancelled(err);
            }
            if (img_file_reserve(file, off, img_min(RESERVE_LEN, len - off),
                                 is_full, err) < 0) {
                return -1;
            }
        }
    }
    return img_file_resize(file, len, err);
}

static int write_qcow2(const struct chain_create_plan *plan,
                       struct img_file *file, struct img_file *data_file,
                       struct img_error *err)
{
    struct qcow2_fresh *fresh;

    if (qcow2_fresh_new(file, data_file, &plan->qcow2, &fresh, err) < 0) {
        return -1;
    }
    qcow2_fresh_cancel_by(fresh, plan->request->cancel);
    int r = is_cancelled(plan) ? fail_cancelled(err)
                               : qcow2_fresh_finish(fresh, err);
    qcow2_fresh_free(fresh);
    return r;
}

void chain_creation_take_owner(const struct img_file *file,
                               const struct img_stamp *stamp)
{
    uint64_t base;
    int fd = img_file_fd(file, &base);
    bool is_taken;

    if (fd < 0 || !S_ISREG(stamp->mode)) {
        return;
    }
    is_taken = fchown(fd, stamp->uid, stamp->gid) == 0 ||
               fchown(fd, (uid_t)-1, stamp->gid) == 0;
    /* Others may not do more than before, whoever has it now. */
    (void)fchmod(fd, stamp->mode & (is_taken ? 0777 : 0707));
}

/* ---- Where it is written. */

static bool is_block(const char *path, const struct img_roots *roots)
{
    struct img_stamp stamp;
    struct img_error ignored;

    return img_path_stamp(path, roots, &stamp, &ignored) == 0 &&
           S_ISBLK(stamp.mode);
}

static int fail_device(const char *path, struct img_error *err)
{
    img_fail(err, IMG_USAGE,
             "is a block device: an image can only be written into it in "
             "place, not under a name of its own");
    img_error_set_path(err, path);
    return -1;
}

/* Before anything in it is touched: is it long enough? */
static int check_device(const struct chain_create_plan *plan,
                        const struct img_file *file, struct img_error *err)
{
    uint64_t want = plan->is_raw ? plan->qcow2.virtual_len
                                 : qcow2_fresh_measure(&plan->qcow2, 0);
    uint64_t have = img_file_len(file);

    if (have >= want || plan->data_file_path) {
        return 0;
    }
    return img_fail(err, IMG_LIMIT,
                    "the device has %" PRIu64
                    " bytes: expected at least %" PRIu64,
                    have, want);
}

static int open_device(const struct chain_create_plan *plan, const char *path,
                       bool direct, struct img_file **out,
                       struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_WRITER,
                                             .writable = true,
                                             .direct = direct,
                                             .roots = plan->request->roots};

    return img_file_open(path, &options, out, err) < 0
               ? -1
               : check_device(plan, *out, err);
}

/* A file in memory that can be judged as if it stood at PATH. */
static int open_scratch(const char *path, struct img_file **out,
                        struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE,
                                             .writable = true};
    int fd = memfd_create("imgchain", MFD_CLOEXEC);

    if (fd < 0) {
        return img_fail_sys(err, errno, "cannot make a file in memory");
    }
    int r = img_file_open_fd(fd, path, &options, out, err);
    close(fd);
    return r;
}

/* How one file of the new image is opened. */
struct opening {
    enum chain_creation_kind kind;
    bool direct;
};

/* One file of the new image: at PATH, or to be there. */
static int open_target(const struct chain_create_plan *plan, const char *path,
                       const struct opening *how, struct img_newfile **newfile,
                       struct img_file **file, struct img_error *err)
{
    const struct img_roots *roots = plan->request->roots;
    enum chain_creation_kind kind = how->kind;
    const struct img_newfile_options options = {
        .replace = kind == CHAIN_CREATION_REPLACE,
        .named = kind == CHAIN_CREATION_NAMED,
        .direct = how->direct,
        .roots = roots,
    };

    if (kind == CHAIN_CREATION_SCRATCH) {
        return open_scratch(path, file, err);
    }
    if (is_block(path, roots)) {
        return kind == CHAIN_CREATION_REPLACE
                   ? open_device(plan, path, how->direct, file, err)
                   : fail_device(path, err);
    }
    if (img_newfile_new(path, &options, newfile, err) < 0) {
        return -1;
    }
    *file = img_file_ref(img_newfile_file(*newfile));
    give_hints(plan, *file);
    return check_space(plan, img_file_space_left(*file), err);
}

/*
 * Two names cannot change at once: a data file that is there is not replaced,
 * for between the two its image would show the new data. A device has to be.
 */
static enum chain_creation_kind
data_file_kind(const struct chain_create_plan *plan,
               enum chain_creation_kind kind)
{
    return kind == CHAIN_CREATION_REPLACE &&
                   !is_block(plan->data_file_path, plan->request->roots)
               ? CHAIN_CREATION_NEW
               : kind;
}

/* A device that was begun is no image any more. */
static void say_remains(const struct chain_creation *creation,
                        struct img_error *err)
{
    if (!creation->file || img_file_kind(creation->file) != IMG_FILE_BLOCK) {
        return;
    }
    struct img_error said = *err;
    img_fail(err, said.code, "%.900s; what the device held is lost", said.text);
    err->sys_errno = said.sys_errno;
    img_error_set_path(err, said.path);
}

int chain_creation_open(const struct chain_create_plan *plan,
                        enum chain_creation_kind kind, bool direct,
                        struct chain_creation *out, struct img_error *err)
{
    struct opening how = {.kind = kind, .direct = direct};
    const char *path = plan->request->path;

    *out = (struct chain_creation){0};
    int r = open_target(plan, path, &how, &out->newfile, &out->file, err);
    if (r == 0 && plan->data_file_path) {
        how.kind = data_file_kind(plan, kind);
        r = open_target(plan, plan->data_file_path, &how, &out->data_newfile,
                        &out->data_file, err);
    }
    if (r < 0) {
        img_error_set_path(err, path);
        chain_creation_fini(out);
    }
    return r;
}

int chain_creation_write(const struct chain_create_plan *plan,
                         enum chain_creation_kind kind,
                         struct chain_creation *out, struct img_error *err)
{
    if (chain_creation_open(plan, kind, false, out, err) < 0) {
        return -1;
    }
    int r = plan->is_raw ? chain_creation_write_raw(plan, out->file, err)
                         : write_qcow2(plan, out->file, out->data_file, err);
    if (r < 0) {
        img_error_set_path(err, plan->request->path);
        say_remains(out, err);
        chain_creation_fini(out);
    }
    return r;
}

bool chain_creation_is_named(const struct img_file *file)
{
    struct img_stamp stamp, named;
    struct img_error ignored;

    return img_file_stamp(file, &stamp, &ignored) == 0 &&
           img_path_stamp(img_file_path(file), NULL, &named, &ignored) == 0 &&
           chain_stamp_is_same_file(&stamp, &named);
}

static int publish(struct chain_creation *creation, struct img_error *err)
{
    if (creation->data_newfile &&
        img_newfile_publish(creation->data_newfile, err) < 0) {
        return -1;
    }
    return creation->newfile ? img_newfile_publish(creation->newfile, err) : 0;
}

int chain_creation_publish(struct chain_creation *creation,
                           struct img_error *err)
{
    int r = publish(creation, err);

    /* A data file, which is new, does not stay without its image. */
    if (r < 0 && creation->data_newfile &&
        chain_creation_is_named(creation->data_file) &&
        !chain_creation_is_named(creation->file)) {
        (void)unlink(img_file_path(creation->data_file));
    }
    return r;
}

void chain_creation_fini(struct chain_creation *creation)
{
    img_file_unref(creation->file);
    img_file_unref(creation->data_file);
    img_newfile_free(creation->newfile);
    img_newfile_free(creation->data_newfile);
    *creation = (struct chain_creation){0};
}

/* ---- Without writing. */

static int check_existing(const char *path, const struct img_roots *roots,
                          struct img_error *err)
{
    const struct img_open_options options = {
        .lock = IMG_LOCK_NONE, .writable = true, .roots = roots};
    struct img_lock_holder holder;
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    if (img_file_open(path, &options, &file, err) < 0 ||
        img_file_writer_test(file, &holder, err) < 0) {
        return -1;
    }
    if (holder.is_held) {
        img_fail(err, IMG_LOCKED, "is in use by process %d (%s)", holder.pid,
                 holder.command);
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

static int check_folder(const char *path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *folder = chain_place_folder(path, err);

    if (!folder) {
        return -1;
    }
    if (access(folder, W_OK | X_OK) != 0) {
        img_fail_sys(err, errno, "no file can be made in its folder");
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

static int check_target(const struct chain_create_plan *plan, const char *path,
                        enum chain_creation_kind kind, struct img_error *err)
{
    const struct img_roots *roots = plan->request->roots;
    struct img_stamp stamp;
    struct chain_place place;

    if (img_path_stamp(path, roots, &stamp, err) < 0) {
        if (err->code != IMG_NOT_FOUND) {
            return -1;
        }
        return chain_place_find(path, roots, &place, err) < 0
                   ? -1
                   : check_folder(path, err);
    }
    if (kind == CHAIN_CREATION_REPLACE) {
        return check_existing(path, roots, err);
    }
    if (S_ISBLK(stamp.mode)) {
        return fail_device(path, err);
    }
    img_fail(err, IMG_USAGE, "exists already");
    img_error_set_path(err, path);
    return -1;
}

int chain_creation_check(const struct chain_create_plan *plan,
                         enum chain_creation_kind kind, struct img_error *err)
{
    if (check_target(plan, plan->request->path, kind, err) < 0 ||
        (plan->data_file_path &&
         check_target(plan, plan->data_file_path, data_file_kind(plan, kind),
                      err) < 0)) {
        img_error_set_path(err, plan->request->path);
        return -1;
    }
    return 0;
}
