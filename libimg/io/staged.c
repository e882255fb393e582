/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: changes of a file that are kept in memory: see img/staged.h.
 *
 * Invariants: a page that was written is held whole; bytes of it beyond the
 * length of the file are zeros. What lies at or beyond UNTOUCHED of the file
 * below is not seen any more: the file was cut there once.
 */
#include <img/staged.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

#define SLOTS_MIN 256u

struct page {
    uint64_t off;
    uint8_t *bytes; /* NULL: a free slot */
};

struct staged_file {
    struct img_file file;
    struct img_file *below; /* own reference */
    uint64_t untouched;
    uint32_t page_len;
    uint64_t memory_left;
    bool is_full;       /* a page was refused */
    struct page *slots; /* a hash by offset; NR of ROOM are used */
    size_t nr, room;
};

static struct staged_file *as_staged(struct img_file *file)
{
    return (struct staged_file *)file;
}

/* The slot of the page at OFF, or the free one where it would be. */
static struct page *slot_of(const struct staged_file *staged, uint64_t off)
{
    size_t mask = staged->room - 1;
    size_t i = (size_t)((off / staged->page_len * 0x9e3779b97f4a7c15ull) >> 17);

    for (i &= mask; staged->slots[i].bytes && staged->slots[i].off != off;) {
        i = (i + 1) & mask;
    }
    return &staged->slots[i];
}

static const uint8_t *page_find(const struct staged_file *staged, uint64_t off)
{
    return staged->nr > 0 ? slot_of(staged, off)->bytes : NULL;
}

/* LEN bytes at OFF as they are below; zeros past its end. */
static int below_read(struct staged_file *staged, uint8_t *buf, size_t len,
                      uint64_t off)
{
    uint64_t end = img_min(staged->untouched, img_file_len(staged->below));
    size_t want = off < end ? (size_t)img_min(len, end - off) : 0;
    size_t done = 0;

    while (done < want) {
        ssize_t n = staged->below->ops->pread(staged->below, buf + done,
                                              want - done, off + done);
        if (n < 0 && n != -EINTR) {
            return (int)n;
        }
        if (n == 0) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    memset(buf + done, 0, len - done);
    return 0;
}

static ssize_t staged_pread(struct img_file *file, void *buf, size_t len,
                            uint64_t off)
{
    struct staged_file *staged = as_staged(file);
    uint64_t file_len = img_file_len(file);
    uint8_t *to = buf;
    int rc;

    len = off < file_len ? (size_t)img_min(len, file_len - off) : 0;
    if (len == 0) {
        return 0;
    }
    rc = below_read(staged, to, len, off);
    if (rc < 0) {
        return rc;
    }
    for (size_t done = 0; staged->nr > 0 && done < len;) {
        uint64_t at = off + done;
        uint64_t page_off = img_align_down(at, staged->page_len);
        size_t skip = (size_t)(at - page_off);
        size_t some = (size_t)img_min(len - done, staged->page_len - skip);
        const uint8_t *bytes = page_find(staged, page_off);

        if (bytes) {
            memcpy(to + done, bytes + skip, some);
        }
        done += some;
    }
    return (ssize_t)len;
}

static int staged_stamp(const struct img_file *file, struct img_stamp *out,
                        struct img_error *err)
{
    if (img_file_stamp(((const struct staged_file *)file)->below, out, err)) {
        return -1;
    }
    out->len = img_file_len(file);
    return 0;
}

/* Everything is data: a page may lie where the file below has a hole. */
static int staged_hole(struct img_file *file, uint64_t off, uint64_t len,
                       bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    (void)err;
    *is_hole = off >= file_len;
    *run_len = *is_hole ? len : img_min(len, file_len - off);
    return 0;
}

static int slots_grow(struct staged_file *staged)
{
    struct page *old = staged->slots;
    size_t old_room = staged->room;
    size_t room = img_max(old_room * 2, SLOTS_MIN);
    struct page *slots;

    if (staged->nr + staged->nr / 2 < old_room) {
        return 0;
    }
    slots = calloc(room, sizeof(*slots));
    if (!slots) {
        return -ENOMEM;
    }
    staged->slots = slots;
    staged->room = room;
    for (size_t i = 0; i < old_room; i++) {
        if (old[i].bytes) {
            *slot_of(staged, old[i].off) = old[i];
        }
    }
    free(old);
    return 0;
}

/* The page at OFF, to be written: made as it is below where it is not held. */
static int page_make(struct staged_file *staged, uint64_t off, uint8_t **out)
{
    uint64_t cost = staged->page_len + 4 * sizeof(struct page);
    struct page *slot;
    int rc = slots_grow(staged);

    if (rc < 0) {
        return rc;
    }
    slot = slot_of(staged, off);
    if (!slot->bytes) {
        uint8_t *bytes = NULL;

        staged->is_full = staged->is_full || cost > staged->memory_left;
        if (staged->is_full || !(bytes = malloc(staged->page_len))) {
            return -ENOMEM;
        }
        rc = below_read(staged, bytes, staged->page_len, off);
        if (rc < 0) {
            free(bytes);
            return rc;
        }
        staged->memory_left -= cost;
        *slot = (struct page){off, bytes};
        staged->nr++;
    }
    *out = slot->bytes;
    return 0;
}

static void raise_len(struct img_file *file, uint64_t end)
{
    img_file_raise(&file->reach, end);
    img_file_raise(&file->len, end);
}

static ssize_t staged_pwrite(struct img_file *file, const void *buf, size_t len,
                             uint64_t off)
{
    struct staged_file *staged = as_staged(file);
    uint64_t page_off = img_align_down(off, staged->page_len);
    size_t skip = (size_t)(off - page_off);
    uint8_t *bytes;
    int rc = page_make(staged, page_off, &bytes);

    if (rc < 0) {
        return rc;
    }
    len = (size_t)img_min(len, staged->page_len - skip);
    memcpy(bytes + skip, buf, len);
    raise_len(file, off + len);
    return (ssize_t)len;
}

static int staged_zero(struct img_file *file, uint64_t off, uint64_t len,
                       enum img_zero_mode mode)
{
    static const uint8_t zeros[4096];

    (void)mode;
    while (len > 0) {
        ssize_t n = staged_pwrite(file, zeros,
                                  (size_t)img_min(len, sizeof(zeros)), off);
        if (n < 0) {
            return (int)n;
        }
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

static void staged_discard(struct img_file *file, uint64_t off, uint64_t len)
{
    (void)file;
    (void)off;
    (void)len;
}

/* Held pages beyond LEN have nothing but zeros from now on. */
static int staged_resize(struct img_file *file, uint64_t len)
{
    struct staged_file *staged = as_staged(file);

    if (len < img_file_len(file)) {
        for (size_t i = 0; i < staged->room; i++) {
            struct page *page = &staged->slots[i];
            uint64_t keep = page->bytes && page->off < len
                                ? img_min(len - page->off, staged->page_len)
                                : 0;

            if (page->bytes) {
                memset(page->bytes + keep, 0, staged->page_len - keep);
            }
        }
        staged->untouched = img_min(staged->untouched, len);
    }
    atomic_store(&file->len, len);
    atomic_store(&file->reach, len);
    return 0;
}

static int staged_reserve(struct img_file *file, uint64_t off, uint64_t len)
{
    raise_len(file, off + len);
    return 0;
}

static int staged_flush(struct img_file *file)
{
    (void)file;
    return 0;
}

static void staged_free(struct img_file *file)
{
    struct staged_file *staged = as_staged(file);

    for (size_t i = 0; i < staged->room; i++) {
        free(staged->slots[i].bytes);
    }
    free(staged->slots);
    img_file_unref(staged->below);
    img_file_fini(file);
    free(staged);
}

static const struct img_file_ops staged_ops = {
    .pread = staged_pread,
    .stamp = staged_stamp,
    .hole = staged_hole,
    .pwrite = staged_pwrite,
    .zero = staged_zero,
    .discard = staged_discard,
    .resize = staged_resize,
    .reserve = staged_reserve,
    .flush = staged_flush,
    .free = staged_free,
};

int img_file_staged(struct img_file *below, uint32_t page_len,
                    uint64_t max_memory, struct img_file **out,
                    struct img_error *err)
{
    struct staged_file *staged = img_calloc(1, sizeof(*staged), err);
    const char *path = img_file_path(below);

    if (!staged) {
        return -1;
    }
    img_file_init(&staged->file, &staged_ops);
    /* It grows as a file in memory does, whatever is below. */
    staged->file.kind = IMG_FILE_MEMORY;
    staged->file.dev = below->dev;
    staged->file.ino = below->ino;
    staged->file.rdev = below->rdev;
    staged->file.allocated_len = below->allocated_len;
    staged->file.is_writable = true;
    atomic_init(&staged->file.len, img_file_len(below));
    atomic_init(&staged->file.reach, img_file_len(below));
    staged->below = img_file_ref(below);
    staged->untouched = img_file_len(below);
    staged->page_len = page_len;
    staged->memory_left = max_memory;
    staged->file.path = img_strndup(path, strlen(path), err);
    if (!staged->file.path) {
        staged_free(&staged->file);
        return -1;
    }
    *out = &staged->file;
    return 0;
}

bool img_staged_is_full(const struct img_file *file)
{
    return ((const struct staged_file *)file)->is_full;
}

static int off_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

int img_staged_pages(struct img_file *file, uint64_t **out, size_t *nr,
                     struct img_error *err)
{
    struct staged_file *staged = as_staged(file);
    uint64_t *offs = NULL;

    *out = NULL;
    *nr = 0;
    if (staged->nr == 0) {
        return 0;
    }
    offs = img_calloc(staged->nr, sizeof(*offs), err);
    if (!offs) {
        return -1;
    }
    for (size_t i = 0; i < staged->room; i++) {
        if (staged->slots[i].bytes) {
            offs[(*nr)++] = staged->slots[i].off;
        }
    }
    qsort(offs, *nr, sizeof(*offs), off_compare);
    *out = offs;
    return 0;
}
