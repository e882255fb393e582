/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Remedies: see remedy.h. This project's own commands where they do the job,
 * else programs that stand on every qcow2 host: qemu-img and coreutils.
 */
#include "remedy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "backing_text.h"

char *chain_remedy_both(char *first, char *second)
{
    struct img_error ignored;

    if (!first || !second) {
        return first ? first : second;
    }
    char *both = img_text(&ignored, "%s && %s", first, second);
    free(first);
    free(second);
    return both;
}

char *chain_remedy_command(const char *program, const char *path)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr) char *word = chain_shell_quote_path(path, &ignored);

    return word ? img_text(&ignored, "%s %s", program, word) : NULL;
}

static bool is_block(const struct chain_judge *judge)
{
    return judge->has_dest_stat && S_ISBLK(judge->dest_stat.st_mode);
}

/* The format to make a destination in. */
static const char *wanted_format(const struct chain_judge *judge)
{
    const char *asked = judge->request->dest_format;

    if (judge->effective == FOR_S || !asked) {
        return "qcow2";
    }
    return strcmp(asked, "raw") == 0 ? "raw" : "qcow2";
}

/* Nothing can be made for a source that is not whole: a size has to do. */
static bool is_source_whole(const struct chain_judge *judge)
{
    for (size_t i = 1; i < chain_depth(judge->source); i++) {
        if (chain_layer_is_probed(chain_layer_at(judge->source, i))) {
            return false;
        }
    }
    return !chain_broken(judge->source);
}

static const char *const purposes[] = {
    [CHAIN_OP_SNAPSHOT] = "snapshot",
    [CHAIN_OP_COPY] = "copy",
    [CHAIN_OP_SHALLOW_COPY] = "shallow-copy",
};

/* What the operation wants, from the active layer itself. */
static char *create_for(const struct chain_judge *judge, const char *format,
                        struct img_error *err)
{
    const struct chain_validate_request *r = judge->request;
    IMG_AUTO(img_free_ptr) char *source = chain_shell_quote(r->source, err);
    IMG_AUTO(img_free_ptr)
    char *path = chain_shell_quote_path(judge->dest_path, err);

    if (!source || !path) {
        return NULL;
    }
    return img_text(
        err,
        "imgchain create -q%s --for %s --source %s --source-format %s%s%s %s",
        r->force_share ? " -U" : "", purposes[r->operation], source,
        judge->source_image->format,
        strcmp(format, "raw") == 0 ? " -f raw" : "",
        r->require == CHAIN_REQUIRE_ABSOLUTE ? " --absolute" : "", path);
}

/* The same in single words. */
static char *create_overlay(const struct chain_judge *judge,
                            struct img_error *err)
{
    const struct chain_layer *layer = chain_judge_expected_backing(judge);
    IMG_AUTO(img_free_ptr) char *name = chain_backing_text_expected(judge, err);
    IMG_AUTO(img_free_ptr) char *quoted = NULL;
    IMG_AUTO(img_free_ptr) char *path = NULL;

    if (!layer || !name || !(quoted = chain_shell_quote(name, err)) ||
        !(path = chain_shell_quote_path(judge->dest_path, err))) {
        return NULL;
    }
    return img_text(err,
                    "imgchain create -q -f qcow2 -u -b %s -F %s %s %" PRIu64,
                    quoted, chain_layer_image(layer)->format, path,
                    judge->source_image->virtual_len);
}

static char *create_blank(const struct chain_judge *judge, const char *format,
                          struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    char *path = chain_shell_quote_path(judge->dest_path, err);

    return path ? img_text(err, "imgchain create -q -f %s %s %" PRIu64, format,
                           path, judge->source_image->virtual_len)
                : NULL;
}

/* A raw target of a shallow copy begins as a copy of the backing file. */
static char *copy_of_backing(const struct chain_judge *judge,
                             struct img_error *err)
{
    const struct chain_layer *layer = chain_judge_expected_backing(judge);
    IMG_AUTO(img_free_ptr) char *from = NULL;
    IMG_AUTO(img_free_ptr)
    char *to = chain_shell_quote_path(judge->dest_path, err);

    if (!to || !layer ||
        !(from = chain_shell_quote_path(chain_layer_path(layer), err))) {
        return NULL;
    }
    const struct img_image *image = chain_layer_image(layer);
    uint64_t want = judge->source_image->virtual_len;
    char *convert = img_text(err, "imgchain copy -q %s-f %s -O raw %s %s",
                             judge->request->force_share ? "-U " : "",
                             image->format, from, to);
    if (!convert || image->virtual_len == want) {
        return convert;
    }
    return chain_remedy_both(
        convert,
        img_text(err, "imgchain resize -q%s -f raw %s %" PRIu64,
                 image->virtual_len > want ? " --shrink" : "", to, want));
}

static char *create(const struct chain_judge *judge)
{
    struct img_error ignored;
    const char *format = wanted_format(judge);
    bool is_raw = strcmp(format, "raw") == 0;

    if (is_raw && judge->effective == FOR_H) {
        return copy_of_backing(judge, &ignored);
    }
    if (is_source_whole(judge) && !judge->request->backing_name) {
        return create_for(judge, format, &ignored);
    }
    return judge->effective == FOR_C ? create_blank(judge, format, &ignored)
                                     : create_overlay(judge, &ignored);
}

char *chain_remedy_create(const struct chain_judge *judge, bool remove_first)
{
    char *made = create(judge);

    if (!made || !remove_first) {
        return made;
    }
    return chain_remedy_both(chain_remedy_command("rm", judge->dest_path),
                             made);
}

char *chain_remedy_recreate(const struct chain_judge *judge)
{
    struct img_error ignored;
    char *made = create(judge);

    if (!made || is_block(judge)) {
        return made;
    }
    IMG_AUTO(img_free_ptr)
    char *path = chain_shell_quote_path(judge->dest_path, &ignored);
    IMG_AUTO(img_free_ptr)
    char *aside = img_text(&ignored, "%s.old", judge->dest_path);
    IMG_AUTO(img_free_ptr)
    char *to = aside ? chain_shell_quote_path(aside, &ignored) : NULL;
    if (!path || !to) {
        free(made);
        return NULL;
    }
    return chain_remedy_both(
        img_text(&ignored, "mv -T --backup=numbered %s %s", path, to), made);
}

/* PROGRAM's rebase -u; NAME and FORMAT as chain_remedy_rebase has them. */
static char *rebase_by(const struct chain_judge *judge, const char *program,
                       const char *name, const char *format)
{
    struct img_error ignored;
    const struct chain_layer *layer = chain_judge_expected_backing(judge);
    IMG_AUTO(img_free_ptr) char *expected = NULL;
    IMG_AUTO(img_free_ptr) char *quoted = NULL;
    IMG_AUTO(img_free_ptr) char *quoted_format = NULL;
    IMG_AUTO(img_free_ptr) char *path = NULL;

    if (!name) {
        expected = chain_backing_text_expected(judge, &ignored);
        name = expected;
    }
    if (!format && layer) {
        format = chain_layer_image(layer)->format;
    }
    /* The format may be the header's own text: any bytes. */
    if (!name || !format || !(quoted = chain_shell_quote(name, &ignored)) ||
        !(quoted_format = chain_shell_quote(format, &ignored)) ||
        !(path = chain_shell_quote_path(judge->dest_path, &ignored))) {
        return NULL;
    }
    return img_text(&ignored, "%s -b %s -F %s %s", program, quoted,
                    quoted_format, path);
}

char *chain_remedy_rebase_program(const char *format)
{
    struct img_error ignored;
    bool is_ours = strcmp(format, "qcow2") == 0;

    return img_text(
        &ignored, "%s -u -f %s",
        is_ours ? "imgchain rebase -q --no-undo" : "qemu-img rebase", format);
}

char *chain_remedy_rebase(const struct chain_judge *judge, const char *name,
                          const char *format)
{
    IMG_AUTO(img_free_ptr)
    char *program = chain_remedy_rebase_program(
        judge->dest_image ? judge->dest_image->format : "qcow2");

    return program ? rebase_by(judge, program, name, format) : NULL;
}

char *chain_remedy_rewrite(const struct chain_judge *judge, const char *name,
                           const char *format)
{
    return rebase_by(judge, "qemu-img rebase -u -f qcow2", name, format);
}

static const char *const operations[] = {
    [CHAIN_OP_SNAPSHOT] = "snapshot",
    [CHAIN_OP_COPY] = "copy",
    [CHAIN_OP_SHALLOW_COPY] = "copy --shallow",
};

static char *flags(const struct chain_judge *judge,
                   const struct chain_remedy_request *change,
                   struct img_error *err)
{
    const struct chain_validate_request *r = judge->request;

    return img_text(
        err, "%s%s%s%s%s%s%s%s",
        r->is_live       ? " --live"
        : r->force_share ? " -U"
                         : "",
        r->allow_probe ? " --allow-probe" : "",
        r->allow_larger ? " --allow-larger" : "",
        r->allow_data_file ? " --allow-data-file" : "",
        r->target_is_zero ? " --target-is-zero" : "",
        r->synchronous_writes && !change->drop_synchronous
            ? " --synchronous-writes"
            : "",
        r->require == CHAIN_REQUIRE_RELATIVE ? " --require relative" : "",
        r->require == CHAIN_REQUIRE_ABSOLUTE ? " --require absolute" : "");
}

/* " --NAME VALUE", or "" where there is no value. */
static char *option(const char *name, const char *value, struct img_error *err)
{
    if (!value) {
        return img_text(err, "%s", "");
    }
    IMG_AUTO(img_free_ptr) char *quoted = chain_shell_quote(value, err);
    return quoted ? img_text(err, " --%s %s", name, quoted) : NULL;
}

char *chain_remedy_ask_again(const struct chain_judge *judge,
                             const struct chain_remedy_request *change)
{
    const struct chain_validate_request *r = judge->request;
    const struct {
        const char *name, *value;
    } options[] = {
        {"source", r->source},
        {"source-format", r->source_format},
        {"dest", change->dest ? change->dest : judge->dest_path},
        {"dest-format",
         change->dest_format ? change->dest_format : r->dest_format},
        {"backing-name", r->backing_name},
        {"as", r->as_user},
        {"qemu-version", r->qemu_version},
    };
    struct img_error ignored;
    IMG_AUTO(img_free_ptr) char *more = flags(judge, change, &ignored);
    char *text = more ? img_text(&ignored, "imgchain validate %s%s",
                                 operations[r->operation], more)
                      : NULL;

    /* The folders of --root are not known any more: their names are gone. */
    if (r->roots || r->dest_fd >= 0) {
        free(text);
        return NULL;
    }
    for (size_t i = 0; text && i < sizeof(options) / sizeof(options[0]); i++) {
        IMG_AUTO(img_free_ptr)
        char *word = option(options[i].name, options[i].value, &ignored);
        char *longer = word ? img_text(&ignored, "%s%s", text, word) : NULL;
        free(text);
        text = longer;
    }
    return text;
}
