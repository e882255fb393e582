/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counted references: see refs.h. Room: qcow2/repair. */
#include "refs.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#define CHUNKS_MIN 64u
#define SLOTS_MIN 64u

void qcow2_refs_init(struct qcow2_refs *refs, uint64_t max_memory)
{
    *refs = (struct qcow2_refs){.memory_left = max_memory};
}

void qcow2_refs_fini(struct qcow2_refs *refs)
{
    for (uint64_t i = 0; i < refs->chunks_nr; i++) {
        free(refs->chunks[i].narrow);
        free(refs->chunks[i].wide);
    }
    free(refs->chunks);
    *refs = (struct qcow2_refs){0};
}

static int draw(uint64_t *memory_left, uint64_t len, struct img_error *err)
{
    if (len > *memory_left) {
        return img_fail(err, IMG_LIMIT, QCOW2_REPAIR_NO_MEMORY);
    }
    *memory_left -= len;
    return 0;
}

static int room_make(struct qcow2_refs *refs, uint64_t chunk,
                     struct img_error *err)
{
    uint64_t nr = img_max(refs->chunks_nr, CHUNKS_MIN);
    void *chunks;

    if (chunk < refs->chunks_nr) {
        return 0;
    }
    while (nr <= chunk) {
        nr *= 2;
    }
    if (draw(&refs->memory_left, (nr - refs->chunks_nr) * sizeof(*refs->chunks),
             err)) {
        return -1;
    }
    chunks = realloc(refs->chunks, nr * sizeof(*refs->chunks));
    if (!chunks) {
        return img_fail_memory(err);
    }
    refs->chunks = chunks;
    memset(refs->chunks + refs->chunks_nr, 0,
           (nr - refs->chunks_nr) * sizeof(*refs->chunks));
    refs->chunks_nr = nr;
    return 0;
}

static int chunk_widen(struct qcow2_refs *refs, struct qcow2_refs_chunk *chunk,
                       struct img_error *err)
{
    if (draw(&refs->memory_left, QCOW2_REFS_CHUNK * sizeof(*chunk->wide),
             err)) {
        return -1;
    }
    chunk->wide = img_calloc(QCOW2_REFS_CHUNK, sizeof(*chunk->wide), err);
    if (!chunk->wide) {
        return -1;
    }
    for (uint32_t i = 0; i < QCOW2_REFS_CHUNK; i++) {
        chunk->wide[i] = chunk->narrow[i];
    }
    free(img_steal(&chunk->narrow));
    refs->memory_left += QCOW2_REFS_CHUNK;
    return 0;
}

uint64_t qcow2_refs_get(const struct qcow2_refs *refs, uint64_t cluster)
{
    const struct qcow2_refs_chunk *chunk;

    if (cluster / QCOW2_REFS_CHUNK >= refs->chunks_nr) {
        return 0;
    }
    chunk = &refs->chunks[cluster / QCOW2_REFS_CHUNK];
    if (chunk->narrow) {
        return chunk->narrow[cluster % QCOW2_REFS_CHUNK];
    }
    return chunk->wide ? chunk->wide[cluster % QCOW2_REFS_CHUNK] : 0;
}

int qcow2_refs_set(struct qcow2_refs *refs, uint64_t cluster, uint64_t value,
                   struct img_error *err)
{
    struct qcow2_refs_chunk *chunk;

    if (room_make(refs, cluster / QCOW2_REFS_CHUNK, err)) {
        return -1;
    }
    chunk = &refs->chunks[cluster / QCOW2_REFS_CHUNK];
    if (!chunk->narrow && !chunk->wide) {
        if (draw(&refs->memory_left, QCOW2_REFS_CHUNK, err)) {
            return -1;
        }
        chunk->narrow = img_calloc(1, QCOW2_REFS_CHUNK, err);
        if (!chunk->narrow) {
            return -1;
        }
    }
    if (chunk->narrow && value > UINT8_MAX && chunk_widen(refs, chunk, err)) {
        return -1;
    }
    if (chunk->wide) {
        chunk->wide[cluster % QCOW2_REFS_CHUNK] = value;
    } else {
        chunk->narrow[cluster % QCOW2_REFS_CHUNK] = (uint8_t)value;
    }
    return 0;
}

bool qcow2_refs_is_empty(const struct qcow2_refs *refs, uint64_t first,
                         uint64_t end)
{
    end = img_min(end, refs->chunks_nr * QCOW2_REFS_CHUNK);
    while (first < end) {
        const struct qcow2_refs_chunk *chunk =
            &refs->chunks[first / QCOW2_REFS_CHUNK];

        if (!chunk->narrow && !chunk->wide) {
            first = img_align_down(first, QCOW2_REFS_CHUNK) + QCOW2_REFS_CHUNK;
        } else if (qcow2_refs_get(refs, first) != 0) {
            return false;
        } else {
            first++;
        }
    }
    return true;
}

void qcow2_l2_refs_fini(struct qcow2_l2_refs *tables)
{
    free(tables->slots);
    *tables = (struct qcow2_l2_refs){0};
}

static struct qcow2_l2_ref *slot_of(const struct qcow2_l2_refs *tables,
                                    uint64_t cluster)
{
    size_t mask = tables->room - 1;
    size_t i = (size_t)((cluster * 0x9e3779b97f4a7c15ull) >> 17) & mask;

    while (tables->slots[i].cluster != 0 &&
           tables->slots[i].cluster != cluster) {
        i = (i + 1) & mask;
    }
    return &tables->slots[i];
}

struct qcow2_l2_ref *qcow2_l2_refs_find(const struct qcow2_l2_refs *tables,
                                        uint64_t cluster)
{
    struct qcow2_l2_ref *slot;

    if (tables->nr == 0 || cluster == 0) {
        return NULL;
    }
    slot = slot_of(tables, cluster);
    return slot->cluster != 0 ? slot : NULL;
}

static int slots_grow(struct qcow2_l2_refs *tables, struct img_error *err)
{
    struct qcow2_l2_refs next = *tables;

    if (tables->nr + tables->nr / 2 < tables->room) {
        return 0;
    }
    next.room = tables->room ? tables->room * 2 : SLOTS_MIN;
    /* Both for a while, as it is moved. */
    if (draw(tables->memory_left, next.room * sizeof(*next.slots), err)) {
        return -1;
    }
    next.slots = img_calloc(next.room, sizeof(*next.slots), err);
    if (!next.slots) {
        return -1;
    }
    for (size_t i = 0; i < tables->room; i++) {
        if (tables->slots[i].cluster != 0) {
            *slot_of(&next, tables->slots[i].cluster) = tables->slots[i];
        }
    }
    free(tables->slots);
    *tables->memory_left += tables->room * sizeof(*tables->slots);
    *tables = next;
    return 0;
}

int qcow2_l2_refs_add(struct qcow2_l2_refs *tables, uint64_t cluster,
                      struct img_error *err)
{
    struct qcow2_l2_ref *slot;

    if (slots_grow(tables, err)) {
        return -1;
    }
    slot = slot_of(tables, cluster);
    if (slot->cluster == 0) {
        slot->cluster = cluster;
        tables->nr++;
    }
    slot->times++;
    return 0;
}
