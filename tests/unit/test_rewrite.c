/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules for paths, and XML in which they are followed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/rewrite.h>

#include "unit.h"

static struct img_error err;

static struct chain_path_map *map_of(const char *const *rules)
{
    struct chain_path_map *map;

    ck_assert_int_eq(chain_path_map_new(&map, &err), 0);
    for (; *rules; rules++) {
        ck_assert_msg(chain_path_map_parse(map, *rules, &err) == 0, "%s: %s",
                      *rules, err.text);
    }
    return map;
}

/* Where PATH goes by the rules; "-" where it stays. */
static void goes_to(const char *const *rules, const char *path,
                    const char *expected)
{
    struct chain_path_map *map = map_of(rules);
    char *moved;

    ck_assert_int_eq(chain_path_map_apply(map, path, &moved, &err), 0);
    ck_assert_str_eq(moved ? moved : "-", expected);
    free(moved);
    chain_path_map_free(map);
}

#define RULES(...)                                                             \
    (const char *const[])                                                      \
    {                                                                          \
        __VA_ARGS__, NULL                                                      \
    }

START_TEST(folders_and_files)
{
    goes_to(RULES("/old=/new"), "/old/a/b", "/new/a/b");
    goes_to(RULES("/old=/new"), "/old", "/new");
    goes_to(RULES("/old=/new"), "/older/a", "-");
    goes_to(RULES("/old=/new"), "/a/old/b", "-");
    goes_to(RULES("/old=/new"), "old/a", "-");
    goes_to(RULES("/old=/new"), "", "-");
    goes_to(RULES("/old//=/new/"), "//old//a/", "/new/a");
    goes_to(RULES("/=/new"), "/a", "/new/a");
    goes_to(RULES("/=/new"), "/", "/new");
    goes_to(RULES("/old=/"), "/old/a", "/a");
    goes_to(RULES("/old=/"), "/old", "/");
    goes_to(RULES("/old=/old"), "/old/a", "-");
    goes_to(RULES("/o=/x", "/p=/y"), "/q", "-");
}
END_TEST

START_TEST(longest_rule)
{
    const char *const rules[] = {"/a=/1", "/a/b/c=/3", "/a/b=/2", "/a/b!=/4",
                                 NULL};

    goes_to(rules, "/a/x", "/1/x");
    goes_to(rules, "/a/b/x", "/2/x");
    goes_to(rules, "/a/b/c", "/3");
    goes_to(rules, "/a/b!/c", "/4/c");
    goes_to(rules, "/a/b!!/c", "/1/b!!/c");
}
END_TEST

START_TEST(equal_signs)
{
    goes_to(RULES("/a\\=b=/c=d"), "/a=b/x", "/c=d/x");
    goes_to(RULES("/a\\\\=/c\\=="), "/a\\/x", "/c==/x");
    goes_to(RULES("/a\\b=/c"), "/a\\b", "/c");
}
END_TEST

static void is_refused(const char *const *first, const char *rule,
                       const char *why)
{
    struct chain_path_map *map = map_of(first);

    ck_assert_int_eq(chain_path_map_parse(map, rule, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_USAGE);
    ck_assert_str_eq(err.text, why);
    chain_path_map_free(map);
}

START_TEST(rules_that_are_none)
{
    is_refused(RULES(NULL), "/a",
               "a rule for paths: found '/a', expected OLD=NEW");
    is_refused(RULES(NULL), "/a\\=/b",
               "a rule for paths: found '/a\\x5c=/b', expected OLD=NEW");
    is_refused(RULES(NULL), "a=/b",
               "a rule for paths: found 'a', expected an absolute path");
    is_refused(RULES(NULL),
               "/a=", "a rule for paths: found '', expected an absolute path");
    is_refused(RULES("/a=/b"), "/a/=/c",
               "a rule for paths: found '/a' twice, expected one rule for it");
}
END_TEST

START_TEST(rules_that_are_used)
{
    struct chain_path_map *map = map_of(RULES("/b=/1", "/a=/2"));
    char *moved;

    ck_assert_int_eq(chain_path_map_apply(map, "/a/x", &moved, &err), 0);
    free(moved);
    ck_assert_uint_eq(chain_path_map_len(map), 2);
    ck_assert_str_eq(chain_path_map_old(map, 1), "/a");
    ck_assert_uint_eq(chain_path_map_used(map, 0), 0);
    ck_assert_uint_eq(chain_path_map_used(map, 1), 1);
    chain_path_map_free(map);
}
END_TEST

/* ---- XML */

static char log_text[1024];

static void seen(void *opaque, const char *place, const char *old_path,
                 const char *new_path)
{
    size_t used = strlen(log_text);

    (void)opaque;
    snprintf(log_text + used, sizeof(log_text) - used, "%s %s %s\n", place,
             old_path, new_path ? new_path : "-");
}

/* TEXT becomes EXPECTED, in NR places, with /o at /n, another uuid and name. */
static void becomes(const char *text, const char *expected, size_t nr)
{
    struct chain_path_map *map = map_of(RULES("/o=/n&"));
    struct chain_rewrite wish = {
        .map = map, .uuid = "u2", .name = "n2", .seen = seen};
    size_t changed_nr;
    char *out = NULL;

    log_text[0] = '\0';
    ck_assert_msg(chain_rewrite(text, strlen(text), "x.xml", &wish, &out,
                                &changed_nr, &err) == 0,
                  "%s", err.text);
    ck_assert_str_eq(out, expected);
    ck_assert_uint_eq(changed_nr, nr);
    free(out);
    chain_path_map_free(map);
}

START_TEST(domains)
{
    becomes("<?xml version='1.0'?><!-- <source file='/o/no'/> -->\n"
            "<domain type='kvm'>\n <name>n1</name><uuid >u1</uuid>\n"
            "<sysinfo><system><entry name='uuid'>u1</entry></system></sysinfo>"
            "<os><nvram>/o/vars</nvram><kernel>/k</kernel></os>"
            "<metadata><x:source xmlns:x='/o' file='/o/kept'/></metadata>"
            "<devices><disk><source x = 'y>' file\t= \"/o/a\" dev='/p'/>"
            "<backingStore><source file='/o/b'/></backingStore>"
            "<mirror file='/o/m'><source dev='/o/d'/></mirror>"
            "<target dev='vda'/></disk>"
            "<filesystem><source dir='/o/kept'/></filesystem></devices>"
            "</domain>\n",
            "<?xml version='1.0'?><!-- <source file='/o/no'/> -->\n"
            "<domain type='kvm'>\n <name>n2</name><uuid >u2</uuid>\n"
            "<sysinfo><system><entry name='uuid'>u2</entry></system></sysinfo>"
            "<os><nvram>/n&amp;/vars</nvram><kernel>/k</kernel></os>"
            "<metadata><x:source xmlns:x='/o' file='/o/kept'/></metadata>"
            "<devices><disk><source x = 'y>' file\t= \"/n&amp;/a\" dev='/p'/>"
            "<backingStore><source file='/n&amp;/b'/></backingStore>"
            "<mirror file='/n&amp;/m'><source dev='/n&amp;/d'/></mirror>"
            "<target dev='vda'/></disk>"
            "<filesystem><source dir='/o/kept'/></filesystem></devices>"
            "</domain>\n",
            8);
    ck_assert_str_eq(log_text, "nvram /o/vars /n&/vars\nkernel /k -\n"
                               "disk vda /o/a /n&/a\ndisk vda /p -\n"
                               "disk vda /o/b /n&/b\ndisk vda /o/m /n&/m\n"
                               "disk vda /o/d /n&/d\n");
}
END_TEST

START_TEST(snapshots)
{
    becomes("<domainsnapshot><name>s</name><memory snapshot='external' "
            "file='/o/mem'/><disks><disk name='/o/base'><source "
            "file='/o/&#x6f;'/></disk><any name='vdb'><source file='/o/2'/>"
            "</any></disks><domain><name>n1</name><uuid>u1</uuid></domain>"
            "<inactiveDomain><uuid><![CDATA[u1]]><!-- x --></uuid>"
            "</inactiveDomain></domainsnapshot>",
            "<domainsnapshot><name>s</name><memory snapshot='external' "
            "file='/n&amp;/mem'/><disks><disk name='/n&amp;/base'><source "
            "file='/n&amp;/o'/></disk><any name='vdb'><source "
            "file='/n&amp;/2'/></any></disks><domain><name>n2</name><uuid>u2"
            "</uuid></domain><inactiveDomain><uuid>u2</uuid>"
            "</inactiveDomain></domainsnapshot>",
            7);
    ck_assert_str_eq(log_text, "memory /o/mem /n&/mem\n"
                               "disk /o/base /o/base /n&/base\n"
                               "disk /o/base /o/o /n&/o\n"
                               "disk vdb /o/2 /n&/2\n");
}
END_TEST

START_TEST(what_looks_like_it)
{
    /* A namespace called file, a prefix, two attributes of one name. */
    becomes("<domain xmlns:file='/o/ns' xmlns:p='q'><disk><source "
            "xmlns:file='/o/x' p:file='/o/1'/></disk></domain>",
            "<domain xmlns:file='/o/ns' xmlns:p='q'><disk><source "
            "xmlns:file='/o/x' p:file='/n&amp;/1'/></disk></domain>",
            1);
    becomes("<domain xmlns:p='q'><disk><source file='/o/1' p:file='/o/2'/>"
            "</disk></domain>",
            "<domain xmlns:p='q'><disk><source file='/n&amp;/1' "
            "p:file='/o/2'/></disk></domain>",
            1);
    becomes("<domain><uuid/><name></name><x><uuid>u</uuid></x></domain>",
            "<domain><uuid/><name></name><x><uuid>u</uuid></x></domain>", 0);
}
END_TEST

START_TEST(other_documents)
{
    struct chain_rewrite wish = {.map = NULL};
    const char *text = "<network/>";
    char *out;

    ck_assert_int_eq(
        chain_rewrite(text, strlen(text), "x.xml", &wish, &out, NULL, &err),
        -1);
    ck_assert_int_eq((int)err.code, IMG_FORMAT);
    ck_assert_str_eq(err.path, "x.xml");
    ck_assert_str_eq(err.text,
                     "line 1: found <network>, expected libvirt's <domain>, "
                     "<domainsnapshot> or <domaincheckpoint>");
}
END_TEST

START_TEST(what_xml_cannot_hold)
{
    struct chain_path_map *map = map_of(RULES("/o=/n\x01"));
    struct chain_rewrite wish = {.map = map};
    const char *text = "<domain><disk><source file='/o/1'/></disk></domain>";
    char *out;

    ck_assert_int_eq(
        chain_rewrite(text, strlen(text), "x.xml", &wish, &out, NULL, &err),
        -1);
    ck_assert_int_eq((int)err.code, IMG_UNSUPPORTED);
    ck_assert_str_eq(err.text, "XML cannot hold: '/n\\x01/1'");
    chain_path_map_free(map);
}
END_TEST

UNIT_SUITE("rewrite", folders_and_files, longest_rule, equal_signs,
           rules_that_are_none, rules_that_are_used, domains, snapshots,
           what_looks_like_it, other_documents, what_xml_cannot_hold)
