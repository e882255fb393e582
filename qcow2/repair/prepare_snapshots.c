/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be kept of a snapshot table that is not as it should be.
 *
 * Room: qcow2/repair. Entries are read one by one, as far as the file goes;
 * one that makes no sense is left out, what has too much or too little extra
 * data (other programs' doing) is written anew. Specification: "Snapshots".
 */
#include "repair_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define OFF_ID_LEN 12u
#define OFF_NAME_LEN 14u
#define OFF_EXTRA_LEN 36u
#define EXTRA_MIN_V3 16u
/* Of a snapshot's id in a message. */
#define SHOWN_ID_LEN 80u
/* Fixed part, extra data as far as it is kept, id and name. */
#define ENTRY_ROOM                                                             \
    (QCOW2_SNAPSHOT_FIXED_LEN + QCOW2_MAX_SNAPSHOT_EXTRA_LEN + 2u * 65535u + 8u)

/* The table as it grows. */
struct salvage {
    uint8_t *entry; /* ENTRY_ROOM bytes */
    uint8_t *bytes;
    uint64_t len, room;
    uint32_t nr;
    uint32_t idx; /* of the entry in the table as it was */
    bool is_changed;
};

static void salvage_fini(struct salvage *s)
{
    free(s->entry);
    free(s->bytes);
}

static int room_make(struct salvage *s, uint64_t more, struct img_error *err)
{
    uint64_t room = img_max(s->room, 4096);
    void *bytes;

    if (more > QCOW2_MAX_SNAPSHOT_TABLE_LEN - s->len) {
        return img_fail(err, IMG_LIMIT, "snapshot table: longer than %u bytes",
                        QCOW2_MAX_SNAPSHOT_TABLE_LEN);
    }
    while (room < s->len + more) {
        room *= 2;
    }
    if (room == s->room) {
        return 0;
    }
    bytes = realloc(s->bytes, room);
    if (!bytes) {
        return img_fail_memory(err);
    }
    s->bytes = bytes;
    s->room = room;
    return 0;
}

/*
 * The entry at OFF into s->entry, with at most as much extra data as is
 * allowed: *LEN bytes of it, *NEXT is where the one after it stands. 1: the
 * file has no whole entry there.
 */
static int entry_load(struct qcow2_repair *r, struct salvage *s, uint64_t off,
                      uint64_t *len, uint64_t *next, struct img_error *err)
{
    uint8_t *p = s->entry;
    uint64_t extra_len, texts_len, kept_len;
    size_t got = 0;

    if (img_file_read_padded(r->file, p, QCOW2_SNAPSHOT_FIXED_LEN, off, &got,
                             err)) {
        return -1;
    }
    extra_len = img_load_be32(p + OFF_EXTRA_LEN);
    texts_len = (uint64_t)img_load_be16(p + OFF_ID_LEN) +
                img_load_be16(p + OFF_NAME_LEN);
    *next = off + qcow2_snapshot_entry_len(p);
    if (got < QCOW2_SNAPSHOT_FIXED_LEN ||
        !img_range_fits(off, QCOW2_SNAPSHOT_FIXED_LEN + extra_len + texts_len,
                        r->old_len)) {
        return 1;
    }
    kept_len = img_min(extra_len, QCOW2_MAX_SNAPSHOT_EXTRA_LEN);
    s->is_changed = s->is_changed || kept_len != extra_len;
    img_store_be32(p + OFF_EXTRA_LEN, (uint32_t)kept_len);
    p += QCOW2_SNAPSHOT_FIXED_LEN;
    off += QCOW2_SNAPSHOT_FIXED_LEN;
    *len = QCOW2_SNAPSHOT_FIXED_LEN + kept_len + texts_len;
    return img_file_read(r->file, p, kept_len, off, err) ||
                   img_file_read(r->file, p + kept_len, texts_len,
                                 off + extra_len, err)
               ? -1
               : 0;
}

/* The entry in s->entry, which stood at OFF, makes no sense because of WHY. */
static void entry_give_up(struct qcow2_repair *r, const struct salvage *s,
                          uint64_t off, const struct img_error *why)
{
    const uint8_t *id = s->entry + QCOW2_SNAPSHOT_FIXED_LEN +
                        img_load_be32(s->entry + OFF_EXTRA_LEN);
    char shown[SHOWN_ID_LEN];

    img_escape((const char *)id, img_load_be16(s->entry + OFF_ID_LEN), shown,
               sizeof(shown));
    qcow2_repair_tell(r,
                      &(struct qcow2_repair_told){
                          .kind = QCOW2_REPAIR_SNAPSHOT,
                          .off = off,
                          .is_lost = true,
                      },
                      "snapshot %u (id '%s') is given up: %s", s->idx, shown,
                      why->text);
}

/* Keep the entry in s->entry, LEN bytes that stood at OFF, if it makes sense.
 */
static int entry_keep(struct qcow2_repair *r, struct salvage *s, uint64_t off,
                      uint64_t len, struct img_error *err)
{
    struct qcow2_header lenient = r->header;
    struct qcow2_snapshot snapshot;
    struct img_error why;

    /* The extra data that version 3 wants is written here. */
    lenient.version = 2;
    if (qcow2_snapshot_decode(&lenient, s->entry, len, off, r->old_len,
                              &snapshot, &why)) {
        entry_give_up(r, s, off, &why);
        s->is_changed = true;
        return 0;
    }
    s->is_changed = s->is_changed || (r->header.version >= 3 &&
                                      snapshot.extra_len < EXTRA_MIN_V3);
    qcow2_snapshot_encode(&snapshot, NULL);
    if (room_make(s, snapshot.entry_len, err)) {
        return -1;
    }
    qcow2_snapshot_encode(&snapshot, s->bytes + s->len);
    s->len += snapshot.entry_len;
    s->nr++;
    return 0;
}

int qcow2_repair_salvage_snapshots(struct qcow2_repair *r, uint64_t table_off,
                                   uint32_t *nr, struct img_error *err)
{
    uint64_t off = table_off, next = 0, len = 0;
    IMG_AUTO(salvage_fini) struct salvage s = {0};

    s.entry = img_calloc(1, ENTRY_ROOM, err);
    if (!s.entry) {
        return -1;
    }
    for (uint32_t i = 0; i < *nr; i++, off = next) {
        s.idx = i;
        int rc = entry_load(r, &s, off, &len, &next, err);

        if (rc < 0 || (rc == 0 && entry_keep(r, &s, off, len, err))) {
            return -1;
        }
        if (rc > 0) {
            qcow2_repair_tell(r,
                              &(struct qcow2_repair_told){
                                  .kind = QCOW2_REPAIR_SNAPSHOT,
                                  .off = off,
                                  .is_lost = true,
                              },
                              "%u snapshots are given up: the file ends within "
                              "their table",
                              *nr - i);
            s.is_changed = true;
            break;
        }
    }
    if (s.is_changed) {
        *nr = s.nr;
        r->snapshot_table = img_steal(&s.bytes);
        r->snapshot_table_len = s.len;
    }
    return 0;
}
