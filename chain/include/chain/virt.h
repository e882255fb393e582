/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's XML: domains, snapshots, and the <disk> of a block copy.
 *
 * What is read stands in the structures as it stands in the text: a string is
 * NULL where nothing was said, an empty one is kept. Nothing is opened but the
 * XML file, and no name in it is followed. The texts are a stranger's: escape
 * them before they are shown.
 *
 * There are two ways to be wrong. What is no XML, or another document, or over
 * a limit, fails with an error that names the file and the line. What libvirt
 * itself would refuse when it reads the document is kept in a list of refusals
 * beside everything else, so that all of them can be told. What libvirt does
 * not know it ignores, and so does this.
 *
 * Handles belong to one thread at a time. docs/security.md has the limits.
 */
#ifndef CHAIN_VIRT_H
#define CHAIN_VIRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/roots.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHAIN_VIRT_MAX_LEN (8u << 20) /* bytes; libvirt sends at most 4 MiB */
#define CHAIN_VIRT_MAX_DEPTH 256u     /* elements in each other; libvirt, too */
#define CHAIN_VIRT_MAX_ELEMENTS 262144u /* of a document */
#define CHAIN_VIRT_MAX_ATTRIBUTES 1048576u
#define CHAIN_VIRT_MAX_TAG_ATTRIBUTES 64u /* of one element */
#define CHAIN_VIRT_MAX_NAMES 4096u     /* that differ, of all in a document */
#define CHAIN_VIRT_MAX_NAMESPACES 256u /* declarations */
#define CHAIN_VIRT_MAX_DISKS 16384u
#define CHAIN_VIRT_MAX_LAYERS 200u   /* <backingStore> in each other */
#define CHAIN_VIRT_MAX_REFUSALS 256u /* that are kept; the rest is counted */

/* What libvirt refuses when it reads this. */
struct chain_virt_refusal {
    const char *id; /* libvirt's error: "XML_ERROR", "CONFIG_UNSUPPORTED", ...
                       static */
    char *text;     /* one line, escaped */
    unsigned line;  /* 0: not of one place */
};

struct chain_virt_refusals {
    struct chain_virt_refusal *list; /* in the order they were found */
    size_t nr;
    size_t left_off_nr; /* more that were found and not kept */
};

enum chain_virt_source_type {
    CHAIN_VIRT_SOURCE_NONE, /* a word that libvirt does not know (a refusal) */
    CHAIN_VIRT_SOURCE_FILE,
    CHAIN_VIRT_SOURCE_BLOCK,
    CHAIN_VIRT_SOURCE_DIR,
    CHAIN_VIRT_SOURCE_NETWORK,
    CHAIN_VIRT_SOURCE_VOLUME,
    CHAIN_VIRT_SOURCE_NVME,
    CHAIN_VIRT_SOURCE_VHOSTUSER,
};
/* libvirt's word: "file", "block", ...; "none". */
IMG_PUBLIC const char *
chain_virt_source_type_name(enum chain_virt_source_type type);

/* <source>, with the type that the element around it gave; where there is no
   <source>, libvirt takes it for an empty file. */
struct chain_virt_source {
    enum chain_virt_source_type type;
    char *path;            /* file=, dev= or dir=, by type; NULL (also for an
                              empty one): no source */
    char *protocol, *name; /* network; of its first host: */
    char *host, *port, *transport, *socket;
    size_t hosts_nr;
    char *network_snapshot, *config; /* rbd and sheepdog */
    char *pool, *volume, *mode;      /* volume */
    char *namespace_id;              /* nvme */
    bool has_data_store; /* its contents lie in the file of a <dataStore> */
    bool has_slice;
    uint64_t slice_offset, slice_len; /* bytes */
    char *encryption; /* format: luks, luks2, qcow, default; "": <encryption>
                         names none; NULL: no encryption */
    char *engine;     /* qemu, librbd */
    char *secret;     /* uuid, or usage, of its first secret */
    char *auth;       /* user name */
    char *fdgroup;
    char *startup_policy; /* of a domain's disk alone */
    unsigned line;        /* of <source>; 0: there is none */
};

enum chain_virt_backing_kind {
    CHAIN_VIRT_BACKING_UNSAID, /* what the header says */
    CHAIN_VIRT_BACKING_ENDS,   /* <backingStore/>: none, whatever it says */
    CHAIN_VIRT_BACKING_GIVEN,  /* backing has it */
};

/* An image, and what the XML says of those below it. */
struct chain_virt_layer {
    struct chain_virt_source source;
    char *format; /* <driver type=> of the disk, <format type=> below it; NULL:
                     not said (raw, for the disk of a domain) */
    enum chain_virt_backing_kind backing_kind;
    struct chain_virt_layer *backing; /* NULL unless GIVEN */
    char *idx;                        /* index=, of live XML */
    bool has_metadata_cache;
    unsigned line; /* of the element that the type stands in */
};

/* <disk> of a domain, or of a block copy. */
struct chain_virt_disk {
    char *target;       /* dev= of <target>: vda */
    char *bus, *device; /* device: disk, cdrom, floppy, lun; NULL: disk */
    char *model;
    char *snapshot; /* no, internal, external, manual; NULL: not said, which is
                       no for a disk that is readonly or of type vhostuser */
    char *driver, *cache, *io, *discard, *detect_zeroes; /* of <driver> */
    bool is_readonly; /* also of a cdrom, which libvirt makes so: without
                         snapshot= it has no part in snapshots */
    bool is_shareable, is_transient;
    struct chain_virt_layer top; /* source.path NULL and no network: empty */
    bool has_mirror;             /* a block job is running */
    char *mirror_job;            /* copy, active-commit; NULL: copy */
    char *mirror_ready;          /* yes, pivot, abort; NULL: not yet */
    struct chain_virt_layer mirror;
    unsigned line;
};

/* <domain>, also inside of a <domstatus>. */
struct chain_virt_domain {
    char *file;               /* as given to read or parse */
    char *type, *name, *uuid; /* type: kvm, qemu, ... */
    char *id;
    bool is_active;  /* the XML is a running domain's: it has an id */
    bool has_pflash; /* <loader type='pflash'>, or firmware chosen by itself */
    bool has_agent;  /* a channel org.qemu.guest_agent.0 */
    char *nvram;     /* local file of <nvram>; NULL: not said, or another */
    bool has_tpm;    /* an emulated one, whose state libvirt keeps, and loses
                        unless it is told not to */
    bool has_addresses; /* of all disks: as libvirt writes it */
    struct chain_virt_disk *disks;
    size_t disks_nr;
    struct chain_virt_refusals refusals;
    unsigned line;
};

/* <disk> of a snapshot: where the domain's disk NAME goes on. */
struct chain_virt_snapshot_disk {
    char *name;     /* target or source path of a disk of the domain */
    char *snapshot; /* no, internal, external, manual; NULL: not said */
    char *type;     /* type=; NULL: not said (file) */
    struct chain_virt_layer dest; /* source.path NULL: libvirt makes one up */
    bool is_delete_in_progress;
    unsigned line;
};

/* <domainsnapshot> */
struct chain_virt_snapshot {
    char *file;
    char *name, *description, *state, *parent;
    bool has_creation_time;
    int64_t creation_time; /* seconds since 1970 */
    char *memory_kind;     /* no, internal, external; NULL: not said */
    char *memory_file;
    unsigned memory_line;
    struct chain_virt_snapshot_disk *disks;
    size_t disks_nr;
    bool has_domain;                  /* a <domain> with a type, read whole */
    char *domain_uuid;                /* also of a <domain> without a type */
    struct chain_virt_domain *domain; /* owned; NULL unless has_domain */
    struct chain_virt_domain *inactive_domain; /* NULL: none */
    bool has_cookie;
    bool has_active, is_active;          /* <active>, as the daemon keeps it */
    struct chain_virt_refusals refusals; /* of all that is in it */
    unsigned line;
};

/* <disk> of a checkpoint: what is recorded of the domain's disk NAME. */
struct chain_virt_checkpoint_disk {
    char *name;
    char *checkpoint; /* no, bitmap; NULL: not said */
    char *bitmap;     /* NULL: not said, which is the checkpoint's name */
    unsigned line;
};

/* <domaincheckpoint>. libvirt checks one by its schema, which is not done
   here. */
struct chain_virt_checkpoint {
    char *file;
    char *name, *description, *parent;
    bool has_creation_time;
    int64_t creation_time; /* seconds since 1970 */
    struct chain_virt_checkpoint_disk *disks;
    size_t disks_nr;
    char *domain_uuid;
    struct chain_virt_domain *domain; /* owned; NULL: none with a type */
    bool has_active, is_active;       /* as the daemon keeps it */
    struct chain_virt_refusals refusals;
    unsigned line;
};

/* The <disk> of a block copy, read by itself. */
struct chain_virt_disk_file {
    char *file;
    struct chain_virt_disk disk;
    struct chain_virt_refusals refusals;
};

/*
 * Read the XML file PATH (a regular file; ROOTS, which may be NULL, confine
 * it), or the LEN bytes of TEXT, which errors call NAME. IMG_FORMAT: no
 * well-formed XML, or another document; IMG_LIMIT: over a limit;
 * IMG_UNSUPPORTED: it has a document type, or is not in UTF-8; besides these
 * what img_file_open gives. Free with the matching _free.
 */
IMG_PUBLIC int chain_virt_domain_read(const char *path,
                                      const struct img_roots *roots,
                                      struct chain_virt_domain **out,
                                      struct img_error *err);
IMG_PUBLIC int chain_virt_domain_parse(const char *text, size_t len,
                                       const char *name,
                                       struct chain_virt_domain **out,
                                       struct img_error *err);
/* The bytes of an XML file, terminated, within the limit and not looked into.
   Free *TEXT with free(). */
IMG_PUBLIC int chain_virt_text_read(const char *path,
                                    const struct img_roots *roots, char **text,
                                    size_t *len, struct img_error *err);
/* NULL is fine, here and below. */
IMG_PUBLIC void chain_virt_domain_free(struct chain_virt_domain *domain);

IMG_PUBLIC int chain_virt_snapshot_read(const char *path,
                                        const struct img_roots *roots,
                                        struct chain_virt_snapshot **out,
                                        struct img_error *err);
IMG_PUBLIC int chain_virt_snapshot_parse(const char *text, size_t len,
                                         const char *name,
                                         struct chain_virt_snapshot **out,
                                         struct img_error *err);
IMG_PUBLIC void chain_virt_snapshot_free(struct chain_virt_snapshot *snapshot);

IMG_PUBLIC int chain_virt_checkpoint_parse(const char *text, size_t len,
                                           const char *name,
                                           struct chain_virt_checkpoint **out,
                                           struct img_error *err);
IMG_PUBLIC void
chain_virt_checkpoint_free(struct chain_virt_checkpoint *checkpoint);

IMG_PUBLIC int chain_virt_disk_read(const char *path,
                                    const struct img_roots *roots,
                                    struct chain_virt_disk_file **out,
                                    struct img_error *err);
IMG_PUBLIC int chain_virt_disk_parse(const char *text, size_t len,
                                     const char *name,
                                     struct chain_virt_disk_file **out,
                                     struct img_error *err);
IMG_PUBLIC void chain_virt_disk_file_free(struct chain_virt_disk_file *disk);

/*
 * virsh's --diskspec: NAME[,snapshot=][,driver=][,stype=][,file=], each at
 * most once, in any order; ",," is a comma. IMG_USAGE where virsh refuses it.
 * What libvirt would refuse of it comes to light when a snapshot with it is
 * written and parsed again. Release with chain_virt_snapshot_disk_fini.
 */
IMG_PUBLIC int chain_virt_diskspec_parse(const char *spec,
                                         struct chain_virt_snapshot_disk *out,
                                         struct img_error *err);
/* Zeroed is empty. */
IMG_PUBLIC void
chain_virt_snapshot_disk_fini(struct chain_virt_snapshot_disk *disk);

/*
 * virsh's --memspec: [file=]PATH[,snapshot=TYPE], into memory_kind and
 * memory_file of OUT, which are freed first.
 */
IMG_PUBLIC int chain_virt_memspec_parse(const char *spec,
                                        struct chain_virt_snapshot *out,
                                        struct img_error *err);

/*
 * The XML to ask libvirt for the snapshot, or for the block copy to DISK, as
 * text with a final newline. Values are escaped; one that XML cannot hold
 * (control characters, not UTF-8) is IMG_UNSUPPORTED, and so is a source of
 * another type than file and block. *OUT: free with free().
 */
IMG_PUBLIC int
chain_virt_snapshot_write(const struct chain_virt_snapshot *snapshot,
                          char **out, struct img_error *err);
IMG_PUBLIC int chain_virt_disk_write(const struct chain_virt_disk *disk,
                                     char **out, struct img_error *err);

/* "20914" for libxml2 2.9.14, which reads the XML; NULL: it is not there. */
const char *chain_virt_xml_version(void);

#ifdef __cplusplus
}
#endif
#endif
