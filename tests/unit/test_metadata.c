/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hierarchy of snapshots, and what they are made of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/metadata.h>

#include "unit.h"

static struct img_error err;

static void add(struct chain_metadata *metadata, const char *name,
                const char *parent, unsigned time, const char *more)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "<domainsnapshot><name>%s</name>%s%s%s<creationTime>%u"
             "</creationTime>%s</domainsnapshot>",
             name, parent ? "<parent><name>" : "", parent ? parent : "",
             parent ? "</name></parent>" : "", time, more);
    unit_ok(chain_metadata_add(metadata, name, name, text, strlen(text), &err),
            &err);
}

static struct chain_metadata *empty(void)
{
    struct chain_metadata *metadata;

    unit_ok(chain_metadata_new(CHAIN_SNAPSHOT, &metadata, &err), &err);
    return metadata;
}

/* "NAME<PARENT" for each, in order; "!": looped, "?": its parent is missing,
   "2": double, "*": current. Frees METADATA. */
static void is_order(struct chain_metadata *metadata, const char *current,
                     const char *expected)
{
    char found[1024] = "";

    unit_ok(chain_metadata_link(metadata, current, &err), &err);
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *one = &metadata->moments[metadata->order[i]];
        size_t used = strlen(found);

        snprintf(found + used, sizeof(found) - used, "%s%s%s%s%s%s%s%s",
                 i > 0 ? " " : "", one->name,
                 one->parent == CHAIN_METADATA_NONE ? "" : "<",
                 one->parent == CHAIN_METADATA_NONE
                     ? ""
                     : metadata->moments[one->parent].name,
                 one->is_looped ? "!" : "", one->is_parent_missing ? "?" : "",
                 one->is_double ? "2" : "", one->is_current ? "*" : "");
    }
    ck_assert_str_eq(found, expected);
    chain_metadata_free(metadata);
}

START_TEST(parents_first)
{
    struct chain_metadata *metadata = empty();

    add(metadata, "c", "b", 3, "");
    add(metadata, "d", "a", 2, "");
    add(metadata, "b", "a", 4, "<active>1</active>");
    add(metadata, "e", NULL, 0, "<active>0</active>");
    add(metadata, "a", NULL, 1, "");
    is_order(metadata, NULL, "e a d<a b<a* c<b");
}
END_TEST

START_TEST(the_current_one)
{
    struct chain_metadata *metadata = empty();

    add(metadata, "a", NULL, 1, "<active>1</active>");
    add(metadata, "b", NULL, 2, "<active>1</active>");
    unit_ok(chain_metadata_link(metadata, NULL, &err), &err);
    ck_assert_uint_eq(metadata->current_nr, 2);
    is_order(metadata, "b", "a b*");
}
END_TEST

START_TEST(loops)
{
    struct chain_metadata *metadata = empty();

    add(metadata, "a", "c", 1, "");
    add(metadata, "b", "a", 2, "");
    add(metadata, "c", "b", 3, "");
    add(metadata, "d", "b", 4, "");
    add(metadata, "e", "e", 5, "");
    add(metadata, "f", NULL, 6, "");
    is_order(metadata, NULL, "f a! b! d<b c! e!");
}
END_TEST

START_TEST(missing_and_double)
{
    struct chain_metadata *metadata = empty();

    add(metadata, "a", "x", 1, "");
    add(metadata, "b", "a", 2, "");
    add(metadata, "b", NULL, 0, "");
    add(metadata, "c", "b", 3, "");
    unit_ok(chain_metadata_link(metadata, NULL, &err), &err);
    ck_assert_uint_eq(chain_metadata_find(metadata, "b"), 1);
    ck_assert_uint_eq(chain_metadata_find(metadata, "x"), CHAIN_METADATA_NONE);
    ck_assert(chain_metadata_is_below(metadata, 3, 0));
    ck_assert(chain_metadata_is_below(metadata, 0, 0));
    ck_assert(!chain_metadata_is_below(metadata, 0, 3));
    ck_assert(!chain_metadata_is_below(metadata, 2, 0));
    is_order(metadata, NULL, "a? b<a c<b b2");
}
END_TEST

START_TEST(many_in_a_row)
{
    struct chain_metadata *metadata = empty();
    char name[16], parent[16];

    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "s%u", 4999 - i);
        snprintf(parent, sizeof(parent), "s%u", 4998 - i);
        add(metadata, name, i < 4999 ? parent : NULL, i, "");
    }
    unit_ok(chain_metadata_link(metadata, NULL, &err), &err);
    for (size_t i = 0; i < 5000; i++) {
        ck_assert_uint_eq(metadata->order[i], 4999 - i);
    }
    chain_metadata_free(metadata);
}
END_TEST

START_TEST(no_snapshots)
{
    is_order(empty(), NULL, "");
}
END_TEST

static void has_traits(const char *inside, unsigned expected)
{
    struct chain_metadata *metadata = empty();

    add(metadata, "a", NULL, 1, inside);
    ck_assert_msg(
        chain_snapshot_traits(metadata->moments[0].snapshot) == expected,
        "%s: found %u, expected %u", inside,
        chain_snapshot_traits(metadata->moments[0].snapshot), expected);
    chain_metadata_free(metadata);
}

#define DISKS(...) "<disks>" __VA_ARGS__ "</disks>"
#define INTERNAL "<disk name='a' snapshot='internal'/>"
#define EXTERNAL "<disk name='a' snapshot='external'><source file='/f'/></disk>"
#define STATE(state) "<state>" state "</state>"

START_TEST(traits)
{
    const unsigned in = CHAIN_SNAPSHOT_INTERNAL, ex = CHAIN_SNAPSHOT_EXTERNAL,
                   memory = CHAIN_SNAPSHOT_MEMORY,
                   disks = CHAIN_SNAPSHOT_DISK_ONLY;

    has_traits(STATE("shutoff") DISKS(INTERNAL), in);
    has_traits(STATE("running") DISKS(INTERNAL), in | memory);
    has_traits(STATE("running") "<memory snapshot='internal'/>" DISKS(INTERNAL),
               in | memory);
    has_traits(STATE("shutoff") DISKS(EXTERNAL), ex);
    has_traits(STATE("disk-snapshot") DISKS(EXTERNAL), ex | disks);
    has_traits(STATE("disk-snapshot"), ex | disks);
    has_traits(STATE("disk-snapshot") DISKS("<disk name='a'/>"), ex | disks);
    has_traits(STATE("running") "<memory file='/m'/>" DISKS(EXTERNAL),
               ex | memory);
    has_traits(STATE("paused") "<memory snapshot='no'/>" DISKS(EXTERNAL), ex);
    has_traits(STATE("shutoff") DISKS("<disk name='a' snapshot='no'/>"), 0);
    has_traits(STATE("shutoff") DISKS(INTERNAL EXTERNAL), in | ex);
    has_traits(STATE("shutoff"), in);
}
END_TEST

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(folders)
{
    struct chain_metadata *metadata;
    char folder[] = "/tmp/test_metadata.XXXXXX", path[64];

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/b", folder);
    write_file(path, "<domainsnapshot><name>s</name></domainsnapshot>");
    snprintf(path, sizeof(path), "%s/a.xml", folder);
    write_file(path, "<domain/>");
    unit_ok(chain_metadata_read_folder(CHAIN_SNAPSHOT, folder, NULL, &metadata,
                                       &err),
            &err);
    ck_assert_uint_eq(metadata->nr, 1);
    ck_assert_str_eq(metadata->moments[0].name, "s");
    ck_assert_str_eq(metadata->folder, folder);
    ck_assert_uint_eq(metadata->unread_nr, 1);
    ck_assert_str_eq(metadata->unread[0].file, path);
    ck_assert_str_eq(metadata->unread[0].why,
                     "line 1: found <domain>, expected libvirt's "
                     "<domainsnapshot>");
    chain_metadata_free(metadata);
    remove(path);
    snprintf(path, sizeof(path), "%s/b", folder);
    remove(path);
    unit_ok(chain_metadata_read_folder(CHAIN_CHECKPOINT, folder, NULL,
                                       &metadata, &err),
            &err);
    ck_assert_uint_eq(metadata->nr, 0);
    chain_metadata_free(metadata);
    remove(folder);
    ck_assert_int_eq(chain_metadata_read_folder(CHAIN_SNAPSHOT, folder, NULL,
                                                &metadata, &err),
                     -1);
    ck_assert_int_eq((int)err.code, IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, folder);
}
END_TEST

START_TEST(checkpoints)
{
    static const char text[] =
        "<domaincheckpoint><name>c</name><parent><name>b</name></parent>"
        "<creationTime>7</creationTime><disks><disk name='vda' "
        "checkpoint='bitmap' bitmap='x'/><disk name='vdb' checkpoint='no'/>"
        "</disks><domain type='kvm'><uuid>u</uuid></domain><active>1</active>"
        "</domaincheckpoint>";
    struct chain_virt_checkpoint *point;

    unit_ok(chain_virt_checkpoint_parse(text, strlen(text), "x", &point, &err),
            &err);
    ck_assert_str_eq(point->name, "c");
    ck_assert_str_eq(point->parent, "b");
    ck_assert_int_eq(point->creation_time, 7);
    ck_assert_uint_eq(point->disks_nr, 2);
    ck_assert_str_eq(point->disks[0].bitmap, "x");
    ck_assert_str_eq(point->disks[1].checkpoint, "no");
    ck_assert_str_eq(point->domain_uuid, "u");
    ck_assert_ptr_nonnull(point->domain);
    ck_assert(point->has_active && point->is_active);
    ck_assert_uint_eq(point->refusals.nr, 0);
    chain_virt_checkpoint_free(point);
}
END_TEST

UNIT_SUITE("metadata", parents_first, the_current_one, loops,
           missing_and_double, many_in_a_row, no_snapshots, traits, folders,
           checkpoints)
