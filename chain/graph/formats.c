/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of formats: qcow2, then those of libimg, raw last. Room:
 * chain/graph, the lowest one that may know them all.
 */
#include <chain/formats.h>

#include <string.h>

#include <img/bytes.h>
#include <img/memory.h>
#include <qcow2/image.h>

/* Format number IDX of the whole list, NULL after the last one. */
static const struct img_format *format_at(size_t idx)
{
    if (idx == 0) {
        return &qcow2_format;
    }
    return img_formats[idx - 1].name ? &img_formats[idx - 1] : NULL;
}

const struct img_format *chain_format_find(const char *name)
{
    const struct img_format *format;

    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        if (strcmp(format->name, name) == 0) {
            return format;
        }
    }
    return NULL;
}

static bool is_raw(const struct img_format *format)
{
    return strcmp(format->name, "raw") == 0;
}

/* raw takes what nobody claims; it is never a second claim. */
void chain_probe_bytes(const struct img_probe_bytes *bytes,
                       struct chain_probe *out)
{
    const struct img_format *format;

    *out = (struct chain_probe){0};
    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        if (is_raw(format)) {
            out->format = out->format ? out->format : format;
        } else if (format->probe(bytes)) {
            if (!out->format) {
                out->format = format;
            } else if (!out->second) {
                out->second = format;
            }
        }
    }
    out->contents = img_probe_contents(bytes);
}

int chain_probe(struct img_file *file, struct chain_probe *out,
                struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    uint8_t *head = img_calloc(1, IMG_PROBE_HEAD_LEN + IMG_PROBE_TAIL_LEN, err);
    struct img_probe_bytes bytes;

    *out = (struct chain_probe){0};
    if (!head || img_probe_load(file, head, head + IMG_PROBE_HEAD_LEN, &bytes,
                                err) < 0) {
        return -1;
    }
    chain_probe_bytes(&bytes, out);
    return 0;
}

static size_t claims_add(struct chain_claim *out, size_t nr, const char *name,
                         bool is_container, bool is_at_end)
{
    for (size_t i = 0; i < nr; i++) {
        if (strcmp(out[i].name, name) == 0 && out[i].is_at_end == is_at_end) {
            return nr;
        }
    }
    if (nr < CHAIN_CLAIMS_MAX) {
        out[nr++] = (struct chain_claim){name, is_container, is_at_end};
    }
    return nr;
}

/* Signatures that QEMU's own probing does not go by. */
static size_t claims_unprobed(const struct img_probe_bytes *bytes,
                              struct chain_claim *out, size_t nr)
{
    static const uint8_t luks[] = {'L', 'U', 'K', 'S', 0xba, 0xbe};
    bool has_head = bytes->head_len >= 8;

    /* Any version: readers differ in what they take for qcow2. */
    if (has_head && img_load_be32(bytes->head) == QCOW2_MAGIC &&
        img_load_be32(bytes->head + 4) != 1) {
        nr = claims_add(out, nr, "qcow2", true, false);
    }
    if (has_head && memcmp(bytes->head, luks, sizeof(luks)) == 0 &&
        img_load_be16(bytes->head + 6) != 1) {
        nr = claims_add(out, nr, "luks2", true, false);
    }
    if (has_head && memcmp(bytes->head, "QED", 4) == 0) {
        nr = claims_add(out, nr, "qed", true, false);
    }
    if (bytes->file_len > IMG_PROBE_TAIL_LEN &&
        bytes->tail_len == IMG_PROBE_TAIL_LEN &&
        memcmp(bytes->tail, "conectix", 8) == 0) {
        nr = claims_add(out, nr, "vpc", true, true);
    }
    return nr;
}

size_t chain_claims(const struct img_probe_bytes *bytes,
                    struct chain_claim out[CHAIN_CLAIMS_MAX])
{
    const char *disk[IMG_CONTENTS_MAX];
    const struct img_format *format;
    size_t nr = 0;

    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        if (!is_raw(format) && format->probe(bytes)) {
            nr = claims_add(out, nr, format->name, true,
                            strcmp(format->name, "dmg") == 0);
        }
    }
    nr = claims_unprobed(bytes, out, nr);
    size_t disk_nr = img_probe_disk(bytes, disk);
    for (size_t i = 0; i < disk_nr; i++) {
        nr = claims_add(out, nr, disk[i], false, false);
    }
    return nr;
}
