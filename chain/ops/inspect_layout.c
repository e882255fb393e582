/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about how the image lies in its file and how large it becomes:
 * layout-strict, file-complete, tables-valid, amplification, virtual-size,
 * actual-size, size-ratio.
 */
#include <inttypes.h>

#include <img/checked.h>
#include <img/size.h>

#include "inspect_impl.h"

void inspect_layout_strict(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    struct img_error error = {0};

    if (file->driver->strict && file->driver->strict(file->file, &error) < 0) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &error);
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "all readers understand it alike");
}

static void say_cut_off(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const struct qcow2_survey *survey = &file->survey;

    if (file->survey_error.code != IMG_OK) {
        inspect_say_error(in, CHAIN_CHECK_UNPROVEN, &file->survey_error);
    } else if (survey->is_cut_off) {
        inspect_say(in, CHAIN_CHECK_FAIL,
                    "the file is cut off: the table entry at offset %" PRIu64
                    " names what lies past its end",
                    survey->cut_off_entry);
        inspect_found(in, "a file of %" PRIu64 " bytes",
                      img_file_len(file->file));
        inspect_expected(in, "more than %" PRIu64 " bytes", survey->cut_off_at);
    } else if (survey->is_last_partial) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "the last cluster is partly missing; the rest of it reads "
                    "as zeros");
    } else {
        inspect_say(in, CHAIN_CHECK_PASS,
                    "all that its tables name is in the file");
    }
}

void inspect_file_complete(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    struct img_error error = {0};

    if (file->header) {
        say_cut_off(in);
        return;
    }
    if (!file->driver->complete) {
        inspect_say(in, CHAIN_CHECK_SKIP,
                    "the format does not tell how long the file is");
        return;
    }
    if (file->driver->complete(file->file, &error) < 0) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &error);
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS,
                "all that its tables name is in the file");
}

void inspect_tables_valid(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const struct qcow2_survey *survey = &file->survey;

    if (file->survey_error.code != IMG_OK) {
        inspect_say_error(in, CHAIN_CHECK_UNPROVEN, &file->survey_error);
    } else if (survey->is_broken) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &survey->broken);
    } else if (survey->has_overlap) {
        inspect_say(in, CHAIN_CHECK_FAIL,
                    "the table entry at offset %" PRIu64
                    " names a cluster that holds metadata",
                    survey->overlap_entry);
        inspect_found(in, "offset %" PRIu64, survey->overlap_at);
    } else {
        inspect_say(in, CHAIN_CHECK_PASS,
                    "%" PRIu64 " L2 table%s without a broken entry",
                    survey->tables, survey->tables == 1 ? "" : "s");
    }
}

/* Rounded up, and at least 1. */
static uint64_t ratio_of(uint64_t len, uint64_t file_len)
{
    return img_max(1, img_div_up(len, img_max(file_len, 1)));
}

static uint64_t clusters_len(uint64_t clusters, const struct img_image *image)
{
    uint64_t len;

    return img_mul(clusters, image->cluster_len, &len) ? len : IMG_OFF_MAX;
}

void inspect_amplification(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const struct qcow2_survey *survey = &file->survey;
    uint64_t max = in->request->max_ratio;

    if (file->survey_error.code != IMG_OK) {
        inspect_say_error(in, CHAIN_CHECK_UNPROVEN, &file->survey_error);
        return;
    }
    uint64_t mapped_len = clusters_len(survey->mapped_clusters, file->image);
    uint64_t ratio = ratio_of(mapped_len, img_file_len(file->file));
    if (max && ratio > max) {
        inspect_say(in, CHAIN_CHECK_FAIL,
                    "its tables make %" PRIu64 " bytes of data out of a file "
                    "of %" PRIu64,
                    mapped_len, img_file_len(file->file));
        inspect_found(in, "%" PRIu64 " times", ratio);
        inspect_expected(in, "at most %" PRIu64 " times", max);
    } else if (survey->l1_used > survey->tables) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "%" PRIu64 " entries of the L1 table share %" PRIu64
                    " L2 table%s: the same data many times over",
                    survey->l1_used, survey->tables,
                    survey->tables == 1 ? "" : "s");
        inspect_found(in, "%" PRIu64 " times the file's length", ratio);
    } else if (clusters_len(survey->compressed_clusters, file->image) / 100 >
               survey->stored_len) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "its compressed clusters grow more than a hundredfold");
        inspect_found(in, "%" PRIu64 " bytes in %" PRIu64,
                      clusters_len(survey->compressed_clusters, file->image),
                      survey->stored_len);
    } else {
        inspect_say(in, CHAIN_CHECK_PASS,
                    "its data is %" PRIu64 " time%s the file's length at most",
                    ratio, ratio == 1 ? "" : "s");
    }
}

static void judge_size(struct inspect *in, const char *what, uint64_t len,
                       uint64_t max)
{
    char text[IMG_SIZE_TEXT_LEN], limit[IMG_SIZE_TEXT_LEN];

    inspect_found(in, "%s", img_size_exact(len, text));
    if (max) {
        inspect_expected(in, "at most %s", img_size_exact(max, limit));
    }
    if (max && len > max) {
        inspect_say(in, CHAIN_CHECK_FAIL, "%s is over the limit", what);
    } else {
        inspect_say(in, CHAIN_CHECK_PASS, "%s is %s", what,
                    max ? "within the limit" : "known; no limit was given");
    }
}

void inspect_virtual_size(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    const struct qcow2_header *header = file->header;

    judge_size(in, "the virtual size", file->image->virtual_len,
               in->request->max_virtual_len);
    if (in->check.result == CHAIN_CHECK_PASS && header &&
        header->virtual_len != file->image->virtual_len) {
        inspect_say(in, CHAIN_CHECK_WARN,
                    "the header says %" PRIu64
                    " bytes, which are no whole sectors: readers differ in "
                    "what they make of the rest",
                    header->virtual_len);
    }
}

void inspect_actual_size(struct inspect *in)
{
    judge_size(in, "the file's length", img_file_len(in->file->file),
               in->request->max_actual_len);
}

void inspect_size_ratio(struct inspect *in)
{
    uint64_t max = in->request->max_ratio;
    uint64_t ratio =
        ratio_of(in->file->image->virtual_len, img_file_len(in->file->file));

    inspect_found(in, "%" PRIu64 " virtual bytes per byte of the file", ratio);
    if (!max) {
        inspect_say(in, CHAIN_CHECK_SKIP, "no limit was given (--max-ratio)");
        return;
    }
    inspect_expected(in, "at most %" PRIu64, max);
    inspect_say(in, ratio > max ? CHAIN_CHECK_FAIL : CHAIN_CHECK_PASS,
                "the virtual size is %s the file's length",
                ratio > max ? "too many times" : "few enough times");
}
