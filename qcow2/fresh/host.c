/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Host clusters of a new image and their refcounts (specification: "Host
 * cluster management").
 *
 * Room: qcow2/fresh. Clusters are taken in ascending order, so counts are
 * made in ascending order: only the block of the last cluster is held. All
 * counts are 1 but those of host clusters that compressed clusters share;
 * such a cluster is shared no more when its span is left.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "fresh_impl.h"

/* All offsets of the format are below 2^56. */
#define HOST_LEN_MAX (1ull << 56)
#define MAX_BLOCKS (QCOW2_MAX_REFTABLE_LEN / 8)

int fresh_host_init(struct fresh_host *host, struct img_file *file,
                    const struct qcow2_header *header, struct img_error *err)
{
    uint64_t len = HOST_LEN_MAX;

    if (img_file_kind(file) == IMG_FILE_BLOCK) {
        len = img_file_len(file);
    }
    *host = (struct fresh_host){
        .file = file,
        .header = header,
        .next_idx = 1, /* the first one is the header's */
        .end_idx = len >> header->cluster_bits,
        .span_clusters = qcow2_refcount_block_entries(header),
    };
    host->block = img_alloc_aligned(header->cluster_len, err);
    if (host->block == NULL) {
        return -1;
    }
    memset(host->block, 0, header->cluster_len);
    qcow2_refcount_set(header, host->block, 0, 1);
    return 0;
}

void fresh_host_fini(struct fresh_host *host)
{
    free(host->block);
    free(host->block_offs);
}

static int store_block(struct fresh_host *host, struct img_error *err)
{
    return img_file_write(host->file, host->block, host->header->cluster_len,
                          host->block_offs[host->block_idx], err);
}

/* Each of NR clusters from IDX on has one user. */
static int count(struct fresh_host *host, uint64_t idx, uint64_t nr,
                 struct img_error *err)
{
    uint64_t begin;

    for (uint64_t end = idx + nr; idx < end; idx++) {
        if (idx / host->span_clusters != host->block_idx) {
            if (store_block(host, err) < 0) {
                return -1;
            }
            host->block_idx++;
            host->packed_left = 0;
            memset(host->block, 0, host->header->cluster_len);
        }
        begin = host->block_idx * host->span_clusters;
        qcow2_refcount_set(host->header, host->block, idx - begin, 1);
    }
    return 0;
}

/* The spans up to the one of cluster LAST_IDX that have no block yet. */
static uint64_t missing_blocks(const struct fresh_host *host, uint64_t last_idx)
{
    uint64_t spans = last_idx / host->span_clusters + 1;

    return spans > host->blocks_nr ? spans - host->blocks_nr : 0;
}

/* How many blocks must go before NR clusters; they are counted, too. */
static uint64_t blocks_before(const struct fresh_host *host, uint64_t nr)
{
    uint64_t blocks = 0, missing;

    while ((missing = missing_blocks(host, host->next_idx + blocks + nr - 1)) >
           blocks) {
        blocks = missing;
    }
    return blocks;
}

static int add_blocks(struct fresh_host *host, uint64_t nr,
                      struct img_error *err)
{
    uint64_t room = host->blocks_room;

    while (room < host->blocks_nr + nr) {
        room = room == 0 ? 64 : room * 2;
    }
    if (room > host->blocks_room) {
        uint64_t *offs = reallocarray(host->block_offs, room, sizeof(*offs));

        if (offs == NULL) {
            return img_fail_memory(err);
        }
        host->block_offs = offs;
        host->blocks_room = room;
    }
    for (uint64_t i = 0; i < nr; i++) {
        host->block_offs[host->blocks_nr++] = (host->next_idx + i)
                                              << host->header->cluster_bits;
    }
    return 0;
}

static int check_room(const struct fresh_host *host, uint64_t blocks,
                      uint64_t nr, struct img_error *err)
{
    uint32_t bits = host->header->cluster_bits;

    if (host->blocks_nr + blocks > MAX_BLOCKS) {
        return img_fail(err, IMG_LIMIT,
                        "refcount table: found data for more than %u entries,"
                        " expected at most so many; larger clusters or"
                        " narrower refcounts have room for more",
                        MAX_BLOCKS);
    }
    if (host->next_idx + blocks + nr > host->end_idx) {
        img_fail_sys(err, ENOSPC,
                     "the image ends at %" PRIu64 " bytes and needs %" PRIu64
                     " more, expected at most"
                     " %" PRIu64,
                     host->next_idx << bits, (blocks + nr) << bits,
                     host->end_idx << bits);
        img_error_set_path(err, img_file_path(host->file));
        return -1;
    }
    return 0;
}

int fresh_host_take(struct fresh_host *host, uint64_t nr, uint64_t *off,
                    struct img_error *err)
{
    uint64_t blocks = blocks_before(host, nr);

    if (check_room(host, blocks, nr, err) < 0 ||
        (blocks > 0 && add_blocks(host, blocks, err) < 0) ||
        count(host, host->next_idx, blocks + nr, err) < 0) {
        return -1;
    }
    *off = (host->next_idx + blocks) << host->header->cluster_bits;
    host->next_idx += blocks + nr;
    return 0;
}

uint64_t fresh_host_run(const struct fresh_host *host)
{
    uint64_t in_span = host->next_idx % host->span_clusters;
    uint64_t left = host->span_clusters - in_span;

    /* The block of a span stands before its clusters, and wants one of them. */
    if (missing_blocks(host, host->next_idx) > 0) {
        left--;
    }
    return left;
}

/* Users of the host cluster that PACKED_OFF lies in. */
static uint64_t packed_idx(const struct fresh_host *host)
{
    return (host->packed_off >> host->header->cluster_bits) %
           host->span_clusters;
}

/* May another compressed cluster begin in the open host cluster? */
static bool can_share(const struct fresh_host *host)
{
    return host->packed_left > 0 &&
           qcow2_refcount_get(host->header, host->block, packed_idx(host)) <
               qcow2_refcount_max(host->header);
}

/* Would the next cluster follow the open one, in the same span? */
static bool can_extend(const struct fresh_host *host)
{
    return host->packed_off + host->packed_left ==
               host->next_idx << host->header->cluster_bits &&
           host->next_idx % host->span_clusters != 0;
}

int fresh_host_pack(struct fresh_host *host, uint32_t len, uint64_t *off,
                    struct img_error *err)
{
    uint32_t cluster_len = host->header->cluster_len;
    bool is_shared = can_share(host);
    uint64_t idx, added;

    if (!is_shared || (len > host->packed_left && !can_extend(host))) {
        if (fresh_host_take(host, 1, &host->packed_off, err) < 0) {
            return -1;
        }
        host->packed_left = cluster_len;
        is_shared = false;
    }
    if (is_shared) {
        idx = packed_idx(host);
        qcow2_refcount_set(host->header, host->block, idx,
                           qcow2_refcount_get(host->header, host->block, idx) +
                               1);
    }
    *off = host->packed_off;
    if (len > host->packed_left) {
        if (fresh_host_take(host, 1, &added, err) < 0) {
            return -1;
        }
        host->packed_left += cluster_len;
    }
    host->packed_off += len;
    host->packed_left -= len;
    return 0;
}

/* The table's clusters, when it itself and its blocks are counted, too. */
static uint64_t reftable_clusters(const struct fresh_host *host)
{
    uint64_t nr = 0, needed = 1, blocks;

    while (nr < needed) {
        nr = needed;
        blocks = host->blocks_nr + blocks_before(host, nr);
        needed = img_div_up(blocks * 8, host->header->cluster_len);
    }
    return nr;
}

int fresh_host_finish(struct fresh_host *host, struct qcow2_header *header,
                      struct img_error *err)
{
    uint64_t nr = reftable_clusters(host), off;
    size_t len = nr << header->cluster_bits;
    uint8_t *table;
    int ret;

    if (fresh_host_take(host, nr, &off, err) < 0 ||
        store_block(host, err) < 0) {
        return -1;
    }
    table = img_alloc_aligned(len, err);
    if (table == NULL) {
        return -1;
    }
    memset(table, 0, len);
    for (uint64_t i = 0; i < host->blocks_nr; i++) {
        img_store_be64(table + i * 8, host->block_offs[i]);
    }
    ret = img_file_write(host->file, table, len, off, err);
    free(table);
    header->reftable_off = off;
    header->reftable_clusters = (uint32_t)nr;
    return ret;
}
