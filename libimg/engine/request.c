/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine: how a request becomes reads or writes of a descriptor.
 *
 * A request is done step by step: done_ bytes are settled, each answer of
 * the kernel adds to them until the request is full or, reading, the file
 * ends, where the rest is zeroed.
 *
 * A step that direct I/O would refuse reads an aligned window around it into
 * a bounce buffer; one that writes whole blocks from a badly placed buffer
 * is copied to one. Writing parts of blocks is left to img_file_write, which
 * knows how two requests share a block.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/write.h>

#include "engine_impl.h"

/* The kernel cuts reads at 2 GiB less a page; a power of two is aligned. */
#define STEP_LEN (1u << 30)
#define BOUNCE_LEN (1u << 20)
#define BOUNCE_ALIGN 4096u /* of the allocation, at least */

/* Where the next step begins, and how much the file lets it read. */
struct position {
    uint64_t off; /* in the descriptor */
    uint64_t len; /* of the request that is left before the slice's end */
    char *buf;
    uint32_t align;
    bool needs_bounce;
};

static struct position find_position(const struct img_request *request)
{
    struct position at = {0};
    uint64_t base, end;
    uint64_t limit = img_file_fd_len(request->file);
    uint64_t off = request->off + request->done_;

    (void)img_file_fd(request->file, &base);
    at.align = img_file_direct_align(request->file);
    at.buf = (char *)request->buf + request->done_;
    /* Past IMG_OFF_MAX there is no file. */
    if (off < request->off || off >= limit || !img_add(base, off, &at.off)) {
        return at;
    }
    end = img_min(request->len - request->done_, limit - off);
    at.len = img_min(end, IMG_OFF_MAX - at.off);
    at.needs_bounce =
        (((uintptr_t)at.buf | at.off | at.len) & (at.align - 1)) != 0;
    return at;
}

bool img_request_needs_sync(const struct img_request *request)
{
    uint64_t base;

    return img_file_fd(request->file, &base) < 0;
}

/* Errors that no system call is behind have an errno, too. */
static int errno_of(const struct img_error *err)
{
    if (err->sys_errno) {
        return err->sys_errno;
    }
    switch ((int)err->code) {
    case IMG_USAGE: /* not open for writing */
        return EBADF;
    case IMG_LIMIT: /* past the end of what can be written */
        return EFBIG;
    case IMG_MEMORY:
        return ENOMEM;
    default:
        return EIO;
    }
}

static int read_rest(const struct img_request *request, struct img_error *err)
{
    char *buf = (char *)request->buf + request->done_;
    size_t len = request->len - request->done_;

    if (request->off > UINT64_MAX - request->done_) {
        memset(buf, 0, len);
        return 0;
    }
    return img_file_read_padded(request->file, buf, len,
                                request->off + request->done_, NULL, err);
}

/* done_ bytes were written inside the file, so that the sum fits. */
static int write_rest(const struct img_request *request, struct img_error *err)
{
    return img_file_write(
        request->file, (const char *)request->buf + request->done_,
        request->len - request->done_, request->off + request->done_, err);
}

void img_request_finish_sync(struct img_request *request)
{
    struct img_error err;
    int rc = request->op == IMG_REQUEST_WRITE ? write_rest(request, &err)
                                              : read_rest(request, &err);

    request->result = rc ? -errno_of(&err) : 0;
    request->done_ = request->len;
}

/* Reading, nothing more is to be had. */
static void finish(struct img_request *request, int result)
{
    if (result == 0 && request->op != IMG_REQUEST_WRITE) {
        memset((char *)request->buf + request->done_, 0,
               request->len - request->done_);
    }
    request->result = result;
}

/*
 * Bytes of a bounced step that are the request's. The window around them
 * never grows from one step to the next: it ends at the same place or is
 * full already. So the first allocation serves all steps.
 */
static uint64_t bounced_len(const struct position *at)
{
    uint64_t skip = at->off & (at->align - 1);

    return img_min(at->len, BOUNCE_LEN - skip);
}

static bool prepare_bounce(struct img_request *request,
                           const struct position *at,
                           struct img_request_step *step)
{
    uint64_t start = img_align_down(at->off, at->align);
    uint64_t want = at->off - start + bounced_len(at);

    if (!request->bounce_ &&
        posix_memalign(&request->bounce_, img_max(at->align, BOUNCE_ALIGN),
                       img_align_up(want, at->align))) {
        request->bounce_ = NULL;
        finish(request, -ENOMEM);
        return false;
    }
    step->buf = request->bounce_;
    step->off = start;
    step->len = (uint32_t)img_align_up(want, at->align);
    if (request->op == IMG_REQUEST_WRITE) {
        memcpy(request->bounce_, at->buf, step->len);
    }
    return true;
}

/*
 * May the rest be written through the descriptor? Only what is inside the
 * file and whole blocks.
 */
static bool is_plain_write(const struct img_request *request,
                           const struct position *at)
{
    uint64_t left = request->len - request->done_;

    return img_file_is_writable(request->file) && at->len == left &&
           ((at->off | at->len) & (at->align - 1)) == 0 &&
           (img_file_kind(request->file) != IMG_FILE_BLOCK ||
            img_range_fits(request->off + request->done_, left,
                           img_file_len(request->file)));
}

bool img_request_next_step(struct img_request *request,
                           struct img_request_step *step)
{
    struct position at = find_position(request);
    uint64_t base;

    if (request->op == IMG_REQUEST_WRITE && !is_plain_write(request, &at)) {
        img_request_finish_sync(request);
        return false;
    }
    if (at.len == 0) {
        finish(request, 0);
        return false;
    }
    step->op = request->op;
    step->fd = img_file_fd(request->file, &base);
    if (request->op == IMG_REQUEST_WRITE) {
        img_file_note_writing(request->file, request->off, request->len);
    }
    if (at.needs_bounce) {
        return prepare_bounce(request, &at, step);
    }
    step->buf = at.buf;
    step->off = at.off;
    step->len = (uint32_t)img_min(at.len, STEP_LEN);
    return true;
}

/* The part of a window of N bytes that was asked for; copies it. */
static size_t take_bounced(struct img_request *request,
                           const struct position *at, size_t n)
{
    size_t skip = (size_t)(at->off & (at->align - 1));

    if (n <= skip) {
        return 0;
    }
    n = (size_t)img_min(n - skip, bounced_len(at));
    memcpy(at->buf, (char *)request->bounce_ + skip, n);
    return n;
}

bool img_request_take_result(struct img_request *request, int res)
{
    struct position at = find_position(request);
    size_t n;

    if (res == -EINTR) {
        return true;
    }
    if (res == -EAGAIN) { /* cannot be done asynchronously: do it here */
        img_request_finish_sync(request);
        return false;
    }
    if (res < 0) {
        finish(request, res);
        return false;
    }
    if (request->op == IMG_REQUEST_WRITE) {
        n = (size_t)res;
        img_file_note_written(request->file, request->off + request->done_, n);
    } else {
        n = at.needs_bounce ? take_bounced(request, &at, (size_t)res)
                            : (size_t)res;
    }
    if (n == 0) {
        finish(request, request->op == IMG_REQUEST_WRITE ? -EIO : 0);
        return false;
    }
    request->done_ += n;
    if (request->done_ == request->len) {
        request->result = 0;
        return false;
    }
    return true;
}

void img_request_release(struct img_request *request)
{
    free(request->bounce_);
    request->bounce_ = NULL;
}
