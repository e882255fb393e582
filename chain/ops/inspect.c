/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging a stranger's image: the driver. See chain/inspect.h.
 *
 * The table below is the order of docs/inspect.md. The rules run once for
 * each file; a check shows the worst of what they found, and names the file.
 * The checks about references are made out of the list of their kinds.
 */
#include "inspect_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "profile.h"

/* What a rule needs of the file. */
enum need {
    NEED_NOTHING,
    NEED_FILE,
    NEED_FORMAT, /* contents are what they are said to be */
    NEED_IMAGE,
    NEED_QCOW2,
};

enum {
    POLICY_SELF = 1u << CHAIN_INSPECT_SELF_CONTAINED,
    POLICY_CHAIN = 1u << CHAIN_INSPECT_CHAIN,
    POLICY_ALL = POLICY_SELF | POLICY_CHAIN,
};

#define REFERENCE_ROW(kind, word, text)                                        \
    [INSPECT_REFERENCE + (kind)] = {"reference-" word, POLICY_ALL, NEED_IMAGE, \
                                    false, inspect_reference},

static const struct rule {
    const char *id;
    unsigned policies;
    enum need need;
    bool is_top_only; /* not for the layers below */
    void (*judge)(struct inspect *in);
} rules[INSPECT_RULES_NR] = {
    [INSPECT_FILE_KIND] = {"file-kind", POLICY_ALL, NEED_NOTHING, false,
                           inspect_file_kind},
    [INSPECT_FILE_UNUSED] = {"file-unused", POLICY_ALL, NEED_FILE, false,
                             inspect_file_unused},
    [INSPECT_FORMAT_DECLARED] = {"format-declared", POLICY_ALL, NEED_FILE, true,
                                 inspect_format_declared},
    [INSPECT_FORMAT_MATCH] = {"format-match", POLICY_ALL, NEED_FILE, false,
                              inspect_format_match},
    [INSPECT_FORMAT_SINGLE] = {"format-single", POLICY_ALL, NEED_FILE, false,
                               inspect_format_single},
    [INSPECT_FORMAT_ALLOWED] = {"format-allowed", POLICY_ALL, NEED_FILE, false,
                                inspect_format_allowed},
    [INSPECT_FEATURES_KNOWN] = {"features-known", POLICY_ALL, NEED_FORMAT,
                                false, inspect_features_known},
    [INSPECT_HEADER_VALID] = {"header-valid", POLICY_ALL, NEED_FORMAT, false,
                              inspect_header_valid},
    IMG_REFERENCE_KINDS(
        REFERENCE_ROW)[INSPECT_CHAIN_FORMATS] = {"chain-formats", POLICY_CHAIN,
                                                 NEED_IMAGE, false,
                                                 inspect_chain_formats},
    [INSPECT_CHAIN_CONFINED] = {"chain-confined", POLICY_CHAIN, NEED_IMAGE,
                                true, inspect_chain_confined},
    [INSPECT_CHAIN_WHOLE] = {"chain-whole", POLICY_CHAIN, NEED_IMAGE, true,
                             inspect_chain_whole},
    [INSPECT_LAYOUT_STRICT] = {"layout-strict", POLICY_ALL, NEED_IMAGE, false,
                               inspect_layout_strict},
    [INSPECT_FILE_COMPLETE] = {"file-complete", POLICY_ALL, NEED_IMAGE, false,
                               inspect_file_complete},
    [INSPECT_TABLES_VALID] = {"tables-valid", POLICY_ALL, NEED_QCOW2, false,
                              inspect_tables_valid},
    [INSPECT_AMPLIFICATION] = {"amplification", POLICY_ALL, NEED_QCOW2, false,
                               inspect_amplification},
    [INSPECT_STATE_CLEAN] = {"state-clean", POLICY_ALL, NEED_IMAGE, false,
                             inspect_state_clean},
    [INSPECT_ENCRYPTION] = {"encryption", POLICY_ALL, NEED_IMAGE, false,
                            inspect_encryption},
    [INSPECT_INTERNAL_STATE] = {"internal-state", POLICY_ALL, NEED_QCOW2, false,
                                inspect_internal_state},
    [INSPECT_EXTENSIONS_KNOWN] = {"extensions-known", POLICY_ALL, NEED_QCOW2,
                                  false, inspect_extensions_known},
    [INSPECT_VIRTUAL_SIZE] = {"virtual-size", POLICY_ALL, NEED_IMAGE, false,
                              inspect_virtual_size},
    [INSPECT_ACTUAL_SIZE] = {"actual-size", POLICY_ALL, NEED_FILE, false,
                             inspect_actual_size},
    [INSPECT_SIZE_RATIO] = {"size-ratio", POLICY_ALL, NEED_IMAGE, false,
                            inspect_size_ratio},
    [INSPECT_PARTITIONS] = {"partition-table", POLICY_ALL, NEED_IMAGE, true,
                            inspect_partitions},
    [INSPECT_GUEST_HEADER] = {"guest-header", POLICY_ALL, NEED_QCOW2, true,
                              inspect_guest_header},
    [INSPECT_PROFILES] = {"profiles", POLICY_ALL, NEED_IMAGE, false,
                          inspect_profiles},
    [INSPECT_FILE_STABLE] = {"file-stable", POLICY_ALL, NEED_FILE, false,
                             inspect_file_stable},
};

void inspect_say(struct inspect *in, enum chain_check_result result,
                 const char *fmt, ...)
{
    va_list args;

    in->check.result = result;
    va_start(args, fmt);
    chain_check_text(in->report, &in->check.message, fmt, args);
    va_end(args);
}

void inspect_found(struct inspect *in, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    chain_check_text(in->report, &in->check.found, fmt, args);
    va_end(args);
}

void inspect_expected(struct inspect *in, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    chain_check_text(in->report, &in->check.expected, fmt, args);
    va_end(args);
}

void inspect_remedy(struct inspect *in, char *remedy)
{
    chain_check_remedy(&in->check, remedy);
}

bool inspect_is_unkept(const struct img_error *err)
{
    return err->code == IMG_IO && err->sys_errno == ESPIPE;
}

void inspect_say_error(struct inspect *in, enum chain_check_result result,
                       const struct img_error *err)
{
    if (inspect_is_unkept(err)) {
        inspect_say(in, CHAIN_CHECK_SKIP,
                    "not judged: of a stream only the first %u MiB and the "
                    "last %u KiB are kept, and offset %llu is needed",
                    IMG_STREAM_HEAD_LEN >> 20, IMG_STREAM_TAIL_LEN >> 10,
                    (unsigned long long)err->off);
        return;
    }
    bool is_doubt = err->code == IMG_IO || err->code == IMG_MEMORY ||
                    err->code == IMG_LIMIT || err->code == IMG_LOCKED ||
                    err->code == IMG_SYSTEM || err->code == IMG_CANCELLED ||
                    err->sys_errno == ENOSYS;
    chain_check_say_error(in->report, &in->check,
                          is_doubt ? CHAIN_CHECK_UNPROVEN : result, err);
}

/* The higher, the more of a check it takes over. */
static unsigned weight(enum chain_check_result result)
{
    switch (result) {
    case CHAIN_CHECK_FAIL:
        return 4;
    case CHAIN_CHECK_UNPROVEN:
        return 3;
    case CHAIN_CHECK_WARN:
        return 2;
    case CHAIN_CHECK_PASS:
        return 1;
    case CHAIN_CHECK_SKIP:
        break;
    }
    return 0;
}

/* Put what the rule found into the report, if it is the worst so far. */
static void settle(struct inspect *in, enum inspect_id id)
{
    struct chain_check *all = in->checks[id];

    if (!in->check.image) {
        chain_check_image(in->report, &in->check, in->file->path);
    }
    if (in->is_written[id] && weight(in->check.result) <= weight(all->result)) {
        in->more[id] += in->check.result == all->result;
        chain_check_fini(&in->check);
        return;
    }
    const char *name = all->id;
    chain_check_fini(all);
    *all = in->check;
    all->id = name;
    in->check = (struct chain_check){0};
    in->is_written[id] = true;
    in->more[id] = 0;
}

/* Why RULE cannot run on this file; NULL: it can. */
static const char *obstacle(const struct inspect *in, const struct rule *rule)
{
    static const enum inspect_id causes[] = {
        INSPECT_FORMAT_MATCH, INSPECT_FEATURES_KNOWN, INSPECT_HEADER_VALID};

    if (rule->need >= NEED_FILE && !in->file->file) {
        return rules[INSPECT_FILE_KIND].id;
    }
    if (rule->need == NEED_FORMAT &&
        in->here[INSPECT_FORMAT_MATCH] == CHAIN_CHECK_FAIL) {
        return rules[INSPECT_FORMAT_MATCH].id;
    }
    if (rule->need < NEED_IMAGE || in->file->image) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
        if (in->here[causes[i]] == CHAIN_CHECK_FAIL) {
            return rules[causes[i]].id;
        }
    }
    return rules[INSPECT_HEADER_VALID].id;
}

static void run_rule(struct inspect *in, enum inspect_id id)
{
    const struct rule *rule = &rules[id];
    const char *blocker = obstacle(in, rule);

    in->id = id;
    in->check = (struct chain_check){0};
    if (blocker) {
        inspect_say(in, CHAIN_CHECK_SKIP, "not judged, because of %s", blocker);
    } else if (rule->need == NEED_QCOW2 && !in->file->header) {
        inspect_say(in, CHAIN_CHECK_SKIP, "does not apply: no qcow2 image");
    } else {
        rule->judge(in);
    }
    in->here[id] = in->check.result;
    settle(in, id);
}

int inspect_run(struct inspect *in, struct inspect_file *file,
                struct img_error *err)
{
    in->file = file;
    for (unsigned i = 0; i < INSPECT_RULES_NR; i++) {
        if (!in->checks[i] || (rules[i].is_top_only && !file->is_top)) {
            continue;
        }
        run_rule(in, (enum inspect_id)i);
        if (in->report->is_out_of_memory) {
            return img_fail_memory(err);
        }
        if (in->request->cancel && *in->request->cancel) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
    }
    return 0;
}

static void add_checks(struct inspect *in)
{
    for (unsigned i = 0; i < INSPECT_RULES_NR; i++) {
        if (rules[i].policies & (1u << in->request->policy)) {
            in->checks[i] = chain_report_add(in->report, rules[i].id);
        }
    }
}

/* What is asked, as far as it can be wrong before a file is looked at. */
static int check_request(const struct chain_inspect_request *request,
                         struct img_error *err)
{
    char shown[CHAIN_SHOWN_LEN];

    if (request->format && !chain_format_find(request->format)) {
        return img_fail(err, IMG_USAGE, "the format \"%s\" is not known",
                        chain_shown(request->format, shown));
    }
    for (size_t i = 0; request->allowed_formats && request->allowed_formats[i];
         i++) {
        if (!chain_format_find(request->allowed_formats[i])) {
            return img_fail(err, IMG_USAGE, "the format \"%s\" is not known",
                            chain_shown(request->allowed_formats[i], shown));
        }
    }
    for (size_t i = 0; request->profiles && request->profiles[i]; i++) {
        if (!chain_profile_find(request->profiles[i])) {
            return img_fail(err, IMG_USAGE, "the profile \"%s\" is not known",
                            chain_shown(request->profiles[i], shown));
        }
    }
    return 0;
}

static void take_facts(const struct inspect_file *file,
                       struct chain_inspect_facts *out)
{
    *out = (struct chain_inspect_facts){.format = file->format};
    if (!file->file) {
        return;
    }
    out->file_len = img_file_len(file->file);
    out->has_identity = !file->is_stream;
    out->dev = file->stamp.dev;
    out->ino = file->stamp.ino;
    out->mtime_ns = file->stamp.mtime_ns;
    out->has_virtual_len = file->image != NULL;
    out->virtual_len = file->image ? file->image->virtual_len : 0;
}

/* "and N more files": what the report has room for only once. */
static int tell_more(struct inspect *in, struct img_error *err)
{
    for (unsigned i = 0; i < INSPECT_RULES_NR; i++) {
        struct chain_check *check = in->checks[i];

        if (!check || in->more[i] == 0 || !check->message ||
            check->result == CHAIN_CHECK_SKIP) {
            continue;
        }
        char *text = img_text(err, "%s (so %s %u other file%s)", check->message,
                              in->more[i] == 1 ? "does" : "do", in->more[i],
                              in->more[i] == 1 ? "" : "s");
        if (!text) {
            return -1;
        }
        free((void *)(uintptr_t)check->message);
        check->message = text;
    }
    return 0;
}

static int confine(const struct inspect *in, enum chain_stage stage,
                   struct img_error *err)
{
    const struct chain_inspect_request *request = in->request;

    return request->confine
               ? request->confine(request->confine_opaque, stage, err)
               : 0;
}

/* All that is opened: the file, and what is below it. */
static int open_all(struct inspect *in, struct inspect_file *top,
                    struct img_error *err)
{
    if (confine(in, CHAIN_STAGE_OPENING, err) < 0 ||
        inspect_file_open(top, in->request, err) < 0 ||
        (top->file && inspect_file_load(top, err) < 0)) {
        return -1;
    }
    in->file = top;
    if (in->request->policy == CHAIN_INSPECT_CHAIN && top->image &&
        inspect_chain_open(in, err) < 0) {
        return -1;
    }
    return confine(in, CHAIN_STAGE_READING, err);
}

static int inspect_all(struct inspect *in, struct inspect_file *top,
                       struct img_error *err)
{
    if (check_request(in->request, err) < 0) {
        return -1;
    }
    add_checks(in);
    if (open_all(in, top, err) < 0 || inspect_file_survey(top, err) < 0 ||
        inspect_run(in, top, err) < 0) {
        return -1;
    }
    for (size_t i = 1; in->chain && i < chain_depth(in->chain); i++) {
        const struct chain_layer *layer = chain_layer_at(in->chain, i);
        struct inspect_file file = {
            .path = chain_layer_path(layer),
            .file = img_file_ref(chain_layer_file(layer)),
            .declared = chain_layer_format(layer),
            .image = chain_layer_image(layer),
        };
        int rc = inspect_file_load(&file, err) < 0 ||
                         inspect_file_survey(&file, err) < 0 ||
                         inspect_run(in, &file, err) < 0
                     ? -1
                     : 0;

        inspect_file_fini(&file);
        if (rc < 0) {
            return -1;
        }
    }
    return tell_more(in, err);
}

int chain_inspect(const struct chain_inspect_request *request,
                  struct chain_report **out, struct chain_inspect_facts *facts,
                  struct img_error *err)
{
    struct chain_report *report = chain_report_new(err);
    struct inspect *in = img_calloc(1, sizeof(*in), err);
    struct inspect_file *top = img_calloc(1, sizeof(*top), err);
    int rc = -1;

    if (report && in && top) {
        in->request = request;
        in->report = report;
        in->err = err;
        top->is_top = true;
        top->path = request->path;
        top->declared = request->format;
        rc = inspect_all(in, top, err);
        take_facts(top, facts);
        chain_free(in->chain);
        img_roots_free(in->roots);
        inspect_file_fini(top);
    }
    free(in);
    free(top);
    if (rc != 0) {
        chain_report_free(report);
        return -1;
    }
    *out = report;
    return 0;
}
