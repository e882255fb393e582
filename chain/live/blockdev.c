/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arguments of QMP commands: see chain/blockdev.h. */
#include <chain/blockdev.h>

#include <string.h>

struct img_json *chain_qmp_command(const char *command,
                                   struct img_json *arguments)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "execute", command);
    if (arguments) {
        img_json_set(json, "arguments", arguments);
    }
    return json;
}

struct img_json *chain_blockdev_storage(const char *node, const char *path,
                                        bool is_device, bool is_read_only)
{
    struct img_json *args = img_json_object();

    img_json_set_string(args, "driver", is_device ? "host_device" : "file");
    img_json_set_string(args, "filename", path);
    img_json_set_string(args, "node-name", node);
    img_json_set_bool(args, "auto-read-only", true);
    img_json_set_string(args, "discard", "unmap");
    if (is_read_only) {
        img_json_set_bool(args, "read-only", true);
    }
    return args;
}

struct img_json *chain_blockdev_format(const char *node, const char *format,
                                       const char *storage, const char *backing,
                                       bool is_read_only)
{
    struct img_json *args = img_json_object();

    img_json_set_string(args, "driver", format);
    img_json_set_string(args, "node-name", node);
    img_json_set_string(args, "file", storage);
    if (backing) {
        img_json_set_string(args, "backing", backing);
    } else if (strcmp(format, "raw") != 0) { /* which has none to leave out */
        img_json_set(args, "backing", img_json_null());
    }
    img_json_set_bool(args, "read-only", is_read_only);
    return args;
}

struct img_json *chain_blockdev_snapshot_action(const char *node,
                                                const char *overlay)
{
    struct img_json *action = img_json_object(), *data = img_json_object();

    img_json_set_string(data, "node", node);
    img_json_set_string(data, "overlay", overlay);
    img_json_set_string(action, "type", "blockdev-snapshot");
    img_json_set(action, "data", data);
    return action;
}

struct img_json *chain_blockdev_transaction(struct img_json *actions)
{
    struct img_json *args = img_json_object();

    img_json_set(args, "actions", actions);
    return args;
}

struct img_json *chain_blockdev_mirror(const char *job, const char *device,
                                       const char *target, bool is_top)
{
    struct img_json *args = img_json_object();

    img_json_set_string(args, "job-id", job);
    img_json_set_string(args, "device", device);
    img_json_set_string(args, "target", target);
    img_json_set_string(args, "sync", is_top ? "top" : "full");
    img_json_set_bool(args, "auto-finalize", true);
    img_json_set_bool(args, "auto-dismiss", false);
    return args;
}
