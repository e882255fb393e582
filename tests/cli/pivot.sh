#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# pivot: what is refused before a running QEMU is asked anything.
. "$(dirname "$0")/../lib.sh"

refuses 2 "found 'both', expected snapshot or copy" \
    pivot both --qmp q --device a --dest b
refuses 2 "option --qmp is missing: the machine's QMP socket" \
    pivot --device a --dest b
refuses 2 "option --device is missing: the disk's id" pivot --qmp q --dest b
refuses 2 '--device and --node name the disk both' \
    pivot --qmp q --device a --node b --dest c
refuses 2 'option --dest is missing: where the disk is to go on' \
    pivot --qmp q --device a
refuses 2 '--disk says all: --device, --node and --dest do not go with it' \
    pivot --qmp q --disk a=b --dest c
refuses 2 'several disks go in one step as snapshots only' \
    pivot --qmp q --disk a=b --disk c=d
refuses 2 '--shallow goes with copy' \
    pivot snapshot --shallow --qmp q --device a --dest b
refuses 2 '--no-pivot goes with copy' \
    pivot snapshot --no-pivot --qmp q --device a --dest b
refuses 2 '--bandwidth goes with copy' \
    pivot snapshot --bandwidth 1M --qmp q --device a --dest b
refuses 2 '--abort goes with neither --dry-run nor --no-pivot' \
    pivot --abort --dry-run --qmp q --device a
refuses 2 '--options (-o) does not go with --reuse-external: the file is there' \
    pivot -o cluster_size=4k --reuse-external --qmp q --device a --dest b
refuses 2 '--migrate-to goes with copy' \
    pivot snapshot --qmp q --device a --migrate-to new
refuses 2 '--migrate-to says where the disk is to go on: --dest and --disk do not go with it' \
    pivot --qmp q --device a --migrate-to new --dest b
refuses 2 '--migrate-to says where the disk is to go on: --dest and --disk do not go with it' \
    pivot --qmp q --disk a=b --migrate-to new
for more in --shallow --reuse-external; do
    refuses 2 '--migrate-to takes the whole chain and goes on with what is there: --shallow and --reuse-external do not go with it' \
        pivot --qmp q --device a --migrate-to new "$more"
done
refuses 2 "option --device is missing: the disk's id" \
    pivot --qmp q --migrate-to new
for word in a= =b; do
    run pivot --qmp q --disk "$word"
    expect_exit 2
    expect_no_stdout
    expect_message 'is not ID=FILE'
done
refuses 2 '--disk ID goes with --connect: expected ID=FILE' \
    pivot --qmp q --disk a
# Through libvirt other names are needed.
refuses 2 "option --domain is missing: the machine's name" \
    pivot --connect test:///default --disk vda=x
refuses 2 "option --disk is missing: the disk's name in the domain" \
    pivot --connect test:///default --domain d --dest x
refuses 2 'option --dest is missing: where the disk is to go on' \
    pivot --connect test:///default --domain d --disk vda
refuses 2 '--disk says all: --dest does not go with it' \
    pivot --connect test:///default --domain d --disk vda=x --dest y
refuses 2 '--name goes with snapshot' \
    pivot --connect test:///default --domain d --disk vda=x --name n
refuses 2 '--domain and --name go with --connect' \
    pivot --qmp q --domain d --disk vda=x
refuses 1 'q.sock: cannot connect to it: No such file or directory' \
    pivot snapshot --qmp q.sock --device a --dest b
# Nothing was made.
[ -z "$(ls)" ] || fail 'a file was made'
run pivot --help
expect_exit 0
expect_line '      --qmp=SOCKET             the machine'\''s QMP socket, or fd:N'
