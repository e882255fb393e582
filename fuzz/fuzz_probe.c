/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Probing a file, and opening it as what it claims to be. */
#include <chain/formats.h>
#include <img/file.h>

#include "fuzz.h"

static void open_as(struct img_file *file, const struct img_format *format)
{
    struct img_image *image = NULL;
    struct img_json *described = NULL;
    struct img_error err = {0};

    if (format->open(file, &image, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(image->format != NULL);
    if (!image->is_readable) {
        fuzz_require(image->unreadable_why != NULL);
    }
    if (img_image_describe(image, &described, &err) == 0) {
        img_json_free(described);
    }
    img_image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct img_file *file = NULL;
    struct chain_probe probe = {0};
    struct img_error err = {0};

    if (img_file_from_memory("fuzz", data, len, &file, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    if (chain_probe(file, &probe, &err) == 0) {
        fuzz_require(probe.format != NULL);
        open_as(file, probe.format);
        if (probe.second != NULL) {
            open_as(file, probe.second);
        }
    } else {
        fuzz_require_error(&err);
    }
    img_file_unref(file);
    return 0;
}
