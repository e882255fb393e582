/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's saved images: what is taken keeps its limits and comes out again
 * as it went in; the XML in it is compared with itself, and with what is left
 * when its secrets are hidden.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/abi.h>
#include <chain/saved.h>
#include <img/memory.h>

#include "fuzz.h"

static struct img_error err;

static void require_differences(const struct chain_abi *abi)
{
    fuzz_require(abi->nr <= CHAIN_ABI_MAX_DIFFERENCES);
    fuzz_require(abi->nr + abi->left_off_nr == abi->breaks_nr + abi->seen_nr);
    for (size_t i = 0; i < abi->nr; i++) {
        fuzz_require(abi->list[i].text[0] != '\0');
        for (const char *p = abi->list[i].text; *p; p++) {
            fuzz_require((unsigned char)*p >= 0x20 && *p != 0x7f);
        }
    }
}

/* Both ways, and with itself. */
static void compare(const char *a, const char *b)
{
    struct chain_abi abi, back;

    if (chain_abi_compare(a, strlen(a), "a", b, strlen(b), "b", &abi, &err) <
        0) {
        fuzz_require_error(&err);
        return;
    }
    require_differences(&abi);
    fuzz_require(chain_abi_compare(b, strlen(b), "b", a, strlen(a), "a", &back,
                                   &err) == 0);
    require_differences(&back);
    /* What has no sense is asked of the new one alone. */
    fuzz_require(!abi.seen_nr == !back.seen_nr);
    chain_abi_fini(&abi);
    chain_abi_fini(&back);
    fuzz_require(chain_abi_compare(a, strlen(a), "a", a, strlen(a), "a", &abi,
                                   &err) == 0);
    fuzz_require(abi.nr == 0);
    chain_abi_fini(&abi);
}

static void hide(const char *xml)
{
    char *hidden = NULL, *again = NULL;

    if (chain_saved_hide(xml, strlen(xml), "fuzz", &hidden, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(strlen(hidden) <= strlen(xml));
    fuzz_require(
        chain_saved_hide(hidden, strlen(hidden), "hidden", &again, &err) == 0);
    fuzz_require(strcmp(hidden, again) == 0);
    compare(xml, hidden);
    free(hidden);
    free(again);
}

/* What libvirt makes up counts as nothing. */
static void complete(const char *xml)
{
    char *whole = NULL;
    struct chain_abi abi;

    if (chain_saved_complete(xml, strlen(xml), "fuzz", &whole, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(strlen(whole) >= strlen(xml));
    if (chain_abi_compare(xml, strlen(xml), "a", whole, strlen(whole), "b",
                          &abi, &err) == 0) {
        require_differences(&abi);
        chain_abi_fini(&abi);
    }
    free(whole);
}

/* Encoded and decoded again, SAVED is what it was. */
static void encode(const struct chain_saved *saved)
{
    size_t len = chain_saved_region_len(&saved->header);
    IMG_AUTO(img_free_ptr) uint8_t *region = img_calloc(1, len, &err);
    struct chain_saved again = {.file = NULL};
    struct chain_saved_header header;

    fuzz_require(region &&
                 chain_saved_encode(&saved->header, saved->xml, saved->cookie,
                                    region, len, &err) == 0);
    fuzz_require(chain_saved_header_decode(region, len, len, &header, &err) ==
                 0);
    fuzz_require(!header.is_swapped);
    fuzz_require(header.data_len == saved->header.data_len);
    fuzz_require(header.compression == saved->header.compression);
    fuzz_require(header.is_complete == saved->header.is_complete);
    fuzz_require(chain_saved_decode(&header, region, len, &again, &err) == 0);
    fuzz_require(strcmp(again.xml, saved->xml) == 0);
    fuzz_require(!again.cookie == !saved->cookie);
    fuzz_require(!again.cookie || strcmp(again.cookie, saved->cookie) == 0);
    free(again.xml);
    free(again.cookie);
}

/* The halves of an XML with a line "====" in it are two domains. */
static void try_pair(const char *xml)
{
    const char *cut = strstr(xml, "====");
    IMG_AUTO(img_free_ptr) char *first = NULL;

    if (cut) {
        first = img_strndup(xml, (size_t)(cut - xml), &err);
        compare(first, cut + 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct chain_saved_header header;
    struct chain_saved saved = {.file = NULL};

    if (chain_saved_header_decode(data, len, len, &header, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    fuzz_require(header.version <= CHAIN_SAVED_VERSION);
    fuzz_require(header.data_len > 0 && header.data_len <= CHAIN_SAVED_MAX_LEN);
    fuzz_require(chain_saved_region_len(&header) <= len);
    fuzz_require(header.cookie_off <= header.data_len);
    (void)chain_saved_stream_kind(data + chain_saved_region_len(&header),
                                  len - chain_saved_region_len(&header));
    if (chain_saved_decode(&header, data, len, &saved, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        fuzz_require(saved.xml_len < header.data_len);
        encode(&saved);
        hide(saved.xml);
        complete(saved.xml);
        try_pair(saved.xml);
    }
    free(saved.xml);
    free(saved.cookie);
    return 0;
}
