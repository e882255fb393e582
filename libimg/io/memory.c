/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: a file in memory. Its bytes never change; each has an inode
 * number of its own, so that two are never taken for the same file.
 */
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

struct memory_file {
    struct img_file file;
    uint8_t *bytes;
};

static ssize_t memory_pread(struct img_file *file, void *buf, size_t len,
                            uint64_t off)
{
    const struct memory_file *memory = (const struct memory_file *)file;

    if (off >= file->len) {
        return 0;
    }
    len = (size_t)img_min(len, file->len - off);
    memcpy(buf, memory->bytes + off, len);
    return (ssize_t)len;
}

static int memory_stamp(const struct img_file *file, struct img_stamp *out,
                        struct img_error *err)
{
    (void)err;
    *out = (struct img_stamp){
        .ino = file->ino,
        .len = file->len,
        .mode = S_IFREG | S_IRUSR,
    };
    return 0;
}

static int memory_hole(struct img_file *file, uint64_t off, uint64_t len,
                       bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    (void)err;
    *is_hole = off >= file->len;
    *run_len = *is_hole ? len : img_min(len, file->len - off);
    return 0;
}

static void memory_free(struct img_file *file)
{
    struct memory_file *memory = (struct memory_file *)file;

    free(memory->bytes);
    img_file_fini(file);
    free(memory);
}

static const struct img_file_ops memory_ops = {
    .pread = memory_pread,
    .stamp = memory_stamp,
    .hole = memory_hole,
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
    memory->file.len = len;
    memory->file.allocated_len = len;
    memory->file.path = img_strndup(name, strlen(name), err);
    memory->bytes = img_calloc(len ? len : 1, 1, err);
    if (!memory->file.path || !memory->bytes) {
        memory_free(&memory->file);
        return -1;
    }
    if (len > 0) {
        memcpy(memory->bytes, bytes, len);
    }
    *out = &memory->file;
    return 0;
}
