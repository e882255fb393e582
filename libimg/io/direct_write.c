/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: writing past the page cache (O_DIRECT).
 *
 * A write is done in pieces: a part of a block at its head, whole blocks, a
 * part of a block at its tail. Callers go on after each piece. Whole blocks
 * that lie badly in memory go through a bounce buffer. A part of a block is
 * read, changed and written back while the file's part_lock is held: two
 * parts may belong to the same block. Whole blocks need no lock: what does
 * not overlap them shares no block with them.
 *
 * A part of a block at the end of a file can only be written with the rest
 * of the block, which makes the file too long; it is cut afterwards, but
 * never below the end of a write that was begun (file->reach).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/checked.h>

#include "file_impl.h"

#define BOUNCE_ALIGN 4096u
#define BOUNCE_LEN ((size_t)1024 * 1024)

/* Bytes or a negative errno. */
static ssize_t pwrite_errno(int fd, const void *buf, size_t len, uint64_t off)
{
    ssize_t n = pwrite(fd, buf, len, (off_t)off);

    return n < 0 ? -(ssize_t)errno : n;
}

static void *new_bounce(uint32_t align, size_t len)
{
    void *bounce;

    return posix_memalign(&bounce, img_max(align, BOUNCE_ALIGN), len) ? NULL
                                                                      : bounce;
}

static ssize_t write_blocks(struct img_file *file, const void *buf, size_t len,
                            uint64_t off)
{
    void *bounce;
    ssize_t n;

    if (((uintptr_t)buf & (file->direct_align - 1)) == 0) {
        return pwrite_errno(file->fd, buf, len, off);
    }
    len = (size_t)img_min(len, BOUNCE_LEN);
    bounce = new_bounce(file->direct_align, len);
    if (!bounce) {
        return -ENOMEM;
    }
    memcpy(bounce, buf, len);
    n = pwrite_errno(file->fd, bounce, len, off);
    free(bounce);
    return n;
}

/* All of the block, zeros where the file ends. */
static int read_block(const struct img_file *file, char *block, uint64_t start)
{
    uint32_t align = file->direct_align;
    ssize_t n = img_direct_pread(file->fd, align, block, align, start);

    if (n < 0) {
        return (int)n;
    }
    memset(block + n, 0, align - (size_t)n);
    return 0;
}

/* The file may have become too long by the rest of a block before END. */
static int cut_rest(struct img_file *file, uint64_t end)
{
    uint64_t want = file->reach;

    if (file->kind == IMG_FILE_BLOCK || want >= end) {
        return 0;
    }
    return ftruncate(file->fd, (off_t)want) ? -errno : 0;
}

/* LEN bytes of one block, SKIP after its beginning at START. */
static ssize_t change_block(struct img_file *file, char *block, const void *buf,
                            size_t len, size_t skip, uint64_t start)
{
    uint32_t align = file->direct_align;
    int rc = read_block(file, block, start);
    ssize_t n;

    if (rc < 0) {
        return rc;
    }
    memcpy(block + skip, buf, len);
    n = pwrite_errno(file->fd, block, align, start);
    if (n < 0) {
        return n;
    }
    rc = cut_rest(file, start + align);
    if (rc < 0) {
        return rc;
    }
    return (size_t)n > skip ? (ssize_t)img_min(len, (size_t)n - skip) : 0;
}

static ssize_t write_part(struct img_file *file, const void *buf, size_t len,
                          uint64_t off)
{
    uint64_t start = img_align_down(off, file->direct_align);
    size_t skip = (size_t)(off - start);
    char *block = new_bounce(file->direct_align, file->direct_align);
    ssize_t n;

    if (!block) {
        return -ENOMEM;
    }
    len = (size_t)img_min(len, file->direct_align - skip);
    pthread_mutex_lock(&file->part_lock);
    n = change_block(file, block, buf, len, skip, start);
    pthread_mutex_unlock(&file->part_lock);
    free(block);
    return n;
}

ssize_t img_direct_pwrite(struct img_file *file, const void *buf, size_t len,
                          uint64_t off)
{
    uint32_t align = file->direct_align;

    if ((off & (align - 1)) || len < align) {
        return write_part(file, buf, len, off);
    }
    return write_blocks(file, buf, (size_t)img_align_down(len, align), off);
}
