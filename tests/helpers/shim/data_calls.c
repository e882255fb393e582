/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysshim: what changes the bytes of a file, and flushes. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_OFF UINT64_MAX

/* -- writing */

/* At most half of what IOV has, in *CUT. */
static int cut_short(const struct iovec *iov, int iov_nr, struct iovec *cut)
{
    *cut = iov[0];
    cut->iov_len = iov_nr > 1 ? cut->iov_len : (cut->iov_len + 1) / 2;
    return 1;
}

static ssize_t write_real(int fd, const struct iovec *iov, int iov_nr,
                          uint64_t off)
{
    if (off == NO_OFF) {
        return (ssize_t)syscall(SYS_writev, fd, iov, iov_nr);
    }
    return (ssize_t)syscall(SYS_pwritev, fd, iov, iov_nr, off, 0);
}

/* OFF NO_OFF: where the descriptor stands. */
static ssize_t write_any(int fd, const struct iovec *iov, int iov_nr,
                         uint64_t off)
{
    struct call call;
    struct iovec cut;
    ssize_t n;

    if (!shim_watch_fd(&call, KIND_WRITE, fd)) {
        return write_real(fd, iov, iov_nr, off);
    }
    call.record.off = off != NO_OFF ? off : (uint64_t)lseek(fd, 0, SEEK_CUR);
    for (int i = 0; i < iov_nr; i++) {
        call.record.len += iov[i].iov_len;
    }
    if (!shim_begin(&call)) {
        return -1;
    }
    if (shim_is_cut_short() && iov_nr > 0) {
        iov_nr = cut_short(iov, iov_nr, &cut);
        iov = &cut;
    }
    n = write_real(fd, iov, iov_nr, off);
    call.iov = iov;
    call.iov_nr = iov_nr;
    shim_end(&call, n);
    return n;
}

static ssize_t write_one(int fd, const void *buf, size_t len, uint64_t off)
{
    struct iovec iov = {.iov_len = len};

    memcpy(&iov.iov_base, &buf, sizeof(buf));
    return write_any(fd, &iov, 1, off);
}

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
    return write_one(fd, buf, len, NO_OFF);
}

EXPORT ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
    return write_one(fd, buf, len, (uint64_t)off);
}

EXPORT ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
    return write_one(fd, buf, len, (uint64_t)off);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int iov_nr)
{
    return write_any(fd, iov, iov_nr, NO_OFF);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int iov_nr, off_t off)
{
    return write_any(fd, iov, iov_nr, (uint64_t)off);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int iov_nr,
                         off64_t off)
{
    return write_any(fd, iov, iov_nr, (uint64_t)off);
}

/* -- lengths, holes, clones */

static int truncate_any(int fd, uint64_t len)
{
    struct call call;
    long rc;

    if (!shim_watch_fd(&call, KIND_TRUNCATE, fd)) {
        return (int)syscall(SYS_ftruncate, fd, len);
    }
    call.record.len = len;
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_ftruncate, fd, len);
    shim_end(&call, rc);
    return (int)rc;
}

EXPORT int ftruncate(int fd, off_t len)
{
    return truncate_any(fd, (uint64_t)len);
}

EXPORT int ftruncate64(int fd, off64_t len)
{
    return truncate_any(fd, (uint64_t)len);
}

static int fallocate_any(int fd, int mode, uint64_t off, uint64_t len)
{
    struct call call;
    long rc;

    if (!shim_watch_fd(&call, KIND_FALLOCATE, fd)) {
        return (int)syscall(SYS_fallocate, fd, mode, off, len);
    }
    call.record.off = off;
    call.record.len = len;
    call.record.aux = (uint64_t)mode;
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_fallocate, fd, mode, off, len);
    shim_end(&call, rc);
    return (int)rc;
}

EXPORT int fallocate(int fd, int mode, off_t off, off_t len)
{
    return fallocate_any(fd, mode, (uint64_t)off, (uint64_t)len);
}

EXPORT int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
    return fallocate_any(fd, mode, (uint64_t)off, (uint64_t)len);
}

/* End a call by which LEN bytes arrived at the record's offset. */
static void end_clone(struct call *call, int fd, long rc, uint64_t len)
{
    int saved = errno;
    struct iovec iov = {.iov_base = NULL};

    if (rc >= 0 && len > 0) {
        iov.iov_base = malloc(len);
        iov.iov_len = len;
        if (!iov.iov_base || pread(fd, iov.iov_base, len,
                                   (off_t)call->record.off) != (ssize_t)len) {
            shim_die("cannot read what was cloned");
        }
        call->iov = &iov;
        call->iov_nr = 1;
        rc = (long)len;
    }
    call->record.len = len;
    errno = saved;
    shim_end(call, rc);
    free(iov.iov_base);
    errno = saved;
}

static int clone_range(int fd, struct file_clone_range *range)
{
    struct call call;
    struct stat st;
    uint64_t len = range->src_length;
    long rc;

    if (!shim_watch_fd(&call, KIND_CLONE, fd)) {
        return (int)syscall(SYS_ioctl, fd, FICLONERANGE, range);
    }
    if (len == 0 && fstat((int)range->src_fd, &st) == 0) {
        len = (uint64_t)st.st_size - range->src_offset;
    }
    call.record.off = range->dest_offset;
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_ioctl, fd, FICLONERANGE, range);
    end_clone(&call, fd, rc, len);
    return (int)rc;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    struct file_clone_range whole = {0};
    va_list args;
    void *arg;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    if (request == FICLONERANGE) {
        return clone_range(fd, arg);
    }
    if (request == FICLONE) {
        whole.src_fd = (intptr_t)arg;
        return clone_range(fd, &whole);
    }
    return (int)syscall(SYS_ioctl, fd, request, arg);
}

EXPORT ssize_t copy_file_range(int in_fd, off64_t *in_off, int out_fd,
                               off64_t *out_off, size_t len, unsigned flags)
{
    struct call call;
    long rc;

    if (!shim_watch_fd(&call, KIND_CLONE, out_fd)) {
        return (ssize_t)syscall(SYS_copy_file_range, in_fd, in_off, out_fd,
                                out_off, len, flags);
    }
    call.record.off =
        (uint64_t)(out_off ? *out_off : lseek(out_fd, 0, SEEK_CUR));
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_copy_file_range, in_fd, in_off, out_fd, out_off, len,
                 flags);
    end_clone(&call, out_fd, rc, rc > 0 ? (uint64_t)rc : 0);
    return (ssize_t)rc;
}

/* -- flushing */

static int flush_any(int fd, long number)
{
    struct call call;
    struct stat st;
    long rc;

    if (!shim_watch_fd(&call, KIND_FLUSH, fd)) {
        return (int)syscall(number, fd);
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        call.record.kind = KIND_FLUSH_DIR;
    }
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(number, fd);
    shim_end(&call, rc);
    return (int)rc;
}

EXPORT int fsync(int fd)
{
    return flush_any(fd, SYS_fsync);
}

EXPORT int fdatasync(int fd)
{
    return flush_any(fd, SYS_fdatasync);
}
