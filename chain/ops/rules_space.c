/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rule space-enough: what a copy will write, from the source's extents,
 * against what the file system or device can hold.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/size.h>

#include "judge.h"
#include "remedy.h"

/* Clusters of the copy that get data, in ascending order. */
struct tally {
    uint64_t cluster_len;
    uint64_t clusters;
    uint64_t next; /* first cluster that is not counted yet */
};

static void tally_add(struct tally *tally, uint64_t off, uint64_t len)
{
    uint64_t first = img_max(off / tally->cluster_len, tally->next);
    uint64_t end = img_div_up(off + len, tally->cluster_len);

    if (end > first) {
        tally->clusters += end - first;
        tally->next = end;
    }
}

static bool is_copied(enum img_extent_kind kind)
{
    return kind == IMG_EXTENT_DATA || kind == IMG_EXTENT_COMPRESSED;
}

/* A full copy: everything that the guest sees. */
static int tally_view(const struct chain_judge *judge, struct tally *tally,
                      struct img_error *err)
{
    struct chain_view *view = NULL;
    struct chain_extent extent;
    uint64_t off = 0;

    if (chain_view_new(judge->source, 0, &view, err) != 0) {
        return -1;
    }
    int rc = 0;
    uint64_t total = chain_view_len(view);
    while (rc == 0 && off < total) {
        rc = chain_view_at(view, off, total - off, &extent, err);
        if (rc == 0 && is_copied(extent.e.kind)) {
            tally_add(tally, off, extent.e.len);
        }
        off += rc == 0 ? extent.e.len : 0;
    }
    chain_view_free(view);
    return rc;
}

/* A shallow copy: what the active layer owns. */
static int tally_layer(const struct chain_judge *judge, struct tally *tally,
                       struct img_error *err)
{
    uint64_t total = judge->source_image->virtual_len;
    struct img_extent extent;
    uint64_t off = 0;

    while (off < total) {
        if (img_image_map(judge->source_image, off, total - off, &extent,
                          err) != 0) {
            img_error_set_path(err, judge->request->source);
            return -1;
        }
        if (is_copied(extent.kind)) {
            tally_add(tally, off, extent.len);
        }
        off += extent.len;
    }
    return 0;
}

/* Data and metadata of a qcow2 image that maps TALLY's clusters. */
static uint64_t qcow2_need(const struct tally *tally,
                           const struct qcow2_header *header,
                           uint64_t virtual_len)
{
    uint64_t len = tally->cluster_len;
    uint64_t l2_tables = img_div_up(virtual_len, header->l2_covers_len);
    uint64_t refcount_bits = 1ull << header->refcount_order;
    uint64_t per_block = len * 8 / refcount_bits;

    uint64_t l1 = img_div_up(l2_tables * 8, len);
    uint64_t clusters =
        1 + l1 + img_min(l2_tables, tally->clusters) + tally->clusters;
    uint64_t blocks = img_div_up(clusters, per_block);
    return (clusters + blocks + img_div_up(blocks * 8, len)) * len;
}

/* What there is to write to, the file's own blocks included. */
static bool available(const struct chain_judge *judge, uint64_t *out)
{
    struct statvfs fs;
    int fd = judge->request->dest_fd;
    int rc = fd >= 0 ? fstatvfs(fd, &fs) : statvfs(judge->dest_path, &fs);

    if (img_file_kind(judge->dest_file) == IMG_FILE_BLOCK) {
        *out = img_file_len(judge->dest_file);
        return true;
    }
    if (rc != 0) {
        return false;
    }
    *out = (uint64_t)fs.f_bavail * fs.f_frsize +
           img_file_allocated_len(judge->dest_file);
    return true;
}

static uint64_t needed(const struct chain_judge *judge,
                       const struct tally *tally)
{
    const struct qcow2_header *header =
        judge->dest_image ? qcow2_image_header(judge->dest_image) : NULL;

    if (header) {
        uint64_t len = judge->source_image->virtual_len;
        return qcow2_need(tally, header, len);
    }
    /* A device takes the whole image, a file only what is not zero. */
    return img_file_kind(judge->dest_file) == IMG_FILE_BLOCK
               ? judge->source_image->virtual_len
               : tally->clusters * tally->cluster_len;
}

void chain_rule_space_enough(struct chain_judge *judge)
{
    struct tally tally = {.cluster_len = 65536};
    char text[IMG_SIZE_TEXT_LEN];
    struct img_error error;
    uint64_t have;

    if (judge->dest_image && judge->dest_image->cluster_len > 0) {
        tally.cluster_len = judge->dest_image->cluster_len;
    }
    bool is_shallow = judge->effective == FOR_H;
    if (chain_broken(judge->source) && !is_shallow) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged, because of chain-intact");
    } else if ((is_shallow ? tally_layer(judge, &tally, &error)
                           : tally_view(judge, &tally, &error)) != 0) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &error);
    } else if (!available(judge, &have)) {
        chain_judge_say(judge, CHAIN_CHECK_UNPROVEN,
                        "the file system does not tell its free space");
    } else {
        uint64_t need = needed(judge, &tally);
        chain_judge_found(judge, "%s", img_size_exact(have, text));
        chain_judge_expected(judge, "%s", img_size_exact(need, text));
        chain_judge_say(judge,
                        need <= have ? CHAIN_CHECK_PASS : CHAIN_CHECK_FAIL,
                        need <= have ? "what the copy writes fits"
                                     : "what the copy writes does not fit");
    }
}
