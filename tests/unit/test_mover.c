/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mover: what arrives at a sink is what a view shows, in order, and does
 * not depend on threads, engines or memory.
 */
#include "mover_support.h"

#include <inttypes.h>

#define CLUSTER 65536u
#define LEN (6u << 20)

/* A chain: a qcow2 overlay with plain, compressed, zero and no clusters over a
   raw base with holes, and its contents. */
struct source {
    struct scratch scratch;
    struct side side;
    uint64_t len;
    uint8_t *bytes;
};

static uint32_t state = 1;

static uint32_t next_random(uint32_t below)
{
    state = state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(state >> 4) * below >> 28);
}

/* A cluster's bytes: random, compressible, partly zeros or nothing but. */
static void fill_cluster(uint8_t *bytes, uint32_t kind)
{
    memset(bytes, 0, CLUSTER);
    switch (kind % 5) {
    case 0:
        scratch_fill(bytes, CLUSTER, next_random(1000));
        break;
    case 1:
        memset(bytes, (int)(1 + next_random(255)), CLUSTER);
        break;
    case 2:
        scratch_fill(bytes + 4096 * next_random(15), 4096, next_random(1000));
        break;
    case 3:
        bytes[next_random(CLUSTER)] = 1;
        break;
    default:
        break;
    }
}

static void write_base(struct source *source)
{
    const char *path = scratch_write(&source->scratch, "base", "", 0, 0);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    uint8_t bytes[CLUSTER];

    ck_assert_int_ge(fd, 0);
    for (uint64_t off = 0; off < source->len; off += CLUSTER) {
        if (next_random(3) != 0) {
            fill_cluster(bytes, next_random(5));
            size_t n = img_min(CLUSTER, source->len - off);
            ck_assert_int_eq(pwrite(fd, bytes, n, (off_t)off), (ssize_t)n);
        }
    }
    ck_assert_int_eq(ftruncate(fd, (off_t)source->len), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void write_overlay(struct source *source, const char **path)
{
    struct builder builder;
    uint8_t bytes[CLUSTER];

    builder_init(&builder, 16, source->len);
    for (uint64_t i = 0; i * CLUSTER < source->len; i++) {
        fill_cluster(bytes, next_random(5));
        switch (next_random(6)) {
        case 0:
        case 1:
            builder_data(&builder, i, bytes);
            break;
        case 2:
        case 3:
            builder_compressed(&builder, i, bytes);
            break;
        case 4:
            builder_set(&builder, i, 1); /* zeros */
            break;
        default:
            break;
        }
    }
    /* The backing name, in the rest of the first cluster. */
    img_store_be64(builder.bytes + 8, 512);
    img_store_be32(builder.bytes + 16, 4);
    memcpy(builder.bytes + 512, "base", 4);
    *path = builder_save(&builder, &source->scratch, "overlay");
}

static void source_open(struct source *source, uint32_t seed, uint64_t len)
{
    struct chain_options options;
    struct img_error err = {0};
    const char *overlay;

    state = seed;
    memset(source, 0, sizeof(*source));
    source->len = len;
    scratch_open(&source->scratch);
    write_base(source);
    write_overlay(source, &overlay);
    chain_options_init(&options);
    options.format = "qcow2";
    options.allow_probe = true;
    unit_ok(chain_open(overlay, &options, &source->side.chain, &err), &err);
    unit_ok(chain_view_new(source->side.chain, 0, &source->side.view, &err),
            &err);
    source->bytes = calloc(1, len);
    ck_assert_ptr_nonnull(source->bytes);
    unit_ok(chain_view_read(source->side.view, source->bytes, len, 0, &err),
            &err);
}

static void source_close(struct source *source)
{
    side_close(&source->side);
    free(source->bytes);
    scratch_close(&source->scratch);
}

/* How one move is made. */
struct manner {
    uint32_t granule;
    uint32_t unit_len; /* compressed in such units; 0: not */
    struct chain_mover_options options;
    uint64_t place_max, gap;
    bool zeros_are_data;
};

/* Move all of SOURCE into a model. */
static void move(struct source *source, const struct manner *manner,
                 const char *name, struct model_sink *model,
                 struct chain_moved *moved)
{
    struct chain_mover *mover = NULL;
    struct img_error err = {0};

    model_open(model, &source->scratch, name, manner->granule);
    model->sink.unit_len = manner->unit_len;
    model->place_max = manner->place_max;
    model->gap = manner->gap;
    model->zeros_are_data = manner->zeros_are_data;
    unit_ok(chain_mover_new(&model->sink, &manner->options, &mover, &err),
            &err);
    unit_ok(chain_mover_push_range(mover, source->side.view, 0, source->len,
                                   false, &err),
            &err);
    unit_ok(chain_mover_sync(mover, &err), &err);
    *moved = *chain_mover_moved(mover);
    chain_mover_free(mover);
}

/* Everything was told, and reads back as it was. */
static void check_model(const struct source *source, struct model_sink *model)
{
    uint8_t *bytes = malloc(source->len);
    uint64_t end = 0;

    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < model->nr; i++) {
        ck_assert_uint_eq(model->records[i].off, end);
        end += model->records[i].len;
    }
    ck_assert_uint_ge(end, source->len);
    memset(bytes, 0xee, source->len);
    model_read(model, bytes, source->len);
    for (uint64_t off = 0; off < source->len; off += 512) {
        ck_assert_msg(memcmp(bytes + off, source->bytes + off, 512) == 0,
                      "guest offset %" PRIu64 " is not what it was", off);
    }
    free(bytes);
}

static void check_same(const struct model_sink *a, const struct model_sink *b)
{
    ck_assert_uint_eq(a->nr, b->nr);
    for (size_t i = 0; i < a->nr; i++) {
        const struct record *x = &a->records[i], *y = &b->records[i];
        ck_assert_int_eq(x->kind, y->kind);
        ck_assert_uint_eq(x->off, y->off);
        ck_assert_uint_eq(x->len, y->len);
        ck_assert_uint_eq(x->host_off, y->host_off);
        ck_assert_uint_eq(x->stored_len, y->stored_len);
    }
    ck_assert_uint_eq(img_file_len(a->file), img_file_len(b->file));
    uint64_t len = img_file_len(a->file);
    uint8_t *bytes = malloc(2 * len + 1);
    struct img_error err = {0};
    unit_ok(img_file_read(a->file, bytes, len, 0, &err), &err);
    unit_ok(img_file_read(b->file, bytes + len, len, 0, &err), &err);
    ck_assert_int_eq(memcmp(bytes, bytes + len, len), 0);
    free(bytes);
}

static const struct {
    enum img_engine_kind engine;
    unsigned threads;
    uint64_t budget_len;
} ways[] = {
    {IMG_ENGINE_AUTO, 0, 0},
    {IMG_ENGINE_SYNC, 1, 0},
    {IMG_ENGINE_AUTO, 3, 0},
    {IMG_ENGINE_SYNC, 2, 64u << 20},
};

static void check_manner(struct source *source, struct manner *manner)
{
    struct model_sink models[4];
    struct chain_moved moved, first;

    for (size_t i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof(name), "out%zu", i);
        manner->options.engine = ways[i].engine;
        manner->options.threads = ways[i].threads;
        manner->options.budget_len = ways[i].budget_len;
        move(source, manner, name, &models[i], &moved);
        check_model(source, &models[i]);
        if (i == 0) {
            first = moved;
            continue;
        }
        check_same(&models[0], &models[i]);
        ck_assert_uint_eq(moved.zero_len, first.zero_len);
        ck_assert_uint_eq(moved.found_zero_len, first.found_zero_len);
        ck_assert_uint_eq(moved.written_len, first.written_len);
        ck_assert_uint_eq(moved.read_len, first.read_len);
    }
    for (size_t i = 0; i < 4; i++) {
        unlink(img_file_path(models[i].file));
        model_close(&models[i]);
    }
}

static void check_plain(uint32_t seed)
{
    static const uint32_t granules[] = {512, 2048, 4096, 65536, 2u << 20};
    static const uint64_t sparse[] = {0, 4096, 12288, 1u << 20};
    struct source source;

    /* The disk's end is amid a cluster in every second source. */
    source_open(&source, seed, LEN + (seed % 2 ? 1536 : 0));
    for (uint32_t g = 0; g < 5; g++) {
        struct manner manner = {
            .granule = granules[g],
            .options = {.sparse_len = sparse[(g + seed) % 4]},
            .place_max = seed % 3 == 1 ? img_max(granules[g], 1u << 18) : 0,
            .gap = seed % 3 == 2 ? granules[g] : 0,
            .zeros_are_data = (g + seed) % 4 == 3,
        };
        check_manner(&source, &manner);
    }
    source_close(&source);
}

START_TEST(test_plain)
{
    for (uint32_t seed = 1; seed <= 8; seed++) {
        check_plain(seed);
    }
}
END_TEST

static void check_compress(uint32_t seed)
{
    static const uint32_t units[] = {4096, 65536, 2u << 20};
    struct source source;

    source_open(&source, seed, LEN + (seed % 2 ? 1536 : 0));
    for (uint32_t u = 0; u < 3; u++) {
        struct manner manner = {
            .granule = units[u],
            .unit_len = units[u],
            .options = {.sparse_len = seed % 2 ? 4096 : 0, .compress = true},
            .gap = seed % 3 ? 0 : 333,
        };
        check_manner(&source, &manner);
    }
    source_close(&source);
}

START_TEST(test_compress)
{
    for (uint32_t seed = 100; seed <= 104; seed++) {
        check_compress(seed);
    }
}
END_TEST

/* Without looking, what was data stays data; looking finds each zero unit. */
START_TEST(test_zeros)
{
    struct source source;
    struct model_sink model;
    struct chain_moved moved;
    uint64_t zero_len = 0;

    source_open(&source, 7, LEN);
    for (uint64_t off = 0; off < LEN; off += CLUSTER) {
        uint64_t n = 0;
        while (n < CLUSTER && source.bytes[off + n] == 0) {
            n++;
        }
        zero_len += n == CLUSTER ? CLUSTER : 0;
    }
    struct manner manner = {.granule = CLUSTER};
    move(&source, &manner, "kept", &model, &moved);
    ck_assert_uint_eq(moved.found_zero_len, 0);
    ck_assert_uint_lt(moved.zero_len, zero_len);
    uint64_t told_len = moved.zero_len;
    model_close(&model);
    manner.options.sparse_len = 4096;
    move(&source, &manner, "found", &model, &moved);
    ck_assert_uint_eq(moved.zero_len, zero_len);
    ck_assert_uint_eq(moved.found_zero_len, zero_len - told_len);
    model_close(&model);
    source_close(&source);
}
END_TEST

/* What no layer owns can be left out. */
START_TEST(test_skip_absent)
{
    struct chain_view *view = NULL;
    struct chain_mover *mover = NULL;
    struct model_sink model;
    struct chain_mover_options options = {0};
    struct scratch scratch;
    struct builder builder;
    struct side side;
    struct img_error err = {0};
    uint8_t bytes[CLUSTER];

    scratch_open(&scratch);
    builder_init(&builder, 16, 4 * CLUSTER);
    scratch_fill(bytes, CLUSTER, 3);
    builder_data(&builder, 1, bytes);
    builder_set(&builder, 3, 1);
    side_open(&side, builder_save(&builder, &scratch, "a"), "qcow2");
    model_open(&model, &scratch, "out", CLUSTER);
    unit_ok(chain_mover_new(&model.sink, &options, &mover, &err), &err);
    unit_ok(
        chain_mover_push_range(mover, side.view, 0, 4 * CLUSTER, true, &err),
        &err);
    unit_ok(chain_mover_sync(mover, &err), &err);
    ck_assert_uint_eq(model.nr, 2);
    ck_assert_int_eq(model.records[0].kind, RECORD_DATA);
    ck_assert_uint_eq(model.records[0].off, CLUSTER);
    ck_assert_uint_eq(model.records[0].len, CLUSTER);
    ck_assert_int_eq(model.records[1].kind, RECORD_ZERO);
    ck_assert_uint_eq(model.records[1].off, 3 * CLUSTER);
    chain_mover_free(mover);
    chain_view_free(view);
    model_close(&model);
    side_close(&side);
    scratch_close(&scratch);
}
END_TEST

/* One extent that a test makes up. */
static int push_zero(struct chain_mover *mover, struct chain_view *view,
                     uint64_t off, uint64_t len, struct img_error *err)
{
    struct chain_extent extent = {
        .e = {.kind = IMG_EXTENT_ZERO, .guest_off = off, .len = len}};

    return chain_mover_push(mover, view, &extent, err);
}

START_TEST(test_order)
{
    static const struct {
        uint64_t first_off, first_len, second_off;
        const char *text;
    } cases[] = {
        {65536, 65536, 0,
         "extents do not come in order and whole units: found 0 after 131072, "
         "expected multiples of 65536"},
        {512, 65536, 0,
         "extents do not come in order and whole units: found 512 after 0, "
         "expected multiples of 65536"},
        {0, 512, 65536,
         "extents do not come in order and whole units: found 65536 after 512, "
         "expected multiples of 65536"},
        {0, 65536, 66048,
         "extents do not come in order and whole units: found 66048 after "
         "65536, expected multiples of 65536"},
    };
    struct source source;
    struct img_error err = {0};

    source_open(&source, 9, LEN);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chain_mover_options options = {0};
        struct chain_mover *mover = NULL;
        struct model_sink model;
        struct chain_view *view = source.side.view;
        model_open(&model, &source.scratch, "out", CLUSTER);
        unit_ok(chain_mover_new(&model.sink, &options, &mover, &err), &err);
        img_error_clear(&err);
        int rc = push_zero(mover, view, cases[i].first_off, cases[i].first_len,
                           &err);
        if (rc == 0) {
            rc = push_zero(mover, view, cases[i].second_off, CLUSTER, &err);
        }
        ck_assert_int_eq(rc, -1);
        ck_assert_int_eq((int)err.code, IMG_USAGE);
        ck_assert_str_eq(err.text, cases[i].text);
        /* What has failed stays so, and says the same. */
        unit_fails(chain_mover_sync(mover, &err), &err, IMG_USAGE,
                   cases[i].text);
        chain_mover_free(mover);
        model_close(&model);
    }
    source_close(&source);
}
END_TEST

/* Whichever question to the sink fails: that is what is told, and all ends. */
START_TEST(test_sink_fails)
{
    struct source source;
    unsigned struck = 0;

    source_open(&source, 10, LEN);
    for (unsigned n = 1; n == struck + 1; n++) {
        struct chain_mover_options options = {
            .sparse_len = 4096,
            .compress = n % 2 == 0,
            .engine = n % 3 ? IMG_ENGINE_AUTO : IMG_ENGINE_SYNC};
        struct chain_mover *mover = NULL;
        struct model_sink model;
        struct img_error err = {0};
        model_open(&model, &source.scratch, "out", CLUSTER);
        model.sink.unit_len = CLUSTER;
        model.fail_at = n;
        unit_ok(chain_mover_new(&model.sink, &options, &mover, &err), &err);
        int rc = chain_mover_push_range(mover, source.side.view, 0, LEN, false,
                                        &err);
        rc = rc == 0 ? chain_mover_sync(mover, &err) : rc;
        if (rc != 0) {
            ck_assert_str_eq(err.text, "the sink is told to fail");
            ck_assert_str_eq(err.path, "sink");
            ck_assert_int_eq((int)err.code, IMG_LIMIT);
            ck_assert_uint_eq(model.calls_nr, n);
            struck++;
        }
        chain_mover_free(mover);
        model_close(&model);
    }
    ck_assert_uint_gt(struck, 20);
    source_close(&source);
}
END_TEST

struct watch {
    volatile int cancel;
    unsigned calls_nr, cancel_at;
    uint64_t done;
};

static void watch_progress(void *opaque, uint64_t done)
{
    struct watch *watch = opaque;

    ck_assert_uint_ge(done, watch->done);
    watch->done = done;
    if (++watch->calls_nr == watch->cancel_at) {
        watch->cancel = 1;
    }
}

START_TEST(test_progress_and_cancel)
{
    struct source source;
    struct img_error err = {0};

    source_open(&source, 11, LEN);
    for (unsigned at = 0; at < 5; at++) {
        struct watch watch = {.cancel_at = at};
        struct chain_mover_options options = {.sparse_len = 4096,
                                              .budget_len = 1,
                                              .cancel = &watch.cancel,
                                              .progress = watch_progress,
                                              .opaque = &watch};
        struct chain_mover *mover = NULL;
        struct model_sink model;
        model_open(&model, &source.scratch, "out", CLUSTER);
        unit_ok(chain_mover_new(&model.sink, &options, &mover, &err), &err);
        int rc = chain_mover_push_range(mover, source.side.view, 0, LEN, false,
                                        &err);
        rc = rc == 0 ? chain_mover_sync(mover, &err) : rc;
        if (at == 0) {
            ck_assert_int_eq(rc, 0);
            ck_assert_uint_eq(watch.done, LEN);
        } else {
            ck_assert_int_eq(rc, -1);
            ck_assert_int_eq((int)err.code, IMG_CANCELLED);
            ck_assert_str_eq(err.text, "cancelled");
        }
        chain_mover_free(mover);
        model_close(&model);
    }
    source_close(&source);
}
END_TEST

/* Where blocks cannot be shared they are copied, to the place there is. */
START_TEST(test_share)
{
    struct source source;

    for (uint32_t seed = 20; seed < 24; seed++) {
        source_open(&source, seed, LEN);
        struct manner manner = {
            .granule = seed % 2 ? 4096 : CLUSTER,
            .options = {.share = true, .sparse_len = 4096},
            .place_max = seed < 22 ? 0 : 1u << 17,
        };
        check_manner(&source, &manner);
        source_close(&source);
    }
}
END_TEST

UNIT_SUITE("mover", test_plain, test_compress, test_zeros, test_skip_absent,
           test_order, test_sink_fails, test_progress_and_cancel, test_share)
