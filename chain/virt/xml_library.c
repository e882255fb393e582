/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loading libxml2: see xml_library.h. */
#include "xml_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <chain/virt.h>

static struct virt_xml_library library;
static bool is_loaded;

static bool find(void *handle, const char *name, void *out, size_t len)
{
    void *found = dlsym(handle, name);

    memcpy(out, &found, len);
    return found;
}

static bool find_all(void *handle)
{
#define CALL(name)                                                             \
    if (!find(handle, #name, &library.name, sizeof(library.name))) {           \
        return false;                                                          \
    }
    XML_CALLS(CALL)
#undef CALL
    return true;
}

static void load(void)
{
    void *handle = dlopen(IMGCHAIN_LIBXML2_NAME, RTLD_NOW | RTLD_LOCAL);
    const char *const *version;

    if (!handle || !find_all(handle)) {
        return;
    }
    version = dlsym(handle, "xmlParserVersion");
    library.version = version ? *version : NULL;
    /* It may not be done by two threads at once. */
    library.xmlInitParser();
    is_loaded = true;
}

int virt_xml_library(const struct virt_xml_library **out, struct img_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, load);
    *out = &library;
    return is_loaded
               ? 0
               : img_fail(err, IMG_UNSUPPORTED,
                          "XML cannot be read: found no " IMGCHAIN_LIBXML2_NAME
                          ", expected the package libxml2");
}

const char *chain_virt_xml_version(void)
{
    const struct virt_xml_library *loaded;
    struct img_error ignored;

    return virt_xml_library(&loaded, &ignored) == 0 ? loaded->version : NULL;
}
