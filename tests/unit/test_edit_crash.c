/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The in-place writer and a loss of power: after every write, and with any
 * part of what was not flushed lost or torn, the image opens, its refcounts
 * are not too low, and each sector of the guest's disk is as it was at the
 * last commit or as it was made since. A snapshot never changes.
 */
#include "edit_fixture.h"
#include "recorder.h"

#define STEPS 14u
/* States tried at each point of the log besides the prefix itself. */
#define REORDERINGS 3u

struct history {
    uint8_t *at[STEPS + 1];     /* the model after each step; 0: at first */
    unsigned stable[STEPS + 1]; /* the last step whose state is stable when
                                   the next one begins */
    uint64_t sectors;
};

static void history_keep(struct history *h, struct fixture *f, unsigned step,
                         bool is_stable)
{
    h->sectors = f->kind->sectors;
    h->at[step] = malloc(h->sectors);
    ck_assert_ptr_nonnull(h->at[step]);
    memcpy(h->at[step], f->now, h->sectors);
    h->stable[step] = is_stable || step == 0 ? step : h->stable[step - 1];
}

static void history_fini(struct history *h)
{
    for (unsigned i = 0; i <= STEPS; i++) {
        free(h->at[i]);
    }
}

/* Is BYTE what SECTOR was at some time from step FROM to step TO? */
static bool history_has(const struct history *h, uint64_t sector, uint8_t byte,
                        unsigned from, unsigned to)
{
    for (unsigned i = from; i <= to; i++) {
        if (h->at[i][sector] == byte) {
            return true;
        }
    }
    return false;
}

struct crash {
    struct fixture *f;
    struct history history;
    struct record_log log;
    struct disk stable[RECORD_FILES]; /* all that was flushed */
    struct disk now[RECORD_FILES];
    uint64_t states;
};

static struct img_file *disk_file(const struct disk *disk, const char *name)
{
    struct img_error err = {0};
    struct img_file *file;

    unit_ok(img_file_from_memory(
                name, disk->bytes ? disk->bytes : (const uint8_t *)"",
                disk->len, &file, &err),
            &err);
    return file;
}

/* Judge crash->now, the state when STEP was under way. */
static void state_check(struct crash *crash, unsigned step, const char *what)
{
    struct fixture *f = crash->f;
    struct img_file *file = disk_file(&crash->now[0], "test.qcow2");
    struct img_file *data =
        f->data_file ? disk_file(&crash->now[1], "data") : NULL;
    uint64_t sectors = f->kind->sectors;
    uint8_t *found = calloc(1, sectors);
    unsigned from = crash->history.stable[step == 0 ? 0 : step - 1];

    ck_assert_ptr_nonnull(found);
    image_check(file, data, true, what);
    disk_read(file, data, NULL, sectors, found);
    for (uint64_t i = 0; i < sectors; i++) {
        if (!history_has(&crash->history, i, found[i], from, step)) {
            ck_abort_msg("%s: sector %llu is 0x%02x, which it never was from "
                         "step %u (0x%02x) to %u (0x%02x)",
                         what, (unsigned long long)i, found[i], from,
                         crash->history.at[from][i], step,
                         crash->history.at[step][i]);
        }
    }
    if (f->kind->has_snapshot) {
        disk_read(file, data, "1", sectors, found);
        ck_assert_mem_eq(found, f->before, sectors);
    }
    free(found);
    img_file_unref(file);
    img_file_unref(data);
    crash->states++;
}

/* Is record I flushed before record UNTIL? */
static bool is_flushed(const struct record_log *log, size_t i, size_t until)
{
    for (size_t j = i + 1; j < until; j++) {
        if (log->at[j].kind == RECORD_FLUSH &&
            log->at[j].file == log->at[i].file) {
            return true;
        }
    }
    return false;
}

/* The power goes before record UNTIL: all, or chance decides (SEED). */
static void state_make(struct crash *crash, size_t from, size_t until,
                       uint64_t seed)
{
    const struct record_log *log = &crash->log;

    for (unsigned i = 0; i < RECORD_FILES; i++) {
        disk_copy(&crash->now[i], &crash->stable[i]);
    }
    for (size_t i = from; i < until; i++) {
        const struct record *record = &log->at[i];
        struct disk *disk = &crash->now[record->file];
        bool is_certain = seed == 0 || is_flushed(log, i, until);
        uint64_t fate = is_certain ? 0 : chance(&seed, 3);

        if (fate == 0) {
            disk_apply(disk, record, NULL);
        } else if (fate == 1) {
            disk_apply(disk, record, &seed);
        }
    }
}

/* All states of the log. What both files have flushed is not looked at again:
   the base moves on. */
static void crash_replay(struct crash *crash)
{
    const struct record_log *log = &crash->log;
    size_t base = 0;

    for (size_t until = 0; until <= log->nr; until++) {
        unsigned step = until < log->nr ? log->at[until].step
                        : log->nr       ? log->at[log->nr - 1].step
                                        : 0;
        char what[96];

        while (base < until && is_flushed(log, base, until)) {
            disk_apply(&crash->stable[log->at[base].file], &log->at[base],
                       NULL);
            base++;
        }
        for (uint64_t i = 0; i <= REORDERINGS; i++) {
            uint64_t seed = i * (until + 1) * 0x9e3779b97f4a7c15ull;

            snprintf(what, sizeof(what), "%s, cut before %zu of %zu, order %u",
                     crash->f->kind->name, until, log->nr, (unsigned)i);
            state_make(crash, base, until, seed);
            state_check(crash, step, what);
        }
    }
}

/* What the file holds now is the start. */
static void disk_load(struct disk *disk, struct img_file *file)
{
    struct img_error err = {0};

    disk_resize(disk, img_file_len(file));
    unit_ok(img_file_read(file, disk->bytes, disk->len, 0, &err), &err);
}

static struct img_file *record_file(struct crash *crash, struct img_file *file,
                                    unsigned number)
{
    struct img_file *recorder;

    if (!file) {
        return NULL;
    }
    disk_load(&crash->stable[number], file);
    recorder = recorder_new(file, &crash->log, number);
    img_file_unref(file);
    return recorder;
}

static void crash_step(struct crash *crash, unsigned step, bool with_empty)
{
    struct fixture *f = crash->f;
    uint64_t what = chance(&f->rng, 12);
    bool is_stable = false;

    crash->log.step = step;
    if (what < 3) {
        unit_ok(qcow2_edit_commit(f->edit, &f->err), &f->err);
        is_stable = true;
    } else if (what == 3 && with_empty) {
        unit_ok(qcow2_edit_make_empty(f->edit, &f->err), &f->err);
        memset(f->now, fixture_below(f), f->kind->sectors);
        is_stable = true;
    } else if (what == 4) {
        unit_ok(qcow2_edit_commit(f->edit, &f->err), &f->err);
        fixture_close(f);
        fixture_open(f);
        is_stable = true;
    } else {
        fixture_command(f);
    }
    history_keep(&crash->history, f, step, is_stable);
}

static uint64_t crash_run(const struct fixture_kind *kind, uint64_t seed)
{
    struct fixture f;
    struct crash crash = {.f = &f};

    fixture_init(&f, kind, seed);
    f.file = record_file(&crash, f.file, 0);
    f.data_file = record_file(&crash, f.data_file, 1);
    history_keep(&crash.history, &f, 0, true);
    fixture_open(&f);
    for (unsigned step = 1; step <= STEPS; step++) {
        crash_step(&crash, step, seed % 2 == 0);
    }
    fixture_close(&f);
    crash_replay(&crash);
    fixture_fini(&f);
    record_log_fini(&crash.log);
    history_fini(&crash.history);
    for (unsigned i = 0; i < RECORD_FILES; i++) {
        free(crash.stable[i].bytes);
        free(crash.now[i].bytes);
    }
    return crash.states;
}

START_TEST(test_crash)
{
    uint64_t states = 0;

    for (uint64_t seed = 1; seed <= 3; seed++) {
        states += crash_run(&fixture_kinds[_i], seed * 31);
    }
    ck_assert_uint_gt(states, 200);
}
END_TEST

/*
 * A run that needs three new blocks, the first of which counts all of them;
 * its entry in the refcount table is in another sector than theirs.
 */
static void growing_chained(struct crash *crash, unsigned step)
{
    struct fixture *f = crash->f;

    crash->log.step = step;
    f->edit->hint = 128 * 64 - 5;
    unit_ok(qcow2_edit_l1_replace(f->edit, 7000, f->edit->header.virtual_len,
                                  &f->err),
            &f->err);
    ck_assert_uint_ne(f->edit->reftable[127], 0);
    ck_assert_uint_eq(f->edit->reftable[128], f->edit->reftable[127] + 512);
    history_keep(&crash->history, f, step, true);
}

/*
 * Refcount tables and new blocks come into being amid it all: new clusters
 * are taken where the table ends (one cluster of it counts 2 MiB).
 */
START_TEST(test_crash_growing)
{
    static const struct fixture_kind narrow = {
        "growing", 3, 512, 64, .has_backing = true, .sectors = 600};
    struct fixture f;
    struct crash crash = {.f = &f};

    fixture_init(&f, &narrow, 3);
    f.file = record_file(&crash, f.file, 0);
    history_keep(&crash.history, &f, 0, true);
    fixture_open(&f);
    f.edit->hint = 4096 - 130;
    for (unsigned step = 1; step <= 8; step += 2) {
        crash.log.step = step;
        fixture_zero(&f, 0, 140 * SECTOR, false);
        fixture_write(&f, 0, 140 * SECTOR, (uint8_t)step);
        history_keep(&crash.history, &f, step, false);
        crash.log.step = step + 1;
        unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
        history_keep(&crash.history, &f, step + 1, true);
    }
    ck_assert_uint_gt(f.edit->header.reftable_clusters, 2);
    growing_chained(&crash, 9);
    fixture_close(&f);
    crash_replay(&crash);
    fixture_check(&f);
    fixture_fini(&f);
    record_log_fini(&crash.log);
    history_fini(&crash.history);
    free(crash.stable[0].bytes);
    free(crash.now[0].bytes);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("edit crash");

    tcase_add_loop_test(tcase, test_crash, 0, FIXTURE_KINDS);
    tcase_add_test(tcase, test_crash_growing);
    return unit_run("edit crash", tcase);
}
