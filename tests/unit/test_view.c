/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest view: who decides, how far, and what is read. */
#include <inttypes.h>

#include <chain/view.h>
#include <img/checked.h>
#include <img/memory.h>

#include "scratch.h"
#include "tiny_qcow2.h"

#define C ((uint64_t)TINY_CLUSTER_LEN)

static struct scratch scratch;
static struct img_error err;
static struct chain_options options;
static struct chain *chain;
static struct chain_view *view;

static void begin(void)
{
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    chain_options_init(&options);
}

static void end(void)
{
    chain_view_free(view);
    chain_free(chain);
    view = NULL;
    chain = NULL;
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}

/*
 * Layers "0" (the top), "1", ... as their clusters say. In layer i each data
 * byte is 16 * i plus the number of its cluster.
 */
static void make_layers(const char *const *clusters, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        char path[32], backing[32];
        snprintf(path, sizeof(path), "%zu", i);
        snprintf(backing, sizeof(backing), "%zu", i + 1);
        tiny_qcow2_write(path, &(struct tiny_qcow2){
                                   .clusters = clusters[i],
                                   .fill = (uint8_t)(16 * i),
                                   .backing = i + 1 < nr ? backing : NULL,
                                   .format = "qcow2",
                               });
    }
}

static void open_view(size_t first)
{
    unit_ok(chain_open("0", &options, &chain, &err), &err);
    unit_ok(chain_view_new(chain, first, &view, &err), &err);
}

/* "data 0 0+2@2560" is kind, layer, cluster+clusters@host offset; '-' after
   the layer: not present. */
static void describe(const struct chain_extent *extent, char *out, size_t size)
{
    static const char *const kinds[] = {"unallocated", "zero", "data",
                                        "compressed"};
    char host[32] = "";

    ck_assert_uint_eq(extent->e.guest_off % C, 0);
    ck_assert_uint_eq(extent->e.len % C, 0);
    if (extent->e.has_host) {
        snprintf(host, sizeof(host), "@%" PRIu64, extent->e.host_off);
    }
    snprintf(out, size, "%s %zu%s %" PRIu64 "+%" PRIu64 "%s",
             kinds[extent->e.kind], extent->layer,
             extent->is_present ? "" : "-", extent->e.guest_off / C,
             extent->e.len / C, host);
}

static void expect_at(uint64_t off, uint64_t len, const char *want)
{
    struct chain_extent extent;
    char text[96];

    unit_ok(chain_view_at(view, off, len, &extent, &err), &err);
    describe(&extent, text, sizeof(text));
    ck_assert_str_eq(text, want);
}

/* All extents, in order, with as much asked for as there is. */
static void expect_walk(const char *const *want, size_t nr)
{
    uint64_t len = chain_view_len(view);
    uint64_t off = 0;
    size_t i = 0;

    for (; off < len; i++) {
        struct chain_extent extent;
        ck_assert_uint_lt(i, nr);
        expect_at(off, len - off, want[i]);
        unit_ok(chain_view_at(view, off, len - off, &extent, &err), &err);
        off += extent.e.len;
    }
    ck_assert_uint_eq(i, nr);
}

#define EXPECT_WALK(...)                                                       \
    do {                                                                       \
        static const char *const want_[] = {__VA_ARGS__};                      \
        expect_walk(want_, sizeof(want_) / sizeof(want_[0]));                  \
    } while (0)

START_TEST(test_one_layer)
{
    begin();
    make_layers((const char *const[]){"DD.zaJD"}, 1);
    open_view(0);
    ck_assert_uint_eq(chain_view_len(view), 7 * C);
    ck_assert_ptr_eq(chain_view_chain(view), chain);
    EXPECT_WALK("data 0 0+2@2560", "zero 0- 2+1", "zero 0 3+1",
                "zero 0 4+1@3584", "data 0 5+2@4608");
    end();
}
END_TEST

START_TEST(test_layers_shine_through)
{
    begin();
    make_layers((const char *const[]){"D..z..", ".D.D.D", "DDD..D"}, 3);
    open_view(0);
    EXPECT_WALK("data 0 0+1@2560", "data 1 1+1@2560", "data 2 2+1@3584",
                "zero 0 3+1", "zero 2- 4+1", "data 1 5+1@3584");
    end();
}
END_TEST

/* From a layer further down, and past the last one. */
START_TEST(test_first_layer)
{
    begin();
    make_layers((const char *const[]){"DDDD", ".D", "DD"}, 3);
    open_view(1);
    ck_assert_uint_eq(chain_view_len(view), 2 * C);
    EXPECT_WALK("data 2 0+1@2560", "data 1 1+1@2560");
    chain_view_free(view);
    unit_ok(chain_view_new(chain, 3, &view, &err), &err);
    ck_assert_uint_eq(chain_view_len(view), 0);
    expect_at(0, 4 * C, "zero 3- 0+4");
    chain_view_free(view);
    view = NULL;
    unit_fails(chain_view_new(chain, 4, &view, &err), &err, IMG_USAGE,
               "a view from layer 4 on, but the chain has 3");
    end();
}
END_TEST

/* Past the end of a shorter layer the overlay above it decides. */
START_TEST(test_shorter_backing)
{
    begin();
    make_layers((const char *const[]){"......", "....", "DDDDDD"}, 3);
    open_view(0);
    EXPECT_WALK("data 2 0+4@2560", "zero 0- 4+2");
    end();

    begin();
    make_layers((const char *const[]){"......", "....", "DD"}, 3);
    open_view(0);
    EXPECT_WALK("data 2 0+2@2560", "zero 1- 2+2", "zero 0- 4+2");
    end();
}
END_TEST

START_TEST(test_longer_backing)
{
    begin();
    make_layers((const char *const[]){"..", "DDDD"}, 2);
    open_view(0);
    EXPECT_WALK("data 1 0+2@2560");
    expect_at(2 * C, 3 * C, "zero 0- 2+3");
    expect_at(100 * C, C, "zero 0- 100+1");
    end();
}
END_TEST

/* Neighbours that are alike are one, also where another layer's run ends. */
START_TEST(test_merging)
{
    begin();
    make_layers((const char *const[]){"....zz", "....zz", "DDDDDD"}, 3);
    open_view(0);
    EXPECT_WALK("data 2 0+4@2560", "zero 0 4+2");
    end();

    /* Same layer, but not the same host run; then two kinds of zeros. */
    begin();
    make_layers((const char *const[]){"DJDza"}, 1);
    open_view(0);
    EXPECT_WALK("data 0 0+1@2560", "data 0 1+2@3584", "zero 0 3+1",
                "zero 0 4+1@4608");
    end();
}
END_TEST

/* Short questions, in any order, have the same answers. */
START_TEST(test_any_order)
{
    static const uint64_t order[] = {5, 0, 3, 3, 1, 4, 2, 0, 5};
    static const char *const want[] = {
        "data 0 0+1@2560", "data 1 1+1@2560", "data 2 2+1@3584",
        "zero 0 3+1",      "zero 2- 4+1",     "data 1 5+1@3584",
    };

    begin();
    make_layers((const char *const[]){"D..z..", ".D.D.D", "DDD..D"}, 3);
    open_view(0);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        expect_at(order[i] * C, C, want[order[i]]);
        expect_at(order[i] * C, 9 * C, want[order[i]]);
    }
    end();
}
END_TEST

/* Inside an extent: the rest of it, at the host offset that follows. */
START_TEST(test_inside_an_extent)
{
    struct chain_extent extent;

    begin();
    make_layers((const char *const[]){"......", "DDDDDD"}, 2);
    open_view(0);
    expect_at(0, 6 * C, "data 1 0+6@2560");
    expect_at(2 * C, 9 * C, "data 1 2+4@3584");
    expect_at(C, 2 * C, "data 1 1+2@3072");
    unit_ok(chain_view_at(view, C + 7, 9, &extent, &err), &err);
    ck_assert_uint_eq(extent.e.guest_off, C + 7);
    ck_assert_uint_eq(extent.e.len, 9);
    ck_assert_uint_eq(extent.e.host_off, 3072 + 7);
    end();
}
END_TEST

static void expect_bytes(uint64_t off, size_t len, const uint8_t *want)
{
    uint8_t got[8 * TINY_CLUSTER_LEN];

    ck_assert_uint_le(len, sizeof(got));
    memset(got, 0xee, sizeof(got));
    unit_ok(chain_view_read(view, got, len, off, &err), &err);
    ck_assert_mem_eq(got, want, len);
}

START_TEST(test_read)
{
    uint8_t want[8 * TINY_CLUSTER_LEN] = {0};
    static const uint8_t bytes[] = {0, 17, 34, 0, 0, 21};

    begin();
    make_layers((const char *const[]){"D..z..", ".D.D.D", "DDD..D"}, 3);
    open_view(0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        memset(want + i * TINY_CLUSTER_LEN, bytes[i], TINY_CLUSTER_LEN);
    }
    expect_bytes(0, sizeof(want), want); /* two clusters past the end */
    for (uint64_t off = 0; off + 700 < sizeof(want); off += 301) {
        expect_bytes(off, 700, want + off);
    }
    end();
}
END_TEST

START_TEST(test_read_slice_and_data_file)
{
    uint8_t want[4 * TINY_CLUSTER_LEN] = {0};

    begin();
    tiny_raw_write("base", 8, 0x40);
    tiny_raw_write("data", 4, 0x10);
    tiny_qcow2_write(
        "0", &(struct tiny_qcow2){.clusters = ".D..",
                                  .backing = "json:{\"driver\":\"raw\","
                                             "\"offset\":1024,\"size\":1536,"
                                             "\"file.filename\":\"base\"}",
                                  .format = "raw"});
    open_view(0);
    memset(want, 0x42, TINY_CLUSTER_LEN);
    memset(want + C, 1, TINY_CLUSTER_LEN);
    memset(want + 2 * C, 0x44, TINY_CLUSTER_LEN);
    expect_bytes(0, sizeof(want), want);
    EXPECT_WALK("data 1 0+1@0", "data 0 1+1@2560", "data 1 2+1@1024",
                "zero 0- 3+1");
    chain_view_free(view);
    chain_free(chain);

    tiny_qcow2_write(
        "0", &(struct tiny_qcow2){.clusters = "D.D.", .data_file = "data"});
    open_view(0);
    memset(want, 0, sizeof(want));
    memset(want, 0x10, TINY_CLUSTER_LEN);
    memset(want + 2 * C, 0x12, TINY_CLUSTER_LEN);
    expect_bytes(0, sizeof(want), want);
    struct chain_extent extent;
    unit_ok(chain_view_at(view, 0, C, &extent, &err), &err);
    ck_assert_str_eq(img_file_path(extent.e.file), "data");
    end();
}
END_TEST

/* An entry that is broken is told when it is reached, not before. */
START_TEST(test_corrupt_entry)
{
    uint8_t entry[8];
    struct chain_extent extent;
    uint8_t byte;

    begin();
    make_layers((const char *const[]){"....", "DDDD"}, 2);
    put_be(entry, 0, 8, 2); /* a reserved bit */
    scratch_write(&scratch, "1", entry, 8, 4 * TINY_CLUSTER_LEN + 2 * 8);
    open_view(0);
    expect_at(0, 4 * C, "data 1 0+2@2560");
    img_error_clear(&err);
    ck_assert_int_eq(chain_view_at(view, 2 * C, C, &extent, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_CORRUPT);
    ck_assert_str_eq(err.path, "1");
    img_error_clear(&err);
    ck_assert_int_eq(chain_view_read(view, &byte, 1, 2 * C, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_CORRUPT);
    /* What lies around it can be seen all the same. */
    expect_at(C, C, "data 1 1+1@3072");
    expect_at(3 * C, C, "data 1 3+1@4096");
    end();
}
END_TEST

START_TEST(test_no_view_of_half_a_chain)
{
    begin();
    tiny_qcow2_write("0", &(struct tiny_qcow2){.clusters = "DDDD",
                                               .backing = "gone",
                                               .format = "qcow2"});
    options.top_only = true;
    unit_ok(chain_open("0", &options, &chain, &err), &err);
    unit_fails(chain_view_new(chain, 0, &view, &err), &err, IMG_USAGE,
               "it was opened without the other files of its chain");
    ck_assert_str_eq(err.path, "0");
    chain_free(chain);

    options.top_only = false;
    options.keep_broken = true;
    unit_ok(chain_open("0", &options, &chain, &err), &err);
    img_error_clear(&err);
    ck_assert_int_eq(chain_view_new(chain, 0, &view, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, "gone");
    end();
}
END_TEST

START_TEST(test_unreadable_format)
{
    uint8_t header[4096] = {0};

    begin();
    /* A qcow image of version 1: described, not read. */
    put_be(header, 0, 4, QCOW2_MAGIC);
    put_be(header, 4, 4, 1);
    put_be(header, 24, 8, 1 << 20);
    header[32] = 12; /* cluster_bits */
    header[33] = 9;  /* l2_bits */
    put_be(header, 40, 8, 48);
    scratch_write(&scratch, "base", header, sizeof(header), 0);
    tiny_qcow2_write("0", &(struct tiny_qcow2){.clusters = "DDDD",
                                               .backing = "base",
                                               .format = "qcow"});
    unit_ok(chain_open("0", &options, &chain, &err), &err);
    unit_fails(chain_view_new(chain, 0, &view, &err), &err, IMG_UNSUPPORTED,
               "cannot read contents of this format (qcow)");
    ck_assert_str_eq(err.path, "base");
    end();
}
END_TEST

/*
 * What a model of the layers says, cluster by cluster: which one decides.
 * Deeper than the tree of ends is wide at first, and of all lengths.
 */
static void random_layers(unsigned *seed, char (*clusters)[33], size_t nr)
{
    static const char kinds[] = "........DJza";

    for (size_t i = 0; i < nr; i++) {
        size_t len = 1 + (size_t)rand_r(seed) % 32;
        size_t run = 0;
        char kind = '.';
        for (size_t k = 0; k < len; k++, run--) {
            if (run == 0) {
                run = 1 + (size_t)rand_r(seed) % 8;
                kind = kinds[(size_t)rand_r(seed) % (sizeof(kinds) - 1)];
            }
            clusters[i][k] = kind;
        }
        clusters[i][len] = '\0';
    }
}

/* The layer that decides at cluster K and the letter it decides with. */
static char model_at(char (*clusters)[33], size_t nr, size_t k, size_t *layer)
{
    for (*layer = 0;; ++*layer) {
        char kind = clusters[*layer][k];
        if (kind != '.' || *layer + 1 == nr ||
            k >= strlen(clusters[*layer + 1])) {
            return kind;
        }
    }
}

static void expect_model(char (*clusters)[33], size_t nr, uint64_t off,
                         uint64_t len)
{
    struct chain_extent extent;

    unit_ok(chain_view_at(view, off, len, &extent, &err), &err);
    ck_assert_uint_eq(extent.e.guest_off, off);
    ck_assert_uint_ge(extent.e.len, 1);
    ck_assert_uint_le(extent.e.len, len);
    for (uint64_t at = off; at < off + extent.e.len; at += C - at % C) {
        size_t layer;
        char kind = model_at(clusters, nr, (size_t)(at / C), &layer);
        bool is_data = kind == 'D' || kind == 'J';
        ck_assert_uint_eq(extent.layer, layer);
        ck_assert_int_eq((int)extent.is_present, (int)(kind != '.'));
        ck_assert_int_eq((int)extent.e.kind,
                         (int)(is_data ? IMG_EXTENT_DATA : IMG_EXTENT_ZERO));
        if (is_data) {
            uint8_t byte;
            struct img_error read_err;
            unit_ok(img_file_read(extent.e.file, &byte, 1,
                                  extent.e.host_off + at - off, &read_err),
                    &read_err);
            ck_assert_uint_eq(byte, (uint8_t)(16 * layer + at / C));
        }
    }
}

START_TEST(test_random_chains)
{
    static char clusters[24][33];
    const char *texts[24];
    unsigned seed = (unsigned)_i + 1;
    size_t nr = 1 + (size_t)rand_r(&seed) % 24;

    begin();
    random_layers(&seed, clusters, nr);
    for (size_t i = 0; i < nr; i++) {
        texts[i] = clusters[i];
    }
    make_layers(texts, nr);
    open_view(0);
    uint64_t len = chain_view_len(view);
    for (uint64_t off = 0; off < len; off += C) {
        expect_model(clusters, nr, off, len - off);
    }
    for (int i = 0; i < 200; i++) {
        uint64_t off = (uint64_t)rand_r(&seed) % len;
        uint64_t ask = 1 + (uint64_t)rand_r(&seed) % (len - off);
        expect_model(clusters, nr, off, ask);
    }
    end();
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("view");

    tcase_add_test(tcase, test_one_layer);
    tcase_add_test(tcase, test_layers_shine_through);
    tcase_add_test(tcase, test_first_layer);
    tcase_add_test(tcase, test_shorter_backing);
    tcase_add_test(tcase, test_longer_backing);
    tcase_add_test(tcase, test_merging);
    tcase_add_test(tcase, test_any_order);
    tcase_add_test(tcase, test_inside_an_extent);
    tcase_add_test(tcase, test_read);
    tcase_add_test(tcase, test_read_slice_and_data_file);
    tcase_add_test(tcase, test_corrupt_entry);
    tcase_add_test(tcase, test_no_view_of_half_a_chain);
    tcase_add_test(tcase, test_unreadable_format);
    tcase_add_loop_test(tcase, test_random_chains, 0, 60);
    return unit_run("view", tcase);
}
