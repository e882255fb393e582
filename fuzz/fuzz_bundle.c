/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bundles of metadata export: what is taken keeps the limits, is written again
 * and reads the same; and a plan can be made of it, whatever its documents say.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/forget.h>
#include <chain/redefine_plan.h>

#include "fuzz.h"

static struct img_error err;

static void require_same(const struct chain_metadata *a,
                         const struct chain_metadata *b)
{
    fuzz_require(!a == !b);
    if (!a) {
        return;
    }
    fuzz_require(a->nr == b->nr && a->nr <= CHAIN_METADATA_MAX);
    fuzz_require(a->current_nr == b->current_nr && a->current_nr <= 1);
    for (size_t i = 0; i < a->nr; i++) {
        const struct chain_moment *one = &a->moments[a->order[i]];
        const struct chain_moment *other = &b->moments[b->order[i]];

        fuzz_require(one->name && !one->is_double);
        fuzz_require(strcmp(one->name, other->name) == 0);
        fuzz_require(strcmp(one->text, other->text) == 0);
        fuzz_require(one->is_current == other->is_current);
    }
}

/* Written, and read again. */
static void write_again(const struct chain_bundle *bundle)
{
    struct chain_bundle again = {.domain = NULL};
    char *text;
    size_t len;

    fuzz_require(chain_bundle_encode(bundle, &text, &len, &err) == 0);
    fuzz_require(chain_bundle_decode(text, len, "again", &again, &err) == 0);
    require_same(bundle->snapshots, again.snapshots);
    require_same(bundle->checkpoints, again.checkpoints);
    chain_bundle_fini(&again);
    free(text);
}

static void plan(const struct chain_bundle *bundle)
{
    const struct chain_rewrite rewrite = {
        .uuid = "11111111-2222-3333-4444-555555555555",
        .name = "other",
    };
    const struct chain_redefine_wish wish = {
        .from = bundle,
        .rewrite = &rewrite,
    };
    struct chain_redefine_plan *made;
    size_t all = bundle->snapshots->nr +
                 (bundle->checkpoints ? bundle->checkpoints->nr : 0);

    if (chain_redefine_plan_make(&wish, &made, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(made->nr == all || made->nr == all + 1);
    chain_redefine_plan_free(made);
}

static void forget(const struct chain_metadata *metadata)
{
    for (size_t i = 0; i < metadata->nr && i < 4; i++) {
        struct chain_forget *list;
        size_t nr;

        if (chain_forget_plan(metadata, i, CHAIN_DELETE_ONE, &list, &nr, &err) <
            0) {
            fuzz_require_error(&err);
            continue;
        }
        fuzz_require(nr >= 1 && nr <= metadata->nr);
        chain_forget_free(list, nr);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chain_bundle bundle = {.domain = NULL};

    if (chain_bundle_decode((const char *)data, size, "input", &bundle, &err) <
        0) {
        fuzz_require_error(&err);
        return 0;
    }
    write_again(&bundle);
    plan(&bundle);
    forget(bundle.snapshots);
    chain_bundle_fini(&bundle);
    return 0;
}
