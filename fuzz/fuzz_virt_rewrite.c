/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's XML with other paths: what comes out is XML that has the new paths
 * where the old ones were, and nothing else is different.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/rewrite.h>
#include <img/memory.h>

#include "fuzz.h"

static struct img_error err;

/* Hashes of paths, in the order in which they stand. */
struct paths {
    uint64_t hash;
    size_t nr;
};

static void add(struct paths *to, const char *path)
{
    for (; *path; path++) {
        to->hash = (to->hash ^ (unsigned char)*path) * 0x100000001b3;
    }
    to->hash = to->hash * 31 + 1;
    to->nr++;
}

static void note_new(void *opaque, const char *place, const char *old_path,
                     const char *new_path)
{
    fuzz_require(place[0] != '\0' && old_path[0] == '/');
    fuzz_require(!new_path || new_path[0] == '/');
    add(opaque, new_path ? new_path : old_path);
}

static void note_old(void *opaque, const char *place, const char *old_path,
                     const char *new_path)
{
    (void)place;
    fuzz_require(!new_path);
    add(opaque, old_path);
}

/* TEXT, rewritten by nothing, is itself, and has these PATHS. */
static void require_paths(const char *text, const struct paths *paths)
{
    struct paths found = {.nr = 0};
    const struct chain_rewrite wish = {.seen = note_old, .opaque = &found};
    IMG_AUTO(img_free_ptr) char *again = NULL;
    size_t changed_nr;

    fuzz_require(chain_rewrite(text, strlen(text), "again", &wish, &again,
                               &changed_nr, &err) == 0);
    fuzz_require(changed_nr == 0 && strcmp(text, again) == 0);
    fuzz_require(found.nr == paths->nr && found.hash == paths->hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct paths paths = {.nr = 0};
    struct chain_rewrite wish = {.uuid = "c7a5fdbd-edaf-9455-926a-d65c16db1809",
                                 .name = "a&b",
                                 .seen = note_new,
                                 .opaque = &paths};
    struct chain_path_map *map;
    char *out = NULL;

    if (chain_path_map_new(&map, &err) < 0 ||
        chain_path_map_add(map, "/", "/new'\"<\n", &err) < 0 ||
        chain_path_map_add(map, "/images", "/", &err) < 0) {
        abort();
    }
    wish.map = map;
    if (chain_rewrite((const char *)data, size, "fuzz", &wish, &out, NULL,
                      &err) < 0) {
        fuzz_require_error(&err);
    } else if (strlen(out) <= CHAIN_VIRT_MAX_LEN) {
        require_paths(out, &paths);
        free(out);
    }
    chain_path_map_free(map);
    return 0;
}
