/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about the chains as a whole: path-policy, chain-intact, size-match,
 * stable-source.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <img/size.h>

#include "backing_text.h"
#include "judge.h"
#include "remedy.h"
#include "stamp.h"

/*
 * A file under the destination that is none of the source's and private to
 * another user: libvirt would hand it to QEMU's user all the same.
 */
static const struct chain_layer *private_layer(const struct chain_judge *judge,
                                               uint32_t *owner)
{
    struct img_error ignored;
    struct img_stamp stamp;

    for (size_t i = 1; judge->dest && i < chain_depth(judge->dest); i++) {
        const struct chain_layer *layer = chain_layer_at(judge->dest, i);
        const struct img_file *file = chain_layer_file(layer);
        if (chain_find_file(judge->source, file) < 0 &&
            img_file_stamp(file, &stamp, &ignored) == 0 &&
            stamp.uid != judge->dest_stat.st_uid && !(stamp.mode & 4)) {
            *owner = stamp.uid;
            return layer;
        }
    }
    return NULL;
}

static const struct img_error *denial(const struct chain_judge *judge)
{
    const struct img_error *broken =
        judge->dest ? chain_broken(judge->dest) : &judge->dest_error;

    if (!judge->dest_file) {
        broken = &judge->dest_file_error;
    }
    if (broken && broken->code == IMG_DENIED) {
        return broken;
    }
    return judge->backing_file_error.code == IMG_DENIED
               ? &judge->backing_file_error
               : NULL;
}

void chain_rule_path_policy(struct chain_judge *judge)
{
    const struct img_error *denied = denial(judge);
    char shown[CHAIN_SHOWN_LEN];
    uint32_t owner;

    if (judge->request->roots && denied) {
        chain_judge_say_error(judge, CHAIN_CHECK_FAIL, denied);
        chain_judge_expected(judge, "a file inside the folders of --root");
        chain_judge_remedy(judge, judge->dest_image
                                      ? chain_remedy_rebase(judge, NULL, NULL)
                                      : NULL);
        return;
    }
    const struct chain_layer *layer = private_layer(judge, &owner);
    if (layer) {
        chain_judge_say(judge, CHAIN_CHECK_WARN,
                        "\"%s\" is private to user %" PRIu32
                        ", and libvirt would give QEMU access to it",
                        chain_shown(chain_layer_path(layer), shown), owner);
    } else if (judge->request->roots) {
        chain_judge_say(
            judge, CHAIN_CHECK_PASS,
            "all files of its chain are inside the allowed folders");
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "no folders were given to stay in (--root)");
    }
}

static char *recording_command(const struct chain *chain)
{
    const char *command = chain_broken_command(chain);
    struct img_error ignored;

    return command ? img_strndup(command, strlen(command), &ignored) : NULL;
}

/* Take layer 1's contents into the active layer: one layer less. */
static char *shorten(const struct chain_judge *judge)
{
    struct img_error ignored;

    if (chain_depth(judge->source) < 3) {
        return NULL;
    }
    const struct chain_layer *below = chain_layer_at(judge->source, 2);
    IMG_AUTO(img_free_ptr)
    char *name = chain_backing_text(judge->request->source,
                                    chain_layer_path(below), false, &ignored);
    IMG_AUTO(img_free_ptr)
    char *quoted = name ? chain_shell_quote(name, &ignored) : NULL;
    IMG_AUTO(img_free_ptr)
    char *program =
        quoted ? img_text(&ignored, "qemu-img rebase -f %s -b %s -F %s",
                          judge->source_image->format, quoted,
                          chain_layer_image(below)->format)
               : NULL;
    return program ? chain_remedy_command(program, judge->request->source)
                   : NULL;
}

static bool judge_whole(struct chain_judge *judge, const struct chain *chain)
{
    const struct img_error *broken = chain ? chain_broken(chain) : NULL;

    if (!broken) {
        return true;
    }
    bool is_doubt = broken->code == IMG_LOCKED || broken->code == IMG_IO ||
                    broken->code == IMG_MEMORY || broken->code == IMG_SYSTEM;
    chain_judge_say_error(
        judge, is_doubt ? CHAIN_CHECK_UNPROVEN : CHAIN_CHECK_FAIL, broken);
    if (broken->code == IMG_LIMIT) {
        chain_judge_expected(judge, "at most %u layers", CHAIN_MAX_DEPTH);
        chain_judge_remedy(judge, shorten(judge));
    } else {
        chain_judge_remedy(judge, recording_command(chain));
    }
    return false;
}

static bool judge_recorded(struct chain_judge *judge, const struct chain *chain)
{
    char shown[CHAIN_SHOWN_LEN];

    for (size_t i = 1; chain && i < chain_depth(chain); i++) {
        const struct chain_layer *layer = chain_layer_at(chain, i);
        if (!chain_layer_is_probed(layer)) {
            continue;
        }
        const struct chain_layer *upper = chain_layer_at(chain, i - 1);
        const struct img_image *image = chain_layer_image(upper);
        struct img_error ignored;
        IMG_AUTO(img_free_ptr)
        char *name = chain_shell_quote(image->backing_name, &ignored);
        IMG_AUTO(img_free_ptr)
        char *rebase = chain_remedy_rebase_program(image->format);
        IMG_AUTO(img_free_ptr)
        char *program = name && rebase
                            ? img_text(&ignored, "%s -b %s -F %s", rebase, name,
                                       chain_layer_image(layer)->format)
                            : NULL;
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the format of \"%s\" is not recorded",
                        chain_shown(chain_layer_path(layer), shown));
        chain_check_image(judge->report, judge->check, chain_layer_path(upper));
        if (program) {
            chain_judge_remedy(
                judge, chain_remedy_command(program, chain_layer_path(upper)));
        }
        return false;
    }
    return true;
}

void chain_rule_chain_intact(struct chain_judge *judge)
{
    size_t depth =
        chain_depth(judge->source) + (judge->effective == FOR_S ? 1 : 0);

    if (judge->dest && chain_depth(judge->dest) > depth) {
        depth = chain_depth(judge->dest);
    }
    if (judge->dest && judge->dest_image->backing_name &&
        !judge->has_backing_ref) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged, because of backing-portable");
        return;
    }
    if (!judge_whole(judge, judge->source) ||
        !judge_whole(judge, judge->dest) ||
        !judge_recorded(judge, judge->source) ||
        !judge_recorded(judge, judge->dest)) {
        return;
    }
    if (depth > CHAIN_MAX_DEPTH) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "libvirt takes no chain of so many layers");
        chain_judge_found(judge, "%zu layers", depth);
        chain_judge_expected(judge, "at most %u", CHAIN_MAX_DEPTH);
        chain_judge_remedy(judge, shorten(judge));
        return;
    }
    chain_judge_say(judge, CHAIN_CHECK_PASS,
                    "both chains are whole, %zu layers at most", depth);
}

static char *resize(const struct chain_judge *judge, uint64_t found,
                    uint64_t wanted)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    char *path = chain_shell_quote_path(judge->dest_path, &ignored);

    if (!path || (S_ISBLK(judge->dest_stat.st_mode) &&
                  strcmp(judge->dest_image->format, "raw") == 0)) {
        return NULL;
    }
    bool is_ours = strcmp(judge->dest_image->format, "qcow2") == 0 ||
                   strcmp(judge->dest_image->format, "raw") == 0;
    return img_text(&ignored, "%s resize -q %s-f %s %s %" PRIu64,
                    is_ours ? "imgchain" : "qemu-img",
                    found > wanted ? "--shrink " : "",
                    judge->dest_image->format, path, wanted);
}

void chain_rule_size_match(struct chain_judge *judge)
{
    uint64_t found = judge->dest_image->virtual_len;
    uint64_t wanted = judge->source_image->virtual_len;
    char text[IMG_SIZE_TEXT_LEN];

    chain_judge_found(judge, "%s", img_size_exact(found, text));
    chain_judge_expected(judge, "%s", img_size_exact(wanted, text));
    if (found == wanted) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "its virtual size is the source's, to the byte");
    } else if (found > wanted && judge->effective == FOR_S &&
               judge->request->allow_larger) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "it is larger than the source, as is wanted");
    } else {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "its virtual size is %s than the source's",
                        found > wanted ? "larger" : "smaller");
        chain_judge_remedy(judge, resize(judge, found, wanted));
    }
}

/* The layer of CHAIN that a running guest writes to; -1: none. */
static int moving_layer(const struct chain_judge *judge,
                        const struct chain *chain)
{
    return judge->request->is_live ? chain_find_file(chain, judge->source_file)
                                   : -1;
}

static int check_stable(const struct chain_judge *judge,
                        const struct chain *chain, struct img_error *err)
{
    int but = chain ? moving_layer(judge, chain) : -1;

    if (!chain) {
        return 0;
    }
    return chain_check_unchanged_but(chain, but, err) != 0
               ? -1
               : chain_stamp_recheck(judge->report, chain, but, err);
}

void chain_rule_stable_source(struct chain_judge *judge)
{
    struct img_error error;

    if (check_stable(judge, judge->source, &error) != 0 ||
        check_stable(judge, judge->dest, &error) != 0) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &error);
        return;
    }
    chain_judge_say(judge, CHAIN_CHECK_PASS,
                    judge->request->is_live
                        ? "no file but the active layer, which the guest "
                          "writes, changed while it was judged"
                        : "no file changed while it was judged");
}
