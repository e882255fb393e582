/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtdump: what chain/virt reads, as JSON, one line for each line of standard
 * input:
 *   domain PATH | snapshot PATH | disk PATH     an XML file
 *   diskspec SPEC | memspec SPEC                and the request that it makes
 * A line has either "error" (its code) or what was read, with "refusals" (the
 * ids of libvirt's errors).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/virt.h>
#include <img/json.h>
#include <img/memory.h>

static struct img_json *dump_source(const struct chain_virt_source *source)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "type",
                        chain_virt_source_type_name(source->type));
    img_json_set_string(json, "path", source->path);
    img_json_set_string(json, "protocol", source->protocol);
    img_json_set_string(json, "name", source->name);
    img_json_set_string(json, "host", source->host);
    img_json_set_string(json, "socket", source->socket);
    img_json_set_u64(json, "hosts", source->hosts_nr);
    img_json_set_string(json, "pool", source->pool);
    img_json_set_string(json, "volume", source->volume);
    img_json_set_string(json, "encryption", source->encryption);
    img_json_set_string(json, "secret", source->secret);
    img_json_set_string(json, "auth", source->auth);
    img_json_set_string(json, "startupPolicy", source->startup_policy);
    if (source->has_slice) {
        img_json_set_u64(json, "offset", source->slice_offset);
        img_json_set_u64(json, "size", source->slice_len);
    }
    return json;
}

/* A layer and those below it, the top one first. */
static struct img_json *dump_layers(const struct chain_virt_layer *layer)
{
    struct img_json *list = img_json_array();

    for (;;) {
        struct img_json *json = dump_source(&layer->source);

        img_json_set_string(json, "format", layer->format);
        img_json_push(list, json);
        if (!layer->backing) {
            break;
        }
        layer = layer->backing;
    }
    if (layer->backing_kind == CHAIN_VIRT_BACKING_ENDS) {
        img_json_push(list, img_json_null());
    }
    return list;
}

static struct img_json *dump_disk(const struct chain_virt_disk *disk)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "target", disk->target);
    img_json_set_string(json, "bus", disk->bus);
    img_json_set_string(json, "device", disk->device);
    img_json_set_string(json, "model", disk->model);
    img_json_set_string(json, "snapshot", disk->snapshot);
    img_json_set_string(json, "driver", disk->driver);
    img_json_set_string(json, "cache", disk->cache);
    img_json_set_string(json, "io", disk->io);
    img_json_set_string(json, "discard", disk->discard);
    img_json_set_string(json, "detect_zeroes", disk->detect_zeroes);
    img_json_set_bool(json, "readonly", disk->is_readonly);
    img_json_set_bool(json, "shareable", disk->is_shareable);
    img_json_set_bool(json, "transient", disk->is_transient);
    img_json_set(json, "layers", dump_layers(&disk->top));
    if (disk->has_mirror) {
        img_json_set(json, "mirror", dump_layers(&disk->mirror));
    }
    return json;
}

static struct img_json *dump_refusals(const struct chain_virt_refusals *from)
{
    struct img_json *list = img_json_array();

    for (size_t i = 0; i < from->nr; i++) {
        struct img_json *json = img_json_object();

        img_json_set_string(json, "id", from->list[i].id);
        img_json_set_string(json, "text", from->list[i].text);
        img_json_push(list, json);
    }
    return list;
}

static struct img_json *dump_domain(const struct chain_virt_domain *domain)
{
    struct img_json *json = img_json_object(), *disks = img_json_array();

    img_json_set_string(json, "name", domain->name);
    img_json_set_string(json, "uuid", domain->uuid);
    img_json_set_string(json, "type", domain->type);
    for (size_t i = 0; i < domain->disks_nr; i++) {
        img_json_push(disks, dump_disk(&domain->disks[i]));
    }
    img_json_set(json, "disks", disks);
    img_json_set(json, "refusals", dump_refusals(&domain->refusals));
    return json;
}

static struct img_json *
dump_snapshot_disk(const struct chain_virt_snapshot_disk *disk)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "name", disk->name);
    img_json_set_string(json, "snapshot", disk->snapshot);
    img_json_set_string(json, "type", disk->type);
    img_json_set(json, "layers", dump_layers(&disk->dest));
    return json;
}

static struct img_json *dump_snapshot(const struct chain_virt_snapshot *from)
{
    struct img_json *json = img_json_object(), *disks = img_json_array();

    img_json_set_string(json, "name", from->name);
    img_json_set_string(json, "description", from->description);
    img_json_set_string(json, "state", from->state);
    img_json_set_string(json, "parent", from->parent);
    if (from->has_creation_time) {
        img_json_set_u64(json, "creationTime", (uint64_t)from->creation_time);
    }
    img_json_set_string(json, "memory", from->memory_kind);
    img_json_set_string(json, "memoryFile", from->memory_file);
    for (size_t i = 0; i < from->disks_nr; i++) {
        img_json_push(disks, dump_snapshot_disk(&from->disks[i]));
    }
    img_json_set(json, "disks", disks);
    if (from->domain) {
        img_json_set(json, "domain", dump_domain(from->domain));
    }
    if (from->inactive_domain) {
        img_json_set(json, "inactiveDomain",
                     dump_domain(from->inactive_domain));
    }
    img_json_set(json, "refusals", dump_refusals(&from->refusals));
    return json;
}

static struct img_json *read_domain(const char *path, struct img_error *err)
{
    struct chain_virt_domain *domain = NULL;
    struct img_json *json = NULL;

    if (chain_virt_domain_read(path, NULL, &domain, err) == 0) {
        json = dump_domain(domain);
    }
    chain_virt_domain_free(domain);
    return json;
}

static struct img_json *read_snapshot(const char *path, struct img_error *err)
{
    struct chain_virt_snapshot *snapshot = NULL;
    struct img_json *json = NULL;

    if (chain_virt_snapshot_read(path, NULL, &snapshot, err) == 0) {
        json = dump_snapshot(snapshot);
    }
    chain_virt_snapshot_free(snapshot);
    return json;
}

static struct img_json *read_disk(const char *path, struct img_error *err)
{
    struct chain_virt_disk_file *file = NULL;
    struct img_json *json = NULL;

    if (chain_virt_disk_read(path, NULL, &file, err) == 0) {
        json = dump_disk(&file->disk);
        img_json_set(json, "refusals", dump_refusals(&file->refusals));
    }
    chain_virt_disk_file_free(file);
    return json;
}

/* The request for SNAPSHOT, as text. */
static struct img_json *ask(const struct chain_virt_snapshot *snapshot,
                            struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    struct img_json *json;

    if (chain_virt_snapshot_write(snapshot, &text, err) < 0) {
        return NULL;
    }
    json = img_json_object();
    img_json_set_string(json, "xml", text);
    return json;
}

static struct img_json *read_diskspec(const char *spec, struct img_error *err)
{
    struct chain_virt_snapshot_disk disk;
    struct chain_virt_snapshot snapshot = {.disks = &disk, .disks_nr = 1};
    struct img_json *json;

    if (chain_virt_diskspec_parse(spec, &disk, err) < 0) {
        return NULL;
    }
    json = ask(&snapshot, err);
    chain_virt_snapshot_disk_fini(&disk);
    return json;
}

static struct img_json *read_memspec(const char *spec, struct img_error *err)
{
    struct chain_virt_snapshot snapshot = {0};
    struct img_json *json;

    if (chain_virt_memspec_parse(spec, &snapshot, err) < 0) {
        return NULL;
    }
    json = ask(&snapshot, err);
    free(snapshot.memory_kind);
    free(snapshot.memory_file);
    return json;
}

static const struct {
    const char *name;
    struct img_json *(*read)(const char *what, struct img_error *err);
} kinds[] = {
    {"domain ", read_domain},   {"snapshot ", read_snapshot},
    {"disk ", read_disk},       {"diskspec ", read_diskspec},
    {"memspec ", read_memspec},
};

static void answer(const char *line)
{
    static struct img_error err;
    struct img_json *json = NULL;
    char *text;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i].name);

        if (strncmp(line, kinds[i].name, len) == 0) {
            json = kinds[i].read(line + len, &err);
        }
    }
    if (!json) {
        json = img_json_object();
        img_json_set_string(json, "error", img_code_name(err.code));
        img_json_set_string(json, "text", err.text);
    }
    text = img_json_text(json, false, &err);
    puts(text ? text : err.text);
    free(text);
    img_json_free(json);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;

    while ((len = getline(&line, &room, stdin)) > 0) {
        line[len - 1] = '\0';
        answer(line);
    }
    free(line);
    return 0;
}
