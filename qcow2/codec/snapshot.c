/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries of the snapshot table (specification: "Snapshots").
 *
 * Room: qcow2/codec, pure. Strings and extra data are borrowed from the
 * caller's buffer; lengths are judged before anything is pointed at.
 */
#include <inttypes.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/snapshot.h>

enum {
    OFF_L1_TABLE = 0,
    OFF_L1_ENTRIES = 8,
    OFF_ID_LEN = 12,
    OFF_NAME_LEN = 14,
    OFF_DATE_SEC = 16,
    OFF_DATE_NSEC = 20,
    OFF_VM_CLOCK = 24,
    OFF_VM_STATE_LEN = 32,
    OFF_EXTRA_LEN = 36,
    OFF_EXTRA = 40,
};

/* What the extra data may hold, as offsets into it. */
enum {
    EXTRA_VM_STATE_LEN = 0,
    EXTRA_VIRTUAL_LEN = 8,
    EXTRA_ICOUNT = 16,
    EXTRA_END = 24,
};

static uint64_t content_len(const uint8_t *buf)
{
    return (uint64_t)QCOW2_SNAPSHOT_FIXED_LEN +
           img_load_be32(buf + OFF_EXTRA_LEN) +
           img_load_be16(buf + OFF_ID_LEN) + img_load_be16(buf + OFF_NAME_LEN);
}

uint64_t qcow2_snapshot_entry_len(const uint8_t *buf)
{
    return img_align_up(content_len(buf), 8);
}

static int check_lengths(const struct qcow2_header *header, const uint8_t *buf,
                         size_t len, uint64_t off, struct img_error *err)
{
    uint32_t min_extra = header->version >= 3 && !header->is_lenient
                             ? QCOW2_SNAPSHOT_MIN_V3_EXTRA_LEN
                             : 0;
    uint32_t extra_len;

    if (len < QCOW2_SNAPSHOT_FIXED_LEN) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "snapshot table: found %zu bytes for an entry,"
                           " expected at least %u",
                           len, QCOW2_SNAPSHOT_FIXED_LEN);
    }
    extra_len = img_load_be32(buf + OFF_EXTRA_LEN);
    if (extra_len < min_extra || extra_len > QCOW2_MAX_SNAPSHOT_EXTRA_LEN) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_EXTRA_LEN,
                           "snapshot extra data size: found %" PRIu32
                           ", expected %" PRIu32 " to %u",
                           extra_len, min_extra, QCOW2_MAX_SNAPSHOT_EXTRA_LEN);
    }
    /* The padding of the last entry may lie past the end of the file. */
    if (content_len(buf) > len) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "snapshot table: found %zu bytes for an entry,"
                           " expected %" PRIu64,
                           len, content_len(buf));
    }
    return 0;
}

static int check_l1(const struct qcow2_header *header,
                    const struct qcow2_snapshot *s, uint64_t off,
                    uint64_t file_len, struct img_error *err)
{
    uint32_t max_entries = QCOW2_MAX_L1_LEN / 8;
    uint64_t l1_len = (uint64_t)s->l1_entries * 8;
    uint64_t end;

    if (s->l1_entries > max_entries) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_L1_ENTRIES,
                           "snapshot L1 size: found %" PRIu32
                           ", expected at most %" PRIu32,
                           s->l1_entries, max_entries);
    }
    if (s->l1_off % header->cluster_len != 0 ||
        (s->l1_entries > 0 && s->l1_off < header->cluster_len)) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_L1_TABLE,
                           "snapshot L1 table offset: found %" PRIu64
                           ", expected a multiple of the cluster size %" PRIu32
                           ", not 0",
                           s->l1_off, header->cluster_len);
    }
    if (s->l1_entries > 0 &&
        (!img_add(s->l1_off, l1_len, &end) ||
         img_align_down(end - 1, header->cluster_len) >= file_len)) {
        return img_fail_at(
            err, IMG_CORRUPT, off + OFF_L1_TABLE,
            "snapshot L1 table offset: found %" PRIu64 " for %" PRIu64
            " bytes, expected inside the file's %" PRIu64 " bytes",
            s->l1_off, l1_len, file_len);
    }
    return 0;
}

static void load_extra(struct qcow2_snapshot *s)
{
    if (s->extra_len >= EXTRA_VIRTUAL_LEN) {
        s->vm_state_len = img_load_be64(s->extra + EXTRA_VM_STATE_LEN);
    }
    if (s->extra_len >= EXTRA_ICOUNT) {
        s->virtual_len = img_load_be64(s->extra + EXTRA_VIRTUAL_LEN);
    }
    if (s->extra_len >= EXTRA_END) {
        s->icount = img_load_be64(s->extra + EXTRA_ICOUNT);
    }
}

int qcow2_snapshot_decode(const struct qcow2_header *header, const uint8_t *buf,
                          size_t len, uint64_t table_off, uint64_t file_len,
                          struct qcow2_snapshot *out, struct img_error *err)
{
    struct qcow2_snapshot s;

    if (check_lengths(header, buf, len, table_off, err) < 0) {
        return -1;
    }
    s = (struct qcow2_snapshot){
        .l1_off = img_load_be64(buf + OFF_L1_TABLE),
        .l1_entries = img_load_be32(buf + OFF_L1_ENTRIES),
        .date_sec = img_load_be32(buf + OFF_DATE_SEC),
        .date_nsec = img_load_be32(buf + OFF_DATE_NSEC),
        .vm_clock_nsec = img_load_be64(buf + OFF_VM_CLOCK),
        .vm_state_len = img_load_be32(buf + OFF_VM_STATE_LEN),
        .virtual_len = header->virtual_len,
        .icount = UINT64_MAX,
        .extra_len = img_load_be32(buf + OFF_EXTRA_LEN),
        .extra = buf + OFF_EXTRA,
        .id_len = img_load_be16(buf + OFF_ID_LEN),
        .name_len = img_load_be16(buf + OFF_NAME_LEN),
        .entry_len = qcow2_snapshot_entry_len(buf),
    };
    s.id = (const char *)s.extra + s.extra_len;
    s.name = s.id + s.id_len;
    load_extra(&s);
    if (header->is_lenient) {
        *out = s;
        return 0;
    }
    if (check_l1(header, &s, table_off, file_len, err) < 0) {
        return -1;
    }
    if (s.virtual_len > QCOW2_MAX_VIRTUAL_LEN) {
        return img_fail_at(err, IMG_CORRUPT,
                           table_off + OFF_EXTRA + EXTRA_VIRTUAL_LEN,
                           "snapshot virtual disk size: found %" PRIu64
                           ", expected at most %" PRIu64,
                           s.virtual_len, QCOW2_MAX_VIRTUAL_LEN);
    }
    *out = s;
    return 0;
}

void qcow2_snapshot_encode(struct qcow2_snapshot *s, uint8_t *buf)
{
    uint8_t *extra, *text;
    uint32_t kept_len;

    if (buf == NULL) {
        s->extra_len = s->extra_len > EXTRA_END ? s->extra_len : EXTRA_END;
        s->entry_len = img_align_up((uint64_t)QCOW2_SNAPSHOT_FIXED_LEN +
                                        s->extra_len + s->id_len + s->name_len,
                                    8);
        return;
    }
    memset(buf, 0, s->entry_len);
    img_store_be64(buf + OFF_L1_TABLE, s->l1_off);
    img_store_be32(buf + OFF_L1_ENTRIES, s->l1_entries);
    img_store_be16(buf + OFF_ID_LEN, s->id_len);
    img_store_be16(buf + OFF_NAME_LEN, s->name_len);
    img_store_be32(buf + OFF_DATE_SEC, s->date_sec);
    img_store_be32(buf + OFF_DATE_NSEC, s->date_nsec);
    img_store_be64(buf + OFF_VM_CLOCK, s->vm_clock_nsec);
    /* What has no room in the old field: to old readers, no VM state. */
    if (s->vm_state_len <= UINT32_MAX) {
        img_store_be32(buf + OFF_VM_STATE_LEN, (uint32_t)s->vm_state_len);
    }
    img_store_be32(buf + OFF_EXTRA_LEN, s->extra_len);
    extra = buf + OFF_EXTRA;
    img_store_be64(extra + EXTRA_VM_STATE_LEN, s->vm_state_len);
    img_store_be64(extra + EXTRA_VIRTUAL_LEN, s->virtual_len);
    img_store_be64(extra + EXTRA_ICOUNT, s->icount);
    kept_len = s->extra_len - EXTRA_END;
    if (kept_len > 0) {
        memcpy(extra + EXTRA_END, s->extra + EXTRA_END, kept_len);
    }
    text = extra + s->extra_len;
    memcpy(text, s->id, s->id_len);
    memcpy(text + s->id_len, s->name, s->name_len);
}
