/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* -o help: see choices.h. */
#include "choices.h"

#include <img/memory.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "output.h"

#define NAME_COLUMN 23

enum {
    OF_QCOW2 = 1u << 0,
    OF_RAW = 1u << 1,
    OF_AMEND = 1u << 2, /* of an existing qcow2 image, too */
};

static const struct {
    const char *name, *help;
    unsigned of;
} choices[] = {
    {"backing_file=<str>", "backing file (-b)", OF_QCOW2 | OF_AMEND},
    {"backing_fmt=<str>", "format of the backing file (-F)",
     OF_QCOW2 | OF_AMEND},
    {"cluster_size=<size>", "512 to 2M, a power of two (64k)", OF_QCOW2},
    {"compat=<str>", "version: 0.10 (v2) or 1.1 (v3)", OF_QCOW2 | OF_AMEND},
    {"compression_type=<str>", "of compressed clusters: zlib or zstd",
     OF_QCOW2},
    {"data_file=<str>", "external file for the guest's data",
     OF_QCOW2 | OF_AMEND},
    {"data_file_raw=<bool>", "the data file is a raw image by itself",
     OF_QCOW2 | OF_AMEND},
    {"extended_l2=<bool>", "32 subclusters a cluster", OF_QCOW2},
    {"extent_size_hint=<size>", "allocate in pieces of it (where known)",
     OF_QCOW2 | OF_RAW},
    {"lazy_refcounts=<bool>", "postpone refcount updates", OF_QCOW2 | OF_AMEND},
    {"nocow=<bool>", "no copy-on-write by the file system (btrfs)",
     OF_QCOW2 | OF_RAW},
    {"preallocation=<str>", "off, metadata, falloc or full (raw: no metadata)",
     OF_QCOW2 | OF_RAW},
    {"refcount_bits=<num>", "1 to 64, a power of two (16)",
     OF_QCOW2 | OF_AMEND},
    {"size=<size>", "virtual size; an amended one only grows",
     OF_QCOW2 | OF_RAW | OF_AMEND},
};

static int print(const char *title, unsigned of)
{
    struct img_error err;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (output_new(OUTPUT_STREAM, &out, &err) < 0) {
        message_error(&err);
        return EXIT_FAILED;
    }
    output_text(out, title);
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        if (choices[i].of & of) {
            output_printf(out, "  %-*s - %s\n", NAME_COLUMN, choices[i].name,
                          choices[i].help);
        }
    }
    if (output_finish(out, &err) < 0) {
        message_error(&err);
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int fail_format(const char *format, const char *expected)
{
    char shown[64];

    img_escape(format, strlen(format), shown, sizeof(shown));
    message_failed("-o help: format: found %s, expected %s", shown, expected);
    return EXIT_FAILED;
}

int choices_create(const char *format)
{
    if (!format || strcmp(format, "raw") == 0) {
        return print("Supported raw options:\n", OF_RAW);
    }
    if (strcmp(format, "qcow2") == 0) {
        return print("Supported qcow2 options:\n", OF_QCOW2);
    }
    return fail_format(format, "qcow2 or raw");
}

int choices_amend(const char *format)
{
    if (!format || strcmp(format, "qcow2") == 0) {
        return print("Amend options for 'qcow2':\n", OF_AMEND);
    }
    return fail_format(format, "qcow2");
}
