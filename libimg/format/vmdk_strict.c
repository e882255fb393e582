/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMDK files of strangers (room: format): every line of the descriptor is one
 * that all readers understand alike, and nothing hides beside it. Only
 * monolithicSparse and streamOptimized are files that stand alone.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/strict.h>

#include "vmdk_desc.h"
#include "vmdk_sparse.h"

#define SECTOR_LEN 512u
#define VERSION_MIN 1u
/* Where the header says that the footer counts, and where it lies. */
#define DIRECTORY_OFF 56u
#define FOOTER_FROM_END ((uint64_t)2 * SECTOR_LEN)

/* Keys that readers act on. */
static const char *const keys[] = {
    "version",          "encoding",        "CID",
    "parentCID",        "createType",      "parentFileNameHint",
    "isNativeSnapshot", "changeTrackPath",
};

static int fail_line(const char *line, size_t len, const char *what,
                     struct img_error *err)
{
    char shown[160];

    img_escape(line, len, shown, sizeof(shown));
    return img_fail(err, IMG_CORRUPT, "VMDK descriptor: %s: \"%s\"", what,
                    shown);
}

static bool begins_with(const char *line, size_t len, const char *word)
{
    size_t word_len = strlen(word);

    return len >= word_len && memcmp(line, word, word_len) == 0;
}

static int check_key(const char *line, size_t len, size_t key_len,
                     struct img_error *err)
{
    if (key_len == 0 || memchr(line, ' ', key_len) ||
        memchr(line, '\t', key_len)) {
        return fail_line(line, len, "found a line that is no KEY=VALUE", err);
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strlen(keys[i]) == key_len &&
            strncasecmp(line, keys[i], key_len) == 0 &&
            memcmp(line, keys[i], key_len) != 0) {
            return fail_line(line, len, "found a known key in other letters",
                             err);
        }
    }
    return 0;
}

static int check_line(const char *line, size_t len, struct img_error *err)
{
    const char *equals = memchr(line, '=', len);

    if (len == 0 || line[0] == '#' || begins_with(line, len, "ddb.") ||
        begins_with(line, len, "RW ") || begins_with(line, len, "RDONLY ") ||
        begins_with(line, len, "NOACCESS ")) {
        return 0;
    }
    if (!equals) {
        return fail_line(line, len, "found a line of no known kind", err);
    }
    return check_key(line, len, (size_t)(equals - line), err);
}

/* Plain text up to the first zero, and then zeros only. */
static int check_bytes(const char *text, size_t len, size_t *text_len,
                       struct img_error *err)
{
    *text_len = strnlen(text, len);
    for (size_t i = 0; i < *text_len; i++) {
        bool is_blank = text[i] == '\n' || text[i] == '\r' || text[i] == '\t';
        if (!is_blank && (text[i] < ' ' || text[i] > '~')) {
            return img_fail(err, IMG_CORRUPT,
                            "VMDK descriptor: found byte 0x%02x, expected "
                            "plain text",
                            (unsigned char)text[i]);
        }
    }
    for (size_t i = *text_len; i < len; i++) {
        if (text[i] != '\0') {
            return img_fail(err, IMG_CORRUPT,
                            "VMDK descriptor: found text behind its end");
        }
    }
    return 0;
}

static int check_lines(const char *text, size_t len, struct img_error *err)
{
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t line_len = end ? (size_t)(end - text) : len;
        size_t used = end ? line_len + 1 : line_len;
        size_t from = 0;

        while (from < line_len && strchr(" \t\r", text[from])) {
            from++;
        }
        while (line_len > from && strchr(" \t\r", text[line_len - 1])) {
            line_len--;
        }
        if (check_line(text + from, line_len - from, err) < 0) {
            return -1;
        }
        text += used;
        len -= used;
    }
    return 0;
}

static int check_meaning(const struct img_vmdk_desc *desc,
                         struct img_error *err)
{
    if (!desc->create_type ||
        (strcmp(desc->create_type, "monolithicSparse") != 0 &&
         strcmp(desc->create_type, "streamOptimized") != 0)) {
        char shown[160] = "none";

        if (desc->create_type) {
            img_escape(desc->create_type, strlen(desc->create_type), shown,
                       sizeof(shown));
        }
        return img_fail(err, IMG_CORRUPT,
                        "VMDK descriptor, createType: found %s, expected "
                        "monolithicSparse or streamOptimized",
                        shown);
    }
    if (desc->extents_nr != 1) {
        return img_fail(err, IMG_CORRUPT,
                        "VMDK descriptor: found %zu extents, expected 1",
                        desc->extents_nr);
    }
    return 0;
}

int img_vmdk_text_check(const char *text, size_t len, struct img_error *err)
{
    IMG_AUTO(img_vmdk_desc_fini) struct img_vmdk_desc desc = {0};
    size_t text_len;

    if (check_bytes(text, len, &text_len, err) < 0 ||
        check_lines(text, text_len, err) < 0 ||
        img_vmdk_desc_decode(text, text_len, &desc, err) < 0) {
        return -1;
    }
    return check_meaning(&desc, err);
}

static int check_header(const uint8_t *header, struct img_error *err)
{
    if (memcmp(header, VMDK_SPARSE_MAGIC, VMDK_MAGIC_LEN) != 0) {
        return img_fail_at(err, IMG_CORRUPT, 0,
                           "VMDK: found no hosted sparse header (KDMV), which "
                           "a file that stands alone has");
    }
    if (img_load_le32(header + 4) < VERSION_MIN) {
        return img_fail_at(err, IMG_CORRUPT, 4,
                           "VMDK version: found %" PRIu32
                           ", expected at least %u",
                           img_load_le32(header + 4), VERSION_MIN);
    }
    return 0;
}

/* The header at the end, which counts, differs in nothing but what it is
   there for. */
static int check_footer(struct img_file *file, const uint8_t *header,
                        struct img_error *err)
{
    uint8_t footer[SECTOR_LEN];
    uint64_t off = img_file_len(file) - FOOTER_FROM_END;

    if (img_file_read(file, footer, sizeof(footer), off, err) < 0) {
        return -1;
    }
    memcpy(footer + DIRECTORY_OFF, header + DIRECTORY_OFF, 8);
    if (memcmp(footer, header, sizeof(footer)) != 0) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "VMDK footer: found another one than the header");
    }
    return 0;
}

int img_vmdk_strict(struct img_file *file, struct img_error *err)
{
    uint8_t header[SECTOR_LEN];
    struct img_vmdk_sparse sparse;

    if (img_file_read(file, header, sizeof(header), 0, err) < 0 ||
        check_header(header, err) < 0 ||
        img_vmdk_sparse_load(file, &sparse, err) < 0) {
        return -1;
    }
    if (sparse.desc_off == 0) {
        return img_fail_at(err, IMG_CORRUPT, 28,
                           "VMDK descriptor: found none in the file");
    }
    if (sparse.has_footer && check_footer(file, header, err) < 0) {
        return -1;
    }
    IMG_AUTO(img_free_ptr)
    char *text = img_calloc(1, (size_t)sparse.desc_len, err);
    return text == NULL || img_file_read(file, text, (size_t)sparse.desc_len,
                                         sparse.desc_off, err) < 0
               ? -1
               : img_vmdk_text_check(text, (size_t)sparse.desc_len, err);
}

/* Tables that are looked into: 4 TiB of disk, all in use. A directory may
   name one table over and over. */
#define TABLES_MAX (128u << 10)

struct walk {
    struct img_file *file;
    const struct img_vmdk_sparse *sparse;
    uint64_t tables;
};

/* An entry of a grain table: 0 none, 1 zeros, else the grain's sector. */
static int grain_check(void *opaque, uint64_t idx, const uint8_t *bytes,
                       struct img_error *err)
{
    const struct walk *walk = opaque;
    uint64_t off = (uint64_t)img_load_le32(bytes) * SECTOR_LEN;
    /* A compressed grain is as long as it says; one sector is there. */
    uint64_t len = walk->sparse->is_compressed
                       ? SECTOR_LEN
                       : walk->sparse->cluster_sectors * SECTOR_LEN;

    return off <= SECTOR_LEN ||
                   img_range_fits(off, len, img_file_len(walk->file))
               ? 0
               : img_fail_cut_off(walk->file, "VMDK grain", idx, off, len, err);
}

static int directory_check(void *opaque, uint64_t idx, const uint8_t *bytes,
                           struct img_error *err)
{
    struct walk *walk = opaque;
    uint64_t off = (uint64_t)img_load_le32(bytes) * SECTOR_LEN;

    if (off == 0) {
        return 0;
    }
    if (++walk->tables > TABLES_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "VMDK grain directory: found more than %u tables up to "
                        "entry %" PRIu64 ", which is the limit",
                        TABLES_MAX, idx);
    }
    return img_table_walk(walk->file, off, walk->sparse->table_entries, 4,
                          grain_check, walk, err);
}

int img_vmdk_complete(struct img_file *file, struct img_error *err)
{
    char magic[VMDK_MAGIC_LEN];
    struct img_vmdk_sparse sparse;

    if (img_file_read(file, magic, sizeof(magic), 0, err) < 0) {
        return -1;
    }
    if (memcmp(magic, VMDK_SPARSE_MAGIC, VMDK_MAGIC_LEN) != 0) {
        return 0;
    }
    if (img_vmdk_sparse_load(file, &sparse, err) < 0) {
        return -1;
    }
    if (sparse.cluster_sectors == 0) {
        return 0;
    }
    struct walk walk = {.file = file, .sparse = &sparse};
    uint64_t entries = img_div_up(sparse.sectors, sparse.cluster_sectors *
                                                      sparse.table_entries);
    return img_table_walk(file, sparse.directory_off, entries, 4,
                          directory_check, &walk, err);
}
