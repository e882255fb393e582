/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resize: another virtual size. */
#include <chain/amend.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/size.h>

#include "command.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"
#include "values.h"

#define AT(field) offsetof(struct resize_values, field)

const struct option_spec resize_options[] = {
    {0, "preallocation", "HOW", "of what is new: off, metadata, falloc, full",
     option_text, AT(preallocation)},
    {0, "shrink", NULL, "SIZE is smaller: what lies beyond is lost",
     option_flag, AT(shrink)},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     AT(change.common.image_opts)},
    {0, "dry-run", NULL, "check everything and write nothing", option_flag,
     AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

/* "+1G", "-1G" or "1G". */
struct wish {
    char sign; /* or 0 */
    uint64_t len;
};

static int wish_parse(const char *text, struct wish *out, struct img_error *err)
{
    out->sign = text[0] == '+' || text[0] == '-' ? text[0] : '\0';
    return size_operand(text + (out->sign ? 1 : 0), &out->len, err);
}

static int current_len(const struct common_values *common, const char *path,
                       const char *format, uint64_t *out, struct img_error *err)
{
    struct chain_options options;
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;

    session_chain_options(common, &options);
    options.format = format;
    options.top_only = true;
    if (chain_open(path, &options, &chain, err) < 0) {
        return -1;
    }
    *out = chain_virtual_len(chain);
    return 0;
}

/* The size that WISH means for the image at PATH. */
static int absolute_len(const struct common_values *common, const char *path,
                        const char *format, const struct wish *wish,
                        uint64_t *out, struct img_error *err)
{
    char by[IMG_SIZE_TEXT_LEN], from[IMG_SIZE_TEXT_LEN];
    uint64_t len;

    *out = wish->len;
    if (!wish->sign) {
        return 0;
    }
    if (current_len(common, path, format, &len, err) < 0) {
        return -1;
    }
    if (wish->sign == '+' ? img_add(len, wish->len, out) : len > wish->len) {
        *out = wish->sign == '+' ? *out : len - wish->len;
        return 0;
    }
    img_fail(err, IMG_USAGE, "cannot be made %s by %s: it has %s",
             wish->sign == '+' ? "larger" : "smaller",
             img_size_exact(wish->len, by), img_size_exact(len, from));
    img_error_set_path(err, path);
    return -1;
}

static void put_result(struct output *out, const struct change_values *change,
                       const struct chain_amend_request *request,
                       uint64_t old_len)
{
    if (change->common.output == OUTPUT_JSON) {
        struct img_json *json = change_json(change, "resize", request->path);

        img_json_set_string(json, "format", request->format);
        img_json_set_u64(json, "old-virtual-size", old_len);
        img_json_set_u64(json, "virtual-size", request->size);
        output_json(out, json);
        return;
    }
    change_head(out, change, "resized", "resize", request->path);
    sheet_size(out, "from", old_len);
    sheet_size(out, "to", request->size);
}

static int resize(const struct resize_values *values, const char *path,
                  const char *format, const struct wish *wish,
                  struct output *out, struct img_error *err)
{
    const struct change_values *change = &values->change;
    struct chain_amend_request request = {
        .path = path,
        .format = format,
        .shrink = values->shrink,
        .prealloc = values->preallocation,
        .dry_run = change->dry_run,
        .allow_probe = change->common.allow_probe,
        .roots = change->common.roots,
        .progress = change_on_progress,
    };
    uint64_t old_len = 0;

    if (absolute_len(&change->common, path, format, wish, &request.size, err) <
        0) {
        return -1;
    }
    request.cancel = signals_catch();
    change_begin(&change->common, "resize");
    if (change_end(chain_resize(&request, &old_len, err)) < 0) {
        change_tell_state(err, path,
                          "the image is whole, but not of the new size");
        return -1;
    }
    put_result(out, change, &request, old_len);
    return 0;
}

int cmd_resize(void *opaque, char **operands, int nr)
{
    const struct resize_values *values = opaque;
    struct img_error err;
    struct wish wish;
    const char *format;
    IMG_AUTO(img_free_ptr) char *path = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    (void)nr;
    if (wish_parse(operands[1], &wish, &err) < 0) {
        return session_fail(&err, EXIT_USAGE);
    }
    if (session_output(&values->change.common, &out, &err) < 0 ||
        change_target(&values->change, operands[0], &path, &format, &err) < 0 ||
        resize(values, path, format, &wish, out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return change_finish(&values->change, out);
}
