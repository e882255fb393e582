/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LUKS version 1: the header as QEMU tells it, and every way to be wrong. */
#include "foreign.h"

enum { FILE_LEN = 8192 };

static uint8_t luks[FILE_LEN];
static struct foreign_base base = {"luks", luks, FILE_LEN, true, NULL};

static void slot(size_t idx, uint32_t state, uint32_t key_sector)
{
    uint8_t *at = luks + 208 + idx * 48;

    foreign_put(at, 4, state, true);
    foreign_put(at + 4, 4, 1000 + idx, true);
    foreign_put(at + 40, 4, key_sector, true);
    foreign_put(at + 44, 4, 4000, true);
}

static void make(void)
{
    memset(luks, 0, sizeof(luks));
    memcpy(luks, "LUKS\xba\xbe\0\1", 8);
    strcpy((char *)luks + 8, "aes");
    strcpy((char *)luks + 40, "xts-plain64");
    strcpy((char *)luks + 72, "sha256");
    foreign_put(luks + 104, 4, 8, true);
    foreign_put(luks + 108, 4, 64, true);
    foreign_put(luks + 164, 4, 12345, true);
    strcpy((char *)luks + 168, "1fa6c05f-2c8b-4028-95d5-2a98b75934f8");
    for (size_t i = 0; i < 8; i++) {
        slot(i, i == 1 ? 0xac71f3 : 0xdead, 8 + 504 * (uint32_t)i);
    }
}

static void set(size_t off, const char *text)
{
    memset(luks + off, 0, 32);
    strcpy((char *)luks + off, text);
}

static struct img_json *describe(void)
{
    struct img_json *json = NULL;

    unit_ok(img_luks_describe(luks, sizeof(luks), &json, &err), &err);
    return json;
}

START_TEST(whole_description)
{
    make();
    struct img_json *json = describe();
    char *text = img_json_text(json, false, &err);

    ck_assert_str_eq(
        text, "{\"cipher-mode\":\"xts\",\"ivgen-alg\":\"plain64\","
              "\"cipher-alg\":\"aes-256\",\"hash-alg\":\"sha256\","
              "\"uuid\":\"1fa6c05f-2c8b-4028-95d5-2a98b75934f8\","
              "\"payload-offset\":4096,\"master-key-iters\":12345,\"slots\":["
              "{\"active\":false,\"key-offset\":4096},"
              "{\"active\":true,\"iters\":1001,\"stripes\":4000,"
              "\"key-offset\":262144},"
              "{\"active\":false,\"key-offset\":520192},"
              "{\"active\":false,\"key-offset\":778240},"
              "{\"active\":false,\"key-offset\":1036288},"
              "{\"active\":false,\"key-offset\":1294336},"
              "{\"active\":false,\"key-offset\":1552384},"
              "{\"active\":false,\"key-offset\":1810432}]}");
    free(text);
    img_json_free(json);
}
END_TEST

START_TEST(ciphers)
{
    static const struct {
        const char *name, *mode;
        uint32_t key_bytes;
        const char *alg, *cipher_mode, *ivgen, *ivgen_hash;
    } cases[] = {
        {"aes", "cbc-essiv:sha256", 16, "aes-128", "cbc", "essiv", "sha256"},
        {"aes", "xts-plain", 32, "aes-128", "xts", "plain", NULL},
        {"aes", "ecb-plain", 24, "aes-192", "ecb", "plain", NULL},
        {"cast5", "cbc-plain64", 16, "cast5-128", "cbc", "plain64", NULL},
        {"serpent", "ctr-plain64", 32, "serpent-256", "ctr", "plain64", NULL},
        {"twofish", "xts-plain64", 48, "twofish-192", "xts", "plain64", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make();
        set(8, cases[i].name);
        set(40, cases[i].mode);
        foreign_put(luks + 108, 4, cases[i].key_bytes, true);
        struct img_json *json = describe();
        ck_assert_str_eq(img_json_get_string(json, "cipher-alg"), cases[i].alg);
        ck_assert_str_eq(img_json_get_string(json, "cipher-mode"),
                         cases[i].cipher_mode);
        ck_assert_str_eq(img_json_get_string(json, "ivgen-alg"),
                         cases[i].ivgen);
        const char *hash = img_json_get_string(json, "ivgen-hash-alg");
        ck_assert_str_eq(hash != NULL ? hash : "", cases[i].ivgen_hash != NULL
                                                       ? cases[i].ivgen_hash
                                                       : "");
        img_json_free(json);
    }
}
END_TEST

START_TEST(opens)
{
    make();
    struct img_image *image = foreign_open("luks", luks, sizeof(luks));

    ck_assert_uint_eq(image->virtual_len, FILE_LEN - 4096);
    ck_assert_uint_eq(image->cluster_len, 0);
    ck_assert(image->is_encrypted);
    ck_assert(!image->is_dirty);
    struct img_json *json = NULL;
    unit_ok(img_image_describe(image, &json, &err), &err);
    ck_assert_str_eq(img_json_get_string(json, "type"), "luks");
    ck_assert_str_eq(
        img_json_get_string(img_json_get(json, "data"), "hash-alg"), "sha256");
    img_json_free(json);
    img_image_free(image);
}
END_TEST

START_TEST(bad_numbers)
{
    static const struct foreign_bad bad[] = {
        {5, 1, 0, IMG_FORMAT, "not a LUKS header"},
        {6, 2, 2, IMG_UNSUPPORTED, "LUKS version: found 2, expected 1"},
        {108, 4, 63, IMG_CORRUPT,
         "LUKS key length: found 63 bytes, expected an even number for xts"},
        {108, 4, 34, IMG_UNSUPPORTED,
         "LUKS cipher: found \"aes\" with 34 bytes of key, which QEMU does "
         "not know"},
        {208, 4, 1, IMG_CORRUPT,
         "LUKS key slot 0: found state 0x00000001, expected 0x00ac71f3 or "
         "0x0000dead"},
        {208 + 7 * 48 + 40, 4, 1, IMG_CORRUPT,
         "LUKS key slot 7: found key material at offset 512, expected behind "
         "the header"},
        {104, 4, 17, IMG_CORRUPT,
         "LUKS payload: found at offset 8704, expected behind the header and "
         "inside the file's 8192 bytes"},
        {104, 4, 1, IMG_CORRUPT,
         "LUKS payload: found at offset 512, expected behind the header and "
         "inside the file's 8192 bytes"},
        {104, 4, UINT32_MAX, IMG_CORRUPT,
         "LUKS payload: found at offset 2199023255040, expected behind the "
         "header and inside the file's 8192 bytes"},
    };

    make();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

START_TEST(bad_names)
{
    static const struct {
        size_t off;
        const char *name;
        enum img_code code;
        const char *text;
    } bad[] = {
        {8, "des", IMG_UNSUPPORTED,
         "LUKS cipher: found \"des\" with 64 bytes of key, which QEMU does "
         "not know"},
        {40, "xts", IMG_UNSUPPORTED,
         "LUKS cipher mode: found \"xts\", which QEMU does not know"},
        {40, "gcm-plain64", IMG_UNSUPPORTED,
         "LUKS cipher mode: found \"gcm\", which QEMU does not know"},
        {40, "xts-random", IMG_UNSUPPORTED,
         "LUKS initialisation vector generator: found \"random\", which QEMU "
         "does not know"},
        {40, "cbc-essiv:\x1b[2J", IMG_UNSUPPORTED,
         "LUKS hash of the vector generator: found \"\\x1b[2J\", which QEMU "
         "does not know"},
        {40, "cbc-essiv", IMG_CORRUPT,
         "LUKS cipher mode: found essiv without a hash"},
        {72, "crc32", IMG_UNSUPPORTED,
         "LUKS hash: found \"crc32\", which QEMU does not know"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct img_json *json = NULL;
        make();
        set(bad[i].off, bad[i].name);
        unit_fails(img_luks_describe(luks, sizeof(luks), &json, &err), &err,
                   bad[i].code, bad[i].text);
        ck_assert_ptr_null(json);
    }
}
END_TEST

START_TEST(unterminated_names)
{
    static const struct {
        size_t off, len;
        const char *text;
    } bad[] = {
        {8, 32, "LUKS cipher name: not terminated by NUL"},
        {40, 32, "LUKS cipher mode: not terminated by NUL"},
        {72, 32, "LUKS hash: not terminated by NUL"},
        {168, 40, "LUKS UUID: not terminated by NUL"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct img_json *json = NULL;
        make();
        memset(luks + bad[i].off, 'a', bad[i].len);
        unit_fails(img_luks_describe(luks, sizeof(luks), &json, &err), &err,
                   IMG_CORRUPT, bad[i].text);
    }
}
END_TEST

START_TEST(short_header)
{
    struct img_json *json = NULL;

    make();
    unit_fails(img_luks_describe(luks, 591, &json, &err), &err, IMG_CORRUPT,
               "LUKS header: found 591 bytes, expected 592");
    unit_ok(img_luks_describe(luks, 592, &json, &err), &err);
    img_json_free(json);
}
END_TEST

UNIT_SUITE("luks", whole_description, ciphers, opens, bad_numbers, bad_names,
           unterminated_names, short_header)
