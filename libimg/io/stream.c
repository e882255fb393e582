/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: what can be kept of a file that comes through a pipe.
 *
 * Invariant: head holds bytes [0, head_len), tail the last tail_len bytes of
 * the file; the two may overlap or meet. Nothing else is ever held, however
 * long the stream is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

/* As much as is read at once: one pipe's buffer, and never more than the tail
   has room for. */
#define CHUNK_LEN IMG_STREAM_TAIL_LEN

struct stream_file {
    struct img_file file;
    uint8_t *head, *tail;
    size_t head_len, tail_len;
    size_t head_room;
};

static ssize_t stream_pread(struct img_file *file, void *buf, size_t len,
                            uint64_t off)
{
    struct stream_file *stream = (struct stream_file *)file;
    uint64_t file_len = img_file_len(file);
    uint64_t tail_off = file_len - stream->tail_len;

    if (off >= file_len) {
        return 0;
    }
    if (off < stream->head_len) {
        len = (size_t)img_min(len, stream->head_len - off);
        memcpy(buf, stream->head + off, len);
        return (ssize_t)len;
    }
    if (off < tail_off) {
        return -ESPIPE;
    }
    len = (size_t)img_min(len, file_len - off);
    memcpy(buf, stream->tail + (off - tail_off), len);
    return (ssize_t)len;
}

static int stream_stamp(const struct img_file *file, struct img_stamp *out,
                        struct img_error *err)
{
    (void)err;
    *out = (struct img_stamp){.len = img_file_len(file), .mode = S_IFIFO};
    return 0;
}

static int stream_hole(struct img_file *file, uint64_t off, uint64_t len,
                       bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    (void)err;
    *is_hole = off >= file_len;
    *run_len = *is_hole ? len : img_min(len, file_len - off);
    return 0;
}

static void stream_free(struct img_file *file)
{
    struct stream_file *stream = (struct stream_file *)file;

    free(stream->head);
    free(stream->tail);
    img_file_fini(file);
    free(stream);
}

static const struct img_file_ops stream_ops = {
    .pread = stream_pread,
    .stamp = stream_stamp,
    .hole = stream_hole,
    .free = stream_free,
};

/* Room for LEN bytes of the head: it grows with what really comes. */
static int head_reserve(struct stream_file *stream, size_t len,
                        struct img_error *err)
{
    size_t room = stream->head_room ? stream->head_room : CHUNK_LEN;

    if (len <= stream->head_room) {
        return 0;
    }
    while (room < len) {
        room *= 2;
    }
    uint8_t *head = realloc(stream->head, room);
    if (!head) {
        return img_fail_memory(err);
    }
    stream->head = head;
    stream->head_room = room;
    return 0;
}

static int head_keep(struct stream_file *stream, const uint8_t *bytes,
                     size_t len, struct img_error *err)
{
    len = (size_t)img_min(len, IMG_STREAM_HEAD_LEN - stream->head_len);
    if (len == 0) {
        return 0;
    }
    if (head_reserve(stream, stream->head_len + len, err)) {
        return -1;
    }
    memcpy(stream->head + stream->head_len, bytes, len);
    stream->head_len += len;
    return 0;
}

static void tail_keep(struct stream_file *stream, const uint8_t *bytes,
                      size_t len)
{
    size_t stay = (size_t)img_min(stream->tail_len, IMG_STREAM_TAIL_LEN - len);

    memmove(stream->tail, stream->tail + (stream->tail_len - stay), stay);
    memcpy(stream->tail + stay, bytes, len);
    stream->tail_len = stay + len;
}

static int keep(struct stream_file *stream, const uint8_t *bytes, size_t len,
                uint64_t max_len, struct img_error *err)
{
    uint64_t end;

    if (!img_add(img_file_len(&stream->file), len, &end) ||
        (max_len && end > max_len)) {
        return img_fail(err, IMG_LIMIT,
                        "the stream is longer than the %llu bytes that are "
                        "allowed",
                        (unsigned long long)(max_len ? max_len : IMG_OFF_MAX));
    }
    if (head_keep(stream, bytes, len, err)) {
        return -1;
    }
    tail_keep(stream, bytes, len);
    atomic_store(&stream->file.len, end);
    return 0;
}

static int stream_read(struct stream_file *stream, int fd, uint64_t max_len,
                       const volatile int *cancel, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *chunk = img_calloc(1, CHUNK_LEN, err);

    if (!chunk) {
        return -1;
    }
    for (;;) {
        if (cancel && *cancel) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
        ssize_t n = read(fd, chunk, CHUNK_LEN);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            img_fail_sys(err, errno, "cannot read the stream");
            err->code = IMG_IO;
            return -1;
        }
        if (n > 0 && keep(stream, chunk, (size_t)n, max_len, err)) {
            return -1;
        }
    }
}

int img_file_from_stream(int fd, const char *name, uint64_t max_len,
                         const volatile int *cancel, struct img_file **out,
                         struct img_error *err)
{
    struct stream_file *stream = img_calloc(1, sizeof(*stream), err);

    if (!stream) {
        return -1;
    }
    img_file_init(&stream->file, &stream_ops);
    stream->file.kind = IMG_FILE_STREAM;
    stream->file.path = img_strndup(name, strlen(name), err);
    stream->tail = img_calloc(1, IMG_STREAM_TAIL_LEN, err);
    if (!stream->file.path || !stream->tail ||
        stream_read(stream, fd, max_len, cancel, err)) {
        img_error_set_path(err, name);
        stream_free(&stream->file);
        return -1;
    }
    stream->file.allocated_len = img_file_len(&stream->file);
    *out = &stream->file;
    return 0;
}
