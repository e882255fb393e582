/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repair, as a whole: look, work it out, look at what came out, write, look
 * again. Room: qcow2/repair. See repair_impl.h for who does what.
 */
#include "repair_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/staged.h>

/* Shares of the whole work, as far as progress goes. */
#define SHARE_BEFORE 0.3
#define SHARE_STAGED 0.6
#define CHANGES_MIN (48ull << 20)
#define CHANGES_MAX (512ull << 20)

int qcow2_repair_is_wanted(const struct qcow2_repair *r, struct img_error *err)
{
    if (r->options->cancel && *r->options->cancel) {
        return img_fail(err, IMG_CANCELLED, "the repair was cancelled");
    }
    return 0;
}

int qcow2_repair_stage(struct qcow2_repair *r, const uint8_t *was,
                       const uint8_t *now, size_t len, uint64_t off,
                       struct img_error *err)
{
    if (memcmp(was, now, len) == 0) {
        return 0;
    }
    for (size_t at = 0; at < len;) {
        size_t some =
            img_min(len - at, QCOW2_SECTOR_LEN - (off + at) % QCOW2_SECTOR_LEN);

        if (memcmp(was + at, now + at, some) != 0 &&
            img_file_write(r->staged, now + at, some, off + at, err)) {
            return -1;
        }
        at += some;
    }
    return 0;
}

/* A check as a part of the whole work. */
struct part {
    struct qcow2_repair *r;
    double start, share;
    bool tells;
};

static void part_problem(void *opaque, const struct qcow2_problem *problem)
{
    const struct part *part = opaque;
    const struct qcow2_repair_options *options = part->r->options;

    if (part->tells && options->problem) {
        options->problem(options->opaque, problem);
    }
}

static void part_progress(void *opaque, double fraction)
{
    const struct part *part = opaque;
    const struct qcow2_repair_options *options = part->r->options;

    if (options->progress) {
        options->progress(options->opaque,
                          part->start + fraction * part->share);
    }
}

static int check(struct img_image *image, struct part *part,
                 const volatile int *cancel, struct qcow2_check_result *out,
                 struct img_error *err)
{
    const struct qcow2_repair_options *asked = part->r->options;
    const struct qcow2_check_options options = {
        .problem = part->tells && asked->problem ? part_problem : NULL,
        .opaque = part,
        .max_problems = asked->max_problems,
        .max_memory = asked->max_memory,
        .threads = asked->threads,
        .cancel = cancel,
        .progress = part_progress,
    };

    return qcow2_check(image, &options, out, err);
}

static bool is_clean(const struct qcow2_check_result *result)
{
    return result->corruptions == 0 && result->check_errors == 0;
}

static bool has_problems(const struct qcow2_check_result *result)
{
    return !is_clean(result) || result->leaks > 0;
}

static bool is_marked(const struct qcow2_repair *r)
{
    return (r->header.incompatible &
            (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT)) != 0;
}

static void take_header(struct qcow2_repair *r, const struct img_image *image)
{
    const struct qcow2_header *header = qcow2_image_header(image);

    r->header = *header;
    r->l1_off = header->l1_off;
    r->reftable_off = header->reftable_off;
    r->reftable_clusters = header->reftable_clusters;
    r->snapshots_off = header->snapshots_off;
    r->snapshots_nr = header->snapshots_nr;
    r->autoclear = header->autoclear &
                   (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_FILE_RAW);
    r->refcount_max = qcow2_refcount_max(header);
}

static int image_open(struct img_file *file, struct img_image **out,
                      struct img_error *err)
{
    return qcow2_open(file, &(struct qcow2_options){0}, out, err);
}

static void image_close(struct img_image **image)
{
    img_image_free(*image);
    *image = NULL;
}

/* Open FILE anew and check it. */
static int look(struct qcow2_repair *r, struct img_file *file,
                struct part *part, const volatile int *cancel,
                struct qcow2_check_result *out, struct img_error *err)
{
    IMG_AUTO(image_close) struct img_image *image = NULL;

    if (image_open(file, &image, err)) {
        return -1;
    }
    take_header(r, image);
    r->has_told = r->has_told || part->tells;
    return check(image, part, cancel, out, err);
}

/*
 * Bytes that changes may take, unless told otherwise: what the file really
 * holds may all be wrong, and as much may have to be copied apart.
 */
static uint64_t changes_memory(const struct qcow2_repair *r)
{
    uint64_t counting = qcow2_check_memory(r->file);
    uint64_t held = img_file_allocated_len(r->file);

    return img_min(img_max(counting, CHANGES_MIN + 2 * held), CHANGES_MAX);
}

static int stage_begin(struct qcow2_repair *r, struct img_error *err)
{
    const struct qcow2_repair_options *options = r->options;
    uint64_t memory =
        options->max_memory ? options->max_memory : qcow2_check_memory(r->file);
    uint8_t head[QCOW2_SECTOR_LEN];
    size_t got = 0;

    if (img_file_read_padded(r->file, head, sizeof(head), 0, &got, err)) {
        return -1;
    }
    r->header.cluster_len = qcow2_header_peek_cluster_len(head, got);
    if (r->header.cluster_len == 0) {
        return img_fail(err, IMG_FORMAT,
                        "no qcow2 header that could be repaired");
    }
    qcow2_refs_init(&r->refs, memory);
    r->tables.memory_left = &r->refs.memory_left;
    return img_file_staged(r->file, qcow2_repair_page_len(r),
                           options->max_memory ? memory : changes_memory(r),
                           &r->staged, err);
}

/*
 * What the strict opener refuses, *IS_SOUND false: an image that it opens is
 * staged first.
 */
static int look_before(struct qcow2_repair *r, bool *is_sound,
                       struct img_error *err)
{
    struct part part = {.r = r, .share = SHARE_BEFORE};
    struct qcow2_check_result *before = &r->result->before;
    struct img_error ignored;

    *is_sound = look(r, r->file, &part, r->options->cancel, before, err) == 0;
    if (*is_sound) {
        return 0;
    }
    if (!r->fixes || (err->code != IMG_CORRUPT && err->code != IMG_LIMIT)) {
        return -1;
    }
    if (qcow2_repair_prepare(r, err)) {
        return -1;
    }
    if (look(r, r->staged, &part, r->options->cancel, before, &ignored)) {
        *before = (struct qcow2_check_result){0};
    }
    before->corruptions += img_max(r->result->steps_nr, 1);
    return 0;
}

/* Where on a device that which is referred to ends, refcounts aside. */
static int used_end(struct qcow2_repair *r, uint64_t *out,
                    struct img_error *err)
{
    struct qcow2_repair counter = *r;
    uint64_t cluster = img_div_up(r->old_len, r->header.cluster_len);
    int rc;

    counter.fixes = false;
    counter.snapshot_table = NULL; /* it has no place as yet */
    qcow2_refs_init(&counter.refs, r->refs.memory_left);
    counter.tables.memory_left = &counter.refs.memory_left;
    rc = qcow2_repair_l1_tables(&counter, err) ||
                 qcow2_repair_l2_tables(&counter, err) ||
                 qcow2_repair_owners(&counter, err)
             ? -1
             : 0;
    while (rc == 0 && cluster > 0 &&
           qcow2_refs_get(&counter.refs, cluster - 1) == 0) {
        cluster--;
    }
    *out = cluster << r->header.cluster_bits;
    qcow2_refs_fini(&counter.refs);
    qcow2_l2_refs_fini(&counter.tables);
    free(counter.l1_tables);
    free(counter.exclusive.at);
    return rc;
}

/* Where new clusters are taken from. */
static int space_begin(struct qcow2_repair *r, struct img_error *err)
{
    uint64_t end = img_max(r->old_len, r->min_len);

    if (img_file_kind(r->file) == IMG_FILE_BLOCK) {
        end = r->result->before.image_end_off;
        /* Beyond the device: what stands in for a lost refcount table. */
        if ((end == 0 || end > r->old_len) && used_end(r, &end, err)) {
            return -1;
        }
    }
    r->next_cluster = img_div_up(end, r->header.cluster_len);
    r->fresh_start = r->next_cluster;
    /* What stood in for something behind the end is gone. */
    return img_file_resize(r->staged, img_max(r->old_len, r->min_len), err);
}

static int buffers_make(struct qcow2_repair *r, struct img_error *err)
{
    uint32_t len = r->header.cluster_len;

    r->words = img_calloc(QCOW2_REPAIR_PIECE, 8, err);
    r->words_was = img_calloc(QCOW2_REPAIR_PIECE, 8, err);
    r->l2 = img_calloc(1, len, err);
    r->l2_was = img_calloc(1, len, err);
    r->copy = img_calloc(1, len, err);
    return r->words && r->words_was && r->l2 && r->l2_was && r->copy ? 0 : -1;
}

static void doubt_tell(struct qcow2_repair *r)
{
    qcow2_repair_tell(r,
                      &(struct qcow2_repair_told){
                          .kind = QCOW2_REPAIR_REFCOUNTS,
                          .off = r->header.l1_off,
                          .is_lost = true,
                      },
                      "nothing is freed: %s (-r all)", r->doubt);
}

/* Everything that is to be done, staged. */
static int work(struct qcow2_repair *r, struct img_error *err)
{
    if (image_open(r->staged, &r->image, err)) {
        return -1;
    }
    take_header(r, r->image);
    if (buffers_make(r, err) || space_begin(r, err) ||
        qcow2_repair_l1_tables(r, err) || qcow2_repair_l2_tables(r, err) ||
        qcow2_repair_move_tables(r, err) || qcow2_repair_owners(r, err) ||
        qcow2_repair_reftable(r, err)) {
        return -1;
    }
    /* Where nothing is moved no byte may change that is read as another. */
    if (!r->fixes && !r->doubt && !qcow2_repair_flags_can(r)) {
        r->doubt = "something else lies in a table";
    }
    if (r->doubt) {
        doubt_tell(r);
        return 0;
    }
    if ((r->fixes && qcow2_repair_reftable_complete(r, err)) ||
        qcow2_repair_refcounts(r, err) || qcow2_repair_flags(r, err) ||
        qcow2_repair_header_stage(r, err)) {
        return -1;
    }
    qcow2_refs_fini(&r->refs);
    qcow2_l2_refs_fini(&r->tables);
    return 0;
}

/* How the image would be; it must not be worse. */
static int look_staged(struct qcow2_repair *r, bool is_sound,
                       struct img_error *err)
{
    struct part part = {
        .r = r,
        .start = SHARE_BEFORE,
        .share = SHARE_STAGED - SHARE_BEFORE,
        .tells = r->options->dry_run,
    };
    struct qcow2_repair_result *result = r->result;
    struct qcow2_header header = r->header;
    uint64_t autoclear = r->autoclear;
    int rc = look(r, r->staged, &part, r->options->cancel, &result->after, err);

    /* Of the header as it was: what is not yet as it will be. */
    r->header.autoclear = header.autoclear;
    r->autoclear = autoclear;
    if (rc == 0 && is_sound &&
        result->after.corruptions > result->before.corruptions) {
        rc = img_fail(err, IMG_CORRUPT,
                      "found %llu corruptions after the repair that was worked "
                      "out, expected at most the %llu from before: nothing was "
                      "written",
                      (unsigned long long)result->after.corruptions,
                      (unsigned long long)result->before.corruptions);
    }
    return rc;
}

static int look_again(struct qcow2_repair *r, struct img_error *err)
{
    struct part part = {
        .r = r,
        .start = SHARE_STAGED,
        .share = 1.0 - SHARE_STAGED,
        .tells = true,
    };

    return look(r, r->file, &part, NULL, &r->result->after, err);
}

static void marks_tell(struct qcow2_repair *r)
{
    qcow2_repair_tell(
        r,
        &(struct qcow2_repair_told){
            .kind = QCOW2_REPAIR_HEADER,
            .off = 72,
        },
        "incompatible_features: the image is no longer marked "
        "as%s%s",
        r->header.incompatible & QCOW2_INCOMPAT_DIRTY ? " dirty" : "",
        r->header.incompatible & QCOW2_INCOMPAT_CORRUPT ? " corrupt" : "");
}

/* Write PLAN, and see whether it did what it should. */
static int store(struct qcow2_repair *r, const struct qcow2_plan *plan,
                 struct img_error *err)
{
    struct qcow2_repair_result *result = r->result;
    bool clears = is_marked(r) && is_clean(&result->after);

    if (plan->nr == 0 && !clears) {
        return 0;
    }
    if (r->options->undo_path) {
        if (qcow2_record_store(r, plan, err)) {
            return -1;
        }
        result->has_undo = true;
    }
    if (qcow2_repair_is_wanted(r, err) || qcow2_repair_apply(r, plan, err) ||
        look_again(r, err)) {
        return -1;
    }
    if (is_marked(r) && is_clean(&result->after)) {
        if (qcow2_repair_mark_clean(r, err)) {
            return -1;
        }
        result->is_marked_clean = true;
        marks_tell(r);
    }
    return 0;
}

static int plan_and_store(struct qcow2_repair *r, struct img_error *err)
{
    struct qcow2_repair_result *result = r->result;
    struct qcow2_plan plan;
    int rc = 0;

    if (qcow2_plan_make(r, &plan, err)) {
        return -1;
    }
    result->written_len = (uint64_t)plan.nr * plan.page_len;
    if (!r->options->dry_run) {
        rc = store(r, &plan, err);
    } else if (is_marked(r) && is_clean(&result->after)) {
        result->is_marked_clean = true;
        marks_tell(r);
    }
    qcow2_plan_fini(&plan);
    /* Where nothing could be done, nothing was looked at again. */
    return rc == 0 && !r->has_told && has_problems(&result->after)
               ? look_again(r, err)
               : rc;
}

static int run(struct qcow2_repair *r, struct img_error *err)
{
    struct qcow2_repair_result *result = r->result;
    const struct qcow2_check_result *before = &result->before;
    bool is_sound = false;

    if (stage_begin(r, err) || look_before(r, &is_sound, err)) {
        return -1;
    }
    r->needs_flags = r->fixes && (!is_sound || before->corruptions > 0);
    if (is_sound && before->leaks == 0 && (is_clean(before) || !r->fixes)) {
        result->after = *before;
        if (is_marked(r) && qcow2_repair_header_stage(r, err)) {
            return -1;
        }
    } else if (work(r, err) || look_staged(r, is_sound, err)) {
        return -1;
    }
    if (plan_and_store(r, err)) {
        return -1;
    }
    result->corruptions_fixed =
        before->corruptions -
        img_min(before->corruptions, result->after.corruptions);
    result->leaks_fixed =
        before->leaks - img_min(before->leaks, result->after.leaks);
    return 0;
}

static void repair_fini(struct qcow2_repair *r)
{
    img_image_free(r->image);
    img_file_unref(r->staged);
    qcow2_refs_fini(&r->refs);
    qcow2_l2_refs_fini(&r->tables);
    free(r->snapshot_table);
    free(r->l1_tables);
    free(r->exclusive.at);
    free(r->blocks);
    free(r->kept);
    free(r->words);
    free(r->words_was);
    free(r->l2);
    free(r->l2_was);
    free(r->copy);
}

int qcow2_repair(struct img_file *file,
                 const struct qcow2_repair_options *options,
                 struct qcow2_repair_result *out, struct img_error *err)
{
    IMG_AUTO(repair_fini)
    struct qcow2_repair r = {
        .options = options,
        .result = out,
        .file = file,
        .old_len = img_file_len(file),
        .fixes = options->mode == QCOW2_REPAIR_ALL,
        .fresh_start = UINT64_MAX,
    };

    *out = (struct qcow2_repair_result){0};
    if (run(&r, err)) {
        if (r.staged && img_staged_is_full(r.staged)) {
            img_fail(err, IMG_LIMIT, QCOW2_REPAIR_NO_MEMORY);
        }
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    return 0;
}
