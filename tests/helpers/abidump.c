/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abidump OLD: for each line of standard input, a file of a domain's XML, what
 * saved-image define would make of it instead of OLD, but for its disks:
 * "refused", "seen" (refused unless forced) or "free".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/abi.h>
#include <chain/virt.h>
#include <img/memory.h>

static struct img_error err;

static char *load(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = img_calloc(1, CHAIN_VIRT_MAX_LEN + 1, &err);

    if (!file || !text || fread(text, 1, CHAIN_VIRT_MAX_LEN, file) == 0) {
        (void)fprintf(stderr, "abidump: cannot read %s\n", path);
        exit(2);
    }
    (void)fclose(file);
    return text;
}

static const char *verdict(const char *old, const char *new)
{
    struct chain_virt_domain *domain;
    struct chain_abi abi;
    const char *word;

    if (chain_abi_compare(old, strlen(old), "old", new, strlen(new), "new",
                          &abi, &err) < 0 ||
        chain_virt_domain_parse(new, strlen(new), "new", &domain, &err) < 0) {
        return "refused";
    }
    word = abi.breaks_nr > 0 || domain->refusals.nr > 0 ? "refused"
           : abi.seen_nr > 0                            ? "seen"
                                                        : "free";
    chain_abi_fini(&abi);
    chain_virt_domain_free(domain);
    return word;
}

int main(int argc, char **argv)
{
    IMG_AUTO(img_free_ptr) char *old = argc == 2 ? load(argv[1]) : NULL;
    char line[4096];

    if (!old) {
        (void)fputs("usage: abidump OLD\n", stderr);
        return 2;
    }
    while (fgets(line, sizeof(line), stdin)) {
        IMG_AUTO(img_free_ptr) char *new = NULL;

        line[strcspn(line, "\n")] = '\0';
        new = load(line);
        puts(verdict(old, new));
    }
    return 0;
}
