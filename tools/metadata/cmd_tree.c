/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* metadata tree: the snapshots of a domain as they hang on each other. */
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>

#include "../picture/picture.h"
#include "metadata.h"
#include "session.h"

const struct option_spec metadata_tree_options[] = {
    {0, "output", "FORM", "human, json, dot or svg", option_tree_output,
     METADATA_AT(struct metadata_list_values, common.output)},
    METADATA_CONNECT(struct metadata_list_values),
    METADATA_DOMAIN(struct metadata_list_values),
    METADATA_CURRENT(struct metadata_list_values),
    METADATA_CHECKPOINTS(struct metadata_list_values),
    {0, NULL, NULL, NULL, NULL, 0},
};

static const struct chain_moment *moment_at(const struct chain_metadata *all,
                                            size_t idx)
{
    return &all->moments[all->order[idx]];
}

static const char *title(const void *opaque, size_t idx)
{
    const char *name = moment_at(opaque, idx)->name;

    return name ? name : "-";
}

static const char *summary(const void *opaque, size_t idx,
                           char buf[PICTURE_SUMMARY_LEN])
{
    const struct chain_moment *moment = moment_at(opaque, idx);
    char state[64], time[64];

    (void)snprintf(buf, PICTURE_SUMMARY_LEN, "%s, %s, %s%s",
                   metadata_kind(moment), metadata_state(moment, state),
                   metadata_time(moment, time),
                   moment->is_current ? ", current" : "");
    return buf;
}

static bool remark(const void *opaque, size_t idx, size_t k,
                   struct picture_remark *out)
{
    _Static_assert(METADATA_PROBLEM_LEN <= sizeof(out->text), "it fits");
    out->is_problem = true;
    out->id = metadata_problem(opaque, moment_at(opaque, idx), k, out->text);
    return out->id != NULL;
}

/*
 * Nodes are in the order of the list, in which a moment comes after its parent
 * and older siblings: each hangs itself behind the last child so far.
 */
static struct picture_link *links(const struct chain_metadata *metadata,
                                  struct img_error *err)
{
    size_t nr = metadata->nr;
    struct picture_link *list = img_calloc(nr + 1, sizeof(*list), err);
    IMG_AUTO(img_free_ptr)
    size_t *place = img_calloc(nr + 1, sizeof(*place), err);
    IMG_AUTO(img_free_ptr)
    size_t *last = img_calloc(nr + 1, sizeof(*last), err);

    if (!list || !place || !last) {
        free(list);
        return NULL;
    }
    for (size_t i = 0; i < nr; i++) {
        const struct chain_moment *moment = moment_at(metadata, i);
        size_t parent = moment->parent == CHAIN_METADATA_NONE
                            ? PICTURE_NONE
                            : place[moment->parent];

        place[metadata->order[i]] = i;
        last[i] = PICTURE_NONE;
        list[i] = (struct picture_link){.parent = parent,
                                        .first = PICTURE_NONE,
                                        .next = PICTURE_NONE,
                                        .is_looped = moment->is_looped,
                                        .is_marked = moment->is_current};
        if (parent == PICTURE_NONE) {
            continue;
        }
        if (last[parent] == PICTURE_NONE) {
            list[parent].first = i;
        } else {
            list[last[parent]].next = i;
        }
        last[parent] = i;
    }
    return list;
}

static int draw(struct output *out, enum output_format form,
                const struct chain_metadata *metadata, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct picture_link *list = links(metadata, err);
    const struct picture picture = {
        .name = metadata->kind == CHAIN_SNAPSHOT ? "snapshots" : "checkpoints",
        .links = list,
        .nr = metadata->nr,
        .opaque = metadata,
        .title = title,
        .summary = summary,
        .remark = remark,
    };

    return list ? picture_draw(out, form, &picture, err) : -1;
}

static int put_json(struct output *out, const struct chain_metadata *metadata,
                    struct img_error *err)
{
    struct img_json *json = img_json_object(), *list = img_json_array();
    struct img_json *unread = img_json_array();

    for (size_t i = 0; i < metadata->nr; i++) {
        struct img_json *one =
            metadata_json(metadata, moment_at(metadata, i), err);

        if (!one) {
            img_json_free(json);
            img_json_free(list);
            img_json_free(unread);
            return -1;
        }
        img_json_push(list, one);
    }
    for (size_t i = 0; i < metadata->unread_nr; i++) {
        struct img_json *one = img_json_object();

        img_json_set_string(one, "filename", metadata->unread[i].file);
        img_json_set_string(one, "message", metadata->unread[i].why);
        img_json_push(unread, one);
    }
    img_json_set(json,
                 metadata->kind == CHAIN_SNAPSHOT ? "snapshots" : "checkpoints",
                 list);
    img_json_set(json, "unread", unread);
    output_json(out, json);
    return 0;
}

int cmd_metadata_tree(void *opaque, char **operands, int nr)
{
    const struct metadata_list_values *all = opaque;
    const struct metadata_values *values = &all->source;
    IMG_AUTO(metadata_free_ptr) struct chain_metadata *metadata = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;

    if (!metadata_is_sane(values, nr)) {
        return EXIT_USAGE;
    }
    if (metadata_begin(values, &out, &err) < 0 ||
        metadata_get(values, operands, nr, &metadata, &err) < 0 ||
        (values->common.output == OUTPUT_JSON
             ? put_json(out, metadata, &err)
             : draw(out, values->common.output, metadata, &err)) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(
        out, metadata_tell_unread(metadata) > 0 ? EXIT_FAILED : EXIT_DONE,
        EXIT_FAILED);
}
