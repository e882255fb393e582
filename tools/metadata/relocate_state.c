/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saved states, and the memory of snapshots, which libvirt writes in the same
 * form: their XML has paths, too. See relocate.h, chain/saved.h.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "message.h"
#include "relocate.h"

static int fail_state(const struct state_file *state, enum img_code code,
                      const char *text, struct img_error *err)
{
    img_fail(err, code, "%s", text);
    img_error_set_path(err, state->path);
    return -1;
}

/* It is a state of this domain, whose images go along. */
static int add_domain(struct relocation *relocation, struct state_file *state,
                      struct img_error *err)
{
    struct chain_virt_domain *domain;

    if (chain_virt_domain_parse(state->saved->xml, state->saved->xml_len,
                                state->path, &domain, err) < 0) {
        return -1;
    }
    bool is_other = relocate_is_other(relocation, domain->uuid, domain->name);
    int rc = is_other
                 ? fail_state(state, IMG_USAGE,
                              "is a saved state of another domain", err)
                 : relocate_add_domain(relocation, domain, state->path, err);

    if (rc < 0) {
        chain_virt_domain_free(domain);
        return -1;
    }
    state->domain = domain;
    return 0;
}

int relocate_read_states(struct relocation *relocation, struct img_error *err)
{
    const struct img_roots *roots = relocation->values->change.common.roots;

    for (size_t i = 0; i < relocation->states_nr; i++) {
        struct state_file *state = &relocation->states[i];

        if (chain_saved_read(state->path, roots, &state->saved, err) < 0) {
            if (state->is_saved || err->code != IMG_FORMAT) {
                return -1;
            }
            char shown[IMG_ERROR_PATH_MAX];
            img_escape(state->path, strlen(state->path), shown, sizeof(shown));
            message_note("%s: is not in the form that libvirt gives memory "
                         "files: no path is looked for in it",
                         shown);
            img_error_clear(err);
            state->saved = NULL;
            continue;
        }
        if (add_domain(relocation, state, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int rewrite_state(struct relocation *relocation,
                         struct state_file *state, struct img_error *err)
{
    const struct chain_rewrite wish = relocate_wish(relocation);
    const struct chain_saved *saved = state->saved;
    struct chain_relocated *file = relocate_find(relocation, state->path);
    size_t changed_nr, len = (size_t)chain_saved_region_len(&saved->header);
    IMG_AUTO(img_free_ptr) char *xml = NULL;

    if (chain_rewrite(saved->xml, saved->xml_len, state->path, &wish, &xml,
                      &changed_nr, err) < 0) {
        return -1;
    }
    if (changed_nr == 0 || !file) {
        return 0;
    }
    state->head = img_calloc(len, 1, err);
    if (!state->head) {
        return -1;
    }
    if (chain_saved_encode(&saved->header, xml, saved->cookie, state->head, len,
                           err) < 0) {
        img_error_set_path(err, state->path);
        return -1;
    }
    file->head = state->head;
    file->head_len = len;
    return 0;
}

int relocate_rewrite_states(struct relocation *relocation,
                            struct img_error *err)
{
    for (size_t i = 0; i < relocation->states_nr; i++) {
        if (relocation->states[i].saved &&
            rewrite_state(relocation, &relocation->states[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}
