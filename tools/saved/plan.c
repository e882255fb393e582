/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is to become of saved images: see saved.h. The new XML is judged as
 * libvirt would, and its disks by what lies on them; then the region in front
 * of the memory is laid out anew, within its length, and written by a
 * transaction over all images.
 */
#include <chain/transaction.h>
#include <img/file.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "saved.h"
#include "session.h"

void saved_plan_fini(struct saved_plan *plan)
{
    for (size_t i = 0; i < plan->moves_nr; i++) {
        free(plan->moves[i].place);
        free(plan->moves[i].from);
        free(plan->moves[i].to);
    }
    free(plan->moves);
    chain_saved_free(plan->saved);
    chain_report_free(plan->report);
    free(plan->real);
    free(plan->xml);
    free(plan->old_region);
    free(plan->new_region);
    memset(plan, 0, sizeof(*plan));
}

/* ---- Reading. */

static int load(struct img_file *file, struct saved_plan *plan,
                struct img_error *err)
{
    struct img_stamp stamp;

    if (img_file_stamp(file, &stamp, err) < 0 ||
        chain_saved_load(file, false, &plan->saved, err) < 0) {
        return -1;
    }
    plan->dev = stamp.dev;
    plan->ino = stamp.ino;
    plan->mtime_ns = stamp.mtime_ns;
    plan->region_len = chain_saved_region_len(&plan->saved->header);
    plan->old_region = img_calloc(1, plan->region_len, err);
    plan->new_region = img_calloc(1, plan->region_len, err);
    return plan->old_region && plan->new_region
               ? img_file_read(file, plan->old_region, plan->region_len, 0, err)
               : -1;
}

int saved_plan_read(const char *path, const struct common_values *common,
                    bool writable, struct saved_plan *out,
                    struct img_error *err)
{
    struct img_open_options options = {
        .lock = IMG_LOCK_NONE, .writable = writable, .roots = common->roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    memset(out, 0, sizeof(*out));
    out->path = path;
    out->report = chain_report_new(err);
    if (!out->report || img_file_open(path, &options, &file, err) < 0) {
        return -1;
    }
    out->real = realpath(path, NULL);
    if (!out->real || load(file, out, err) < 0) {
        if (!out->real) {
            (void)img_fail_memory(err);
        }
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

/* ---- The new text. */

static char *copy_of(struct saved_plan *plan, const char *text)
{
    char *copy = img_strndup(text, strlen(text), plan->err);

    plan->is_failed |= !copy;
    return copy;
}

static void on_path(void *opaque, const char *place, const char *old_path,
                    const char *new_path)
{
    struct saved_plan *plan = opaque;
    struct saved_move *move;

    if (!new_path || plan->is_failed) {
        return;
    }
    if (plan->moves_nr == plan->moves_room) {
        size_t room = 2 * plan->moves_room + 8;
        struct saved_move *grown =
            reallocarray(plan->moves, room, sizeof(*grown));

        if (!grown) {
            plan->is_failed = true;
            (void)img_fail_memory(plan->err);
            return;
        }
        plan->moves = grown;
        plan->moves_room = room;
    }
    move = &plan->moves[plan->moves_nr++];
    move->place = copy_of(plan, place);
    move->from = copy_of(plan, old_path);
    move->to = copy_of(plan, new_path);
}

static int make_text(struct saved_plan *plan, const struct saved_wish *wish,
                     struct img_error *err)
{
    const struct chain_saved *saved = plan->saved;
    const char *text = wish->xml ? wish->xml : saved->xml;
    size_t len = wish->xml ? wish->xml_len : saved->xml_len;
    const char *name = wish->xml ? wish->xml_name : plan->path;
    struct chain_rewrite rewrite = {
        .map = wish->map, .seen = on_path, .opaque = plan};

    plan->err = err;
    if (!wish->map) {
        plan->xml = img_strndup(text, len, err);
        return plan->xml ? 0 : -1;
    }
    if (chain_rewrite(text, len, name, &rewrite, &plan->xml, NULL, err) < 0) {
        return -1;
    }
    return plan->is_failed ? -1 : 0;
}

/* ---- What stands against it. */

static void add_difference(struct saved_plan *plan,
                           const struct chain_abi_difference *difference)
{
    bool breaks = difference->kind == CHAIN_ABI_BREAKS;
    struct chain_check *check =
        chain_report_add(plan->report, breaks ? "abi-stable" : "guest-visible");

    chain_check_say(plan->report, check, CHAIN_CHECK_FAIL, "%s%s",
                    difference->text,
                    breaks ? ""
                           : ": libvirt lets it through, but the guest sees "
                             "it");
    chain_check_image(plan->report, check, plan->path);
    if (difference->line > 0) {
        chain_check_found(plan->report, check, "line %u of the new XML",
                          difference->line);
    }
}

static int judge_abi(struct saved_plan *plan, const char *name,
                     struct img_error *err)
{
    const struct chain_saved *saved = plan->saved;
    struct chain_abi abi;

    if (chain_abi_compare(saved->xml, saved->xml_len, plan->path, plan->xml,
                          strlen(plan->xml), name, &abi, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < abi.nr; i++) {
        add_difference(plan, &abi.list[i]);
    }
    if (abi.left_off_nr > 0) {
        chain_check_say(
            plan->report, chain_report_add(plan->report, "abi-stable"),
            CHAIN_CHECK_FAIL, "and %zu differences more", abi.left_off_nr);
    }
    chain_abi_fini(&abi);
    return 0;
}

static int judge_disks(struct saved_plan *plan,
                       const struct chain_virt_domain *before,
                       const struct chain_virt_domain *next,
                       const struct common_values *common,
                       struct img_error *err)
{
    struct chain_options options;
    const struct chain_saved_disks disks = {
        .before = before,
        .next = next,
        .mtime_ns = plan->mtime_ns,
        .options = &options,
    };

    session_chain_options(common, &options);
    options.format = NULL;
    return chain_saved_check_disks(&disks, plan->report, err);
}

static int judge_domains(struct saved_plan *plan, const char *name,
                         const struct common_values *common,
                         struct img_error *err)
{
    const struct chain_saved *saved = plan->saved;
    struct chain_virt_domain *before = NULL, *next = NULL;
    int rc = chain_virt_domain_parse(saved->xml, saved->xml_len, plan->path,
                                     &before, err);

    if (rc == 0) {
        rc = chain_virt_domain_parse(plan->xml, strlen(plan->xml), name, &next,
                                     err);
    }
    if (rc == 0) {
        chain_saved_check_refusals(next, plan->report);
        rc = chain_saved_check_emulator(saved->xml, plan->xml, name,
                                        plan->report, err);
    }
    if (rc == 0) {
        rc = judge_disks(plan, before, next, common, err);
    }
    chain_virt_domain_free(before);
    chain_virt_domain_free(next);
    return rc;
}

/* What a user may take upon himself: all but what libvirt refuses. */
static bool is_forcible(const struct chain_check *check)
{
    return strcmp(check->id, "abi-stable") != 0 &&
           strcmp(check->id, "saved-xml") != 0;
}

static void force(struct chain_report *report)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        struct chain_check *check = report->checks[i];

        if ((check->result == CHAIN_CHECK_FAIL ||
             check->result == CHAIN_CHECK_UNPROVEN) &&
            is_forcible(check)) {
            check->result = CHAIN_CHECK_WARN;
        }
    }
}

bool saved_plan_is_accepted(const struct saved_plan *plan)
{
    return chain_report_judgement(plan->report) == CHAIN_ACCEPTED;
}

static int judge(struct saved_plan *plan, const struct saved_wish *wish,
                 const struct common_values *common, struct img_error *err)
{
    const char *name = wish->xml ? wish->xml_name : plan->path;

    if (judge_abi(plan, name, err) < 0 ||
        judge_domains(plan, name, common, err) < 0) {
        return -1;
    }
    if (plan->report->is_out_of_memory) {
        return img_fail_memory(err);
    }
    if (wish->force) {
        force(plan->report);
    }
    return 0;
}

int saved_plan_make(struct saved_plan *plan, const struct saved_wish *wish,
                    const struct common_values *common, struct img_error *err)
{
    struct chain_saved_header header = plan->saved->header;
    bool is_new;

    header.was_running = wish->running  ? 1
                         : wish->paused ? 0
                                        : header.was_running;
    plan->was_running = header.was_running != 0;
    if (make_text(plan, wish, err) < 0) {
        return -1;
    }
    is_new = strcmp(plan->xml, plan->saved->xml) != 0;
    plan->is_changed =
        is_new || header.was_running != plan->saved->header.was_running;
    if (is_new && judge(plan, wish, common, err) < 0) {
        return -1;
    }
    if (chain_saved_encode(&header, plan->xml, plan->saved->cookie,
                           plan->new_region, plan->region_len, err) < 0) {
        img_error_set_path(err, plan->path);
        return -1;
    }
    return 0;
}

/* ---- Writing. */

static int add_change(struct chain_transaction *transaction,
                      const struct saved_plan *plan, struct img_error *err)
{
    const struct chain_change change = {
        .kind = CHAIN_CHANGE_PATCH,
        .path = plan->real,
        .dev = plan->dev,
        .ino = plan->ino,
        .old_len = plan->saved->file_len,
        .mtime_ns = plan->mtime_ns,
        .data = plan->new_region,
        .old_data = plan->old_region,
        .len = plan->region_len,
    };

    return chain_transaction_add(transaction, &change, NULL, err);
}

static int write_changed(struct chain_transaction *transaction,
                         const struct saved_plan *plans, size_t nr,
                         struct img_error *err)
{
    size_t changed_nr = 0;

    for (size_t i = 0; i < nr; i++) {
        if (!plans[i].is_changed) {
            continue;
        }
        changed_nr++;
        if (add_change(transaction, &plans[i], err) < 0) {
            return -1;
        }
    }
    if (changed_nr == 0) {
        return 0;
    }
    return chain_transaction_begin(transaction, NULL, NULL, err) < 0
               ? -1
               : chain_transaction_commit(transaction, err);
}

int saved_plan_write(const struct saved_plan *plans, size_t nr,
                     struct img_error *err)
{
    struct chain_transaction *transaction = NULL;
    int rc = chain_transaction_new(&transaction, err);

    if (rc == 0) {
        rc = write_changed(transaction, plans, nr, err);
    }
    chain_transaction_free(transaction, rc < 0 ? err : NULL);
    return rc;
}
