/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Out of memory while an image is opened, described and printed as JSON: at
 * each allocation in turn, and from each one on. The answer is either whole
 * or an error that says so; never a part of it.
 */
#include "foreign.h"
#include "scarce.h"
#include "tiny_qcow2.h"

#include <qcow2/image.h>

/* The image's description as text; "" for none, NULL on failure. */
static char *answer(const struct img_format *format, struct img_file *file)
{
    struct img_image *image = NULL;
    struct img_json *json = NULL;
    char *text = NULL;

    img_error_clear(&err);
    if (format->open(file, &image, &err) < 0) {
        return NULL;
    }
    if (img_image_describe(image, &json, &err) == 0) {
        text = json != NULL ? img_json_text(json, true, &err)
                            : img_strndup("", 0, &err);
    }
    img_json_free(json);
    img_image_free(image);
    return text;
}

/* Every allocation of answer() fails once. */
static void survives_as(const struct img_format *format, const void *bytes,
                        size_t len)
{
    /* The test library allocates as well, so nothing of it in answer(). */
    struct img_file *file = NULL;

    unit_ok(img_file_from_memory("image", bytes, len, &file, &err), &err);
    char *whole = answer(format, file);
    ck_assert_msg(whole != NULL, "%s", err.text);
    long failures = 0;
    for (int after = 0; after < 2; after++) {
        for (long at = 1;; at++) {
            calls = 0;
            fail_after = after != 0;
            fail_at = at;
            char *text = answer(format, file);
            fail_at = 0;
            failures += text == NULL;
            ck_assert_msg(text != NULL || err.code == IMG_MEMORY,
                          "%s, allocation %ld: %s", format->name, at, err.text);
            if (text != NULL) {
                ck_assert_str_eq(text, whole);
            }
            free(text);
            if (calls < at) {
                break;
            }
        }
    }
    ck_assert(failures > 0 || !CAN_FAIL);
    free(whole);
    img_file_unref(file);
}

static void survives(const char *name, const void *bytes, size_t len)
{
    survives_as(foreign_format(name), bytes, len);
}

START_TEST(vmdk_descriptor)
{
    static const char text[] =
        "createType=\"twoGbMaxExtentFlat\"\nCID=1\nparentCID=2\n"
        "parentFileNameHint=\"base.vmdk\"\n"
        "RW 8 FLAT \"a-name-that-is-longer-than-a-small-buffer.vmdk\" 0\n"
        "RW 8 FLAT \"b\" 0\nRW 8 FLAT \"c\" 0\n";

    survives("vmdk", text, sizeof(text) - 1);
}
END_TEST

START_TEST(luks_header)
{
    static uint8_t bytes[8192];

    memcpy(bytes, "LUKS\xba\xbe\0\1", 8);
    strcpy((char *)bytes + 8, "aes");
    strcpy((char *)bytes + 40, "cbc-essiv:sha256");
    strcpy((char *)bytes + 72, "sha256");
    strcpy((char *)bytes + 168, "1fa6c05f-2c8b-4028-95d5-2a98b75934f8");
    foreign_put(bytes + 104, 4, 8, true);
    foreign_put(bytes + 108, 4, 32, true);
    for (size_t i = 0; i < 8; i++) {
        foreign_put(bytes + 208 + 48 * i, 4, 0xac71f3, true);
        foreign_put(bytes + 208 + 48 * i + 40, 4, 8, true);
    }
    survives("luks", bytes, sizeof(bytes));
}
END_TEST

START_TEST(qcow_header)
{
    static uint8_t bytes[512] = "QFI\xfb\0\0\0\1";

    foreign_put(bytes + 8, 8, 48, true);
    foreign_put(bytes + 16, 4, 8, true);
    foreign_put(bytes + 24, 8, 1 << 20, true);
    bytes[32] = 12;
    bytes[33] = 9;
    memcpy(bytes + 48, "base.img", 8);
    survives("qcow", bytes, sizeof(bytes));
}
END_TEST

START_TEST(raw_image)
{
    survives("raw", "raw", 3);
}
END_TEST

START_TEST(qcow2_image)
{
    const struct tiny_qcow2 tiny = {
        .clusters = "Dz.D", .backing = "base", .format = "qcow2"};
    static uint8_t bytes[9 * TINY_CLUSTER_LEN];
    FILE *file;

    tiny_qcow2_write("tiny.qcow2", &tiny);
    file = fopen("tiny.qcow2", "re");
    ck_assert_ptr_nonnull(file);
    size_t len = fread(bytes, 1, sizeof(bytes), file);
    ck_assert_int_eq(fclose(file), 0);
    remove("tiny.qcow2");
    survives_as(&qcow2_format, bytes, len);
}
END_TEST

UNIT_SUITE("format-memory", qcow2_image, vmdk_descriptor, luks_header,
           qcow_header, raw_image)
