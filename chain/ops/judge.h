/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the rules of validate share: the request, the files it names, and
 * what earlier rules found. For chain/ops/rules_*.c and validate.c.
 */
#ifndef CHAIN_OPS_JUDGE_H
#define CHAIN_OPS_JUDGE_H

#include <chain/chain.h>
#include <chain/checks.h>
#include <chain/formats.h>
#include <chain/name.h>
#include <chain/validate.h>
#include <chain/view.h>
#include <img/file.h>
#include <qcow2/image.h>
#include <sys/stat.h>

#include "access.h"

/* In the order of docs/validate.md. */
enum chain_rule_id {
    RULE_REQUEST_EXPLICIT,
    RULE_DEST_EXISTS,
    RULE_DEST_ACCESS,
    RULE_DEST_UNUSED,
    RULE_DEST_DISTINCT,
    RULE_FORMAT_MATCH,
    RULE_METADATA_INTACT,
    RULE_FEATURES_USABLE,
    RULE_BACKING_RECORDED,
    RULE_BACKING_NONE,
    RULE_BACKING_PORTABLE,
    RULE_BACKING_RESOLVES,
    RULE_BACKING_FORMAT,
    RULE_BACKING_STYLE,
    RULE_PATH_POLICY,
    RULE_CHAIN_INTACT,
    RULE_SIZE_MATCH,
    RULE_SPACE_ENOUGH,
    RULE_CONTENT_EQUAL,
    RULE_CONTENT_EMPTY,
    RULE_CONTENT_STALE,
    RULE_NO_INTERNAL_STATE,
    RULE_ENCRYPTION,
    RULE_WRITE_MODE,
    RULE_SHALLOW_MEANING,
    RULE_STABLE_SOURCE,
    RULES_NR,
};

enum { FOR_S = 1, FOR_C = 2, FOR_H = 4, FOR_ALL = 7 };

struct chain_qemu_version {
    unsigned major, minor;
};

/* Contents of the destination against what the operation wants of them. */
enum content_state {
    CONTENT_NOT_JUDGED,
    CONTENT_EQUAL,
    CONTENT_DIFFERENT,
    CONTENT_UNPROVEN,
};

struct chain_judge {
    const struct chain_validate_request *request;
    struct chain_report *report;
    struct chain_check *check;     /* of the rule that runs */
    struct img_error *err;         /* a failure of judging itself */
    unsigned requested;            /* FOR_S, FOR_C or FOR_H */
    struct chain_access_user user; /* as whom QEMU runs */
    struct chain_qemu_version qemu;
    unsigned effective; /* FOR_C for a shallow copy that libvirt makes full */

    struct chain *source;
    struct img_file *source_file; /* of its active layer; borrowed */
    struct img_image *source_image;

    const char *dest_path;        /* as the request spells it */
    struct img_file *dest_file;   /* NULL: could not be opened */
    const char *dest_format;      /* requested or probed; NULL: neither */
    struct chain *dest;           /* NULL: could not be opened */
    struct img_image *dest_image; /* of its top; NULL as dest */
    struct chain_probe probe;     /* of dest_file, if has_probe */
    struct stat dest_stat;        /* if has_dest_stat */

    /* The backing file that the destination's header names. */
    struct chain_ref backing_ref;  /* if has_backing_ref */
    char *backing_path;            /* joined; NULL: not a local file */
    struct img_file *backing_file; /* own reference; NULL: not opened */

    uint64_t first_difference; /* of CONTENT_DIFFERENT */
    enum content_state content;
    enum chain_check_result results[RULES_NR];
    bool is_judged[RULES_NR];
    bool is_failed; /* err is filled in: stop */
    bool has_dest_stat;
    bool has_probe;
    bool is_dest_held; /* another process uses it */
    bool has_backing_ref;

    /* Why what is missing above is missing. */
    struct img_error dest_file_error;
    struct img_error dest_error;
    struct img_error backing_ref_error;
    struct img_error backing_file_error;
    struct img_error content_why;
};

/* Tell the caller which stage begins. */
int chain_judge_confine(const struct chain_judge *judge, enum chain_stage stage,
                        struct img_error *err);
/* Open what there is to open. -1: nothing can be judged. */
int chain_judge_open(struct chain_judge *judge, struct img_error *err);
void chain_judge_close(struct chain_judge *judge);

/* The layer that the destination's backing file should be: 0 for S, 1 for H;
   NULL where the source has no such layer. */
const struct chain_layer *
chain_judge_expected_backing(const struct chain_judge *j);

/* The check of the rule that runs. */
void chain_judge_say(struct chain_judge *judge, enum chain_check_result result,
                     const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void chain_judge_say_error(struct chain_judge *judge,
                           enum chain_check_result result,
                           const struct img_error *err);
void chain_judge_found(struct chain_judge *judge, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void chain_judge_expected(struct chain_judge *judge, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes over REMEDY. */
void chain_judge_remedy(struct chain_judge *judge, char *remedy);
/* Judging itself failed (memory, cancelled): err is filled in. */
void chain_judge_give_up(struct chain_judge *judge);

/* Judge the contents once; later calls return the same. */
enum content_state chain_judge_content(struct chain_judge *judge);

/* One rule each: docs/validate.md has their meaning. */
void chain_rule_request_explicit(struct chain_judge *judge);
void chain_rule_dest_exists(struct chain_judge *judge);
void chain_rule_dest_access(struct chain_judge *judge);
void chain_rule_dest_unused(struct chain_judge *judge);
void chain_rule_dest_distinct(struct chain_judge *judge);
void chain_rule_format_match(struct chain_judge *judge);
void chain_rule_metadata_intact(struct chain_judge *judge);
void chain_rule_features_usable(struct chain_judge *judge);
void chain_rule_backing_recorded(struct chain_judge *judge);
void chain_rule_backing_none(struct chain_judge *judge);
void chain_rule_backing_portable(struct chain_judge *judge);
void chain_rule_backing_resolves(struct chain_judge *judge);
void chain_rule_backing_format(struct chain_judge *judge);
void chain_rule_backing_style(struct chain_judge *judge);
void chain_rule_path_policy(struct chain_judge *judge);
void chain_rule_chain_intact(struct chain_judge *judge);
void chain_rule_size_match(struct chain_judge *judge);
void chain_rule_space_enough(struct chain_judge *judge);
void chain_rule_content_equal(struct chain_judge *judge);
void chain_rule_content_empty(struct chain_judge *judge);
void chain_rule_content_stale(struct chain_judge *judge);
void chain_rule_no_internal_state(struct chain_judge *judge);
void chain_rule_encryption(struct chain_judge *judge);
void chain_rule_write_mode(struct chain_judge *judge);
void chain_rule_shallow_meaning(struct chain_judge *judge);
void chain_rule_stable_source(struct chain_judge *judge);

#endif
