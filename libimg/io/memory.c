/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: a file in memory, which is always writable and has no holes. Each
 * has an inode number of its own, so that two are never taken for the same
 * file.
 *
 * Invariant: bytes[len, capacity) are zeros. The bytes move when the file
 * grows, so growing excludes everybody (lock); writes inside it, which do not
 * overlap, share.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

struct memory_file {
    struct img_file file;
    pthread_rwlock_t lock;
    uint8_t *bytes;
    uint64_t capacity;
};

#define CAPACITY_MIN 4096u
#define CAPACITY_MAX ((uint64_t)4 << 30) /* before a machine starts to swap */

static struct memory_file *as_memory(struct img_file *file)
{
    return (struct memory_file *)file;
}

static ssize_t memory_pread(struct img_file *file, void *buf, size_t len,
                            uint64_t off)
{
    struct memory_file *memory = as_memory(file);
    uint64_t file_len;

    pthread_rwlock_rdlock(&memory->lock);
    file_len = img_file_len(file);
    len = off < file_len ? (size_t)img_min(len, file_len - off) : 0;
    if (len > 0) {
        memcpy(buf, memory->bytes + off, len);
    }
    pthread_rwlock_unlock(&memory->lock);
    return (ssize_t)len;
}

static int memory_stamp(const struct img_file *file, struct img_stamp *out,
                        struct img_error *err)
{
    (void)err;
    *out = (struct img_stamp){
        .ino = file->ino,
        .len = img_file_len(file),
        .mode = S_IFREG | S_IRUSR,
    };
    return 0;
}

static int memory_hole(struct img_file *file, uint64_t off, uint64_t len,
                       bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    (void)err;
    *is_hole = off >= file_len;
    *run_len = *is_hole ? len : img_min(len, file_len - off);
    return 0;
}

/* Room for LEN bytes; all are locked out. */
static int make_room(struct memory_file *memory, uint64_t len)
{
    uint64_t capacity = img_max(memory->capacity, CAPACITY_MIN);
    uint8_t *bytes;

    if (len <= memory->capacity) {
        return 0;
    }
    if (len > CAPACITY_MAX) {
        return -EFBIG;
    }
    while (capacity < len) {
        capacity *= 2;
    }
    bytes = realloc(memory->bytes, capacity);
    if (!bytes) {
        return -ENOMEM;
    }
    memset(bytes + memory->capacity, 0, capacity - memory->capacity);
    memory->bytes = bytes;
    memory->capacity = capacity;
    return 0;
}

static int memory_resize(struct img_file *file, uint64_t len)
{
    struct memory_file *memory = as_memory(file);
    int rc;

    pthread_rwlock_wrlock(&memory->lock);
    rc = make_room(memory, len);
    if (rc == 0 && len < file->len) {
        memset(memory->bytes + len, 0, file->len - len);
    }
    if (rc == 0) {
        file->len = len;
        file->reach = len;
    }
    pthread_rwlock_unlock(&memory->lock);
    return rc;
}

/* Let the file reach END at least. */
static int memory_grow(struct img_file *file, uint64_t end)
{
    struct memory_file *memory = as_memory(file);
    int rc;

    if (img_file_len(file) >= end) {
        return 0;
    }
    pthread_rwlock_wrlock(&memory->lock);
    rc = make_room(memory, end);
    if (rc == 0) {
        img_file_note_written(file, end, 0);
    }
    pthread_rwlock_unlock(&memory->lock);
    return rc;
}

static ssize_t memory_pwrite(struct img_file *file, const void *buf, size_t len,
                             uint64_t off)
{
    struct memory_file *memory = as_memory(file);
    int rc = memory_grow(file, off + len);

    if (rc < 0) {
        return rc;
    }
    pthread_rwlock_rdlock(&memory->lock);
    memcpy(memory->bytes + off, buf, len);
    pthread_rwlock_unlock(&memory->lock);
    return (ssize_t)len;
}

static int memory_zero(struct img_file *file, uint64_t off, uint64_t len,
                       enum img_zero_mode mode)
{
    struct memory_file *memory = as_memory(file);
    int rc = memory_grow(file, off + len);

    (void)mode;
    if (rc < 0) {
        return rc;
    }
    pthread_rwlock_rdlock(&memory->lock);
    memset(memory->bytes + off, 0, len);
    pthread_rwlock_unlock(&memory->lock);
    return 0;
}

static void memory_discard(struct img_file *file, uint64_t off, uint64_t len)
{
    (void)memory_zero(file, off, len, IMG_ZERO_UNMAP);
}

static int memory_reserve(struct img_file *file, uint64_t off, uint64_t len)
{
    return memory_grow(file, off + len);
}

static int memory_flush(struct img_file *file)
{
    (void)file;
    return 0;
}

static void memory_free(struct img_file *file)
{
    struct memory_file *memory = as_memory(file);

    pthread_rwlock_destroy(&memory->lock);
    free(memory->bytes);
    img_file_fini(file);
    free(memory);
}

static const struct img_file_ops memory_ops = {
    .pread = memory_pread,
    .stamp = memory_stamp,
    .hole = memory_hole,
    .pwrite = memory_pwrite,
    .zero = memory_zero,
    .discard = memory_discard,
    .resize = memory_resize,
    .reserve = memory_reserve,
    .flush = memory_flush,
    .free = memory_free,
};

int img_file_from_memory(const char *name, const void *bytes, size_t len,
                         struct img_file **out, struct img_error *err)
{
    static atomic_uint_least64_t next_ino = 1;
    struct memory_file *memory = img_calloc(1, sizeof(*memory), err);

    if (!memory) {
        return -1;
    }
    img_file_init(&memory->file, &memory_ops);
    memory->file.kind = IMG_FILE_MEMORY;
    memory->file.ino = atomic_fetch_add(&next_ino, 1);
    memory->file.is_writable = true;
    atomic_init(&memory->file.len, len);
    atomic_init(&memory->file.reach, len);
    pthread_rwlock_init(&memory->lock, NULL);
    memory->file.allocated_len = len;
    memory->file.path = img_strndup(name, strlen(name), err);
    memory->bytes = img_calloc(len ? len : 1, 1, err);
    if (!memory->file.path || !memory->bytes) {
        memory_free(&memory->file);
        return -1;
    }
    memory->capacity = len ? len : 1;
    if (len > 0) {
        memcpy(memory->bytes, bytes, len);
    }
    *out = &memory->file;
    return 0;
}
