/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's saved images, bytes <-> values: see chain/saved.h. Pure, and
 * fuzzed (fuzz/fuzz_saved.c). Room: chain/virt.
 */
#include <chain/saved.h>

#include <byteswap.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

/* Where the header's fields stand. */
enum {
    MAGIC_LEN = 16,
    AT_VERSION = 16,
    AT_DATA_LEN = 20,
    AT_WAS_RUNNING = 24,
    AT_COMPRESSION = 28,
    AT_COOKIE_OFF = 32,
    AT_UNUSED = 36,
};

#define MAGIC "LibvirtQemudSave"
#define MAGIC_PARTIAL "LibvirtQemudPart"

const char *chain_saved_compression_name(unsigned compression)
{
    static const char *const names[CHAIN_SAVED_COMPRESSIONS_NR] = {
        "raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse",
    };

    return compression < CHAIN_SAVED_COMPRESSIONS_NR ? names[compression]
                                                     : "unknown";
}

/* In the host's byte order, whichever that is: libvirt writes its memory. */
static uint32_t load(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static void store(uint8_t *bytes, uint32_t value)
{
    memcpy(bytes, &value, sizeof(value));
}

static int check_magic(const uint8_t *bytes, size_t len, uint64_t file_len,
                       bool *is_complete, struct img_error *err)
{
    char shown[4 * MAGIC_LEN + 1];

    if (len < CHAIN_SAVED_HEADER_LEN || file_len < CHAIN_SAVED_HEADER_LEN) {
        return img_fail(err, IMG_FORMAT,
                        "too short for libvirt's saved image: found %llu "
                        "bytes, expected a header of %u",
                        (unsigned long long)img_min(len, file_len),
                        CHAIN_SAVED_HEADER_LEN);
    }
    *is_complete = memcmp(bytes, MAGIC, MAGIC_LEN) == 0;
    if (*is_complete || memcmp(bytes, MAGIC_PARTIAL, MAGIC_LEN) == 0) {
        return 0;
    }
    img_escape((const char *)bytes, MAGIC_LEN, shown, sizeof(shown));
    return img_fail_at(err, IMG_FORMAT, 0,
                       "not libvirt's saved image: found \"%s\", expected "
                       "\"%s\"",
                       shown, MAGIC);
}

static int load_numbers(const uint8_t *bytes, struct chain_saved_header *out,
                        struct img_error *err)
{
    out->version = load(bytes + AT_VERSION);
    out->data_len = load(bytes + AT_DATA_LEN);
    out->was_running = load(bytes + AT_WAS_RUNNING);
    out->compression = load(bytes + AT_COMPRESSION);
    out->cookie_off = load(bytes + AT_COOKIE_OFF);
    out->is_swapped = out->version > CHAIN_SAVED_VERSION;
    if (!out->is_swapped) {
        return 0;
    }
    if (bswap_32(out->version) > CHAIN_SAVED_VERSION) {
        return img_fail_at(err, IMG_FORMAT, AT_VERSION,
                           "unknown version of libvirt's saved image: found "
                           "%u (in the other byte order %u), expected at most "
                           "%u",
                           out->version, bswap_32(out->version),
                           CHAIN_SAVED_VERSION);
    }
    out->version = bswap_32(out->version);
    out->data_len = bswap_32(out->data_len);
    out->was_running = bswap_32(out->was_running);
    out->compression = bswap_32(out->compression);
    out->cookie_off = bswap_32(out->cookie_off);
    return 0;
}

static int check_numbers(const struct chain_saved_header *header,
                         uint64_t file_len, struct img_error *err)
{
    uint64_t rest = file_len - CHAIN_SAVED_HEADER_LEN;

    if (header->data_len == 0) {
        return img_fail_at(err, IMG_CORRUPT, AT_DATA_LEN,
                           "the header has no room for the domain's XML: "
                           "found a length of 0");
    }
    if (header->data_len > rest) {
        return img_fail_at(err, IMG_CORRUPT, AT_DATA_LEN,
                           "the domain's XML goes past the end of the file: "
                           "found a length of %u, expected at most %llu",
                           header->data_len, (unsigned long long)rest);
    }
    if (header->data_len > CHAIN_SAVED_MAX_LEN) {
        return img_fail_at(err, IMG_LIMIT, AT_DATA_LEN,
                           "too much XML for a saved image: found a length of "
                           "%u, at most %u are read",
                           header->data_len, CHAIN_SAVED_MAX_LEN);
    }
    if (header->cookie_off > header->data_len) {
        return img_fail_at(err, IMG_CORRUPT, AT_COOKIE_OFF,
                           "the cookie lies past the space of the XML: found "
                           "offset %u, expected at most %u",
                           header->cookie_off, header->data_len);
    }
    return 0;
}

int chain_saved_header_decode(const uint8_t *bytes, size_t len,
                              uint64_t file_len, struct chain_saved_header *out,
                              struct img_error *err)
{
    memset(out, 0, sizeof(*out));
    if (check_magic(bytes, len, file_len, &out->is_complete, err) < 0 ||
        load_numbers(bytes, out, err) < 0) {
        return -1;
    }
    memcpy(out->unused, bytes + AT_UNUSED, sizeof(out->unused));
    return check_numbers(out, file_len, err);
}

uint64_t chain_saved_region_len(const struct chain_saved_header *header)
{
    return (uint64_t)CHAIN_SAVED_HEADER_LEN + header->data_len;
}

/* The string in the LEN bytes at BYTES, which stand at OFF of the file. */
static int take(const uint8_t *bytes, uint64_t off, size_t len,
                const char *what, char **out, size_t *out_len,
                struct img_error *err)
{
    const uint8_t *nul = memchr(bytes, '\0', len);

    if (!nul) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "the %s has no end: found no NUL in its %zu bytes",
                           what, len);
    }
    *out_len = (size_t)(nul - bytes);
    *out = img_strndup((const char *)bytes, *out_len, err);
    return *out ? 0 : -1;
}

int chain_saved_decode(const struct chain_saved_header *header,
                       const uint8_t *bytes, size_t len,
                       struct chain_saved *out, struct img_error *err)
{
    size_t xml_len = header->cookie_off ? header->cookie_off : header->data_len;
    size_t cookie_len = header->data_len - xml_len;
    uint64_t cookie_at = CHAIN_SAVED_HEADER_LEN + (uint64_t)xml_len;

    out->header = *header;
    if (len < chain_saved_region_len(header)) {
        return img_fail(err, IMG_CORRUPT,
                        "the domain's XML is cut off: found %zu bytes, "
                        "expected %llu",
                        len,
                        (unsigned long long)chain_saved_region_len(header));
    }
    if (take(bytes + CHAIN_SAVED_HEADER_LEN, CHAIN_SAVED_HEADER_LEN, xml_len,
             "domain's XML", &out->xml, &out->xml_len, err) < 0) {
        return -1;
    }
    return cookie_len == 0
               ? 0
               : take(bytes + cookie_at, cookie_at, cookie_len, "cookie",
                      &out->cookie, &out->cookie_len, err);
}

/* Bytes of a string with its NUL; none for NULL. */
static size_t stored_len(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

int chain_saved_encode(const struct chain_saved_header *header, const char *xml,
                       const char *cookie, uint8_t *out, size_t len,
                       struct img_error *err)
{
    size_t xml_len = stored_len(xml), cookie_len = stored_len(cookie);

    if (len != chain_saved_region_len(header)) {
        return img_fail(err, IMG_USAGE,
                        "a region of %zu bytes for a header that has %llu", len,
                        (unsigned long long)chain_saved_region_len(header));
    }
    if (xml_len + cookie_len > header->data_len) {
        return img_fail(err, IMG_LIMIT,
                        "the new XML does not fit: found %zu bytes%s, expected "
                        "at most %u",
                        xml_len + cookie_len, cookie ? " with the cookie" : "",
                        header->data_len);
    }
    memset(out, 0, len);
    memcpy(out, header->is_complete ? MAGIC : MAGIC_PARTIAL, MAGIC_LEN);
    store(out + AT_VERSION, header->version);
    store(out + AT_DATA_LEN, header->data_len);
    store(out + AT_WAS_RUNNING, header->was_running);
    store(out + AT_COMPRESSION, header->compression);
    store(out + AT_COOKIE_OFF, cookie ? (uint32_t)xml_len : 0);
    memcpy(out + AT_UNUSED, header->unused, sizeof(header->unused));
    memcpy(out + CHAIN_SAVED_HEADER_LEN, xml, xml_len);
    if (cookie) {
        memcpy(out + CHAIN_SAVED_HEADER_LEN + xml_len, cookie, cookie_len);
    }
    return 0;
}

enum chain_saved_compression chain_saved_stream_kind(const uint8_t *head,
                                                     size_t len)
{
    static const struct {
        enum chain_saved_compression kind;
        unsigned len;
        char magic[10];
    } known[] = {
        {CHAIN_SAVED_RAW, 4, "QEVM"},
        {CHAIN_SAVED_GZIP, 3, "\x1f\x8b\x08"},
        {CHAIN_SAVED_BZIP2, 3, "BZh"},
        {CHAIN_SAVED_XZ, 6,
         "\xfd"
         "7zXZ"},
        {CHAIN_SAVED_LZOP, 9, "\x89LZO\0\r\n\x1a\n"},
        {CHAIN_SAVED_ZSTD, 4, "\x28\xb5\x2f\xfd"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (len >= known[i].len &&
            memcmp(head, known[i].magic, known[i].len) == 0) {
            return known[i].kind;
        }
    }
    return CHAIN_SAVED_UNKNOWN;
}
