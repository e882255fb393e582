/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata against libvirt's loader and the domain; what all rules share. See
 * chain/metadata_check.h. Room: chain/virt.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "metadata_rules.h"

void rule_begin(struct metadata_rules *r, const char *id)
{
    r->rule = id;
    r->rule_nr = chain_report_len(r->report);
}

void rule_end(struct metadata_rules *r, const char *good)
{
    if (!r->is_failed && chain_report_len(r->report) == r->rule_nr) {
        struct chain_check *check = chain_report_add(r->report, r->rule);

        chain_check_say(r->report, check, CHAIN_CHECK_PASS, "%s", good);
    }
}

struct chain_check *rule_say(struct metadata_rules *r,
                             const struct chain_moment *moment,
                             const char *disk, enum chain_check_result result,
                             const char *fmt, ...)
{
    struct chain_check *check = chain_report_add(r->report, r->rule);
    va_list args;

    check->result = result;
    va_start(args, fmt);
    chain_check_text(r->report, &check->message, fmt, args);
    va_end(args);
    if (moment && moment->name) {
        chain_check_moment(r->report, check, moment->name);
    }
    if (disk) {
        chain_check_disk(r->report, check, disk);
    }
    return check;
}

void rule_found(struct metadata_rules *r, struct chain_check *check,
                const char *text)
{
    char shown[CHAIN_SHOWN_LEN];

    chain_check_found(r->report, check, "%s", chain_shown(text, shown));
}

void rule_expected(struct metadata_rules *r, struct chain_check *check,
                   const char *text)
{
    char shown[CHAIN_SHOWN_LEN];

    chain_check_expected(r->report, check, "%s", chain_shown(text, shown));
}

const struct chain_moment_disk *rule_disk(const struct chain_moment_disk *disks,
                                          size_t nr, const char *name)
{
    for (size_t i = 0; name && i < nr; i++) {
        if (disks[i].name && strcmp(disks[i].name, name) == 0) {
            return &disks[i];
        }
    }
    return NULL;
}

const struct chain_virt_disk *rule_domain_disk(const struct metadata_rules *r,
                                               const char *name)
{
    const struct chain_virt_domain *domain = r->request->domain;

    for (size_t i = 0; name && i < domain->disks_nr; i++) {
        if (domain->disks[i].target &&
            strcmp(domain->disks[i].target, name) == 0) {
            return &domain->disks[i];
        }
    }
    return NULL;
}

/* ---- libvirt reads its folder when its daemon starts. */

/* A command that gives the document the name that it needs. */
static char *rename_command(const struct chain_metadata *metadata,
                            const struct chain_moment *moment)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    char *to = img_text(&ignored, "%s/%s.xml", metadata->folder, moment->name);
    IMG_AUTO(img_free_ptr)
    char *from = chain_shell_quote_path(moment->file, &ignored);
    IMG_AUTO(img_free_ptr)
    char *quoted = to ? chain_shell_quote_path(to, &ignored) : NULL;

    return from && quoted ? img_text(&ignored, "mv -n -- %s %s", from, quoted)
                          : NULL;
}

static void judge_file_name(struct metadata_rules *r,
                            const struct chain_metadata *metadata,
                            const struct chain_moment *moment)
{
    const char *slash = strrchr(moment->file, '/');
    const char *file = slash ? slash + 1 : moment->file;
    size_t len = moment->name ? strlen(moment->name) : 0;
    struct chain_check *check;

    if (!moment->name || strchr(moment->name, '/') ||
        (strncmp(file, moment->name, len) == 0 &&
         strcmp(file + len, ".xml") == 0)) {
        return;
    }
    check = rule_say(r, moment, NULL, CHAIN_CHECK_FAIL,
                     "libvirt loads the file whatever it is called, and "
                     "deletes another: the record comes back when its daemon "
                     "starts");
    chain_check_image(r->report, check, moment->file);
    rule_found(r, check, file);
    IMG_AUTO(img_free_ptr)
    char *name = img_text(r->err, "%s.xml", moment->name);
    if (name) {
        rule_expected(r, check, name);
    }
    chain_check_remedy(check, rename_command(metadata, moment));
}

static void rule_file_name(struct metadata_rules *r,
                           const struct chain_metadata *metadata)
{
    rule_begin(r, "metadata-filename");
    for (size_t i = 0; i < metadata->nr; i++) {
        judge_file_name(r, metadata, &metadata->moments[i]);
    }
    rule_end(r, "each document is called as what it describes");
}

static void rule_active(struct metadata_rules *r,
                        const struct chain_metadata *metadata)
{
    rule_begin(r, "metadata-active");
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];
        struct chain_check *check;

        if (moment->snapshot->has_active) {
            continue;
        }
        check = rule_say(r, moment, NULL, CHAIN_CHECK_FAIL,
                         "libvirt passes over the file: it has no <active>");
        chain_check_image(r->report, check, moment->file);
        chain_check_expected(r->report, check,
                             "<active>0</active>, or 1 for the current one");
    }
    rule_end(r, "each document says whether it is the current one");
}

static void rule_unread(struct metadata_rules *r,
                        const struct chain_metadata *metadata)
{
    rule_begin(r, "metadata-read");
    for (size_t i = 0; i < metadata->unread_nr; i++) {
        const struct chain_metadata_unread *unread = &metadata->unread[i];
        struct chain_check *check;

        check = rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL, "%s", unread->why);
        chain_check_image(r->report, check, unread->file);
    }
    rule_end(r, "each file is such a document");
}

static void rule_current(struct metadata_rules *r,
                         const struct chain_metadata *metadata)
{
    rule_begin(r, "metadata-current");
    for (size_t i = 0; metadata->current_nr > 1 && i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];

        if (moment->is_current) {
            struct chain_check *check = rule_say(
                r, moment, NULL, CHAIN_CHECK_FAIL,
                "%zu claim to be the current one, and libvirt takes any",
                metadata->current_nr);

            chain_check_expected(r->report, check, "one at most");
            if (moment->file) {
                chain_check_image(r->report, check, moment->file);
            }
        }
    }
    rule_end(r, "one at most is the current one");
}

/* Does libvirt's loader take the document, as far as it can be told? */
static bool is_loaded(const struct chain_moment *moment)
{
    const struct chain_virt_snapshot *snapshot = moment->snapshot;

    return moment->name && !moment->is_double && snapshot->has_active &&
           snapshot->has_creation_time && snapshot->state &&
           snapshot->refusals.nr == 0 &&
           (!snapshot->domain || snapshot->domain->refusals.nr == 0);
}

/* Why libvirt does not find its parent; NULL: it does. */
static const char *lost_parent(const struct chain_metadata *metadata,
                               const struct chain_moment *moment)
{
    if (moment->is_looped) {
        return "is below its own child";
    }
    if (moment->is_parent_missing) {
        return "is not there";
    }
    return moment->parent != CHAIN_METADATA_NONE &&
                   !is_loaded(&metadata->moments[moment->parent])
               ? "is passed over"
               : NULL;
}

/* Relations that do not hold cost libvirt its pointer to the current one. */
static void rule_current_kept(struct metadata_rules *r,
                              const struct chain_metadata *metadata)
{
    const struct chain_moment *current = NULL;

    rule_begin(r, "metadata-current-kept");
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];

        current = moment->is_current && is_loaded(moment) ? moment : current;
    }
    for (size_t i = 0; current && i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];
        const char *why =
            is_loaded(moment) ? lost_parent(metadata, moment) : NULL;
        struct chain_check *check;
        char shown[CHAIN_SHOWN_LEN];

        if (!why) {
            continue;
        }
        check = rule_say(r, current, NULL, CHAIN_CHECK_FAIL,
                         "libvirt forgets that it is the current one when its "
                         "daemon starts, since a parent %s",
                         why);
        chain_check_found(r->report, check, "the parent of \"%s\"",
                          chain_shown(moment->name, shown));
        break;
    }
    rule_end(r, "libvirt keeps what is the current one");
}

static void rule_double(struct metadata_rules *r,
                        const struct chain_metadata *metadata)
{
    rule_begin(r, "metadata-double");
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];

        if (moment->is_double) {
            struct chain_check *check =
                rule_say(r, moment, NULL, CHAIN_CHECK_FAIL,
                         "two documents have its name: libvirt passes over "
                         "one of them");

            if (moment->file) {
                chain_check_image(r->report, check, moment->file);
            }
        }
    }
    rule_end(r, "no name stands twice");
}

void metadata_rules_loader(struct metadata_rules *r,
                           const struct chain_metadata *metadata)
{
    bool is_snapshot = metadata->kind == CHAIN_SNAPSHOT;

    rule_unread(r, metadata);
    rule_double(r, metadata);
    if (metadata->folder) {
        rule_file_name(r, metadata);
    }
    if (metadata->folder && is_snapshot) {
        rule_active(r, metadata);
        rule_current_kept(r, metadata);
    }
    if (is_snapshot) {
        rule_current(r, metadata);
    }
}

/* ---- Against the domain. */

static void rule_domain(struct metadata_rules *r)
{
    const struct chain_virt_domain *domain = r->request->domain;
    const struct chain_virt_refusals *refusals = &domain->refusals;

    rule_begin(r, "domain-xml");
    for (size_t i = 0; i < refusals->nr; i++) {
        const struct chain_virt_refusal *one = &refusals->list[i];
        struct chain_check *check =
            rule_say(r, NULL, NULL, CHAIN_CHECK_FAIL,
                     "libvirt refuses it (%s): %s", one->id, one->text);

        if (domain->file) {
            chain_check_image(r->report, check, domain->file);
        }
        if (one->line > 0) {
            chain_check_found(r->report, check, "line %u", one->line);
        }
    }
    rule_end(r, "libvirt reads the domain's XML");
}

static const struct chain_virt_domain *
domain_of(const struct chain_moment *moment)
{
    return moment->snapshot ? moment->snapshot->domain
                            : moment->checkpoint->domain;
}

static void rule_domain_name(struct metadata_rules *r,
                             const struct chain_metadata *metadata)
{
    const char *name = r->request->domain->name;

    rule_begin(r, "metadata-domain-name");
    for (size_t i = 0; name && i < metadata->nr; i++) {
        const struct chain_virt_domain *domain =
            domain_of(&metadata->moments[i]);

        if (domain && domain->name && strcmp(domain->name, name) != 0) {
            struct chain_check *check = rule_say(
                r, &metadata->moments[i], NULL, CHAIN_CHECK_WARN,
                "the domain had another name: libvirt does not replace the "
                "record, and does not revert a running domain to it");

            rule_found(r, check, domain->name);
            rule_expected(r, check, name);
        }
    }
    rule_end(r, "the domain had its name all along");
}

/* ---- The whole. */

int metadata_rules_init(struct metadata_rules *r,
                        const struct chain_metadata_request *request,
                        struct img_error *err)
{
    memset(r, 0, sizeof(*r));
    r->request = request;
    r->options = *request->options;
    r->options.force_share |= request->domain->is_active;
    r->images.options = &r->options;
    r->err = err;
    r->report = chain_report_new(err);
    return r->report ? 0 : -1;
}

int metadata_rules_fini(struct metadata_rules *r, struct chain_report **out)
{
    if (!r->is_failed && r->report->is_out_of_memory) {
        r->is_failed = true;
        img_fail_memory(r->err);
    }
    virt_images_fini(&r->images);
    if (r->is_failed) {
        chain_report_free(r->report);
        return -1;
    }
    *out = r->report;
    return 0;
}

static void judge_documents(struct metadata_rules *r,
                            const struct chain_metadata *metadata)
{
    if (metadata) {
        metadata_rules_loader(r, metadata);
        metadata_rules_redefine(r, metadata);
        rule_domain_name(r, metadata);
    }
}

int chain_metadata_check(const struct chain_metadata_request *request,
                         struct chain_report **out, struct img_error *err)
{
    struct metadata_rules r;

    if (metadata_rules_init(&r, request, err) < 0) {
        return -1;
    }
    rule_domain(&r);
    judge_documents(&r, request->snapshots);
    judge_documents(&r, request->checkpoints);
    metadata_rules_open(&r);
    if (request->snapshots) {
        metadata_rules_chains(&r);
        metadata_rules_inner(&r);
        metadata_rules_memory(&r);
    }
    if (request->checkpoints) {
        metadata_rules_bitmaps(&r);
    }
    return metadata_rules_fini(&r, out);
}
