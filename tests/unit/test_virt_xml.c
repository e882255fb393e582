/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XML that is hostile, broken, or not what it says it is. */
#include <img/memory.h>

#include "scratch.h"
#include "virt_support.h"

static struct img_error err;

/* The bytes are no domain, for this reason. */
static void domain_fails(const char *text, size_t len, enum img_code code,
                         const char *why)
{
    struct chain_virt_domain *domain = NULL;

    unit_fails(chain_virt_domain_parse(text, len, "dom.xml", &domain, &err),
               &err, code, why);
    ck_assert_ptr_null(domain);
    ck_assert_str_eq(err.path, "dom.xml");
}

static void fails(const char *text, enum img_code code, const char *why)
{
    domain_fails(text, strlen(text), code, why);
}

/* NR times PIECE between HEAD and TAIL. Free with free(). */
static char *repeat(const char *head, const char *piece, size_t nr,
                    const char *tail)
{
    size_t piece_len = strlen(piece);
    size_t len = strlen(head) + nr * piece_len + strlen(tail);
    char *text = malloc(len + 1);
    char *at;

    ck_assert_ptr_nonnull(text);
    at = stpcpy(text, head);
    for (size_t i = 0; i < nr; i++) {
        at = mempcpy(at, piece, piece_len);
    }
    stpcpy(at, tail);
    return text;
}

/* The same with NR times CLOSING behind it. */
static char *nest(const char *head, const char *piece, const char *closing,
                  size_t nr, const char *tail)
{
    IMG_AUTO(img_free_ptr) char *end = repeat("", closing, nr, tail);

    return repeat(head, piece, nr, end);
}

START_TEST(broken_text_is_no_xml)
{
    fails("", IMG_FORMAT, "line 1: not XML: found nothing");
    fails("guest", IMG_FORMAT,
          "line 1: not XML: Start tag expected, '<' not found");
    fails("<domain>\n<devices>\n", IMG_FORMAT,
          "line 3: not XML: Premature end of data in tag devices line 2");
    fails("<domain>\n</devices>", IMG_FORMAT,
          "line 2: not XML: Opening and ending tag mismatch: domain line 1 "
          "and devices");
    fails("<domain/>\n<domain/>", IMG_FORMAT,
          "line 2: not XML: Extra content at the end of the document");
    fails("<domain a='1' a='2'/>", IMG_FORMAT,
          "line 1: not XML: Attribute a redefined");
    fails("<domain a='<'/>", IMG_FORMAT,
          "line 1: not XML: Unescaped '<' not allowed in attributes values");
    fails("<domain>&#0;</domain>", IMG_FORMAT,
          "line 1: not XML: xmlParseCharRef: invalid xmlChar value 0");
    fails("<domain>\x01</domain>", IMG_FORMAT,
          "line 1: not XML: PCDATA invalid Char value 1");
}
END_TEST

START_TEST(another_document)
{
    struct chain_virt_snapshot *snapshot;
    struct chain_virt_disk_file *disk;

    fails("\n<network/>", IMG_FORMAT,
          "line 2: found <network>, expected libvirt's <domain>");
    fails("<domstatus>\n<devices/></domstatus>", IMG_FORMAT,
          "line 1: <domstatus> has no <domain>");
    fails("<domain xmlns='urn:x'/>", IMG_FORMAT,
          "the outermost element is in a namespace, expected one that is in "
          "none");
    unit_fails(chain_virt_snapshot_parse("<domain/>", 9, "s", &snapshot, &err),
               &err, IMG_FORMAT,
               "line 1: found <domain>, expected libvirt's <domainsnapshot>");
    unit_fails(chain_virt_disk_parse("<domain/>", 9, "d", &disk, &err), &err,
               IMG_FORMAT, "line 1: found <domain>, expected libvirt's <disk>");
}
END_TEST

START_TEST(bytes_are_utf8)
{
    static const char nul[] = "<domain>\n\0</domain>";
    static const char wide[] = "\xff\xfe<\0d\0o\0m\0a\0i\0n\0/\0>\0";

    domain_fails(nul, sizeof(nul) - 1, IMG_FORMAT,
                 "line 2: not XML: found byte 0x00, expected UTF-8 without "
                 "NUL");
    domain_fails(wide, sizeof(wide) - 1, IMG_FORMAT,
                 "line 1: not XML: found byte 0xff, expected UTF-8 without "
                 "NUL");
    fails("<domain>\n\n<name>M\xfcller</name></domain>", IMG_FORMAT,
          "line 3: not XML: found byte 0xfc, expected UTF-8 without NUL");
}
END_TEST

START_TEST(encoding_is_utf8)
{
    static const char *const good[] = {
        "<?xml version='1.0'?><domain "
        "type='kvm'><name>\xc3\xbc</name></domain>",
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        "<domain type='kvm'><name>\xc3\xbc</name></domain>",
        "<?xml version=\"1.0\" encoding = \"utf-8\" ?>"
        "<domain type='kvm'><name>\xc3\xbc</name></domain>",
        "\xef\xbb\xbf<?xml version='1.0' encoding='us-ascii'?>"
        "<domain type='kvm'><name>&#xfc;</name></domain>",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct chain_virt_domain *domain = domain_of(good[i]);

        text_is(domain->name, "\xc3\xbc");
        chain_virt_domain_free(domain);
    }
    fails("<?xml version='1.0' encoding='ISO-8859-1'?><domain/>",
          IMG_UNSUPPORTED,
          "line 1: found encoding 'ISO-8859-1', expected UTF-8");
    fails("<?xml version='1.0' encoding='UTF-7'?><domain/>", IMG_UNSUPPORTED,
          "line 1: found encoding 'UTF-7', expected UTF-8");
    fails("<?xml version='1.0' encoding='ISO-2022-CN-EXT'?><domain/>",
          IMG_UNSUPPORTED,
          "line 1: found encoding 'ISO-2022-CN-EXT', expected UTF-8");
    fails("<?xml version='1.0' encoding='UTF-8?>", IMG_FORMAT,
          "line 1: not XML: String not closed expecting \" or '");
}
END_TEST

#define NO_DOCTYPE(line)                                                       \
    "line " line ": found <!DOCTYPE, expected a document without a document "  \
    "type: libvirt writes none, and its entities are not read"

START_TEST(entities_are_not_read)
{
    fails("<!DOCTYPE domain [\n<!ENTITY a 'aaaaaaaaaa'>\n"
          "<!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>\n"
          "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>\n"
          "<!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'>\n"
          "]><domain><name>&d;</name></domain>",
          IMG_UNSUPPORTED, NO_DOCTYPE("1"));
    fails("<?xml version='1.0'?>\n"
          "<!DOCTYPE domain [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>\n"
          "<domain><name>&f;</name></domain>",
          IMG_UNSUPPORTED, NO_DOCTYPE("2"));
    fails("<!DOCTYPE domain SYSTEM 'http://127.0.0.1:1/x.dtd'><domain/>",
          IMG_UNSUPPORTED, NO_DOCTYPE("1"));
    fails("<!DOCTYPE domain [<!ENTITY % p SYSTEM 'file:///dev/zero'> %p;]>"
          "<domain/>",
          IMG_UNSUPPORTED, NO_DOCTYPE("1"));
    fails("<domain><name>&who;</name></domain>", IMG_FORMAT,
          "line 1: not XML: Entity 'who' not defined");
    fails("<domain x='&who;'/>", IMG_FORMAT,
          "line 1: not XML: Entity 'who' not defined");
}
END_TEST

START_TEST(limit_of_depth)
{
    IMG_AUTO(img_free_ptr)
    char *most = nest("<domain type='kvm'><name>x</name>", "<a>", "</a>",
                      CHAIN_VIRT_MAX_DEPTH - 1, "</domain>");
    IMG_AUTO(img_free_ptr)
    char *more =
        nest("<domain>", "<a>", "</a>", CHAIN_VIRT_MAX_DEPTH, "</domain>");

    chain_virt_domain_free(domain_of(most));
    fails(more, IMG_LIMIT,
          "line 1: found more than 256 elements in each other, at most as many "
          "are read");
}
END_TEST

START_TEST(limit_of_elements)
{
    IMG_AUTO(img_free_ptr)
    char *most = repeat("<domain type='kvm'><name>x</name>", "<a/>",
                        CHAIN_VIRT_MAX_ELEMENTS - 2, "</domain>");
    IMG_AUTO(img_free_ptr)
    char *more = repeat("<domain type='kvm'><name>x</name>", "<a/>",
                        CHAIN_VIRT_MAX_ELEMENTS - 1, "</domain>");

    chain_virt_domain_free(domain_of(most));
    fails(more, IMG_LIMIT,
          "line 1: found more than 262144 elements, at most as many are read");
}
END_TEST

START_TEST(limit_of_attributes)
{
    /* Nine each: the limits of elements and of bytes are further away. */
    IMG_AUTO(img_free_ptr)
    char *more =
        repeat("<domain>", "<a a='' b='' c='' d='' e='' f='' g='' h='' i=''/>",
               CHAIN_VIRT_MAX_ATTRIBUTES / 9 + 1, "</domain>");

    fails(more, IMG_LIMIT,
          "line 1: found more than 1048576 attributes, at most as many are "
          "read");
}
END_TEST

/* BEFORE, a number, BEHIND: NR of these, all different, in HEAD and TAIL. */
static char *number(const char *head, const char *before, const char *behind,
                    unsigned nr, const char *tail)
{
    char *text = malloc(strlen(head) + 32 * (size_t)nr + strlen(tail) + 1);
    char *at;

    ck_assert_ptr_nonnull(text);
    at = stpcpy(text, head);
    for (unsigned i = 0; i < nr; i++) {
        int len = snprintf(at, 32, "%s%u%s", before, i, behind);

        ck_assert(len > 0 && len < 32);
        at += len;
    }
    stpcpy(at, tail);
    return text;
}

START_TEST(limit_of_attributes_in_a_tag)
{
    /* With type=, 64; what looks like more stands in values and comments. */
    IMG_AUTO(img_free_ptr)
    char *most = number("<!-- <a b=''=====================================>-->"
                        "<?x ====================?><domain type='kvm'",
                        "\na", "='==>=='", 63,
                        "><name><![CDATA[<======================= ]]>x</name>"
                        "</domain>");
    IMG_AUTO(img_free_ptr)
    char *more = number("<domain>\n<a", " a", "=''", 65, "/></domain>");
    IMG_AUTO(img_free_ptr)
    char *many = number("<domain", " a", "=''", 400000, "/>");

    chain_virt_domain_free(domain_of(most));
    fails(more, IMG_LIMIT,
          "line 2: found an element with 65 attributes, at most 64 are read");
    fails(many, IMG_LIMIT,
          "line 1: found an element with 400000 attributes, at most 64 are "
          "read");
    fails("<domain a='", IMG_FORMAT, "line 1: not XML: AttValue: ' expected");
    fails("<domain><!--", IMG_FORMAT,
          "line 1: not XML: Comment not terminated");
}
END_TEST

START_TEST(limit_of_names)
{
    IMG_AUTO(img_free_ptr)
    char *elements = number("<domain>\n", "<a", "/>", 5000, "</domain>");
    IMG_AUTO(img_free_ptr)
    char *targets = number("<domain>\n", "<?a", "?>", 5000, "</domain>");
    static const char why[] =
        "line 2: found more than 4096 names that differ, at most as many are "
        "read";

    fails(elements, IMG_LIMIT, why);
    fails(targets, IMG_LIMIT, why);
}
END_TEST

START_TEST(limit_of_namespaces)
{
    IMG_AUTO(img_free_ptr)
    char *most = repeat("<domain type='kvm'><name>x</name>", "<a xmlns='u'/>",
                        CHAIN_VIRT_MAX_NAMESPACES, "</domain>");
    IMG_AUTO(img_free_ptr)
    char *more = repeat("<domain>", "<a xmlns='u'/>",
                        CHAIN_VIRT_MAX_NAMESPACES + 1, "</domain>");

    chain_virt_domain_free(domain_of(most));
    fails(more, IMG_LIMIT,
          "line 1: found more than 256 namespaces, at most as many are read");
}
END_TEST

START_TEST(limit_of_length)
{
    static const char head[] = "<domain type='kvm'><name>x</name><!--";
    static const char tail[] = "--></domain>";
    size_t pieces = (CHAIN_VIRT_MAX_LEN - sizeof(head) - sizeof(tail) + 2) / 16;
    IMG_AUTO(img_free_ptr)
    char *most = repeat(head, "0123456789 abc\n ", pieces, tail);
    IMG_AUTO(img_free_ptr)
    char *more = repeat(head, "0123456789 abc\n ", pieces + 1, tail);

    ck_assert_uint_le(strlen(most), CHAIN_VIRT_MAX_LEN);
    chain_virt_domain_free(domain_of(most));
    domain_fails(more, CHAIN_VIRT_MAX_LEN + 1, IMG_LIMIT,
                 "too long for libvirt's XML: found 8388609 bytes, at most "
                 "8388608 are read");
}
END_TEST

START_TEST(limit_of_disks)
{
    IMG_AUTO(img_free_ptr)
    char *most = repeat("<domain type='kvm'><name>x</name><devices>", "<disk/>",
                        CHAIN_VIRT_MAX_DISKS, "</devices></domain>");
    IMG_AUTO(img_free_ptr)
    char *more = repeat("<domain type='kvm'><name>x</name>\n<devices>",
                        "<disk/>", 100000, "</devices></domain>");
    struct chain_virt_domain *domain = domain_of(most);

    ck_assert_uint_eq(domain->disks_nr, CHAIN_VIRT_MAX_DISKS);
    /* None of them has a target. */
    ck_assert_uint_eq(domain->refusals.nr, CHAIN_VIRT_MAX_REFUSALS);
    ck_assert_uint_eq(domain->refusals.left_off_nr,
                      CHAIN_VIRT_MAX_DISKS - CHAIN_VIRT_MAX_REFUSALS);
    chain_virt_domain_free(domain);
    fails(more, IMG_LIMIT,
          "line 2: found 100000 disks, at most 16384 are read");
}
END_TEST

START_TEST(limit_of_layers)
{
    static const char head[] =
        "<domain type='kvm'><name>x</name><devices><disk><source file='/a'/>"
        "<target dev='vda'/>";
    static const char layer[] = "<backingStore type='file'>"
                                "<format type='raw'/><source file='/b'/>";
    IMG_AUTO(img_free_ptr)
    char *most = nest(head, layer, "</backingStore>", CHAIN_VIRT_MAX_LAYERS,
                      "</disk></devices></domain>");
    IMG_AUTO(img_free_ptr)
    char *more = nest(head, layer, "</backingStore>", CHAIN_VIRT_MAX_LAYERS + 1,
                      "</disk></devices></domain>");
    struct chain_virt_domain *domain = domain_of(most);
    size_t nr = 0;

    refusals_are(&domain->refusals, "");
    for (const struct chain_virt_layer *below = domain->disks[0].top.backing;
         below; below = below->backing) {
        nr++;
    }
    ck_assert_uint_eq(nr, CHAIN_VIRT_MAX_LAYERS);
    chain_virt_domain_free(domain);
    fails(more, IMG_LIMIT,
          "line 1: disk 'vda': more than 200 <backingStore> in each other, "
          "expected at most as many layers as libvirt uses");
}
END_TEST

START_TEST(text_is_what_xml_says)
{
    struct chain_virt_domain *domain =
        domain_of("<domain type='k&#x76;m'><!-- <name>no</name> -->"
                  "<name>a<![CDATA[<b>]]><!-- -->&amp;c<?x y?>&#100;\n</name>"
                  "<uuid/><devices><disk snapshot='&#110;o'><source "
                  "file='/a&amp;&lt;&#38;&quot;\n'/><target dev='vda'/></disk>"
                  "</devices></domain>");

    text_is(domain->type, "kvm");
    text_is(domain->name, "a<b>&cd\n");
    text_is(domain->uuid, NULL);
    text_is(domain->disks[0].snapshot, "no");
    text_is(domain->disks[0].top.source.path, "/a&<&\" ");
    chain_virt_domain_free(domain);
    fails("<domain type='kvm'><name>a\n<b/>c</name></domain>", IMG_UNSUPPORTED,
          "line 1: <name> has elements in it, expected text");
}
END_TEST

START_TEST(first_of_several_counts)
{
    struct chain_virt_domain *domain = domain_of(
        "<domain type='kvm' "
        "xmlns:x='urn:x'><x:name>other</x:name>"
        "<name>one</name><name>two</name>"
        "<x:devices><disk/></x:devices>"
        "<devices><x:disk/>" DISK("vda",
                                  "<source "
                                  "file='/2'/><x:readonly/"
                                  ">") "</"
                                       "devices><"
                                       "devices>" DISK("vdb", "") "</"
                                                                  "devices></"
                                                                  "domain>");

    text_is(domain->name, "one");
    ck_assert_uint_eq(domain->disks_nr, 1);
    text_is(domain->disks[0].top.source.path, "/images/vda.img");
    ck_assert(!domain->disks[0].is_readonly);
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(namespaces_are_passed_over)
{
    /* A prefix that is bound to nothing is well-formed, and no namespace. */
    struct chain_virt_domain *domain =
        domain_of("<domain type='kvm'><q:commandline><q:arg/></q:commandline>"
                  "<name x:y='z'>one</name><m xmlns='urn:m'><a><b>c</b></a></m>"
                  "<uuid>c7a5fdbd edaf 9455 926a d65c16db1809</uuid></domain>");

    text_is(domain->name, "one");
    text_is(domain->uuid, "c7a5fdbd edaf 9455 926a d65c16db1809");
    refusals_are(&domain->refusals, "");
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(lines_go_on)
{
    IMG_AUTO(img_free_ptr)
    char *text = repeat("<domain type='kvm'><name>x</name>", "\n", 100000,
                        "<devices><disk/></devices></domain>");
    struct chain_virt_domain *domain = domain_of(text);

    refusals_are(&domain->refusals,
                 "100001 NO_TARGET: <disk> has no <target dev=>\n");
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(long_and_ugly_values)
{
    IMG_AUTO(img_free_ptr)
    char *text = repeat(
        "<domain type='kvm'><name>x</name><devices><disk "
        "snapshot='\xe2\x80\xae\\'><source file='/",
        "0123456789abcdef", 60000,
        "'/><target dev='vd&#10;a'/><address/></disk></devices></domain>");
    struct chain_virt_domain *domain = domain_of(text);

    ck_assert_uint_eq(strlen(domain->disks[0].top.source.path), 960001);
    refusals_are(&domain->refusals,
                 "1 XML_ERROR: disk 'vd\\x0aa': <disk> has "
                 "snapshot='\\xe2\\x80\\xae\\x5c', which libvirt does not "
                 "know\n");
    chain_virt_domain_free(domain);
}
END_TEST

START_TEST(files_are_read)
{
    struct chain_virt_domain *domain = NULL;
    struct img_roots *roots;
    struct scratch scratch;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "dom.xml",
                         "<domain type='kvm'><name>x</name></domain>", 42, 0);
    unit_ok(chain_virt_domain_read(path, NULL, &domain, &err), &err);
    text_is(domain->file, path);
    chain_virt_domain_free(domain);
    unit_ok(img_roots_new(&roots, &err), &err);
    ck_assert_int_eq(chain_virt_domain_read(path, roots, &domain, &err), -1);
    ck_assert_int_eq(err.code, IMG_DENIED);
    img_roots_free(roots);
    scratch_close(&scratch);
}
END_TEST

START_TEST(files_that_are_not_read)
{
    struct chain_virt_snapshot *snapshot = NULL;
    struct chain_virt_disk_file *disk = NULL;
    struct scratch scratch;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "long.xml", "<disk/>", 7, 0);
    ck_assert_int_eq(truncate(path, (off_t)CHAIN_VIRT_MAX_LEN + 1), 0);
    unit_fails(chain_virt_disk_read(path, NULL, &disk, &err), &err, IMG_LIMIT,
               "too long for libvirt's XML: found 8388609 bytes, at most "
               "8388608 are read");
    ck_assert_str_eq(err.path, path);
    path = scratch_write(&scratch, "bad.xml", "<disk>", 6, 0);
    unit_fails(chain_virt_disk_read(path, NULL, &disk, &err), &err, IMG_FORMAT,
               "line 1: not XML: Premature end of data in tag disk line 1");
    ck_assert_str_eq(err.path, path);
    path = scratch_path(&scratch, "none.xml");
    ck_assert_int_eq(chain_virt_snapshot_read(path, NULL, &snapshot, &err), -1);
    ck_assert_int_eq(err.code, IMG_NOT_FOUND);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(chain_virt_snapshot_read(path, NULL, &snapshot, &err), -1);
    ck_assert_int_eq(err.code, IMG_UNSUPPORTED);
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("virt_xml", broken_text_is_no_xml, another_document, bytes_are_utf8,
           encoding_is_utf8, entities_are_not_read, limit_of_depth,
           limit_of_elements, limit_of_attributes, limit_of_attributes_in_a_tag,
           limit_of_names, limit_of_namespaces, limit_of_length, limit_of_disks,
           limit_of_layers, text_is_what_xml_says, first_of_several_counts,
           namespaces_are_passed_over, lines_go_on, long_and_ugly_values,
           files_are_read, files_that_are_not_read)
