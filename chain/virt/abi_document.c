/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libvirt asks of the devices of a domain together, where it was not so
 * before. Room: chain/virt; for abi.c.
 */
#include <stdlib.h>

#include <img/memory.h>

#include "abi_impl.h"
#include "reader.h"

static const struct virt_node *devices_of(const struct virt_node *domain)
{
    return virt_child(domain, "devices");
}

static bool has_device(const struct virt_node *domain, const char *name)
{
    return virt_child(devices_of(domain), name);
}

/* libvirt makes up a display device for a display that has none. */
static int check_display(struct abi_walk *walk, const struct virt_node *old,
                         const struct virt_node *new)
{
    bool is_made_up = has_device(new, "graphics") && !has_device(new, "video");
    bool had_one = has_device(old, "graphics") || has_device(old, "video");

    return is_made_up && !had_one
               ? abi_add_fault(walk, virt_child(devices_of(new), "graphics"),
                               "would bring a display device, which the guest "
                               "has none of")
               : 0;
}

/* ---- Boot orders. */

struct order {
    uint64_t number;
    const struct virt_node *device;
};

static int by_order(const void *a, const void *b)
{
    const struct order *one = a, *other = b;
    size_t at = one->device->ordinal, than = other->device->ordinal;

    return one->number != other->number
               ? (one->number > other->number) - (one->number < other->number)
               : (at > than) - (at < than);
}

static bool read_order(const struct virt_node *device, struct order *out)
{
    const char *text = virt_attribute(virt_child(device, "boot"), "order");

    out->device = device;
    return text && virt_number(text, &out->number);
}

/* The device of DOMAIN whose place is taken; NULL: none is. ANY: one that has
   a place, or NULL. */
static int find_twice(const struct virt_node *domain,
                      const struct virt_node **twice,
                      const struct virt_node **any, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct order *list = NULL;
    const struct virt_node *devices = devices_of(domain);
    struct order order;
    size_t nr = 0;

    *twice = *any = NULL;
    for (const struct virt_node *n = devices ? devices->first : NULL; n;
         n = n->next) {
        nr += read_order(n, &order);
    }
    list = img_calloc(nr + 1, sizeof(*list), err);
    if (!list) {
        return -1;
    }
    nr = 0;
    for (const struct virt_node *n = devices ? devices->first : NULL; n;
         n = n->next) {
        nr += read_order(n, &list[nr]);
    }
    qsort(list, nr, sizeof(*list), by_order);
    for (size_t i = 1; i < nr && !*twice; i++) {
        *twice = list[i].number == list[i - 1].number ? list[i].device : NULL;
    }
    *any = nr > 0 ? list[0].device : NULL;
    return 0;
}

static bool has_boot(const struct virt_node *domain)
{
    return virt_child(virt_child(domain, "os"), "boot");
}

static int check_boot(struct abi_walk *walk, const struct virt_node *old,
                      const struct virt_node *new)
{
    const struct virt_node *was_twice, *twice, *was_any, *any;

    if (find_twice(old, &was_twice, &was_any, walk->err) < 0 ||
        find_twice(new, &twice, &any, walk->err) < 0) {
        return -1;
    }
    if (twice && !was_twice &&
        abi_add_fault(walk, twice, "has the boot order of another device") <
            0) {
        return -1;
    }
    return any && has_boot(new) && !(was_any && has_boot(old))
               ? abi_add_fault(walk, any,
                               "has a boot order, and <os> has one, too")
               : 0;
}

int abi_check_devices(struct abi_walk *walk, const struct virt_node *old,
                      const struct virt_node *new)
{
    return check_display(walk, old, new) < 0 ? -1 : check_boot(walk, old, new);
}
