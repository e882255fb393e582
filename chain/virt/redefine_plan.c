/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps, and what libvirt says to them: see chain/redefine_plan.h. Room:
   chain/virt. */
#include <chain/redefine_plan.h>

#include <stdlib.h>
#include <string.h>

#include <chain/checks.h>
#include <img/memory.h>

void chain_redefine_plan_free(struct chain_redefine_plan *plan)
{
    if (!plan) {
        return;
    }
    chain_bundle_fini(&plan->bundle);
    free(plan->domain_name);
    free(plan->uuid);
    free(plan->steps);
    chain_report_free(plan->report);
    free(plan);
}

static void free_plan(struct chain_redefine_plan **plan)
{
    chain_redefine_plan_free(*plan);
}

static void free_judge(struct chain_redefine **judge)
{
    chain_redefine_free(*judge);
}

/* ---- The documents as they are to be. */

static int check_moment(const struct chain_moment *moment,
                        struct img_error *err)
{
    char shown[256];

    if (!moment->name) {
        img_fail(err, IMG_USAGE, "has no name");
    } else if (moment->is_double) {
        img_escape(moment->name, strlen(moment->name), shown, sizeof(shown));
        img_fail(err, IMG_USAGE, "is the second document of the name %s",
                 shown);
    } else {
        return 0;
    }
    img_error_set_path(err, moment->file ? moment->file : "");
    return -1;
}

static int rewrite_moment(const struct chain_redefine_wish *wish,
                          const struct chain_moment *moment,
                          struct chain_metadata *to, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    const char *called = moment->file ? moment->file : moment->name;

    return check_moment(moment, err) < 0 ||
                   chain_rewrite(moment->text, moment->len, called,
                                 wish->rewrite, &text, NULL, err) < 0
               ? -1
               : chain_metadata_add(to, called, moment->file, text,
                                    strlen(text), err);
}

static const char *current_of(const struct chain_metadata *metadata)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        if (metadata->moments[i].is_current) {
            return metadata->moments[i].name;
        }
    }
    return "";
}

static int rewrite_all(const struct chain_redefine_wish *wish,
                       const struct chain_metadata *from,
                       struct chain_metadata **out, struct img_error *err)
{
    const char *current = from->kind == CHAIN_SNAPSHOT && wish->current
                              ? wish->current
                              : current_of(from);

    if (chain_metadata_new(from->kind, out, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < from->nr; i++) {
        if (rewrite_moment(wish, &from->moments[from->order[i]], *out, err) <
            0) {
            return -1;
        }
    }
    if (chain_metadata_link(*out, current, err) < 0) {
        return -1;
    }
    return current[0] != '\0' && (*out)->current_nr == 0
               ? img_fail(err, IMG_USAGE,
                          "the snapshot that is to be the current one is not "
                          "among them")
               : 0;
}

static int copy_text(const char *text, char **out, struct img_error *err)
{
    *out = text ? img_strndup(text, strlen(text), err) : NULL;
    return text && !*out ? -1 : 0;
}

/* The first domain that a document tells of. */
static const struct chain_virt_domain *
any_domain(const struct chain_metadata *metadata)
{
    for (size_t i = 0; metadata && i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];
        const struct chain_virt_domain *domain =
            moment->snapshot ? moment->snapshot->domain
                             : moment->checkpoint->domain;

        if (domain) {
            return domain;
        }
    }
    return NULL;
}

static int take_domain(struct chain_redefine_plan *plan,
                       const struct chain_redefine_wish *wish,
                       struct img_error *err)
{
    struct chain_virt_domain *own = NULL;
    const struct chain_virt_domain *domain;
    int rc = 0;

    if (wish->from->domain) {
        const char *text = wish->from->domain;

        if (chain_rewrite(text, strlen(text), "the domain's XML", wish->rewrite,
                          &plan->bundle.domain, NULL, err) < 0 ||
            chain_virt_domain_parse(plan->bundle.domain,
                                    strlen(plan->bundle.domain),
                                    "the domain's XML", &own, err) < 0) {
            return -1;
        }
    }
    domain = own ? own : any_domain(plan->bundle.snapshots);
    domain = domain ? domain : any_domain(plan->bundle.checkpoints);
    if (copy_text(domain ? domain->name : NULL, &plan->domain_name, err) < 0 ||
        copy_text(wish->uuid ? wish->uuid
                  : domain   ? domain->uuid
                             : NULL,
                  &plan->uuid, err) < 0) {
        rc = -1;
    }
    chain_virt_domain_free(own);
    return rc;
}

static int take_bundle(struct chain_redefine_plan *plan,
                       const struct chain_redefine_wish *wish,
                       struct img_error *err)
{
    const struct chain_bundle *from = wish->from;

    if (rewrite_all(wish, from->snapshots, &plan->bundle.snapshots, err) < 0 ||
        (from->checkpoints &&
         rewrite_all(wish, from->checkpoints, &plan->bundle.checkpoints, err) <
             0)) {
        return -1;
    }
    return take_domain(plan, wish, err);
}

/* ---- Their order. */

static void push(struct chain_redefine_plan *plan,
                 const struct chain_moment *moment, bool is_current)
{
    plan->steps[plan->nr++] = (struct chain_redefine_step){
        .moment = moment,
        .is_current = is_current,
    };
}

static bool has_children(const struct chain_metadata *metadata, size_t idx)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        if (metadata->moments[i].parent == idx) {
            return true;
        }
    }
    return false;
}

static void order_snapshots(struct chain_redefine_plan *plan)
{
    const struct chain_metadata *all = plan->bundle.snapshots;
    size_t last = CHAIN_METADATA_NONE;

    for (size_t i = 0; i < all->nr; i++) {
        size_t idx = all->order[i];
        bool is_current = all->moments[idx].is_current;

        if (is_current) {
            last = idx;
        }
        if (!is_current || has_children(all, idx)) {
            push(plan, &all->moments[idx], false);
        }
    }
    if (last != CHAIN_METADATA_NONE) {
        push(plan, &all->moments[last], true);
    }
    plan->snapshots_nr = plan->nr;
}

/* The one that was taken last; NONE: there are none. */
static size_t newest_of(const struct chain_metadata *points)
{
    size_t newest = CHAIN_METADATA_NONE;
    int64_t time = 0;

    for (size_t i = 0; i < points->nr; i++) {
        size_t at = points->order[i];
        int64_t own = points->moments[at].checkpoint->creation_time;

        if (newest == CHAIN_METADATA_NONE || own >= time) {
            newest = at;
            time = own;
        }
    }
    return newest;
}

/* libvirt takes for current the first that it is told of, and then each child
   of the current one: the way to the last one taken is told first. */
static void order_checkpoints(struct chain_redefine_plan *plan)
{
    const struct chain_metadata *all = plan->bundle.checkpoints;
    size_t below = newest_of(all);

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < all->nr; i++) {
            size_t above = all->order[i];

            bool is_on_way = chain_metadata_is_below(all, below, above);

            if (is_on_way == (round == 0)) {
                push(plan, &all->moments[above], false);
            }
        }
    }
}

/* ---- What libvirt says. */

static int judge(struct chain_redefine_plan *plan, enum chain_moment_kind kind,
                 const struct chain_metadata *known,
                 const struct chain_redefine_wish *wish, struct img_error *err)
{
    IMG_AUTO(free_judge) struct chain_redefine *judge = NULL;
    struct chain_report *said;
    size_t first = kind == CHAIN_SNAPSHOT ? 0 : plan->snapshots_nr;
    size_t end = kind == CHAIN_SNAPSHOT ? plan->snapshots_nr : plan->nr;
    bool ignored;

    if (chain_redefine_new(kind, plan->uuid, wish->from_here, &judge, err) <
        0) {
        return -1;
    }
    if (kind == CHAIN_SNAPSHOT && !wish->is_running && wish->checkpoints &&
        wish->checkpoints->nr > 0) {
        chain_redefine_held(judge);
    }
    for (size_t i = 0; known && i < known->nr; i++) {
        if (chain_redefine_know(judge, &known->moments[i], err) < 0) {
            return -1;
        }
    }
    for (size_t i = first; i < end; i++) {
        struct chain_redefine_step *step = &plan->steps[i];

        step->is_replacing =
            known && chain_metadata_find(known, step->moment->name) !=
                         CHAIN_METADATA_NONE;
        if (chain_redefine_judge(judge, step->moment,
                                 step->is_current ? CHAIN_VIRT_CURRENT : 0,
                                 &ignored, err) < 0) {
            return -1;
        }
    }
    said = chain_redefine_take_report(judge, err);
    if (!said) {
        return -1;
    }
    chain_report_append(plan->report, said, NULL);
    return plan->report->is_out_of_memory ? img_fail_memory(err) : 0;
}

int chain_redefine_plan_make(const struct chain_redefine_wish *wish,
                             struct chain_redefine_plan **out,
                             struct img_error *err)
{
    IMG_AUTO(free_plan)
    struct chain_redefine_plan *plan = img_calloc(1, sizeof(*plan), err);
    size_t nr;

    if (!plan || take_bundle(plan, wish, err) < 0) {
        return -1;
    }
    nr = plan->bundle.snapshots->nr + 1 +
         (plan->bundle.checkpoints ? plan->bundle.checkpoints->nr : 0);
    plan->steps = img_calloc(nr, sizeof(*plan->steps), err);
    plan->report = plan->steps ? chain_report_new(err) : NULL;
    if (!plan->report) {
        return -1;
    }
    order_snapshots(plan);
    if (plan->bundle.checkpoints) {
        order_checkpoints(plan);
    }
    if (judge(plan, CHAIN_SNAPSHOT, wish->snapshots, wish, err) < 0 ||
        judge(plan, CHAIN_CHECKPOINT, wish->checkpoints, wish, err) < 0) {
        return -1;
    }
    *out = img_steal(&plan);
    return 0;
}
