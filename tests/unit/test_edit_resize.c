/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other sizes, versions and refcount widths for every sort of image, with each
 * write failing in turn: what is left is an image of the old or the new size
 * that shows the old bytes, and zeros behind.
 */
#include "edit_fixture.h"

#define MAX_WRITES 4000u

/* ---- Images as bytes, to begin from again and again. */

struct saved {
    uint8_t *bytes, *data;
    size_t len, data_len;
};

static uint8_t *save(struct img_file *file, size_t *len)
{
    struct img_error err = {0};
    uint8_t *bytes;

    *len = file ? img_file_len(file) : 0;
    bytes = malloc(*len + 1);
    ck_assert_ptr_nonnull(bytes);
    if (*len > 0) {
        unit_ok(img_file_read(file, bytes, *len, 0, &err), &err);
    }
    return bytes;
}

/* A copy in memory, and the same with faults. */
struct copy {
    struct img_file *memory, *data_memory;
    struct img_file *file, *data_file;
};

static void copy_one(const char *name, const uint8_t *bytes, size_t len,
                     const struct img_fault *fault, struct img_file **memory,
                     struct img_file **file)
{
    struct img_error err = {0};

    unit_ok(img_file_from_memory(name, bytes, len, memory, &err), &err);
    unit_ok(img_file_with_faults(*memory, fault, file, &err), &err);
}

static void copy_init(struct copy *copy, const struct saved *saved,
                      bool has_data_file, uint64_t fail_at)
{
    const struct img_fault none = {0};
    const struct img_fault fault = {.fail_at_write = fail_at};

    memset(copy, 0, sizeof(*copy));
    copy_one("test.qcow2", saved->bytes, saved->len, &fault, &copy->memory,
             &copy->file);
    if (has_data_file) {
        copy_one("data", saved->data, saved->data_len, &none,
                 &copy->data_memory, &copy->data_file);
    }
}

static void copy_fini(struct copy *copy)
{
    img_file_unref(copy->file);
    img_file_unref(copy->data_file);
    img_file_unref(copy->memory);
    img_file_unref(copy->data_memory);
}

/* ---- What is done to them. */

static int read_below(void *opaque, void *buf, size_t len, uint64_t off,
                      struct img_error *err)
{
    (void)opaque;
    (void)off;
    (void)err;
    memset(buf, BELOW, len);
    return 0;
}

struct job {
    uint64_t sectors; /* 0: amend */
    enum qcow2_prealloc prealloc;
    struct qcow2_amend_options amend;
};

static int job_run(const struct job *job, struct qcow2_edit *edit,
                   struct img_error *err)
{
    const struct qcow2_resize resize = {
        .virtual_len = job->sectors * SECTOR,
        .prealloc = job->prealloc,
        .backing_len =
            qcow2_edit_extensions(edit)->backing_name ? UINT64_MAX : 0,
        .read_backing = read_below,
    };

    return job->sectors ? qcow2_edit_resize_over(edit, &resize, err)
                        : qcow2_edit_amend(edit, &job->amend, err);
}

/* Sectors that the image shows, one byte for each. */
static uint64_t sectors_of(struct img_file *file)
{
    struct img_error err = {0};
    struct img_image *image;
    uint64_t sectors;

    unit_ok(qcow2_open(file, &(struct qcow2_options){0}, &image, &err), &err);
    sectors = image->virtual_len / SECTOR;
    img_image_free(image);
    return sectors;
}

static void check_contents(const struct copy *copy, const struct fixture *f,
                           const struct job *job)
{
    uint64_t sectors = sectors_of(copy->memory);
    uint8_t *found = calloc(1, sectors);

    ck_assert_ptr_nonnull(found);
    ck_assert(sectors == f->kind->sectors || sectors == job->sectors);
    disk_read(copy->memory, copy->data_memory, NULL, sectors, found);
    for (uint64_t i = 0; i < sectors; i++) {
        uint8_t expected = i < f->kind->sectors ? f->now[i] : 0;

        /* Without a backing file BELOW stands for zeros. */
        if (!f->kind->has_backing && found[i] == BELOW) {
            found[i] = 0;
        }
        if (!f->kind->has_backing && expected == BELOW) {
            expected = 0;
        }
        ck_assert_msg(found[i] == expected,
                      "%s: sector %llu of %llu is 0x%02x, expected 0x%02x",
                      f->kind->name, (unsigned long long)i,
                      (unsigned long long)sectors, found[i], expected);
    }
    free(found);
}

/* The snapshot shows what it did. */
static void check_snapshot(const struct copy *copy, const struct fixture *f)
{
    uint8_t *found;

    if (!f->kind->has_snapshot) {
        return;
    }
    found = calloc(1, f->kind->sectors);
    ck_assert_ptr_nonnull(found);
    disk_read(copy->memory, copy->data_memory, "1", f->kind->sectors, found);
    ck_assert_mem_eq(found, f->before, f->kind->sectors);
    free(found);
}

/* JOB with write FAIL_AT failing; whether it was done. *refused: it was not
   even begun. */
static bool try_job(const struct fixture *f, const struct saved *saved,
                    const struct job *job, uint64_t fail_at, bool *refused)
{
    struct img_error err = {0};
    struct qcow2_edit *edit;
    struct copy copy;
    int result;

    copy_init(&copy, saved, f->kind->has_data_file, fail_at);
    unit_ok(
        qcow2_edit_open(copy.file, copy.data_file, &f->options, &edit, &err),
        &err);
    result = job_run(job, edit, &err);
    *refused = result && (err.code == IMG_UNSUPPORTED ||
                          err.code == IMG_LIMIT || err.code == IMG_USAGE);
    qcow2_edit_free(edit);
    image_check(copy.memory, copy.data_memory, result != 0, f->kind->name);
    check_contents(&copy, f, job);
    check_snapshot(&copy, f);
    if (result == 0 && job->sectors) {
        ck_assert_uint_eq(sectors_of(copy.memory), job->sectors);
    }
    copy_fini(&copy);
    return result == 0;
}

/* Every write of JOB fails once, in steps where there are many. */
static bool run_job(const struct fixture *f, const struct job *job)
{
    struct saved saved;
    bool refused = false;
    bool is_done = false;

    saved.bytes = save(f->file, &saved.len);
    saved.data = save(f->data_file, &saved.data_len);
    for (uint64_t at = 1; !is_done && !refused; at += 1 + at / 3) {
        ck_assert_uint_le(at, MAX_WRITES);
        is_done = try_job(f, &saved, job, at, &refused);
    }
    free(saved.bytes);
    free(saved.data);
    return is_done;
}

static void with_fixture(int kind, const struct job *job, bool *is_done)
{
    struct fixture f;

    fixture_init(&f, &fixture_kinds[kind], 1 + (uint64_t)kind);
    *is_done = run_job(&f, job);
    fixture_fini(&f);
}

/* Version 2 has no zeros to put over the backing file, nor snapshots that
   could tell their size. */
static bool may_grow(const struct fixture_kind *kind,
                     enum qcow2_prealloc prealloc)
{
    return kind->version >= 3 ||
           (!kind->has_snapshot &&
            (!kind->has_backing || prealloc == QCOW2_PREALLOC_FALLOC ||
             prealloc == QCOW2_PREALLOC_FULL));
}

static bool may_shrink(const struct fixture_kind *kind)
{
    return kind->version >= 3 || !kind->has_snapshot;
}

START_TEST(test_grow)
{
    const struct fixture_kind *kind = &fixture_kinds[_i];
    const uint64_t more[] = {1, 40, 900};

    for (size_t i = 0; i < 3; i++) {
        for (int p = QCOW2_PREALLOC_OFF; p <= (int)QCOW2_PREALLOC_FULL;
             p += i == 1 ? 1 : 3) {
            struct job job = {.sectors = kind->sectors + more[i],
                              .prealloc = (enum qcow2_prealloc)p};
            uint64_t cluster = kind->cluster_len / SECTOR;
            bool has_new = img_div_up(job.sectors, cluster) >
                           img_div_up(kind->sectors, cluster);
            bool is_done;

            with_fixture(_i, &job, &is_done);
            ck_assert_int_eq(is_done, may_grow(kind, job.prealloc) ||
                                          (!has_new && !kind->has_snapshot));
        }
    }
}
END_TEST

START_TEST(test_shrink)
{
    const struct fixture_kind *kind = &fixture_kinds[_i];
    const uint64_t sizes[] = {1, kind->sectors / 2, kind->sectors - 1};

    for (size_t i = 0; i < 3; i++) {
        struct job job = {.sectors = sizes[i]};
        bool is_done;

        with_fixture(_i, &job, &is_done);
        ck_assert_int_eq(is_done, may_shrink(kind));
    }
}
END_TEST

static struct job amend_job(uint32_t version, uint32_t bits)
{
    return (struct job){
        .amend = {.version = version,
                  .refcount_bits = bits,
                  .lazy_refcounts = -1,
                  .data_file_raw = -1},
    };
}

START_TEST(test_refcount_bits)
{
    const struct fixture_kind *kind = &fixture_kinds[_i];

    for (uint32_t bits = 1; bits <= 64; bits *= 2) {
        struct job job = amend_job(3, bits);
        /* Compressed clusters share a cluster, snapshots everything. */
        bool is_shared = kind->has_snapshot || kind->has_compressed;
        bool is_done;

        with_fixture(_i, &job, &is_done);
        if (bits >= 8 || !is_shared) {
            ck_assert(is_done);
        }
    }
}
END_TEST

/*
 * A file that is longer than its refcount table counts: what is written behind
 * its end counts itself all the same.
 */
START_TEST(test_refcount_bits_of_a_long_file)
{
    static const struct fixture_kind narrow = {
        "narrow", 3, 512, 64, .has_backing = true, .sectors = 600};

    for (uint32_t bits = 1; bits <= 32; bits *= 2) {
        const struct job job = amend_job(3, bits);
        struct fixture f;

        fixture_init(&f, &narrow, 5);
        /* One cluster of the table counts 4096 clusters. */
        unit_ok(img_file_resize(f.file, 7000 * 512 + 100, &f.err), &f.err);
        fixture_open(&f);
        unit_ok(job_run(&job, f.edit, &f.err), &f.err);
        fixture_check(&f);
        fixture_fini(&f);
    }
}
END_TEST

START_TEST(test_versions)
{
    const struct fixture_kind *kind = &fixture_kinds[_i];
    struct job down = amend_job(2, 16), up = amend_job(3, 0);
    bool is_done;

    with_fixture(_i, &up, &is_done);
    ck_assert(is_done);
    with_fixture(_i, &down, &is_done);
    ck_assert_int_eq(is_done, !kind->has_data_file && !kind->extended_l2);
}
END_TEST

/* ---- What is refused, in which words. */

static void refuses(int kind, const struct job *job, enum img_code code,
                    const char *text)
{
    struct fixture f;

    fixture_init(&f, &fixture_kinds[kind], 1);
    fixture_open(&f);
    unit_fails(job_run(job, f.edit, &f.err), &f.err, code, text);
    fixture_check(&f);
    fixture_fini(&f);
}

/* No writer makes such an image: a backing file, and a raw data file. */
START_TEST(test_raw_with_backing)
{
    static const uint8_t name[] = "below";
    struct job job = {.sectors = 3000};
    struct fixture f;
    uint8_t where[12];

    img_store_be64(where, 1024);
    img_store_be32(where + 8, sizeof(name) - 1);
    fixture_init(&f, &fixture_kinds[10], 1);
    unit_ok(img_file_write(f.file, name, sizeof(name) - 1, 1024, &f.err),
            &f.err);
    unit_ok(img_file_write(f.file, where, sizeof(where), 8, &f.err), &f.err);
    fixture_open(&f);
    unit_fails(job_run(&job, f.edit, &f.err), &f.err, IMG_UNSUPPORTED,
               "an image whose data file is raw (data_file_raw) can have no"
               " backing file: found one, which must be removed to make it"
               " longer");
    fixture_check(&f);
    fixture_fini(&f);
}
END_TEST

START_TEST(test_refusals)
{
    struct job job = {.sectors = 3000};

    refuses(3, &job, IMG_UNSUPPORTED,
            "a version 2 image cannot hide its longer backing file in what it"
            " gains: expected compat=1.1 (amend -o compat=1.1) or"
            " preallocation falloc or full");
    refuses(6, &job, IMG_UNSUPPORTED,
            "a version 2 image with internal snapshots cannot be resized:"
            " found 1 of them, expected none or compat=1.1 (amend -o"
            " compat=1.1)");
    job = (struct job){.sectors = 5, .prealloc = QCOW2_PREALLOC_FULL};
    refuses(0, &job, IMG_USAGE, "preallocation is for growing images only");
    job = (struct job){.sectors = 1ull << 45};
    refuses(1, &job, IMG_LIMIT,
            "virtual size: found 18014398509481984 bytes, expected at most"
            " 137438953472 with clusters of 512 bytes (the L1 table would be"
            " longer than 32 MiB)");
    job = amend_job(2, 8);
    refuses(0, &job, IMG_USAGE,
            "refcount_bits: found 8, expected 16 with compat=0.10");
    job = amend_job(3, 3);
    refuses(0, &job, IMG_USAGE,
            "refcount_bits: found 3, expected a power of two from 1 to 64");
    job = amend_job(2, 16);
    refuses(7, &job, IMG_UNSUPPORTED,
            "compat=0.10: found incompatible features 0x10, expected none");
    refuses(9, &job, IMG_UNSUPPORTED,
            "compat=0.10: found an external data file, expected none");
    job.amend.lazy_refcounts = 1;
    refuses(0, &job, IMG_USAGE,
            "lazy_refcounts: found on, expected off with compat=0.10");
    job = amend_job(0, 0);
    job.amend.data_file_raw = 1;
    refuses(0, &job, IMG_USAGE,
            "data_file_raw: found on, expected off: it cannot be set on an"
            " existing image");
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("edit_resize");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_grow, 0, (int)FIXTURE_KINDS);
    tcase_add_loop_test(tcase, test_shrink, 0, (int)FIXTURE_KINDS);
    tcase_add_loop_test(tcase, test_refcount_bits, 0, (int)FIXTURE_KINDS);
    tcase_add_test(tcase, test_refcount_bits_of_a_long_file);
    tcase_add_loop_test(tcase, test_versions, 0, (int)FIXTURE_KINDS);
    tcase_add_test(tcase, test_refusals);
    tcase_add_test(tcase, test_raw_with_backing);
    return unit_run("edit_resize", tcase);
}
