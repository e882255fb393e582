/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The backing name of an image changes atomically: after any number of writes,
 * and with the last one torn at any sector, the first cluster says all of the
 * old or all of the new. Undo records bring it back.
 */
#include <img/bytes.h>
#include <img/write.h>
#include <qcow2/edit.h>

#include "unit.h"

#define SECTOR_LEN 512u
#define MAX_WRITES 12u

/* What a header says at first. */
struct kind {
    const char *what;
    uint32_t version, cluster_len;
    size_t name_len; /* 0: no backing file */
    const char *format;
    bool has_features;
    size_t unknown_len; /* of an unknown extension; 0: none */
};

static const struct kind kinds[] = {
    {"one sector", 3, 512, 60, "qcow2", false, 0},
    {"one sector, version 2", 2, 512, 200, NULL, false, 0},
    {"as QEMU makes it", 3, 65536, 20, "qcow2", true, 0},
    {"no format recorded", 3, 65536, 20, NULL, true, 0},
    {"no backing file", 3, 65536, 0, NULL, true, 0},
    {"a long name", 3, 4096, 1023, "raw", true, 0},
    {"small clusters", 3, 2048, 300, "raw", true, 0},
    {"an unknown extension", 3, 65536, 40, "qcow2", true, 33},
    {"beyond the first sector", 3, 65536, 40, NULL, true, 700},
    {"large clusters", 3, 256u << 10, 1000, "qcow2", true, 1500},
    {"version 2", 2, 65536, 900, "qcow2", false, 17},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const size_t new_lens[] = {0, 1, 90, 350, 1023};
#define NEW_LENS (sizeof(new_lens) / sizeof(new_lens[0]))

static char *name_of(size_t len, char letter)
{
    char *name = calloc(1, len + 1);

    ck_assert_ptr_nonnull(name);
    memset(name, letter, len);
    return name;
}

/* The values of KIND as bytes: a header cluster, a refcount table and block,
   an L1 table. */
static uint8_t *build(const struct kind *kind, size_t *len)
{
    struct img_error err = {0};
    struct qcow2_unknown_extension unknown = {
        .type = 0x12345678,
        .len = (uint32_t)kind->unknown_len,
        .data = (uint8_t *)name_of(kind->unknown_len, 'u'),
    };
    struct qcow2_extensions x = {
        .backing_name = kind->name_len ? name_of(kind->name_len, 'o') : NULL,
        .backing_format = kind->format ? strdup(kind->format) : NULL,
        .unknown = &unknown,
        .unknown_nr = kind->unknown_len > 0,
    };
    struct qcow2_header h = {
        .version = kind->version,
        .cluster_bits = (uint32_t)__builtin_ctz(kind->cluster_len),
        .virtual_len = 8192,
        .l1_entries = 1,
        .l1_off = 3ull * kind->cluster_len,
        .reftable_off = kind->cluster_len,
        .reftable_clusters = 1,
        .refcount_order = 4,
        .header_len = kind->version == 3 ? 112 : 72,
    };
    uint8_t *bytes;

    *len = (size_t)kind->cluster_len * 4;
    bytes = calloc(1, *len);
    ck_assert_ptr_nonnull(bytes);
    qcow2_header_derive(&h);
    unit_ok(qcow2_first_cluster_encode(&h, &x, kind->has_features, bytes,
                                       kind->cluster_len, &err),
            &err);
    img_store_be64(bytes + kind->cluster_len, 2ull * kind->cluster_len);
    for (size_t i = 0; i < 4; i++) {
        img_store_be16(bytes + 2ull * kind->cluster_len + i * 2, 1);
    }
    free(unknown.data);
    free(x.backing_name);
    free(x.backing_format);
    return bytes;
}

/* What a first cluster says. */
struct said {
    struct qcow2_header header;
    struct qcow2_extensions x;
};

static void say(const uint8_t *bytes, size_t cluster_len, struct said *out,
                const char *what)
{
    struct img_error err = {0};

    ck_assert_msg(qcow2_header_decode(bytes, cluster_len, &out->header, &err) ==
                          0 &&
                      qcow2_extensions_decode(&out->header, bytes, cluster_len,
                                              &out->x, &err) == 0,
                  "%s: %s", what, err.text);
}

static bool is_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool has_names(const struct said *said, const char *name,
                      const char *format)
{
    return is_text(said->x.backing_name, name) &&
           is_text(said->x.backing_format, format);
}

/* More than any header here has. */
#define HEADER_ROOM 8192

/* Nothing but names, their place and the feature names may have changed. */
static void check_rest(const struct said *now, const struct said *first,
                       const char *what)
{
    struct qcow2_header a = now->header;
    uint8_t stored[2][HEADER_ROOM] = {{0}};

    a.backing_name_off = first->header.backing_name_off;
    a.backing_name_len = first->header.backing_name_len;
    a.header_len = first->header.header_len;
    qcow2_header_encode(&a, stored[0]);
    qcow2_header_encode(&first->header, stored[1]);
    ck_assert_msg(memcmp(stored[0], stored[1], sizeof(stored[0])) == 0,
                  "%s: header", what);
    ck_assert_uint_eq(now->x.unknown_nr, first->x.unknown_nr);
    for (size_t i = 0; i < first->x.unknown_nr; i++) {
        ck_assert_uint_eq(now->x.unknown[i].len, first->x.unknown[i].len);
        ck_assert_mem_eq(now->x.unknown[i].data, first->x.unknown[i].data,
                         first->x.unknown[i].len);
    }
    ck_assert(now->x.features_nr == first->x.features_nr ||
              now->x.features_nr == 0);
}

/* BYTES say all of the old or all of the new. */
static void check_state(const uint8_t *bytes, const struct kind *kind,
                        const struct said *first, const char *name,
                        const char *format)
{
    struct said said;

    say(bytes, kind->cluster_len, &said, kind->what);
    ck_assert_msg(
        has_names(&said, name, format) ||
            has_names(&said, first->x.backing_name, first->x.backing_format),
        "%s: name %s, format %s", kind->what, said.x.backing_name,
        said.x.backing_format);
    check_rest(&said, first, kind->what);
    qcow2_extensions_fini(&said.x);
}

static uint8_t *snapshot_of(struct img_file *file, size_t len)
{
    struct img_error err = {0};
    uint8_t *bytes = malloc(len);

    ck_assert_ptr_nonnull(bytes);
    unit_ok(img_file_read(file, bytes, len, 0, &err), &err);
    return bytes;
}

/* set_backing on a copy of BYTES, where write number FAIL_AT fails (0: none);
   what the file has then. *result is the call's. */
static uint8_t *change(const uint8_t *bytes, size_t len, uint64_t fail_at,
                       const char *name, const char *format, int *result,
                       struct img_error *err)
{
    const struct img_fault fault = {.fail_at_write = fail_at};
    struct img_file *memory, *file;
    struct qcow2_edit *edit;
    uint8_t *after;

    unit_ok(img_file_from_memory("test.qcow2", bytes, len, &memory, err), err);
    unit_ok(img_file_with_faults(memory, &fault, &file, err), err);
    unit_ok(qcow2_edit_open(file, NULL, &(struct qcow2_edit_options){0}, &edit,
                            err),
            err);
    *result = qcow2_edit_set_backing(edit, name, format, err);
    qcow2_edit_free(edit);
    after = snapshot_of(memory, len);
    img_file_unref(file);
    img_file_unref(memory);
    return after;
}

/* The one write between BEFORE and AFTER, torn at each sector either way. */
static void check_torn(const uint8_t *before, const uint8_t *after,
                       const struct kind *kind, const struct said *first,
                       const char *name, const char *format)
{
    uint32_t len = kind->cluster_len;
    uint8_t *torn = malloc(len);

    ck_assert_ptr_nonnull(torn);
    for (uint32_t cut = SECTOR_LEN; cut < len; cut += SECTOR_LEN) {
        if (memcmp(before + cut - SECTOR_LEN, after + cut - SECTOR_LEN,
                   SECTOR_LEN) == 0) {
            continue; /* as at the sector before */
        }
        memcpy(torn, after, cut);
        memcpy(torn + cut, before + cut, len - cut);
        check_state(torn, kind, first, name, format);
        memcpy(torn, before, cut);
        memcpy(torn + cut, after + cut, len - cut);
        check_state(torn, kind, first, name, format);
    }
    free(torn);
}

/* All states of one change; false: there is no room for it. */
static bool check_change(const struct kind *kind, const char *name,
                         const char *format)
{
    struct img_error err = {0};
    struct said first, last;
    size_t len;
    uint8_t *bytes = build(kind, &len);
    uint8_t *before = malloc(len);
    int result = -1;
    uint64_t nr = 1;

    ck_assert_ptr_nonnull(before);
    memcpy(before, bytes, len);
    say(bytes, kind->cluster_len, &first, kind->what);
    for (; result != 0; nr++) {
        uint8_t *after = change(bytes, len, nr, name, format, &result, &err);

        if (result != 0 && err.code == IMG_LIMIT) {
            ck_assert_mem_eq(after, bytes, len);
            free(after);
            break;
        }
        ck_assert_uint_le(nr, MAX_WRITES);
        check_state(after, kind, &first, name, format);
        check_torn(before, after, kind, &first, name, format);
        free(before);
        before = after;
    }
    if (result == 0) {
        say(before, kind->cluster_len, &last, kind->what);
        ck_assert_msg(has_names(&last, name, format), "%s: not changed",
                      kind->what);
        ck_assert_mem_eq(before + kind->cluster_len, bytes + kind->cluster_len,
                         len - kind->cluster_len);
        qcow2_extensions_fini(&last.x);
    }
    qcow2_extensions_fini(&first.x);
    free(before);
    free(bytes);
    return result == 0;
}

START_TEST(test_every_state)
{
    const struct kind *kind = &kinds[_i];
    size_t done = 0;

    for (size_t i = 0; i < NEW_LENS; i++) {
        char *name = new_lens[i] ? name_of(new_lens[i], 'n') : NULL;

        done += check_change(kind, name, name ? "raw" : NULL);
        done += check_change(kind, name, NULL);
        free(name);
    }
    /* Only sectors and clusters that are too small refuse long names. */
    if (kind->cluster_len >= 4096) {
        ck_assert_uint_eq(done, 2 * NEW_LENS);
    }
    ck_assert_uint_ge(done, 4);
}
END_TEST

/* What is there for people comes back when it was in the way. */
START_TEST(test_feature_names_stay)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct img_error err = {0};
        struct said first, last;
        size_t len;
        int result;
        uint8_t *bytes, *after;

        if (kinds[i].cluster_len < 4096) {
            continue;
        }
        bytes = build(&kinds[i], &len);
        after = change(bytes, len, 0, "other.raw", "raw", &result, &err);
        ck_assert_int_eq(result, 0);
        say(bytes, kinds[i].cluster_len, &first, kinds[i].what);
        say(after, kinds[i].cluster_len, &last, kinds[i].what);
        ck_assert_uint_eq(last.x.features_nr, first.x.features_nr);
        /* Where libvirt looks for it. */
        ck_assert_uint_le(
            last.header.backing_name_off + last.header.backing_name_len, 33280);
        ck_assert(!last.x.is_backing_format_hidden);
        qcow2_extensions_fini(&first.x);
        qcow2_extensions_fini(&last.x);
        free(bytes);
        free(after);
    }
}
END_TEST

/* The list moves behind the old one, and the header reaches up to it. */
START_TEST(test_header_is_lengthened)
{
    const struct kind *kind = &kinds[8];
    struct img_error err = {0};
    struct said said;
    size_t len;
    int result;
    uint8_t *bytes = build(kind, &len);
    uint8_t *after = change(bytes, len, 0, "a.raw", "raw", &result, &err);

    ck_assert_int_eq(result, 0);
    say(after, kind->cluster_len, &said, kind->what);
    ck_assert_uint_gt(said.header.header_len, SECTOR_LEN);
    ck_assert_uint_eq(said.header.header_len % 8, 0);
    for (size_t i = 112; i < said.header.header_len; i++) {
        ck_assert_uint_eq(after[i], 0);
    }
    qcow2_extensions_fini(&said.x);
    free(bytes);
    free(after);
}
END_TEST

static void open_bytes(const uint8_t *bytes, size_t len, struct img_file **file,
                       struct qcow2_edit **edit, struct img_error *err)
{
    unit_ok(img_file_from_memory("test.qcow2", bytes, len, file, err), err);
    unit_ok(qcow2_edit_open(*file, NULL, &(struct qcow2_edit_options){0}, edit,
                            err),
            err);
}

START_TEST(test_names_that_are_refused)
{
    struct img_error err = {0};
    struct img_file *file;
    struct qcow2_edit *edit;
    size_t len;
    uint8_t *bytes = build(&kinds[2], &len);
    char *name = name_of(1024, 'n');

    open_bytes(bytes, len, &file, &edit, &err);
    unit_fails(qcow2_edit_set_backing(edit, name, "raw", &err), &err, IMG_USAGE,
               "backing file name: found 1024 bytes, expected 1 to 1023");
    unit_fails(qcow2_edit_set_backing(edit, "", "raw", &err), &err, IMG_USAGE,
               "backing file name: found 0 bytes, expected 1 to 1023");
    unit_fails(qcow2_edit_set_backing(edit, "a", "0123456789abcdef", &err),
               &err, IMG_USAGE,
               "backing format: found 16 bytes, expected 1 to 15");
    unit_fails(qcow2_edit_set_data_file(edit, "a", &err), &err, IMG_USAGE,
               "data_file: found an image without an external data file,"
               " expected one that has it");
    qcow2_edit_free(edit);
    img_file_unref(file);
    free(name);
    free(bytes);
}
END_TEST

START_TEST(test_no_room)
{
    const struct kind kind = {"full", 3, 1024, 480, "raw", false, 0};
    struct img_error err = {0};
    struct img_file *file;
    struct qcow2_edit *edit;
    size_t len;
    uint8_t *bytes = build(&kind, &len);
    char *name = name_of(480, 'n');

    open_bytes(bytes, len, &file, &edit, &err);
    unit_fails(qcow2_edit_set_backing(edit, name, "raw", &err), &err, IMG_LIMIT,
               "first cluster: found no room for a backing file name of 480"
               " bytes and the header extensions beside what it has now,"
               " expected the 1024 bytes to hold both");
    /* Nothing failed amid a change: a shorter one is possible. */
    unit_ok(qcow2_edit_set_backing(edit, "short", "raw", &err), &err);
    qcow2_edit_free(edit);
    img_file_unref(file);
    free(name);
    free(bytes);
}
END_TEST

START_TEST(test_undo_is_exact)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct img_error err = {0};
        struct img_file *file;
        struct qcow2_edit *edit;
        size_t len, record_len;
        uint8_t *bytes = build(&kinds[i], &len);
        uint8_t *record, *after;
        struct said first, last;

        open_bytes(bytes, len, &file, &edit, &err);
        unit_ok(qcow2_edit_undo_record(edit, &record, &record_len, &err), &err);
        unit_ok(qcow2_edit_set_backing(edit, "new", "raw", &err), &err);
        unit_ok(qcow2_edit_undo(edit, record, record_len, &err), &err);
        after = snapshot_of(file, len);
        say(bytes, kinds[i].cluster_len, &first, kinds[i].what);
        say(after, kinds[i].cluster_len, &last, kinds[i].what);
        ck_assert(
            has_names(&last, first.x.backing_name, first.x.backing_format));
        check_rest(&last, &first, kinds[i].what);
        /* Else the list had to go where the old name was, or moved. */
        if (kinds[i].unknown_len < 512 &&
            (kinds[i].format || !kinds[i].has_features)) {
            ck_assert_mem_eq(after, bytes, SECTOR_LEN);
        }
        ck_assert_uint_eq(last.x.features_nr, first.x.features_nr);
        qcow2_extensions_fini(&first.x);
        qcow2_extensions_fini(&last.x);
        qcow2_edit_free(edit);
        img_file_unref(file);
        free(after);
        free(record);
        free(bytes);
    }
}
END_TEST

START_TEST(test_undo_refuses)
{
    struct img_error err = {0};
    struct img_file *file, *other;
    struct qcow2_edit *edit, *other_edit;
    size_t len, record_len;
    uint8_t *bytes = build(&kinds[2], &len);
    uint8_t *record;

    open_bytes(bytes, len, &file, &edit, &err);
    open_bytes(bytes, len, &other, &other_edit, &err);
    unit_ok(qcow2_edit_undo_record(edit, &record, &record_len, &err), &err);
    ck_assert_int_eq(qcow2_edit_undo(other_edit, record, record_len, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_CHANGED);
    ck_assert_ptr_nonnull(strstr(err.text, "found one of another file"));
    unit_fails(qcow2_edit_undo(edit, bytes, len, &err), &err, IMG_FORMAT,
               "undo record: found 262144 bytes of something else, expected a"
               " record of imgchain");
    ck_assert_int_eq(qcow2_edit_undo(edit, record, record_len - 1, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_CORRUPT);
    record[60] ^= 1;
    ck_assert_int_eq(qcow2_edit_undo(edit, record, record_len, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "found checksum"));
    record[60] ^= 1;
    unit_ok(qcow2_edit_resize_over(
                edit, &(struct qcow2_resize){.virtual_len = 16384}, &err),
            &err);
    unit_fails(qcow2_edit_undo(edit, record, record_len, &err), &err,
               IMG_CHANGED,
               "undo record: size: found 16384 in the image, expected 8192 as"
               " in the record");
    qcow2_edit_free(edit);
    qcow2_edit_free(other_edit);
    img_file_unref(file);
    img_file_unref(other);
    free(record);
    free(bytes);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("edit_header");

    tcase_add_loop_test(tcase, test_every_state, 0, (int)KINDS);
    tcase_add_test(tcase, test_feature_names_stay);
    tcase_add_test(tcase, test_header_is_lengthened);
    tcase_add_test(tcase, test_names_that_are_refused);
    tcase_add_test(tcase, test_no_room);
    tcase_add_test(tcase, test_undo_is_exact);
    tcase_add_test(tcase, test_undo_refuses);
    return unit_run("edit_header", tcase);
}
