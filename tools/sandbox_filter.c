/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A filter of system calls, as the classic BPF program that the kernel takes.
 *
 * The numbers are found by a binary search: before it lets a call pass
 * unseen, the kernel runs the program once for every number there is, and
 * a list would make loading several times as long (docs/performance.md).
 * That, and the time that a library takes to be loaded and to build the same,
 * is why libseccomp is not used: `info` takes a thousandth of a second.
 *
 * Only the low halves of arguments are looked at: flags, descriptors and
 * request numbers, of which the kernel takes no more either.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_impl.h"

#if defined(__x86_64__) && defined(__LP64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__LP64__) && defined(__AARCH64EL__)
#define MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE AUDIT_ARCH_RISCV64
#else
#define MACHINE 0u /* not tried out: no filter */
#endif

/* The first number that no kernel had when the lists were made. */
#define NUMBER_UNKNOWN 451

#define PROGRAM_MAX 1024u

#define PASS SECCOMP_RET_ALLOW
#define REFUSE (SECCOMP_RET_ERRNO | EPERM)
#define ABSENT (SECCOMP_RET_ERRNO | ENOSYS)

struct program {
    struct sock_filter code[PROGRAM_MAX];
    unsigned short len;
    bool is_full;
};

static void put(struct program *program, unsigned code, uint32_t k,
                unsigned if_true, unsigned if_false)
{
    if (program->len == PROGRAM_MAX) {
        program->is_full = true;
        return;
    }
    program->code[program->len++] =
        (struct sock_filter){.code = (unsigned short)code,
                             .jt = (uint8_t)if_true,
                             .jf = (uint8_t)if_false,
                             .k = k};
}

static void put_load(struct program *program, size_t at)
{
    put(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)at, 0, 0);
}

static void put_answer(struct program *program, uint32_t answer)
{
    put(program, BPF_RET | BPF_K, answer, 0, 0);
}

/* The number is loaded; what the search leads to. */
static void put_call(struct program *program, const struct sandbox_call *call)
{
    put(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call->number, 1, 0);
    put_answer(program, REFUSE);
    if (call->is_absent) {
        put_answer(program, ABSENT);
        return;
    }
    for (size_t i = 0; i < call->cases_nr; i++) {
        const struct sandbox_case *one = &call->cases[i];

        put_load(program, offsetof(struct seccomp_data, args) +
                              one->arg * sizeof(uint64_t));
        put(program, BPF_ALU | BPF_AND | BPF_K, one->mask, 0, 0);
        put(program, BPF_JMP | BPF_JEQ | BPF_K, one->value, 0, 1);
        put_answer(program, PASS);
    }
    put_answer(program, call->cases_nr > 0 ? REFUSE : PASS);
}

/*
 * The halves of a range wait on a stack of their own: it is as deep as the
 * search, which halves at each step.
 */
#define SEARCH_DEPTH 16u

struct range {
    const struct sandbox_call *calls;
    size_t nr;
    unsigned short jump; /* the instruction that leads here */
};

static void put_search(struct program *program,
                       const struct sandbox_call *calls, size_t nr)
{
    struct range stack[SEARCH_DEPTH];
    struct range now = {.calls = calls, .nr = nr};
    size_t depth = 0;

    for (;;) {
        while (now.nr > 1 && depth < SEARCH_DEPTH) {
            size_t half = now.nr / 2;

            put(program, BPF_JMP | BPF_JGE | BPF_K,
                (uint32_t)now.calls[half].number, 0, 1);
            stack[depth++] = (struct range){.calls = now.calls + half,
                                            .nr = now.nr - half,
                                            .jump = program->len};
            put(program, BPF_JMP | BPF_JA, 0, 0, 0);
            now.nr = half;
        }
        put_call(program, now.calls);
        if (depth == 0 || program->is_full) {
            return;
        }
        now = stack[--depth];
        program->code[now.jump].k = program->len - now.jump - 1u;
    }
}

static int compare_numbers(const void *a, const void *b)
{
    const struct sandbox_call *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static void assemble(struct program *program, struct sandbox_call *calls,
                     size_t nr)
{
    qsort(calls, nr, sizeof(*calls), compare_numbers);
    put_load(program, offsetof(struct seccomp_data, arch));
    put(program, BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0);
    put_answer(program, REFUSE);
    put_load(program, offsetof(struct seccomp_data, nr));
    put(program, BPF_JMP | BPF_JGE | BPF_K, NUMBER_UNKNOWN, 0, 1);
    put_answer(program, ABSENT);
    put_search(program, calls, nr);
}

int sandbox_filter_load(struct sandbox_call *calls, size_t nr,
                        struct img_error *err)
{
    struct program program = {.len = 0};
    struct sock_fprog wanted = {.filter = program.code};
    long rc;

    if (MACHINE == 0) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "no list of system calls for this kind of machine");
    }
    assemble(&program, calls, nr);
    if (program.is_full) {
        return img_fail(err, IMG_LIMIT,
                        "the filter of system calls is longer than %u",
                        PROGRAM_MAX);
    }
    if (SANDBOX_SANITIZED) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "a build with sanitizers goes without a filter of "
                        "system calls");
    }
    wanted.len = program.len;
    /* A positive answer names a thread that could not be included. */
    rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                 SECCOMP_FILTER_FLAG_TSYNC, &wanted);
    if (rc != 0) {
        img_fail_sys(err, rc > 0 ? EBUSY : errno,
                     "the kernel takes no filter of system calls");
        err->code = IMG_UNSUPPORTED;
        return -1;
    }
    return 0;
}
