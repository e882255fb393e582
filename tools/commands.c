/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of commands. */
#include "command.h"

#include "metadata/carry.h"
#include "metadata/judging.h"
#include "metadata/metadata.h"
#include "metadata/relocate.h"
#include "saved/saved.h"
#include "values.h"

#define QEMU_CODES "Exit codes: 0 done, 1 failed, 2 bad usage."
#define VALIDATE_CODES                                                         \
    "Exit codes: 0 accepted, 1 refused, 2 could not judge (unreadable, "       \
    "unproven,\nusage)."

#define UNDEFINE_CODES                                                         \
    "Exit codes: 0 nothing would be lost, 1 something would be, or libvirt "   \
    "refuses,\n2 could not judge (unreadable, unproven, usage)."
#define METADATA_SOURCES                                                       \
    "DIR is libvirt's own folder, FILE as virsh snapshot-dumpxml prints it; "  \
    "with\n--connect there is none.\n\n"
#define METADATA_NOTES METADATA_SOURCES QEMU_CODES

const struct command commands[] = {
    {
        .name = "info",
        .summary = "Show what an image says about itself",
        .operands = "FILE",
        .example = "imgchain info --backing-chain --output json disk.qcow2",
        .notes = QEMU_CODES,
        .options = info_options,
        .values_len = sizeof(struct info_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_info,
    },
    {
        .name = "map",
        .summary = "Show where each guest byte of a chain lies",
        .operands = "FILE",
        .example = "imgchain map --output json -s 1G -l 64M disk.qcow2",
        .notes = QEMU_CODES,
        .options = map_options,
        .values_len = sizeof(struct map_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_map,
    },
    {
        .name = "tree",
        .summary = "Show who backs whom among files and folders of images",
        .operands = "PATH...",
        .example = "imgchain tree --output svg /var/lib/libvirt/images",
        .notes = QEMU_CODES,
        .options = tree_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD,
        .values_len = sizeof(struct tree_values),
        .min_operands = 1,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_tree,
    },
    {
        .name = "holders",
        .summary = "Show which processes use an image, and as what",
        .operands = "FILE...",
        .example = "imgchain holders --output json /images/*.qcow2",
        .notes = "Exit codes: 0 told for each FILE whether it is in use, 1 "
                 "could not tell, 2 bad\nusage.",
        .options = holders_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE,
        .values_len = sizeof(struct common_values),
        .min_operands = 1,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_holders,
    },
    {
        .name = "check",
        .summary = "Compare the refcounts of a qcow2 image with its contents",
        .operands = "FILE",
        .example = "imgchain check --output json disk.qcow2",
        .notes = "Exit codes: 0 clean, 1 could not check or bad usage, 2 "
                 "corrupt, 3 leaked\nclusters only, 63 not checkable in this "
                 "format. With -r: as it is afterwards.",
        .options = check_options,
        .values_len = sizeof(struct check_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_FAILED,
        .run = cmd_check,
    },
    {
        .name = "compare",
        .summary = "Prove that two chains show the guest the same bytes",
        .operands = "A B",
        .example = "imgchain compare --all --output json a.qcow2 b.raw",
        .notes = "Exit codes: 0 same, 1 different, 2 could not open, judge "
                 "or prove, 3\ncould not read allocation, 4 read error.",
        .options = compare_options,
        .values_len = sizeof(struct compare_values),
        .min_operands = 2,
        .max_operands = 2,
        .usage_exit = EXIT_USAGE,
        .limit_exit = EXIT_USAGE,
        .run = cmd_compare,
    },
    {
        .name = "digest",
        .summary = "Print a hash of what the guest sees",
        .operands = "FILE",
        .example = "imgchain digest disk.qcow2",
        .notes = QEMU_CODES,
        .options = digest_options,
        .values_len = sizeof(struct digest_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_digest,
    },
    {
        .name = "validate",
        .verb = "snapshot",
        .summary = "May FILE become the overlay of ACTIVE?",
        .operands = "--source ACTIVE --dest FILE",
        .example = "imgchain validate snapshot --source vm.qcow2 "
                   "--dest /images/snap1.qcow2\n"
                   "      --dest-format qcow2 --require relative",
        .notes = VALIDATE_CODES,
        .options = validate_snapshot_options,
        .without = WITHOUT_FORMAT,
        .values_len = sizeof(struct validate_values),
        .min_operands = 0,
        .max_operands = 0,
        .usage_exit = EXIT_USAGE,
        .limit_exit = EXIT_USAGE,
        .run = cmd_validate_snapshot,
    },
    {
        .name = "validate",
        .verb = "copy",
        .summary = "May FILE become the target of a block copy of ACTIVE?",
        .operands = "--source ACTIVE --dest FILE",
        .example = "imgchain validate copy --shallow --source vm.qcow2 "
                   "--dest /images/copy.qcow2\n"
                   "      --dest-format qcow2",
        .notes = VALIDATE_CODES,
        .options = validate_copy_options,
        .without = WITHOUT_FORMAT,
        .values_len = sizeof(struct validate_values),
        .min_operands = 0,
        .max_operands = 0,
        .usage_exit = EXIT_USAGE,
        .limit_exit = EXIT_USAGE,
        .run = cmd_validate_copy,
    },
    {
        .name = "inspect",
        .summary = "Is a stranger's image safe to import?",
        .operands = "FILE|-",
        .example = "imgchain inspect -f qcow2 --max-virtual-size 100G "
                   "--profile qemu-7 up.qcow2",
        .notes = VALIDATE_CODES,
        .options = inspect_options,
        .values_len = sizeof(struct inspect_values),
        .fini = inspect_fini,
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .limit_exit = EXIT_USAGE,
        .run = cmd_inspect,
    },
    {
        .name = "preflight",
        .summary = "Would a snapshot or block copy by libvirt come out right?",
        .operands = "--domain XML --snapshot XML|--copy-disk XML",
        .example = "imgchain preflight --domain vm.xml --snapshot snap.xml "
                   "\\\n      --disk-only --reuse-external",
        .notes = "Flags are virsh's, for snapshot-create and blockcopy. The "
                 "domain is judged as\nrunning when its XML has an "
                 "id.\n\n" VALIDATE_CODES,
        .options = preflight_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE,
        .values_len = sizeof(struct preflight_values),
        .fini = preflight_fini,
        .min_operands = 0,
        .max_operands = 0,
        .usage_exit = EXIT_USAGE,
        .limit_exit = EXIT_USAGE,
        .run = cmd_preflight,
    },
    {
        .name = "create",
        .summary = "Make an empty image, an overlay, or what validate accepts",
        .operands = "FILE [SIZE]",
        .example = "imgchain create --for snapshot --source vm.qcow2 "
                   "/images/snap1.qcow2",
        .notes = QEMU_CODES,
        .options = create_options,
        .without = WITHOUT_FD | WITHOUT_SANDBOX,
        .values_len = sizeof(struct create_values),
        .min_operands = 1,
        .max_operands = 2,
        .usage_exit = EXIT_USAGE,
        .run = cmd_create,
        .choices = create_choices,
        .fini = change_fini,
    },
    {
        .name = "copy",
        .summary = "Copy what a chain shows, or its active layer alone",
        .operands = "SOURCE DEST",
        .example = "imgchain copy -p -O qcow2 --verify vm.qcow2 copy.qcow2",
        .notes = QEMU_CODES,
        .options = copy_options,
        .without = WITHOUT_FD | WITHOUT_SANDBOX,
        .values_len = sizeof(struct copy_values),
        .min_operands = 2,
        .max_operands = -1, /* said by the command, in words */
        .usage_exit = EXIT_USAGE,
        .run = cmd_copy,
        .choices = copy_choices,
        .fini = copy_fini,
    },
    {
        .name = "rebase",
        .summary = "Put another backing file under the same guest contents",
        .operands = "FILE",
        .example = "imgchain rebase -f qcow2 -b new-base.qcow2 -F qcow2 "
                   "vm.qcow2",
        .notes = QEMU_CODES,
        .options = rebase_options,
        .without = WITHOUT_FD | WITHOUT_SANDBOX,
        .values_len = sizeof(struct rebase_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_rebase,
        .fini = change_fini,
    },
    {
        .name = "commit",
        .summary = "Write an overlay's contents into a layer below it",
        .operands = "FILE",
        .example = "imgchain commit -f qcow2 -p overlay.qcow2",
        .notes = QEMU_CODES,
        .options = commit_options,
        .without = WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct commit_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_commit,
        .fini = change_fini,
    },
    {
        .name = "amend",
        .summary = "Change options of an existing image",
        .operands = "FILE",
        .example = "imgchain amend -f qcow2 -o compat=1.1,lazy_refcounts=on "
                   "vm.qcow2",
        .notes = QEMU_CODES,
        .options = amend_options,
        .without = WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct amend_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_amend,
        .choices = amend_choices,
        .fini = change_fini,
    },
    {
        .name = "resize",
        .summary = "Change the virtual size of an image",
        .operands = "FILE [+|-]SIZE",
        .example = "imgchain resize -f qcow2 vm.qcow2 +10G",
        .notes = QEMU_CODES,
        .options = resize_options,
        .without = WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct resize_values),
        .has_signed_last = true,
        .min_operands = 2,
        .max_operands = 2,
        .usage_exit = EXIT_USAGE,
        .run = cmd_resize,
        .fini = change_fini,
    },
    {
        .name = "snapshot",
        .summary = "Take offline external snapshots of disks, all or none",
        .operands = "--disk ACTIVE=NEW...",
        .example = "imgchain snapshot --atomic --disk a.qcow2=a-snap.qcow2 "
                   "\\\n      --disk b.raw=b-snap.qcow2,format=raw",
        .notes =
            "Each --disk may end in ,backing=TEXT (the name that NEW "
            "records) and\n,format=FMT (what ACTIVE is). Commas in values "
            "are doubled, and so is an\nequals sign in ACTIVE.\n\n" QEMU_CODES,
        .options = snapshot_options,
        .without =
            WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct snapshot_values),
        .min_operands = 0,
        .max_operands = 0,
        .usage_exit = EXIT_USAGE,
        .run = cmd_snapshot,
        .choices = snapshot_choices,
        .fini = snapshot_fini,
    },
    {
        .name = "pivot",
        .summary = "Move a running machine's disk to another file, live",
        .operands = "[snapshot|copy] --qmp SOCKET --disk ID=FILE",
        .example =
            "imgchain pivot copy --shallow -p --qmp vm.qmp --device vda \\\n"
            "      --dest /images/moved.qcow2 --reuse-external\n"
            "  imgchain pivot -p --qmp vm.qmp --device vda --migrate-to /new",
        .notes = "snapshot: FILE becomes the overlay of the disk. copy (also "
                 "without a word): FILE\ngets what the disk shows, or with "
                 "--shallow what its active layer holds. Several\ndisks, "
                 "--disk ID=FILE each, go in one step: snapshots only.\n"
                 "--migrate-to DIR: the files under the active layer are "
                 "copied there first, with\nnames that lead to each other. "
                 "The same command goes on with what is there.\n\n" QEMU_CODES,
        .options = pivot_options,
        .without = WITHOUT_FD | WITHOUT_SHARE,
        .values_len = sizeof(struct pivot_values),
        .min_operands = 0,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_pivot,
        .choices = pivot_choices,
        .fini = pivot_fini,
    },
    {
        .name = "metadata",
        .verb = "list",
        .summary = "List what libvirt has on record of a domain's snapshots",
        .operands = "DIR|FILE...",
        .example = "imgchain metadata list "
                   "/var/lib/libvirt/qemu/snapshot/web1",
        .notes = METADATA_NOTES,
        .options = metadata_list_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE,
        .values_len = sizeof(struct metadata_list_values),
        .min_operands = 0,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_metadata_list,
    },
    {
        .name = "metadata",
        .verb = "tree",
        .summary = "Show how a domain's snapshots hang on each other",
        .operands = "DIR|FILE...",
        .example = "imgchain metadata tree --output svg "
                   "/var/lib/libvirt/qemu/snapshot/web1 \\\n"
                   "      >web1.svg",
        .notes = METADATA_NOTES,
        .options = metadata_tree_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE,
        .values_len = sizeof(struct metadata_list_values),
        .min_operands = 0,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_metadata_tree,
    },
    {
        .name = "metadata",
        .verb = "show",
        .summary = "Show all that libvirt has on record of one snapshot",
        .operands = "NAME DIR|FILE...",
        .example = "imgchain metadata show s1 "
                   "/var/lib/libvirt/qemu/snapshot/web1",
        .notes = METADATA_NOTES,
        .options = metadata_show_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE,
        .values_len = sizeof(struct metadata_show_values),
        .min_operands = 1,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_metadata_show,
    },
    {
        .name = "metadata",
        .verb = "check",
        .summary = "Check snapshot metadata against libvirt's rules and the "
                   "images",
        .operands = "DIR|FILE...",
        .example = "imgchain metadata check --domain web1.xml "
                   "/var/lib/libvirt/qemu/snapshot/web1",
        .notes = METADATA_SOURCES VALIDATE_CODES,
        .options = metadata_check_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD,
        .values_len = sizeof(struct metadata_check_values),
        .min_operands = 0,
        .max_operands = -1,
        .usage_exit = EXIT_NOT_JUDGED,
        .limit_exit = EXIT_NOT_JUDGED,
        .run = cmd_metadata_check,
    },
    {
        .name = "metadata",
        .verb = "undefine-check",
        .summary = "Show what would be lost if a domain were undefined",
        .operands = "DIR|FILE...",
        .example = "imgchain metadata undefine-check --domain web1 \\\n"
                   "      --connect qemu:///system",
        .notes = METADATA_SOURCES UNDEFINE_CODES,
        .options = metadata_undefine_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD,
        .values_len = sizeof(struct metadata_check_values),
        .min_operands = 0,
        .max_operands = -1,
        .usage_exit = EXIT_NOT_JUDGED,
        .limit_exit = EXIT_NOT_JUDGED,
        .run = cmd_metadata_undefine,
    },
    {
        .name = "metadata",
        .verb = "export",
        .summary = "Put all that is on record of a domain into one file",
        .operands = "DIR|FILE...",
        .example = "imgchain metadata export --connect qemu:///system "
                   "--domain web1 \\\n      --security-info --to web1.json",
        .notes = METADATA_NOTES,
        .options = metadata_export_options,
        .without =
            WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct metadata_export_values),
        .min_operands = 0,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_metadata_export,
    },
    {
        .name = "metadata",
        .verb = "redefine",
        .summary = "Put snapshots and checkpoints on record again, all or none",
        .operands = "BUNDLE|DIR|FILE...",
        .example = "imgchain metadata redefine web1.json --map "
                   "/old/images=/new/images \\\n"
                   "      --connect qemu:///system --domain web1",
        .notes = QEMU_CODES,
        .options = metadata_redefine_options,
        .without =
            WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct metadata_redefine_values),
        .min_operands = 0,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_metadata_redefine,
        .fini = metadata_redefine_fini,
    },
    {
        .name = "metadata",
        .verb = "delete",
        .summary = "Forget a snapshot, and leave its images as they are",
        .operands = "[DIR] NAME",
        .example = "imgchain metadata delete --metadata "
                   "/var/lib/libvirt/qemu/snapshot/web1 s1",
        .notes = "DIR is libvirt's own folder, while its daemon is stopped; "
                 "with --connect there\nis none.\n\n" QEMU_CODES,
        .options = metadata_delete_options,
        .without =
            WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct metadata_delete_values),
        .min_operands = 1,
        .max_operands = 2,
        .usage_exit = EXIT_USAGE,
        .run = cmd_metadata_delete,
    },
    {
        .name = "metadata",
        .verb = "relocate",
        .summary = "Copy or move a domain's images, with all its XML",
        .operands = "--domain XML --to FOLDER",
        .example =
            "imgchain metadata relocate --domain web1.xml \\\n"
            "      --snapshots /var/lib/libvirt/qemu/snapshot/web1 --to /new",
        .notes =
            "All files, backing names and paths change in one transaction, or "
            "none does.\n\n" QEMU_CODES,
        .options = metadata_relocate_options,
        .without =
            WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct metadata_relocate_values),
        .min_operands = 0,
        .max_operands = 0,
        .usage_exit = EXIT_USAGE,
        .run = cmd_metadata_relocate,
        .fini = metadata_relocate_fini,
    },
    {
        .name = "saved-image",
        .verb = "dumpxml",
        .summary = "Print the XML of a saved domain",
        .operands = "FILE",
        .example = "imgchain saved-image dumpxml web1.save",
        .notes = QEMU_CODES,
        .options = saved_dumpxml_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE,
        .values_len = sizeof(struct saved_dumpxml_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_saved_dumpxml,
    },
    {
        .name = "saved-image",
        .verb = "define",
        .summary = "Give saved domains other XML, or other paths in it",
        .operands = "FILE XML | --map OLD=NEW FILE...",
        .example = "imgchain saved-image define --map /old=/new web1.save "
                   "db1.save",
        .notes = "XML is a file, or - for standard input.\n\n" QEMU_CODES,
        .options = saved_define_options,
        .without =
            WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct saved_change_values),
        .min_operands = 0,
        .max_operands = -1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_saved_define,
        .fini = saved_change_fini,
    },
    {
        .name = "saved-image",
        .verb = "edit",
        .summary = "Edit the XML of a saved domain",
        .operands = "FILE",
        .example = "EDITOR=nano imgchain saved-image edit web1.save",
        .notes = "The editor is $VISUAL, $EDITOR or vi. What is refused is "
                 "edited again, or kept.\n\n" QEMU_CODES,
        .options = saved_edit_options,
        .without =
            WITHOUT_FORMAT | WITHOUT_FD | WITHOUT_SHARE | WITHOUT_SANDBOX,
        .values_len = sizeof(struct saved_change_values),
        .min_operands = 1,
        .max_operands = 1,
        .usage_exit = EXIT_USAGE,
        .run = cmd_saved_edit,
        .fini = saved_change_fini,
    },
    {
        .name = "saved-image",
        .verb = "check",
        .summary = "Would saved domains come back?",
        .operands = "FILE...",
        .example = "imgchain saved-image check "
                   "/var/lib/libvirt/qemu/save/*.save",
        .notes = VALIDATE_CODES,
        .options = saved_check_options,
        .without = WITHOUT_FORMAT | WITHOUT_FD,
        .values_len = sizeof(struct saved_check_values),
        .min_operands = 1,
        .max_operands = -1,
        .usage_exit = EXIT_NOT_JUDGED,
        .limit_exit = EXIT_NOT_JUDGED,
        .run = cmd_saved_check,
    },
    {.name = NULL},
};
