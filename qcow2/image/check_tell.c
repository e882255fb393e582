/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a check says what it found, and whose it is.
 *
 * Room: qcow2/image. A finding counts as often as QEMU would have met it and
 * is reported once.
 */
#include "check_state.h"

#include <stdarg.h>
#include <stdio.h>

#include <img/memory.h>

#define MESSAGE_LEN 512u

/* What an owner is called, for people and for programs. */
static const struct owner_name {
    const char *text;
    const char *name;
    bool has_place;     /* the text goes on with it */
    bool has_guest_off; /* which is its place */
} owner_names[] = {
    [QCOW2_OWNER_NONE] = {"nothing", NULL, false, false},
    [QCOW2_OWNER_HEADER] = {"the header", "header", false, false},
    [QCOW2_OWNER_L1] = {"the L1 table", "l1-table", false, false},
    [QCOW2_OWNER_L2] = {"the L2 table of guest offset", "l2-table", true, true},
    [QCOW2_OWNER_DATA] = {"data of guest offset", "data", true, true},
    [QCOW2_OWNER_COMPRESSED] = {"compressed data of guest offset",
                                "compressed-data", true, true},
    [QCOW2_OWNER_SNAPSHOT_TABLE] = {"the snapshot table", "snapshot-table",
                                    false, false},
    [QCOW2_OWNER_SNAPSHOT_L1] = {"a snapshot's L1 table", "snapshot-l1-table",
                                 false, false},
    [QCOW2_OWNER_SNAPSHOT_L2] = {"a snapshot's L2 table", "snapshot-l2-table",
                                 false, false},
    [QCOW2_OWNER_SNAPSHOT_DATA] = {"data of a snapshot", "snapshot-data", false,
                                   false},
    [QCOW2_OWNER_REFTABLE] = {"the refcount table", "refcount-table", false,
                              false},
    [QCOW2_OWNER_REFBLOCK] = {"refcount block", "refcount-block", true, false},
    [QCOW2_OWNER_CRYPTO] = {"the encryption header", "encryption-header", false,
                            false},
    [QCOW2_OWNER_BITMAP_DIRECTORY] = {"the bitmap directory",
                                      "bitmap-directory", false, false},
    [QCOW2_OWNER_BITMAP_TABLE] = {"a bitmap's table", "bitmap-table", false,
                                  false},
    [QCOW2_OWNER_BITMAP] = {"a bitmap", "bitmap-data", false, false},
    [QCOW2_OWNER_DATA_FILE] = {"the external data file", "data-file", false,
                               false},
};

void qcow2_owner_text(const struct qcow2_owner *owner, char *out)
{
    const struct owner_name *name = &owner_names[owner->kind];

    if (name->has_place) {
        (void)snprintf(out, QCOW2_OWNER_TEXT_LEN, "%s %llu", name->text,
                       (unsigned long long)owner->place);
    } else {
        (void)snprintf(out, QCOW2_OWNER_TEXT_LEN, "%s", name->text);
    }
}

static void count(struct qcow2_check_result *result,
                  const struct qcow2_finding *finding)
{
    switch (finding->kind) {
    case QCOW2_PROBLEM_CORRUPTION:
        result->corruptions += finding->times;
        result->beyond_qemu += finding->is_beyond_qemu ? finding->times : 0;
        break;
    case QCOW2_PROBLEM_LEAK:
        result->leaks += finding->times;
        break;
    case QCOW2_PROBLEM_ERROR:
        result->check_errors += finding->times;
        break;
    }
}

void qcow2_check_tell(struct qcow2_check *check,
                      const struct qcow2_finding *finding, const char *fmt, ...)
{
    const struct qcow2_check_options *options = check->options;
    const struct owner_name *owner = &owner_names[finding->owner.kind];
    char message[MESSAGE_LEN];
    va_list args;

    if (check->is_naming) {
        return;
    }
    count(check->result, finding);
    if (!options->problem || (options->max_problems != 0 &&
                              check->problems_told >= options->max_problems)) {
        return;
    }
    check->problems_told++;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    options->problem(options->opaque, &(struct qcow2_problem){
                                          .kind = finding->kind,
                                          .id = finding->id,
                                          .off = finding->off,
                                          .owner = owner->name,
                                          .has_guest_off = owner->has_guest_off,
                                          .guest_off = finding->owner.place,
                                          .message = message,
                                      });
}
