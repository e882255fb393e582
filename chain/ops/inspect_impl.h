/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the rules of inspect share: the request, the file that is looked at,
 * and the check that is being written. For chain/ops/inspect*.c.
 */
#ifndef CHAIN_OPS_INSPECT_IMPL_H
#define CHAIN_OPS_INSPECT_IMPL_H

#include <chain/chain.h>
#include <chain/checks.h>
#include <chain/formats.h>
#include <chain/inspect.h>
#include <img/file.h>
#include <img/reference.h>
#include <qcow2/image.h>

/* In the order of docs/inspect.md. References have a check for each kind. */
enum inspect_id {
    INSPECT_FILE_KIND,
    INSPECT_FILE_UNUSED,
    INSPECT_FORMAT_DECLARED,
    INSPECT_FORMAT_MATCH,
    INSPECT_FORMAT_SINGLE,
    INSPECT_FORMAT_ALLOWED,
    INSPECT_FEATURES_KNOWN,
    INSPECT_HEADER_VALID,
    INSPECT_REFERENCE,
    INSPECT_REFERENCE_LAST = INSPECT_REFERENCE + IMG_REFERENCES_NR - 1,
    INSPECT_CHAIN_FORMATS,
    INSPECT_CHAIN_CONFINED,
    INSPECT_CHAIN_WHOLE,
    INSPECT_LAYOUT_STRICT,
    INSPECT_FILE_COMPLETE,
    INSPECT_TABLES_VALID,
    INSPECT_AMPLIFICATION,
    INSPECT_STATE_CLEAN,
    INSPECT_ENCRYPTION,
    INSPECT_INTERNAL_STATE,
    INSPECT_EXTENSIONS_KNOWN,
    INSPECT_VIRTUAL_SIZE,
    INSPECT_ACTUAL_SIZE,
    INSPECT_SIZE_RATIO,
    INSPECT_PARTITIONS,
    INSPECT_GUEST_HEADER,
    INSPECT_PROFILES,
    INSPECT_FILE_STABLE,
    INSPECT_RULES_NR,
};

/* One file of the image: the operand, or a layer below it. */
struct inspect_file {
    const char *path;
    struct img_file *file; /* own reference; NULL: could not be opened */
    const char *declared;  /* NULL: by nobody */
    const char *format;    /* declared or probed; NULL without a file */
    const struct img_format *driver; /* of format */
    struct img_stamp stamp;
    struct img_error error; /* why there is no file */

    uint8_t *head; /* own; IMG_PROBE_HEAD_LEN, then IMG_PROBE_TAIL_LEN */
    struct img_probe_bytes bytes;
    struct chain_claim claims[CHAIN_CLAIMS_MAX];
    size_t claims_nr;

    struct img_image *image; /* NULL: its header cannot be read: */
    struct img_error image_error;
    bool is_image_own;
    const struct qcow2_header *header; /* NULL: no qcow2 */
    const struct qcow2_extensions *extensions;
    struct img_references references;
    struct img_error references_error; /* code IMG_OK: they are known */
    struct img_error lock_error;       /* code IMG_OK: nobody writes to it */

    struct qcow2_survey survey;    /* qcow2 only */
    struct img_error survey_error; /* code IMG_OK: there is a survey */

    /* The first and last bytes of the disk, where they can be read. */
    uint8_t *disk_head; /* own, as head; NULL: */
    struct img_error disk_error;
    struct img_probe_bytes disk;

    bool is_stream;
    bool is_top;
};

struct inspect {
    const struct chain_inspect_request *request;
    struct chain_report *report;
    struct img_error *err;
    struct inspect_file *file; /* that is looked at */
    enum inspect_id id;        /* of the rule that runs */
    struct chain_check check;  /* which it writes */
    /* What has come of each rule so far, of this file and of all. */
    enum chain_check_result here[INSPECT_RULES_NR];
    struct chain_check *checks[INSPECT_RULES_NR]; /* NULL: not in the policy */
    bool is_written[INSPECT_RULES_NR];
    unsigned more[INSPECT_RULES_NR]; /* files that fared as badly */

    struct chain *chain;            /* policy chain, once it could be opened */
    struct img_roots *roots;        /* own, made for the policy */
    const struct img_error *broken; /* why the chain ends; NULL: it is whole */
    struct img_error chain_error;   /* why there is no chain at all */
};

/* The check of the rule that runs. */
void inspect_say(struct inspect *in, enum chain_check_result result,
                 const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void inspect_found(struct inspect *in, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void inspect_expected(struct inspect *in, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes over REMEDY. */
void inspect_remedy(struct inspect *in, char *remedy);
/*
 * ERR kept the rule from judging, or is what it found: bytes that a stream
 * does not keep give "skip", what cannot be read or held, or takes a call that
 * the kernel lacks, "unproven", all else RESULT.
 */
void inspect_say_error(struct inspect *in, enum chain_check_result result,
                       const struct img_error *err);
/* Is ERR about bytes that a stream does not keep? */
bool inspect_is_unkept(const struct img_error *err);

/* Run all rules on FILE; results go into the report. -1: give up. */
int inspect_run(struct inspect *in, struct inspect_file *file,
                struct img_error *err);

/* inspect_file.c */

/* Open what the request names; what cannot be is kept with its error. -1: it
   is not there, or cannot be reached. */
int inspect_file_open(struct inspect_file *file,
                      const struct chain_inspect_request *request,
                      struct img_error *err);
/* Look into FILE (file, declared and path are set): claims and image. */
int inspect_file_load(struct inspect_file *file, struct img_error *err);
/* Then, opening nothing: what its tables and its disk hold. */
int inspect_file_survey(struct inspect_file *file, struct img_error *err);
void inspect_file_fini(struct inspect_file *file);

/* inspect_chain.c: open what is below the file that was looked at. */
int inspect_chain_open(struct inspect *in, struct img_error *err);

/* One rule each: docs/inspect.md has their meaning. */
void inspect_file_kind(struct inspect *in);
void inspect_file_unused(struct inspect *in);
void inspect_format_declared(struct inspect *in);
void inspect_format_match(struct inspect *in);
void inspect_format_single(struct inspect *in);
void inspect_format_allowed(struct inspect *in);
void inspect_features_known(struct inspect *in);
void inspect_header_valid(struct inspect *in);
void inspect_reference(struct inspect *in);
void inspect_chain_formats(struct inspect *in);
void inspect_chain_confined(struct inspect *in);
void inspect_chain_whole(struct inspect *in);
void inspect_layout_strict(struct inspect *in);
void inspect_file_complete(struct inspect *in);
void inspect_tables_valid(struct inspect *in);
void inspect_amplification(struct inspect *in);
void inspect_state_clean(struct inspect *in);
void inspect_encryption(struct inspect *in);
void inspect_internal_state(struct inspect *in);
void inspect_extensions_known(struct inspect *in);
void inspect_virtual_size(struct inspect *in);
void inspect_actual_size(struct inspect *in);
void inspect_size_ratio(struct inspect *in);
void inspect_partitions(struct inspect *in);
void inspect_guest_header(struct inspect *in);
void inspect_profiles(struct inspect *in);
void inspect_file_stable(struct inspect *in);

#endif
