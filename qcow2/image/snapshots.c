/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot table: loaded entry by entry through one window, so that no
 * count and no length of the file decides how much memory is taken.
 * Room: qcow2/image. Specification: "Snapshots".
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#define WINDOW_LEN (256u << 10)
/* Fixed part, extra data, id and name at their longest, padding. */
#define ENTRY_MAX_LEN                                                          \
    (QCOW2_SNAPSHOT_FIXED_LEN + QCOW2_MAX_SNAPSHOT_EXTRA_LEN + 2u * 65535u + 8u)
_Static_assert(WINDOW_LEN >= ENTRY_MAX_LEN, "an entry fits into the window");

/* The part of the table that is in memory. */
struct window {
    uint8_t *bytes;
    uint64_t off; /* in the file */
    size_t len;
    bool is_padded; /* what is missing of the file counts as zeros */
};

static int window_move(struct window *window, struct img_file *file,
                       uint64_t off, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);
    size_t len =
        (size_t)img_min(WINDOW_LEN, off < file_len ? file_len - off : 0);

    if (window->is_padded) {
        window->off = off;
        window->len = WINDOW_LEN;
        return img_file_read_padded(file, window->bytes, WINDOW_LEN, off, NULL,
                                    err);
    }

    if (img_file_read_padded(file, window->bytes, len, off, &window->len,
                             err)) {
        return -1;
    }
    window->off = off;
    return 0;
}

/* Have the entry at OFF in the window as far as the file goes. */
static int window_need(struct window *window, struct img_file *file,
                       uint64_t off, struct img_error *err)
{
    size_t skip = (size_t)(off - window->off);
    size_t left = skip <= window->len ? window->len - skip : 0;
    uint64_t want = QCOW2_SNAPSHOT_FIXED_LEN;

    if (left >= want) {
        want = qcow2_snapshot_entry_len(window->bytes + skip);
    }
    if (left >= img_min(want, ENTRY_MAX_LEN)) {
        return 0;
    }
    return skip == 0 ? 0 : window_move(window, file, off, err);
}

/* Room for one more snapshot; grows with what was really read. */
static int snapshots_reserve(struct qcow2_image *q, size_t *room,
                             struct img_error *err)
{
    size_t nr = q->image.snapshots_nr;

    if (nr < *room) {
        return 0;
    }
    size_t want = *room ? *room * 2 : 8;
    void *snapshots =
        realloc(q->image.snapshots, want * sizeof(*q->image.snapshots));
    if (!snapshots) {
        return img_fail_memory(err);
    }
    q->image.snapshots = snapshots;
    void *stored = realloc(q->stored, want * sizeof(*q->stored));
    if (!stored) {
        return img_fail_memory(err);
    }
    q->stored = stored;
    *room = want;
    return 0;
}

/* FROM is the entry at OFF. */
static int snapshot_keep(struct qcow2_image *q,
                         const struct qcow2_snapshot *from, uint64_t off,
                         size_t *room, struct img_error *err)
{
    if (snapshots_reserve(q, room, err)) {
        return -1;
    }
    IMG_AUTO(img_free_ptr) char *id = img_strndup(from->id, from->id_len, err);
    IMG_AUTO(img_free_ptr)
    char *name = img_strndup(from->name, from->name_len, err);
    if (!id || !name) {
        return -1;
    }

    size_t nr = q->image.snapshots_nr;
    q->stored[nr] = (struct qcow2_stored_snapshot){
        .off = off,
        .l1_off = from->l1_off,
        .l1_entries = from->l1_entries,
        .extra_len = from->extra_len,
    };
    q->image.snapshots[nr] = (struct img_snapshot){
        .id = img_steal(&id),
        .name = img_steal(&name),
        .vm_state_len = from->vm_state_len,
        .date_sec = from->date_sec,
        .date_nsec = from->date_nsec,
        .vm_clock_nsec = from->vm_clock_nsec,
        .icount = from->icount,
        .virtual_len = from->virtual_len,
    };
    q->image.snapshots_nr = nr + 1;
    return 0;
}

int qcow2_snapshots_load(struct qcow2_image *q, struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    struct img_file *file = q->image.file;
    uint64_t off = header->snapshots_off;
    size_t room = 0;

    if (header->snapshots_nr == 0) {
        return 0;
    }
    IMG_AUTO(img_free_ptr) uint8_t *bytes = img_calloc(1, WINDOW_LEN, err);
    if (!bytes) {
        return -1;
    }
    struct window window = {.bytes = bytes, .is_padded = header->is_lenient};
    if (window_move(&window, file, off, err)) {
        return -1;
    }
    for (uint32_t i = 0; i < header->snapshots_nr; i++) {
        struct qcow2_snapshot snapshot;

        if (window_need(&window, file, off, err)) {
            return -1;
        }
        size_t skip = (size_t)(off - window.off);
        size_t left = skip <= window.len ? window.len - skip : 0;
        if (qcow2_snapshot_decode(header, window.bytes + skip, left, off,
                                  img_file_len(file), &snapshot, err) ||
            snapshot_keep(q, &snapshot, off, &room, err)) {
            return -1;
        }
        off += snapshot.entry_len;
        if (off - header->snapshots_off > QCOW2_MAX_SNAPSHOT_TABLE_LEN) {
            return img_fail_at(err, IMG_LIMIT, header->snapshots_off,
                               "snapshot table: longer than %u bytes",
                               QCOW2_MAX_SNAPSHOT_TABLE_LEN);
        }
    }
    q->snapshot_table_len = off - header->snapshots_off;
    return 0;
}

static size_t snapshot_find(const struct qcow2_image *q, const char *wanted)
{
    size_t nr = q->image.snapshots_nr;

    for (size_t i = 0; i < nr; i++) {
        if (strcmp(q->image.snapshots[i].id, wanted) == 0) {
            return i;
        }
    }
    for (size_t i = 0; i < nr; i++) {
        if (strcmp(q->image.snapshots[i].name, wanted) == 0) {
            return i;
        }
    }
    return nr;
}

int qcow2_snapshots_select(struct qcow2_image *q, const char *id_or_name,
                           struct img_error *err)
{
    size_t i = snapshot_find(q, id_or_name);

    if (i == q->image.snapshots_nr) {
        char name[256];

        img_escape(id_or_name, strlen(id_or_name), name, sizeof(name));
        return img_fail(err, IMG_NOT_FOUND,
                        "no internal snapshot has the id or name '%s'", name);
    }
    q->l1_off = q->stored[i].l1_off;
    q->l1_entries = q->stored[i].l1_entries;
    q->image.virtual_len =
        img_align_down(q->image.snapshots[i].virtual_len, 512);
    return 0;
}

void qcow2_image_snapshot_l1(const struct img_image *image, size_t idx,
                             uint64_t *l1_off, uint32_t *l1_entries)
{
    const struct qcow2_image *q = (const struct qcow2_image *)image;

    *l1_off = q->stored[idx].l1_off;
    *l1_entries = q->stored[idx].l1_entries;
}

uint64_t qcow2_image_snapshot_table_len(const struct img_image *image)
{
    return ((const struct qcow2_image *)image)->snapshot_table_len;
}
