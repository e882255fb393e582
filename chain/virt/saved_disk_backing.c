/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-chain: the chain that a disk's headers make, and what the XML says of it
 * with <backingStore>, which QEMU would follow. Room: chain/virt.
 */
#include <string.h>

#include <chain/chain.h>

#include "planner.h"
#include "saved_disk_impl.h"

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_same_part(const struct chain_virt_source *a,
                         const struct chain_virt_source *b)
{
    return a->has_slice == b->has_slice && a->slice_offset == b->slice_offset &&
           a->slice_len == b->slice_len;
}

bool saved_is_same_source(const struct chain_virt_source *a,
                          const struct chain_virt_source *b)
{
    return a->type == b->type && is_same(a->path, b->path) &&
           is_same(a->protocol, b->protocol) && is_same(a->name, b->name) &&
           is_same(a->host, b->host) && is_same(a->port, b->port) &&
           is_same(a->transport, b->transport) &&
           is_same(a->socket, b->socket) && a->hosts_nr == b->hosts_nr &&
           is_same(a->network_snapshot, b->network_snapshot) &&
           is_same(a->pool, b->pool) && is_same(a->volume, b->volume) &&
           is_same(a->namespace_id, b->namespace_id) &&
           is_same(a->fdgroup, b->fdgroup) && is_same_part(a, b);
}

bool saved_is_same_image(const struct chain_virt_layer *a,
                         const struct chain_virt_layer *b)
{
    while (a && b) {
        if (!saved_is_same_source(&a->source, &b->source) ||
            strcmp(saved_format_of(a), saved_format_of(b)) != 0 ||
            a->backing_kind != b->backing_kind) {
            return false;
        }
        a = a->backing;
        b = b->backing;
    }
    return !a && !b;
}

/* ---- The layers that the XML names. */

static void say_broken(struct saved_inspection *all,
                       const struct saved_disk *disk)
{
    const struct img_error *why = chain_broken(disk->chain);
    const char *command = chain_broken_command(disk->chain);
    struct chain_check *check = saved_say_error(
        all, disk, "disk-chain",
        saved_is_unproven(why->code) ? CHAIN_CHECK_UNPROVEN : CHAIN_CHECK_FAIL,
        why);

    if (command) {
        chain_check_remedy(check, strdup(command));
    }
}

/* Layer IDX of the chain; NULL: the headers name none, or it is not there. */
static const struct chain_layer *layer_at(const struct saved_disk *disk,
                                          size_t idx)
{
    return idx < chain_depth(disk->chain) ? chain_layer_at(disk->chain, idx)
                                          : NULL;
}

static bool is_same_file(const struct chain_layer *layer,
                         const struct img_stamp *stamp)
{
    struct img_stamp other;
    struct img_error ignored;

    return layer &&
           img_file_stamp(chain_layer_file(layer), &other, &ignored) == 0 &&
           other.dev == stamp->dev && other.ino == stamp->ino;
}

/* Is SAID, of the XML, what the headers have at IDX? Says so where not. */
static bool is_as_header_says(struct saved_inspection *all,
                              const struct saved_disk *disk,
                              const struct chain_virt_layer *said, size_t idx)
{
    const struct chain_virt_source *source = &said->source;
    const struct chain_layer *layer = layer_at(disk, idx);
    struct chain_check *check;
    struct img_stamp stamp;
    struct img_error why;
    char shown[CHAIN_SHOWN_LEN];

    if (!plan_is_local(source) || !source->path || source->path[0] != '/' ||
        source->has_slice || source->fdgroup) {
        saved_say(all, disk, "disk-chain", CHAIN_CHECK_UNPROVEN,
                  "the XML names a backing file that is no whole file or block "
                  "device of this host");
        return false;
    }
    if (img_path_stamp(source->path, all->request->options->roots, &stamp,
                       &why) < 0) {
        saved_say_error(all, disk, "disk-chain",
                        why.code == IMG_NOT_FOUND ? CHAIN_CHECK_FAIL
                                                  : CHAIN_CHECK_UNPROVEN,
                        &why);
        return false;
    }
    if (is_same_file(layer, &stamp) &&
        strcmp(saved_format_of(said), chain_layer_format(layer)) == 0) {
        return true;
    }
    check = saved_say(all, disk, "disk-chain", CHAIN_CHECK_UNPROVEN,
                      "the XML names another backing file than the image, or "
                      "another format of it: what the guest would read is not "
                      "known");
    chain_check_found(all->report, check, "%s, %s",
                      chain_shown(source->path, shown), saved_format_of(said));
    if (layer) {
        chain_check_expected(all->report, check, "%s, %s",
                             chain_shown(chain_layer_path(layer), shown),
                             chain_layer_format(layer));
    }
    return false;
}

void saved_judge_backing(struct saved_inspection *all,
                         const struct saved_disk *disk)
{
    const struct chain_virt_layer *said = &disk->said->top;
    size_t idx = 0;

    for (; said->backing_kind == CHAIN_VIRT_BACKING_GIVEN && said->backing;
         said = said->backing) {
        if (!is_as_header_says(all, disk, said->backing, ++idx)) {
            return;
        }
    }
    if (said->backing_kind == CHAIN_VIRT_BACKING_ENDS) {
        if (chain_layer_wants_backing(layer_at(disk, idx))) {
            saved_say(all, disk, "disk-chain", CHAIN_CHECK_FAIL,
                      "by the XML the chain ends above a backing file that the "
                      "image has: the guest would find zeros for its data");
            return;
        }
    } else if (chain_broken(disk->chain)) {
        say_broken(all, disk);
        return;
    }
    saved_say(all, disk, "disk-chain", CHAIN_CHECK_PASS,
              chain_depth(disk->chain) == 1 ? "its chain is whole: %zu layer"
                                            : "its chain is whole: %zu layers",
              chain_depth(disk->chain));
}
