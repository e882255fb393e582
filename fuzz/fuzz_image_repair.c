/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check -r on an image that may be damaged in any way. What it says of the
 * image afterwards is what a check finds, and where that is nothing, doing it
 * again changes nothing. Of what could be read only what was told as lost shows
 * something else. A dry run says the same and writes nothing, a repair that
 * fails neither, and an undo brings back every byte.
 * Arguments: 0 bit 0: only leaks.
 */
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/write.h>
#include <qcow2/check.h>
#include <qcow2/repair.h>

#include "folder.h"

#define RECORD "record"
#define BELOW 0xb5 /* what a backing file would show */
#define LOST_MAX 4096u
#define SECTORS_MAX (FUZZ_DISK_MAX / 512)
#define SNAPSHOTS_MAX 2u
/* A larger L1 table says the same, slowly: it is read a dozen times. */
#define OFF_L1_ENTRIES 36u
#define L1_ENTRIES_MAX (1u << 16)

/* What a repair told of. */
struct told {
    struct qcow2_repair_result result;
    uint64_t steps, lost;
    bool is_many; /* more losses than there is room for */
    struct {
        uint64_t start, end;
    } at[LOST_MAX]; /* of the active disk */
    size_t nr;
};

/* What one disk of the image shows. */
struct sight {
    bool is_there;
    uint64_t len;
    bool seen[SECTORS_MAX];
    uint8_t bytes[FUZZ_DISK_MAX];
};

/* The active disk, then snapshots. */
static struct sight before[1 + SNAPSHOTS_MAX], after[1 + SNAPSHOTS_MAX];
static struct told told, planned;

static void hear(void *opaque, const struct qcow2_repair_step *step)
{
    struct told *to = opaque;

    fuzz_require(step->message[0] != '\0');
    to->steps++;
    to->lost += step->is_lost;
    if (!step->is_lost || !step->has_guest || step->guest_len == 0) {
        return;
    }
    if (to->nr == LOST_MAX) {
        to->is_many = true;
        return;
    }
    to->at[to->nr].start = step->guest_off;
    to->at[to->nr++].end = step->guest_off + step->guest_len;
}

static bool is_lost(uint64_t off)
{
    bool lost = told.is_many;

    for (size_t i = 0; i < told.nr && !lost; i++) {
        lost = off >= told.at[i].start && off < told.at[i].end;
    }
    return lost;
}

static struct img_file *open_image(void)
{
    struct img_open_options how = {.lock = IMG_LOCK_NONE, .writable = true};
    struct img_file *file = NULL;
    struct img_error err = {0};

    fuzz_require(img_file_open(folder_path(FUZZ_IMAGE), &how, &file, &err) ==
                 0);
    return file;
}

static void see_one(const char *snapshot, struct sight *out)
{
    struct qcow2_options options = {.snapshot = snapshot};
    struct img_file *file = open_image();
    struct img_image *image = NULL;
    struct img_error err = {0};

    out->is_there = false;
    if (qcow2_open(file, &options, &image, &err) == 0) {
        out->len = image->virtual_len;
        out->is_there = !image->wants_data_file &&
                        fuzz_guest_see(image, image->backing_name ? BELOW : 0,
                                       out->bytes, out->seen);
        img_image_free(image);
    }
    img_file_unref(file);
}

static void see(struct sight out[1 + SNAPSHOTS_MAX])
{
    struct qcow2_options options = {0};
    struct img_file *file = open_image();
    struct img_image *image = NULL;
    struct img_error err = {0};

    for (size_t i = 0; i <= SNAPSHOTS_MAX; i++) {
        out[i].is_there = false;
    }
    see_one(NULL, &out[0]);
    if (qcow2_open(file, &options, &image, &err) == 0) {
        for (size_t i = 0; i < image->snapshots_nr && i < SNAPSHOTS_MAX; i++) {
            see_one(image->snapshots[i].id, &out[1 + i]);
        }
        img_image_free(image);
    }
    img_file_unref(file);
}

/* What could be read shows the same; IS_ACTIVE: or was told as lost. */
static void require_sight(const struct sight *was, const struct sight *now,
                          bool is_active)
{
    if (!was->is_there) {
        return;
    }
    fuzz_require(now->is_there && now->len == was->len);
    for (uint64_t off = 0; off < was->len; off += 512) {
        if (was->seen[off / 512] && !(is_active && is_lost(off))) {
            fuzz_require(now->seen[off / 512]);
            fuzz_require(memcmp(was->bytes + off, now->bytes + off, 512) == 0);
        }
    }
}

static void require_sights(void)
{
    see(after);
    require_sight(&before[0], &after[0], true);
    /* Which part of a snapshot was lost is not told. */
    for (size_t i = 1; i <= SNAPSHOTS_MAX && told.lost == 0; i++) {
        require_sight(&before[i], &after[i], false);
    }
}

static int repair(const uint8_t args[FUZZ_ARGS_NR], bool dry_run,
                  struct told *out)
{
    struct qcow2_repair_options options = {
        .mode = args[0] & 1 ? QCOW2_REPAIR_LEAKS : QCOW2_REPAIR_ALL,
        .dry_run = dry_run,
        .undo_path = dry_run ? NULL : folder_path(RECORD),
        .roots = folder_roots(),
        .step = hear,
        .opaque = out,
    };
    struct img_file *file = open_image();
    struct img_error err = {0};
    int rc;

    memset(out, 0, sizeof(*out));
    rc = qcow2_repair(file, &options, &out->result, &err);
    if (rc < 0) {
        fuzz_require_error(&err);
    } else {
        fuzz_require(out->steps == out->result.steps_nr);
        fuzz_require(out->lost == out->result.lost_nr);
    }
    img_file_unref(file);
    return rc;
}

static void require_bytes(const uint8_t *bytes, size_t len)
{
    struct img_file *file = open_image();
    struct img_error err = {0};
    uint8_t *now = malloc(len + 1);

    fuzz_require(now != NULL && img_file_len(file) == len);
    fuzz_require(img_file_read(file, now, len, 0, &err) == 0);
    fuzz_require(memcmp(now, bytes, len) == 0);
    free(now);
    img_file_unref(file);
}

/* A check finds what the repair said. */
static void require_checked(const struct qcow2_check_result *said)
{
    struct qcow2_check_options how = {0};
    struct qcow2_check_result found = {0};
    struct qcow2_options options = {0};
    struct img_file *file = open_image();
    struct img_image *image = NULL;
    struct img_error err = {0};

    fuzz_require(qcow2_open(file, &options, &image, &err) == 0);
    fuzz_require(qcow2_check(image, &how, &found, &err) == 0);
    fuzz_require(found.corruptions == said->corruptions);
    fuzz_require(found.leaks == said->leaks);
    fuzz_require(found.check_errors == said->check_errors);
    img_image_free(image);
    img_file_unref(file);
}

static void require_planned(int plan)
{
    const struct qcow2_repair_result *a = &planned.result, *b = &told.result;

    fuzz_require(plan == 0 && planned.steps == told.steps);
    fuzz_require(a->after.corruptions == b->after.corruptions);
    fuzz_require(a->after.leaks == b->after.leaks);
    fuzz_require(a->lost_guest_len == b->lost_guest_len);
    fuzz_require(a->written_len == b->written_len);
}

static void require_undone(const uint8_t *bytes, size_t len)
{
    struct img_open_options how = {.lock = IMG_LOCK_NONE};
    struct img_file *file, *record = NULL;
    struct img_error err = {0};
    uint64_t restored;

    if (told.result.has_undo) {
        file = open_image();
        fuzz_require(img_file_open(folder_path(RECORD), &how, &record, &err) ==
                     0);
        fuzz_require(qcow2_repair_undo(file, record, false, &restored, &err) ==
                     0);
        img_file_unref(record);
        img_file_unref(file);
        folder_drop(RECORD);
    }
    require_bytes(bytes, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    static struct told again;
    int plan;

    len = fuzz_args(data, len, args);
    if (len >= OFF_L1_ENTRIES + 4 &&
        img_load_be32(data + OFF_L1_ENTRIES) > L1_ENTRIES_MAX) {
        return 0;
    }
    folder_put(FUZZ_IMAGE, data, len);
    folder_drop(RECORD);
    see(before);
    plan = repair(args, true, &planned);
    require_bytes(data, len);
    if (repair(args, false, &told) < 0) {
        fuzz_require(plan < 0);
        require_bytes(data, len);
        return 0;
    }
    require_planned(plan);
    require_checked(&told.result.after);
    require_sights();
    if (told.result.after.corruptions == 0 &&
        told.result.after.check_errors == 0 && told.result.after.leaks == 0) {
        fuzz_require(repair(args, true, &again) == 0);
        fuzz_require(again.result.written_len == 0 && again.steps == 0);
    }
    require_undone(data, len);
    return 0;
}
