/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Access by mode bits: see access.h.
 */
#include "access.h"

#include <chain/validate.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

#define PASSWD_LEN 16384u

static int load_self(struct chain_access_user *out, struct img_error *err)
{
    out->uid = geteuid();
    out->groups[0] = getegid();
    int nr = getgroups(CHAIN_ACCESS_GROUPS_MAX - 1, out->groups + 1);
    if (nr < 0) {
        return img_fail_sys(err, errno, "cannot tell this process's groups");
    }
    out->groups_nr = nr + 1;
    return 0;
}

static int find_user(const char *name, struct passwd *entry, char *buf,
                     struct passwd **found)
{
    char *end = NULL;
    int rc = getpwnam_r(name, entry, buf, PASSWD_LEN, found);

    if (rc != 0 || *found) {
        return rc;
    }
    errno = 0;
    unsigned long uid = strtoul(name, &end, 10);
    if (name[0] < '0' || name[0] > '9' || *end != '\0' || errno != 0 ||
        uid >= (uid_t)-1) {
        return 0;
    }
    return getpwuid_r((uid_t)uid, entry, buf, PASSWD_LEN, found);
}

int chain_access_user_load(const char *name, struct chain_access_user *out,
                           struct img_error *err)
{
    struct passwd entry, *found = NULL;

    if (!name) {
        return load_self(out, err);
    }
    IMG_AUTO(img_free_ptr) char *buf = img_calloc(1, PASSWD_LEN, err);
    if (!buf) {
        return -1;
    }
    int rc = find_user(name, &entry, buf, &found);
    if (rc != 0) {
        return img_fail_sys(err, rc, "cannot look up the user");
    }
    if (!found) {
        char shown[128];
        img_escape(name, strlen(name), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE, "there is no user \"%s\"", shown);
    }
    out->uid = found->pw_uid;
    out->groups_nr = CHAIN_ACCESS_GROUPS_MAX;
    if (getgrouplist(found->pw_name, found->pw_gid, out->groups,
                     &out->groups_nr) < 0) {
        return img_fail(err, IMG_LIMIT, "a user in more than %d groups",
                        CHAIN_ACCESS_GROUPS_MAX);
    }
    return 0;
}

int chain_access_user_new(const char *name, struct chain_access_user **out,
                          struct img_error *err)
{
    struct chain_access_user *user = img_calloc(1, sizeof(*user), err);

    if (!user || chain_access_user_load(name, user, err) < 0) {
        free(user);
        return -1;
    }
    *out = user;
    return 0;
}

static bool is_member(const struct chain_access_user *user, gid_t gid)
{
    for (int i = 0; i < user->groups_nr; i++) {
        if (user->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

unsigned chain_access_bits(const struct chain_access_user *user,
                           const struct stat *st)
{
    if (user->uid == 0) {
        /* What CAP_DAC_OVERRIDE gives; x needs one x bit on a file. */
        return S_ISDIR(st->st_mode) || (st->st_mode & 0111) ? 7 : 6;
    }
    if (st->st_uid == user->uid) {
        return (st->st_mode >> 6) & 7;
    }
    if (is_member(user, st->st_gid)) {
        return (st->st_mode >> 3) & 7;
    }
    return st->st_mode & 7;
}

bool chain_access_blocked_folder(const struct chain_access_user *user,
                                 const char *path, char **folder)
{
    IMG_AUTO(img_free_ptr) char *real = realpath(path, NULL);
    struct img_error ignored;
    struct stat st;

    if (!real) {
        return false;
    }
    for (char *slash = real; slash; slash = strchr(slash + 1, '/')) {
        size_t len = slash == real ? 1 : (size_t)(slash - real);
        char *part = img_strndup(real, len, &ignored);
        if (part && stat(part, &st) == 0 &&
            !(chain_access_bits(user, &st) & 1)) {
            *folder = part;
            return true;
        }
        free(part);
    }
    return false;
}

char *chain_access_mount_point(const char *path)
{
    char *real = realpath(path, NULL);
    struct stat at, above;

    if (!real || stat(real, &at) != 0) {
        free(real);
        return NULL;
    }
    for (;;) {
        char *slash = strrchr(real, '/');
        if (!slash || real[1] == '\0') {
            return real;
        }
        char saved = slash == real ? real[1] : *slash;
        char *cut = slash == real ? slash + 1 : slash;
        *cut = '\0';
        if (stat(real, &above) != 0 || above.st_dev != at.st_dev) {
            *cut = saved;
            return real;
        }
    }
}
