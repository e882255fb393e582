/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about the backing file that the destination records:
 * backing-recorded, backing-none, backing-portable, backing-resolves,
 * backing-format, backing-style.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "backing_text.h"
#include "judge.h"
#include "remedy.h"

/* libvirt 9.0 reads no more of a header than that. */
#define LIBVIRT_HEADER_LEN 33280u

/* A shallow copy may do without a backing file when it holds everything. */
static void judge_alone(struct chain_judge *judge)
{
    switch (chain_judge_content(judge)) {
    case CONTENT_EQUAL:
        chain_judge_say(
            judge, CHAIN_CHECK_PASS,
            "it records no backing file, and its own contents are those "
            "of the active layer's backing file");
        return;
    case CONTENT_UNPROVEN:
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &judge->content_why);
        return;
    case CONTENT_DIFFERENT:
    case CONTENT_NOT_JUDGED:
        break;
    }
    chain_judge_say(
        judge, CHAIN_CHECK_FAIL,
        "it records no backing file, and its own contents are not those "
        "of the active layer's backing file");
    chain_judge_found(judge, "no backing file");
    chain_judge_expected(judge, "a backing file and its format");
    chain_judge_remedy(judge, chain_remedy_recreate(judge));
}

void chain_rule_backing_recorded(struct chain_judge *judge)
{
    const struct img_image *image = judge->dest_image;
    char shown[CHAIN_SHOWN_LEN];

    if (!image->backing_name && judge->effective == FOR_H) {
        judge_alone(judge);
    } else if (!image->backing_name) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL, "it records no backing file");
        chain_judge_found(judge, "no backing file");
        chain_judge_expected(judge, "the active layer and its format");
        chain_judge_remedy(judge, image->supports_backing
                                      ? chain_remedy_rebase(judge, NULL, NULL)
                                      : chain_remedy_recreate(judge));
    } else if (!image->backing_format) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the format of its backing file is not recorded");
        chain_judge_found(judge, "\"%s\" without a format",
                          chain_shown(image->backing_name, shown));
        chain_judge_expected(judge, "a recorded format");
        chain_judge_remedy(
            judge, chain_remedy_rebase(judge, image->backing_name, NULL));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "it records a backing file and its format");
    }
}

void chain_rule_backing_none(struct chain_judge *judge)
{
    const struct img_image *image = judge->dest_image;
    char shown[CHAIN_SHOWN_LEN];

    if (!image->backing_name) {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "it records no backing file");
        return;
    }
    chain_judge_say(
        judge, CHAIN_CHECK_FAIL,
        "the target of a full copy records a backing file: it would "
        "stay dependent on it");
    chain_judge_found(judge, "\"%s\"", chain_shown(image->backing_name, shown));
    chain_judge_expected(judge, "no backing file");
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    char *rebase = chain_remedy_rebase_program(image->format);
    IMG_AUTO(img_free_ptr)
    char *program = rebase ? img_text(&ignored, "%s -b ''", rebase) : NULL;
    if (program) {
        chain_judge_remedy(judge,
                           chain_remedy_command(program, judge->dest_path));
    }
}

/* Formats that libvirt 9.0 knows by these names and takes in a chain. */
static bool is_libvirt_format(const char *name)
{
    static const char *const known[] = {"raw",  "qcow2", "qed",  "qcow",
                                        "vmdk", "vdi",   "vpc",  "bochs",
                                        "dmg",  "cloop", "ploop"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What is wrong with how the name is written; NULL: nothing. */
static const char *name_fault(const struct chain_judge *judge)
{
    const struct chain_ref *ref = &judge->backing_ref;

    if (!judge->has_backing_ref) {
        return "libvirt and QEMU do not read its backing name as the same "
               "local file";
    }
    switch (ref->style) {
    case CHAIN_NAME_RELATIVE:
    case CHAIN_NAME_ABSOLUTE:
        return NULL;
    case CHAIN_NAME_FILE_PROTOCOL:
        return "QEMU reads a \"file:\" name, libvirt refuses it";
    case CHAIN_NAME_JSON_PORTABLE:
        return ref->path && ref->path[0] == '/'
                   ? NULL
                   : "a relative name inside json: depends on the folder a "
                     "program runs in";
    case CHAIN_NAME_JSON_OTHER:
        break;
    }
    return "libvirt and QEMU agree on json: only in the form "
           "{\"file\":{\"driver\":\"file\",\"filename\":\"/PATH\"}}";
}

/* What is wrong with where the header keeps it; NULL: nothing. */
static const char *place_fault(const struct chain_judge *judge)
{
    const struct qcow2_header *header = qcow2_image_header(judge->dest_image);
    const struct qcow2_extensions *more =
        qcow2_image_extensions(judge->dest_image);

    if (!header || !more) {
        return NULL;
    }
    if (header->backing_name_off + header->backing_name_len >
        LIBVIRT_HEADER_LEN) {
        return "libvirt reads only the first 33280 bytes of a header, and the "
               "backing name lies beyond them";
    }
    if (more->is_backing_format_hidden) {
        return "the recorded backing format stands after a header extension "
               "of odd length, where libvirt does not find it";
    }
    return NULL;
}

/* The format to record when the one that is there cannot stay. */
static const char *real_backing_format(struct chain_judge *judge,
                                       struct chain_probe *probe)
{
    struct img_error ignored;
    const struct chain_layer *layer = chain_judge_expected_backing(judge);

    if (judge->backing_file && layer &&
        img_file_is_same(judge->backing_file, chain_layer_file(layer))) {
        return chain_layer_image(layer)->format;
    }
    if (judge->backing_file &&
        chain_probe(judge->backing_file, probe, &ignored) == 0) {
        return probe->format->name;
    }
    return NULL;
}

static char *rewrite_name(struct chain_judge *judge)
{
    const struct qcow2_extensions *more =
        qcow2_image_extensions(judge->dest_image);
    const char *format = judge->dest_image->backing_format;
    struct chain_probe probe;
    struct img_error ignored;
    IMG_AUTO(img_free_ptr) char *name = NULL;

    /* The name is written right after the extensions, however long. */
    if (more &&
        more->end_off + QCOW2_MAX_BACKING_NAME_LEN > LIBVIRT_HEADER_LEN) {
        return chain_remedy_recreate(judge);
    }
    if (!judge->backing_file) {
        return chain_remedy_rebase(judge, NULL, NULL);
    }
    if (judge->backing_ref.style == CHAIN_NAME_RELATIVE) {
        name = img_strndup(judge->backing_ref.path,
                           strlen(judge->backing_ref.path), &ignored);
    } else {
        name = chain_backing_text(judge->dest_path, judge->backing_path, false,
                                  &ignored);
    }
    if (!format || !is_libvirt_format(format)) {
        format = real_backing_format(judge, &probe);
    }
    if (!name) {
        return NULL;
    }
    return place_fault(judge) ? chain_remedy_rewrite(judge, name, format)
                              : chain_remedy_rebase(judge, name, format);
}

void chain_rule_backing_portable(struct chain_judge *judge)
{
    const struct img_image *image = judge->dest_image;
    const char *fault = name_fault(judge);
    char shown[CHAIN_SHOWN_LEN], shown_format[CHAIN_SHOWN_LEN];

    if (!fault) {
        fault = place_fault(judge);
    }
    if (!fault && image->backing_format &&
        !is_libvirt_format(image->backing_format)) {
        fault = "libvirt does not know the recorded backing format, and "
                "probes instead";
    }
    if (!fault) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "libvirt and QEMU read its backing name alike");
        return;
    }
    chain_judge_say(judge, CHAIN_CHECK_FAIL, "%s", fault);
    chain_judge_found(
        judge, "\"%s\"%s%s", chain_shown(image->backing_name, shown),
        image->backing_format ? ", format " : "",
        image->backing_format ? chain_shown(image->backing_format, shown_format)
                              : "");
    chain_judge_expected(judge, "a plain path and a format that libvirt knows");
    chain_judge_remedy(judge, rewrite_name(judge));
}

static void say_unresolved(struct chain_judge *judge)
{
    const struct img_error *error = &judge->backing_file_error;

    if (!judge->has_backing_ref || !judge->backing_path) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged, because of backing-portable");
    } else if (error->code == IMG_DENIED && judge->request->roots) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged, because of path-policy");
    } else if (error->code == IMG_NOT_FOUND || error->code == IMG_LOOP ||
               error->code == IMG_UNSUPPORTED) {
        chain_judge_say_error(judge, CHAIN_CHECK_FAIL, error);
        chain_judge_expected(judge, "the file that the operation builds on");
        chain_judge_remedy(judge, chain_remedy_rebase(judge, NULL, NULL));
    } else {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, error);
    }
}

static void say_wrong_file(struct chain_judge *judge, const char *message)
{
    const struct chain_layer *layer = chain_judge_expected_backing(judge);
    char shown[CHAIN_SHOWN_LEN];

    chain_judge_say(judge, CHAIN_CHECK_FAIL, "%s", message);
    chain_judge_found(judge, "\"%s\"", chain_shown(judge->backing_path, shown));
    if (layer) {
        chain_judge_expected(judge, "\"%s\"",
                             chain_shown(chain_layer_path(layer), shown));
    }
    chain_judge_remedy(judge, chain_remedy_rebase(judge, NULL, NULL));
}

void chain_rule_backing_resolves(struct chain_judge *judge)
{
    const struct img_file *file = judge->backing_file;

    if (!file) {
        say_unresolved(judge);
    } else if (img_file_is_same(file, judge->dest_file)) {
        say_wrong_file(judge, "its backing name leads back to itself");
    } else if (judge->effective == FOR_S &&
               !img_file_is_same(file, judge->source_file)) {
        say_wrong_file(judge, "its backing name leads to another file than the "
                              "active layer");
    } else if (judge->effective == FOR_H &&
               img_file_is_same(file, judge->source_file)) {
        say_wrong_file(judge,
                       "its backing file is the active layer itself: the "
                       "copy could not be pivoted to");
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "its backing name leads to %s",
                        judge->effective == FOR_S
                            ? "the active layer"
                            : "a file that is not the active "
                              "layer");
    }
}

void chain_rule_backing_format(struct chain_judge *judge)
{
    const struct img_image *image = judge->dest_image;
    const struct chain_layer *layer = chain_judge_expected_backing(judge);
    struct chain_probe probe;

    if (!judge->backing_file) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged: its backing file could not be looked at");
        return;
    }
    const char *real = real_backing_format(judge, &probe);
    if (!real) {
        chain_judge_say(judge, CHAIN_CHECK_UNPROVEN,
                        "its backing file could not be read");
    } else if (strcmp(image->backing_format, real) == 0) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "its backing file is %s, as "
                        "recorded",
                        real);
    } else {
        char shown[CHAIN_SHOWN_LEN];
        bool is_declared =
            layer &&
            img_file_is_same(judge->backing_file, chain_layer_file(layer)) &&
            judge->request->source_format != NULL;
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the recorded backing format is not the %s one",
                        is_declared ? "declared" : "real");
        chain_judge_found(judge, "%s",
                          chain_shown(image->backing_format, shown));
        chain_judge_expected(judge, "%s", real);
        chain_judge_remedy(
            judge, chain_remedy_rebase(judge, image->backing_name, real));
    }
}

static char *restyle(struct chain_judge *judge, bool relative)
{
    const char *format = judge->dest_image->backing_format;
    struct img_error ignored;

    if (judge->request->backing_name || !judge->backing_path) {
        return chain_remedy_rebase(judge, NULL, format);
    }
    IMG_AUTO(img_free_ptr)
    char *name = chain_backing_text(judge->dest_path, judge->backing_path,
                                    relative, &ignored);
    return name ? chain_remedy_rebase(judge, name, format) : NULL;
}

void chain_rule_backing_style(struct chain_judge *judge)
{
    const struct chain_validate_request *request = judge->request;
    const char *name = judge->dest_image->backing_name;
    bool is_relative = judge->has_backing_ref &&
                       judge->backing_ref.style == CHAIN_NAME_RELATIVE;
    bool want_relative = request->require == CHAIN_REQUIRE_RELATIVE;
    char shown[CHAIN_SHOWN_LEN];

    chain_judge_found(judge, "\"%s\"", chain_shown(name, shown));
    if (request->backing_name && strcmp(request->backing_name, name) != 0) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the backing name is not the one asked for");
        chain_judge_expected(judge, "\"%s\"",
                             chain_shown(request->backing_name, shown));
        chain_judge_remedy(judge, restyle(judge, want_relative));
    } else if (request->require != CHAIN_REQUIRE_ANY &&
               is_relative != want_relative) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL, "the backing name is not %s",
                        want_relative ? "relative" : "absolute");
        chain_judge_expected(judge, "%s name",
                             want_relative ? "a relative" : "an absolute");
        chain_judge_remedy(judge, restyle(judge, want_relative));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "the backing name is %s",
                        is_relative ? "relative" : "absolute");
    }
}
