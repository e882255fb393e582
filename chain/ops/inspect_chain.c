/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about what the image refers to: a check for each kind of reference,
 * chain-formats, chain-confined, chain-whole; and the chain below the file,
 * for the policy that allows one. The self-contained policy opens nothing.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "inspect_impl.h"

/* No caller gave folders: the one that the file lies in. */
static int own_roots(struct inspect *in, struct img_error *err)
{
    const char *path = in->request->path;
    const char *slash = strrchr(path, '/');
    IMG_AUTO(img_free_ptr)
    char *dir = !slash ? img_strndup(".", 1, err)
                : slash == path
                    ? img_strndup("/", 1, err)
                    : img_strndup(path, (size_t)(slash - path), err);

    return !dir || img_roots_new(&in->roots, err) < 0 ||
                   img_roots_add(in->roots, dir, err) < 0
               ? -1
               : 0;
}

int inspect_chain_open(struct inspect *in, struct img_error *err)
{
    const struct chain_inspect_request *request = in->request;
    struct inspect_file *file = in->file;
    struct chain_options options;

    if (file->is_stream) {
        img_fail(&in->chain_error, IMG_UNSUPPORTED,
                 "a stream has no folder that its layers could lie in");
        return 0;
    }
    if (!request->roots && own_roots(in, err) < 0) {
        return -1;
    }
    chain_options_init(&options);
    options.format = file->format;
    options.file = file->file;
    options.keep_broken = true;
    options.max_depth = request->max_depth;
    options.roots = request->roots ? request->roots : in->roots;
    options.force_share =
        request->force_share || file->lock_error.code != IMG_OK;
    /* A path is a path here: "./" keeps any other reading out. */
    IMG_AUTO(img_free_ptr)
    char *path = request->path[0] == '/'
                     ? img_strndup(request->path, strlen(request->path), err)
                     : img_text(err, "./%s", request->path);
    if (!path) {
        return -1;
    }
    if (chain_open(path, &options, &in->chain, &in->chain_error) < 0) {
        return in->chain_error.code == IMG_MEMORY ? img_fail_memory(err) : 0;
    }
    in->broken = chain_broken(in->chain);
    return 0;
}

/* In a chain: is NAME a plain path, of which no reader makes more? */
static void judge_name(struct inspect *in, enum img_reference_kind kind,
                       const char *name)
{
    IMG_AUTO(chain_ref_fini) struct chain_ref ref = {0};
    char shown[CHAIN_SHOWN_LEN];
    struct img_error error;

    if (!name) {
        inspect_say(in, CHAIN_CHECK_FAIL, "its %s has no name",
                    img_reference_text(kind));
        return;
    }
    inspect_found(in, "\"%s\"", chain_shown(name, shown));
    if (chain_name_parse(name, &ref, &error) < 0 ||
        (ref.style != CHAIN_NAME_RELATIVE &&
         ref.style != CHAIN_NAME_ABSOLUTE)) {
        inspect_say(in, CHAIN_CHECK_FAIL,
                    "the name of its %s is more than a path",
                    img_reference_text(kind));
        inspect_expected(in, "a path without a protocol");
        return;
    }
    inspect_say(in, CHAIN_CHECK_PASS, "its %s has a plain path",
                img_reference_text(kind));
}

/* The kinds that a chain may have, since chain_open follows them. */
static bool is_followed(enum img_reference_kind kind)
{
    switch (kind) {
    case IMG_REFERENCE_BACKING:
    case IMG_REFERENCE_DATA_FILE:
        return true;
    case IMG_REFERENCE_EXTENT:
    case IMG_REFERENCE_PARENT:
    case IMG_REFERENCES_NR:
        break;
    }
    return false;
}

void inspect_reference(struct inspect *in)
{
    const struct inspect_file *file = in->file;
    enum img_reference_kind kind =
        (enum img_reference_kind)(in->id - INSPECT_REFERENCE);
    const char *name = file->references.name[kind];
    uint64_t nr = file->references.nr[kind];
    char shown[CHAIN_SHOWN_LEN];

    if (file->references_error.code != IMG_OK) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, &file->references_error);
        if (in->check.result == CHAIN_CHECK_SKIP) {
            in->check.result = CHAIN_CHECK_UNPROVEN;
        }
        return;
    }
    if (nr == 0) {
        inspect_say(in, CHAIN_CHECK_PASS, "it has no %s",
                    img_reference_text(kind));
        return;
    }
    if (in->request->policy == CHAIN_INSPECT_CHAIN && is_followed(kind)) {
        judge_name(in, kind, name);
        return;
    }
    inspect_say(in, CHAIN_CHECK_FAIL, "it refers to another file: %s %s",
                kind == IMG_REFERENCE_EXTENT || kind == IMG_REFERENCE_DATA_FILE
                    ? "an"
                    : "a",
                img_reference_text(kind));
    if (name) {
        inspect_found(in, "\"%s\"%s", chain_shown(name, shown),
                      nr > 1 ? " and others" : "");
    }
    inspect_expected(in, "no %s", img_reference_text(kind));
}

void inspect_chain_formats(struct inspect *in)
{
    const struct img_image *image = in->file->image;

    if (!image->backing_name) {
        inspect_say(in, CHAIN_CHECK_PASS, "it has no backing file");
    } else if (!image->backing_format) {
        inspect_say(in, CHAIN_CHECK_FAIL,
                    "the format of its backing file is not recorded");
    } else if (!chain_format_find(image->backing_format)) {
        char shown[CHAIN_SHOWN_LEN];

        inspect_say(in, CHAIN_CHECK_FAIL,
                    "the format of its backing file is not known");
        inspect_found(in, "\"%s\"", chain_shown(image->backing_format, shown));
    } else {
        inspect_say(in, CHAIN_CHECK_PASS,
                    "the format of its backing file is recorded");
    }
}

static const struct img_error *chain_failure(const struct inspect *in)
{
    return in->chain ? in->broken : &in->chain_error;
}

void inspect_chain_confined(struct inspect *in)
{
    const struct img_error *failure = chain_failure(in);

    if (failure && failure->code == IMG_DENIED) {
        inspect_say_error(in, CHAIN_CHECK_FAIL, failure);
        inspect_expected(in, in->request->roots
                                 ? "a file inside the folders of --root"
                                 : "a file inside the folder of this one");
    } else if (!in->chain) {
        inspect_say(in, CHAIN_CHECK_SKIP, "not judged, because of chain-whole");
    } else {
        inspect_say(in, CHAIN_CHECK_PASS,
                    "all files of the chain are inside the allowed folders");
    }
}

void inspect_chain_whole(struct inspect *in)
{
    const struct img_error *failure = chain_failure(in);

    if (!failure) {
        inspect_say(in, CHAIN_CHECK_PASS, "the chain is whole, %zu layer%s",
                    chain_depth(in->chain),
                    chain_depth(in->chain) == 1 ? "" : "s");
        return;
    }
    if (failure->code == IMG_DENIED) {
        inspect_say(in, CHAIN_CHECK_SKIP,
                    "not judged, because of chain-confined");
        return;
    }
    inspect_say_error(in, CHAIN_CHECK_FAIL, failure);
    if (failure->code == IMG_LIMIT) {
        in->check.result = CHAIN_CHECK_FAIL;
    }
}
