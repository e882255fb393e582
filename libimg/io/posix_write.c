/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: changing regular files and block devices.
 *
 * What the file system cannot do falls back to writing zeros. A regular
 * file's length only ever grows in passing: it is set to the end of a zeroed
 * range only if no write that was begun reaches further (file->reach), for
 * that write would be cut off.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

/*
 * Ranges that a block device is asked to zero or discard begin and end at a
 * page, so that no half of a page is in the cache.
 */
#define DEVICE_ALIGN 4096u

ssize_t img_posix_pwrite(struct img_file *file, const void *buf, size_t len,
                         uint64_t off)
{
    ssize_t n;

    img_file_note_writing(file, off, len);
    if (file->direct_align > 1) {
        n = img_direct_pwrite(file, buf, len, off);
    } else {
        n = pwrite(file->fd, buf, len, (off_t)off);
        n = n < 0 ? -(ssize_t)errno : n;
    }
    if (n == 0) {
        return -EIO;
    }
    if (n > 0) {
        img_file_note_written(file, off, (uint64_t)n);
    }
    return n;
}

/* 0 or a negative errno; EINTR is retried. */
static int call_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
    while (fallocate(fd, mode, (off_t)off, (off_t)len)) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static bool is_unsupported(int rc)
{
    return rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -ENOTTY || rc == -EINVAL;
}

static int write_zeros(struct img_file *file, uint64_t off, uint64_t end)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    void *zeros = img_file_new_zeros(end - off, &ignored);

    if (!zeros) {
        return -ENOMEM;
    }
    while (off < end) {
        size_t len = (size_t)img_file_zeros_step(off, end);
        ssize_t n = img_posix_pwrite(file, zeros, len, off);
        if (n < 0 && n != -EINTR) {
            return (int)n;
        }
        off += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

static int set_len(struct img_file *file, uint64_t len)
{
    while (ftruncate(file->fd, (off_t)len)) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* Let the file reach END at least. */
static int grow(struct img_file *file, uint64_t end)
{
    int rc = 0;

    pthread_mutex_lock(&file->part_lock);
    if (end > file->reach) {
        rc = set_len(file, end);
    }
    pthread_mutex_unlock(&file->part_lock);
    if (rc == 0) {
        img_file_note_written(file, end, 0);
    }
    return rc;
}

static int punch(struct img_file *file, uint64_t off, uint64_t end)
{
    static const int modes[] = {
        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
    };

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        int rc = call_fallocate(file->fd, modes[i], off, end - off);
        if (!is_unsupported(rc)) {
            return rc;
        }
    }
    return write_zeros(file, off, end);
}

static int zero_unmap(struct img_file *file, uint64_t off, uint64_t end)
{
    uint64_t inside_end = img_min(end, img_file_len(file));

    if (off < inside_end) {
        int rc = punch(file, off, inside_end);
        if (rc < 0) {
            return rc;
        }
    }
    return end > inside_end ? grow(file, end) : 0;
}

static int zero_keep(struct img_file *file, uint64_t off, uint64_t end)
{
    int rc;

    img_file_note_writing(file, off, end - off);
    rc = call_fallocate(file->fd, FALLOC_FL_ZERO_RANGE, off, end - off);
    if (is_unsupported(rc)) {
        return write_zeros(file, off, end);
    }
    if (rc == 0) {
        img_file_note_written(file, off, end - off);
    }
    return rc;
}

/* The whole pages of a device between OFF and END. */
static int zero_pages(struct img_file *file, uint64_t off, uint64_t end,
                      enum img_zero_mode mode)
{
    uint64_t range[2] = {off, end - off};

    if (mode == IMG_ZERO_UNMAP &&
        call_fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       off, end - off) == 0) {
        return 0;
    }
    while (ioctl(file->fd, BLKZEROOUT, range)) {
        if (errno != EINTR) {
            return is_unsupported(-errno) ? write_zeros(file, off, end)
                                          : -errno;
        }
    }
    return 0;
}

static int zero_device(struct img_file *file, uint64_t off, uint64_t end,
                       enum img_zero_mode mode)
{
    uint64_t first = img_align_up(off, DEVICE_ALIGN);
    uint64_t last = img_align_down(end, DEVICE_ALIGN);
    int rc;

    if (first >= last) {
        return write_zeros(file, off, end);
    }
    rc = write_zeros(file, off, first);
    if (rc == 0) {
        rc = zero_pages(file, first, last, mode);
    }
    return rc == 0 ? write_zeros(file, last, end) : rc;
}

int img_posix_zero(struct img_file *file, uint64_t off, uint64_t len,
                   enum img_zero_mode mode)
{
    if (file->kind == IMG_FILE_BLOCK) {
        return zero_device(file, off, off + len, mode);
    }
    return mode == IMG_ZERO_UNMAP ? zero_unmap(file, off, off + len)
                                  : zero_keep(file, off, off + len);
}

void img_posix_discard(struct img_file *file, uint64_t off, uint64_t len)
{
    uint64_t first, last;

    if (file->kind != IMG_FILE_BLOCK) {
        (void)call_fallocate(
            file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
        return;
    }
    first = img_align_up(off, DEVICE_ALIGN);
    last = img_align_down(off + len, DEVICE_ALIGN);
    if (first < last) {
        uint64_t range[2] = {first, last - first};
        (void)ioctl(file->fd, BLKDISCARD, range);
    }
}

int img_posix_resize(struct img_file *file, uint64_t len)
{
    int rc;

    pthread_mutex_lock(&file->part_lock);
    rc = set_len(file, len);
    if (rc == 0) {
        file->len = len;
        file->reach = len;
    }
    pthread_mutex_unlock(&file->part_lock);
    return rc;
}

int img_posix_reserve(struct img_file *file, uint64_t off, uint64_t len)
{
    int rc;

    img_file_note_writing(file, off, len);
    rc = call_fallocate(file->fd, 0, off, len);
    if (rc == 0) {
        img_file_note_written(file, off, len);
    }
    return is_unsupported(rc) ? -EOPNOTSUPP : rc;
}

int img_posix_flush(struct img_file *file)
{
    while (fdatasync(file->fd)) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}
