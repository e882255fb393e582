/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virsh's --diskspec and --memspec: what they say, and what virsh refuses. */
#include "virt_support.h"

static struct img_error err;

/* SPEC asks for these; NULL: it does not say. */
static void disk_is(const char *spec, const char *name, const char *snapshot,
                    const char *format, const char *type, const char *path)
{
    struct chain_virt_snapshot_disk disk;

    unit_ok(chain_virt_diskspec_parse(spec, &disk, &err), &err);
    text_is(disk.name, name);
    text_is(disk.snapshot, snapshot);
    text_is(disk.dest.format, format);
    text_is(disk.type, type);
    text_is(disk.dest.source.path, path);
    ck_assert_int_eq(disk.dest.source.type, type && strcmp(type, "block") == 0
                                                ? CHAIN_VIRT_SOURCE_BLOCK
                                                : CHAIN_VIRT_SOURCE_FILE);
    chain_virt_snapshot_disk_fini(&disk);
}

START_TEST(disks)
{
    disk_is("vda", "vda", NULL, NULL, NULL, NULL);
    disk_is("vda,snapshot=external,driver=qcow2,stype=block,file=/dev/x", "vda",
            "external", "qcow2", "block", "/dev/x");
    disk_is("vda,file=/x,stype=file,driver=raw,snapshot=no", "vda", "no", "raw",
            "file", "/x");
    /* virsh leaves it to libvirt whether there is such a word. */
    disk_is("vda,snapshot=x,driver=y,file=z=1", "vda", "x", "y", NULL, "z=1");
    disk_is("vda,snapshot=,driver=,file=", "vda", "", NULL, NULL, NULL);
    disk_is(",snapshot=no", "", "no", NULL, NULL, NULL);
    disk_is("snapshot=no", "snapshot=no", NULL, NULL, NULL, NULL);
}
END_TEST

START_TEST(commas)
{
    disk_is("a,,b", "a,b", NULL, NULL, NULL, NULL);
    disk_is("a,,", "a,", NULL, NULL, NULL, NULL);
    disk_is(",,", ",", NULL, NULL, NULL, NULL);
    disk_is("a,,,,b", "a,,b", NULL, NULL, NULL, NULL);
    disk_is("a,,,file=/x", "a,", NULL, NULL, NULL, "/x");
    disk_is("a,file=/x,,y,,,snapshot=no", "a", "no", NULL, NULL, "/x,y,");
}
END_TEST

#define EXPECTED                                                               \
    ", expected NAME[,snapshot=KIND][,driver=FORMAT][,stype=file|block]"       \
    "[,file=PATH], each once"

START_TEST(disks_that_virsh_refuses)
{
    static const struct {
        const char *spec, *why;
    } specs[] = {
        {"", "diskspec '': found ''" EXPECTED},
        {"vda,", "diskspec 'vda,': found ''" EXPECTED},
        {",", "diskspec ',': found ''" EXPECTED},
        {"vda,external", "diskspec 'vda,external': found 'external'" EXPECTED},
        {"vda,file=/x,", "diskspec 'vda,file=/x,': found ''" EXPECTED},
        {"a,,,b", "diskspec 'a,,,b': found 'b'" EXPECTED},
        {"vda,File=/x", "diskspec 'vda,File=/x': found 'File=/x'" EXPECTED},
        {"vda, file=/x", "diskspec 'vda, file=/x': found ' file=/x'" EXPECTED},
        {"vda,file=/x,file=/x",
         "diskspec 'vda,file=/x,file=/x': found 'file=/x'" EXPECTED},
        {"vda,file=,snapshot=,driver=,stype=file,x",
         "diskspec 'vda,file=,snapshot=,driver=,stype=file,x': found 'more "
         "fields'" EXPECTED},
        {"vda,stype=network", "diskspec 'vda,stype=network': found 'network', "
                              "expected stype=file or stype=block"},
        {"vda,stype=", "diskspec 'vda,stype=': found '', expected stype=file "
                       "or stype=block"},
    };

    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        struct chain_virt_snapshot_disk disk;

        unit_fails(chain_virt_diskspec_parse(specs[i].spec, &disk, &err), &err,
                   IMG_USAGE, specs[i].why);
        ck_assert_ptr_null(disk.name);
    }
}
END_TEST

/* SPEC asks for this memory. */
static void memory_is(const char *spec, const char *kind, const char *file)
{
    struct chain_virt_snapshot snapshot = {.memory_kind = strdup("old"),
                                           .memory_file = strdup("old")};

    unit_ok(chain_virt_memspec_parse(spec, &snapshot, &err), &err);
    text_is(snapshot.memory_kind, kind);
    text_is(snapshot.memory_file, file);
    free(snapshot.memory_kind);
    free(snapshot.memory_file);
}

START_TEST(memory)
{
    memory_is("/m", NULL, "/m");
    memory_is("file=m", NULL, "m");
    memory_is("snapshot=external,/m,,n", "external", "/m,n");
    memory_is("/m,snapshot=no", "no", "/m");
    memory_is("snapshot=internal", "internal", NULL);
}
END_TEST

#define MEMORY_EXPECTED ", expected [file=]/PATH[,snapshot=KIND], each once"

START_TEST(memory_that_virsh_refuses)
{
    static const struct {
        const char *spec, *why;
    } specs[] = {
        {"m", "memspec 'm': found 'm'" MEMORY_EXPECTED},
        {"/m,/n", "memspec '/m,/n': found '/n'" MEMORY_EXPECTED},
        {"/m,file=/n", "memspec '/m,file=/n': found 'file=/n'" MEMORY_EXPECTED},
        {"/m,", "memspec '/m,': found ''" MEMORY_EXPECTED},
        {"snapshot=a,snapshot=a",
         "memspec 'snapshot=a,snapshot=a': found 'snapshot=a'" MEMORY_EXPECTED},
    };

    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        struct chain_virt_snapshot snapshot = {0};

        unit_fails(chain_virt_memspec_parse(specs[i].spec, &snapshot, &err),
                   &err, IMG_USAGE, specs[i].why);
        ck_assert_ptr_null(snapshot.memory_file);
    }
}
END_TEST

UNIT_SUITE("virt_spec", disks, commas, disks_that_virsh_refuses, memory,
           memory_that_virsh_refuses)
