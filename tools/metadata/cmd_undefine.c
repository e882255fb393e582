/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata undefine-check: what would be lost if the domain were undefined, and
   the commands that save it first. */
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>

#include "../words.h"
#include "judging.h"
#include "session.h"

const struct option_spec metadata_undefine_options[] = {
    METADATA_JUDGING(struct metadata_check_values),
    {0, "managed-save", "FILE", "where libvirt would keep the domain's state",
     option_text, offsetof(struct metadata_check_values, managed_save)},
    {0, "transient", NULL, "the domain has no persistent definition",
     option_flag, offsetof(struct metadata_check_values, is_transient)},
    {0, NULL, NULL, NULL, NULL, 0},
};

/* Does the path of LEN bytes end in the folder KIND/NAME? Then *HEAD_LEN bytes
   stand before that. */
static bool ends_in(const char *path, size_t len, const char *kind,
                    const char *name, size_t *head_len)
{
    size_t tail = strlen(kind) + 1 + strlen(name);

    if (len < tail ||
        strncmp(path + len - strlen(name), name, strlen(name)) != 0) {
        return false;
    }
    *head_len = len - tail;
    return strncmp(path + *head_len, kind, strlen(kind)) == 0 &&
           path[*head_len + strlen(kind)] == '/' &&
           (*head_len == 0 || path[*head_len - 1] == '/');
}

/* libvirt's folders lie side by side: qemu/snapshot/NAME, qemu/save/NAME.save.
 *OUT is NULL where FOLDER is none of them. */
static int save_beside(const char *folder, const char *name, char **out,
                       struct img_error *err)
{
    size_t len = strlen(folder), head_len;

    *out = NULL;
    while (len > 1 && folder[len - 1] == '/') {
        len--;
    }
    if (name && (ends_in(folder, len, "snapshot", name, &head_len) ||
                 ends_in(folder, len, "checkpoint", name, &head_len))) {
        *out = img_text(err, "%.*ssave/%s.save", (int)head_len, folder, name);
        return *out ? 0 : -1;
    }
    return 0;
}

/* ---- The steps. */

static bool is_failed(const struct chain_report *report, const char *id)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        if (check->result == CHAIN_CHECK_FAIL && strcmp(check->id, id) == 0) {
            return true;
        }
    }
    return false;
}

/* What a step is made with. */
struct steps {
    struct words list;
    const struct metadata_check_values *values;
    char **operands;
    int operands_nr;
    const struct chain_undefine_request *request;
    const struct chain_report *report;
    char *name;   /* quoted */
    char *domain; /* the same for virsh: by its uuid, since virsh takes a name
                     of digits for an id */
    char *virsh;  /* with its options */
    struct img_error *err;
};

/* LINE and behind OPTION the word QUOTED; both are freed, and may be NULL (ERR
   is filled in then). */
static char *with_word(char *line, const char *option, char *quoted,
                       struct img_error *err)
{
    char *longer =
        line && quoted ? img_text(err, "%s%s %s", line, option, quoted) : NULL;

    free(line);
    free(quoted);
    return longer;
}

/* Where the metadata is, as it was told to this command. */
static char *source_words(const struct steps *to)
{
    const struct metadata_check_values *values = to->values;
    char *line = img_text(to->err, "imgchain metadata export");

    if (values->source.connect) {
        line = with_word(line, " --connect",
                         chain_shell_quote(values->source.connect, to->err),
                         to->err);
        line = with_word(line, " --security-info --domain",
                         chain_shell_quote(values->source.domain, to->err),
                         to->err);
        return line;
    }
    line = with_word(line, " --domain",
                     chain_shell_quote_path(values->source.domain, to->err),
                     to->err);
    if (values->checkpoints_from) {
        line = with_word(
            line, " --checkpoints-from",
            chain_shell_quote_path(values->checkpoints_from, to->err), to->err);
    }
    return line;
}

/* The bundle is called after the domain. */
static int step_export(struct steps *to)
{
    const char *name = to->request->metadata.domain->name;
    char *line = source_words(to);
    IMG_AUTO(img_free_ptr)
    char *bundle = img_text(to->err, "%s.json", name ? name : "domain");

    line = with_word(line, " --to",
                     bundle ? chain_shell_quote_path(bundle, to->err) : NULL,
                     to->err);
    for (int i = 0; i < to->operands_nr; i++) {
        line = with_word(line, "",
                         chain_shell_quote_path(to->operands[i], to->err),
                         to->err);
    }
    return words_push(&to->list, line, to->err);
}

static int step_undefine(struct steps *to)
{
    static const struct {
        const char *id, *option;
    } all[] = {
        {"undefine-snapshots", " --snapshots-metadata"},
        {"undefine-checkpoints", " --checkpoints-metadata"},
        {"undefine-managed-save", " --managed-save"},
        {"undefine-nvram", " --keep-nvram"},
        {"undefine-tpm", " --keep-tpm"},
    };
    const char *name = to->request->metadata.domain->name;
    char options[160] = "", shown[256];
    size_t used = 0;

    name = name ? name : "";

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (is_failed(to->report, all[i].id)) {
            used = (size_t)(stpcpy(options + used, all[i].option) - options);
        }
    }
    img_escape(name, strlen(name), shown, sizeof(shown));
    return words_push(&to->list,
                      img_text(to->err, "%s undefine %s%s # %s", to->virsh,
                               to->domain, options, shown),
                      to->err);
}

/* Where libvirt keeps saved states unless it was told otherwise. */
static const char *save_folder(const char *uri)
{
    const char *path = uri ? strstr(uri, "://") : NULL;

    path = path ? strchr(path + 3, '/') : NULL;
    return path && strncmp(path, "/session", 8) == 0
               ? "\"${XDG_CONFIG_HOME:-$HOME/.config}\"/libvirt/qemu/save"
               : "/var/lib/libvirt/qemu/save";
}

/* Nothing is overwritten: cp -n would take that for a success. */
static int step_save(struct steps *to)
{
    const char *save = to->request->managed_save;
    const char *slash = save ? strrchr(save, '/') : NULL;
    const char *base = slash ? slash + 1 : save;
    IMG_AUTO(img_free_ptr) char *made = NULL;
    IMG_AUTO(img_free_ptr) char *from = NULL;
    IMG_AUTO(img_free_ptr) char *at = NULL;

    if (save) {
        from = chain_shell_quote_path(save, to->err);
        at = from ? chain_shell_quote_path(base, to->err) : NULL;
    } else {
        from = img_text(to->err, "%s/%s.save",
                        save_folder(to->values->source.connect), to->name);
        at = from ? img_text(to->err, "./%s.save", to->name) : NULL;
    }
    if (at) {
        made = img_text(to->err, "test ! -e %s && cp --reflink=auto -- %s %s",
                        at, from, at);
    }
    return words_push(&to->list, img_steal(&made), to->err);
}

static int put_steps(struct steps *to)
{
    bool has_record = is_failed(to->report, "undefine-snapshots") ||
                      is_failed(to->report, "undefine-checkpoints");

    if (has_record && step_export(to) < 0) {
        return -1;
    }
    if (is_failed(to->report, "undefine-managed-save") && step_save(to) < 0) {
        return -1;
    }
    if (words_push(&to->list,
                   img_text(to->err,
                            "(umask 077; set -C; %s dumpxml --inactive "
                            "--security-info %s >domain.xml)",
                            to->virsh, to->domain),
                   to->err) < 0) {
        return -1;
    }
    return to->request->is_transient ? 0 : step_undefine(to);
}

/* What libvirt keeps is saved first; nothing where nothing would be lost. */
static int make_steps(struct steps *to, const char *uri)
{
    const char *name = to->request->metadata.domain->name;
    IMG_AUTO(img_free_ptr)
    char *at = uri ? chain_shell_quote(uri, to->err) : NULL;
    IMG_AUTO(img_free_ptr)
    char *quoted = chain_shell_quote(name ? name : "", to->err);
    const char *uuid = to->request->metadata.domain->uuid;
    IMG_AUTO(img_free_ptr)
    char *number = chain_shell_quote(uuid ? uuid : "", to->err);
    IMG_AUTO(img_free_ptr) char *domain = NULL;
    IMG_AUTO(img_free_ptr) char *virsh = NULL;

    if (chain_report_judgement(to->report) != CHAIN_REFUSED) {
        return 0;
    }
    if (!quoted || !number || (uri && !at)) {
        return -1;
    }
    virsh =
        at ? img_text(to->err, "virsh -c %s", at) : img_text(to->err, "virsh");
    to->name = quoted;
    to->virsh = virsh;
    domain =
        virsh ? img_text(to->err, "--domain=%s", uuid ? number : quoted) : NULL;
    to->domain = domain;
    return domain ? put_steps(to) : -1;
}

int cmd_metadata_undefine(void *opaque, char **operands, int nr)
{
    const struct metadata_check_values *values = opaque;
    IMG_AUTO(metadata_judging_fini)
    struct metadata_judging all = {.domain = NULL};
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(img_free_ptr) char *beside = NULL;
    struct chain_undefine_request request = {.managed_save = NULL};
    struct chain_report *report = NULL;
    struct img_error err;
    struct steps steps = {
        .values = values, .operands = operands, .operands_nr = nr, .err = &err};
    int code;

    if (!metadata_judging_is_sane(values, nr)) {
        return EXIT_NOT_JUDGED;
    }
    if (metadata_judging_read(values, operands, nr, &all, &out, &err) < 0 ||
        (nr > 0 &&
         save_beside(operands[0], all.domain->name, &beside, &err) < 0)) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    request.metadata = all.request;
    request.is_asked = values->source.connect;
    request.has_managed_save = all.has_managed_save;
    request.is_transient =
        values->source.connect ? !all.is_persistent : values->is_transient;
    request.managed_save = values->managed_save ? values->managed_save : beside;
    if (chain_undefine_check(&request, &report, &err) < 0) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    steps.request = &request;
    steps.report = report;
    code = make_steps(&steps, values->source.connect) < 0
               ? session_fail(&err, EXIT_NOT_JUDGED)
               : metadata_judging_show(values, &all, report, &steps.list, out);
    words_fini(&steps.list);
    chain_report_free(report);
    return code;
}
