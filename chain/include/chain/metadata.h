/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libvirt keeps on record of a domain's snapshots, or of its checkpoints
 * (either is a "moment" in libvirt's messages): one XML document for each, and
 * the hierarchy that they make.
 *
 * Documents come from libvirt's own folder (/var/lib/libvirt/qemu/snapshot or
 * checkpoint/DOMAIN), from files as `virsh snapshot-dumpxml` prints them, or
 * from a running libvirt. Nothing but the documents is opened; no name in them
 * is followed. One thread at a time.
 */
#ifndef CHAIN_METADATA_H
#define CHAIN_METADATA_H

#include <chain/libvirt.h>
#include <chain/virt.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHAIN_METADATA_MAX 16384u /* documents; libvirt lists as many */
#define CHAIN_METADATA_MAX_LEN (256u << 20) /* bytes of all of them */
#define CHAIN_METADATA_NONE SIZE_MAX        /* no index */

enum chain_moment_kind {
    CHAIN_SNAPSHOT,
    CHAIN_CHECKPOINT,
};

/* What a snapshot is made of. */
enum chain_snapshot_trait {
    CHAIN_SNAPSHOT_INTERNAL = 1 << 0,  /* a disk or memory inside of images */
    CHAIN_SNAPSHOT_EXTERNAL = 1 << 1,  /* a disk or memory in other files */
    CHAIN_SNAPSHOT_MEMORY = 1 << 2,    /* the guest's memory is in it */
    CHAIN_SNAPSHOT_DISK_ONLY = 1 << 3, /* of a running guest, without memory */
};

/* A document, and its place in the hierarchy. Strings are a stranger's. */
struct chain_moment {
    char *file; /* it was read from; NULL: libvirt told it */
    char *text; /* the document as it is, terminated */
    size_t len;
    /* One of the two. */
    struct chain_virt_snapshot *snapshot;
    struct chain_virt_checkpoint *checkpoint;
    /* Borrowed from it. */
    const char *name, *parent_name; /* NULL: not said */
    size_t parent;                  /* index; NONE: it has none, or it is not
                                       there, or is_looped, or is_double */
    bool is_parent_missing;         /* parent_name is no moment's */
    bool is_looped;                 /* its parents lead back to it */
    bool is_double; /* one before it has its name: libvirt takes the first */
    bool is_current;
};

/* A file that is no such document. */
struct chain_metadata_unread {
    char *file;
    enum img_code code;
    char *why; /* one line, escaped */
};

struct chain_metadata {
    enum chain_moment_kind kind;
    char *folder; /* it was read from; NULL: files, or libvirt */
    struct chain_moment *moments; /* files in the order of their names */
    size_t nr;
    size_t text_len; /* bytes of all documents */
    size_t *order;   /* nr indices: parents before children, of one parent the
                        older first; what is looped or double at the end */
    struct chain_metadata_unread *unread;
    size_t unread_nr;
    size_t current_nr; /* how many claim to be current */
};

/*
 * All files in FOLDER (libvirt reads whatever lies there; its daemon does so
 * when it starts), or the NR FILES; confined by ROOTS, which may be NULL. What
 * cannot be read, or is no such document, is kept in UNREAD; fails for the
 * folder itself, over a limit (IMG_LIMIT), and without memory.
 */
IMG_PUBLIC int chain_metadata_read_folder(enum chain_moment_kind kind,
                                          const char *folder,
                                          const struct img_roots *roots,
                                          struct chain_metadata **out,
                                          struct img_error *err);
IMG_PUBLIC int chain_metadata_read_files(enum chain_moment_kind kind,
                                         const char *const *files, size_t nr,
                                         const struct img_roots *roots,
                                         struct chain_metadata **out,
                                         struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_metadata_free(struct chain_metadata *metadata);

/*
 * By hand: an empty one; a document that errors call NAME (it is kept as FILE,
 * which may be NULL; both and TEXT are copied), which fails as
 * chain_virt_snapshot_parse does; and at the end the hierarchy. CURRENT names
 * the current one; NULL: those that say so of themselves (<active>).
 */
IMG_PUBLIC int chain_metadata_new(enum chain_moment_kind kind,
                                  struct chain_metadata **out,
                                  struct img_error *err);
IMG_PUBLIC int chain_metadata_add(struct chain_metadata *metadata,
                                  const char *name, const char *file,
                                  const char *text, size_t len,
                                  struct img_error *err);
IMG_PUBLIC int chain_metadata_link(struct chain_metadata *metadata,
                                   const char *current, struct img_error *err);

/* The moment of that name (the first one); NONE: there is none. */
IMG_PUBLIC size_t chain_metadata_find(const struct chain_metadata *metadata,
                                      const char *name);
/* Is IDX below ABOVE, or ABOVE itself? */
IMG_PUBLIC bool chain_metadata_is_below(const struct chain_metadata *metadata,
                                        size_t idx, size_t above);

/* CHAIN_SNAPSHOT_... as bits, as libvirt takes what is not said. */
IMG_PUBLIC unsigned
chain_snapshot_traits(const struct chain_virt_snapshot *snapshot);

/* Where a disk takes part in a snapshot. */
enum chain_moment_place {
    CHAIN_PLACE_NO,
    CHAIN_PLACE_INTERNAL, /* in the image itself */
    CHAIN_PLACE_EXTERNAL, /* it goes on in an overlay */
    CHAIN_PLACE_MANUAL,   /* not by libvirt */
};
/* libvirt's word: "no", "internal", ... */
IMG_PUBLIC const char *chain_moment_place_name(enum chain_moment_place place);

/* A disk of a snapshot. All borrowed from the snapshot. */
struct chain_moment_disk {
    const char *name; /* as its <domain> has it, else as the snapshot has it;
                         NULL: it has none */
    enum chain_moment_place place;
    const struct chain_virt_layer *before;  /* the disk in its <domain>; NULL:
                                               not told */
    const struct chain_virt_layer *overlay; /* where it goes on; NULL: it does
                                               not, or it is not told where */
};

/*
 * The disks of SNAPSHOT, those that take no part as well: the listed ones,
 * then the others of its <domain>, where libvirt takes them to be. Free *OUT
 * with free().
 */
IMG_PUBLIC int chain_snapshot_disks(const struct chain_virt_snapshot *snapshot,
                                    struct chain_moment_disk **out, size_t *nr,
                                    struct img_error *err);
/* Where the memory is, if it is part of the snapshot: NO, INTERNAL or
   EXTERNAL. */
IMG_PUBLIC enum chain_moment_place
chain_snapshot_memory(const struct chain_virt_snapshot *snapshot);

/*
 * What LIBVIRT has on record of its domain. With SECURE secrets are in it,
 * too, which a read-only connection does not get (IMG_REFUSED).
 */
IMG_PUBLIC int chain_libvirt_metadata(struct chain_libvirt *libvirt,
                                      enum chain_moment_kind kind, bool secure,
                                      struct chain_metadata **out,
                                      struct img_error *err);

/* The document of NAME; IMG_NOT_FOUND. Free *XML with free(). */
IMG_PUBLIC int chain_libvirt_moment(struct chain_libvirt *libvirt,
                                    enum chain_moment_kind kind,
                                    const char *name, bool secure, char **xml,
                                    struct img_error *err);
/* The current snapshot's name; NULL: there is none. Free it with free(). */
IMG_PUBLIC int chain_libvirt_current(struct chain_libvirt *libvirt, char **name,
                                     struct img_error *err);
/* Put XML on record (REDEFINE), a snapshot's as the current one, perhaps. */
IMG_PUBLIC int chain_libvirt_moment_put(struct chain_libvirt *libvirt,
                                        enum chain_moment_kind kind,
                                        const char *xml, bool is_current,
                                        struct img_error *err);

/* Forget NAME: metadata only, images stay as they are, and its children become
   those of its parent. IMG_NOT_FOUND. */
IMG_PUBLIC int chain_libvirt_moment_delete(struct chain_libvirt *libvirt,
                                           enum chain_moment_kind kind,
                                           const char *name,
                                           struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
