/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening qcow2 images: what is told of them, and what is refused. */
#include "qcow2_build.h"

static void open_fails(struct build *b, const char *snapshot,
                       enum img_code code, const char *text)
{
    build_file(b);
    unit_fails(qcow2_open(b->file,
                          &(struct qcow2_options){.snapshot = snapshot},
                          &b->image, &b->err),
               &b->err, code, text);
    ck_assert_str_eq(b->err.path, "test.qcow2");
    build_fini(b);
}

START_TEST(test_plain)
{
    struct build b;

    build_init(&b, 5);
    build_put64(&b, 24, VIRTUAL_LEN - 100);
    build_open(&b, NULL);
    ck_assert_str_eq(b.image->format, "qcow2");
    ck_assert_uint_eq(b.image->virtual_len, VIRTUAL_LEN - 512);
    ck_assert_uint_eq(b.image->cluster_len, CLUSTER);
    ck_assert(b.image->is_readable && b.image->supports_backing);
    ck_assert(!b.image->is_dirty && !b.image->is_corrupt);
    ck_assert(!b.image->is_encrypted && !b.image->wants_data_file);
    ck_assert_ptr_null(b.image->backing_name);
    ck_assert_uint_eq(b.image->snapshots_nr, 0);
    ck_assert_uint_eq(qcow2_image_header(b.image)->virtual_len,
                      VIRTUAL_LEN - 100);
    build_fini(&b);
}
END_TEST

START_TEST(test_flags)
{
    struct build b;

    build_init(&b, 5);
    build_put64(&b, 72, QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
    build_open(&b, NULL);
    ck_assert(b.image->is_dirty && b.image->is_corrupt);
    build_fini(&b);

    build_init(&b, 5);
    build_put64(&b, 72, QCOW2_INCOMPAT_DATA_FILE);
    build_open(&b, NULL);
    ck_assert(b.image->wants_data_file);
    build_fini(&b);
}
END_TEST

START_TEST(test_encrypted)
{
    struct img_extent extent;
    struct build b;

    build_init(&b, 5);
    build_put32(&b, 32, QCOW2_CRYPT_AES);
    build_open(&b, NULL);
    ck_assert(b.image->is_encrypted && !b.image->is_readable);
    ck_assert_str_eq(b.image->unreadable_why, "contents are encrypted (AES)");
    ck_assert_int_eq(img_image_map(b.image, 0, 512, &extent, &b.err), -1);
    ck_assert_int_eq((int)b.err.code, (int)IMG_UNSUPPORTED);
    build_fini(&b);
}
END_TEST

START_TEST(test_not_qcow2)
{
    struct build b;

    build_init(&b, 5);
    build_put32(&b, 0, 0x12345678);
    build_file(&b);
    ck_assert_int_eq(
        qcow2_open(b.file, &(struct qcow2_options){0}, &b.image, &b.err), -1);
    ck_assert_int_eq((int)b.err.code, (int)IMG_FORMAT);
    build_fini(&b);
}
END_TEST

START_TEST(test_unknown_feature_before_broken_extension)
{
    struct build b;

    /* The extension cannot be read, perhaps because of the feature. */
    build_init(&b, 5);
    build_put64(&b, 72, 1ull << 40);
    build_put32(&b, 104, 0xe2792acau);
    build_put32(&b, 108, 0xffffff00u);
    build_file(&b);
    ck_assert_int_eq(
        qcow2_open(b.file, &(struct qcow2_options){0}, &b.image, &b.err), -1);
    ck_assert_int_eq((int)b.err.code, (int)IMG_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(b.err.text, "40"));
    build_fini(&b);
}
END_TEST

START_TEST(test_snapshots)
{
    struct build b;

    build_init(&b, 8);
    build_snapshot(&b, 5, 6ull * CLUSTER, 2, 3 * L2_COVERS / 2);
    build_open(&b, NULL);
    ck_assert_uint_eq(b.image->snapshots_nr, 1);
    ck_assert_str_eq(b.image->snapshots[0].id, "1");
    ck_assert_str_eq(b.image->snapshots[0].name, "before");
    ck_assert_uint_eq(b.image->snapshots[0].virtual_len, 3 * L2_COVERS / 2);
    ck_assert_uint_eq(b.image->snapshots[0].icount, UINT64_MAX);
    ck_assert_uint_eq(b.image->virtual_len, VIRTUAL_LEN);
    build_fini(&b);

    build_init(&b, 8);
    build_snapshot(&b, 5, 6ull * CLUSTER, 2, 3 * L2_COVERS / 2);
    build_open(&b, "before");
    ck_assert_uint_eq(b.image->virtual_len, 3 * L2_COVERS / 2);
    build_fini(&b);
}
END_TEST

START_TEST(test_snapshot_unknown)
{
    struct build b;

    build_init(&b, 8);
    build_snapshot(&b, 5, 6ull * CLUSTER, 2, VIRTUAL_LEN);
    open_fails(&b, "a\nb", IMG_NOT_FOUND,
               "no internal snapshot has the id or name 'a\\x0ab'");
}
END_TEST

START_TEST(test_snapshot_table_cut)
{
    struct build b;

    /* 65,536 are promised; the file has the first and zeros. */
    build_init(&b, 8);
    build_snapshot(&b, 7, 6ull * CLUSTER, 2, VIRTUAL_LEN);
    build_put32(&b, 60, 65536);
    open_fails(&b, NULL, IMG_CORRUPT,
               "snapshot extra data size: found 0, expected 16 to 1024");
}
END_TEST

START_TEST(test_snapshot_past_end)
{
    struct build b;

    build_init(&b, 8);
    build_snapshot(&b, 7, 6ull * CLUSTER, 2, VIRTUAL_LEN);
    img_store_be16(b.bytes + 7 * CLUSTER + 14, 60000);
    open_fails(&b, NULL, IMG_CORRUPT,
               "snapshot table: found 4096 bytes for an entry, expected "
               "60057");
}
END_TEST

START_TEST(test_describe)
{
    struct img_json *json;
    struct build b;
    char *text;

    build_init(&b, 5);
    build_open(&b, NULL);
    unit_ok(img_image_describe(b.image, &json, &b.err), &b.err);
    const struct img_json *data = img_json_get(json, "data");
    ck_assert_str_eq(img_json_get_string(json, "type"), "qcow2");
    ck_assert_str_eq(img_json_get_string(data, "compat"), "1.1");
    ck_assert_uint_eq(img_json_len(data), 6);
    text = img_json_text(json, false, &b.err);
    ck_assert_ptr_nonnull(text);
    free(text);
    img_json_free(json);
    build_fini(&b);
}
END_TEST

START_TEST(test_bitmap_directory_outside)
{
    const struct qcow2_bitmap_info *bitmaps;
    struct build b;
    size_t nr;

    build_init(&b, 5);
    build_put64(&b, 88, QCOW2_AUTOCLEAR_BITMAPS);
    build_put32(&b, 104, QCOW2_EXT_BITMAPS);
    build_put32(&b, 108, 24);
    build_put32(&b, 112, 1);
    build_put64(&b, 120, 32);
    build_put64(&b, 128, 64ull * CLUSTER);
    build_open(&b, NULL);
    unit_fails(qcow2_image_bitmaps(b.image, &bitmaps, &nr, &b.err), &b.err,
               IMG_CORRUPT,
               "bitmaps extension: found the directory at 262144, expected a "
               "cluster inside the file");
    build_fini(&b);
}
END_TEST

UNIT_SUITE("qcow2_open", test_plain, test_flags, test_encrypted, test_not_qcow2,
           test_unknown_feature_before_broken_extension, test_snapshots,
           test_snapshot_unknown, test_snapshot_table_cut,
           test_snapshot_past_end, test_describe, test_bitmap_directory_outside)
