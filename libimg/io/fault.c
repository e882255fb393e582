/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: a wrapper whose reads fail or stop short where a test wants it.
 * It has no descriptor, so that engines cannot read past it.
 */
#include <errno.h>
#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

struct fault_file {
    struct img_file file;
    struct img_fault fault;
    atomic_uint_least64_t reads_nr;
};

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
    struct fault_file *faulty = (struct fault_file *)file;
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

static void fault_free(struct img_file *file)
{
    img_file_fini(file);
    free(file);
}

static const struct img_file_ops fault_ops = {
    .pread = fault_pread,
    .hole = fault_hole,
    .physical = fault_physical,
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
    *out = &faulty->file;
    return 0;
}
