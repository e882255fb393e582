/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of one cluster in memory. Room: qcow2/edit.
 *
 * A hash finds them, a list keeps them by last use. Dirty and new tables are
 * never dropped: a batch may outgrow max_nr, the caller is then told to
 * commit.
 */
#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

#include "edit_impl.h"

/* Enough for one step that touches several tables, whatever they weigh. */
#define MIN_TABLES 8u
#define MAX_BUCKETS 65536u

int qcow2_cache_init(struct qcow2_cache *cache, uint32_t table_len,
                     uint64_t memory, struct img_error *err)
{
    size_t nr = 16;

    *cache = (struct qcow2_cache){
        .table_len = table_len,
        .max_nr = (size_t)img_max(memory / table_len, MIN_TABLES),
    };
    while (nr < cache->max_nr && nr < MAX_BUCKETS) {
        nr *= 2;
    }
    cache->buckets = img_calloc(nr, sizeof(struct qcow2_table *), err);
    cache->buckets_nr = nr;
    return cache->buckets ? 0 : -1;
}

static struct qcow2_table **bucket(const struct qcow2_cache *cache,
                                   uint64_t key)
{
    /* Neighbouring keys are used together: they go to different buckets. */
    return &cache->buckets[key & (cache->buckets_nr - 1)];
}

static bool is_dirty(const struct qcow2_table *table)
{
    return table->is_new || table->dirty_end > table->dirty_start;
}

static void list_remove(struct qcow2_cache *cache, struct qcow2_table *table)
{
    if (table->older) {
        table->older->newer = table->newer;
    } else {
        cache->oldest = table->newer;
    }
    if (table->newer) {
        table->newer->older = table->older;
    } else {
        cache->newest = table->older;
    }
}

static void list_put(struct qcow2_cache *cache, struct qcow2_table *table)
{
    table->newer = NULL;
    table->older = cache->newest;
    if (cache->newest) {
        cache->newest->newer = table;
    } else {
        cache->oldest = table;
    }
    cache->newest = table;
}

struct qcow2_table *qcow2_cache_find(struct qcow2_cache *cache, uint64_t key)
{
    struct qcow2_table *table = *bucket(cache, key);

    while (table && table->key != key) {
        table = table->hash_next;
    }
    if (table && table != cache->newest) {
        list_remove(cache, table);
        list_put(cache, table);
    }
    return table;
}

static void table_free(struct qcow2_cache *cache, struct qcow2_table *table)
{
    struct qcow2_table **link = bucket(cache, table->key);

    while (*link != table) {
        link = &(*link)->hash_next;
    }
    *link = table->hash_next;
    list_remove(cache, table);
    cache->nr--;
    if (is_dirty(table)) {
        cache->dirty_nr--;
    }
    free(table->bytes);
    free(table);
}

/* Drop clean tables, the oldest first, until there is room for another. */
static void make_room(struct qcow2_cache *cache)
{
    struct qcow2_table *table = cache->oldest;

    if (cache->dirty_nr >= cache->max_nr) {
        return; /* a look at each would find nothing, time and again */
    }
    while (table && cache->nr >= cache->max_nr) {
        struct qcow2_table *newer = table->newer;

        if (!is_dirty(table)) {
            table_free(cache, table);
        }
        table = newer;
    }
}

struct qcow2_table *qcow2_cache_add(struct qcow2_cache *cache, uint64_t key,
                                    struct img_error *err)
{
    make_room(cache);

    IMG_AUTO(img_free_ptr)
    uint8_t *bytes = img_calloc(1, cache->table_len, err);
    struct qcow2_table *table = img_calloc(1, sizeof(*table), err);
    if (!bytes || !table) {
        free(table);
        return NULL;
    }
    struct qcow2_table **link = bucket(cache, key);

    table->key = key;
    table->bytes = img_steal(&bytes);
    table->hash_next = *link;
    *link = table;
    list_put(cache, table);
    cache->nr++;
    return table;
}

void qcow2_cache_touch(struct qcow2_cache *cache, struct qcow2_table *table,
                       uint32_t start, uint32_t end)
{
    bool was_dirty = is_dirty(table);

    if (table->dirty_end > table->dirty_start) {
        start = start < table->dirty_start ? start : table->dirty_start;
        end = end > table->dirty_end ? end : table->dirty_end;
    }
    table->dirty_start = start;
    table->dirty_end = end;
    cache->dirty_nr += !was_dirty && is_dirty(table);
}

void qcow2_cache_set_new(struct qcow2_cache *cache, struct qcow2_table *table)
{
    cache->dirty_nr += !is_dirty(table);
    table->is_new = true;
}

void qcow2_cache_clean(struct qcow2_cache *cache, struct qcow2_table *table)
{
    cache->dirty_nr -= is_dirty(table);
    table->is_new = false;
    table->dirty_start = 0;
    table->dirty_end = 0;
}

void qcow2_cache_drop(struct qcow2_cache *cache, struct qcow2_table *table)
{
    if (table) {
        table_free(cache, table);
        return;
    }
    for (struct qcow2_table *t = cache->oldest, *newer; t; t = newer) {
        newer = t->newer;
        table_free(cache, t);
    }
}

void qcow2_cache_fini(struct qcow2_cache *cache)
{
    qcow2_cache_drop(cache, NULL);
    free(cache->buckets);
    *cache = (struct qcow2_cache){0};
}

static int key_compare(const void *a, const void *b)
{
    const struct qcow2_table *x = *(struct qcow2_table *const *)a;
    const struct qcow2_table *y = *(struct qcow2_table *const *)b;

    return x->key < y->key ? -1 : x->key > y->key;
}

int qcow2_cache_dirty(const struct qcow2_cache *cache,
                      struct qcow2_table ***out, size_t *nr,
                      struct img_error *err)
{
    struct qcow2_table **tables =
        img_calloc(cache->dirty_nr, sizeof(struct qcow2_table *), err);
    size_t n = 0;

    if (!tables && cache->dirty_nr > 0) {
        return -1;
    }
    for (struct qcow2_table *t = cache->oldest; t && n < cache->dirty_nr;
         t = t->newer) {
        if (is_dirty(t)) {
            tables[n++] = t;
        }
    }
    if (n > 1) {
        qsort(tables, n, sizeof(struct qcow2_table *), key_compare);
    }
    *out = tables;
    *nr = n;
    return 0;
}
