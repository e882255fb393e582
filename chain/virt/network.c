/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <source> of the type network, and <auth>: see layer.h. */
#include <stdlib.h>
#include <string.h>

#include "layer.h"

static bool is_one_of(const char *word, const char *const *words)
{
    return word && virt_word_find(words, word) >= 0;
}

static void check_port(struct virt_reader *reader, const struct virt_node *host)
{
    const char *port = virt_attribute(host, "port");
    uint64_t number;

    if (port && (!virt_number(port, &number) || number > UINT16_MAX)) {
        virt_refuse(reader, host, "INVALID_ARG",
                    "<host> has port='%s', expected at most %u", port,
                    UINT16_MAX);
    }
}

static void check_host(struct virt_reader *reader, const struct virt_node *host)
{
    static const char *const transports[] = {"tcp", "unix", "rdma", NULL};
    const char *transport = virt_attribute(host, "transport");
    bool has_socket = virt_attribute(host, "socket");
    bool is_unix = transport && strcmp(transport, "unix") == 0;

    if (transport && virt_word_find(transports, transport) < 0) {
        virt_refuse(reader, host, VIRT_CONFIG,
                    "<host> has transport='%s', which libvirt does not know",
                    transport);
    } else if (is_unix != has_socket) {
        virt_refuse(reader, host, VIRT_XML_ERROR,
                    is_unix ? "<host transport='unix'> has no socket="
                            : "<host> has a socket=, which only "
                              "transport='unix' may have");
    } else if (!is_unix && !virt_attribute(host, "name")) {
        virt_refuse(reader, host, VIRT_XML_ERROR, "<host> has no name=");
    } else if (!is_unix) {
        check_port(reader, host);
    }
}

static void read_hosts(struct virt_reader *reader, const struct virt_node *node,
                       struct chain_virt_source *out)
{
    const struct virt_node *host = virt_child(node, "host");

    out->host = virt_copy_attribute(reader, host, "name");
    out->port = virt_copy_attribute(reader, host, "port");
    out->transport = virt_copy_attribute(reader, host, "transport");
    out->socket = virt_copy_attribute(reader, host, "socket");
    for (; host; host = virt_same(host)) {
        check_host(reader, host);
        out->hosts_nr++;
    }
}

static void check_name(struct virt_reader *reader, const struct virt_node *node,
                       const struct chain_virt_source *source)
{
    static const char *const nameless[] = {"nbd", NULL};
    static const char *const two_parts[] = {"gluster", "rbd", NULL};

    if (!source->name && !is_one_of(source->protocol, nameless)) {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<source> has no name=");
    }
    if (source->name && is_one_of(source->protocol, two_parts)) {
        const char *slash = strchr(source->name, '/');

        if (!slash || slash == source->name) {
            virt_refuse(reader, node, VIRT_XML_ERROR,
                        "<source> has name='%s', expected a pool, a slash and "
                        "an image",
                        source->name);
        }
    }
}

void virt_network_read(struct virt_reader *reader, const struct virt_node *node,
                       struct chain_virt_source *out)
{
    static const char *const protocols[] = {
        "none", "nbd",  "rbd",  "sheepdog", "gluster", "iscsi", "http", "https",
        "ftp",  "ftps", "tftp", "ssh",      "vxhs",    "nfs",   NULL};

    out->protocol =
        virt_word(reader, node, "protocol", protocols, VIRT_XML_ERROR);
    if (!out->protocol) {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<source> has no protocol=");
    }
    out->name = virt_copy_attribute(reader, node, "name");
    check_name(reader, node, out);
    out->network_snapshot =
        virt_copy_attribute(reader, virt_child(node, "snapshot"), "name");
    out->config =
        virt_copy_attribute(reader, virt_child(node, "config"), "file");
    read_hosts(reader, node, out);
}

/* A secret of a kind that libvirt has, and that the protocol takes. */
static void check_secret(struct virt_reader *reader,
                         const struct virt_node *secret, const char *protocol)
{
    static const char *const kinds[] = {"none", "volume", "ceph", "iscsi",
                                        "tls",  "vtpm",   NULL};
    static const char *const iscsi[] = {"iscsi", NULL};
    static const char *const rbd[] = {"rbd", NULL};
    const char *type = virt_attribute(secret, "type");

    if (!is_one_of(type, kinds) ||
        (is_one_of(protocol, iscsi) && strcmp(type, "iscsi") != 0) ||
        (is_one_of(protocol, rbd) && strcmp(type, "ceph") != 0)) {
        virt_refuse(reader, secret, VIRT_CONFIG,
                    "<secret> in <auth> of protocol '%s' has type='%s'",
                    protocol, type ? type : "");
    }
}

static void check_auth(struct virt_reader *reader, const struct virt_node *node,
                       const struct virt_node *secret,
                       const struct chain_virt_source *source)
{
    static const char *const without[] = {"nbd",  "sheepdog", "gluster", "tftp",
                                          "vxhs", "nfs",      NULL};

    if (is_one_of(source->protocol, without)) {
        virt_refuse(reader, node, VIRT_CONFIG,
                    "<auth> with protocol '%s', which has none",
                    source->protocol);
    } else if (secret && source->protocol) {
        check_secret(reader, secret, source->protocol);
    }
}

void virt_auth_read(struct virt_reader *reader, const struct virt_node *node,
                    struct chain_virt_source *out)
{
    static const char *const types[] = {"none", "chap", "ceph", NULL};
    const struct virt_node *secret = virt_child(node, "secret");
    const char *user = virt_attribute(node, "username");

    if (!node) {
        return;
    }
    out->auth = virt_copy(reader, user ? user : "");
    if (!user || user[0] == '\0') {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<auth> has no username=");
    }
    free(virt_word(reader, node, "type", types, VIRT_CONFIG));
    if (reader->is_checked && out->type == CHAIN_VIRT_SOURCE_NETWORK) {
        check_auth(reader, node, secret, out);
    }
    if (secret) {
        free(virt_secret_read(reader, secret, "auth"));
    } else {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<auth> has no <secret>");
    }
}
