/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot: the fuzzed image becomes the backing file of a new overlay, with
 * a journal or without, together with a sound disk. Both overlays appear or
 * none; each shows what its active layer does; the image is not touched.
 * Arguments: 0 flags.
 */
#include <string.h>
#include <sys/stat.h>

#include <chain/snapshot.h>

#include "folder.h"

#define NEW "new.qcow2"
#define NEW_SOUND "new-sound.qcow2"

enum {
    FLAG_ATOMIC = 1,
    FLAG_ABSOLUTE = 2,
    FLAG_PROBED = 4,
    FLAG_NO_PROBE = 8,
    FLAG_DRY_RUN = 16,
    FLAG_SOUND_FIRST = 32,
};

static bool is_there(const char *name)
{
    struct stat st;

    return lstat(folder_path(name), &st) == 0;
}

static void require_same(const char *overlay, const char *active)
{
    struct guest through = folder_read(overlay, "qcow2");
    struct guest below = folder_read(active, "qcow2");

    if (below.bytes != NULL) {
        fuzz_require(through.bytes != NULL && through.len == below.len);
        fuzz_require(memcmp(through.bytes, below.bytes, below.len) == 0);
    }
    guest_free(&through);
    guest_free(&below);
}

static void take(const struct chain_snapshot_request *request)
{
    struct chain_snapshot_result result = {0};
    struct img_error err = {0};
    int ret = chain_snapshot(request, &result, &err);
    bool is_taken = ret == 0 && !result.is_refused && !request->dry_run;

    if (ret < 0) {
        fuzz_require_error(&err);
    }
    if (is_taken) {
        require_same(NEW, FUZZ_IMAGE);
        require_same(NEW_SOUND, "base.qcow2");
        fuzz_require(folder_is_clean(NEW, false));
    } else {
        fuzz_require(!is_there(NEW) && !is_there(NEW_SOUND));
    }
    chain_snapshot_result_fini(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t args[FUZZ_ARGS_NR];
    struct chain_snapshot_disk disks[2] = {
        {.active = folder_path(FUZZ_IMAGE), .overlay = folder_path(NEW)},
        {.active = folder_path("base.qcow2"),
         .active_format = "qcow2",
         .overlay = folder_path(NEW_SOUND)},
    };
    struct chain_snapshot_request request = {
        .disks = disks,
        .disks_nr = 2,
        .max_depth = 8,
        .roots = folder_roots(),
        .engine = 2,
    };

    len = fuzz_args(data, len, args);
    request.atomic = args[0] & FLAG_ATOMIC;
    request.dry_run = args[0] & FLAG_DRY_RUN;
    request.allow_probe = !(args[0] & FLAG_NO_PROBE);
    request.style =
        args[0] & FLAG_ABSOLUTE ? CHAIN_MAKE_ABSOLUTE : CHAIN_MAKE_RELATIVE;
    disks[0].active_format = args[0] & FLAG_PROBED ? NULL : "qcow2";
    if (args[0] & FLAG_SOUND_FIRST) {
        struct chain_snapshot_disk first = disks[0];

        disks[0] = disks[1];
        disks[1] = first;
    }
    folder_put_bases();
    folder_put(FUZZ_IMAGE, data, len);
    folder_drop(NEW);
    folder_drop(NEW_SOUND);
    take(&request);
    return 0;
}
