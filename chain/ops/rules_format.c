/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about the destination's format and metadata: format-match,
 * metadata-intact, features-usable, encryption, no-internal-state.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <qcow2/check.h>
#include <qcow2/image.h>

#include "judge.h"
#include "remedy.h"

static bool is_format(const struct chain_judge *judge, const char *format)
{
    return judge->dest_format && strcmp(judge->dest_format, format) == 0;
}

/* Could the request as well have named what the file really is? */
static bool is_usable_format(const struct chain_judge *judge,
                             const char *format)
{
    if (judge->effective == FOR_S) {
        return strcmp(format, "qcow2") == 0 || strcmp(format, "qed") == 0;
    }
    return strcmp(format, "qcow2") == 0 ||
           (strcmp(format, "raw") == 0 &&
            img_file_len(judge->dest_file) == judge->source_image->virtual_len);
}

static void say_mismatch(struct chain_judge *judge, const char *real)
{
    struct chain_remedy_request change = {.dest_format = real};
    char shown[CHAIN_SHOWN_LEN];

    chain_judge_say(judge, CHAIN_CHECK_FAIL,
                    "the file is %s, but the request says %s", real,
                    chain_shown(judge->dest_format, shown));
    chain_judge_found(judge, "%s", real);
    chain_judge_expected(judge, "%s", chain_shown(judge->dest_format, shown));
    if (is_usable_format(judge, real)) {
        chain_judge_remedy(judge, chain_remedy_ask_again(judge, &change));
    } else {
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    }
}

void chain_rule_format_match(struct chain_judge *judge)
{
    if (!judge->has_probe) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN,
                              &judge->dest_file_error);
        return;
    }
    const char *real = judge->probe.format->name;
    if (!chain_format_find(judge->dest_format)) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the request names a format that QEMU does not know");
        chain_judge_found(judge, "%s", real);
        return;
    }
    if (strcmp(real, judge->dest_format) != 0) {
        say_mismatch(judge, real);
    } else if (judge->effective == FOR_S && !judge->request->dest_format &&
               !is_usable_format(judge, real)) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the file is %s, which cannot be an overlay", real);
        chain_judge_found(judge, "%s", real);
        chain_judge_expected(judge, "qcow2");
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    } else if (judge->probe.second) {
        chain_judge_say(judge, CHAIN_CHECK_WARN,
                        "the file is %s, but other readers may take it for %s",
                        real, judge->probe.second->name);
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "the file is %s", real);
    }
}

/* The destination's header could not be read. */
static void say_unreadable(struct chain_judge *judge)
{
    const struct img_error *error = &judge->dest_error;

    if (error->code == IMG_DENIED) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged, because of "
                        "path-policy");
        return;
    }
    bool is_doubt = error->code == IMG_IO || error->code == IMG_LOCKED ||
                    error->code == IMG_MEMORY || error->code == IMG_SYSTEM;
    chain_judge_say_error(
        judge, is_doubt ? CHAIN_CHECK_UNPROVEN : CHAIN_CHECK_FAIL, error);
    if (!is_doubt) {
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    }
}

/* The first problem stands for all in the message. */
static void keep_first(void *opaque, const struct qcow2_problem *problem)
{
    char *text = opaque;

    if (text[0] == '\0' && problem->kind != QCOW2_PROBLEM_LEAK) {
        snprintf(text, IMG_ERROR_TEXT_MAX, "%s", problem->message);
    }
}

static char *repair(const struct chain_judge *judge, const char *what)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    char *program =
        img_text(&ignored, "qemu-img check -q -f qcow2 -r %s", what);

    return program ? chain_remedy_command(program, judge->dest_path) : NULL;
}

static void judge_counts(struct chain_judge *judge,
                         const struct qcow2_check_result *counts,
                         const char *first)
{
    if (judge->dest_image->is_corrupt) {
        chain_judge_say(
            judge, CHAIN_CHECK_FAIL,
            "the image is marked corrupt: QEMU will not open it for "
            "writing");
        chain_judge_remedy(judge, repair(judge, "all"));
    } else if (counts->corruptions > 0) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL, "its metadata is damaged: %s",
                        first);
        chain_judge_found(judge, "%llu corruptions",
                          (unsigned long long)counts->corruptions);
        chain_judge_expected(judge, "none");
        chain_judge_remedy(judge, repair(judge, "all"));
    } else if (counts->check_errors > 0) {
        chain_judge_say(judge, CHAIN_CHECK_UNPROVEN,
                        "its metadata could not be checked: %s", first);
    } else if (judge->dest_image->is_dirty) {
        chain_judge_say(
            judge, CHAIN_CHECK_WARN,
            "it was not closed cleanly; QEMU repairs it when it opens "
            "it");
        chain_judge_remedy(judge, repair(judge, "all"));
    } else if (counts->leaks > 0) {
        chain_judge_say(judge, CHAIN_CHECK_WARN,
                        "%llu clusters are leaked: harmless, but lost space",
                        (unsigned long long)counts->leaks);
        chain_judge_remedy(judge, repair(judge, "leaks"));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "header and refcounts are consistent");
    }
}

static void check_refcounts(struct chain_judge *judge)
{
    char first[IMG_ERROR_TEXT_MAX] = "";
    struct qcow2_check_options options = {
        .problem = keep_first,
        .opaque = first,
        .cancel = judge->request->compare.cancel,
    };
    struct qcow2_check_result counts;
    struct img_error error;

    if (qcow2_check(judge->dest_image, &options, &counts, &error) == 0) {
        judge_counts(judge, &counts, first);
    } else if (error.code == IMG_CANCELLED) {
        *judge->err = error;
        chain_judge_give_up(judge);
    } else {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &error);
    }
}

void chain_rule_metadata_intact(struct chain_judge *judge)
{
    if (!judge->dest) {
        say_unreadable(judge);
    } else if (qcow2_image_header(judge->dest_image)) {
        check_refcounts(judge);
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "a %s image opens",
                        judge->dest_image->format);
    }
}

static bool is_older(const struct chain_qemu_version *v, unsigned major,
                     unsigned minor)
{
    return v->major < major || (v->major == major && v->minor < minor);
}

/* The first feature that QEMU of VERSION lacks; NULL: none. */
static const char *missing_feature(const struct qcow2_header *header,
                                   const struct chain_qemu_version *version,
                                   const char **since)
{
    const struct {
        bool is_used;
        unsigned major, minor;
        const char *name, *since;
    } features[] = {
        {header->has_extended_l2, 5, 2, "extended L2 entries", "5.2"},
        {header->compression == QCOW2_COMPRESSION_ZSTD, 5, 1,
         "zstd compression", "5.1"},
        {header->has_data_file, 4, 0, "an external data file", "4.0"},
        {header->crypt_method == QCOW2_CRYPT_LUKS, 2, 10, "LUKS encryption",
         "2.10"},
        {(header->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS) != 0, 1, 2,
         "lazy refcounts", "1.2"},
        {header->version == 3, 1, 1, "format version 3", "1.1"},
    };

    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        if (features[i].is_used &&
            is_older(version, features[i].major, features[i].minor)) {
            *since = features[i].since;
            return features[i].name;
        }
    }
    return NULL;
}

void chain_rule_features_usable(struct chain_judge *judge)
{
    const struct qcow2_header *header = qcow2_image_header(judge->dest_image);
    const struct chain_qemu_version *qemu = &judge->qemu;
    const char *since = NULL;
    const char *missing = header ? missing_feature(header, qemu, &since) : NULL;

    if (missing) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL, "QEMU %u.%u does not know %s",
                        qemu->major, qemu->minor, missing);
        chain_judge_found(judge, "%s", missing);
        chain_judge_expected(judge, "QEMU %s or later", since);
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    } else if (header && header->has_data_file &&
               !judge->request->allow_data_file) {
        chain_judge_say(
            judge, CHAIN_CHECK_FAIL,
            "its data are in another file, which libvirt gives QEMU no "
            "access to");
        chain_judge_found(judge, "an external data file");
        chain_judge_expected(judge, "none, or --allow-data-file");
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "QEMU %u.%u knows all it uses",
                        qemu->major, qemu->minor);
    }
}

void chain_rule_encryption(struct chain_judge *judge)
{
    if (judge->dest_image->is_encrypted || is_format(judge, "luks")) {
        chain_judge_say(
            judge, CHAIN_CHECK_FAIL,
            "it is encrypted, and no secret comes with the request");
        chain_judge_found(judge, "encrypted");
        chain_judge_expected(judge, "not encrypted");
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "it is not encrypted");
    }
}

/* More than that many are taken away by making the image anew. */
#define STATES_MAX 8u

static char *remove_state(const struct chain_judge *judge, const char *option,
                          const char *name, bool name_last)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr) char *word = chain_shell_quote(name, &ignored);
    IMG_AUTO(img_free_ptr)
    char *path = chain_shell_quote_path(judge->dest_path, &ignored);

    if (!word || !path) {
        return NULL;
    }
    return name_last
               ? img_text(&ignored, "qemu-img %s %s %s", option, path, word)
               : img_text(&ignored, "qemu-img %s %s %s", option, word, path);
}

static char *remove_all(const struct chain_judge *judge,
                        const struct qcow2_bitmap_info *bitmaps, size_t nr)
{
    const struct img_image *image = judge->dest_image;
    char *commands = NULL;

    for (size_t i = 0; i < image->snapshots_nr; i++) {
        commands = chain_remedy_both(
            commands, remove_state(judge, "snapshot -q -d",
                                   image->snapshots[i].name, false));
    }
    for (size_t i = 0; i < nr; i++) {
        commands = chain_remedy_both(
            commands, remove_state(judge, "bitmap -f qcow2 --remove --",
                                   bitmaps[i].name, true));
    }
    return commands;
}

void chain_rule_no_internal_state(struct chain_judge *judge)
{
    const struct img_image *image = judge->dest_image;
    const struct qcow2_bitmap_info *bitmaps = NULL;
    struct img_error error;
    size_t nr = 0;

    if (qcow2_image_header(image) &&
        qcow2_image_bitmaps(judge->dest_image, &bitmaps, &nr, &error) != 0) {
        chain_judge_say_error(judge,
                              error.code == IMG_CORRUPT ? CHAIN_CHECK_FAIL
                                                        : CHAIN_CHECK_UNPROVEN,
                              &error);
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
        return;
    }
    if (image->snapshots_nr == 0 && nr == 0) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "it holds no internal snapshots and no bitmaps");
        return;
    }
    chain_judge_say(judge, CHAIN_CHECK_WARN,
                    "it holds state that the new use will not know about");
    chain_judge_found(judge, "%zu internal snapshots, %zu bitmaps",
                      image->snapshots_nr, nr);
    chain_judge_expected(judge, "none");
    chain_judge_remedy(judge, image->snapshots_nr + nr <= STATES_MAX
                                  ? remove_all(judge, bitmaps, nr)
                                  : chain_remedy_recreate(judge));
}
