/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules for paths that moved: see chain/rewrite.h. Room: chain/virt.
 *
 * Rules are kept sorted, and a path is looked up by each of its folders, the
 * longest first.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/rewrite.h>
#include <img/memory.h>

struct rule {
    char *old_path, *new_path; /* no slash at the end, but for "/" */
    size_t used_nr;
};

struct chain_path_map {
    struct rule **rules;  /* in the order they were added */
    struct rule **sorted; /* the same by old_path */
    size_t nr, room;
};

int chain_path_map_new(struct chain_path_map **out, struct img_error *err)
{
    *out = img_calloc(1, sizeof(**out), err);
    return *out ? 0 : -1;
}

static void rule_free(struct rule *rule)
{
    if (rule) {
        free(rule->old_path);
        free(rule->new_path);
        free(rule);
    }
}

static void rule_free_ptr(struct rule **rule)
{
    rule_free(*rule);
}

void chain_path_map_free(struct chain_path_map *map)
{
    if (!map) {
        return;
    }
    for (size_t i = 0; i < map->nr; i++) {
        rule_free(map->rules[i]);
    }
    free(map->rules);
    free(map->sorted);
    free(map);
}

/* PATH without slashes that say nothing. */
static char *plain(const char *path, struct img_error *err)
{
    char *copy = img_strndup(path, strlen(path), err), *to = copy;

    for (const char *from = copy; copy && *from; from++) {
        if (*from != '/' || to == copy || to[-1] != '/') {
            *to++ = *from;
        }
    }
    if (copy) {
        to -= to > copy + 1 && to[-1] == '/';
        *to = '\0';
    }
    return copy;
}

/* The place in the sorted list where the LEN bytes of OLD are, or belong. */
static size_t place_of(const struct chain_path_map *map, const char *old,
                       size_t len, bool *found)
{
    size_t low = 0, high = map->nr;

    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *other = map->sorted[middle]->old_path;
        int order = strncmp(old, other, len);

        if (order == 0 && other[len] == '\0') {
            *found = true;
            return middle;
        }
        if (order > 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int make_room(struct chain_path_map *map, struct img_error *err)
{
    size_t room = map->room ? 2 * map->room : 16;
    struct rule **rules, **sorted;

    if (map->nr < map->room) {
        return 0;
    }
    rules = reallocarray(map->rules, room, sizeof(struct rule *));
    if (!rules) {
        return img_fail_memory(err);
    }
    map->rules = rules;
    sorted = reallocarray(map->sorted, room, sizeof(struct rule *));
    if (!sorted) {
        return img_fail_memory(err);
    }
    map->sorted = sorted;
    map->room = room;
    return 0;
}

static int check_absolute(const char *path, struct img_error *err)
{
    char shown[IMG_ERROR_TEXT_MAX / 2];

    if (path[0] == '/') {
        return 0;
    }
    img_escape(path, strlen(path), shown, sizeof(shown));
    return img_fail(err, IMG_USAGE,
                    "a rule for paths: found '%s', expected an absolute path",
                    shown);
}

static int fail_doubled(const char *old_path, struct img_error *err)
{
    char shown[IMG_ERROR_TEXT_MAX / 2];

    img_escape(old_path, strlen(old_path), shown, sizeof(shown));
    return img_fail(err, IMG_USAGE,
                    "a rule for paths: found '%s' twice, expected one rule "
                    "for it",
                    shown);
}

int chain_path_map_add(struct chain_path_map *map, const char *old_path,
                       const char *new_path, struct img_error *err)
{
    IMG_AUTO(rule_free_ptr) struct rule *rule = NULL;
    size_t at;
    bool found;

    if (check_absolute(old_path, err) < 0 ||
        check_absolute(new_path, err) < 0) {
        return -1;
    }
    if (map->nr == CHAIN_PATH_MAP_MAX) {
        return img_fail(err, IMG_LIMIT, "more than %u rules for paths",
                        CHAIN_PATH_MAP_MAX);
    }
    rule = img_calloc(1, sizeof(*rule), err);
    if (!rule || !(rule->old_path = plain(old_path, err)) ||
        !(rule->new_path = plain(new_path, err)) || make_room(map, err) < 0) {
        return -1;
    }
    at = place_of(map, rule->old_path, strlen(rule->old_path), &found);
    if (found) {
        return fail_doubled(rule->old_path, err);
    }
    memmove(&map->sorted[at + 1], &map->sorted[at],
            (map->nr - at) * sizeof(struct rule *));
    map->sorted[at] = rule;
    map->rules[map->nr++] = img_steal(&rule);
    return 0;
}

/* Up to an "=" or the end; what is behind it. OUT has room for all of AT. */
static const char *unescape(const char *at, char *out)
{
    while (*at && *at != '=') {
        at += at[0] == '\\' && (at[1] == '=' || at[1] == '\\');
        *out++ = *at++;
    }
    *out = '\0';
    return at;
}

int chain_path_map_parse(struct chain_path_map *map, const char *rule,
                         struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    char *old_path = img_calloc(strlen(rule) + 1, 1, err);
    IMG_AUTO(img_free_ptr)
    char *new_path = img_calloc(strlen(rule) + 1, 1, err);
    const char *end;

    if (!old_path || !new_path) {
        return -1;
    }
    end = unescape(rule, old_path);
    if (*end == '\0') {
        char shown[IMG_ERROR_TEXT_MAX / 2];

        img_escape(rule, strlen(rule), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "a rule for paths: found '%s', expected OLD=NEW",
                        shown);
    }
    /* A second "=" is meant: parts stay parts. */
    for (char *out = new_path;; *out++ = '=') {
        end = unescape(end + 1, out);
        out += strlen(out);
        if (*end == '\0') {
            break;
        }
    }
    return chain_path_map_add(map, old_path, new_path, err);
}

/* How much of PATH, of which LEN bytes are a path, its folder is; 0: none. */
static size_t folder_len(const char *path, size_t len)
{
    if (len <= 1) {
        return 0;
    }
    while (path[len - 1] != '/') {
        len--;
    }
    return len > 1 ? len - 1 : 1;
}

/* The rule for PATH, which is plain; *LEN: of how much of it. */
static struct rule *find(const struct chain_path_map *map, const char *path,
                         size_t *len)
{
    for (*len = strlen(path); *len > 0; *len = folder_len(path, *len)) {
        bool found;
        size_t at = place_of(map, path, *len, &found);

        if (found) {
            return map->sorted[at];
        }
    }
    return NULL;
}

int chain_path_map_apply(const struct chain_path_map *map, const char *path,
                         char **out, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *old = NULL;
    struct rule *rule;
    const char *rest;
    size_t len;

    *out = NULL;
    if (!map || map->nr == 0 || path[0] != '/') {
        return 0;
    }
    old = plain(path, err);
    if (!old) {
        return -1;
    }
    rule = find(map, old, &len);
    if (!rule) {
        return 0;
    }
    rule->used_nr++;
    rest = old + len + (old[len] == '/');
    *out = img_text(err, "%s%s%s", rule->new_path,
                    *rest && strcmp(rule->new_path, "/") != 0 ? "/" : "", rest);
    if (*out && strcmp(*out, old) == 0) {
        free(img_steal(out));
        return 0;
    }
    return *out ? 0 : -1;
}

size_t chain_path_map_used(const struct chain_path_map *map, size_t idx)
{
    return map->rules[idx]->used_nr;
}

size_t chain_path_map_len(const struct chain_path_map *map)
{
    return map ? map->nr : 0;
}

const char *chain_path_map_old(const struct chain_path_map *map, size_t idx)
{
    return map->rules[idx]->old_path;
}
