/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * map: the guest view of a chain, printed. Output and the way in which
 * neighbours are merged are those of qemu-img map.
 */
#include <chain/name.h>
#include <chain/view.h>
#include <img/checked.h>
#include <img/memory.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "output.h"
#include "sandbox.h"
#include "session.h"
#include "values.h"

static int option_length(void *field, const char *arg, struct img_error *err);

const struct option_spec map_options[] = {
    {'s', "start-offset", "OFFSET", "begin at this guest offset", option_size,
     offsetof(struct map_values, start)},
    {'l', "max-length", "LEN", "show at most so many guest bytes",
     option_length, 0},
    {0, "snapshot", "NAME", "the view of an internal snapshot of FILE",
     option_text, offsetof(struct map_values, snapshot)},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     offsetof(struct map_values, common.image_opts)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static int option_length(void *field, const char *arg, struct img_error *err)
{
    struct map_values *values = field;

    values->has_length = true;
    return size_parse(arg, &values->length, err);
}

/* A line of the output. */
struct entry {
    uint64_t start, len;
    size_t depth;
    bool is_present, is_zero, is_data, is_compressed, has_off;
    uint64_t off;
    const struct img_file *file; /* NULL where off is not given */
};

/*
 * Where a part of a file that is read as raw begins. QEMU gives offsets of
 * raw images in the file, of other formats in what the format lies in.
 */
static uint64_t slice_off(const struct chain *chain,
                          const struct chain_extent *extent)
{
    const struct chain_layer *layer = chain_layer_at(chain, extent->layer);
    const struct chain_ref *ref = chain_layer_ref(layer);
    bool is_raw = strcmp(chain_layer_format(layer), "raw") == 0;

    return is_raw && ref->has_slice ? ref->slice_off : 0;
}

static struct entry entry_of(const struct chain *chain,
                             const struct chain_extent *extent)
{
    const struct img_extent *e = &extent->e;
    bool is_compressed = e->kind == IMG_EXTENT_COMPRESSED;
    bool has_off = e->has_host && !is_compressed;

    return (struct entry){
        .start = e->guest_off,
        .len = e->len,
        .depth = extent->layer,
        .is_present = extent->is_present,
        .is_zero = e->kind == IMG_EXTENT_ZERO || e->reads_as_hole,
        .is_data = e->kind == IMG_EXTENT_DATA || is_compressed,
        .is_compressed = is_compressed,
        .has_off = has_off,
        .off = has_off ? e->host_off + slice_off(chain, extent) : 0,
        .file = has_off ? e->file : NULL,
    };
}

static bool is_mergeable(const struct entry *a, const struct entry *b)
{
    if (a->len == 0 || a->is_zero != b->is_zero || a->is_data != b->is_data ||
        a->is_present != b->is_present || a->depth != b->depth ||
        a->is_compressed != b->is_compressed || a->has_off != b->has_off ||
        a->file != b->file) {
        return false;
    }
    return !a->has_off || a->off + a->len == b->off;
}

static void put_bool(struct output *out, const char *key, bool value)
{
    output_text(out, key);
    output_text(out, value ? "true" : "false");
}

/*
 * A fixed frame of numbers and truth values, one line each as qemu-img has
 * it: a JSON value per line would cost more than the walk itself.
 */
static void put_json(struct output *out, const struct entry *entry,
                     bool is_first)
{
    output_text(out, is_first ? "[{ \"start\": " : ",\n{ \"start\": ");
    output_u64(out, entry->start);
    output_text(out, ", \"length\": ");
    output_u64(out, entry->len);
    output_text(out, ", \"depth\": ");
    output_u64(out, entry->depth);
    put_bool(out, ", \"present\": ", entry->is_present);
    put_bool(out, ", \"zero\": ", entry->is_zero);
    put_bool(out, ", \"data\": ", entry->is_data);
    put_bool(out, ", \"compressed\": ", entry->is_compressed);
    if (entry->has_off) {
        output_text(out, ", \"offset\": ");
        output_u64(out, entry->off);
    }
    output_text(out, "}");
}

static void put_human(struct output *out, const struct chain *chain,
                      const struct entry *entry)
{
    const char *path;

    if (!entry->is_data || entry->is_zero) {
        return;
    }
    output_printf(out, "%#-16" PRIx64 "%#-16" PRIx64, entry->start, entry->len);
    if (entry->has_off) {
        output_printf(out, "%#-16" PRIx64, entry->off);
        path = img_file_path(entry->file);
    } else {
        output_printf(out, "%-16s", "compressed");
        path = chain_layer_path(chain_layer_at(chain, entry->depth));
    }
    output_escaped(out, path);
    output_text(out, "\n");
}

struct walk {
    struct output *out;
    const struct chain *chain;
    bool is_json;
    bool is_first;
};

static void put_entry(struct walk *walk, const struct entry *entry)
{
    if (walk->is_json) {
        put_json(walk->out, entry, walk->is_first);
    } else {
        put_human(walk->out, walk->chain, entry);
    }
    walk->is_first = false;
}

/* What a human reader is not told apart may come as one line, too. */
static void simplify(const struct walk *walk, struct entry *entry)
{
    if (!walk->is_json && (!entry->is_data || entry->is_zero)) {
        entry->is_data = false;
        entry->is_zero = true;
        entry->has_off = false;
        entry->file = NULL;
        entry->is_present = true;
        entry->depth = 0;
    }
}

static int print_map(struct walk *walk, struct chain_view *view,
                     const struct map_values *values, struct img_error *err)
{
    struct entry current = {.start = values->start};
    uint64_t end = chain_view_len(view), pos = values->start;

    if (values->has_length && pos < end) {
        end = pos + img_min(values->length, end - pos);
    }
    output_text(walk->out,
                walk->is_json
                    ? ""
                    : "Offset          Length          Mapped to       File\n");
    while (pos < end) {
        struct chain_extent extent;
        struct entry next;

        if (chain_view_at(view, pos, end - pos, &extent, err) < 0) {
            return -1;
        }
        next = entry_of(walk->chain, &extent);
        simplify(walk, &next);
        if (is_mergeable(&current, &next)) {
            current.len += next.len;
        } else {
            if (current.len > 0) {
                put_entry(walk, &current);
            }
            current = next;
        }
        pos += extent.e.len;
    }
    /* Nothing to show still gives one entry, of length 0. */
    put_entry(walk, &current);
    output_text(walk->out, walk->is_json ? "]\n" : "");
    return 0;
}

int cmd_map(void *opaque, char **operands, int nr)
{
    const struct map_values *values = opaque;
    struct chain_options options;
    struct img_error err;
    char name[IMG_ERROR_PATH_MAX];
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;
    IMG_AUTO(session_view_free) struct chain_view *view = NULL;
    struct walk walk = {.is_json = values->common.output == OUTPUT_JSON,
                        .is_first = true};

    session_chain_options(&values->common, &options);
    options.snapshot = values->snapshot;
    if (session_begin(&values->common, 0, &out, &err) < 0 ||
        session_open(
            &values->common,
            session_operand(&values->common, operands, nr, name, sizeof(name)),
            &options, &chain, &err) < 0 ||
        sandbox_seal(&err) < 0 || chain_view_new(chain, 0, &view, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    walk.out = out;
    walk.chain = chain;
    if (print_map(&walk, view, values, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}
