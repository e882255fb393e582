/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt asks of snapshots and checkpoints that are put on record. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/redefine.h>

#include "unit.h"

#define UUID "11111111-2222-3333-4444-555555555555"
#define DOMAIN(uuid, more)                                                     \
    "<domain type='qemu'><name>vm</name>" uuid "<devices>"                     \
    "<disk type='file'><driver type='qcow2'/><source file='/none/a.qcow2'/>"   \
    "<target dev='vda'/></disk>"                                               \
    "<disk type='file'><driver type='qcow2'/><source file='/none/b.qcow2'/>"   \
    "<target dev='vdb'/></disk>" more "</devices></domain>"
#define OWN DOMAIN("<uuid>" UUID "</uuid>", "")
#define TIME "<creationTime>1</creationTime>"
#define OFF "<state>shutoff</state>" TIME
#define RAN "<state>running</state>" TIME
#define DISKS "<state>disk-snapshot</state>" TIME

static struct img_error err;

/* A judge, and the moments that it borrows. */
struct court {
    struct chain_redefine *judge;
    struct chain_metadata *held[32];
    size_t nr;
};

static void open_court(struct court *court, enum chain_moment_kind kind)
{
    memset(court, 0, sizeof(*court));
    unit_ok(chain_redefine_new(kind, UUID, false, &court->judge, &err), &err);
}

static void close_court(struct court *court)
{
    chain_redefine_free(court->judge);
    for (size_t i = 0; i < court->nr; i++) {
        chain_metadata_free(court->held[i]);
    }
}

static const struct chain_moment *moment(struct court *court, const char *inner)
{
    bool is_point = strstr(inner, "<checkpoint/>");
    struct chain_metadata **held = &court->held[court->nr++];
    char text[4096];

    snprintf(text, sizeof(text), "<domain%s>%s</domain%s>",
             is_point ? "checkpoint" : "snapshot", inner,
             is_point ? "checkpoint" : "snapshot");
    unit_ok(chain_metadata_new(is_point ? CHAIN_CHECKPOINT : CHAIN_SNAPSHOT,
                               held, &err),
            &err);
    unit_ok(chain_metadata_add(*held, "x.xml", NULL, text, strlen(text), &err),
            &err);
    unit_ok(chain_metadata_link(*held, NULL, &err), &err);
    return &(*held)->moments[0];
}

/* The first reason is EXPECTED (libvirt's error); "": it is taken. */
static void asks(struct court *court, const char *inner, unsigned flags,
                 const char *expected)
{
    size_t nr = chain_report_len(chain_redefine_report(court->judge));
    const struct chain_report *report;
    char wanted[64];
    bool is_taken;

    unit_ok(chain_redefine_judge(court->judge, moment(court, inner), flags,
                                 &is_taken, &err),
            &err);
    report = chain_redefine_report(court->judge);
    ck_assert_int_eq(is_taken, expected[0] == '\0');
    ck_assert_int_eq(chain_report_len(report) == nr, is_taken);
    if (!is_taken) {
        snprintf(wanted, sizeof(wanted), "libvirt refuses it (%s): ", expected);
        ck_assert_msg(strncmp(chain_report_at(report, nr)->message, wanted,
                              strlen(wanted)) == 0,
                      "%s: %s", expected, chain_report_at(report, nr)->message);
    }
}

/* The same of one by itself. */
static void alone(const char *inner, unsigned flags, const char *expected)
{
    struct court court;

    open_court(&court, CHAIN_SNAPSHOT);
    asks(&court, inner, flags, expected);
    close_court(&court);
}

START_TEST(what_is_missing)
{
    alone("<name>a</name>" OFF OWN, 0, "");
    alone(OFF OWN, 0, "XML_ERROR");
    alone("<name/>" OFF OWN, 0, "XML_ERROR");
    alone("<name>a</name><state>shutoff</state>" OWN, 0, "INTERNAL_ERROR");
    alone("<name>a</name>" TIME OWN, 0, "XML_ERROR");
    alone("<name>a</name>" TIME "<state>odd</state>" OWN, 0,
          "CONFIG_UNSUPPORTED");
    alone("<name>a</name>" OFF, 0, "INTERNAL_ERROR");
    alone("<name>a</name>" OFF "<domain><uuid>" UUID "</uuid></domain>", 0,
          "INTERNAL_ERROR");
}
END_TEST

START_TEST(states)
{
    alone("<name>a</name>" TIME "<state>nostate</state>" OWN, 0,
          "CONFIG_UNSUPPORTED");
    alone("<name>a</name>" TIME "<state>blocked</state>" OWN, 0,
          "INTERNAL_ERROR");
    alone("<name>a</name>" TIME "<state>pmsuspended</state>" OWN, 0,
          "OPERATION_UNSUPPORTED");
    alone("<name>a</name>" TIME "<state>crashed</state>" OWN, 0, "");
}
END_TEST

START_TEST(names)
{
    alone("<name>a/b</name>" OFF OWN, 0, "XML_DETAIL");
    alone("<name>.a</name>" OFF OWN, 0, "XML_DETAIL");
    alone("<name>a b</name>" OFF OWN, 0, "");
}
END_TEST

START_TEST(memory)
{
    alone("<name>a</name>" OFF "<memory snapshot='internal'/>" OWN, 0,
          "XML_ERROR");
    alone("<name>a</name>" DISKS "<memory file='/m'/>" OWN, 0, "XML_ERROR");
    alone("<name>a</name>" RAN "<memory file='/m'/>" OWN, 0, "");
    alone("<name>a</name>" RAN "<memory file='m'/>" OWN, 0, "XML_ERROR");
    alone("<name>a</name>" RAN "<memory snapshot='external'/>" OWN, 0,
          "XML_ERROR");
    alone("<name>a</name>" RAN "<memory snapshot='no'/>" OWN, 0, "");
}
END_TEST

START_TEST(flags)
{
    alone("<name>a</name>" OFF OWN, CHAIN_VIRT_CURRENT, "");
    alone("<name>a</name>" OFF OWN, CHAIN_VIRT_NO_METADATA, "INVALID_ARG");
    alone("<name>a</name>" OFF OWN, CHAIN_VIRT_HALT, "INVALID_ARG");
    alone("<name>a</name>" OFF OWN, CHAIN_VIRT_LIVE, "INVALID_ARG");
    alone("<name>a</name>" OFF OWN, CHAIN_VIRT_QUIESCE, "INVALID_ARG");
    alone("<name>a</name>" OFF OWN, CHAIN_VIRT_DISK_ONLY, "INVALID_ARG");
}
END_TEST

START_TEST(uuids)
{
    alone("<name>a</name>" OFF DOMAIN("", ""), 0, "INVALID_ARG");
    alone("<name>a</name>" OFF DOMAIN(
              "<uuid>11111111222233334444555555555556</uuid>", ""),
          0, "INVALID_ARG");
    alone("<name>a</name>" OFF DOMAIN(
              "<uuid>11111111222233334444555555555555</uuid>", ""),
          0, "");
}
END_TEST

START_TEST(parents)
{
    struct court court;

    open_court(&court, CHAIN_SNAPSHOT);
    asks(&court, "<name>a</name><parent><name>a</name></parent>" OFF OWN, 0,
         "INVALID_ARG");
    asks(&court, "<name>b</name><parent><name>a</name></parent>" OFF OWN, 0,
         "INVALID_ARG");
    asks(&court, "<name>a</name>" OFF OWN, 0, "");
    asks(&court, "<name>b</name><parent><name>a</name></parent>" OFF OWN, 0,
         "");
    asks(&court, "<name>c</name><parent><name>b</name></parent>" OFF OWN, 0,
         "");
    asks(&court, "<name>a</name><parent><name>c</name></parent>" OFF OWN, 0,
         "INVALID_ARG");
    asks(&court, "<name>c</name><parent><name>a</name></parent>" OFF OWN, 0,
         "");
    asks(&court, "<name>b</name><parent><name>c</name></parent>" OFF OWN, 0,
         "");
    close_court(&court);
}
END_TEST

/* Of those that the daemon has loaded. */
START_TEST(parents_on_record)
{
    struct court court;

    open_court(&court, CHAIN_SNAPSHOT);
    unit_ok(chain_redefine_know(
                court.judge,
                moment(&court, "<name>b</name><parent><name>a</name></parent>"),
                &err),
            &err);
    asks(&court, "<name>a</name><parent><name>b</name></parent>" OFF OWN, 0,
         "INVALID_ARG");
    asks(&court, "<name>d</name><parent><name>b</name></parent>" OFF OWN, 0,
         "");
    unit_ok(chain_redefine_know(
                court.judge,
                moment(&court, "<name>a</name><parent><name>b</name></parent>"),
                &err),
            &err);
    /* libvirtd itself would not come back. */
    {
        bool is_taken;

        unit_ok(chain_redefine_judge(
                    court.judge,
                    moment(&court, "<name>e</name><parent><name>b</name>"
                                   "</parent>" OFF OWN),
                    0, &is_taken, &err),
                &err);
        ck_assert(!is_taken);
    }
    close_court(&court);
}
END_TEST

START_TEST(replaced)
{
    struct court court;

    open_court(&court, CHAIN_SNAPSHOT);
    asks(&court, "<name>a</name>" OFF OWN, 0, "");
    asks(&court, "<name>a</name>" RAN OWN, 0, "INVALID_ARG");
    asks(&court, "<name>a</name>" DISKS OWN, 0, "INVALID_ARG");
    asks(&court, "<name>a</name>" TIME "<state>crashed</state>" OWN, 0, "");
    /* The domain stays. */
    asks(&court, "<name>a</name>" OFF, 0, "");
    asks(&court, "<name>a</name>" OFF "<disks><disk name='vdx'/></disks>", 0,
         "CONFIG_UNSUPPORTED");
    close_court(&court);
}
END_TEST

START_TEST(disks)
{
#define ONE(disks) "<name>a</name>" OFF "<disks>" disks "</disks>" OWN
    alone(ONE("<disk name='vda'/>"), 0, "");
    alone(ONE("<disk name='/none/a.qcow2'/>"), 0, "");
    alone(ONE("<disk name='vdx'/>"), 0, "CONFIG_UNSUPPORTED");
    alone(ONE("<disk name='vda'/><disk name='vda'/>"), 0, "CONFIG_UNSUPPORTED");
    alone(ONE("<disk name='vda'/><disk name='vdb'/><disk name='vdb'/>"), 0,
          "CONFIG_UNSUPPORTED");
    alone(ONE("<disk name='vda' snapshot='no'/>"), 0, "CONFIG_UNSUPPORTED");
    alone(
        ONE("<disk name='vda' snapshot='internal'><source file='/n'/></disk>"),
        0, "CONFIG_UNSUPPORTED");
    alone(ONE("<disk name='vda'><source file='/n'/></disk>"), 0, "");
    alone(ONE("<disk name='vda' type='block'><driver type='qcow2'/></disk>"), 0,
          "CONFIG_UNSUPPORTED");
    alone(ONE("<disk name='vda' type='dir'/>"), 0, "XML_ERROR");
#undef ONE
}
END_TEST

START_TEST(checkpoints)
{
#define POINT "<checkpoint/>"
    struct court court;

    open_court(&court, CHAIN_CHECKPOINT);
    asks(&court, POINT "<name>a</name>" TIME OWN, 0, "");
    asks(&court, POINT "<name>b</name>" TIME, 0, "");
    asks(&court, POINT "<name>a b</name>" TIME, 0, "XML_INVALID_SCHEMA");
    asks(&court, POINT TIME, 0, "XML_ERROR");
    asks(&court, POINT "<name>c</name>", 0, "INTERNAL_ERROR");
    asks(&court, POINT "<name>c</name><parent><name>x</name></parent>" TIME, 0,
         "INVALID_ARG");
    asks(&court,
         POINT
         "<name>c</name><parent><name>a</name></parent>" TIME DOMAIN("", ""),
         0, "INVALID_ARG");
    asks(&court,
         POINT "<name>c</name>" TIME "<disks><disk name='vdx'/></disks>" OWN, 0,
         "CONFIG_UNSUPPORTED");
    asks(&court,
         POINT "<name>c</name>" TIME
               "<disks><disk name='vda' checkpoint='odd'/></disks>" OWN,
         0, "XML_INVALID_SCHEMA");
    asks(&court,
         POINT "<name>c</name>" TIME
               "<disks><disk name='vda'/><disk name='vda'/></disks>" OWN,
         0, "CONFIG_UNSUPPORTED");
    close_court(&court);
#undef POINT
}
END_TEST

UNIT_SUITE("redefine", what_is_missing, states, names, memory, flags, uuids,
           parents, parents_on_record, replaced, disks, checkpoints)
