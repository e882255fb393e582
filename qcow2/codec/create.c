/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of new images: qemu-img's names, values, defaults and rules.
 *
 * Room: qcow2/codec, pure. What goes together is what QEMU 7.2 accepts; where
 * several rules are broken the first of QEMU's order is told.
 */
#include <inttypes.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/size.h>
#include <qcow2/create.h>

#define DEFAULT_CLUSTER_LEN 65536u
#define DEFAULT_REFCOUNT_BITS 16u
#define MAX_REFCOUNT_BITS 64u
#define SECTOR_LEN 512u
/* Beyond the compression type's byte the header is padded to 8. */
#define FULL_HEADER_LEN 112u
/* PATH_MAX: no longer one can be opened. */
#define MAX_DATA_FILE_NAME_LEN 4095u

void qcow2_create_options_init(struct qcow2_create_options *options)
{
    *options = (struct qcow2_create_options){
        .version = 3,
        .cluster_len = DEFAULT_CLUSTER_LEN,
        .refcount_bits = DEFAULT_REFCOUNT_BITS,
        .compression = QCOW2_COMPRESSION_ZLIB,
    };
}

/* ---- From text. */

#define VALUE_TEXT_LEN 128

/* "NAME: found VALUE, expected EXPECTED". */
static int fail_value(struct img_error *err, const char *name,
                      const char *value, const char *expected)
{
    char text[VALUE_TEXT_LEN];

    img_escape(value, strlen(value), text, sizeof(text));
    return img_fail(err, IMG_USAGE, "%s: found \"%s\", expected %s", name, text,
                    expected);
}

/* A word of a list that is ended by NULL; its index, or -1. */
static int find_word(const char *const *words, const char *value)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0) {
            return i;
        }
    }
    return -1;
}

/* Each of these stores VALUE into the field of the options at OUT. */
typedef int parse_fn(void *out, const char *name, const char *value,
                     struct img_error *err);

static int parse_bool(void *out, const char *name, const char *value,
                      struct img_error *err)
{
    static const char *const words[] = {"off",  "on", "no", "yes", "false",
                                        "true", "n",  "y",  NULL};
    int word = find_word(words, value);

    if (word < 0) {
        return fail_value(err, name, value, "on or off");
    }
    *(bool *)out = word % 2 == 1;
    return 0;
}

static int parse_u32(void *out, const char *name, const char *value,
                     struct img_error *err)
{
    struct img_error no_size;
    uint64_t number;

    if (img_size_parse(value, &number, &no_size) < 0 || number > UINT32_MAX) {
        return fail_value(err, name, value, "a number below 2^32");
    }
    *(uint32_t *)out = (uint32_t)number;
    return 0;
}

/* qemu-img rounds up to sectors what it is given. */
static int parse_len(void *out, const char *name, const char *value,
                     struct img_error *err)
{
    struct img_error no_size;
    uint64_t len;

    if (img_size_parse(value, &len, &no_size) < 0 ||
        len > QCOW2_MAX_VIRTUAL_LEN) {
        return fail_value(err, name, value,
                          "bytes, or a number and one of k, M, G, T, P, E,"
                          " below 2^63");
    }
    *(uint64_t *)out = img_align_up(len, SECTOR_LEN);
    return 0;
}

static int parse_version(void *out, const char *name, const char *value,
                         struct img_error *err)
{
    static const char *const words[] = {"0.10", "1.1", "v2", "v3", NULL};
    int word = find_word(words, value);

    if (word < 0) {
        return fail_value(err, name, value, "0.10 (v2) or 1.1 (v3)");
    }
    *(uint32_t *)out = word % 2 == 1 ? 3 : 2;
    return 0;
}

static const char *const compression_words[] = {
    [QCOW2_COMPRESSION_ZLIB] = "zlib",
    [QCOW2_COMPRESSION_ZSTD] = "zstd",
    NULL,
};

static int parse_compression(void *out, const char *name, const char *value,
                             struct img_error *err)
{
    int word = find_word(compression_words, value);

    if (word < 0) {
        return fail_value(err, name, value, "zlib or zstd");
    }
    *(enum qcow2_compression *)out = (enum qcow2_compression)word;
    return 0;
}

static const char *const prealloc_words[] = {
    [QCOW2_PREALLOC_OFF] = "off",
    [QCOW2_PREALLOC_METADATA] = "metadata",
    [QCOW2_PREALLOC_FALLOC] = "falloc",
    [QCOW2_PREALLOC_FULL] = "full",
    NULL,
};

static int parse_prealloc(void *out, const char *name, const char *value,
                          struct img_error *err)
{
    int word = find_word(prealloc_words, value);

    if (word < 0) {
        return fail_value(err, name, value, "off, metadata, falloc or full");
    }
    *(enum qcow2_prealloc *)out = (enum qcow2_prealloc)word;
    return 0;
}

static int parse_text(void *out, const char *name, const char *value,
                      struct img_error *err)
{
    if (value[0] == '\0') {
        return fail_value(err, name, value, "a name");
    }
    *(const char **)out = value;
    return 0;
}

#define OPTION(name, parse, field)                                             \
    {                                                                          \
        name, parse, offsetof(struct qcow2_create_options, field)              \
    }

static const struct {
    const char *name;
    parse_fn *parse;
    size_t field_off;
} options_known[] = {
    OPTION("backing_file", parse_text, backing_name),
    OPTION("backing_fmt", parse_text, backing_format),
    OPTION("cluster_size", parse_u32, cluster_len),
    OPTION("compat", parse_version, version),
    OPTION("compression_type", parse_compression, compression),
    OPTION("data_file", parse_text, data_file_name),
    OPTION("data_file_raw", parse_bool, data_file_raw),
    OPTION("extended_l2", parse_bool, extended_l2),
    OPTION("lazy_refcounts", parse_bool, lazy_refcounts),
    OPTION("preallocation", parse_prealloc, prealloc),
    OPTION("refcount_bits", parse_u32, refcount_bits),
    OPTION("size", parse_len, virtual_len),
};

int qcow2_create_options_set(struct qcow2_create_options *options,
                             const char *name, const char *value,
                             struct img_error *err)
{
    char text[VALUE_TEXT_LEN];

    for (size_t i = 0; i < sizeof(options_known) / sizeof(options_known[0]);
         i++) {
        if (strcmp(options_known[i].name, name) == 0) {
            return options_known[i].parse(
                (char *)options + options_known[i].field_off, name, value, err);
        }
    }
    img_escape(name, strlen(name), text, sizeof(text));
    if (strncmp(name, "encrypt", strlen("encrypt")) == 0) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "option: found \"%s\", expected none: encrypted images"
                        " cannot be made",
                        text);
    }
    return img_fail(err, IMG_USAGE,
                    "option: found \"%s\", expected backing_file, backing_fmt,"
                    " cluster_size, compat, compression_type, data_file,"
                    " data_file_raw, extended_l2, lazy_refcounts,"
                    " preallocation, refcount_bits or size",
                    text);
}

/* ---- What goes together. */

static int check_cluster(const struct qcow2_create_options *o,
                         struct img_error *err)
{
    uint32_t min_bits = o->extended_l2 ? QCOW2_MIN_SUBCLUSTER_CLUSTER_BITS
                                       : QCOW2_MIN_CLUSTER_BITS;

    if (o->cluster_len < 1u << min_bits ||
        o->cluster_len > 1u << QCOW2_MAX_CLUSTER_BITS ||
        (o->cluster_len & (o->cluster_len - 1)) != 0) {
        return img_fail(err, IMG_USAGE,
                        "cluster_size: found %" PRIu32
                        ", expected a power of two from %u to %u%s",
                        o->cluster_len, 1u << min_bits,
                        1u << QCOW2_MAX_CLUSTER_BITS,
                        o->extended_l2 ? " with extended_l2=on" : "");
    }
    return 0;
}

static int fail_version(struct img_error *err, const char *found)
{
    return img_fail(err, IMG_USAGE, "compat: found 0.10 with %s, expected 1.1",
                    found);
}

/* Version 2 has none of these. */
static int check_version(const struct qcow2_create_options *o,
                         struct img_error *err)
{
    if (o->version != 2 && o->version != 3) {
        return img_fail(err, IMG_USAGE,
                        "version: found %" PRIu32 ", expected 2 or 3",
                        o->version);
    }
    if (o->version == 3) {
        return 0;
    }
    if (o->extended_l2) {
        return fail_version(err, "extended_l2=on");
    }
    if (o->lazy_refcounts) {
        return fail_version(err, "lazy_refcounts=on");
    }
    if (o->refcount_bits != DEFAULT_REFCOUNT_BITS) {
        return fail_version(err, "refcount_bits other than 16");
    }
    if (o->data_file_name != NULL) {
        return fail_version(err, "data_file");
    }
    if (o->compression != QCOW2_COMPRESSION_ZLIB) {
        return fail_version(err, "compression_type other than zlib");
    }
    return 0;
}

static int check_refcount_bits(const struct qcow2_create_options *o,
                               struct img_error *err)
{
    if (o->refcount_bits == 0 || o->refcount_bits > MAX_REFCOUNT_BITS ||
        (o->refcount_bits & (o->refcount_bits - 1)) != 0) {
        return img_fail(err, IMG_USAGE,
                        "refcount_bits: found %" PRIu32
                        ", expected a power of two from 1 to %u",
                        o->refcount_bits, MAX_REFCOUNT_BITS);
    }
    return 0;
}

static int check_files(const struct qcow2_create_options *o,
                       struct img_error *err)
{
    if (o->prealloc != QCOW2_PREALLOC_OFF && o->backing_name != NULL &&
        !o->extended_l2) {
        return img_fail(err, IMG_USAGE,
                        "preallocation: found %s with a backing file, expected"
                        " off, or extended_l2=on",
                        prealloc_words[o->prealloc]);
    }
    if (o->backing_format != NULL && o->backing_name == NULL) {
        return img_fail(err, IMG_USAGE,
                        "backing_fmt: found one without a backing file,"
                        " expected none");
    }
    if (o->data_file_raw && o->data_file_name == NULL) {
        return img_fail(err, IMG_USAGE,
                        "data_file_raw: found on without data_file, expected"
                        " off");
    }
    if (o->data_file_raw && o->backing_name != NULL) {
        return img_fail(err, IMG_USAGE,
                        "data_file_raw: found on with a backing file, expected"
                        " off: raw data cannot leave anything to it");
    }
    return 0;
}

static int check_text(const char *text, const char *name, size_t max_len,
                      struct img_error *err)
{
    size_t len = text == NULL ? 1 : strlen(text);

    if (len == 0 || len > max_len) {
        return img_fail(err, IMG_USAGE,
                        "%s: found %zu bytes, expected 1 to %zu", name, len,
                        max_len);
    }
    return 0;
}

static int check_len(const struct qcow2_create_options *o,
                     struct img_error *err)
{
    struct qcow2_header h;

    if (o->virtual_len % SECTOR_LEN != 0 ||
        o->virtual_len > QCOW2_MAX_VIRTUAL_LEN) {
        return img_fail(err, IMG_USAGE,
                        "size: found %" PRIu64
                        ", expected a multiple of %u below 2^63",
                        o->virtual_len, SECTOR_LEN);
    }
    qcow2_create_header(o, &h);
    if (img_div_up(o->virtual_len, h.l2_covers_len) > QCOW2_MAX_L1_LEN / 8) {
        return img_fail(err, IMG_USAGE,
                        "size: found %" PRIu64 ", expected at most %" PRIu64
                        " with cluster_size %" PRIu32 "%s",
                        o->virtual_len, QCOW2_MAX_L1_LEN / 8 * h.l2_covers_len,
                        o->cluster_len,
                        o->extended_l2 ? " and extended_l2=on" : "");
    }
    return 0;
}

int qcow2_create_options_check(const struct qcow2_create_options *options,
                               struct img_error *err)
{
    if (check_version(options, err) < 0 || check_cluster(options, err) < 0 ||
        check_files(options, err) < 0 ||
        check_refcount_bits(options, err) < 0 || check_len(options, err) < 0 ||
        check_text(options->backing_name, "backing_file",
                   QCOW2_MAX_BACKING_NAME_LEN, err) < 0 ||
        check_text(options->backing_format, "backing_fmt",
                   QCOW2_MAX_BACKING_FORMAT_LEN, err) < 0 ||
        check_text(options->data_file_name, "data_file", MAX_DATA_FILE_NAME_LEN,
                   err) < 0) {
        return -1;
    }
    return 0;
}

/* ---- The outcome. */

enum qcow2_prealloc
qcow2_create_prealloc(const struct qcow2_create_options *options)
{
    if (options->data_file_raw && options->prealloc == QCOW2_PREALLOC_OFF) {
        return QCOW2_PREALLOC_METADATA;
    }
    return options->prealloc;
}

void qcow2_create_header(const struct qcow2_create_options *options,
                         struct qcow2_header *out)
{
    struct qcow2_header h = {
        .version = options->version,
        .cluster_bits = (uint32_t)__builtin_ctz(options->cluster_len),
        .virtual_len = options->virtual_len,
        .refcount_order = (uint32_t)__builtin_ctz(options->refcount_bits),
        .header_len =
            options->version == 2 ? QCOW2_V2_HEADER_LEN : FULL_HEADER_LEN,
        .compression = options->compression,
    };

    if (options->lazy_refcounts) {
        h.compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
    }
    if (options->data_file_name != NULL) {
        h.incompatible |= QCOW2_INCOMPAT_DATA_FILE;
    }
    if (options->compression != QCOW2_COMPRESSION_ZLIB) {
        h.incompatible |= QCOW2_INCOMPAT_COMPRESSION;
    }
    if (options->extended_l2) {
        h.incompatible |= QCOW2_INCOMPAT_EXTENDED_L2;
    }
    if (options->data_file_raw) {
        h.autoclear |= QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    }
    qcow2_header_derive(&h);
    *out = h;
}
