/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* saved-image dumpxml: the XML in front of a saved domain's memory. */
#include <img/memory.h>
#include <string.h>

#include "sandbox.h"
#include "saved.h"
#include "session.h"

#define AT(field) offsetof(struct saved_dumpxml_values, field)

const struct option_spec saved_dumpxml_options[] = {
    {0, "security-info", NULL, "with passwords and cookies", option_flag,
     AT(security_info)},
    {0, "as-stored", NULL, "without what libvirt would make up", option_flag,
     AT(as_stored)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static void set_header(struct img_json *json, const struct chain_saved *saved)
{
    const struct chain_saved_header *header = &saved->header;
    size_t used = saved->xml_len + 1;

    used += saved->cookie ? saved->cookie_len + 1 : 0;
    img_json_set_u64(json, "version", header->version);
    img_json_set_string(json, "byte-order",
                        header->is_swapped ? "other" : "native");
    img_json_set_bool(json, "was-running", header->was_running != 0);
    img_json_set_u64(json, "compression", header->compression);
    img_json_set_string(json, "compression-name",
                        chain_saved_compression_name(header->compression));
    img_json_set_string(json, "stream",
                        saved->is_stream_empty
                            ? "none"
                            : chain_saved_compression_name(saved->stream));
    img_json_set_u64(json, "data-length", header->data_len);
    img_json_set_u64(json, "cookie-offset", header->cookie_off);
    img_json_set_u64(json, "free", header->data_len - used);
    img_json_set_u64(json, "stream-offset", chain_saved_region_len(header));
    img_json_set_u64(json, "length", saved->file_len);
}

/* The text that was asked for; free with free(). */
static char *text_of(const struct saved_dumpxml_values *values,
                     const struct chain_saved *saved, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *shown = NULL;
    char *whole = NULL;

    if (values->security_info) {
        shown = img_strndup(saved->xml, saved->xml_len, err);
    } else if (chain_saved_hide(saved->xml, saved->xml_len, saved->file, &shown,
                                err) < 0) {
        return NULL;
    }
    if (values->as_stored || !shown) {
        return img_steal(&shown);
    }
    return chain_saved_complete(shown, strlen(shown), saved->file, &whole,
                                err) < 0
               ? NULL
               : whole;
}

static int put(struct output *out, const struct saved_dumpxml_values *values,
               const struct chain_saved *saved, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = text_of(values, saved, err);
    struct img_json *json;
    size_t len;

    if (!text) {
        return -1;
    }
    len = strlen(text);
    if (values->common.output == OUTPUT_JSON) {
        json = img_json_object();
        img_json_set_string(json, "filename", saved->file);
        set_header(json, saved);
        img_json_set_string(json, "xml", text);
        if (saved->cookie) {
            img_json_set_string(json, "cookie", saved->cookie);
        }
        output_json(out, json);
        return 0;
    }
    output_bytes(out, text, len);
    if (len == 0 || text[len - 1] != '\n') {
        output_text(out, "\n");
    }
    return 0;
}

int cmd_saved_dumpxml(void *opaque, char **operands, int nr)
{
    const struct saved_dumpxml_values *values = opaque;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(saved_free) struct chain_saved *saved = NULL;
    struct img_error err;

    (void)nr;
    (void)chain_virt_xml_version(); /* loaded while it can be */
    saved_tell_pending(operands[0]);
    if (session_begin(&values->common, 0, &out, &err) < 0 ||
        chain_saved_read(operands[0], values->common.roots, &saved, &err) < 0 ||
        sandbox_seal(&err) < 0 || put(out, values, saved, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}
