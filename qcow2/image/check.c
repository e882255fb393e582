/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The counting check, as a whole.
 *
 * Room: qcow2/image. What counts as a corruption, a leak or an error, and
 * how often, is QEMU's (qemu-img check), so that both give the same numbers.
 * Nothing is repaired. Specification: "Host cluster management".
 */
#include <qcow2/check.h>

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

#include "check_state.h"

int qcow2_check_is_wanted(const struct qcow2_check *check,
                          struct img_error *err)
{
    if (check->options->cancel && *check->options->cancel) {
        return img_fail(err, IMG_CANCELLED, "the check was cancelled");
    }
    return 0;
}

static int suspect_compare(const void *key, const void *item)
{
    const uint64_t *cluster = key;
    const struct qcow2_suspect *suspect = item;

    return *cluster < suspect->cluster ? -1 : *cluster > suspect->cluster;
}

static void suspects_name(struct qcow2_check *check, uint64_t first,
                          uint64_t last, struct qcow2_owner owner)
{
    for (uint64_t cluster = first; cluster <= last; cluster++) {
        struct qcow2_suspect *suspect =
            bsearch(&cluster, check->suspects.at, check->suspects.nr,
                    sizeof(*check->suspects.at), suspect_compare);

        if (suspect && suspect->owner.kind == QCOW2_OWNER_NONE) {
            suspect->owner = owner;
        }
    }
}

static int counts_raise(struct qcow2_check *check, uint64_t first,
                        uint64_t last, uint64_t times, struct qcow2_owner owner,
                        struct img_error *err)
{
    uint32_t cluster_bits = check->q->header.cluster_bits;

    for (uint64_t cluster = first; cluster <= last; cluster++) {
        uint64_t lost = 0;
        uint64_t done = times == 1 ? qcow2_counts_raise(&check->counts, cluster,
                                                        last - cluster + 1)
                                   : 0;

        if (done > 0) {
            cluster += done - 1;
            continue;
        }

        if (qcow2_counts_add(&check->counts, cluster, times, &lost, err)) {
            return -1;
        }
        if (lost > 0) {
            struct qcow2_finding finding = qcow2_corruption(
                "refcount-overflow", lost, cluster << cluster_bits, owner);

            qcow2_check_tell(check, &finding,
                             "cluster at %llu: more references than a refcount "
                             "of %u bits can count",
                             (unsigned long long)finding.off,
                             1u << check->q->header.refcount_order);
        }
    }
    check->clusters_nr = img_max(check->clusters_nr, last + 1);
    return 0;
}

bool qcow2_check_is_inside(const struct qcow2_check *check, uint64_t off,
                           uint64_t len)
{
    uint64_t end;

    return img_add(off, len, &end) &&
           end < check->file_len + check->q->header.cluster_len;
}

int qcow2_check_mark(struct qcow2_check *check, uint64_t off, uint64_t len,
                     uint64_t times, struct qcow2_owner owner,
                     struct img_error *err)
{
    uint32_t cluster_bits = check->q->header.cluster_bits;

    if (len == 0) {
        return 0;
    }
    if (!qcow2_check_is_inside(check, off, len)) {
        struct qcow2_finding finding =
            qcow2_corruption("reference-past-end", times, off, owner);

        qcow2_check_tell(check, &finding,
                         "reference to %llu bytes at %llu: the file ends at "
                         "%llu",
                         (unsigned long long)len, (unsigned long long)off,
                         (unsigned long long)check->file_len);
        return 0;
    }

    uint64_t first = off >> cluster_bits;
    uint64_t last = (off + len - 1) >> cluster_bits;
    if (check->is_naming) {
        suspects_name(check, first, last, owner);
        return 0;
    }
    return counts_raise(check, first, last, times, owner, err);
}

static int check_init(struct qcow2_check *check, struct img_error *err)
{
    struct qcow2_image *q = check->q;
    const struct qcow2_header *header = &q->header;
    uint32_t refcount_bits = 1u << header->refcount_order;
    uint64_t max =
        refcount_bits == 64 ? UINT64_MAX : (1ull << refcount_bits) - 1;
    uint64_t file_clusters;

    check->file_len = img_file_len(q->image.file);
    file_clusters = img_div_up(check->file_len, header->cluster_len);
    check->memory_left = check->options->max_memory
                             ? check->options->max_memory
                             : qcow2_check_memory(q->image.file);
    check->clusters_nr = file_clusters;
    check->odd_visits_left = QCOW2_CHECK_MAX_ODD_TABLES;
    check->result->total_clusters = img_div_up(
        img_align_down(header->virtual_len, 512), header->cluster_len);
    check->l2 = img_calloc(1, header->cluster_len, err);
    check->odd_tables =
        img_calloc(QCOW2_CHECK_MAX_ODD_TABLES, sizeof(*check->odd_tables), err);
    if (!check->l2 || !check->odd_tables ||
        qcow2_counts_init(&check->counts, file_clusters + 1, max,
                          &check->memory_left, err) ||
        qcow2_counts_init(&check->tables, file_clusters + 1, UINT64_MAX,
                          &check->memory_left, err) ||
        qcow2_stored_init(&check->stored, q, &check->memory_left, err)) {
        return -1;
    }
    return qcow2_l1_order_load(q, &check->l1, err);
}

static void check_fini(struct qcow2_check *check)
{
    qcow2_blocks_fini(&check->blocks);
    qcow2_counts_fini(&check->counts);
    qcow2_counts_fini(&check->tables);
    qcow2_stored_fini(&check->stored);
    qcow2_l1_order_fini(&check->l1);
    free(check->odd_tables);
    free(check->l2);
    free(check->suspects.at);
}

/*
 * What no command opens must not be called clean, whether or not the check
 * had an eye for it.
 */
static int strictly_check(struct qcow2_check *check, struct img_error *err)
{
    struct qcow2_owner header = {QCOW2_OWNER_HEADER, 0};
    struct qcow2_finding finding =
        qcow2_corruption("cannot-be-opened", 1, 0, header);
    struct img_image *image = NULL;
    struct img_error refusal;

    if (!check->q->header.is_lenient || check->result->corruptions > 0 ||
        qcow2_open(check->q->image.file, &(struct qcow2_options){0}, &image,
                   &refusal) == 0) {
        img_image_free(image);
        return 0;
    }
    if (refusal.code != IMG_CORRUPT) {
        *err = refusal;
        return -1;
    }
    finding.is_beyond_qemu = true;
    finding.off = refusal.has_off ? refusal.off : 0;
    qcow2_check_tell(check, &finding, "%s", refusal.text);
    return 0;
}

int qcow2_check(struct img_image *image,
                const struct qcow2_check_options *options,
                struct qcow2_check_result *out, struct img_error *err)
{
    *out = (struct qcow2_check_result){0};
    if (image->ops != &qcow2_image_ops) {
        return img_fail(err, IMG_UNSUPPORTED, "only qcow2 can be checked");
    }

    IMG_AUTO(check_fini)
    struct qcow2_check check = {
        .q = qcow2_image_of(image),
        .options = options,
        .result = out,
    };
    if (check_init(&check, err) || qcow2_check_walk(&check, err) ||
        qcow2_check_compare(&check, err) || strictly_check(&check, err)) {
        img_error_set_path(err, img_file_path(image->file));
        return -1;
    }
    return 0;
}
