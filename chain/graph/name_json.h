/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json: names -> references. For name.c only. */
#ifndef CHAIN_GRAPH_NAME_JSON_H
#define CHAIN_GRAPH_NAME_JSON_H

#include <chain/name.h>

/*
 * TEXT is what stands after "json:". OUT is zeroed; on failure the caller
 * frees what is in it.
 */
int chain_name_parse_json(const char *text, struct chain_ref *out,
                          struct img_error *err);

#endif
