/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a pivot asks of QEMU: see pivot_run.h, and docs/pivot.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/blockdev.h>
#include <img/file.h>
#include <img/memory.h>

#include "pivot_run.h"

static void json_free(struct img_json **value)
{
    img_json_free(*value);
}

static void tell(const struct pivot_run *run, const char *text,
                 enum chain_pivot_outcome outcome, const struct img_error *why)
{
    const struct chain_pivot_request *request = run->request;

    if (request->command) {
        request->command(request->opaque, text, outcome, why);
    }
}

static char *command_text(const char *command, struct img_json *arguments,
                          struct img_error *err)
{
    IMG_AUTO(json_free)
    struct img_json *json = chain_qmp_command(command, arguments);

    return img_json_text(json, false, err);
}

int pivot_send(const struct pivot_run *run, const char *command,
               struct img_json *arguments, struct img_error *err)
{
    struct img_json *parsed = NULL;
    struct img_error why;
    int rc;
    IMG_AUTO(img_free_ptr)
    char *text = command_text(command, arguments, err);

    if (!text) {
        return -1;
    }
    if (run->request->dry_run) {
        tell(run, text, CHAIN_PIVOT_PLANNED, NULL);
        return 0;
    }
    /* The text has the arguments; QEMU is asked with the very same ones. */
    if (img_json_parse(text, strlen(text), &parsed, err) != 0) {
        return -1;
    }
    rc = qmp_execute(run->live->qmp, command,
                     img_json_take(parsed, "arguments"), NULL, &why);
    img_json_free(parsed);
    tell(run, text, rc == 0 ? CHAIN_PIVOT_TAKEN : CHAIN_PIVOT_FAILED,
         rc == 0 ? NULL : &why);
    if (rc != 0) {
        *err = why;
    }
    return rc;
}

void pivot_node_name(const struct pivot_target *target, char kind, size_t idx,
                     char out[PIVOT_NAME_LEN])
{
    (void)snprintf(out, PIVOT_NAME_LEN, "%s-%c%u", target->id, kind,
                   (unsigned)idx % 1000);
}

size_t pivot_depth(const struct pivot_target *target)
{
    if (target->is_alone) {
        return 1;
    }
    if (target->dest) {
        return chain_depth(target->dest);
    }
    return target->disk->backings ? 1 + target->disk->backings_nr
                                  : target->live.nr;
}

/* A layer of the destination's chain. One that is not there yet will stand on
   what the request says, or on what the source stands on. */
struct dest_layer {
    const char *path, *format;
    bool is_device;
};

static struct dest_layer dest_layer(const struct pivot_target *target,
                                    size_t idx)
{
    struct dest_layer out = {target->disk->dest, target->disk->dest_format,
                             false};

    if (target->dest) {
        const struct chain_layer *layer = chain_layer_at(target->dest, idx);

        out.is_device =
            img_file_kind(chain_layer_file(layer)) == IMG_FILE_BLOCK;
        if (idx > 0) {
            out.path = chain_layer_path(layer);
            out.format = chain_layer_format(layer);
        }
    } else if (idx > 0 && target->disk->backings) {
        out.path = target->disk->backings[idx - 1].path;
        out.format = target->disk->backings[idx - 1].format;
    } else if (idx > 0) {
        const struct chain_live_layer *layer = &target->live.layers[idx];

        out = (struct dest_layer){layer->path, layer->format, layer->rdev != 0};
    }
    return out;
}

/* Whatever the header names is not opened: QEMU has the backing file of the
   top for writing, or does not need it yet. */
static bool has_backing(const struct pivot_target *target, size_t idx)
{
    return idx > 0 && idx + 1 < pivot_depth(target);
}

int pivot_add_layer(const struct pivot_run *run,
                    const struct pivot_target *target, size_t idx,
                    struct img_error *err)
{
    struct dest_layer layer = dest_layer(target, idx);
    char storage[PIVOT_NAME_LEN], name[PIVOT_NAME_LEN], below[PIVOT_NAME_LEN];
    bool is_read_only = idx > 0;

    pivot_node_name(target, 's', idx, storage);
    pivot_node_name(target, 'f', idx, name);
    pivot_node_name(target, 'f', idx + 1, below);
    if (pivot_send(run, "blockdev-add",
                   chain_blockdev_storage(storage, layer.path, layer.is_device,
                                          is_read_only),
                   err) != 0) {
        return -1;
    }
    return pivot_send(
        run, "blockdev-add",
        chain_blockdev_format(name, layer.format, storage,
                              has_backing(target, idx) ? below : NULL,
                              is_read_only),
        err);
}

int pivot_transaction(const struct pivot_run *run, struct img_json *actions,
                      struct img_error *err)
{
    return pivot_send(run, "transaction", chain_blockdev_transaction(actions),
                      err);
}
