/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fullimage: a qcow2 image of which every guest cluster is allocated, in a
 * sparse file: all of its metadata, none of its data.
 *
 *   fullimage FILE CLUSTER-BITS CLUSTERS [LEAKS]
 *
 * The file begins with header, refcount table, L1 table, refcount blocks and
 * L2 tables; guest cluster N has the Nth of the clusters behind them. All
 * refcounts are 1 (16 bits wide); those of LEAKS clusters behind the last are
 * so, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/entry.h>
#include <qcow2/header.h>

#define BUF_LEN (4u << 20)

struct layout {
    struct qcow2_header header;
    uint64_t clusters, leaks; /* of the guest; behind the last */
    uint64_t l1_clusters, blocks, l2_tables;
    uint64_t blocks_off, l2_off, data_off;
    uint64_t total; /* clusters of the file */
};

static int fd;

static void die(const char *what)
{
    fprintf(stderr, "fullimage: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put(const void *buf, size_t len, uint64_t off)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done,
                           (off_t)(off + done));
        if (n <= 0) {
            die("pwrite");
        }
        done += (size_t)n;
    }
}

static void plan(struct layout *l, uint32_t bits, uint64_t clusters,
                 uint64_t leaks)
{
    uint64_t len = 1ull << bits;
    uint64_t reftable_clusters = 1;

    l->clusters = clusters;
    l->leaks = leaks;
    l->l2_tables = img_div_up(clusters, len / 8);
    l->l1_clusters = img_div_up(l->l2_tables * 8, len);
    for (;;) {
        l->total = 1 + reftable_clusters + l->l1_clusters + l->blocks +
                   l->l2_tables + clusters + leaks;
        uint64_t blocks = img_div_up(l->total, len / 2);
        uint64_t wanted = img_div_up(blocks * 8, len);
        if (blocks <= l->blocks && wanted <= reftable_clusters) {
            break;
        }
        l->blocks = blocks;
        reftable_clusters = wanted;
    }
    l->blocks_off = (1 + reftable_clusters + l->l1_clusters) * len;
    l->l2_off = l->blocks_off + l->blocks * len;
    l->data_off = l->l2_off + l->l2_tables * len;
    l->header = (struct qcow2_header){
        .version = 3,
        .cluster_bits = bits,
        .virtual_len = clusters * len,
        .l1_entries = (uint32_t)l->l2_tables,
        .l1_off = (1 + reftable_clusters) * len,
        .reftable_off = len,
        .reftable_clusters = (uint32_t)reftable_clusters,
        .refcount_order = 4,
        .header_len = 104,
    };
}

/* NR words of a table at OFF: FIRST, FIRST + STEP, ... */
static void put_words(uint64_t off, uint64_t nr, uint64_t first, uint64_t step)
{
    static uint8_t buf[BUF_LEN];

    for (uint64_t done = 0; done < nr;) {
        size_t some = (size_t)img_min(nr - done, BUF_LEN / 8);

        for (size_t i = 0; i < some; i++) {
            img_store_be64(buf + i * 8, first + (done + i) * step);
        }
        put(buf, some * 8, off + done * 8);
        done += some;
    }
}

static void put_refcounts(const struct layout *l)
{
    static uint8_t buf[BUF_LEN];

    for (size_t i = 0; i < BUF_LEN / 2; i++) {
        img_store_be16(buf + i * 2, 1);
    }
    for (uint64_t done = 0; done < l->total;) {
        size_t some = (size_t)img_min(l->total - done, BUF_LEN / 2);

        put(buf, some * 2, l->blocks_off + done * 2);
        done += some;
    }
}

int main(int argc, char **argv)
{
    struct layout l = {0};
    uint8_t header[104];

    if (argc < 4) {
        fprintf(stderr, "usage: fullimage FILE CLUSTER-BITS CLUSTERS "
                        "[LEAKS]\n");
        return 2;
    }
    fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) {
        die(argv[1]);
    }
    plan(&l, (uint32_t)strtoul(argv[2], NULL, 0), strtoull(argv[3], NULL, 0),
         argc > 4 ? strtoull(argv[4], NULL, 0) : 0);

    uint64_t len = 1ull << l.header.cluster_bits;
    if (ftruncate(fd, (off_t)(l.total * len)) != 0) {
        die("ftruncate");
    }
    qcow2_header_encode(&l.header, header);
    put(header, sizeof(header), 0);
    put_words(l.header.reftable_off, l.blocks, l.blocks_off, len);
    put_words(l.header.l1_off, l.l2_tables, l.l2_off | QCOW2_ENTRY_COPIED, len);
    put_refcounts(&l);
    put_words(l.l2_off, l.clusters, l.data_off | QCOW2_ENTRY_COPIED, len);
    if (close(fd) != 0) {
        die("close");
    }
    printf("%" PRIu64 " clusters\n", l.total);
    return 0;
}
