/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of create, "name=value,name=value". What goes together makes an
 * image that opens, is as asked, and is clean.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <img/write.h>
#include <qcow2/check.h>
#include <qcow2/fresh.h>
#include <qcow2/image.h>

#include "fuzz.h"

/* Made only where tables and preallocation stay small. */
#define MADE_MAX (64ull << 20)
#define PREALLOCATED_MAX (1ull << 20)

static void check_made(struct img_file *file, struct img_file *data_file,
                       const struct qcow2_create_options *options)
{
    struct qcow2_check_options how = {0};
    struct qcow2_options open_options = {0};
    struct qcow2_check_result result;
    struct img_image *image = NULL;
    const struct qcow2_header *h;
    struct img_error err = {0};

    fuzz_require(qcow2_open(file, &open_options, &image, &err) == 0);
    if (image->wants_data_file) {
        fuzz_require(data_file != NULL);
        img_image_set_data_file(image, data_file);
    }
    h = qcow2_image_header(image);
    fuzz_require(h->version == options->version);
    fuzz_require(h->virtual_len == options->virtual_len);
    fuzz_require(h->cluster_len == options->cluster_len);
    fuzz_require(1u << h->refcount_order == options->refcount_bits);
    fuzz_require(h->has_extended_l2 == options->extended_l2);
    fuzz_require(h->compression == options->compression);
    fuzz_require(
        (image->backing_name == NULL) ==
        (options->backing_name == NULL || options->backing_name[0] == '\0'));
    fuzz_require(qcow2_check(image, &how, &result, &err) == 0);
    fuzz_require(result.corruptions == 0 && result.leaks == 0);
    img_image_free(image);
}

static void make(const struct qcow2_create_options *options)
{
    struct img_file *file = NULL, *data_file = NULL;
    struct qcow2_fresh *fresh = NULL;
    struct img_error err = {0};

    fuzz_require(img_file_from_memory("new", "", 0, &file, &err) == 0);
    if (options->data_file_name != NULL) {
        fuzz_require(img_file_from_memory("data", "", 0, &data_file, &err) ==
                     0);
    }
    if (qcow2_fresh_new(file, data_file, options, &fresh, &err) < 0 ||
        qcow2_fresh_finish(fresh, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        check_made(file, data_file, options);
    }
    qcow2_fresh_free(fresh);
    img_file_unref(file);
    img_file_unref(data_file);
}

/* Option after option, until one is refused; then all of them together. */
static int set_all(struct qcow2_create_options *options, char *text,
                   struct img_error *err)
{
    char *rest = text, *word;

    while ((word = strsep(&rest, ",")) != NULL) {
        char *value = strchr(word, '=');

        if (value == NULL) {
            continue;
        }
        *value++ = '\0';
        if (qcow2_create_options_set(options, word, value, err) < 0) {
            return -1;
        }
    }
    return qcow2_create_options_check(options, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct qcow2_create_options options;
    IMG_AUTO(img_free_ptr) char *text = NULL;
    struct img_error err = {0};
    uint64_t most;

    text = img_strndup((const char *)data, len, &err);
    fuzz_require(text != NULL);
    qcow2_create_options_init(&options);
    options.virtual_len = 512;
    if (set_all(&options, text, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    fuzz_require(options.virtual_len % 512 == 0);
    fuzz_require(options.cluster_len >= 512 && options.cluster_len <= 2u << 20);
    most = qcow2_create_prealloc(&options) == QCOW2_PREALLOC_OFF
               ? MADE_MAX
               : PREALLOCATED_MAX;
    if (options.virtual_len <= most) {
        make(&options);
    }
    return 0;
}
