/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What would follow on a preflight: virsh's command, and what libvirt would
 * then tell QEMU. Nodes that libvirt adds have names with numbers that only it
 * knows; here they are called by the disk.
 */
#include <chain/blockdev.h>
#include <chain/name.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preflight.h"

#define NODE_LEN 128u

const char *preflight_operation(const struct preflight *pre)
{
    if (pre->snapshot) {
        return pre->values->redefine ? "redefine" : "snapshot";
    }
    return pre->values->shallow ? "shallow-copy" : "copy";
}

/* ---- The virsh command. */

/* A command line under way; NULL: memory ran out. */
static void add(char **line, struct img_error *err, const char *word)
{
    char *longer = *line ? img_text(err, "%s %s", *line, word) : NULL;

    free(*line);
    *line = longer;
}

static void add_value(char **line, struct img_error *err, const char *option,
                      const char *value)
{
    IMG_AUTO(img_free_ptr) char *quoted = NULL;

    if (!value) {
        return;
    }
    if (option) {
        add(line, err, option);
    }
    quoted = chain_shell_quote(value, err);
    add(line, err, quoted ? quoted : "");
    if (!quoted) {
        free(*line);
        *line = NULL;
    }
}

static void add_flags(char **line, struct img_error *err,
                      const struct preflight_values *values)
{
    const struct {
        bool is_set;
        const char *word;
    } all[] = {
        {values->blockdev, "--blockdev"},
        {values->raw, "--raw"},
        {values->disk_only, "--disk-only"},
        {values->shallow, "--shallow"},
        {values->reuse_external, "--reuse-external"},
        {values->atomic, "--atomic"},
        {values->quiesce, "--quiesce"},
        {values->no_metadata, "--no-metadata"},
        {values->redefine, "--redefine"},
        {values->current, "--current"},
        {values->halt, "--halt"},
        {values->live, "--live"},
        {values->validate, "--validate"},
        {values->transient_job, "--transient-job"},
        {values->synchronous_writes, "--synchronous-writes"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].is_set) {
            add(line, err, all[i].word);
        }
    }
}

static void add_granularity(char **line, struct img_error *err,
                            const struct preflight_values *values)
{
    char number[32];

    if (values->has_granularity) {
        (void)snprintf(number, sizeof(number), "%llu",
                       (unsigned long long)values->granularity);
        add_value(line, err, "--granularity", number);
    }
}

char *preflight_virsh(const struct preflight *pre, struct img_error *err)
{
    const struct preflight_values *values = pre->values;
    const char *verb = !pre->snapshot     ? "blockcopy"
                       : values->snapshot ? "snapshot-create"
                                          : "snapshot-create-as";
    char *line = img_text(err, "virsh");

    add_value(&line, err, "-c", values->connect);
    add(&line, err, verb);
    add_value(&line, err, NULL, pre->domain->name ? pre->domain->name : "");
    add_value(&line, err, NULL,
              pre->snapshot ? values->snapshot : values->target);
    add_value(&line, err, "--name", values->name);
    add_value(&line, err, "--memspec", values->memspec);
    for (size_t i = 0; i < values->diskspecs.nr; i++) {
        add_value(&line, err, "--diskspec", values->diskspecs.at[i]);
    }
    add_value(&line, err, "--xml", values->copy_disk);
    add_value(&line, err, "--dest", values->dest);
    add_value(&line, err, "--format",
              values->dest ? values->common.format : NULL);
    add_flags(&line, err, values);
    add_granularity(&line, err, values);
    if (!pre->snapshot) {
        add(&line, err, "--wait --pivot");
    }
    return line;
}

/* ---- QEMU's commands. */

static void name_node(const struct chain_preflight_task *task, const char *what,
                      size_t layer, char out[NODE_LEN])
{
    (void)snprintf(out, NODE_LEN, "%.60s-%s-%zu", task->disk->target, what,
                   layer);
}

static void push(struct img_json *list, const char *command,
                 struct img_json *arguments)
{
    img_json_push(list, chain_qmp_command(command, arguments));
}

/* Layer IDX of the destination; BELOW: over the one under it. */
static void push_layer(struct img_json *list,
                       const struct chain_preflight_task *task, size_t idx,
                       bool has_below)
{
    char storage[NODE_LEN], format[NODE_LEN], below[NODE_LEN];
    const struct chain_preflight_layer *layer =
        idx > 0 ? &task->below[idx - 1] : NULL;

    name_node(task, "storage", idx, storage);
    name_node(task, "format", idx, format);
    name_node(task, "format", idx + 1, below);
    push(list, "blockdev-add",
         chain_blockdev_storage(storage, layer ? layer->path : task->dest,
                                layer ? layer->is_device : task->is_dest_device,
                                idx > 0));
    push(list, "blockdev-add",
         chain_blockdev_format(format,
                               layer ? layer->format : task->dest_format,
                               storage, has_below ? below : NULL, idx > 0));
}

/* The node that the disk runs on. */
static void source_node(const struct chain_preflight_task *task,
                        char out[NODE_LEN])
{
    (void)snprintf(out, NODE_LEN, "libvirt-%.60s-format",
                   task->disk->top.idx ? task->disk->top.idx : "N");
}

static void push_snapshot(struct img_json *list,
                          const struct chain_preflight *plan)
{
    struct img_json *actions = img_json_array();
    char source[NODE_LEN], overlay[NODE_LEN];

    for (size_t i = 0; i < plan->tasks_nr; i++) {
        const struct chain_preflight_task *task = &plan->tasks[i];

        source_node(task, source);
        name_node(task, "format", 0, overlay);
        push_layer(list, task, 0, false);
        img_json_push(actions, chain_blockdev_snapshot_action(source, overlay));
    }
    push(list, "transaction", chain_blockdev_transaction(actions));
}

static void push_splice(struct img_json *list,
                        const struct chain_preflight_task *task)
{
    struct img_json *actions = img_json_array();
    char below[NODE_LEN], overlay[NODE_LEN];

    for (size_t i = task->below_nr; i > 0; i--) {
        push_layer(list, task, i, i < task->below_nr);
    }
    name_node(task, "format", 1, below);
    name_node(task, "format", 0, overlay);
    img_json_push(actions, chain_blockdev_snapshot_action(below, overlay));
    push(list, "transaction", chain_blockdev_transaction(actions));
}

static void push_copy(struct img_json *list,
                      const struct chain_preflight_task *task,
                      const struct preflight_values *values)
{
    /* libvirt drops the flag where there is nothing below the disk. */
    bool is_top = task->kind == CHAIN_PREFLIGHT_SHALLOW_COPY &&
                  task->disk->top.backing_kind != CHAIN_VIRT_BACKING_ENDS;
    char source[NODE_LEN], target[NODE_LEN], job[NODE_LEN];
    struct img_json *mirror, *complete = img_json_object();

    source_node(task, source);
    name_node(task, "format", 0, target);
    (void)snprintf(job, sizeof(job), "copy-%.60s", task->disk->target);
    push_layer(list, task, 0, false);
    mirror = chain_blockdev_mirror(job, source, target, is_top);
    if (values->has_granularity) {
        img_json_set_u64(mirror, "granularity", values->granularity);
    }
    if (values->synchronous_writes) {
        img_json_set_string(mirror, "copy-mode", "write-blocking");
    }
    push(list, "blockdev-mirror", mirror);
    if (is_top && task->below_nr > 0) {
        push_splice(list, task);
    }
    img_json_set_string(complete, "id", job);
    push(list, "job-complete", complete);
}

static struct img_json *qmp_json(const struct preflight *pre)
{
    const struct chain_preflight *plan = pre->plan;
    struct img_json *list = img_json_array();

    if (!pre->domain->is_active || plan->tasks_nr == 0 ||
        chain_report_judgement(plan->report) != CHAIN_ACCEPTED) {
        return list;
    }
    if (pre->snapshot) {
        push_snapshot(list, plan);
    } else {
        push_copy(list, &plan->tasks[0], pre->values);
    }
    return list;
}

/* ---- The JSON. */

static void set_text(struct img_json *json, const char *key, const char *text)
{
    if (text) {
        img_json_set_string(json, key, text);
    }
}

static struct img_json *disk_json(const struct chain_preflight_task *task)
{
    struct img_json *json = img_json_object();

    set_text(json, "disk", task->disk->target);
    set_text(json, "source", task->source);
    set_text(json, "source-format", task->source_format);
    set_text(json, "dest", task->dest);
    set_text(json, "dest-format", task->dest_format);
    img_json_set_bool(json, "reused", task->is_reused);
    img_json_set_bool(json, "listed", !task->is_unlisted);
    return json;
}

void preflight_extend(const void *opaque, struct img_json *json)
{
    const struct preflight *pre = opaque;
    struct img_json *disks = img_json_array();
    struct img_error ignored;
    IMG_AUTO(img_free_ptr) char *line = preflight_virsh(pre, &ignored);

    set_text(json, "domain", pre->domain->name);
    img_json_set_bool(json, "running", pre->domain->is_active);
    for (size_t i = 0; i < pre->plan->tasks_nr; i++) {
        img_json_push(disks, disk_json(&pre->plan->tasks[i]));
    }
    img_json_set(json, "disks", disks);
    set_text(json, "virsh", line);
    img_json_set(json, "qmp", qmp_json(pre));
}
