/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operation as it is put to libvirt: what libvirt itself refuses, in the
 * cases in which it does (as of libvirt 9.0), and the files that it would hand
 * to QEMU. What becomes of such a file is for chain/validate.h to judge.
 *
 * Checks are written into a report. Those that begin with "libvirt-" fail where
 * libvirt refuses; the others tell of what it lets pass and should not.
 * docs/preflight.md lists them.
 */
#ifndef CHAIN_PREFLIGHT_H
#define CHAIN_PREFLIGHT_H

#include <chain/chain.h>
#include <chain/report.h>
#include <chain/virt.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags, by the names that virsh gives them. */
enum {
    CHAIN_VIRT_REUSE_EXTERNAL = 1u << 0,
    /* Snapshots. */
    CHAIN_VIRT_DISK_ONLY = 1u << 1,
    CHAIN_VIRT_ATOMIC = 1u << 2,
    CHAIN_VIRT_QUIESCE = 1u << 3,
    CHAIN_VIRT_NO_METADATA = 1u << 4,
    CHAIN_VIRT_REDEFINE = 1u << 5,
    CHAIN_VIRT_CURRENT = 1u << 6,
    CHAIN_VIRT_HALT = 1u << 7,
    CHAIN_VIRT_LIVE = 1u << 8,
    CHAIN_VIRT_VALIDATE = 1u << 9,
    /* Copies. */
    CHAIN_VIRT_SHALLOW = 1u << 10,
    CHAIN_VIRT_TRANSIENT_JOB = 1u << 11,
    CHAIN_VIRT_SYNCHRONOUS_WRITES = 1u << 12,
};

struct chain_preflight_request {
    const struct chain_virt_domain *domain;
    /* One of the two. */
    const struct chain_virt_snapshot *snapshot;
    const struct chain_virt_disk *copy; /* the destination of a block copy */
    const char *copy_file;              /* where COPY was read; NULL */
    const char *target; /* of a copy: the domain's disk, by target or source */
    unsigned flags;
    bool is_transient; /* the domain has no persistent definition */
    /* Refusals of the files that the request was read from; may be NULL. */
    const struct chain_virt_refusals *copy_refusals;
    bool has_granularity;
    uint64_t granularity; /* bytes */
};

enum chain_preflight_kind {
    CHAIN_PREFLIGHT_SNAPSHOT, /* dest becomes the overlay of the disk */
    CHAIN_PREFLIGHT_COPY,
    CHAIN_PREFLIGHT_SHALLOW_COPY,
};

/* A layer below a shallow copy's destination, as its headers say. */
struct chain_preflight_layer {
    char *path, *format;
    bool is_device;
};

/* A file that libvirt would hand to QEMU for a disk. */
struct chain_preflight_task {
    const struct chain_virt_disk *disk; /* of the domain */
    enum chain_preflight_kind kind;
    const char *source, *source_format;
    const char *dest;
    const char *dest_format; /* NULL: libvirt probes it */
    bool is_reused;          /* else libvirt makes it */
    bool is_dest_device;     /* named as a block device */
    bool is_unlisted;        /* the request does not name the disk */
    char *made_up;           /* a name that libvirt makes up, which dest is */
    /* Of a shallow copy; none before chain_preflight_files, and where the
       destination's chain cannot be opened. */
    struct chain_preflight_layer *below;
    size_t below_nr;
};

/* What a request comes to. It borrows from the request. */
struct chain_preflight {
    struct chain_preflight_task *tasks;
    size_t tasks_nr;
    struct chain_report *report;
};

/*
 * Read the request as libvirt does. Files are looked at by stat(2) only. Fails
 * when memory runs out.
 */
IMG_PUBLIC int chain_preflight(const struct chain_preflight_request *request,
                               struct chain_preflight **out,
                               struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_preflight_free(struct chain_preflight *preflight);

/*
 * Open the chains of the domain's disks, with OPTIONS but for the format, and
 * see whether they are what the XML says (domain-chain), and whether a
 * destination is a file of one of them, or of another disk of the request
 * (dest-shared). Adds to the report, and the layers below shallow copies.
 */
IMG_PUBLIC int
chain_preflight_files(const struct chain_preflight_request *request,
                      struct chain_preflight *preflight,
                      const struct chain_options *options,
                      struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
