/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a pivot asks of QEMU: see pivot_run.h, and docs/pivot.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* {"execute": COMMAND, "arguments": ...} */
static char *command_text(const char *command, struct img_json *arguments,
                          struct img_error *err)
{
    IMG_AUTO(json_free) struct img_json *json = img_json_object();

    img_json_set_string(json, "execute", command);
    if (arguments) {
        img_json_set(json, "arguments", arguments);
    }
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
    return target->dest ? chain_depth(target->dest) : target->live.nr;
}

/* A layer of the destination's chain. One that is not there yet will stand on
   what the source stands on. */
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
    } else if (idx > 0) {
        const struct chain_live_layer *layer = &target->live.layers[idx];

        out = (struct dest_layer){layer->path, layer->format, layer->rdev != 0};
    }
    return out;
}

static int add_storage(const struct pivot_run *run,
                       const struct pivot_target *target, size_t idx,
                       struct img_error *err)
{
    struct img_json *args = img_json_object();
    char name[PIVOT_NAME_LEN];
    struct dest_layer layer = dest_layer(target, idx);

    pivot_node_name(target, 's', idx, name);
    img_json_set_string(args, "driver",
                        layer.is_device ? "host_device" : "file");
    img_json_set_string(args, "filename", layer.path);
    img_json_set_string(args, "node-name", name);
    img_json_set_bool(args, "auto-read-only", true);
    img_json_set_string(args, "discard", "unmap");
    if (idx > 0) {
        img_json_set_bool(args, "read-only", true);
    }
    return pivot_send(run, "blockdev-add", args, err);
}

static void set_backing(struct img_json *args,
                        const struct pivot_target *target, size_t idx)
{
    char name[PIVOT_NAME_LEN];

    if (idx == 0 || idx + 1 >= pivot_depth(target)) {
        img_json_set(args, "backing", img_json_null());
    } else {
        pivot_node_name(target, 'f', idx + 1, name);
        img_json_set_string(args, "backing", name);
    }
}

int pivot_add_layer(const struct pivot_run *run,
                    const struct pivot_target *target, size_t idx,
                    struct img_error *err)
{
    const char *format = dest_layer(target, idx).format;
    char storage[PIVOT_NAME_LEN], name[PIVOT_NAME_LEN];
    struct img_json *args;

    if (add_storage(run, target, idx, err) != 0) {
        return -1;
    }
    pivot_node_name(target, 's', idx, storage);
    pivot_node_name(target, 'f', idx, name);
    args = img_json_object();
    img_json_set_string(args, "driver", format);
    img_json_set_string(args, "node-name", name);
    img_json_set_string(args, "file", storage);
    /* Whatever the header names is not opened: QEMU has the backing file for
       writing, or does not need it yet. A raw file names none. */
    if (strcmp(format, "raw") != 0) {
        set_backing(args, target, idx);
    }
    img_json_set_bool(args, "read-only", idx > 0);
    return pivot_send(run, "blockdev-add", args, err);
}

struct img_json *pivot_snapshot_action(const char *node, const char *overlay)
{
    struct img_json *action = img_json_object(), *data = img_json_object();

    img_json_set_string(data, "node", node);
    img_json_set_string(data, "overlay", overlay);
    img_json_set_string(action, "type", "blockdev-snapshot");
    img_json_set(action, "data", data);
    return action;
}

int pivot_transaction(const struct pivot_run *run, struct img_json *actions,
                      struct img_error *err)
{
    struct img_json *args = img_json_object();

    img_json_set(args, "actions", actions);
    return pivot_send(run, "transaction", args, err);
}
