/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The message for a backing file whose format is not recorded, with the
 * command that records it. Room: chain/graph.
 *
 * The format in the command is what the file looks like now. It is only a
 * suggestion to a person: a guest can write any header into a raw image.
 */
#include "graph.h"

#include <string.h>

#include <chain/formats.h>
#include <img/memory.h>

/* What is left of an error's text for the name and the command. */
#define COMMAND_TEXT_MAX (IMG_ERROR_TEXT_MAX - 80u)

/* NULL where the file could not be looked at. */
static const char *suggested_format(const struct chain_layer *lower)
{
    struct chain_probe probe;
    struct img_error ignored;

    if (!lower->file || chain_probe(lower->file, &probe, &ignored) < 0) {
        return NULL;
    }
    return probe.format->name;
}

/* The caller named it, and is to say what it is: no command is run for that. */
static int fail_not_given(const struct chain_layer *upper,
                          const struct chain_layer *lower,
                          struct img_error *err)
{
    const char *format = suggested_format(lower);
    char shown[512];

    img_escape(lower->path, strlen(lower->path), shown, sizeof(shown));
    if (format) {
        img_fail(err, IMG_UNDECLARED,
                 "the format of the new backing file \"%s\" is not given: it "
                 "looks like %s (-F %s)",
                 shown, format, format);
    } else {
        img_fail(err, IMG_UNDECLARED,
                 "the format of the new backing file \"%s\" is not given (-F)",
                 shown);
    }
    img_error_set_path(err, upper->path);
    return -1;
}

/* Named by a json: name's "backing": no header is there to record it in. */
static int fail_nested(const struct chain_layer *upper,
                       const struct chain_layer *lower, struct img_error *err)
{
    char shown[512];

    img_escape(lower->path, strlen(lower->path), shown, sizeof(shown));
    img_fail(err, IMG_UNDECLARED,
             "the json: name of the image says no \"driver\" for its backing "
             "file \"%s\"",
             shown);
    img_error_set_path(err, upper->path);
    return -1;
}

/* No command helps where UPPER could not be read even so. */
static int fail_unreadable(const struct chain_layer *upper, const char *shown,
                           struct img_error *err)
{
    const char *why = upper->image->unreadable_why;

    img_fail(err, IMG_UNSUPPORTED,
             "%s; nor is the format of its backing file \"%s\" recorded",
             why ? why : "its contents cannot be read", shown);
    img_error_set_path(err, upper->path);
    return -1;
}

/* NULL with IMG_UNSUPPORTED where a name is none that a command can hold. */
static char *record_command(const struct chain_layer *upper, const char *name,
                            const char *format, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *quoted = chain_shell_quote(name, err);
    IMG_AUTO(img_free_ptr)
    char *path = quoted ? chain_shell_quote_path(upper->path, err) : NULL;

    return path ? img_text(err, "qemu-img rebase -u -b %s -F %s %s", quoted,
                           format ? format : "FMT", path)
                : NULL;
}

int chain_fail_undeclared(struct chain *chain, const struct chain_layer *upper,
                          const struct chain_layer *lower,
                          struct img_error *err)
{
    const char *name = upper->image->backing_name;
    char shown[256];

    if (lower->ref != &lower->own_ref) {
        return fail_nested(upper, lower, err);
    }
    if (chain->is_backing_given && upper == chain->layers[0]) {
        return fail_not_given(upper, lower, err);
    }
    img_escape(name, strlen(name), shown, sizeof(shown));
    if (!upper->image->is_readable) {
        return fail_unreadable(upper, shown, err);
    }
    const char *format = suggested_format(lower);
    IMG_AUTO(img_free_ptr)
    char *command = record_command(upper, name, format, err);
    if (!command && err->code != IMG_UNSUPPORTED) {
        return -1;
    }
    /* Half a command is another command: all of it or none. */
    bool is_short =
        command && strlen(shown) + strlen(command) < COMMAND_TEXT_MAX;
    img_fail(err, IMG_UNDECLARED,
             "the format of its backing file \"%s\" is not recorded%s%s", shown,
             is_short ? "; record it with: " : "", is_short ? command : "");
    img_error_set_path(err, upper->path);
    if (command && format) {
        chain->broken_command = img_steal(&command);
    }
    return -1;
}
