/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about what is asked for: request-explicit, write-mode,
 * shallow-meaning, and whether the file is there at all: dest-exists.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

#include "judge.h"
#include "remedy.h"

static bool can_be_overlay(const char *format)
{
    return strcmp(format, "qcow2") == 0 || strcmp(format, "qed") == 0;
}

static char *ask_with(const struct chain_judge *judge, const char *format)
{
    IMG_AUTO(img_free_ptr) char *path = NULL;
    struct chain_remedy_request change = {.dest_format = format};

    if (judge->dest_path[0] != '/') {
        /* Links stay: names in FILE count from where it is spelled to be. */
        struct img_error ignored;
        IMG_AUTO(img_free_ptr) char *cwd = getcwd(NULL, 0);
        path = cwd ? img_text(&ignored, "%s/%s", cwd, judge->dest_path) : NULL;
        change.dest = path;
    }
    return chain_remedy_ask_again(judge, &change);
}

/* What deserves a warning by itself is refused where libvirt is to be asked. */
static enum chain_check_result not_explicit(const struct chain_judge *judge)
{
    return judge->request->is_explicit ? CHAIN_CHECK_FAIL : CHAIN_CHECK_WARN;
}

void chain_rule_request_explicit(struct chain_judge *judge)
{
    const char *format = judge->request->dest_format;
    char shown[CHAIN_SHOWN_LEN];

    if (format && judge->effective == FOR_S && !can_be_overlay(format)) {
        chain_judge_say(
            judge, CHAIN_CHECK_FAIL,
            "libvirt takes an external snapshot in qcow2 or qed only");
        chain_judge_found(judge, "%s", chain_shown(format, shown));
        chain_judge_expected(judge, "qcow2");
        chain_judge_remedy(judge, ask_with(judge, "qcow2"));
    } else if (!format && judge->has_probe) {
        chain_judge_say(
            judge, not_explicit(judge),
            "no format is named: what libvirt finds by probing is what "
            "a guest could have written");
        chain_judge_found(judge, "%s (probed)", judge->probe.format->name);
        chain_judge_expected(judge, "--dest-format");
        chain_judge_remedy(judge, ask_with(judge, judge->probe.format->name));
    } else if (judge->dest_path[0] != '/' && judge->request->dest_fd < 0) {
        chain_judge_say(
            judge, not_explicit(judge),
            "libvirt wants an absolute path; this one is judged from "
            "the working directory");
        chain_judge_found(judge, "%s", chain_shown(judge->dest_path, shown));
        chain_judge_remedy(judge, ask_with(judge, format));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "the request names a path and a format");
    }
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "a regular file";
}

static void say_missing(struct chain_judge *judge)
{
    struct stat link;
    bool is_link = lstat(judge->dest_path, &link) == 0 && S_ISLNK(link.st_mode);

    if (judge->dest_file_error.code != IMG_NOT_FOUND) {
        chain_judge_say_error(judge, CHAIN_CHECK_FAIL, &judge->dest_file_error);
        return;
    }
    chain_judge_say(judge, CHAIN_CHECK_FAIL,
                    is_link ? "it is a symbolic link that leads to no file"
                            : "there is no such file");
    chain_judge_found(judge, is_link ? "a dangling link" : "nothing");
    chain_judge_expected(judge, "a regular file or block device");
    chain_judge_remedy(judge, chain_remedy_create(judge, is_link));
}

void chain_rule_dest_exists(struct chain_judge *judge)
{
    mode_t mode = judge->dest_stat.st_mode;

    if (!judge->has_dest_stat) {
        say_missing(judge);
        return;
    }
    chain_judge_found(judge, "%s", kind_of(mode));
    if (S_ISREG(mode) || S_ISBLK(mode)) {
        chain_judge_say(judge, CHAIN_CHECK_PASS, "it exists and is %s",
                        kind_of(mode));
        return;
    }
    chain_judge_say(judge, CHAIN_CHECK_FAIL, "it is %s, not an image",
                    kind_of(mode));
    chain_judge_expected(judge, "a regular file or block device");
    chain_judge_remedy(judge, chain_remedy_recreate(judge));
}

void chain_rule_write_mode(struct chain_judge *judge)
{
    struct chain_remedy_request change = {.drop_synchronous = true};

    if (!judge->request->synchronous_writes) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "synchronous writes are not asked for");
    } else if (judge->effective == FOR_C) {
        chain_judge_say(
            judge, CHAIN_CHECK_PASS,
            "synchronous writes are safe with the full copy that this "
            "becomes");
    } else {
        chain_judge_say(
            judge, CHAIN_CHECK_FAIL,
            "a shallow copy with synchronous writes: QEMU 7.2 loses "
            "data when the guest writes less than a cluster");
        chain_judge_found(judge, "--synchronous-writes");
        chain_judge_expected(judge, "the background mode");
        chain_judge_remedy(judge, chain_remedy_ask_again(judge, &change));
    }
}

void chain_rule_shallow_meaning(struct chain_judge *judge)
{
    if (judge->effective == FOR_C) {
        chain_judge_say(
            judge, CHAIN_CHECK_WARN,
            "the active layer has no backing file: libvirt drops the "
            "shallow flag and copies in full, and so it was judged");
        chain_check_image(judge->report, judge->check, judge->request->source);
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "the active layer has a backing file");
    }
}
