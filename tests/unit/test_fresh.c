/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New images, read back: random sequences over all options are clean, show
 * what was written where it was placed, and fit what was measured. And what
 * the writer refuses.
 */
#include <errno.h>
#include <stdio.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/check.h>
#include <qcow2/fresh.h>
#include <qcow2/image.h>

#include "random.h"
#include "unit.h"

#define ROUNDS 400u
#define MAX_UNITS 6000u
#define MAX_LEN (24u << 20)

static struct img_error err;

/* What was said of each granule of the disk. */
enum said {
    SAID_NOTHING,
    SAID_DATA,
    SAID_ZERO,
    SAID_COMPRESSED,
};

struct image {
    struct random random;
    struct qcow2_create_options options;
    struct img_file *file, *data_file;
    struct qcow2_fresh *fresh;
    uint32_t granule;
    uint64_t units;
    uint8_t said[MAX_UNITS];
    uint64_t host[MAX_UNITS];
    uint64_t compressed_clusters;
};

static struct img_file *memory_file(void)
{
    struct img_file *file;

    unit_ok(img_file_from_memory("new", "old contents", 12, &file, &err), &err);
    return file;
}

static void any_options(struct image *im)
{
    struct qcow2_create_options *o = &im->options;
    struct random *r = &im->random;
    uint32_t min_bits = 9;

    qcow2_create_options_init(o);
    if (random_below(r, 5) == 0) {
        o->version = 2;
    } else {
        o->extended_l2 = random_below(r, 3) == 0;
        o->refcount_bits = 1u << random_below(r, 7);
        o->lazy_refcounts = random_bool(r);
        o->compression = (enum qcow2_compression)random_below(r, 2);
        o->data_file_name = random_below(r, 5) == 0 ? "data" : NULL;
        o->data_file_raw = o->data_file_name != NULL && random_bool(r);
        min_bits = o->extended_l2 ? 14 : 9;
    }
    if (!o->data_file_raw && random_bool(r)) {
        o->backing_name = "base";
        o->backing_format = random_bool(r) ? "raw" : NULL;
    }
    if ((o->extended_l2 || o->backing_name == NULL) && random_bool(r)) {
        o->prealloc = (enum qcow2_prealloc)random_below(r, 3);
    }
    o->cluster_len = 1u << (min_bits + random_below(r, 17 - min_bits));
    im->granule = o->extended_l2 ? o->cluster_len / 32 : o->cluster_len;
    im->units = 1 + random_below(r, img_min(MAX_UNITS, MAX_LEN / im->granule));
    /* The disk may end amid a granule. */
    o->virtual_len =
        im->units * im->granule - random_below(r, im->granule / 512) * 512;
}

static uint64_t unit_end(const struct image *im, uint64_t unit)
{
    return img_min(unit * im->granule, im->options.virtual_len);
}

static void put_data(struct image *im, uint64_t unit, uint64_t nr)
{
    uint64_t off = unit * im->granule;
    uint64_t end = unit_end(im, unit + nr);
    struct qcow2_place place;

    while (off < end) {
        unit_ok(qcow2_fresh_data(im->fresh, off, end - off, &place, &err),
                &err);
        ck_assert_ptr_eq(place.file, im->data_file ? im->data_file : im->file);
        ck_assert_uint_gt(place.len, 0);
        ck_assert_uint_le(place.len, end - off);
        for (uint64_t at = 0; at < place.len; at += im->granule) {
            im->said[(off + at) / im->granule] = SAID_DATA;
            im->host[(off + at) / im->granule] = place.host_off + at;
        }
        off += place.len;
    }
}

static void put_zero(struct image *im, uint64_t unit, uint64_t nr)
{
    uint64_t off = unit * im->granule;

    unit_ok(
        qcow2_fresh_zero(im->fresh, off, unit_end(im, unit + nr) - off, &err),
        &err);
    memset(im->said + unit, SAID_ZERO, nr);
}

/* Compressed clusters from UNIT on, about NR units; how many units really. */
static uint64_t put_compressed(struct image *im, uint64_t unit, uint64_t nr)
{
    uint64_t per_cluster = im->options.cluster_len / im->granule;
    uint64_t begin = unit, host_off;

    while (unit < begin + nr) {
        uint32_t len = 1 + (uint32_t)random_below(&im->random,
                                                  im->options.cluster_len - 1);

        unit_ok(qcow2_fresh_compressed(im->fresh, unit * im->granule, len,
                                       &host_off, &err),
                &err);
        for (uint64_t i = unit; i < img_min(unit + per_cluster, im->units);
             i++) {
            im->said[i] = SAID_COMPRESSED;
            im->host[i] = host_off;
        }
        im->compressed_clusters++;
        unit = img_min(unit + per_cluster, im->units);
        if (unit == im->units) {
            break;
        }
    }
    return unit - begin;
}

static void put_all(struct image *im)
{
    const struct qcow2_create_options *o = &im->options;
    uint64_t per_cluster = o->cluster_len / im->granule;

    for (uint64_t unit = 0; unit < im->units;) {
        uint64_t nr = 1 + random_below(&im->random,
                                       1ull << random_below(&im->random, 10));

        nr = img_min(nr, im->units - unit);
        switch (random_below(&im->random, 4)) {
        case 0:
            put_data(im, unit, nr);
            break;
        case 1:
            if (o->version == 3 || o->backing_name == NULL) {
                put_zero(im, unit, nr);
            }
            break;
        case 2:
            if (o->data_file_name == NULL && unit % per_cluster == 0) {
                nr = put_compressed(im, unit, nr);
            }
            break;
        default:
            break;
        }
        unit += nr;
    }
}

static void make(struct image *im)
{
    im->file = memory_file();
    im->data_file = im->options.data_file_name != NULL ? memory_file() : NULL;
    unit_ok(qcow2_fresh_new(im->file, im->data_file, &im->options, &im->fresh,
                            &err),
            &err);
    ck_assert_uint_eq(qcow2_fresh_granule(im->fresh), im->granule);
    put_all(im);
    unit_ok(qcow2_fresh_finish(im->fresh, &err), &err);
    qcow2_fresh_free(im->fresh);
}

/* What a reader must find for a granule. */
static enum img_extent_kind wanted_kind(const struct image *im, uint64_t unit)
{
    const struct qcow2_create_options *o = &im->options;

    switch ((enum said)im->said[unit]) {
    case SAID_DATA:
        return IMG_EXTENT_DATA;
    case SAID_COMPRESSED:
        return IMG_EXTENT_COMPRESSED;
    case SAID_ZERO:
        if (o->backing_name != NULL) {
            return IMG_EXTENT_ZERO;
        }
        break;
    case SAID_NOTHING:
        break;
    }
    return qcow2_create_prealloc(o) != QCOW2_PREALLOC_OFF && !o->extended_l2
               ? IMG_EXTENT_DATA
               : IMG_EXTENT_UNALLOCATED;
}

static void check_map(const struct image *im, struct img_image *image)
{
    uint64_t off = 0;
    struct img_extent e;

    while (off < im->options.virtual_len) {
        unit_ok(
            img_image_map(image, off, im->options.virtual_len - off, &e, &err),
            &err);
        for (uint64_t at = off; at < off + e.len; at += im->granule) {
            uint64_t unit = at / im->granule;

            ck_assert_int_eq(e.kind, wanted_kind(im, unit));
            if (im->said[unit] == SAID_DATA) {
                ck_assert_uint_eq(e.host_off + (at - off), im->host[unit]);
            } else if (im->said[unit] == SAID_COMPRESSED) {
                ck_assert_uint_eq(e.host_off, im->host[unit]);
            }
            if (qcow2_create_prealloc(&im->options) != QCOW2_PREALLOC_OFF &&
                im->said[unit] != SAID_COMPRESSED) {
                ck_assert(e.has_host);
            }
        }
        off += e.len;
    }
    ck_assert_uint_eq(off, im->options.virtual_len);
}

static void print_problem(void *opaque, const struct qcow2_problem *problem)
{
    (void)opaque;
    printf("%s\n", problem->message);
}

static void check_header(const struct image *im, struct img_image *image)
{
    const struct qcow2_header *h = qcow2_image_header(image);

    ck_assert_uint_eq(h->version, im->options.version);
    ck_assert_uint_eq(1u << h->refcount_order, im->options.refcount_bits);
    ck_assert_uint_eq((h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS) != 0,
                      im->options.lazy_refcounts);
    ck_assert_int_eq((int)h->compression, (int)im->options.compression);
    ck_assert_int_eq(h->is_data_file_raw, im->options.data_file_raw);
    ck_assert_int_eq(image->backing_name != NULL,
                     im->options.backing_name != NULL);
    ck_assert_int_eq(image->backing_format != NULL,
                     im->options.backing_format != NULL);
}

static void check_clean(const struct image *im, struct img_image *image)
{
    struct qcow2_check_options options = {.problem = print_problem,
                                          .max_problems = 10};
    struct qcow2_check_result result;

    unit_ok(qcow2_check(image, &options, &result, &err), &err);
    ck_assert_uint_eq(result.corruptions, 0);
    ck_assert_uint_eq(result.leaks, 0);
    ck_assert_uint_eq(result.check_errors, 0);
    ck_assert_uint_eq(result.compressed_clusters, im->compressed_clusters);
    /* Nothing is taken that is not used. */
    ck_assert_uint_eq(img_file_len(im->file), result.image_end_off);
}

static void check_image(struct image *im)
{
    struct img_image *image;

    unit_ok(qcow2_open(im->file, &(struct qcow2_options){0}, &image, &err),
            &err);
    if (im->data_file != NULL) {
        ck_assert_uint_eq(img_file_len(im->data_file), im->options.virtual_len);
        img_image_set_data_file(image, im->data_file);
    }
    check_header(im, image);
    check_map(im, image);
    check_clean(im, image);
    ck_assert_uint_le(
        img_file_len(im->file),
        qcow2_fresh_measure(&im->options, im->options.virtual_len));
    img_image_free(image);
}

static void assert_same_file(struct img_file *a, struct img_file *b)
{
    uint64_t len = img_file_len(a);
    uint8_t *one = malloc(len), *two = malloc(len);

    ck_assert_uint_eq(len, img_file_len(b));
    unit_ok(img_file_read(a, one, len, 0, &err), &err);
    unit_ok(img_file_read(b, two, len, 0, &err), &err);
    ck_assert_mem_eq(one, two, len);
    free(one);
    free(two);
}

START_TEST(test_random)
{
    static struct image im, again;

    for (uint32_t seed = 0; seed < ROUNDS; seed++) {
        memset(&im, 0, sizeof(im));
        im.random.state = seed;
        any_options(&im);
        again = im;
        make(&im);
        check_image(&im);
        if (seed % 10 == 0) {
            make(&again);
            assert_same_file(im.file, again.file);
            img_file_unref(again.file);
            img_file_unref(again.data_file);
        }
        img_file_unref(im.file);
        img_file_unref(im.data_file);
    }
}
END_TEST

/* A disk of LEN bytes with clusters of CLUSTER_LEN. */
static struct qcow2_create_options small(uint32_t cluster_len, uint64_t len)
{
    struct qcow2_create_options options;

    qcow2_create_options_init(&options);
    options.cluster_len = cluster_len;
    options.virtual_len = len;
    return options;
}

static void begin(struct image *im, const struct qcow2_create_options *options)
{
    *im = (struct image){.options = *options};
    im->file = memory_file();
    im->data_file = options->data_file_name != NULL ? memory_file() : NULL;
    unit_ok(qcow2_fresh_new(im->file, im->data_file, options, &im->fresh, &err),
            &err);
}

static void end(struct image *im)
{
    qcow2_fresh_free(im->fresh);
    img_file_unref(im->file);
    img_file_unref(im->data_file);
}

/* A compressed cluster of LEN bytes at guest cluster IDX of 64 KiB. */
static uint64_t pack(struct image *im, uint64_t idx, uint32_t len)
{
    uint64_t host_off;

    unit_ok(qcow2_fresh_compressed(im->fresh, idx << 16, len, &host_off, &err),
            &err);
    return host_off;
}

/* Neighbours share host clusters and pass their borders. */
START_TEST(test_packing)
{
    struct qcow2_create_options options = small(65536, 64 << 16);
    struct image im;
    uint64_t first;
    struct qcow2_place place;

    begin(&im, &options);
    first = pack(&im, 0, 40000);
    ck_assert_uint_eq(first % 65536, 0);
    ck_assert_uint_eq(pack(&im, 1, 40000), first + 40000);
    /* Data comes between: what fits still goes into the open cluster. */
    unit_ok(qcow2_fresh_data(im.fresh, 2 << 16, 65536, &place, &err), &err);
    ck_assert_uint_eq(place.host_off, first + 131072);
    ck_assert_uint_eq(pack(&im, 3, 51072), first + 80000);
    ck_assert_uint_eq(pack(&im, 4, 100), first + 3 * 65536);
    unit_ok(qcow2_fresh_finish(im.fresh, &err), &err);
    end(&im);
}
END_TEST

/* A host cluster has at most as many users as its refcount can tell. */
START_TEST(test_packing_width)
{
    static const uint32_t widths[] = {1, 2, 4};

    for (size_t i = 0; i < 3; i++) {
        struct qcow2_create_options options = small(65536, 64 << 16);
        uint64_t max = (1u << widths[i]) - 1, first;
        struct image im;

        options.refcount_bits = widths[i];
        begin(&im, &options);
        first = pack(&im, 0, 16);
        for (uint64_t idx = 1; idx < 2 * max; idx++) {
            ck_assert_uint_eq(pack(&im, idx, 16),
                              first + idx / max * 65536 + idx % max * 16);
        }
        unit_ok(qcow2_fresh_finish(im.fresh, &err), &err);
        end(&im);
    }
}
END_TEST

START_TEST(test_order)
{
    struct qcow2_create_options options = small(65536, 10 << 16);
    struct qcow2_place place;
    struct image im;

    begin(&im, &options);
    unit_ok(qcow2_fresh_data(im.fresh, 131072, 65536, &place, &err), &err);
    unit_fails(qcow2_fresh_data(im.fresh, 131072, 65536, &place, &err), &err,
               IMG_USAGE,
               "new image: found guest offset 131072, expected 196608 or more");
    unit_fails(qcow2_fresh_data(im.fresh, 196608, 512, &place, &err), &err,
               IMG_USAGE,
               "new image: found guest range 196608 +512, expected multiples of"
               " 65536 within 655360");
    unit_fails(qcow2_fresh_zero(im.fresh, 655360, 65536, &err), &err, IMG_USAGE,
               "new image: found guest range 655360 +65536, expected multiples"
               " of 65536 within 655360");
    unit_fails(
        qcow2_fresh_compressed(im.fresh, 196608, 65536, &place.host_off, &err),
        &err, IMG_USAGE,
        "compressed cluster: found 65536 bytes, expected less than the"
        " cluster's 65536");
    unit_ok(qcow2_fresh_finish(im.fresh, &err), &err);
    unit_fails(qcow2_fresh_finish(im.fresh, &err), &err, IMG_USAGE,
               "new image: found a call after the end, expected none");
    end(&im);
}
END_TEST

START_TEST(test_cancelled_while_reserving)
{
    struct qcow2_create_options options = small(65536, 1 << 20);
    volatile int cancel = 0;
    struct image im;

    options.prealloc = QCOW2_PREALLOC_FULL;
    begin(&im, &options);
    qcow2_fresh_cancel_by(im.fresh, &cancel);
    cancel = 1;
    unit_fails(qcow2_fresh_finish(im.fresh, &err), &err, IMG_CANCELLED,
               "cancelled");
    end(&im);
}
END_TEST

START_TEST(test_refused)
{
    struct qcow2_create_options options = small(65536, 1 << 20);
    struct qcow2_fresh *fresh;
    struct img_file *file = memory_file();
    uint64_t host_off;
    struct image im;

    options.version = 2;
    options.backing_name = "base";
    begin(&im, &options);
    unit_fails(qcow2_fresh_zero(im.fresh, 0, 65536, &err), &err,
               IMG_UNSUPPORTED,
               "zeros: found a version 2 image with a backing file, expected"
               " version 3");
    end(&im);
    options = small(65536, 1 << 20);
    options.data_file_name = "data";
    unit_fails(qcow2_fresh_new(file, NULL, &options, &fresh, &err), &err,
               IMG_USAGE, "data file: found none, expected one");
    begin(&im, &options);
    unit_fails(qcow2_fresh_compressed(im.fresh, 0, 10, &host_off, &err), &err,
               IMG_UNSUPPORTED,
               "compressed cluster: found one with an external data file,"
               " expected none");
    end(&im);
    options.data_file_name = NULL;
    unit_fails(qcow2_fresh_new(file, file, &options, &fresh, &err), &err,
               IMG_USAGE, "data file: found one, expected none");
    options.virtual_len = 100;
    unit_fails(qcow2_fresh_new(file, NULL, &options, &fresh, &err), &err,
               IMG_USAGE,
               "size: found 100, expected a multiple of 512 below 2^63");
    /* Nothing was done to the file. */
    ck_assert_uint_eq(img_file_len(file), 12);
    img_file_unref(file);
}
END_TEST

static void add_bitmap(struct image *im, const char *name, const uint8_t *bits,
                       uint64_t len)
{
    struct qcow2_fresh_bitmap bitmap = {
        .name = name,
        .granularity = 65536,
        .flags = QCOW2_BITMAP_FLAG_AUTO,
        .bits = bits,
        .bits_len = len,
    };

    unit_ok(qcow2_fresh_bitmap_add(im->fresh, &bitmap, &err), &err);
}

START_TEST(test_bitmaps)
{
    /* 16384 bits: four clusters of 512 bytes, of which one is not zero. */
    struct qcow2_create_options options = small(512, 1ull << 30);
    const struct qcow2_bitmap_info *info;
    struct img_image *image;
    uint8_t bits[2048] = {[700] = 0x10}, cluster[512], entry[8];
    struct image im;
    size_t nr;

    begin(&im, &options);
    add_bitmap(&im, "one", bits, sizeof(bits));
    add_bitmap(&im, "another", bits, sizeof(bits));
    unit_ok(qcow2_fresh_finish(im.fresh, &err), &err);
    unit_ok(qcow2_open(im.file, &(struct qcow2_options){0}, &image, &err),
            &err);
    unit_ok(qcow2_image_bitmaps(image, &info, &nr, &err), &err);
    ck_assert_uint_eq(nr, 2);
    ck_assert_str_eq(info[1].name, "another");
    ck_assert_uint_eq(info[0].granularity, 65536);
    ck_assert_uint_eq(info[0].flags, QCOW2_BITMAP_FLAG_AUTO);
    ck_assert_uint_eq(info[0].table_entries, 4);
    unit_ok(img_file_read(im.file, entry, 8, info[0].table_off, &err), &err);
    ck_assert_uint_eq(img_load_be64(entry), 0);
    unit_ok(img_file_read(im.file, entry, 8, info[0].table_off + 8, &err),
            &err);
    unit_ok(img_file_read(im.file, cluster, 512, img_load_be64(entry), &err),
            &err);
    ck_assert_mem_eq(cluster, bits + 512, 512);
    check_clean(&im, image);
    img_image_free(image);
    end(&im);
}
END_TEST

START_TEST(test_bitmaps_refused)
{
    struct qcow2_create_options options = small(65536, 1 << 20);
    uint8_t bits[2] = {0};
    struct qcow2_fresh_bitmap b = {
        .name = "b", .granularity = 65536, .bits = bits, .bits_len = 3};
    struct image im;

    begin(&im, &options);
    unit_fails(qcow2_fresh_bitmap_add(im.fresh, &b, &err), &err, IMG_USAGE,
               "bitmap: found 3 bytes, expected 2 for 16 bits");
    b.bits_len = 2;
    b.granularity = 1000;
    unit_fails(qcow2_fresh_bitmap_add(im.fresh, &b, &err), &err, IMG_USAGE,
               "bitmap granularity: found 1000, expected a power of two from"
               " 512 to 2147483648");
    b.granularity = 65536;
    unit_ok(qcow2_fresh_bitmap_add(im.fresh, &b, &err), &err);
    unit_fails(qcow2_fresh_bitmap_add(im.fresh, &b, &err), &err, IMG_USAGE,
               "bitmap name: found it twice, expected once");
    b.name = "";
    unit_fails(qcow2_fresh_bitmap_add(im.fresh, &b, &err), &err, IMG_USAGE,
               "bitmap name: found 0 bytes, expected 1 to 1023");
    end(&im);
    options.version = 2;
    b.name = "b";
    begin(&im, &options);
    unit_fails(qcow2_fresh_bitmap_add(im.fresh, &b, &err), &err,
               IMG_UNSUPPORTED,
               "bitmap: found one for a version 2 image, expected version 3");
    end(&im);
}
END_TEST

UNIT_SUITE("fresh", test_random, test_packing, test_packing_width, test_order,
           test_cancelled_while_reserving, test_refused, test_bitmaps,
           test_bitmaps_refused)
