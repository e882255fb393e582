/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a domain's XML may change under a saved guest. Room: chain/virt. */
#ifndef VIRT_ABI_TABLE_H
#define VIRT_ABI_TABLE_H

#include <stdbool.h>

#include "tree.h"

enum abi_class {
    ABI_STAYS,  /* what is in no table: the same text */
    ABI_NUMBER, /* the same number, decimal, octal or after 0x; not said: 0 */
    ABI_UUID,   /* the same digits */
    ABI_WORD,   /* the same but for upper and lower case */
    ABI_SIZE,   /* the same number of KiB, by unit= beside it */
    ABI_SEEN,   /* libvirt does not compare it, but the guest sees it */
    ABI_TEXT,   /* its text may change; what else it has is asked about */
    ABI_LENGTH, /* the same number of bytes, by unit= beside it, if that is
                   said: without it libvirt has no one unit for all */
    ABI_CACHE,  /* cache= of a disk: the guest sees whether writes are cached */
    ABI_NET,    /* type= of an interface: the guest sees some of them */
    ABI_KEPT,   /* may change, but has to be there */
    ABI_FREE,   /* with all that is in it */
};

/* Long enough for every path of the table. */
#define ABI_PATH_MAX 96u

/*
 * The class of PATH: names of elements below <domain>, parted by slashes, and
 * perhaps @ and an attribute. What is in an element that is free, or seen, is
 * not asked about.
 */
enum abi_class abi_class_of(const char *path);

/*
 * libvirt has it whether it is said or not: the root of the PCI bus and the USB
 * controller of an i440fx, the PS/2 devices of a PC, and the console that is
 * the first serial port, where there is one.
 */
bool abi_is_implied(const struct virt_node *device);
/* What libvirt would make up is no other one: nothing more is said of it. */
bool abi_is_plain(const struct virt_node *device);

#endif
