/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tables of a stranger's image claim: see qcow2/image.h.
 *
 * Room: qcow2/image. The offsets of the L1 table are sorted, so that a table
 * that many entries name is visited once, and the file's holes are met in
 * ascending order. Specification: "Cluster mapping".
 */
#include "state.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/entry.h>

#include "radix.h"

#define L1_PIECE_ENTRIES 8192u

struct survey {
    struct qcow2_image *q;
    struct qcow2_survey *out;
    uint64_t file_len;
    uint8_t *table; /* room for an L2 table's slice */
    uint32_t slice_len;
    /* The run of the file that was asked for last. */
    uint64_t run_off, run_len;
    bool is_hole;
};

static void note_broken(struct survey *survey, const struct img_error *err,
                        uint64_t entry_off)
{
    if (!survey->out->is_broken) {
        survey->out->is_broken = true;
        survey->out->broken = *err;
        survey->out->broken.has_off = true;
        survey->out->broken.off = entry_off;
    }
}

static bool is_inside(uint64_t off, uint64_t len, uint64_t of_off,
                      uint64_t of_len)
{
    return of_len > 0 && off < of_off + of_len && of_off < off + len;
}

/* May [OFF, OFF + LEN) belong to the guest or to an L2 table? */
static void check_place(struct survey *survey, uint64_t off, uint64_t len,
                        uint64_t entry_off)
{
    const struct qcow2_image *q = survey->q;
    const struct qcow2_header *header = &q->header;
    struct qcow2_survey *out = survey->out;

    if (!out->is_cut_off && off >= survey->file_len) {
        out->is_cut_off = true;
        out->cut_off_entry = entry_off;
        out->cut_off_at = off;
    }
    if (!out->has_overlap &&
        (off < header->cluster_len ||
         is_inside(off, len, header->l1_off,
                   (uint64_t)header->l1_entries * 8) ||
         is_inside(off, len, header->reftable_off,
                   (uint64_t)header->reftable_clusters
                       << header->cluster_bits) ||
         is_inside(off, len, header->snapshots_off, q->snapshot_table_len))) {
        out->has_overlap = true;
        out->overlap_entry = entry_off;
        out->overlap_at = off;
    }
}

static void count_entry(struct survey *survey,
                        const struct qcow2_l2_entry *entry, uint64_t times,
                        uint64_t entry_off)
{
    const struct qcow2_header *header = &survey->q->header;
    struct qcow2_survey *out = survey->out;

    if (entry->kind == QCOW2_CLUSTER_COMPRESSED) {
        out->compressed_clusters++;
        out->stored_len += entry->host_len;
        out->mapped_clusters += times;
        check_place(survey, entry->host_off, 1, entry_off);
        return;
    }
    if (entry->kind == QCOW2_CLUSTER_DATA ||
        entry->kind == QCOW2_CLUSTER_MIXED) {
        out->mapped_clusters += times;
    }
    if (entry->has_host && !header->has_data_file) {
        check_place(survey, entry->host_off, header->cluster_len, entry_off);
        out->is_last_partial |=
            entry->host_off < survey->file_len &&
            survey->file_len - entry->host_off < header->cluster_len;
    }
}

static void survey_entry(struct survey *survey, const uint8_t *p,
                         uint64_t guest_off, uint64_t times, uint64_t entry_off)
{
    const struct qcow2_header *header = &survey->q->header;
    uint64_t bitmap = header->has_extended_l2 ? img_load_be64(p + 8) : 0;
    struct qcow2_l2_entry entry;
    struct img_error err;

    if (header->has_data_file) {
        /* Which guest offset it is for is not known where tables are shared. */
        guest_off = img_load_be64(p) & QCOW2_ENTRY_OFFSET_MASK;
    }
    /* What lies past the end is told apart from what is malformed. */
    if (qcow2_l2_decode(header, img_load_be64(p), bitmap, guest_off,
                        IMG_OFF_MAX, &entry, &err) < 0) {
        note_broken(survey, &err, entry_off);
        return;
    }
    count_entry(survey, &entry, times, entry_off);
}

/* Is [OFF, OFF + LEN) one hole of the file? */
static int is_absent(struct survey *survey, uint64_t off, uint64_t len,
                     bool *absent, struct img_error *err)
{
    if (off < survey->run_off || off >= survey->run_off + survey->run_len) {
        uint64_t rest = IMG_OFF_MAX - off;

        if (img_file_next_hole(survey->q->image.file, off, rest,
                               &survey->is_hole, &survey->run_len, err)) {
            return -1;
        }
        survey->run_off = off;
    }
    *absent = survey->is_hole && survey->run_off + survey->run_len - off >= len;
    return 0;
}

static int survey_slice(struct survey *survey, uint64_t off, uint64_t guest_off,
                        uint64_t times, struct img_error *err)
{
    const struct qcow2_header *header = &survey->q->header;
    size_t words = header->l2_entry_len / 8u;
    size_t nr = survey->slice_len / header->l2_entry_len;

    if (img_file_read_padded(survey->q->image.file, survey->table,
                             survey->slice_len, off, NULL, err)) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        const uint8_t *p = survey->table + i * header->l2_entry_len;
        size_t empty = qcow2_words_equal(p, (nr - i) * words, 0) / words;

        i += empty;
        p += empty * header->l2_entry_len;
        if (i < nr) {
            survey_entry(survey, p, guest_off + i * header->cluster_len, times,
                         off + i * header->l2_entry_len);
        }
    }
    return 0;
}

/* The table at OFF, which TIMES entries of the L1 table name. */
static int survey_table(struct survey *survey, uint64_t off, uint64_t times,
                        struct img_error *err)
{
    const struct qcow2_header *header = &survey->q->header;
    uint32_t slice_entries = survey->slice_len / header->l2_entry_len;
    bool absent = false;

    survey->out->tables++;
    check_place(survey, off, header->cluster_len, header->l1_off);
    if (off >= survey->file_len) {
        return 0;
    }
    if (is_absent(survey, off, header->cluster_len, &absent, err)) {
        return -1;
    }
    if (absent) {
        survey->out->tables_absent++;
        return 0;
    }
    for (uint32_t base = 0; base < header->l2_entries; base += slice_entries) {
        if (survey_slice(survey, off + (uint64_t)base * header->l2_entry_len,
                         (uint64_t)base * header->cluster_len, times, err)) {
            return -1;
        }
    }
    return 0;
}

/* The tables that the L1 table names, in *OFFS: NR of them, with doubles. */
static int l1_load(struct survey *survey, uint64_t *offs, size_t *nr,
                   struct img_error *err)
{
    const struct qcow2_header *header = &survey->q->header;
    IMG_AUTO(img_free_ptr)
    uint8_t *piece = img_calloc(L1_PIECE_ENTRIES, 8, err);

    if (!piece) {
        return -1;
    }
    for (uint32_t at = 0; at < header->l1_entries; at += L1_PIECE_ENTRIES) {
        uint64_t off = header->l1_off + (uint64_t)at * 8;
        size_t here =
            (size_t)img_min(header->l1_entries - at, L1_PIECE_ENTRIES);

        if (img_file_read_padded(survey->q->image.file, piece, here * 8, off,
                                 NULL, err)) {
            return -1;
        }
        for (size_t i = 0; i < here; i++) {
            struct qcow2_l1_entry entry;
            struct img_error why;

            if (qcow2_l1_decode(header, img_load_be64(piece + i * 8),
                                IMG_OFF_MAX, &entry, &why) < 0) {
                note_broken(survey, &why, off + i * 8);
            } else if (entry.l2_off != 0) {
                offs[(*nr)++] = entry.l2_off;
            }
        }
    }
    return 0;
}

int qcow2_image_survey(struct img_image *image, struct qcow2_survey *out,
                       struct img_error *err)
{
    struct qcow2_image *q = qcow2_image_of(image);
    const struct qcow2_header *header = &q->header;
    struct survey survey = {
        .q = q,
        .out = out,
        .file_len = img_file_len(image->file),
        .slice_len = q->slice.len,
    };
    size_t nr = 0;

    memset(out, 0, sizeof(*out));
    IMG_AUTO(img_free_ptr)
    uint64_t *offs = img_calloc(header->l1_entries + 1u, 8, err);
    IMG_AUTO(img_free_ptr)
    uint8_t *table = img_calloc(1, survey.slice_len, err);
    survey.table = table;
    if (!offs || !table || l1_load(&survey, offs, &nr, err)) {
        return -1;
    }
    out->l1_used = nr;
    qcow2_radix_sort(offs, nr);
    for (size_t i = 0, times; i < nr; i += times) {
        times = 1;
        while (i + times < nr && offs[i + times] == offs[i]) {
            times++;
        }
        if (survey_table(&survey, offs[i], times, err)) {
            return -1;
        }
    }
    return 0;
}
