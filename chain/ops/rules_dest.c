/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about the destination as a file: dest-access, dest-unused,
 * dest-distinct.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <img/memory.h>

#include "access.h"
#include "judge.h"
#include "remedy.h"

static bool has_acl(const char *path)
{
    return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

static void say_read_only(struct chain_judge *judge)
{
    IMG_AUTO(img_free_ptr)
    char *mount = chain_access_mount_point(judge->dest_path);

    chain_judge_say(judge, CHAIN_CHECK_FAIL,
                    "it is on a file system that is mounted read-only");
    chain_judge_found(judge, "a read-only mount");
    chain_judge_expected(judge, "a writable one");
    if (mount) {
        chain_judge_remedy(judge,
                           chain_remedy_command("mount -o remount,rw", mount));
    }
}

/* "chmod o+x DIR": the least that lets USER pass. */
static char *open_folder(const struct chain_access_user *user,
                         const char *folder)
{
    struct stat st;

    if (stat(folder, &st) != 0) {
        return NULL;
    }
    return chain_remedy_command(
        st.st_uid == user->uid ? "chmod u+x" : "chmod a+x", folder);
}

/* All folders that are in the way, one after the other. */
static char *open_folders(const struct chain_access_user *user,
                          const char *path)
{
    IMG_AUTO(img_free_ptr) char *real = realpath(path, NULL);
    char *commands = NULL;
    struct img_error ignored;
    struct stat st;

    for (char *slash = real; slash; slash = strchr(slash + 1, '/')) {
        size_t len = slash == real ? 1 : (size_t)(slash - real);
        IMG_AUTO(img_free_ptr) char *part = img_strndup(real, len, &ignored);
        if (part && stat(part, &st) == 0 &&
            !(chain_access_bits(user, &st) & 1)) {
            commands = chain_remedy_both(commands, open_folder(user, part));
        }
    }
    return commands;
}

static char *grant(const struct chain_judge *judge,
                   const struct chain_access_user *user)
{
    struct img_error ignored;
    char *chown = NULL;

    if (judge->dest_stat.st_uid != user->uid) {
        IMG_AUTO(img_free_ptr)
        char *program = img_text(&ignored, "chown %u", (unsigned)user->uid);
        chown =
            program ? chain_remedy_command(program, judge->dest_path) : NULL;
    }
    return chain_remedy_both(
        chown, chain_remedy_command("chmod u+rw", judge->dest_path));
}

static void judge_bits(struct chain_judge *judge,
                       const struct chain_access_user *user)
{
    IMG_AUTO(img_free_ptr) char *folder = NULL;
    char shown[CHAIN_SHOWN_LEN];
    const struct stat *st = &judge->dest_stat;
    bool is_blocked =
        judge->request->dest_fd < 0 &&
        chain_access_blocked_folder(user, judge->dest_path, &folder);
    bool is_writable = (chain_access_bits(user, st) & 6) == 6;
    const char *acl = has_acl(judge->dest_path)
                          ? "; its access control list was not read"
                          : "";

    if (!is_blocked && is_writable) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "user %u can open it for writing, by its mode bits%s",
                        (unsigned)user->uid, acl);
        return;
    }
    if (is_blocked) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "user %u cannot pass the folder \"%s\"%s",
                        (unsigned)user->uid, chain_shown(folder, shown), acl);
    } else {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "user %u cannot read and write it, by its mode bits%s",
                        (unsigned)user->uid, acl);
    }
    chain_judge_found(judge, "mode %04o, owner %u, group %u",
                      (unsigned)st->st_mode & 07777, (unsigned)st->st_uid,
                      (unsigned)st->st_gid);
    chain_judge_expected(judge, "read and write for user %u",
                         (unsigned)user->uid);
    chain_judge_remedy(
        judge, chain_remedy_both(
                   is_blocked ? open_folders(user, judge->dest_path) : NULL,
                   is_writable ? NULL : grant(judge, user)));
}

static bool is_read_only_mount(const struct chain_judge *judge)
{
    struct statvfs fs;
    int fd = judge->request->dest_fd;
    int rc = fd >= 0 ? fstatvfs(fd, &fs) : statvfs(judge->dest_path, &fs);

    /* A device is written to, not the file system its node is on. */
    return rc == 0 && (fs.f_flag & ST_RDONLY) != 0 &&
           S_ISREG(judge->dest_stat.st_mode);
}

void chain_rule_dest_access(struct chain_judge *judge)
{
    if (is_read_only_mount(judge)) {
        say_read_only(judge);
    } else {
        judge_bits(judge, &judge->user);
    }
}

static void judge_claim(struct chain_judge *judge)
{
    struct img_error error;
    bool is_claimed;

    if (img_file_claim_test(judge->dest_file, &is_claimed, &error) != 0) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &error);
    } else if (is_claimed) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the device is mounted, or another device or program "
                        "has it to itself");
        chain_judge_found(judge, "a device that is busy");
        chain_judge_expected(judge, "one that nobody uses");
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "no other process uses it");
    }
}

void chain_rule_dest_unused(struct chain_judge *judge)
{
    struct img_lock_holder holder = {0};
    struct img_error error;

    if (img_file_writer_test(judge->dest_file, &holder, &error) != 0) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &error);
        return;
    }
    if (!holder.is_held) {
        judge_claim(judge);
        return;
    }
    chain_judge_expected(judge, "no holder");
    if (holder.pid == 0) {
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "another process uses it (it forbids \"%s\")",
                        holder.what ? holder.what : "write");
        chain_judge_found(judge, "a process that cannot be seen from here");
        return;
    }
    chain_judge_say(judge, CHAIN_CHECK_FAIL, "process %d (%s) uses it",
                    holder.pid, holder.command);
    chain_judge_found(judge, "held by process %d", holder.pid);
    /* To end a process is not for a command to suggest; to wait for it is. */
    chain_judge_remedy(
        judge, img_text(&error, "tail --pid=%d -f /dev/null", holder.pid));
}

/* A name of its own for a file that another name leads to as well: removing
   it loses nothing. */
static bool is_spare_name(const struct chain_judge *judge)
{
    struct stat link;

    if (judge->request->dest_fd >= 0 || lstat(judge->dest_path, &link) != 0) {
        return false;
    }
    return S_ISLNK(link.st_mode) ||
           (S_ISREG(link.st_mode) && link.st_nlink > 1);
}

static bool is_named_alike(const char *a, const char *b)
{
    IMG_AUTO(img_free_ptr) char *real_a = realpath(a, NULL);
    IMG_AUTO(img_free_ptr) char *real_b = realpath(b, NULL);

    return real_a && real_b && strcmp(real_a, real_b) == 0;
}

void chain_rule_dest_distinct(struct chain_judge *judge)
{
    int idx = chain_find_file(judge->source, judge->dest_file);
    char shown[CHAIN_SHOWN_LEN];
    struct stat link;

    if (idx < 0) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "it is none of the source chain's files");
        return;
    }
    const char *path =
        chain_layer_path(chain_layer_at(judge->source, (size_t)idx));
    bool is_link = lstat(judge->dest_path, &link) == 0 && S_ISLNK(link.st_mode);
    chain_judge_say(
        judge, CHAIN_CHECK_FAIL,
        "it is layer %d of the source chain itself, by whatever name", idx);
    chain_judge_found(judge, "the file \"%s\"", chain_shown(path, shown));
    chain_judge_expected(judge, "another file");
    if (is_spare_name(judge) &&
        (is_link || !is_named_alike(judge->dest_path, path))) {
        chain_judge_remedy(judge, chain_remedy_create(judge, true));
    }
}
