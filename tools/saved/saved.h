/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The saved-image commands: what they share. */
#ifndef SAVED_H
#define SAVED_H

#include <chain/abi.h>
#include <chain/rewrite.h>
#include <chain/saved_check.h>

#include "../change.h"
#include "../command.h"
#include "../verdict_files.h"
#include "../words.h"

struct saved_dumpxml_values {
    struct common_values common;
    bool security_info, as_stored;
};

struct saved_check_values {
    struct common_values common;
    struct verdict_files reports;
};

/* define and edit. */
struct saved_change_values {
    struct change_values change;
    struct words maps; /* --map, as given */
    bool running, paused, force;
    const char *recover; /* a folder */
};

extern const struct option_spec saved_dumpxml_options[], saved_define_options[],
    saved_edit_options[], saved_check_options[];

int cmd_saved_dumpxml(void *opaque, char **operands, int nr);
int cmd_saved_define(void *opaque, char **operands, int nr);
int cmd_saved_edit(void *opaque, char **operands, int nr);
int cmd_saved_check(void *opaque, char **operands, int nr);

/* ---- plan.c: what is to become of saved images. */

/* What is asked of an image. */
struct saved_wish {
    const char *xml; /* the new text; NULL: the old one */
    size_t xml_len;
    const char *xml_name;             /* for errors */
    const struct chain_path_map *map; /* NULL: none */
    bool running, paused;
    bool force;
};

/* A path in the XML that is another one now. */
struct saved_move {
    char *place, *from, *to;
};

/* A saved image as it is, and as it is to be. */
struct saved_plan {
    const char *path; /* as given */
    char *real;       /* without symbolic links */
    struct chain_saved *saved;
    char *xml;        /* the new text */
    bool was_running; /* as it will be */
    bool is_changed;
    struct saved_move *moves;
    size_t moves_nr, moves_room;
    struct chain_report *report; /* what stands against it */
    uint8_t *old_region, *new_region;
    size_t region_len;
    uint64_t dev, ino;
    int64_t mtime_ns;
    struct img_error *err; /* while XML is rewritten */
    bool is_failed;
};

/* The image PATH, and nothing asked of it yet. WRITABLE: it is to be written,
   which is found out now. */
int saved_plan_read(const char *path, const struct common_values *common,
                    bool writable, struct saved_plan *out,
                    struct img_error *err);
/* Work out what WISH makes of it, and judge that, into its report. */
int saved_plan_make(struct saved_plan *plan, const struct saved_wish *wish,
                    const struct common_values *common, struct img_error *err);
/* Is nothing said against it? */
bool saved_plan_is_accepted(const struct saved_plan *plan);
/* Write what has changed of NR plans: all or none. */
int saved_plan_write(const struct saved_plan *plans, size_t nr,
                     struct img_error *err);
/* Zeroed is empty. */
void saved_plan_fini(struct saved_plan *plan);

/* ---- show.c */

/* The report of a plan that is refused. */
void saved_show_refusal(struct output *out, const struct saved_plan *plan,
                        const struct common_values *common);
/* The same on stderr, a line for each reason. */
void saved_tell_refusal(const struct saved_plan *plan);
/* What is done, or would be. */
void saved_show_plans(struct output *out, const struct change_values *change,
                      const struct saved_plan *plans, size_t nr);
/* On stderr, a line for each thing that the user has taken upon himself. */
void saved_tell_warnings(const struct saved_plan *plan);

/* ---- recovery.c */

/*
 * Finish or undo what a run that was killed left in the folder of PATH, before
 * it is changed; said on stderr. A run that is under way is passed by.
 */
int saved_settle(const char *path, struct img_error *err);
/* Only tell that there is something to do: PATH is but read. */
void saved_tell_pending(const char *path);

/* Options of define and edit. */
option_parser option_saved_map;
void saved_change_fini(void *values);
/* The rules of --map, or *OUT NULL where there are none. */
int saved_maps(const struct words *maps, struct chain_path_map **out,
               struct img_error *err);
/* For IMG_AUTO. */
void saved_map_free(struct chain_path_map **map);
void saved_free(struct chain_saved **saved);

/* ---- editor.c */

/*
 * Let the user change the file PATH, by $VISUAL, $EDITOR or vi; Ctrl-C is the
 * editor's meanwhile. What ends this process removes PATH, in which there are
 * secrets. IMG_SYSTEM: the editor cannot be started, or did not end well.
 */
int saved_editor_run(const char *path, struct img_error *err);

#endif
