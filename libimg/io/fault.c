/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: a wrapper whose reads and writes fail or stop short where a test
 * wants it. It has no descriptor, so that engines cannot read past it.
 */
#include <errno.h>
#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

struct fault_file {
    struct img_file file;
    struct img_fault fault;
    atomic_uint_least64_t reads_nr, writes_nr, flushes_nr, resizes_nr;
};

static struct fault_file *as_faulty(struct img_file *file)
{
    return (struct fault_file *)file;
}

static bool is_bad_range(const struct img_fault *fault, uint64_t off,
                         size_t len)
{
    if (off < fault->fail_from_off) {
        return fault->fail_len > 0 && fault->fail_from_off - off < len;
    }
    return off - fault->fail_from_off < fault->fail_len;
}

static ssize_t fault_pread(struct img_file *file, void *buf, size_t len,
                           uint64_t off)
{
    struct fault_file *faulty = as_faulty(file);
    const struct img_fault *fault = &faulty->fault;
    uint64_t call = atomic_fetch_add(&faulty->reads_nr, 1) + 1;

    if (fault->short_read > 0) {
        len = (size_t)img_min(len, fault->short_read);
    }
    if (call == fault->fail_at_read || is_bad_range(fault, off, len)) {
        return -(ssize_t)fault->fail_errno;
    }
    return file->inner->ops->pread(file->inner, buf, len, off);
}

static int fault_hole(struct img_file *file, uint64_t off, uint64_t len,
                      bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    return img_file_next_hole(file->inner, off, len, is_hole, run_len, err);
}

static int fault_physical(struct img_file *file, uint64_t off, uint64_t len,
                          struct img_physical *out, size_t nr, size_t *out_nr,
                          bool *supported, struct img_error *err)
{
    return img_file_physical(file->inner, off, len, out, nr, out_nr, supported,
                             err);
}

/* The next call of a kind: 0, or the errno that it fails with, negative. */
static int next_call(const struct img_fault *fault, atomic_uint_least64_t *nr,
                     uint64_t fail_at)
{
    return atomic_fetch_add(nr, 1) + 1 == fail_at ? -fault->fail_errno : 0;
}

/* As next_call, for what takes space up to END. */
static int next_space_call(struct fault_file *faulty, uint64_t end)
{
    const struct img_fault *fault = &faulty->fault;
    int rc = next_call(fault, &faulty->writes_nr, fault->fail_at_write);

    if (rc == 0 && fault->space_len > 0 && end > fault->space_len) {
        rc = -ENOSPC;
    }
    return rc;
}

static ssize_t fault_pwrite(struct img_file *file, const void *buf, size_t len,
                            uint64_t off)
{
    struct fault_file *faulty = as_faulty(file);
    const struct img_fault *fault = &faulty->fault;
    int rc;

    if (fault->short_write > 0) {
        len = (size_t)img_min(len, fault->short_write);
    }
    if (fault->space_len > off) {
        len = (size_t)img_min(len, fault->space_len - off);
    }
    rc = next_space_call(faulty, off + len);
    return rc < 0 ? rc : file->inner->ops->pwrite(file->inner, buf, len, off);
}

static int fault_zero(struct img_file *file, uint64_t off, uint64_t len,
                      enum img_zero_mode mode)
{
    struct fault_file *faulty = as_faulty(file);
    uint64_t end = mode == IMG_ZERO_KEEP ? off + len : 0;
    int rc = next_space_call(faulty, end);

    return rc < 0 ? rc : file->inner->ops->zero(file->inner, off, len, mode);
}

static void fault_discard(struct img_file *file, uint64_t off, uint64_t len)
{
    file->inner->ops->discard(file->inner, off, len);
}

static int fault_resize(struct img_file *file, uint64_t len)
{
    struct fault_file *faulty = as_faulty(file);
    int rc = next_call(&faulty->fault, &faulty->resizes_nr,
                       faulty->fault.fail_at_resize);

    return rc < 0 ? rc : file->inner->ops->resize(file->inner, len);
}

static int fault_reserve(struct img_file *file, uint64_t off, uint64_t len)
{
    int rc = next_space_call(as_faulty(file), off + len);

    return rc < 0 ? rc : file->inner->ops->reserve(file->inner, off, len);
}

static int fault_flush(struct img_file *file)
{
    struct fault_file *faulty = as_faulty(file);
    int rc = next_call(&faulty->fault, &faulty->flushes_nr,
                       faulty->fault.fail_at_flush);

    return rc < 0 ? rc : file->inner->ops->flush(file->inner);
}

static void fault_free(struct img_file *file)
{
    img_file_fini(file);
    free(file);
}

static const struct img_file_ops fault_ops = {
    .pread = fault_pread,
    .hole = fault_hole,
    .physical = fault_physical,
    .pwrite = fault_pwrite,
    .zero = fault_zero,
    .discard = fault_discard,
    .resize = fault_resize,
    .reserve = fault_reserve,
    .flush = fault_flush,
    .free = fault_free,
};

int img_file_with_faults(struct img_file *inner, const struct img_fault *fault,
                         struct img_file **out, struct img_error *err)
{
    struct fault_file *faulty = img_calloc(1, sizeof(*faulty), err);

    if (!faulty) {
        return -1;
    }
    if (img_file_init_wrapper(&faulty->file, &fault_ops, inner, err)) {
        fault_free(&faulty->file);
        return -1;
    }
    faulty->fault = *fault;
    if (fault->fail_errno == 0) {
        faulty->fault.fail_errno = EIO;
    }
    atomic_init(&faulty->reads_nr, 0);
    atomic_init(&faulty->writes_nr, 0);
    atomic_init(&faulty->flushes_nr, 0);
    atomic_init(&faulty->resizes_nr, 0);
    *out = &faulty->file;
    return 0;
}
