/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The documents of a domain, whatever they say: the first byte is their kind
 * ('c': checkpoints, 'f': snapshots in libvirt's folder), then texts with a NUL
 * between, of which the last is the domain's. What is linked is a hierarchy;
 * what is judged ends, in checks that can be shown. No image is there to be
 * opened.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chain/metadata_check.h>
#include <img/memory.h>

#include "fuzz.h"

static struct img_error err;

static void require_printable(const char *text)
{
    for (const char *p = text; p && *p; p++) {
        fuzz_require((unsigned char)*p >= 0x20 && *p != 0x7f);
    }
}

static void require_disks(const struct chain_moment *moment)
{
    const struct chain_virt_snapshot *snapshot = moment->snapshot;
    struct chain_moment_disk *disks;
    size_t nr;

    if (!snapshot) {
        return;
    }
    fuzz_require(chain_snapshot_disks(snapshot, &disks, &nr, &err) == 0);
    fuzz_require(nr >= snapshot->disks_nr);
    for (size_t i = 0; i < nr; i++) {
        fuzz_require(chain_moment_place_name(disks[i].place)[0] != '\0');
        fuzz_require(!disks[i].overlay ||
                     disks[i].place == CHAIN_PLACE_EXTERNAL);
        fuzz_require(!disks[i].before || snapshot->domain);
    }
    free(disks);
    (void)chain_snapshot_traits(snapshot);
}

/* Each once, parents before children, loops broken. */
static void require_order(const struct chain_metadata *metadata)
{
    bool *is_seen = calloc(metadata->nr + 1, 1);

    fuzz_require(is_seen);
    for (size_t i = 0; i < metadata->nr; i++) {
        size_t idx = metadata->order[i];
        const struct chain_moment *moment = &metadata->moments[idx];

        fuzz_require(idx < metadata->nr && !is_seen[idx]);
        is_seen[idx] = true;
        fuzz_require(
            moment->parent == CHAIN_METADATA_NONE ||
            (moment->parent < metadata->nr && is_seen[moment->parent]));
        fuzz_require(moment->parent == CHAIN_METADATA_NONE ||
                     !chain_metadata_is_below(metadata, moment->parent, idx));
        require_disks(moment);
    }
    free(is_seen);
}

static void require_report(struct chain_report *report)
{
    fuzz_require(chain_report_len(report) > 0);
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        fuzz_require(check->id && check->id[0] != '\0' && check->message);
        require_printable(check->message);
        require_printable(check->found);
        require_printable(check->expected);
        require_printable(check->remedy);
    }
    chain_report_free(report);
}

/* A folder that is empty, and the only one. */
static const struct img_roots *nowhere(void)
{
    static struct img_roots *roots;
    char dir[] = "/tmp/imgchain-fuzz-XXXXXX";

    if (!roots) {
        fuzz_require(mkdtemp(dir) && img_roots_new(&roots, &err) == 0 &&
                     img_roots_add(roots, dir, &err) == 0 && rmdir(dir) == 0);
    }
    return roots;
}

static void judge(const struct chain_metadata *metadata, const char *text,
                  size_t len)
{
    struct chain_options options;
    struct chain_undefine_request undefine = {.managed_save = "/nowhere"};
    struct chain_metadata_request *request = &undefine.metadata;
    struct chain_virt_domain *domain = NULL;
    struct chain_report *report = NULL;

    if (chain_virt_domain_parse(text, len, "domain", &domain, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    chain_options_init(&options);
    options.roots = nowhere();
    request->domain = domain;
    request->options = &options;
    if (metadata->kind == CHAIN_SNAPSHOT) {
        request->snapshots = metadata;
    } else {
        request->checkpoints = metadata;
    }
    if (chain_metadata_check(request, &report, &err) == 0) {
        require_report(report);
    } else {
        fuzz_require_error(&err);
    }
    if (chain_undefine_check(&undefine, &report, &err) == 0) {
        require_report(report);
    } else {
        fuzz_require_error(&err);
    }
    chain_virt_domain_free(domain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct chain_metadata *metadata = NULL;
    const char *text = (const char *)data + 1, *end;
    size_t left;

    if (len < 1) {
        return 0;
    }
    left = len - 1;
    fuzz_require(
        chain_metadata_new(data[0] == 'c' ? CHAIN_CHECKPOINT : CHAIN_SNAPSHOT,
                           &metadata, &err) == 0);
    while ((end = memchr(text, '\0', left))) {
        size_t one = (size_t)(end - text);

        if (metadata->nr < 64 && chain_metadata_add(metadata, "moment", "m.xml",
                                                    text, one, &err) < 0) {
            fuzz_require_error(&err);
        }
        text += one + 1;
        left -= one + 1;
    }
    if (data[0] == 'f') {
        metadata->folder = strdup("/folder");
        fuzz_require(metadata->folder);
    }
    fuzz_require(chain_metadata_link(metadata, NULL, &err) == 0);
    require_order(metadata);
    judge(metadata, text, left);
    chain_metadata_free(metadata);
    return 0;
}
