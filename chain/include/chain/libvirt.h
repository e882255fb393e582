/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain of a running libvirt: its XML, snapshots and block copies with
 * REUSE_EXT, and a copy's job followed to its real end.
 *
 * libvirt's C library is loaded when it is first asked for, and only then; its
 * own messages do not reach stderr. Errors that libvirt reports are
 * IMG_REFUSED and have its words. One thread at a time.
 */
#ifndef CHAIN_LIBVIRT_H
#define CHAIN_LIBVIRT_H

#include <chain/preflight.h>
#include <chain/virt.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_libvirt;

/*
 * Connect to URI (NULL: libvirt's default) and look DOMAIN up, by its name.
 * READ_ONLY is enough for chain_libvirt_domain. IMG_UNSUPPORTED: this program
 * was built without libvirt, its library is not installed, or URI names another
 * host, whose files cannot be looked at; IMG_NOT_FOUND:
 * there is no such domain.
 */
IMG_PUBLIC int chain_libvirt_open(const char *uri, const char *domain,
                                  bool read_only, struct chain_libvirt **out,
                                  struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_libvirt_close(struct chain_libvirt *libvirt);
/* The version of libvirt's library, as 9000000; 0: it cannot be loaded. */
unsigned long chain_libvirt_version(void);

/* The domain as it is now. Free with chain_virt_domain_free. */
IMG_PUBLIC int chain_libvirt_domain(struct chain_libvirt *libvirt,
                                    struct chain_virt_domain **out,
                                    bool *is_persistent, struct img_error *err);

/* Does libvirt keep the domain's state, saved by itself (managed save)? */
IMG_PUBLIC int chain_libvirt_has_managed_save(struct chain_libvirt *libvirt,
                                              bool *out, struct img_error *err);

/* virDomainSnapshotCreateXML with FLAGS (CHAIN_VIRT_...). */
IMG_PUBLIC int chain_libvirt_snapshot(struct chain_libvirt *libvirt,
                                      const char *xml, unsigned flags,
                                      struct img_error *err);

/* Which domain it is, and whose: strings to be freed, NULL after a failure.
   URI is libvirt's own spelling. */
IMG_PUBLIC int chain_libvirt_identity(struct chain_libvirt *libvirt, char **uri,
                                      char **uuid, char **name,
                                      struct img_error *err);
/* The domain's definition, as it is when it does not run; with SECURE the
   secrets in it, too (not read-only). Free *XML with free(). */
IMG_PUBLIC int chain_libvirt_definition(struct chain_libvirt *libvirt,
                                        bool secure, char **xml,
                                        struct img_error *err);

struct chain_libvirt_copy {
    const char *disk;     /* target: vda */
    const char *xml;      /* the destination's <disk> */
    unsigned flags;       /* CHAIN_VIRT_... */
    uint64_t bandwidth;   /* bytes a second; 0: any */
    uint64_t granularity; /* bytes; 0: QEMU's choice */
};

/* virDomainBlockCopy: that it succeeds means that the job has begun. */
IMG_PUBLIC int chain_libvirt_copy_start(struct chain_libvirt *libvirt,
                                        const struct chain_libvirt_copy *copy,
                                        struct img_error *err);

enum chain_libvirt_job {
    CHAIN_LIBVIRT_NO_JOB, /* none, or it has ended */
    CHAIN_LIBVIRT_COPYING,
    CHAIN_LIBVIRT_READY, /* the domain's XML says so */
};

/* How the job of DISK stands, after at most WAIT_MS. */
IMG_PUBLIC int chain_libvirt_job_look(struct chain_libvirt *libvirt,
                                      const char *disk, unsigned wait_ms,
                                      enum chain_libvirt_job *out,
                                      uint64_t *done, uint64_t *total,
                                      struct img_error *err);
/* Why a job failed while this connection was open, in QEMU's words; NULL: not
   known. Borrowed. libvirt itself does not tell. */
IMG_PUBLIC const char *
chain_libvirt_job_error(const struct chain_libvirt *libvirt);
/*
 * End the job of DISK: the domain goes on in the destination, or (not
 * IS_PIVOT) in the source. Returns when it has ended. A pivot that is refused
 * leaves the job.
 */
IMG_PUBLIC int chain_libvirt_job_end(struct chain_libvirt *libvirt,
                                     const char *disk, bool is_pivot,
                                     struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
