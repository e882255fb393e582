/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of the pivot command: its options, and the disks they name. */
#include <errno.h>
#include <img/memory.h>
#include <string.h>
#include <unistd.h>

#include "choices.h"
#include "command.h"
#include "message.h"
#include "pivot.h"

/* More than a machine has; a bound for a command line. */
#define DISKS_MAX 4096u

static int option_disk(void *field, const char *arg, struct img_error *err)
{
    struct words *disks = field;
    const char *equals = strchr(arg, '=');

    if (!arg[0] || equals == arg || (equals && !equals[1])) {
        return img_fail(err, IMG_USAGE, "is not ID=FILE");
    }
    if (disks->nr >= DISKS_MAX) {
        return img_fail(err, IMG_USAGE, "is over the limit of %u disks",
                        DISKS_MAX);
    }
    return words_push(disks, img_strndup(arg, strlen(arg), err), err);
}

#define AT(field) offsetof(struct pivot_values, field)

const struct option_spec pivot_options[] = {
    {0, "qmp", "SOCKET", "the machine's QMP socket, or fd:N", option_text,
     AT(qmp)},
    {0, "connect", "URI", "or the libvirt that runs it", option_text,
     AT(connect)},
    {0, "domain", "NAME", "with --connect: the machine's name", option_text,
     AT(domain)},
    {0, "device", "ID", "the disk: its device's id, path or drive name",
     option_text, AT(device)},
    {0, "node", "NAME", "or the node of its active layer", option_text,
     AT(node)},
    {0, "dest", "FILE", "where it is to go on", option_text, AT(dest)},
    {0, "disk", "ID=FILE", "--device and --dest in one (repeatable)",
     option_disk, AT(disks)},
    {0, "name", "NAME", "with --connect: libvirt records the snapshot so",
     option_text, AT(snapshot_name)},
    {0, "migrate-to", "DIR", "take the whole chain there: all its files",
     option_text, AT(migrate_to)},
    {'f', "dest-format", "FMT", "format of FILE: qcow2 (default), raw",
     option_text, AT(change.common.format)},
    {0, "shallow", NULL, "copy the active layer; FILE has the backing file",
     option_flag, AT(shallow)},
    {0, "reuse-external", NULL, "FILE is there: judge it, make none",
     option_flag, AT(reuse_external)},
    {'o', "options", "OPTS", "NAME=VALUE,... for FILE when it is made",
     option_options, 0},
    {0, "relative", NULL, "record a relative backing name (default)",
     option_relative, AT(change.style)},
    {0, "absolute", NULL, "record an absolute one", option_absolute,
     AT(change.style)},
    {0, "bandwidth", "SIZE", "bytes a second that a copy may take", option_size,
     AT(bandwidth)},
    {0, "no-pivot", NULL, "leave the copy when it is ready to be ended",
     option_flag, AT(no_pivot)},
    {0, "abort", NULL, "cancel a copy, and remove what was added to QEMU",
     option_flag, AT(abort)},
    {0, "dry-run", NULL, "judge; print the QMP commands, send none",
     option_flag, AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

int pivot_choices(const void *opaque)
{
    const struct pivot_values *values = opaque;
    const char *format = values->change.common.format;

    return choices_create(format ? format : "qcow2");
}

void pivot_fini(void *values)
{
    struct pivot_values *pivot = values;

    words_fini(&pivot->disks);
    change_fini(values);
}

/* ---- What is asked for. */

static bool read_kind(const struct pivot_values *values, const char *word,
                      enum chain_pivot_kind *out)
{
    char shown[64];

    *out = values->shallow ? CHAIN_PIVOT_SHALLOW_COPY : CHAIN_PIVOT_COPY;
    if (!word || strcmp(word, "copy") == 0) {
        return true;
    }
    if (strcmp(word, "snapshot") == 0) {
        *out = CHAIN_PIVOT_SNAPSHOT;
        return true;
    }
    img_escape(word, strlen(word), shown, sizeof(shown));
    message_failed("found '%s', expected snapshot or copy", shown);
    return false;
}

/* The words of --disk that have no "=FILE". */
static size_t bare_disks(const struct pivot_values *values)
{
    size_t nr = 0;

    for (size_t i = 0; i < values->disks.nr; i++) {
        nr += !strchr(values->disks.at[i], '=');
    }
    return nr;
}

/* libvirt's own names for disks, and not QEMU's. */
static const char *connect_fault(const struct pivot_values *values,
                                 enum chain_pivot_kind kind)
{
    size_t bare = bare_disks(values);
    bool has_dest = values->dest || values->abort;

    if (!values->domain) {
        return "option --domain is missing: the machine's name";
    }
    if (values->qmp || values->device || values->node || values->migrate_to) {
        return "--qmp, --device, --node and --migrate-to do not go with "
               "--connect: --domain and --disk say which disk";
    }
    if (values->disks.nr == 0) {
        return "option --disk is missing: the disk's name in the domain";
    }
    if (values->snapshot_name && kind != CHAIN_PIVOT_SNAPSHOT) {
        return "--name goes with snapshot";
    }
    if (bare == 0) {
        return values->dest ? "--disk says all: --dest does not go with it"
                            : NULL;
    }
    return values->disks.nr == 1 && has_dest
               ? NULL
               : "option --dest is missing: where the disk is to go on";
}

static const char *qmp_fault(const struct pivot_values *values)
{
    if (values->domain || values->snapshot_name) {
        return "--domain and --name go with --connect";
    }
    return bare_disks(values) > 0 ? "--disk ID goes with --connect: expected "
                                    "ID=FILE"
                                  : NULL;
}

/* One way to name the disks; NULL where it is one. */
static const char *disks_fault(const struct pivot_values *values)
{
    bool has_one = values->device || values->node || values->dest;

    if (values->disks.nr > 0) {
        return has_one ? "--disk says all: --device, --node and --dest do not "
                         "go with it"
                       : NULL;
    }
    if (!values->device == !values->node) {
        return values->device ? "--device and --node name the disk both"
                              : "option --device is missing: the disk's id";
    }
    if (!values->dest && !values->migrate_to && !values->abort) {
        return "option --dest is missing: where the disk is to go on";
    }
    return NULL;
}

static const char *migration_fault(const struct pivot_values *values,
                                   enum chain_pivot_kind kind)
{
    if (kind == CHAIN_PIVOT_SNAPSHOT) {
        return "--migrate-to goes with copy";
    }
    if (values->dest || values->disks.nr > 0) {
        return "--migrate-to says where the disk is to go on: --dest and "
               "--disk do not go with it";
    }
    return values->shallow || values->reuse_external
               ? "--migrate-to takes the whole chain and goes on with what is "
                 "there: --shallow and --reuse-external do not go with it"
               : NULL;
}

static const char *copy_fault(const struct pivot_values *values,
                              enum chain_pivot_kind kind)
{
    if (kind != CHAIN_PIVOT_SNAPSHOT) {
        return values->disks.nr > 1 && !values->abort
                   ? "several disks go in one step as snapshots only"
                   : NULL;
    }
    if (values->shallow) {
        return "--shallow goes with copy";
    }
    return values->no_pivot    ? "--no-pivot goes with copy"
           : values->bandwidth ? "--bandwidth goes with copy"
                               : NULL;
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct pivot_values *values,
                    enum chain_pivot_kind kind)
{
    const char *text = NULL;

    if (!values->qmp && !values->connect) {
        text = "option --qmp is missing: the machine's QMP socket";
    } else if (values->abort && (values->change.dry_run || values->no_pivot)) {
        text = "--abort goes with neither --dry-run nor --no-pivot";
    } else if (values->reuse_external && values->change.options.nr > 0) {
        text = "--options (-o) does not go with --reuse-external: the file is "
               "there";
    } else {
        text =
            values->connect ? connect_fault(values, kind) : qmp_fault(values);
        text =
            text || !values->migrate_to ? text : migration_fault(values, kind);
        text = text || values->connect ? text : disks_fault(values);
        text = text ? text : copy_fault(values, kind);
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

bool pivot_read(const struct pivot_values *values, const char *word,
                enum chain_pivot_kind *kind)
{
    return read_kind(values, word, kind) && is_sane(values, *kind);
}

char *pivot_absolute(const char *path, struct img_error *err)
{
    if (path[0] == '/') {
        return img_strndup(path, strlen(path), err);
    }
    IMG_AUTO(img_free_ptr) char *folder = getcwd(NULL, 0);
    if (!folder) {
        img_fail_sys(err, errno, "cannot tell the working directory");
        return NULL;
    }
    return img_text(err, "%s/%s", folder, path);
}

static int set_disk(struct pivot *pivot, const char *name, size_t name_len,
                    const char *dest, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;
    const char *format = values->change.common.format;
    struct pivot_disk *disk = &pivot->disks[pivot->nr];
    struct chain_pivot_disk *told = &pivot->told[pivot->nr];

    pivot->nr++;
    disk->name = img_strndup(name, name_len, err);
    disk->dest = dest ? pivot_absolute(dest, err) : NULL;
    if (!disk->name || (dest && !disk->dest)) {
        return -1;
    }
    told->device = values->node ? NULL : disk->name;
    told->node = values->node ? disk->name : NULL;
    told->dest = disk->dest;
    told->dest_format = format ? format : "qcow2";
    return 0;
}

int pivot_set_disks(struct pivot *pivot, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;
    const struct words *words = &values->disks;
    size_t nr = words->nr > 0 ? words->nr : 1;

    pivot->disks = img_calloc(nr, sizeof(*pivot->disks), err);
    pivot->told = img_calloc(nr, sizeof(*pivot->told), err);
    if (!pivot->disks || !pivot->told) {
        return -1;
    }
    if (words->nr == 0) {
        const char *name = values->device ? values->device : values->node;

        return set_disk(pivot, name, strlen(name), values->dest, err);
    }
    for (size_t i = 0; i < words->nr; i++) {
        const char *word = words->at[i], *equals = strchr(word, '=');

        if (set_disk(pivot, word, (size_t)(equals - word), equals + 1, err) <
            0) {
            return -1;
        }
    }
    return 0;
}
