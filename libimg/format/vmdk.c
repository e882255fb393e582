/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMDK: one sparse file, or a text descriptor that lists others (room:
 * format). Contents are not read.
 *
 * The files that a descriptor names are never opened, whatever it says: who
 * wrote the image would choose what this process opens. A disk of several
 * files is told as its descriptor tells it; what only the headers of its
 * extents know (their grain size, the space they take) is left out.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/reference.h>

#include "vmdk_desc.h"
#include "vmdk_sparse.h"

#define SECTOR_LEN 512u
#define NO_PARENT UINT32_MAX /* as parentCID */
#define PROBE_TEXT_LEN 512u  /* as much as QEMU's probe gets */

struct vmdk {
    struct img_vmdk_sparse sparse; /* cluster_sectors 0: only a descriptor */
    bool is_sparse;
    struct img_vmdk_desc desc;
};

static void vmdk_fini(struct vmdk *vmdk)
{
    img_vmdk_desc_fini(&vmdk->desc);
}

/* The descriptor at OFF of the file, of LEN bytes; less where it ends. */
static int desc_load(struct img_file *file, uint64_t off, uint64_t len,
                     struct img_vmdk_desc *out, struct img_error *err)
{
    if (len > VMDK_DESC_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "VMDK descriptor too long: found %" PRIu64
                        " bytes, expected at most %u",
                        len, VMDK_DESC_MAX);
    }
    IMG_AUTO(img_free_ptr) char *text = img_calloc((size_t)len + 1, 1, err);
    if (text == NULL || img_file_read(file, text, (size_t)len, off, err) < 0) {
        return -1;
    }
    return img_vmdk_desc_decode(text, (size_t)len, out, err);
}

static int load_sparse(struct img_file *file, bool is_cowd, struct vmdk *out,
                       struct img_error *err)
{
    int result = is_cowd ? img_vmdk_cowd_load(file, &out->sparse, err)
                         : img_vmdk_sparse_load(file, &out->sparse, err);

    if (result < 0) {
        return -1;
    }
    if (out->sparse.desc_off != 0 &&
        desc_load(file, out->sparse.desc_off, out->sparse.desc_len, &out->desc,
                  err) < 0) {
        return -1;
    }
    out->is_sparse = out->sparse.cluster_sectors != 0;
    return 0;
}

/* OUT is zeroed by the caller and released by vmdk_fini in any case. */
static int vmdk_load(struct img_file *file, struct vmdk *out,
                     struct img_error *err)
{
    char magic[VMDK_MAGIC_LEN];
    bool is_cowd;

    if (img_file_read(file, magic, sizeof(magic), 0, err) < 0) {
        return -1;
    }
    is_cowd = memcmp(magic, VMDK_COWD_MAGIC, VMDK_MAGIC_LEN) == 0;
    if (is_cowd || memcmp(magic, VMDK_SPARSE_MAGIC, VMDK_MAGIC_LEN) == 0) {
        if (load_sparse(file, is_cowd, out, err) < 0) {
            return -1;
        }
    } else if (desc_load(file, 0, img_file_len(file), &out->desc, err) < 0) {
        return -1;
    }
    if (!out->is_sparse &&
        (out->desc.create_type == NULL || out->desc.extents_nr == 0)) {
        return img_fail(err, IMG_FORMAT,
                        "not a VMDK: found neither a sparse header nor a "
                        "descriptor with createType and extents");
    }
    return 0;
}

/* QEMU goes by the header, whatever an embedded descriptor says. */
static const char *create_type(const struct vmdk *vmdk)
{
    if (!vmdk->is_sparse) {
        return vmdk->desc.create_type;
    }
    return vmdk->sparse.is_compressed ? "streamOptimized" : "monolithicSparse";
}

/* The image's own file as its only extent. */
static void describe_self(const struct vmdk *vmdk, struct img_file *file,
                          struct img_json *extents)
{
    struct img_json *extent = img_json_object();

    img_json_set_string(extent, "filename", img_file_path(file));
    img_json_set_string(extent, "format", "");
    img_json_set_u64(extent, "virtual-size", vmdk->sparse.sectors * SECTOR_LEN);
    img_json_set_u64(extent, "cluster-size",
                     vmdk->sparse.cluster_sectors * SECTOR_LEN);
    if (vmdk->sparse.is_compressed) {
        img_json_set_bool(extent, "compressed", true);
    }
    img_json_push(extents, extent);
}

/* NAME as QEMU would resolve it from the descriptor's folder. */
static char *extent_path(const char *desc_path, const char *name,
                         struct img_error *err)
{
    const char *slash = strrchr(desc_path, '/');

    if (name[0] == '/' || slash == NULL) {
        return img_strndup(name, strlen(name), err);
    }
    return img_text(err, "%.*s%s", (int)(slash - desc_path) + 1, desc_path,
                    name);
}

static int describe_listed(const struct vmdk *vmdk, struct img_file *file,
                           struct img_json *extents, struct img_error *err)
{
    for (size_t i = 0; i < vmdk->desc.extents_nr; i++) {
        const struct img_vmdk_desc_extent *listed = &vmdk->desc.extents[i];
        IMG_AUTO(img_free_ptr) char *path = NULL;
        if (listed->name != NULL) {
            path = extent_path(img_file_path(file), listed->name, err);
            if (path == NULL) {
                return -1;
            }
        }
        struct img_json *extent = img_json_object();
        img_json_set_string(extent, "filename", path);
        img_json_set_string(extent, "format", listed->type);
        img_json_set_u64(extent, "virtual-size", listed->sectors * SECTOR_LEN);
        img_json_push(extents, extent);
    }
    return 0;
}

static int vmdk_describe(struct img_image *image, struct img_json **out,
                         struct img_error *err)
{
    IMG_AUTO(vmdk_fini) struct vmdk vmdk = {0};

    if (vmdk_load(image->file, &vmdk, err) < 0) {
        return -1;
    }
    struct img_json *extents = img_json_array();
    if (vmdk.is_sparse) {
        describe_self(&vmdk, image->file, extents);
    } else if (describe_listed(&vmdk, image->file, extents, err) < 0) {
        img_json_free(extents);
        return -1;
    }
    struct img_json *data = img_json_object();
    img_json_set_string(data, "create-type", create_type(&vmdk));
    if (vmdk.desc.has_cid) {
        img_json_set_u64(data, "cid", vmdk.desc.cid);
    }
    if (vmdk.desc.has_parent_cid) {
        img_json_set_u64(data, "parent-cid", vmdk.desc.parent_cid);
    }
    img_json_set(data, "extents", extents);
    return img_specific_info("vmdk", data, out, err);
}

/*
 * The one extent that the descriptor inside a sparse file lists is the file
 * itself, by whatever name without a folder; all others are other files.
 */
static bool is_own_extent(const struct vmdk *vmdk, size_t idx)
{
    const struct img_vmdk_desc_extent *extent = &vmdk->desc.extents[idx];

    return vmdk->is_sparse && idx == 0 && extent->name != NULL &&
           strchr(extent->name, '/') == NULL &&
           strcmp(extent->type, "SPARSE") == 0;
}

static int vmdk_references(struct img_image *image, struct img_references *out,
                           struct img_error *err)
{
    IMG_AUTO(vmdk_fini) struct vmdk vmdk = {0};

    if (vmdk_load(image->file, &vmdk, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < vmdk.desc.extents_nr; i++) {
        if (!is_own_extent(&vmdk, i) &&
            img_references_add(out, IMG_REFERENCE_EXTENT,
                               vmdk.desc.extents[i].name, err) < 0) {
            return -1;
        }
    }
    return vmdk.desc.has_parent_cid && vmdk.desc.parent_cid != NO_PARENT &&
                   vmdk.desc.parent_hint == NULL
               ? img_references_add(out, IMG_REFERENCE_PARENT, NULL, err)
               : 0;
}

static const struct img_image_ops vmdk_ops = {
    .describe = vmdk_describe,
    .references = vmdk_references,
    .free = img_described_free,
};

/* Lines at P that are empty or comments, then "version=1" to 3. */
static bool is_desc_text(const char *p, size_t len)
{
    const char *end = p + len;

    while (p < end && (*p == '#' || *p == ' ' || *p == '\n' || *p == '\r')) {
        bool is_comment = *p == '#';
        while (p < end && *p != '\n') {
            if (!is_comment && *p != ' ' && *p != '\r') {
                return false;
            }
            p++;
        }
        p += p < end;
    }
    static const char version[] = "version=";
    if ((size_t)(end - p) < sizeof(version) + 1 ||
        memcmp(p, version, sizeof(version) - 1) != 0) {
        return false;
    }
    p += sizeof(version) - 1;
    return *p >= '1' && *p <= '3' &&
           (p[1] == '\n' || (p[1] == '\r' && end - p > 2 && p[2] == '\n'));
}

bool img_vmdk_probe(const struct img_probe_bytes *bytes)
{
    return img_probe_has(bytes, 0, VMDK_SPARSE_MAGIC, VMDK_MAGIC_LEN) ||
           img_probe_has(bytes, 0, VMDK_COWD_MAGIC, VMDK_MAGIC_LEN) ||
           is_desc_text((const char *)bytes->head,
                        img_min(bytes->head_len, PROBE_TEXT_LEN));
}

int img_vmdk_open(struct img_file *file, struct img_image **out,
                  struct img_error *err)
{
    IMG_AUTO(vmdk_fini) struct vmdk vmdk = {0};

    if (vmdk_load(file, &vmdk, err) < 0) {
        return -1;
    }
    uint64_t sectors = vmdk.is_sparse ? vmdk.sparse.sectors : vmdk.desc.sectors;
    IMG_AUTO(img_described_free_ptr)
    struct img_image *image =
        img_described_new(file, "vmdk", sectors * SECTOR_LEN, err);
    if (image == NULL) {
        return -1;
    }
    image->ops = &vmdk_ops;
    image->supports_backing = true;
    image->cluster_len = vmdk.sparse.cluster_sectors * SECTOR_LEN;
    if (vmdk.desc.parent_hint != NULL) {
        image->backing_name = img_steal(&vmdk.desc.parent_hint);
        image->backing_format = img_strndup("vmdk", 4, err);
        if (image->backing_format == NULL) {
            return -1;
        }
    }
    *out = img_steal(&image);
    return 0;
}
