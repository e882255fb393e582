/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What metadata is judged by, each rule where it holds and where not. Real
   images and libvirt's own folders: tests/cli and tests/interop. */
#include "metadata_fixture.h"

static struct chain_report *report;

static void judge(void)
{
    struct chain_metadata_request request = {
        .snapshots = snapshots, .domain = domain, .options = &options};

    unit_ok(chain_metadata_link(snapshots, NULL, &err), &err);
    unit_ok(chain_metadata_check(&request, &report, &err), &err);
}

/* The first check ID has this result; of MOMENT if that is not NULL. */
static void is_found(const char *id, enum chain_check_result result,
                     const char *moment)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        if (strcmp(check->id, id) == 0) {
            ck_assert_msg(check->result == result, "%s: result %d: %s", id,
                          (int)check->result, check->message);
            ck_assert_str_eq(check->moment ? check->moment : "",
                             moment ? moment : "");
            return;
        }
    }
    ck_abort_msg("no check %s", id);
}

static void done(void)
{
    chain_report_free(report);
    end_metadata();
}

/* All that fails, or is warned of, in order. */
static void are_wrong(const char *expected)
{
    char found[1024] = "";

    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);
        size_t used = strlen(found);

        if (check->result != CHAIN_CHECK_PASS &&
            check->result != CHAIN_CHECK_SKIP) {
            snprintf(found + used, sizeof(found) - used, "%s%s",
                     used ? " " : "", check->id);
        }
    }
    ck_assert_str_eq(found, expected);
}

START_TEST(clean)
{
    begin_metadata();
    add_snapshot("s2", NULL, "base", "over", "");
    add_snapshot("s3", "s2", "over", "top", "<active>1</active>");
    judge();
    are_wrong("");
    is_found("domain-disk", CHAIN_CHECK_PASS, NULL);
    ck_assert_int_eq((int)chain_report_judgement(report), CHAIN_ACCEPTED);
    done();
}
END_TEST

START_TEST(no_snapshots)
{
    begin_metadata();
    judge();
    are_wrong("");
    is_found("domain-disk", CHAIN_CHECK_SKIP, NULL);
    done();
}
END_TEST

START_TEST(internal_that_is_not_there)
{
    begin_metadata();
    add_snapshot("s1", NULL, "base", NULL, "");
    judge();
    are_wrong("internal-snapshot");
    is_found("internal-snapshot", CHAIN_CHECK_FAIL, "s1");
    done();
}
END_TEST

START_TEST(overlay_on_another)
{
    begin_metadata();
    add_snapshot("s2", NULL, "base", "top", "");
    judge();
    /* "over" lies between. */
    are_wrong("overlay-backing");
    is_found("overlay-backing", CHAIN_CHECK_WARN, "s2");
    done();
}
END_TEST

START_TEST(overlay_on_nothing)
{
    const struct chain_check *check = NULL;

    begin_metadata();
    make("alone", NULL, NULL);
    add_snapshot("s2", NULL, "base", "alone", "");
    judge();
    are_wrong("overlay-backing");
    for (size_t i = 0; i < chain_report_len(report); i++) {
        if (chain_report_at(report, i)->remedy) {
            check = chain_report_at(report, i);
        }
    }
    ck_assert_ptr_nonnull(check);
    ck_assert_ptr_nonnull(strstr(check->remedy, "imgchain rebase -f qcow2 -u"));
    done();
}
END_TEST

START_TEST(missing_overlay_is_told_once)
{
    begin_metadata();
    add_snapshot("s2", NULL, "base", "gone", "");
    add_snapshot("s3", "s2", "gone", "gone2", "");
    judge();
    are_wrong("image-exists image-exists");
    done();
}
END_TEST

START_TEST(not_what_the_parent_left)
{
    begin_metadata();
    make("elsewhere", NULL, NULL);
    make("elsewhere.over", "elsewhere", "qcow2");
    add_snapshot("s2", NULL, "base", "over", "");
    add_snapshot("s3", "s2", "elsewhere", "elsewhere.over",
                 "<active>1</active>");
    judge();
    are_wrong("snapshot-chain domain-disk");
    is_found("snapshot-chain", CHAIN_CHECK_FAIL, "s3");
    is_found("domain-disk", CHAIN_CHECK_FAIL, "s3");
    done();
}
END_TEST

START_TEST(beside_the_overlay)
{
    begin_metadata();
    make("other", "over", "qcow2");
    add_snapshot("s2", NULL, "over", "other", "<active>1</active>");
    judge();
    is_found("domain-disk", CHAIN_CHECK_WARN, "s2");
    ck_assert_int_eq((int)chain_report_judgement(report), CHAIN_ACCEPTED);
    done();
}
END_TEST

START_TEST(several_are_current)
{
    begin_metadata();
    add_snapshot("s2", NULL, "base", "over", "<active>1</active>");
    add_snapshot("s3", "s2", "over", "top", "<active>1</active>");
    judge();
    are_wrong("metadata-current metadata-current");
    is_found("metadata-current", CHAIN_CHECK_FAIL, "s2");
    is_found("domain-disk", CHAIN_CHECK_SKIP, NULL);
    done();
}
END_TEST

START_TEST(hierarchy_that_does_not_hold)
{
    begin_metadata();
    add_snapshot("s2", "gone", "base", "over", "");
    add_snapshot("s3", "s3", "over", "top", "");
    add_snapshot("s2", NULL, "base", "over", "");
    judge();
    are_wrong("metadata-double libvirt-parent libvirt-parent");
    is_found("metadata-double", CHAIN_CHECK_FAIL, "s2");
    done();
}
END_TEST

START_TEST(a_running_domain_is_not_locked)
{
    const char *text = "<domain type='kvm' id='7'><name>g</name></domain>";

    begin_metadata();
    chain_virt_domain_free(domain);
    unit_ok(
        chain_virt_domain_parse(text, strlen(text), "domain", &domain, &err),
        &err);
    add_snapshot("s2", NULL, "base", "over", "<active>1</active>");
    judge();
    /* It has lost its disk. */
    is_found("domain-disk", CHAIN_CHECK_WARN, "s2");
    done();
}
END_TEST

START_TEST(undefine)
{
    struct chain_undefine_request request = {.is_asked = true};

    begin_metadata();
    add_snapshot("s2", NULL, "base", "over", "");
    unit_ok(chain_metadata_link(snapshots, NULL, &err), &err);
    request.metadata = (struct chain_metadata_request){
        .snapshots = snapshots, .domain = domain, .options = &options};
    unit_ok(chain_undefine_check(&request, &report, &err), &err);
    are_wrong("undefine-snapshots");
    chain_report_free(report);
    request.has_managed_save = true;
    unit_ok(chain_undefine_check(&request, &report, &err), &err);
    are_wrong("undefine-snapshots undefine-managed-save");
    chain_report_free(report);
    request.is_asked = false;
    unit_ok(chain_undefine_check(&request, &report, &err), &err);
    is_found("undefine-managed-save", CHAIN_CHECK_UNPROVEN, NULL);
    chain_report_free(report);
    request.is_transient = true;
    unit_ok(chain_undefine_check(&request, &report, &err), &err);
    are_wrong("undefine-snapshots");
    done();
}
END_TEST

UNIT_SUITE("metadata-check", clean, no_snapshots, internal_that_is_not_there,
           overlay_on_another, overlay_on_nothing, missing_overlay_is_told_once,
           not_what_the_parent_left, beside_the_overlay, several_are_current,
           hierarchy_that_does_not_hold, a_running_domain_is_not_locked,
           undefine)
