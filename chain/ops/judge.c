/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a request, opened once for all rules: see judge.h.
 *
 * Nothing here decides anything: what could not be opened is kept with its
 * error, and the rule that it belongs to reports it.
 */
#include "judge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

static void chain_settings(const struct chain_judge *judge,
                           struct chain_options *options)
{
    const struct chain_validate_request *request = judge->request;

    chain_options_init(options);
    options->force_share = request->force_share;
    options->allow_probe = request->allow_probe;
    options->keep_broken = true;
    options->max_depth = request->max_depth;
    options->roots = request->roots;
}

/* "7.2", "7.2.22", "7.2.22(Debian...)"; false for anything else. */
static bool parse_version(const char *text, struct chain_qemu_version *out)
{
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    out->major = (unsigned)strtoul(text, &end, 10);
    out->minor = 0;
    if (*end == '.' && end[1] >= '0' && end[1] <= '9') {
        out->minor = (unsigned)strtoul(end + 1, &end, 10);
    }
    return *end == '\0' || *end == '.' || *end == '(' || *end == ' ';
}

/* What is asked, as far as it can be wrong before a file is looked at. */
static int read_request(struct chain_judge *judge, struct img_error *err)
{
    static const struct chain_qemu_version default_qemu = {7, 2};
    const char *text = judge->request->qemu_version;
    char shown[CHAIN_SHOWN_LEN];

    judge->qemu = default_qemu;
    if (text && !parse_version(text, &judge->qemu)) {
        return img_fail(err, IMG_USAGE,
                        "no version of QEMU: found \"%s\", expected "
                        "MAJOR.MINOR",
                        chain_shown(text, shown));
    }
    if (judge->request->user) {
        judge->user = *judge->request->user;
        return 0;
    }
    return chain_access_user_load(judge->request->as_user, &judge->user, err);
}

static int open_source(struct chain_judge *judge, struct img_error *err)
{
    struct chain_options options;

    chain_settings(judge, &options);
    options.format = judge->request->source_format;
    if (chain_open(judge->request->source, &options, &judge->source, err) !=
        0) {
        return -1;
    }
    const struct chain_layer *top = chain_layer_at(judge->source, 0);
    judge->source_file = chain_layer_file(top);
    judge->source_image = chain_layer_image(top);
    if (judge->requested == FOR_H && !chain_layer_wants_backing(top)) {
        judge->effective = FOR_C;
    }
    return 0;
}

static void stat_dest(struct chain_judge *judge)
{
    int fd = judge->request->dest_fd;
    int rc = fd >= 0 ? fstat(fd, &judge->dest_stat)
                     : stat(judge->dest_path, &judge->dest_stat);

    judge->has_dest_stat = rc == 0;
    if (rc != 0) {
        img_fail_sys(&judge->dest_file_error, errno, "cannot look at it");
        img_error_set_path(&judge->dest_file_error, judge->dest_path);
    }
}

static bool is_image_kind(const struct chain_judge *judge)
{
    return judge->has_dest_stat && (S_ISREG(judge->dest_stat.st_mode) ||
                                    S_ISBLK(judge->dest_stat.st_mode));
}

/* The file alone, without locks: what it is, and who else has it. */
static int open_dest_file(struct chain_judge *judge)
{
    struct img_open_options options = {
        .lock = IMG_LOCK_NONE,
        .roots = judge->request->roots,
    };
    int fd = judge->request->dest_fd;

    if (fd >= 0) {
        return img_file_open_fd(fd, judge->dest_path, &options,
                                &judge->dest_file, &judge->dest_file_error);
    }
    return img_file_open(judge->dest_path, &options, &judge->dest_file,
                         &judge->dest_file_error);
}

static void test_locks(struct chain_judge *judge)
{
    struct img_lock_holder holder = {0};
    struct img_error ignored;

    judge->is_dest_held =
        img_file_writer_test(judge->dest_file, &holder, &ignored) == 0 &&
        holder.is_held;
}

static void open_dest_chain(struct chain_judge *judge)
{
    struct chain_options options;

    chain_settings(judge, &options);
    options.format = judge->dest_format;
    options.file = judge->dest_file;
    /* What dest-unused reports need not keep the other rules from looking. */
    options.force_share |= judge->is_dest_held;
    /* A path is a path here: "./" keeps any other reading out. */
    const char *path = judge->dest_path;
    IMG_AUTO(img_free_ptr) char *plain = NULL;
    if (path[0] != '/' && judge->request->dest_fd < 0) {
        plain = img_text(&judge->dest_error, "./%s", path);
        path = plain;
    }
    if (!path ||
        chain_open(path, &options, &judge->dest, &judge->dest_error) != 0) {
        return;
    }
    judge->dest_image = chain_layer_image(chain_layer_at(judge->dest, 0));
}

/* The backing file by its recorded name, whether or not the chain opened. */
static void open_backing(struct chain_judge *judge)
{
    const char *name = judge->dest_image->backing_name;
    struct img_open_options options = {
        .lock = IMG_LOCK_NONE,
        .roots = judge->request->roots,
    };

    if (chain_name_parse(name, &judge->backing_ref,
                         &judge->backing_ref_error) != 0) {
        return;
    }
    judge->has_backing_ref = true;
    if (!judge->backing_ref.path) {
        return;
    }
    judge->backing_path = chain_ref_resolve(
        &judge->backing_ref, judge->dest_path, &judge->backing_file_error);
    if (!judge->backing_path) {
        return;
    }
    if (chain_depth(judge->dest) > 1) {
        judge->backing_file =
            img_file_ref(chain_layer_file(chain_layer_at(judge->dest, 1)));
        return;
    }
    (void)img_file_open(judge->backing_path, &options, &judge->backing_file,
                        &judge->backing_file_error);
}

/* Not of another format than requested, not a layer of the source, and for a
   snapshot something that can be an overlay: worth a look inside. */
static bool is_candidate(const struct chain_judge *judge)
{
    const char *format = judge->dest_format;

    if (strcmp(format, judge->probe.format->name) != 0 ||
        chain_find_file(judge->source, judge->dest_file) >= 0) {
        return false;
    }
    return judge->effective != FOR_S || strcmp(format, "qcow2") == 0 ||
           strcmp(format, "qed") == 0;
}

static void open_dest(struct chain_judge *judge)
{
    stat_dest(judge);
    if (!is_image_kind(judge) || open_dest_file(judge) != 0) {
        return;
    }
    test_locks(judge);
    judge->has_probe = chain_probe(judge->dest_file, &judge->probe,
                                   &judge->dest_file_error) == 0;
    if (!judge->has_probe) {
        return;
    }
    judge->dest_format = judge->request->dest_format;
    if (!judge->dest_format) {
        judge->dest_format = judge->probe.format->name;
    }
    if (is_candidate(judge)) {
        open_dest_chain(judge);
    }
    if (judge->dest && judge->dest_image->backing_name) {
        open_backing(judge);
    }
}

int chain_judge_confine(const struct chain_judge *judge, enum chain_stage stage,
                        struct img_error *err)
{
    const struct chain_validate_request *request = judge->request;

    return request->confine
               ? request->confine(request->confine_opaque, stage, err)
               : 0;
}

int chain_judge_open(struct chain_judge *judge, struct img_error *err)
{
    static const unsigned masks[] = {
        [CHAIN_OP_SNAPSHOT] = FOR_S,
        [CHAIN_OP_COPY] = FOR_C,
        [CHAIN_OP_SHALLOW_COPY] = FOR_H,
    };

    judge->requested = masks[judge->request->operation];
    judge->effective = judge->requested;
    judge->dest_path = judge->request->dest;
    if (read_request(judge, err) != 0 ||
        chain_judge_confine(judge, CHAIN_STAGE_OPENING, err) != 0 ||
        open_source(judge, err) != 0) {
        return -1;
    }
    open_dest(judge);
    return 0;
}

void chain_judge_close(struct chain_judge *judge)
{
    chain_ref_fini(&judge->backing_ref);
    img_free_ptr(&judge->backing_path);
    img_file_unref(judge->backing_file);
    chain_free(judge->dest);
    img_file_unref(judge->dest_file);
    chain_free(judge->source);
}

const struct chain_layer *
chain_judge_expected_backing(const struct chain_judge *j)
{
    if (j->effective == FOR_S) {
        return chain_layer_at(j->source, 0);
    }
    if (j->effective == FOR_H && chain_depth(j->source) > 1) {
        return chain_layer_at(j->source, 1);
    }
    return NULL;
}
