/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stored refcounts against counted references, block by block.
 *
 * Room: qcow2/image. Mismatches are collected, up to a bound; then the walk
 * runs again to name who owns those clusters, and they are reported.
 * Specification: "Host cluster management".
 */
#include "check_state.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/refcount.h>

/* Mismatches whose owners are looked for; more are reported without. */
#define MAX_SUSPECTS 65536u

static void suspect_tell(struct qcow2_check *check,
                         const struct qcow2_suspect *suspect)
{
    uint64_t off = suspect->cluster << check->q->header.cluster_bits;
    bool is_leak = suspect->stored > suspect->references;
    bool is_owned = suspect->owner.kind != QCOW2_OWNER_NONE;
    char owner[QCOW2_OWNER_TEXT_LEN];
    const struct qcow2_finding finding = {
        .kind = is_leak ? QCOW2_PROBLEM_LEAK : QCOW2_PROBLEM_CORRUPTION,
        .id = is_leak ? "leak" : "refcount-too-small",
        .times = 1,
        .off = off,
        .owner = suspect->owner,
    };

    qcow2_owner_text(&suspect->owner, owner);
    qcow2_check_tell(
        check, &finding,
        "cluster at %llu: found refcount %llu, expected %llu%s%s%s",
        (unsigned long long)off, (unsigned long long)suspect->stored,
        (unsigned long long)suspect->references, is_owned ? " (" : "",
        is_owned ? owner : "", is_owned ? ")" : "");
}

/* Name the owners of what was collected and report it. */
static int suspects_flush(struct qcow2_check *check, struct img_error *err)
{
    struct qcow2_suspects *suspects = &check->suspects;
    bool has_owner = false;

    for (size_t i = 0; i < suspects->nr; i++) {
        has_owner = has_owner || suspects->at[i].references > 0;
    }
    if (has_owner && check->options->problem) {
        qcow2_blocks_fini(&check->blocks); /* the walk reads ahead itself */
        check->is_naming = true;
        int ret = qcow2_check_walk(check, err);
        check->is_naming = false;
        if (ret) {
            return -1;
        }
    }
    for (size_t i = 0; i < suspects->nr; i++) {
        suspect_tell(check, &suspects->at[i]);
    }
    suspects->nr = 0;
    return 0;
}

static int suspect_found(struct qcow2_check *check, uint64_t cluster,
                         uint64_t stored, uint64_t references,
                         struct img_error *err)
{
    struct qcow2_suspects *suspects = &check->suspects;
    struct qcow2_suspect suspect = {
        .cluster = cluster,
        .stored = stored,
        .references = references,
    };

    if (suspects->room == MAX_SUSPECTS && suspects->nr == 0) {
        suspect_tell(check, &suspect); /* the bound was reached before */
        return 0;
    }
    if (suspects->nr == suspects->room) {
        size_t want = suspects->room ? suspects->room * 4 : 64;
        void *at = realloc(suspects->at, want * sizeof(*suspects->at));

        if (!at) {
            return img_fail_memory(err);
        }
        suspects->at = at;
        suspects->room = want;
    }
    suspects->at[suspects->nr++] = suspect;
    return suspects->nr == MAX_SUSPECTS ? suspects_flush(check, err) : 0;
}

/*
 * NR clusters from FIRST on, within one chunk. Their refcounts stand in the
 * loaded block; where HAS_BLOCK is false they are all 0.
 */
static int run_compare(struct qcow2_check *check, uint64_t first, uint64_t nr,
                       bool has_block, uint64_t *highest, struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    const uint8_t *block = check->stored.bytes;
    uint64_t base = first & (check->stored.entries - 1u);

    for (uint64_t i = 0; i < nr; i++) {
        i += has_block
                 ? qcow2_run_equal(check, block, first + i, nr - i, highest)
                 : 0;
        if (i == nr) {
            break;
        }

        uint64_t references = qcow2_counts_get(&check->counts, first + i);
        uint64_t stored =
            has_block ? qcow2_refcount_get(header, block, base + i) : 0;

        if (stored != 0 || references != 0) {
            *highest = first + i;
        }
        if (stored != references &&
            suspect_found(check, first + i, stored, references, err)) {
            return -1;
        }
    }
    return 0;
}

/*
 * The block that counts the clusters from FIRST on, as qcow2_stored_load has
 * it; *is_equal where it is known to say what was counted, and not loaded.
 */
static int block_load(struct qcow2_check *check, uint64_t first,
                      bool *has_block, bool *is_broken, bool *is_equal,
                      uint64_t *highest, struct img_error *err)
{
    struct qcow2_block_seen seen = {0};
    const uint8_t *bytes = NULL;

    *is_equal = *is_broken = false;
    *has_block = true;
    if (qcow2_blocks_get(&check->blocks, first >> check->stored.entries_bits,
                         &bytes, &seen, err)) {
        return -1;
    }
    if (!bytes) {
        return qcow2_stored_load(&check->stored, first, has_block, is_broken,
                                 err);
    }
    *is_equal = seen.is_equal;
    if (seen.is_equal) {
        *highest = img_max(*highest, seen.highest);
    } else {
        memcpy(check->stored.bytes, bytes, check->q->header.cluster_len);
    }
    return 0;
}

/* Clusters from FIRST on that one refcount block, or none, counts. */
static int block_compare(struct qcow2_check *check, uint64_t first, uint64_t nr,
                         uint64_t *highest, struct img_error *err)
{
    bool has_block, is_broken, is_equal;

    if (qcow2_check_is_wanted(check, err) ||
        block_load(check, first, &has_block, &is_broken, &is_equal, highest,
                   err)) {
        return -1;
    }
    if (is_equal) {
        return 0;
    }
    if (is_broken) {
        const struct qcow2_finding finding = {
            .kind = QCOW2_PROBLEM_ERROR,
            .id = "refcounts-unknown",
            .times = nr,
            .off = first << check->q->header.cluster_bits,
            .owner = {QCOW2_OWNER_REFTABLE, 0},
        };

        qcow2_check_tell(check, &finding,
                         "refcounts of %llu clusters cannot be found: "
                         "refcount table entry %llu is broken",
                         (unsigned long long)nr,
                         (unsigned long long)(first / check->stored.entries));
        return 0;
    }
    for (uint64_t done = 0; done < nr;) {
        uint64_t some =
            img_min(nr - done,
                    QCOW2_COUNTS_CHUNK - (first + done) % QCOW2_COUNTS_CHUNK);

        if ((has_block ||
             !qcow2_counts_is_empty(&check->counts, first + done)) &&
            run_compare(check, first + done, some, has_block, highest, err)) {
            return -1;
        }
        done += some;
    }
    return 0;
}

int qcow2_check_compare(struct qcow2_check *check, struct img_error *err)
{
    uint64_t entries = check->stored.entries;
    uint64_t highest = 0;

    qcow2_blocks_init(&check->blocks, check);
    for (uint64_t first = 0; first < check->clusters_nr;) {
        uint64_t nr =
            img_min(entries - first % entries, check->clusters_nr - first);

        if (block_compare(check, first, nr, &highest, err)) {
            return -1;
        }
        first += nr;
    }
    check->result->image_end_off = (highest + 1)
                                   << check->q->header.cluster_bits;
    return suspects_flush(check, err);
}
