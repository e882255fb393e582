/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way back: what a run put on record is taken off, and what it replaced put
 * back. Room: chain/virt.
 *
 * The record may be an old one, and the domain's owner at work since then. So
 * nothing is touched that is not what the run put there; and taking back may be
 * cut short, and done once more, at any place.
 */
#include "redefine_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

enum finding {
    FOUND_DONE,   /* as it was before */
    FOUND_OURS,   /* as the run left it */
    FOUND_OTHERS, /* neither */
};

struct back {
    struct chain_libvirt *libvirt;
    const struct record *record;
    const struct record_way *way;
    struct chain_metadata *there[2]; /* by kind */
    enum finding *found;             /* of each entry */
};

static void back_fini(struct back *back)
{
    chain_metadata_free(back->there[CHAIN_SNAPSHOT]);
    chain_metadata_free(back->there[CHAIN_CHECKPOINT]);
    free(back->found);
}

static void free_metadata(struct chain_metadata **metadata)
{
    chain_metadata_free(*metadata);
}

/* ---- Is it the same one? */

static bool is_same(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

static bool has_overlay(const struct chain_virt_snapshot *snapshot,
                        const char *path)
{
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        if (is_same(snapshot->disks[i].dest.source.path, path)) {
            return true;
        }
    }
    return false;
}

/* libvirt writes into its own what PUT leaves out; so what PUT says counts. */
static bool is_same_snapshot(const struct chain_virt_snapshot *now,
                             const struct chain_virt_snapshot *put)
{
    for (size_t i = 0; i < put->disks_nr; i++) {
        const char *path = put->disks[i].dest.source.path;

        if (path && !has_overlay(now, path)) {
            return false;
        }
    }
    return now->creation_time == put->creation_time &&
           is_same(now->state, put->state) &&
           (!put->memory_file || is_same(now->memory_file, put->memory_file));
}

static int is_alike(const struct chain_moment *now, const char *text,
                    enum chain_moment_kind kind, bool *out,
                    struct img_error *err)
{
    IMG_AUTO(free_metadata) struct chain_metadata *metadata = NULL;
    const struct chain_moment *put;

    if (chain_metadata_new(kind, &metadata, err) < 0 ||
        chain_metadata_add(metadata, now->name, NULL, text, strlen(text), err) <
            0) {
        return -1;
    }
    put = &metadata->moments[0];
    *out =
        is_same(now->name, put->name) &&
        is_same(now->parent_name, put->parent_name) &&
        (kind == CHAIN_SNAPSHOT ? is_same_snapshot(now->snapshot, put->snapshot)
                                : now->checkpoint->creation_time ==
                                      put->checkpoint->creation_time);
    return 0;
}

/* ---- What is there. */

static const struct chain_moment *
find(const struct back *back, enum chain_moment_kind kind, const char *name)
{
    const struct chain_metadata *there = back->there[kind];
    size_t idx = chain_metadata_find(there, name);

    return idx == CHAIN_METADATA_NONE ? NULL : &there->moments[idx];
}

static int look_at(const struct back *back, const struct record_entry *entry,
                   enum finding *out, struct img_error *err)
{
    const struct chain_moment *now = find(back, entry->kind, entry->name);
    bool is_alike_put = false, is_alike_old = false;

    if (!now) {
        /* libvirt drops one that it fails to replace. */
        *out = !entry->xml         ? FOUND_DONE
               : back->way->is_own ? FOUND_OURS
                                   : FOUND_OTHERS;
        return 0;
    }
    if (entry->xml && strcmp(now->text, entry->xml) == 0) {
        *out = FOUND_DONE;
        return 0;
    }
    if (is_alike(now, entry->put, entry->kind, &is_alike_put, err) < 0 ||
        (entry->xml &&
         is_alike(now, entry->xml, entry->kind, &is_alike_old, err) < 0)) {
        return -1;
    }
    *out = is_alike_put ? FOUND_OURS : is_alike_old ? FOUND_DONE : FOUND_OTHERS;
    return 0;
}

/* Is something below entry IDX that stays? It would hang elsewhere. */
static bool bears_others(const struct back *back, size_t idx)
{
    const struct record_entry *entry = &back->record->entries[idx];
    const struct chain_metadata *there = back->there[entry->kind];
    size_t at = chain_metadata_find(there, entry->name);

    for (size_t i = 0; i < there->nr; i++) {
        bool goes = false;

        if (there->moments[i].parent != at) {
            continue;
        }
        for (size_t k = 0; k < back->record->nr && !goes; k++) {
            goes =
                back->found[k] == FOUND_OURS &&
                back->record->entries[k].kind == entry->kind &&
                is_same(back->record->entries[k].name, there->moments[i].name);
        }
        if (!goes) {
            return true;
        }
    }
    return false;
}

static int look(struct back *back, struct img_error *err)
{
    const struct record *record = back->record;

    back->found = img_calloc(record->nr + 1, sizeof(*back->found), err);
    if (!back->found ||
        chain_libvirt_metadata(back->libvirt, CHAIN_SNAPSHOT, true,
                               &back->there[CHAIN_SNAPSHOT], err) < 0 ||
        chain_libvirt_metadata(back->libvirt, CHAIN_CHECKPOINT, true,
                               &back->there[CHAIN_CHECKPOINT], err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < record->nr; i++) {
        if (look_at(back, &record->entries[i], &back->found[i], err) < 0) {
            return -1;
        }
    }
    for (size_t i = record->nr; i-- > 0;) {
        if (back->found[i] == FOUND_OURS && !record->entries[i].xml &&
            bears_others(back, i)) {
            back->found[i] = FOUND_OTHERS;
        }
    }
    return 0;
}

/* ---- What stays. */

static void tell(const struct back *back, const char *name, const char *what)
{
    char shown[256], line[512];

    img_escape(name, strlen(name), shown, sizeof(shown));
    (void)snprintf(line, sizeof(line), "%s %s", shown, what);
    if (back->way->tell) {
        back->way->tell(back->way->opaque, line);
    }
}

static int judge_others(const struct back *back, struct img_error *err)
{
    char shown[256];

    for (size_t i = 0; i < back->record->nr; i++) {
        const char *name = back->record->entries[i].name;

        if (back->found[i] != FOUND_OTHERS) {
            continue;
        }
        if (!back->way->leaves) {
            img_escape(name, strlen(name), shown, sizeof(shown));
            return img_fail(err, IMG_CHANGED,
                            "%s is not (or not only) what that run put on "
                            "record, and nothing is taken back: redefine "
                            "--recover leaves such ones as they are",
                            shown);
        }
        tell(back, name, "is not what that run put on record, and stays");
    }
    return 0;
}

/* ---- Back. */

static int restore_entry(const struct back *back, size_t idx,
                         struct img_error *err)
{
    const struct record_entry *entry = &back->record->entries[idx];

    if (back->found[idx] != FOUND_OURS) {
        return 0;
    }
    return entry->xml ? chain_libvirt_moment_put(back->libvirt, entry->kind,
                                                 entry->xml, false, err)
                      : chain_libvirt_moment_delete(back->libvirt, entry->kind,
                                                    entry->name, err);
}

/* Is the current snapshot, NAME, the one that the run made current? */
static bool is_put_current(const struct back *back, const char *name)
{
    if (!is_same(back->record->current_put, name)) {
        return false;
    }
    for (size_t i = 0; i < back->record->nr; i++) {
        const struct record_entry *entry = &back->record->entries[i];

        if (entry->kind == CHAIN_SNAPSHOT && is_same(entry->name, name)) {
            return back->found[i] != FOUND_OTHERS;
        }
    }
    return false;
}

/* Ahead of what goes: libvirt makes the parent of a current one that goes the
   current one. The document stays what it is now. */
static int restore_current(const struct back *back, struct img_error *err)
{
    const struct record *record = back->record;
    IMG_AUTO(img_free_ptr) char *now = NULL;
    const struct chain_moment *moment;

    if (record->is_forgetting || !record->current) {
        return 0;
    }
    if (chain_libvirt_current(back->libvirt, &now, err) < 0) {
        return -1;
    }
    if (is_same(now, record->current)) {
        return 0;
    }
    moment = find(back, CHAIN_SNAPSHOT, record->current);
    if (!moment && back->way->is_own) {
        return chain_libvirt_moment_put(back->libvirt, CHAIN_SNAPSHOT,
                                        record->current_xml, true, err);
    }
    if (!moment || (!back->way->is_own && !is_put_current(back, now))) {
        tell(back, record->current,
             "was the current snapshot, and is not made so again: another one "
             "is, or it is gone");
        return 0;
    }
    return chain_libvirt_moment_put(back->libvirt, CHAIN_SNAPSHOT, moment->text,
                                    true, err);
}

static int check_none(const struct back *back, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *now = NULL;

    if (back->record->is_forgetting || back->record->current ||
        !back->record->current_put) {
        return 0;
    }
    if (chain_libvirt_current(back->libvirt, &now, err) < 0) {
        return -1;
    }
    if (now) {
        tell(back, now,
             "is the current snapshot; none was before, and libvirt has no "
             "call for that");
    }
    return 0;
}

int redefine_take_back(struct chain_libvirt *libvirt,
                       const struct record *record,
                       const struct record_way *way, struct img_error *err)
{
    IMG_AUTO(back_fini)
    struct back back = {.libvirt = libvirt, .record = record, .way = way};
    size_t i = record->nr;

    if (look(&back, err) < 0 || judge_others(&back, err) < 0) {
        return -1;
    }
    /* The last first: each state on the way is one that was there before. While
       there are checkpoints libvirt takes no snapshot of a domain that does not
       run. */
    for (; i > 0 && record->entries[i - 1].kind == CHAIN_CHECKPOINT; i--) {
        if (restore_entry(&back, i - 1, err) < 0) {
            return -1;
        }
    }
    if (restore_current(&back, err) < 0) {
        return -1;
    }
    for (; i > 0; i--) {
        if (restore_entry(&back, i - 1, err) < 0) {
            return -1;
        }
    }
    return check_none(&back, err);
}
