/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * saved-image define: another XML for saved domains, within the room that their
 * images have; all of them or none.
 */
#include <chain/transaction.h>
#include <errno.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"
#include "saved.h"
#include "session.h"

#define AT(field) offsetof(struct saved_change_values, field)

const struct option_spec saved_define_options[] = {
    {0, "map", "OLD=NEW", "what lay at or below OLD lies at NEW (repeatable)",
     option_saved_map, AT(maps)},
    {0, "running", NULL, "it goes on at once when it is restored", option_flag,
     AT(running)},
    {0, "paused", NULL, "it waits when it is restored", option_flag,
     AT(paused)},
    {0, "force", NULL, "also what the guest will notice", option_flag,
     AT(force)},
    {0, "recover", "FOLDER", "finish or undo what a killed run left there",
     option_text, AT(recover)},
    {0, "dry-run", NULL, "check everything and write nothing", option_flag,
     AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

int option_saved_map(void *field, const char *arg, struct img_error *err)
{
    return words_push(field, img_strndup(arg, strlen(arg), err), err);
}

void saved_change_fini(void *values)
{
    struct saved_change_values *change = values;

    words_fini(&change->maps);
    change_fini(values);
}

int saved_maps(const struct words *maps, struct chain_path_map **out,
               struct img_error *err)
{
    IMG_AUTO(saved_map_free) struct chain_path_map *map = NULL;

    *out = NULL;
    if (maps->nr == 0) {
        return 0;
    }
    if (chain_path_map_new(&map, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < maps->nr; i++) {
        if (chain_path_map_parse(map, maps->at[i], err) < 0) {
            return -1;
        }
    }
    *out = img_steal(&map);
    return 0;
}

void saved_map_free(struct chain_path_map **map)
{
    chain_path_map_free(*map);
}

void saved_free(struct chain_saved **saved)
{
    chain_saved_free(*saved);
}

/* ---- What is asked for. */

/* All of a run. */
struct run {
    const struct saved_change_values *values;
    char **files;
    size_t nr;
    const char *xml_path; /* NULL: none is given */
    char *xml;
    struct saved_wish wish;
    struct saved_plan *plans;
};

static void run_fini(struct run *run)
{
    for (size_t i = 0; run->plans && i < run->nr; i++) {
        saved_plan_fini(&run->plans[i]);
    }
    free(run->plans);
    free(run->xml);
}

/* Does PATH begin as libvirt's saved images do, complete or not? */
static bool is_saved_image(const char *path)
{
    char magic[12] = "";
    struct stat stat_buf;
    /* What a pipe has to say is said once. */
    FILE *file = stat(path, &stat_buf) == 0 && S_ISREG(stat_buf.st_mode)
                     ? fopen(path, "rbe")
                     : NULL;
    bool is_one = file &&
                  fread(magic, 1, sizeof(magic), file) == sizeof(magic) &&
                  memcmp(magic, "LibvirtQemud", sizeof(magic)) == 0;

    if (file) {
        (void)fclose(file);
    }
    return is_one;
}

static bool is_missing(const char *path)
{
    return strcmp(path, "-") != 0 && access(path, F_OK) < 0;
}

/* FILE XML; or FILE..., when there are options that say what changes. */
static void sort_operands(struct run *run, char **operands, int nr)
{
    const struct saved_change_values *values = run->values;
    bool is_said = values->maps.nr > 0 || values->running || values->paused;

    run->files = operands;
    run->nr = (size_t)nr;
    if (nr == 2 && !(is_said && (is_saved_image(operands[1]) ||
                                 is_missing(operands[1])))) {
        run->xml_path = operands[1];
        run->nr = 1;
    }
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct run *run)
{
    const struct saved_change_values *values = run->values;
    bool is_said = values->maps.nr > 0 || values->running || values->paused;
    const char *text = NULL;

    if (values->recover) {
        text = run->nr > 0 ? "--recover goes without files" : NULL;
    } else if (run->nr == 0) {
        text = "expected a saved image";
    } else if (values->running && values->paused) {
        text = "--running and --paused exclude each other";
    } else if (!run->xml_path && !is_said) {
        text = run->nr > 1
                   ? "expected one saved image and its XML, or --map"
                   : "expected the new XML, --map, --running or --paused";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static int read_stream(FILE *file, char **out, size_t *len,
                       struct img_error *err)
{
    size_t room = CHAIN_VIRT_MAX_LEN + 1;
    IMG_AUTO(img_free_ptr) char *text = img_calloc(1, room + 1, err);

    if (!text) {
        return -1;
    }
    *len = fread(text, 1, room, file);
    if (ferror(file)) {
        return img_fail_sys(err, errno, "cannot read the XML");
    }
    *out = img_steal(&text);
    return 0;
}

static int read_xml(struct run *run, struct img_error *err)
{
    bool is_stdin;
    FILE *file;
    int rc;

    if (!run->xml_path) {
        return 0;
    }
    is_stdin = strcmp(run->xml_path, "-") == 0;
    file = is_stdin ? stdin : fopen(run->xml_path, "re");
    if (!file) {
        img_fail_sys(err, errno, "cannot open the XML");
        img_error_set_path(err, run->xml_path);
        return -1;
    }
    rc = read_stream(file, &run->xml, &run->wish.xml_len, err);
    if (!is_stdin) {
        (void)fclose(file);
    }
    run->wish.xml = run->xml;
    run->wish.xml_name = is_stdin ? "standard input" : run->xml_path;
    if (rc < 0) {
        img_error_set_path(err, run->wish.xml_name);
    }
    return rc;
}

/* ---- Doing it. */

/* What a killed run has left comes first; a dry run only tells it. */
static int settle(const struct run *run, const char *path,
                  struct img_error *err)
{
    if (run->values->change.dry_run) {
        saved_tell_pending(path);
        return 0;
    }
    return saved_settle(path, err);
}

static int make_plans(struct run *run, struct img_error *err)
{
    const struct common_values *common = &run->values->change.common;

    run->plans = img_calloc(run->nr, sizeof(*run->plans), err);
    if (!run->plans || read_xml(run, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < run->nr; i++) {
        struct saved_plan *plan = &run->plans[i];

        if (settle(run, run->files[i], err) < 0 ||
            saved_plan_read(run->files[i], common, !run->values->change.dry_run,
                            plan, err) < 0 ||
            saved_plan_make(plan, &run->wish, common, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Show what is refused; 0: nothing is. */
static size_t show_refused(const struct run *run, struct output *out)
{
    const struct common_values *common = &run->values->change.common;
    size_t nr = 0;

    for (size_t i = 0; i < run->nr; i++) {
        if (!saved_plan_is_accepted(&run->plans[i])) {
            nr++;
            if (common->output != OUTPUT_JSON) {
                saved_show_refusal(out, &run->plans[i], common);
            }
        }
    }
    if (nr > 0 && common->output == OUTPUT_JSON) {
        saved_show_plans(out, &run->values->change, run->plans, run->nr);
    } else if (nr > 0) {
        output_text(out, "\nNothing was done.\n");
    }
    return nr;
}

static int define(struct run *run, struct output *out)
{
    const struct change_values *change = &run->values->change;
    struct img_error err;

    if (make_plans(run, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (show_refused(run, out) > 0) {
        return session_finish(out, EXIT_FAILED, EXIT_FAILED);
    }
    for (size_t i = 0; i < run->nr; i++) {
        saved_tell_warnings(&run->plans[i]);
    }
    if (!change->dry_run && saved_plan_write(run->plans, run->nr, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    saved_show_plans(out, change, run->plans, run->nr);
    return change_finish(change, out);
}

static void on_recovered(void *opaque, const char *path, const char *what)
{
    struct output *out = opaque;

    output_text(out, what);
    output_text(out, ": ");
    output_escaped(out, path);
    output_text(out, "\n");
}

static int recover(const struct saved_change_values *values, struct output *out)
{
    struct img_error err;

    if (chain_transaction_recover(values->recover, on_recovered, out, &err) <
        0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

int cmd_saved_define(void *opaque, char **operands, int nr)
{
    const struct saved_change_values *values = opaque;
    IMG_AUTO(run_fini) struct run run = {.values = values};
    IMG_AUTO(saved_map_free) struct chain_path_map *map = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;

    sort_operands(&run, operands, nr);
    if (!is_sane(&run)) {
        return EXIT_USAGE;
    }
    if (saved_maps(&values->maps, &map, &err) < 0) {
        return session_fail(&err, EXIT_USAGE);
    }
    if (session_output(&values->change.common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    run.wish.map = map;
    run.wish.running = values->running;
    run.wish.paused = values->paused;
    run.wish.force = values->force;
    return values->recover ? recover(values, out) : define(&run, out);
}
