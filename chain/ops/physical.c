/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared blocks: see physical.h.
 *
 * Equal physical offsets prove equal bytes only while both answers hold at
 * one time: a file system that moves extents (balance, defragmentation) may
 * put one extent where another one was. A's window is therefore asked for
 * again after B's, and a window whose answer changed is not believed.
 */
#include "physical.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include <img/checked.h>
#include <img/memory.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define WINDOW_EXTENTS 128u
#define WINDOW_LEN (1ull << 30)
#define PAIRS 8u
/* How often to ask when the answers change meanwhile. */
#define TRIES 3u
#define FILES_MAX 1024u

struct file_info {
    const struct img_file *file;
    bool can_share;
    uint64_t dev;
};

struct window {
    uint64_t off, end; /* what is known; empty: nothing */
    size_t nr;
    struct img_physical extents[WINDOW_EXTENTS];
};

struct pair {
    const struct img_file *file[2];
    struct window window[2];
    bool is_believed;
};

struct chain_physical {
    struct file_info *files;
    size_t files_nr, files_cap;
    size_t last[2]; /* where the last two were found */
    struct pair pairs[PAIRS];
    unsigned next_pair;
    struct window again;
};

/* Where an offset of a file lies; is_known false: not on blocks to trust. */
struct place {
    bool is_known;
    uint64_t physical_off;
    uint64_t run_len;
};

struct chain_physical *chain_physical_new(struct img_error *err)
{
    return img_calloc(1, sizeof(struct chain_physical), err);
}

void chain_physical_free(struct chain_physical *physical)
{
    if (physical) {
        free(physical->files);
        free(physical);
    }
}

/* The file systems with reflinks; on others asking is in vain. Which answers
   can be trusted at all is for img_file_physical to say. */
static bool fd_can_share(int fd)
{
    struct statfs fs;

    if (fd < 0 || fstatfs(fd, &fs) != 0) {
        return false;
    }
    return (unsigned long)fs.f_type == BTRFS_SUPER_MAGIC ||
           (unsigned long)fs.f_type == XFS_SUPER_MAGIC;
}

static void file_info_init(struct file_info *info, const struct img_file *file)
{
    struct img_stamp stamp;
    struct img_error ignored;
    uint64_t base;

    info->file = file;
    info->can_share = img_file_kind(file) == IMG_FILE_REGULAR &&
                      fd_can_share(img_file_fd(file, &base)) &&
                      img_file_stamp(file, &stamp, &ignored) == 0;
    info->dev = info->can_share ? stamp.dev : 0;
}

/* What is known about FILE; NULL when there is no room to remember it. */
static const struct file_info *find_file(struct chain_physical *physical,
                                         unsigned side,
                                         const struct img_file *file)
{
    size_t last = physical->last[side];

    if (last < physical->files_nr && physical->files[last].file == file) {
        return &physical->files[last];
    }
    size_t idx = 0;
    while (idx < physical->files_nr && physical->files[idx].file != file) {
        idx++;
    }
    if (idx == FILES_MAX) {
        return NULL;
    }
    if (idx == physical->files_cap) {
        size_t cap = idx == 0 ? 16 : 2 * idx;
        struct file_info *more = realloc(physical->files, cap * sizeof(*more));
        if (!more) {
            return NULL;
        }
        physical->files = more;
        physical->files_cap = cap;
    }
    if (idx == physical->files_nr) {
        file_info_init(&physical->files[physical->files_nr++], file);
    }
    physical->last[side] = idx;
    return &physical->files[idx];
}

static bool is_pair_possible(struct chain_physical *physical,
                             const struct img_file *a, const struct img_file *b)
{
    /* The second look-up may move the array: copy the first answer. */
    const struct file_info *info = find_file(physical, 0, a);
    if (!info || !info->can_share) {
        return false;
    }
    uint64_t dev = info->dev;
    info = find_file(physical, 1, b);
    return info && info->can_share && info->dev == dev;
}

static bool window_load(struct window *window, struct img_file *file,
                        uint64_t off)
{
    struct img_error ignored;
    bool is_supported = false;

    window->off = off;
    window->end = off + WINDOW_LEN;
    window->nr = 0;
    if (img_file_physical(file, off, WINDOW_LEN, window->extents,
                          WINDOW_EXTENTS, &window->nr, &is_supported,
                          &ignored) != 0 ||
        !is_supported) {
        window->nr = 0;
        return false;
    }
    if (window->nr == WINDOW_EXTENTS) {
        const struct img_physical *last = &window->extents[window->nr - 1];
        window->end = last->off + last->len;
    }
    return window->end > off;
}

static bool window_is_equal(const struct window *a, const struct window *b)
{
    if (a->off != b->off || a->end != b->end || a->nr != b->nr) {
        return false;
    }
    for (size_t i = 0; i < a->nr; i++) {
        const struct img_physical *x = &a->extents[i], *y = &b->extents[i];
        if (x->off != y->off || x->len != y->len ||
            x->physical_off != y->physical_off ||
            x->is_trusted != y->is_trusted) {
            return false;
        }
    }
    return true;
}

static bool window_covers(const struct window *window, uint64_t off)
{
    return off >= window->off && off < window->end;
}

static void pair_load(struct chain_physical *physical, struct pair *pair,
                      struct img_file *a, uint64_t a_off, struct img_file *b,
                      uint64_t b_off)
{
    bool is_told = window_load(&pair->window[0], a, a_off);

    pair->file[0] = a;
    pair->file[1] = b;
    pair->is_believed = false;
    /* To ask settles delayed allocation, which may move what was told. */
    for (unsigned i = 0; i < TRIES && is_told && !pair->is_believed; i++) {
        is_told = window_load(&pair->window[1], b, b_off) &&
                  window_load(&physical->again, a, a_off);
        pair->is_believed =
            is_told && window_is_equal(&physical->again, &pair->window[0]);
        if (is_told) {
            pair->window[0] = physical->again;
        }
    }
}

static struct pair *pair_at(struct chain_physical *physical, struct img_file *a,
                            uint64_t a_off, struct img_file *b, uint64_t b_off)
{
    struct pair *pair = NULL;

    for (unsigned i = 0; i < PAIRS && !pair; i++) {
        if (physical->pairs[i].file[0] == a &&
            physical->pairs[i].file[1] == b) {
            pair = &physical->pairs[i];
        }
    }
    if (!pair) {
        pair = &physical->pairs[physical->next_pair++ % PAIRS];
        memset(pair, 0, sizeof(*pair));
    }
    if (!window_covers(&pair->window[0], a_off) ||
        !window_covers(&pair->window[1], b_off)) {
        pair_load(physical, pair, a, a_off, b, b_off);
    }
    return pair;
}

static struct place window_place(const struct window *window, uint64_t off)
{
    struct place place = {.run_len = window->end - off};
    size_t low = 0, high = window->nr;

    /* The first extent that ends after OFF. */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct img_physical *e = &window->extents[mid];
        if (e->off + e->len <= off) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == window->nr) {
        return place;
    }
    const struct img_physical *e = &window->extents[low];
    if (e->off > off) {
        place.run_len = img_min(place.run_len, e->off - off);
        return place;
    }
    place.is_known = e->is_trusted;
    place.physical_off = e->physical_off + (off - e->off);
    place.run_len = e->off + e->len - off;
    return place;
}

bool chain_physical_is_shared(struct chain_physical *physical,
                              struct img_file *a, uint64_t a_off,
                              struct img_file *b, uint64_t b_off, uint64_t len,
                              uint64_t *out_len)
{
    *out_len = len;
    if (!is_pair_possible(physical, a, b)) {
        return false;
    }
    const struct pair *pair = pair_at(physical, a, a_off, b, b_off);
    if (!window_covers(&pair->window[0], a_off) ||
        !window_covers(&pair->window[1], b_off)) {
        return false;
    }
    struct place x = window_place(&pair->window[0], a_off);
    struct place y = window_place(&pair->window[1], b_off);
    *out_len = img_min(len, img_min(x.run_len, y.run_len));
    return pair->is_believed && x.is_known && y.is_known &&
           x.physical_off == y.physical_off;
}
