/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's C library, loaded when it is used. Room: chain/virt; for
 * libvirt*.c. The types come from its headers, so that a wrong call does not
 * compile.
 */
#ifndef CHAIN_VIRT_LIBRARY_H
#define CHAIN_VIRT_LIBRARY_H

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <img/error.h>

#define LIBVIRT_CALLS(CALL)                                                    \
    CALL(virGetVersion)                                                        \
    CALL(virSetErrorFunc)                                                      \
    CALL(virGetLastError)                                                      \
    CALL(virConnectOpen)                                                       \
    CALL(virConnectOpenReadOnly)                                               \
    CALL(virConnectClose)                                                      \
    CALL(virDomainLookupByName)                                                \
    CALL(virDomainFree)                                                        \
    CALL(virDomainGetXMLDesc)                                                  \
    CALL(virDomainIsPersistent)                                                \
    CALL(virDomainHasManagedSaveImage)                                         \
    CALL(virDomainSnapshotCreateXML)                                           \
    CALL(virConnectGetURI)                                                     \
    CALL(virDomainGetUUIDString)                                               \
    CALL(virDomainGetName)                                                     \
    CALL(virDomainHasCurrentSnapshot)                                          \
    CALL(virDomainSnapshotCurrent)                                             \
    CALL(virDomainSnapshotLookupByName)                                        \
    CALL(virDomainSnapshotDelete)                                              \
    CALL(virDomainCheckpointCreateXML)                                         \
    CALL(virDomainCheckpointLookupByName)                                      \
    CALL(virDomainCheckpointDelete)                                            \
    CALL(virDomainSnapshotFree)                                                \
    CALL(virDomainSnapshotGetXMLDesc)                                          \
    CALL(virDomainSnapshotIsCurrent)                                           \
    CALL(virDomainSnapshotGetName)                                             \
    CALL(virDomainListAllSnapshots)                                            \
    CALL(virDomainListAllCheckpoints)                                          \
    CALL(virDomainCheckpointGetXMLDesc)                                        \
    CALL(virDomainCheckpointGetName)                                           \
    CALL(virDomainCheckpointFree)                                              \
    CALL(virDomainBlockCopy)                                                   \
    CALL(virDomainGetBlockJobInfo)                                             \
    CALL(virDomainBlockJobAbort)                                               \
    CALL(virTypedParamsAddULLong)                                              \
    CALL(virTypedParamsAddUInt)                                                \
    CALL(virTypedParamsFree)                                                   \
    CALL(virEventRegisterDefaultImpl)                                          \
    CALL(virEventRunDefaultImpl)                                               \
    CALL(virEventAddTimeout)                                                   \
    CALL(virEventRemoveTimeout)

/* Of libvirt-qemu, which may be missing. */
#define LIBVIRT_QEMU_CALLS(CALL)                                               \
    CALL(virConnectDomainQemuMonitorEventRegister)                             \
    CALL(virConnectDomainQemuMonitorEventDeregister)

struct virt_library {
#define CALL(name) __typeof__(name) *(name);
    LIBVIRT_CALLS(CALL)
    LIBVIRT_QEMU_CALLS(CALL)
#undef CALL
};

/* Loaded once, and kept. IMG_UNSUPPORTED: it is not there, or too old. */
int virt_library_load(const struct virt_library **out, struct img_error *err);

#endif
