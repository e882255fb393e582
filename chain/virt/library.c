/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loading libvirt's library: see library.h. */
#ifdef IMGCHAIN_LIBVIRT
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define LIBVIRT_NAME "libvirt.so.0"
#define LIBVIRT_QEMU_NAME "libvirt-qemu.so.0"

/* Called for every error: they are fetched where they are wanted. */
static void say_nothing(void *opaque, virErrorPtr error)
{
    (void)opaque;
    (void)error;
}

static int find(void *handle, const char *name, void *out, size_t len,
                struct img_error *err)
{
    void *found = dlsym(handle, name);

    if (!found) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "the installed " LIBVIRT_NAME " is too old: it has no "
                        "%s",
                        name);
    }
    memcpy(out, &found, len);
    return 0;
}

static int find_all(void *handle, struct virt_library *out,
                    struct img_error *err)
{
#define CALL(name)                                                             \
    if (find(handle, #name, &out->name, sizeof(out->name), err) < 0) {         \
        return -1;                                                             \
    }
    LIBVIRT_CALLS(CALL)
#undef CALL
    return 0;
}

/* What is not there stays NULL. */
static void find_qemu(struct virt_library *out)
{
    void *handle = dlopen(LIBVIRT_QEMU_NAME, RTLD_NOW | RTLD_LOCAL);
    struct img_error ignored;

    if (!handle) {
        return;
    }
#define CALL(name)                                                             \
    (void)find(handle, #name, &out->name, sizeof(out->name), &ignored);
    LIBVIRT_QEMU_CALLS(CALL)
#undef CALL
}

int virt_library_load(const struct virt_library **out, struct img_error *err)
{
    static struct virt_library library;
    static bool is_loaded;
    void *handle;

    *out = &library;
    if (is_loaded) {
        return 0;
    }
    handle = dlopen(LIBVIRT_NAME, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "libvirt's library is not installed (" LIBVIRT_NAME
                        "): expected the package libvirt0, or libvirt-libs");
    }
    if (find_all(handle, &library, err) < 0) {
        (void)dlclose(handle);
        return -1;
    }
    find_qemu(&library);
    library.virSetErrorFunc(NULL, say_nothing);
    is_loaded = true;
    return 0;
}
#endif
