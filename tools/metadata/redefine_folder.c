/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a redefinition as a folder: documents, and a script of virsh
 * commands. It is made under a hidden name, made stable, and gets its own in
 * one step.
 */
#include <chain/name.h>
#include <errno.h>
#include <fcntl.h>
#include <img/memory.h>
#include <img/newfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "carry.h"

#define NAME_LEN 96u

/* A folder that is being made. */
struct making {
    const char *path; /* what it is to be called */
    char *hidden;     /* what it is called until then */
    int fd;           /* of it; -1: none */
};

static int fail(struct img_error *err, const char *path, const char *what)
{
    img_fail_sys(err, errno, "%s", what);
    img_error_set_path(err, path);
    return -1;
}

/* ---- One file. */

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, text, len);

        if (done < 0) {
            return -1;
        }
        text += done;
        len -= (size_t)done;
    }
    return fsync(fd);
}

static int put_file(const struct making *making, const char *name,
                    const char *text, mode_t mode, struct img_error *err)
{
    int fd = openat(making->fd, name,
                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0) {
        return fail(err, making->path, "cannot make a file in it");
    }
    if (write_all(fd, text, strlen(text)) != 0) {
        (void)fail(err, making->path, "cannot write a file in it");
        close(fd);
        return -1;
    }
    return close(fd) != 0 ? fail(err, making->path, "cannot write a file in it")
                          : 0;
}

/* "007-NAME.xml", of letters that need no quotes. */
static void file_name(size_t number, const char *name, char out[NAME_LEN])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t at = (size_t)snprintf(out, NAME_LEN, "%03zu-", number);

    for (; *name && at < NAME_LEN - 8; name++) {
        out[at++] = strchr(plain, *name) ? *name : '_';
    }
    memcpy(out + at, ".xml", sizeof(".xml"));
}

/* ---- The script. */

static int add_command(FILE *script, const char *verb, const char *domain,
                       const char *file, const char *flags)
{
    return fprintf(script, "virsh %s --domain=%s --xmlfile=%s %s\n", verb,
                   domain, file, flags);
}

/* Which file the moment of step IDX is in: its first one. */
static size_t file_number(const struct chain_redefine_plan *plan, size_t idx)
{
    const struct chain_redefine_step *step = &plan->steps[idx];

    if (step->is_current) {
        for (size_t i = 0; i < idx; i++) {
            if (plan->steps[i].moment == step->moment) {
                return i + 1;
            }
        }
    }
    return idx + 1;
}

static int put_step(const struct making *making,
                    const struct chain_redefine_plan *plan, size_t idx,
                    FILE *script, const char *domain, struct img_error *err)
{
    const struct chain_redefine_step *step = &plan->steps[idx];
    size_t number = file_number(plan, idx);
    char name[NAME_LEN];

    file_name(number, step->moment->name, name);
    add_command(
        script,
        step->moment->snapshot ? "snapshot-create" : "checkpoint-create",
        domain, name, step->is_current ? "--redefine --current" : "--redefine");
    return number == idx + 1 ? put_file(making, name, step->moment->text,
                                        S_IRUSR | S_IWUSR, err)
                             : 0;
}

static int put_steps(const struct making *making,
                     const struct chain_redefine_plan *plan, const char *name,
                     FILE *script, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *domain = chain_shell_quote(name, err);

    if (!domain) {
        return -1;
    }
    fputs("#!/bin/sh\n"
          "# Puts snapshots and checkpoints on record, parents first; made by\n"
          "# imgchain metadata redefine. Ends at the first that libvirt "
          "refuses.\n"
          "set -e\n"
          "cd -- \"$(dirname -- \"$0\")\"\n",
          script);
    if (plan->bundle.domain) {
        fputs("virsh define --file=domain.xml\n", script);
        if (put_file(making, "domain.xml", plan->bundle.domain,
                     S_IRUSR | S_IWUSR, err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < plan->nr; i++) {
        if (put_step(making, plan, i, script, domain, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int fill(const struct making *making,
                const struct chain_redefine_plan *plan, const char *name,
                struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    size_t len;
    FILE *script = open_memstream(&text, &len);
    int rc;

    if (!script) {
        return img_fail_memory(err);
    }
    rc = put_steps(making, plan, name, script, err);
    if (fclose(script) != 0 || !text) {
        return img_fail_memory(err);
    }
    return rc < 0 ? -1 : put_file(making, "steps", text, S_IRWXU, err);
}

/* ---- The folder. */

static char *hidden_name(const char *path, struct img_error *err)
{
    const char *slash = strrchr(path, '/');

    return slash ? img_text(err, "%.*s/.%s.imgchain-XXXXXX",
                            (int)(slash - path), path, slash + 1)
                 : img_text(err, ".%s.imgchain-XXXXXX", path);
}

static void take_away(const struct making *making,
                      const struct chain_redefine_plan *plan)
{
    char name[NAME_LEN];

    for (size_t i = 0; i < plan->nr; i++) {
        file_name(i + 1, plan->steps[i].moment->name, name);
        (void)unlinkat(making->fd, name, 0);
    }
    (void)unlinkat(making->fd, "domain.xml", 0);
    (void)unlinkat(making->fd, "steps", 0);
    (void)rmdir(making->hidden);
}

static int publish(const struct making *making, struct img_error *err)
{
    if (fsync(making->fd) != 0) {
        return fail(err, making->path, "cannot write it");
    }
    if (renameat2(AT_FDCWD, making->hidden, AT_FDCWD, making->path,
                  RENAME_NOREPLACE) != 0 &&
        (errno != EINVAL || rename(making->hidden, making->path) != 0)) {
        return fail(err, making->path, "cannot give it its name");
    }
    return 0;
}

static int make(struct making *making, const struct chain_redefine_plan *plan,
                const char *name, struct img_error *err)
{
    int rc;

    if (!mkdtemp(making->hidden)) {
        return fail(err, making->path, "cannot make a folder beside it");
    }
    making->fd =
        open(making->hidden, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    rc = making->fd < 0
             ? fail(err, making->path, "cannot open what was made beside it")
             : fill(making, plan, name, err);
    if (rc == 0) {
        rc = publish(making, err);
    }
    if (rc < 0) {
        take_away(making, plan);
    }
    if (making->fd >= 0) {
        close(making->fd);
    }
    return rc < 0 ? -1 : img_folder_flush(making->path, err);
}

int carry_write_folder(const struct chain_redefine_plan *plan, const char *name,
                       const char *path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *plain = img_strndup(path, strlen(path), err);
    IMG_AUTO(img_free_ptr) char *hidden = NULL;
    struct making making = {.path = plain, .fd = -1};
    struct stat st;
    size_t len;

    if (!plain) {
        return -1;
    }
    for (len = strlen(plain); len > 1 && plain[len - 1] == '/'; len--) {
        plain[len - 1] = '\0';
    }
    hidden = hidden_name(plain, err);
    if (!hidden) {
        return -1;
    }
    if (lstat(plain, &st) == 0) {
        img_fail(err, IMG_USAGE, "exists already: expected a new name");
        img_error_set_path(err, plain);
        return -1;
    }
    making.hidden = hidden;
    return make(&making, plan, name, err);
}
