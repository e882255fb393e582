/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files -> backing names: the text that a header is to record. Room:
 * chain/graph.
 *
 * The kernel takes ".." from where a path has led to, links followed, so a
 * relative text counts from the real folder of the image that names it. The
 * last part of the named file's own path stays as it is given: where it is a
 * link, the link is meant.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/file.h>
#include <img/memory.h>

/* The folder that PATH stands in, links followed; it must be there. */
static char *real_folder(const char *path, struct img_error *err)
{
    const char *slash = strrchr(path, '/');
    IMG_AUTO(img_free_ptr)
    char *folder = slash ? img_strndup(path, (size_t)(slash - path) + 1, err)
                         : img_strndup(".", 1, err);

    if (!folder) {
        return NULL;
    }
    char *real = realpath(folder, NULL);
    if (!real) {
        img_fail_sys(err, errno, "cannot find its folder");
        img_error_set_path(err, path);
    }
    return real;
}

/* FOLDER, as realpath(3) spells it, and what stands after PATH's last '/'. */
static char *in_folder(const char *folder, const char *path,
                       struct img_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *last = slash ? slash + 1 : path;

    return img_text(err, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, last);
}

/* How many bytes of the folder DIR are a folder of PATH's, too: all of both up
   to and without a '/'. Both are real and absolute. */
static size_t common_len(const char *dir, const char *path)
{
    size_t common = 0, i = 0;

    while (dir[i] != '\0' && dir[i] == path[i]) {
        i++;
        if (path[i] == '/' && (dir[i] == '/' || dir[i] == '\0')) {
            common = i;
        }
    }
    return common;
}

/* The way from the folder DIR to the file PATH; both real and absolute. */
static char *way_between(const char *dir, const char *path,
                         struct img_error *err)
{
    const char *from = strcmp(dir, "/") == 0 ? "" : dir;
    size_t common = common_len(from, path);
    size_t ups = 0;

    for (const char *p = from + common; *p != '\0'; p++) {
        ups += *p == '/';
    }
    const char *rest = path + common + 1;
    bool is_protocol = ups == 0 && rest[strcspn(rest, ":/")] == ':';
    size_t rest_len = strlen(rest);
    char *text = img_calloc(ups * 3 + 2 + rest_len + 1, 1, err);
    if (!text) {
        return NULL;
    }
    char *end = is_protocol ? stpcpy(text, "./") : text;
    for (; ups > 0; ups--) {
        end = stpcpy(end, "../");
    }
    memcpy(end, rest, rest_len + 1);
    return text;
}

/* The text must lead to the file that TO leads to. */
static int check_leads_to(const char *path, const char *to, const char *text,
                          struct img_error *err)
{
    struct img_stamp want, found;
    struct img_error ignored;

    if (img_path_stamp(to, NULL, &want, err) < 0) {
        img_error_set_path(err, to);
        return -1;
    }
    if (img_path_stamp(path, NULL, &found, &ignored) == 0 &&
        found.dev == want.dev && found.ino == want.ino) {
        return 0;
    }
    char shown[512];
    img_escape(text, strlen(text), shown, sizeof(shown));
    img_fail(err, IMG_UNSUPPORTED,
             "no such name can be recorded for it: \"%s\" does not lead to it",
             shown);
    img_error_set_path(err, to);
    return -1;
}

char *chain_name_relative(const char *from, const char *to,
                          struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *from_dir = real_folder(from, err);
    IMG_AUTO(img_free_ptr)
    char *to_dir = from_dir ? real_folder(to, err) : NULL;
    IMG_AUTO(img_free_ptr)
    char *to_path = to_dir ? in_folder(to_dir, to, err) : NULL;
    IMG_AUTO(img_free_ptr)
    char *text = to_path ? way_between(from_dir, to_path, err) : NULL;
    IMG_AUTO(img_free_ptr)
    char *joined = text ? chain_name_join(from, text, err) : NULL;

    if (!joined || check_leads_to(joined, to, text, err) < 0) {
        return NULL;
    }
    return img_steal(&text);
}

char *chain_name_absolute(const char *to, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *dir = real_folder(to, err);
    IMG_AUTO(img_free_ptr) char *path = dir ? in_folder(dir, to, err) : NULL;

    if (!path || check_leads_to(path, to, path, err) < 0) {
        return NULL;
    }
    return img_steal(&path);
}
