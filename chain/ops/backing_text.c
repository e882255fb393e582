/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backing names for remedies: see backing_text.h.
 *
 * Both paths are resolved (symbolic links, "..") before one is expressed
 * relative to the other, so that the text is right wherever links point.
 */
#include "backing_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

static char *resolved(const char *path, struct img_error *err)
{
    char *real = realpath(path, NULL);

    if (!real) {
        img_fail_sys(err, errno, "cannot resolve the path");
        img_error_set_path(err, path);
    }
    return real;
}

/* The resolved folder that the name PATH stands in (PATH need not exist). */
static char *resolved_folder(const char *path, struct img_error *err)
{
    const char *slash = strrchr(path, '/');

    if (!slash) {
        return resolved(".", err);
    }
    IMG_AUTO(img_free_ptr)
    char *folder = img_strndup(path, (size_t)(slash - path) + 1, err);
    return folder ? resolved(folder, err) : NULL;
}

/* Length of the common beginning of two absolute paths, in whole parts. */
static size_t common_len(const char *folder, const char *target)
{
    size_t i = 0, common = 0;

    while (folder[i] != '\0' && folder[i] == target[i]) {
        i++;
        if (folder[i - 1] == '/') {
            common = i;
        }
    }
    if (folder[i] == '\0' && target[i] == '/') {
        common = i + 1;
    }
    return common;
}

static char *relative_text(const char *folder, const char *target,
                           struct img_error *err)
{
    size_t common = common_len(folder, target);
    size_t ups = 0;

    if (common <= strlen(folder) && folder[common] != '\0') {
        ups = 1;
        for (const char *p = folder + common; *p != '\0'; p++) {
            ups += *p == '/';
        }
    }
    const char *rest = target + common;
    IMG_AUTO(img_free_ptr) char *up = img_calloc(ups + 1, 3, err);
    if (!up) {
        return NULL;
    }
    for (size_t i = 0; i < 3 * ups; i++) {
        up[i] = "../"[i % 3];
    }
    bool is_protocol = ups == 0 && rest[strcspn(rest, ":/")] == ':';
    return img_text(err, "%s%s%s", up, is_protocol ? "./" : "", rest);
}

char *chain_backing_text(const char *from, const char *target, bool relative,
                         struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *real = resolved(target, err);

    if (!real || !relative) {
        return img_steal(&real);
    }
    IMG_AUTO(img_free_ptr) char *folder = resolved_folder(from, err);
    return folder ? relative_text(folder, real, err) : NULL;
}

char *chain_backing_text_expected(const struct chain_judge *judge,
                                  struct img_error *err)
{
    const struct chain_layer *layer = chain_judge_expected_backing(judge);
    const char *given = judge->request->backing_name;

    if (!layer) {
        return NULL;
    }
    if (given) {
        return img_strndup(given, strlen(given), err);
    }
    return chain_backing_text(judge->dest_path, chain_layer_path(layer),
                              judge->request->require == CHAIN_REQUIRE_RELATIVE,
                              err);
}
