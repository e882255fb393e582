/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where metadata comes from, and how it is shown: see metadata.h. */
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <img/memory.h>

#include "message.h"
#include "metadata.h"
#include "sandbox.h"
#include "session.h"

bool metadata_is_sane(const struct metadata_values *values, int nr)
{
    const char *text = NULL;

    if (values->connect) {
        text = nr > 0 ? "--connect and files exclude each other"
               : !values->domain
                   ? "option --domain is missing: the domain's name"
               : values->common.require_sandbox
                   ? "--require-sandbox does not go with --connect: libvirt's "
                     "library is not confined"
                   : NULL;
    } else if (nr == 0) {
        text = "expected libvirt's folder of a domain's snapshots, their "
               "files, or --connect";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int read_any(const struct metadata_values *values, char **operands,
                    int nr, struct chain_metadata **out, struct img_error *err)
{
    enum chain_moment_kind kind =
        values->checkpoints ? CHAIN_CHECKPOINT : CHAIN_SNAPSHOT;

    if (nr == 1 && is_folder(operands[0])) {
        return chain_metadata_read_folder(kind, operands[0],
                                          values->common.roots, out, err);
    }
    return chain_metadata_read_files(kind, (const char *const *)operands,
                                     (size_t)nr, values->common.roots, out,
                                     err);
}

int metadata_read(const struct metadata_values *values, char **operands, int nr,
                  struct chain_libvirt *libvirt, bool secure,
                  struct chain_metadata **out, struct img_error *err)
{
    IMG_AUTO(metadata_free_ptr) struct chain_metadata *metadata = NULL;
    int rc = libvirt
                 ? chain_libvirt_metadata(libvirt,
                                          values->checkpoints ? CHAIN_CHECKPOINT
                                                              : CHAIN_SNAPSHOT,
                                          secure, &metadata, err)
                 : read_any(values, operands, nr, &metadata, err);

    if (rc == 0 && values->current) {
        char shown[256];

        if (chain_metadata_find(metadata, values->current) ==
            CHAIN_METADATA_NONE) {
            img_escape(values->current, strlen(values->current), shown,
                       sizeof(shown));
            return img_fail(
                err, IMG_NOT_FOUND, "--current: found no %s of the name %s",
                values->checkpoints ? "checkpoint" : "snapshot", shown);
        }
        rc = chain_metadata_link(metadata, values->current, err);
    }
    if (rc == 0) {
        *out = img_steal(&metadata);
    }
    return rc;
}

int metadata_begin(const struct metadata_values *values, struct output **out,
                   struct img_error *err)
{
    if (values->connect) {
        return session_output(&values->common, out, err);
    }
    /* No code is loaded in the sandbox, and no file opened at its end. */
    (void)chain_virt_xml_version();
    tzset();
    return session_begin(&values->common, 0, out, err);
}

int metadata_get(const struct metadata_values *values, char **operands, int nr,
                 struct chain_metadata **out, struct img_error *err)
{
    IMG_AUTO(metadata_close_libvirt) struct chain_libvirt *libvirt = NULL;

    if (values->connect && chain_libvirt_open(values->connect, values->domain,
                                              true, &libvirt, err) < 0) {
        return -1;
    }
    return metadata_read(values, operands, nr, libvirt, false, out, err) < 0
               ? -1
               : sandbox_seal(err);
}

size_t metadata_tell_unread(const struct chain_metadata *metadata)
{
    for (size_t i = 0; i < metadata->unread_nr; i++) {
        const struct chain_metadata_unread *unread = &metadata->unread[i];
        struct img_error err = {.code = unread->code};

        img_fail(&err, unread->code, "%s", unread->why);
        img_error_set_path(&err, unread->file);
        message_error(&err);
    }
    return metadata->unread_nr;
}

void metadata_free_ptr(struct chain_metadata **metadata)
{
    chain_metadata_free(*metadata);
}

void metadata_close_libvirt(struct chain_libvirt **libvirt)
{
    chain_libvirt_close(*libvirt);
}

const char *metadata_kind(const struct chain_moment *moment)
{
    unsigned traits;
    bool has_memory, is_external, is_internal;

    if (!moment->snapshot) {
        return "checkpoint";
    }
    traits = chain_snapshot_traits(moment->snapshot);
    has_memory = traits & CHAIN_SNAPSHOT_MEMORY;
    is_external = traits & CHAIN_SNAPSHOT_EXTERNAL;
    is_internal = traits & CHAIN_SNAPSHOT_INTERNAL;
    if (traits & CHAIN_SNAPSHOT_DISK_ONLY) {
        return is_internal ? "mixed, disk only" : "external, disk only";
    }
    if (is_external && is_internal) {
        return has_memory ? "mixed, memory" : "mixed";
    }
    if (is_external) {
        return has_memory ? "external, memory" : "external";
    }
    if (is_internal) {
        return has_memory ? "internal, memory" : "internal";
    }
    return "no disks";
}

const char *metadata_state(const struct chain_moment *moment, char buf[64])
{
    const char *state = moment->snapshot ? moment->snapshot->state : NULL;

    if (!state) {
        return "-";
    }
    img_escape(state, strlen(state), buf, 64);
    return buf;
}

const char *metadata_time(const struct chain_moment *moment, char buf[64])
{
    bool is_told = moment->snapshot ? moment->snapshot->has_creation_time
                                    : moment->checkpoint->has_creation_time;
    time_t at = moment->snapshot ? moment->snapshot->creation_time
                                 : moment->checkpoint->creation_time;
    struct tm parts;

    if (!is_told || !localtime_r(&at, &parts) ||
        strftime(buf, 64, "%Y-%m-%d %H:%M:%S %z", &parts) == 0) {
        return "-";
    }
    return buf;
}
