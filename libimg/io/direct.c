/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: reading past the page cache (O_DIRECT).
 *
 * One alignment stands for buffer, length and offset: the largest that the
 * file asks for. A read that breaks it goes through an aligned bounce
 * buffer, at most BOUNCE_LEN at a time; callers go on after a short read.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/write.h>

#include "file_impl.h"

#define DEFAULT_ALIGN 4096u     /* what every file system accepts */
#define MAX_ALIGN (64u * 1024u) /* largest block size Linux knows */
#define BOUNCE_LEN ((size_t)1024 * 1024)

static bool is_usable_align(uint32_t align)
{
    return align > 0 && align <= MAX_ALIGN && (align & (align - 1)) == 0;
}

/* Does statx tell? A kernel before 6.1 does not. */
static bool ask_statx(int fd, uint32_t *align)
{
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) ||
        !(stx.stx_mask & STATX_DIOALIGN)) {
        return false;
    }
    *align = (uint32_t)img_max(stx.stx_dio_mem_align, stx.stx_dio_offset_align);
    return stx.stx_dio_offset_align > 0 && is_usable_align(*align);
#else
    (void)fd;
    (void)align;
    return false;
#endif
}

/* Some file systems take the flag and refuse the read. */
static bool can_read(int fd, uint32_t align)
{
    uint8_t probe;

    return img_direct_pread(fd, align, &probe, 1, 0) != -EINVAL;
}

static bool find_align(int fd, const struct stat *st, uint32_t *align)
{
    int sector_len;

    if (ask_statx(fd, align)) {
        return true;
    }
    *align = DEFAULT_ALIGN;
    if (S_ISBLK(st->st_mode) && ioctl(fd, BLKSSZGET, &sector_len) == 0 &&
        sector_len > 0 && is_usable_align((uint32_t)sector_len)) {
        *align = (uint32_t)sector_len;
    }
    return can_read(fd, *align);
}

int img_direct_setup(int fd, const struct stat *st, bool is_own,
                     uint32_t *align, struct img_error *err)
{
    int flags = fcntl(fd, F_GETFL);

    *align = 1;
    if (flags < 0) {
        return img_fail_sys(err, errno, "cannot read descriptor flags");
    }
    if (!(flags & O_DIRECT) || find_align(fd, st, align)) {
        return 0;
    }
    if (!is_own) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "the descriptor is open with O_DIRECT, which its "
                        "file system cannot read with");
    }
    *align = 1;
    if (fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0) {
        return img_fail_sys(err, errno, "cannot change descriptor flags");
    }
    return 0;
}

bool img_file_use_direct(struct img_file *file)
{
    struct img_error ignored;
    struct stat st;
    int flags;

    if (file->fd < 0 || file->direct_align > 1) {
        return file->direct_align > 1;
    }
    flags = fcntl(file->fd, F_GETFL);
    if (flags < 0 || fstat(file->fd, &st) ||
        fcntl(file->fd, F_SETFL, flags | O_DIRECT) < 0) {
        return false;
    }
    if (img_direct_setup(file->fd, &st, true, &file->direct_align, &ignored)) {
        (void)fcntl(file->fd, F_SETFL, flags);
        file->direct_align = 1;
    }
    return file->direct_align > 1;
}

static bool is_aligned(uint32_t align, const void *buf, size_t len,
                       uint64_t off)
{
    return (((uintptr_t)buf | len | off) & (align - 1)) == 0;
}

static ssize_t pread_errno(int fd, void *buf, size_t len, uint64_t off)
{
    ssize_t n = pread(fd, buf, len, (off_t)off);

    return n < 0 ? -(ssize_t)errno : n;
}

static ssize_t bounce_pread(int fd, uint32_t align, void *buf, size_t len,
                            uint64_t off)
{
    uint64_t start = img_align_down(off, align);
    size_t skip = (size_t)(off - start);
    size_t window;
    void *bounce;
    ssize_t n;

    len = (size_t)img_min(len, BOUNCE_LEN);
    window = (size_t)img_align_up(skip + len, align);
    if (posix_memalign(&bounce, img_max(align, DEFAULT_ALIGN), window)) {
        return -ENOMEM;
    }
    n = pread_errno(fd, bounce, window, start);
    if (n >= 0) {
        n = (size_t)n > skip ? (ssize_t)img_min((size_t)n - skip, len) : 0;
        memcpy(buf, (char *)bounce + skip, (size_t)n);
    }
    free(bounce);
    return n;
}

ssize_t img_direct_pread(int fd, uint32_t align, void *buf, size_t len,
                         uint64_t off)
{
    if (is_aligned(align, buf, len, off)) {
        return pread_errno(fd, buf, len, off);
    }
    return bounce_pread(fd, align, buf, len, off);
}
