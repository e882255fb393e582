/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the options of each command leave behind; common ones come first. */
#ifndef VALUES_H
#define VALUES_H

#include <chain/inspect.h>
#include <chain/validate.h>

#include "change.h"
#include "options.h"
#include "verdict_files.h"
#include "words.h"

struct info_values {
    struct common_values common;
    bool backing_chain;
};

struct map_values {
    struct common_values common;
    uint64_t start;
    uint64_t length; /* 0 and has_length false: to the end */
    bool has_length;
    const char *snapshot;
};

struct check_values {
    struct common_values common;
    const char *repair; /* -r */
    const char *undo;   /* --undo */
    bool dry_run, no_undo;
    unsigned threads; /* -m; 0: one a processor */
    bool backing_chain;
    bool direct;
};

struct compare_values {
    struct common_values common;
    const char *b_format;
    const char *a_snapshot, *b_snapshot;
    bool strict;
    bool all;
    bool direct;
};

struct digest_values {
    struct common_values common;
    const char *snapshot;
    bool flat;
    bool direct;
};

struct tree_values {
    struct common_values common;
    bool recursive;
};

struct create_values {
    struct change_values change;
    bool backing_unsafe; /* -u */
    bool has_for;
    enum chain_operation operation; /* --for */
    const char *source, *source_format;
};

struct copy_values {
    struct change_values change;
    const char *dest_format; /* -O */
    const char *snapshot;    /* -l */
    bool shallow, compress, no_create, target_is_zero;
    bool bitmaps, skip_broken_bitmaps, no_reflink;
    bool is_accepted; /* by options that have no effect here */
    bool has_sparse;
    uint64_t sparse_len; /* -S */
    unsigned threads;    /* -m */
    int effort;          /* enum qcow2_effort */
    /* -o backing_file and backing_fmt, which -B and -F point into; owned */
    char *backing_word, *format_word;
};

struct rebase_values {
    struct change_values change;
    bool unsafe, force, no_undo;
    const char *undo; /* a record */
};

struct commit_values {
    struct change_values change;
    const char *base;
    bool keep_overlay;
};

struct amend_values {
    struct change_values change;
    bool is_accepted; /* by options that have no effect here */
};

struct resize_values {
    struct change_values change;
    const char *preallocation;
    bool shrink;
};

struct snapshot_values {
    struct change_values change;
    struct words disks; /* --disk, as given */
    bool atomic, reuse_external;
    const char *recover; /* a folder */
};

struct pivot_values {
    struct change_values change;
    const char *qmp;              /* a socket */
    const char *connect, *domain; /* or a URI, and a name */
    const char *snapshot_name;    /* NULL: libvirt keeps no record */
    const char *device, *node, *dest;
    const char *migrate_to; /* a folder */
    struct words disks;     /* --disk, as given */
    bool shallow, reuse_external, no_pivot, abort;
    uint64_t bandwidth; /* 0: any */
};

struct validate_values {
    struct common_values common;
    const char *source, *source_format;
    const char *dest, *dest_format;
    const char *backing_name;
    enum chain_name_requirement require;
    bool shallow, raw;
    bool allow_larger, allow_data_file;
    bool target_is_zero, synchronous_writes, is_live;
    const char *as_user;
    const char *qemu_version;
    const char *stamp;
    struct verdict_files reports;
};

/* preflight: each flag by virsh's name. */
struct preflight_values {
    struct common_values common;
    const char *domain;   /* XML; with CONNECT a name */
    const char *connect;  /* URI */
    const char *snapshot; /* XML, or: */
    const char *name, *memspec;
    struct words diskspecs;
    const char *copy_disk; /* XML, or: */
    const char *dest, *target;
    bool blockdev, raw;
    bool reuse_external, disk_only, atomic, quiesce, no_metadata, redefine,
        current, halt, live, validate;
    bool shallow, transient_job, synchronous_writes;
    bool has_granularity;
    uint64_t granularity;
    bool is_transient;
    bool allow_larger, allow_data_file;
    const char *as_user, *qemu_version;
    struct verdict_files reports;
};

struct inspect_values {
    struct common_values common;
    enum chain_inspect_policy policy;
    uint64_t max_virtual_len, max_actual_len, max_ratio;
    struct words profiles, allowed;
    struct verdict_files reports;
    const char *path; /* of the file; NULL: it came as a descriptor */
};

#endif
