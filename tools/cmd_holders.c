/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * holders: which processes use an image, and as what.
 *
 * Who has what open is looked up first, without reading any image; the
 * headers that tell what is a backing file are read in the sandbox.
 */
#include <chain/name.h>
#include <img/memory.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "holders.h"
#include "message.h"
#include "session.h"
#include "values.h"

#define PASSWD_LEN 16384u

const struct option_spec holders_options[] = {
    {0, NULL, NULL, NULL, NULL, 0},
};

/* The files that were asked about, as far as they are there. */
struct asked {
    const char **paths;
    struct img_file **opened;
    struct img_holders_file *files;
    size_t nr;
};

static void asked_fini(struct asked *asked)
{
    for (size_t i = 0; i < asked->nr; i++) {
        img_file_unref(asked->opened[i]);
    }
    free(asked->paths);
    free(asked->opened);
    free(asked->files);
}

static int asked_init(struct asked *asked, size_t nr, struct img_error *err)
{
    asked->paths = img_calloc(nr, sizeof(*asked->paths), err);
    asked->opened = img_calloc(nr, sizeof(struct img_file *), err);
    asked->files = img_calloc(nr, sizeof(*asked->files), err);
    return asked->paths && asked->opened && asked->files ? 0 : -1;
}

/* Its stamp is enough where it may not be opened. */
static int stamp_only(const char *path, const struct img_roots *roots,
                      struct img_stamp *out, struct img_error *err)
{
    if (img_path_stamp(path, roots, out, err) < 0) {
        return -1;
    }
    return S_ISREG(out->mode) || S_ISBLK(out->mode)
               ? 0
               : img_fail(err, IMG_UNSUPPORTED,
                          "it is neither a regular file nor a block device");
}

static int add_path(struct asked *asked, const char *path,
                    const struct img_roots *roots, struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE,
                                             .roots = roots};
    struct img_holders_file *out = &asked->files[asked->nr];
    struct img_file **file = &asked->opened[asked->nr];

    if (img_file_open(path, &options, file, err) == 0) {
        if (img_file_stamp(*file, &out->stamp, err) < 0) {
            img_file_unref(*file);
            return -1;
        }
        out->file = *file;
    } else if (err->code != IMG_DENIED ||
               stamp_only(path, roots, &out->stamp, err) < 0) {
        return -1;
    }
    return 0;
}

static int add_operand(struct asked *asked, const char *operand,
                       const struct img_roots *roots, struct img_error *err)
{
    IMG_AUTO(chain_ref_fini) struct chain_ref ref = {.path = NULL};

    if (chain_operand_parse(operand, &ref, err) < 0) {
        img_error_set_path(err, operand);
        return -1;
    }
    if (!ref.path) {
        img_fail(err, IMG_UNSUPPORTED, "names no file");
        img_error_set_path(err, operand);
        return -1;
    }
    if (add_path(asked, ref.path, roots, err) < 0) {
        img_error_set_path(err, ref.path);
        return -1;
    }
    asked->paths[asked->nr++] = operand;
    return 0;
}

static char *user_name(const struct img_process *process, struct img_error *err)
{
    char buf[PASSWD_LEN];
    struct passwd entry, *found = NULL;

    if (!process->has_uid) {
        return img_text(err, "unknown");
    }
    if (getpwuid_r(process->uid, &entry, buf, sizeof(buf), &found) == 0 &&
        found) {
        return img_text(err, "%s", found->pw_name);
    }
    return img_text(err, "%u", process->uid);
}

static void sight_fini(struct holders_sight *sight)
{
    for (size_t i = 0;
         sight->users && i < img_holders_processes_nr(sight->holders); i++) {
        free(sight->users[i]);
    }
    free(sight->users);
    chain_roles_free(sight->roles);
    img_holders_free(sight->holders);
}

/* All that is asked of the system: names of users, too. */
static int look(struct holders_sight *sight, const struct asked *asked,
                struct img_error *err)
{
    size_t nr;

    sight->paths = asked->paths;
    sight->files = asked->files;
    sight->nr = asked->nr;
    if (img_holders_new(asked->files, asked->nr, &sight->holders, err) < 0) {
        return -1;
    }
    nr = img_holders_processes_nr(sight->holders);
    sight->users = img_calloc(nr + 1, sizeof(char *), err);
    for (size_t i = 0; sight->users && i < nr; i++) {
        sight->users[i] =
            user_name(img_holders_process(sight->holders, i), err);
        if (!sight->users[i]) {
            return -1;
        }
    }
    return sight->users ? 0 : -1;
}

/* What stayed unseen: an error where it decides, else worth knowing. */
static int tell_blind_spots(const struct holders_sight *sight)
{
    char why[HOLDERS_WHY_LEN];
    struct img_error err;
    int code = EXIT_DONE;

    for (size_t i = 0; i < sight->nr; i++) {
        enum holders_verdict verdict = holders_judge(sight, i);

        holders_blind_spot(sight, i, why);
        if (verdict == HOLDERS_UNKNOWN) {
            img_fail(&err, IMG_DENIED,
                     "cannot tell whether it is in use: found nobody, but %s",
                     why);
            img_error_set_path(&err, sight->paths[i]);
            code = session_fail(&err, EXIT_FAILED);
        } else if (why[0]) {
            char shown[IMG_ERROR_PATH_MAX];

            img_escape(sight->paths[i], strlen(sight->paths[i]), shown,
                       sizeof(shown));
            message_note("%s: others may use it, too: %s", shown, why);
        }
    }
    return code;
}

int cmd_holders(void *opaque, char **operands, int nr)
{
    const struct common_values *common = opaque;
    IMG_AUTO(asked_fini) struct asked asked = {.nr = 0};
    IMG_AUTO(sight_fini) struct holders_sight sight = {.nr = 0};
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;
    int code = EXIT_DONE;

    if (asked_init(&asked, (size_t)nr, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    for (int i = 0; i < nr; i++) {
        /* The other files are still worth showing. */
        if (add_operand(&asked, operands[i], common->roots, &err) < 0) {
            code = session_fail(&err, EXIT_FAILED);
        }
    }
    if (asked.nr == 0) {
        return code;
    }
    if (look(&sight, &asked, &err) < 0 ||
        session_begin(common, 0, &out, &err) < 0 ||
        chain_roles_new(sight.holders, common->roots, &sight.roles, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (common->output == OUTPUT_JSON) {
        holders_json(out, &sight);
    } else {
        holders_human(out, &sight);
    }
    if (tell_blind_spots(&sight) != EXIT_DONE) {
        code = EXIT_FAILED;
    }
    return session_finish(out, code, EXIT_FAILED);
}
