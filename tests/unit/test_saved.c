/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's saved images: headers, what lies behind them, and writing it. */
#include <byteswap.h>
#include <stdlib.h>
#include <string.h>

#include <chain/saved.h>
#include <img/file.h>

#include "saved_build.h"
#include "unit.h"

static struct img_error err;

static int decode(const struct saved_bytes *image,
                  struct chain_saved_header *out)
{
    return chain_saved_header_decode(image->bytes, image->len, image->len, out,
                                     &err);
}

static int load(const struct saved_bytes *image, bool with_partial,
                struct chain_saved **out)
{
    struct img_file *file;
    int rc;

    unit_ok(
        img_file_from_memory("a.save", image->bytes, image->len, &file, &err),
        &err);
    rc = chain_saved_load(file, with_partial, out, &err);
    img_file_unref(file);
    return rc;
}

START_TEST(header)
{
    struct saved_bytes image = saved_build("<domain/>", "<cookie/>", 100);
    struct chain_saved_header found;

    unit_ok(decode(&image, &found), &err);
    ck_assert_uint_eq(found.version, 2);
    ck_assert_uint_eq(found.data_len, 120);
    ck_assert_uint_eq(found.was_running, 1);
    ck_assert_uint_eq(found.compression, 0);
    ck_assert_uint_eq(found.cookie_off, 10);
    ck_assert(found.is_complete && !found.is_swapped);
    ck_assert_uint_eq(chain_saved_region_len(&found), 212);
}
END_TEST

START_TEST(older_versions)
{
    for (uint32_t version = 0; version <= 2; version++) {
        struct saved_bytes image = saved_build("<domain/>", NULL, 0);
        struct chain_saved_header found;

        saved_put(image.bytes + 16, version);
        unit_ok(decode(&image, &found), &err);
        ck_assert_uint_eq(found.version, version);
    }
}
END_TEST

START_TEST(other_byte_order)
{
    struct saved_bytes image = saved_build("<domain/>", "<c/>", 50);
    struct chain_saved_header found;

    for (size_t at = 16; at < 36; at += 4) {
        uint32_t value;

        memcpy(&value, image.bytes + at, 4);
        saved_put(image.bytes + at, bswap_32(value));
    }
    unit_ok(decode(&image, &found), &err);
    ck_assert(found.is_swapped);
    ck_assert_uint_eq(found.version, 2);
    ck_assert_uint_eq(found.data_len, 65);
    ck_assert_uint_eq(found.was_running, 1);
    ck_assert_uint_eq(found.cookie_off, 10);
}
END_TEST

START_TEST(no_saved_image)
{
    struct saved_bytes image = saved_build("<domain/>", NULL, 0);
    struct chain_saved_header found;

    unit_fails(chain_saved_header_decode(image.bytes, 91, 91, &found, &err),
               &err, IMG_FORMAT,
               "too short for libvirt's saved image: found 91 bytes, expected "
               "a header of 92");
    unit_fails(chain_saved_header_decode(image.bytes, 0, 0, &found, &err), &err,
               IMG_FORMAT,
               "too short for libvirt's saved image: found 0 bytes, expected a "
               "header of 92");
    memcpy(image.bytes, "QFI\xfb\0\0\0\3", 8);
    unit_fails(decode(&image, &found), &err, IMG_FORMAT,
               "not libvirt's saved image: found "
               "\"QFI\\xfb\\x00\\x00\\x00\\x03emudSave\", expected "
               "\"LibvirtQemudSave\"");
    image = saved_build("<domain/>", NULL, 0);
    saved_put(image.bytes + 16, 3);
    unit_fails(
        decode(&image, &found), &err, IMG_FORMAT,
        "unknown version of libvirt's saved image: found 3 (in the other "
        "byte order 50331648), expected at most 2");
}
END_TEST

START_TEST(incomplete)
{
    struct saved_bytes image = saved_build("<domain/>", NULL, 0);
    struct chain_saved_header found;
    struct chain_saved *saved;

    memcpy(image.bytes, "LibvirtQemudPart", 16);
    unit_ok(decode(&image, &found), &err);
    ck_assert(!found.is_complete);
    unit_fails(load(&image, false, &saved), &err, IMG_CORRUPT,
               "the saved image is incomplete: libvirt did not come to the end "
               "of writing it");
    unit_ok(load(&image, true, &saved), &err);
    ck_assert_str_eq(saved->xml, "<domain/>");
    chain_saved_free(saved);
}
END_TEST

/* The number at AT is VALUE: the header is refused with TEXT. */
static void hostile(size_t at, uint32_t value, enum img_code code,
                    const char *text)
{
    struct saved_bytes image = saved_build("<domain/>", "<c/>", 20);
    struct chain_saved_header found;

    saved_put(image.bytes + at, value);
    unit_fails(decode(&image, &found), &err, code, text);
}

START_TEST(hostile_numbers)
{
    hostile(20, 0, IMG_CORRUPT,
            "the header has no room for the domain's XML: found a length of 0");
    hostile(20, 44, IMG_CORRUPT,
            "the domain's XML goes past the end of the file: found a length of "
            "44, expected at most 43");
    hostile(20, UINT32_MAX, IMG_CORRUPT,
            "the domain's XML goes past the end of the file: found a length of "
            "4294967295, expected at most 43");
    hostile(32, 36, IMG_CORRUPT,
            "the cookie lies past the space of the XML: found offset 36, "
            "expected at most 35");
    hostile(32, UINT32_MAX, IMG_CORRUPT,
            "the cookie lies past the space of the XML: found offset "
            "4294967295, expected at most 35");
}
END_TEST

START_TEST(too_much)
{
    struct saved_bytes image = saved_build("<domain/>", NULL, 0);
    struct chain_saved_header found;

    saved_put(image.bytes + 20, CHAIN_SAVED_MAX_LEN + 1);
    unit_fails(chain_saved_header_decode(image.bytes, image.len, UINT32_MAX,
                                         &found, &err),
               &err, IMG_LIMIT,
               "too much XML for a saved image: found a length of 16777217, at "
               "most 16777216 are read");
    saved_put(image.bytes + 20, CHAIN_SAVED_MAX_LEN);
    unit_ok(chain_saved_header_decode(image.bytes, image.len, UINT32_MAX,
                                      &found, &err),
            &err);
}
END_TEST

START_TEST(missing_ends)
{
    struct saved_bytes image = saved_build("<domain/>", "<c/>", 0);
    struct chain_saved *saved;

    image.bytes[92 + 9] = 'x';
    unit_fails(load(&image, false, &saved), &err, IMG_CORRUPT,
               "the domain's XML has no end: found no NUL in its 10 bytes");
    ck_assert_uint_eq(err.off, 92);
    ck_assert_str_eq(err.path, "a.save");
    image = saved_build("<domain/>", "<c/>", 0);
    image.bytes[92 + 14] = 'x';
    unit_fails(load(&image, false, &saved), &err, IMG_CORRUPT,
               "the cookie has no end: found no NUL in its 5 bytes");
    ck_assert_uint_eq(err.off, 102);
}
END_TEST

START_TEST(regions)
{
    struct saved_bytes image = saved_build("<domain/>", "<c/>", 7);
    struct chain_saved *saved;

    unit_ok(load(&image, false, &saved), &err);
    ck_assert_str_eq(saved->xml, "<domain/>");
    ck_assert_str_eq(saved->cookie, "<c/>");
    ck_assert_int_eq((int)saved->stream, CHAIN_SAVED_RAW);
    ck_assert(!saved->is_stream_empty);
    chain_saved_free(saved);

    /* A cookie of no bytes is none. */
    saved_put(image.bytes + 32, 22);
    unit_ok(load(&image, false, &saved), &err);
    ck_assert_ptr_null(saved->cookie);
    chain_saved_free(saved);

    image = saved_build("", NULL, 0);
    image.len -= 8;
    unit_ok(load(&image, false, &saved), &err);
    ck_assert_str_eq(saved->xml, "");
    ck_assert_ptr_null(saved->cookie);
    ck_assert(saved->is_stream_empty);
    ck_assert_int_eq((int)saved->stream, CHAIN_SAVED_UNKNOWN);
    chain_saved_free(saved);
}
END_TEST

START_TEST(streams)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum chain_saved_compression kind;
    } rows[] = {
        {"QEVM", 4, CHAIN_SAVED_RAW},
        {"\x1f\x8b\x08", 3, CHAIN_SAVED_GZIP},
        {"BZh9", 4, CHAIN_SAVED_BZIP2},
        {"\xfd"
         "7zXZ\0",
         6, CHAIN_SAVED_XZ},
        {"\x89LZO\0\r\n\x1a\n", 9, CHAIN_SAVED_LZOP},
        {"\x28\xb5\x2f\xfd", 4, CHAIN_SAVED_ZSTD},
        {"QEV", 3, CHAIN_SAVED_UNKNOWN},
        {"", 0, CHAIN_SAVED_UNKNOWN},
        {"\0\0\0\0", 4, CHAIN_SAVED_UNKNOWN},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_int_eq((int)chain_saved_stream_kind(
                             (const uint8_t *)rows[i].bytes, rows[i].len),
                         (int)rows[i].kind);
    }
    ck_assert_str_eq(chain_saved_compression_name(5), "zstd");
    ck_assert_str_eq(chain_saved_compression_name(6), "sparse");
    ck_assert_str_eq(chain_saved_compression_name(7), "unknown");
    ck_assert_str_eq(chain_saved_compression_name(UINT32_MAX), "unknown");
}
END_TEST

START_TEST(written_as_libvirt_does)
{
    struct saved_bytes image = saved_build("<domain/>", "<c/>", 40);
    struct saved_bytes expected = saved_build("<domain>x</domain>", "<c/>", 31);
    struct chain_saved_header found;
    uint8_t out[4096];
    size_t len;

    unit_ok(decode(&image, &found), &err);
    len = chain_saved_region_len(&found);
    unit_ok(chain_saved_encode(&found, "<domain>x</domain>", "<c/>", out, len,
                               &err),
            &err);
    ck_assert_mem_eq(out, expected.bytes, len);

    unit_ok(chain_saved_encode(&found, "<domain/>", "<c/>", out, len, &err),
            &err);
    ck_assert_mem_eq(out, image.bytes, len);
}
END_TEST

START_TEST(written_in_native_order)
{
    struct saved_bytes image = saved_build("<domain/>", NULL, 4);
    struct chain_saved_header found;
    uint8_t out[4096];

    unit_ok(decode(&image, &found), &err);
    found.is_swapped = true; /* as it was read */
    unit_ok(chain_saved_encode(&found, "<domain/>", NULL, out,
                               chain_saved_region_len(&found), &err),
            &err);
    ck_assert_mem_eq(out, image.bytes, chain_saved_region_len(&found));
}
END_TEST

START_TEST(what_does_not_fit)
{
    struct saved_bytes image = saved_build("<domain/>", "<c/>", 5);
    struct chain_saved_header found;
    uint8_t out[4096];

    unit_ok(decode(&image, &found), &err);
    unit_ok(chain_saved_encode(&found, "<domain    />x", "<c/>", out,
                               chain_saved_region_len(&found), &err),
            &err);
    unit_fails(chain_saved_encode(&found, "<domain     />x", "<c/>", out,
                                  chain_saved_region_len(&found), &err),
               &err, IMG_LIMIT,
               "the new XML does not fit: found 21 bytes with the cookie, "
               "expected at most 20");
    unit_fails(chain_saved_encode(&found, "<domain          />xx", NULL, out,
                                  chain_saved_region_len(&found), &err),
               &err, IMG_LIMIT,
               "the new XML does not fit: found 22 bytes, expected at most 20");
}
END_TEST

static void hides(const char *text, const char *expected)
{
    char *out;

    unit_ok(chain_saved_hide(text, strlen(text), "d.xml", &out, &err), &err);
    ck_assert_str_eq(out, expected);
    free(out);
}

START_TEST(secrets)
{
    hides("<domain><graphics type='vnc' passwd='a=\"b'  port='1'/></domain>",
          "<domain><graphics type='vnc'  port='1'/></domain>");
    hides("<domain><graphics\n passwd = \"x\"><listen/></graphics></domain>",
          "<domain><graphics><listen/></graphics></domain>");
    hides("<domain>\n <source>\n  <cookies><cookie name='a'>b</cookie>"
          "</cookies>\n  <x/></source></domain>",
          "<domain>\n <source>\n  <x/></source></domain>");
    hides("<domain><source><cookies/></source></domain>",
          "<domain><source></source></domain>");
    hides("<domain><source><cookies><a><cookies/></a></cookies></source>"
          "<source><cookies/></source><graphics passwd=''/></domain>",
          "<domain><source></source><source></source><graphics/></domain>");
    /* What only looks like it. */
    hides("<domain><!-- <graphics passwd='x'/> --><x passwd='y'/>"
          "<cookies/></domain>",
          "<domain><!-- <graphics passwd='x'/> --><x passwd='y'/>"
          "<cookies/></domain>");
    hides("<domain><graphics a='passwd=' passwdValidTo='z'/></domain>",
          "<domain><graphics a='passwd=' passwdValidTo='z'/></domain>");
}
END_TEST

static void completes(const char *text, const char *expected)
{
    char *out;

    unit_ok(chain_saved_complete(text, strlen(text), "d.xml", &out, &err),
            &err);
    ck_assert_str_eq(out, expected);
    free(out);
}

#define I440FX(inside)                                                         \
    "<domain><os><type machine='pc-i440fx-7.2'/></os><devices>" inside         \
    "</devices></domain>"
#define MOUSE "<input type='mouse' bus='ps2'/>"
#define USB                                                                    \
    "\n    <controller type='usb' index='0' model='piix3-uhci'>\n      "       \
    "<address type='pci' domain='0x0000' bus='0x00' slot='0x01' "              \
    "function='0x2'/>\n    </controller>"
#define PCI "\n    <controller type='pci' index='0' model='pci-root'/>"
#define KEYBOARD "\n    <input type='keyboard' bus='ps2'/>"
#define AUDIO(type) "\n    <audio id='1' type='" type "'/>"

START_TEST(what_libvirt_makes_up)
{
    completes(I440FX("<disk><x/></disk>" MOUSE "<video/>"),
              I440FX("<disk><x/></disk>" USB PCI MOUSE KEYBOARD AUDIO(
                  "none") "<video/>"));
    completes(
        I440FX("<controller type='usb'><y/></controller>" MOUSE
               "<graphics type='spice'/><video/>"),
        I440FX("<controller type='usb'><y/></controller>" PCI MOUSE KEYBOARD
               "<graphics type='spice'/>" AUDIO("spice") "<video/>"));
    completes(I440FX("<video/>"), I440FX(USB PCI "<video/>"));
    /* Nothing is missing, or it is another machine. */
    completes(I440FX("<controller type='usb'/><controller type='pci'/>"),
              I440FX("<controller type='usb'/><controller type='pci'/>"));
    completes("<domain><devices><video/></devices></domain>",
              "<domain><devices><video/></devices></domain>");
    completes("<domain/>", "<domain/>");
    completes(I440FX(""), I440FX(""));
}
END_TEST

UNIT_SUITE("saved", header, older_versions, other_byte_order, no_saved_image,
           incomplete, hostile_numbers, too_much, missing_ends, regions,
           streams, written_as_libvirt_does, written_in_native_order,
           what_does_not_fit, secrets, what_libvirt_makes_up)
