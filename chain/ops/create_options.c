/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of a new image, as qemu-img create takes them with -o: those of
 * qcow2, of raw, and of the file below either. What is given twice counts as
 * it is given last.
 */
#include <string.h>

#include <chain/formats.h>
#include <img/memory.h>
#include <img/size.h>

#include "create_plan.h"

/* Longer than any option's name. */
#define NAME_LEN 64u

/* The name in front of '='; IMG_USAGE where there is no '='. */
static int split(const char *word, char name[NAME_LEN], const char **value,
                 struct img_error *err)
{
    const char *equals = strchr(word, '=');
    char shown[NAME_LEN];

    if (!equals || equals == word || (size_t)(equals - word) >= NAME_LEN) {
        img_escape(word, strlen(word), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "option: found \"%s\", expected NAME=VALUE", shown);
    }
    memcpy(name, word, (size_t)(equals - word));
    name[equals - word] = '\0';
    *value = equals + 1;
    return 0;
}

bool chain_plan_mentions(const struct chain_create_request *request,
                         const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < request->options_nr; i++) {
        const char *word = request->options[i];
        if (strncmp(word, name, len) == 0 && word[len] == '=') {
            return true;
        }
    }
    return false;
}

static int set_nocow(struct chain_create_plan *plan, const char *value,
                     struct img_error *err)
{
    struct qcow2_create_options scratch = {0};
    struct img_error ignored;
    char shown[NAME_LEN];

    /* A switch is read as every other switch is. */
    if (qcow2_create_options_set(&scratch, "lazy_refcounts", value, &ignored) <
        0) {
        img_escape(value, strlen(value), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "nocow: found \"%s\", expected on or off", shown);
    }
    plan->nocow = scratch.lazy_refcounts;
    return 0;
}

static int set_extent_len(struct chain_create_plan *plan, const char *value,
                          struct img_error *err)
{
    struct img_error ignored;
    char shown[NAME_LEN];
    uint64_t len;

    if (img_size_parse(value, &len, &ignored) < 0 || len > UINT32_MAX) {
        img_escape(value, strlen(value), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "extent_size_hint: found \"%s\", expected less than "
                        "4 GiB",
                        shown);
    }
    plan->extent_len = len;
    return 0;
}

/* Raw images have no options but the file's. */
static int set_raw(struct chain_create_plan *plan, const char *name,
                   const char *value, struct img_error *err)
{
    char shown[NAME_LEN];

    if (strcmp(name, "size") != 0 && strcmp(name, "preallocation") != 0) {
        img_escape(name, strlen(name), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "option: found \"%s\", expected size, preallocation, "
                        "nocow or extent_size_hint for a raw image",
                        shown);
    }
    if (qcow2_create_options_set(&plan->qcow2, name, value, err) < 0) {
        return -1;
    }
    if (plan->qcow2.prealloc == QCOW2_PREALLOC_METADATA) {
        return img_fail(err, IMG_USAGE,
                        "preallocation: found \"metadata\", expected off, "
                        "falloc or full for a raw image");
    }
    return 0;
}

static int set_option(struct chain_create_plan *plan, const char *word,
                      struct img_error *err)
{
    char name[NAME_LEN] = "";
    const char *value = "";

    if (split(word, name, &value, err) < 0) {
        return -1;
    }
    if (strcmp(name, "nocow") == 0) {
        return set_nocow(plan, value, err);
    }
    if (strcmp(name, "extent_size_hint") == 0) {
        return set_extent_len(plan, value, err);
    }
    if (strcmp(name, "size") == 0) {
        plan->has_size = true;
    }
    return plan->is_raw
               ? set_raw(plan, name, value, err)
               : qcow2_create_options_set(&plan->qcow2, name, value, err);
}

static int set_format(struct chain_create_plan *plan, struct img_error *err)
{
    const char *format = plan->request->format;
    char shown[NAME_LEN];

    if (!format || strcmp(format, "raw") == 0) {
        plan->is_raw = true;
        return 0;
    }
    if (strcmp(format, "qcow2") == 0) {
        return 0;
    }
    img_escape(format, strlen(format), shown, sizeof(shown));
    return img_fail(err,
                    chain_format_find(format) ? IMG_UNSUPPORTED : IMG_USAGE,
                    "no image of format \"%s\" can be made: expected qcow2 or "
                    "raw",
                    shown);
}

int chain_plan_begin(const struct chain_create_request *request,
                     struct chain_create_plan *out, struct img_error *err)
{
    *out = (struct chain_create_plan){.request = request};
    qcow2_create_options_init(&out->qcow2);
    if (set_format(out, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < request->options_nr; i++) {
        if (set_option(out, request->options[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}
