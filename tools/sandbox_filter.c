/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A filter of system calls, as the classic BPF program that the kernel takes.
 *
 * `info` takes a thousandth of a second, and loading a filter a good part of
 * that: the kernel compiles it, and runs it once for every number there is, so
 * as not to run it later for those that it always allows. So the program is
 * short (numbers that are treated alike are one range) and quick (a binary
 * search). libseccomp's are neither, and it has to be loaded, too: that is why
 * it is not used (docs/performance.md).
 *
 * Only the low halves of arguments are looked at: flags, descriptors and
 * request numbers, of which the kernel takes no more either.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
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

#define PROGRAM_MAX 512u
#define SEGMENTS_MAX 256u
#define SEARCH_DEPTH 16u

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

/* What is answered for the numbers from FIRST up to the next segment's. */
struct segment {
    uint32_t first;
    uint32_t answer;
    const struct sandbox_call *call; /* asks for its cases instead, or NULL */
};

struct segments {
    struct segment list[SEGMENTS_MAX];
    size_t nr;
};

static void add_segment(struct segments *segments, uint32_t first,
                        uint32_t answer, const struct sandbox_call *call)
{
    const struct segment *last =
        segments->nr > 0 ? &segments->list[segments->nr - 1] : NULL;

    /* Neighbours that are treated alike are one. */
    if (last && !call && !last->call && last->answer == answer) {
        return;
    }
    if (segments->nr < SEGMENTS_MAX) {
        segments->list[segments->nr++] =
            (struct segment){.first = first, .answer = answer, .call = call};
    }
}

/* CALLS are sorted. */
static void find_segments(struct segments *segments,
                          const struct sandbox_call *calls, size_t nr)
{
    uint32_t next = 0;

    segments->nr = 0;
    for (size_t i = 0; i < nr; i++) {
        uint32_t number = (uint32_t)calls[i].number;

        if (number > next) {
            add_segment(segments, next, REFUSE, NULL);
        }
        add_segment(segments, number, calls[i].is_absent ? ABSENT : PASS,
                    calls[i].cases_nr > 0 ? &calls[i] : NULL);
        next = number + 1;
    }
    add_segment(segments, next, REFUSE, NULL);
    add_segment(segments, NUMBER_UNKNOWN, ABSENT, NULL);
}

static void put_cases(struct program *program, const struct sandbox_call *call)
{
    for (size_t i = 0; i < call->cases_nr; i++) {
        const struct sandbox_case *one = &call->cases[i];
        bool is_loaded = i > 0 && call->cases[i - 1].arg == one->arg &&
                         call->cases[i - 1].mask == UINT32_MAX;

        if (!is_loaded) {
            put_load(program, offsetof(struct seccomp_data, args) +
                                  one->arg * sizeof(uint64_t));
        }
        if (one->mask != UINT32_MAX) {
            put(program, BPF_ALU | BPF_AND | BPF_K, one->mask, 0, 0);
        }
        put(program, BPF_JMP | BPF_JEQ | BPF_K, one->value, 0, 1);
        put_answer(program, PASS);
    }
    put_answer(program, REFUSE);
}

static void put_segment(struct program *program, const struct segment *segment)
{
    if (segment->call) {
        put_cases(program, segment->call);
    } else {
        put_answer(program, segment->answer);
    }
}

/* Segments that are searched when JUMP, an instruction before, says so. */
struct range {
    const struct segment *list;
    size_t nr;
    unsigned short jump;
};

/*
 * Binary search. The halves of a range wait on a stack, which is as deep as
 * the search.
 */
static void put_search(struct program *program, const struct segments *segments)
{
    struct range stack[SEARCH_DEPTH];
    struct range now = {.list = segments->list, .nr = segments->nr};
    size_t depth = 0;

    for (;;) {
        while (now.nr > 1 && depth < SEARCH_DEPTH) {
            size_t half = now.nr / 2;

            stack[depth++] = (struct range){.list = now.list + half,
                                            .nr = now.nr - half,
                                            .jump = program->len};
            put(program, BPF_JMP | BPF_JGE | BPF_K, now.list[half].first, 0, 0);
            now.nr = half;
        }
        put_segment(program, now.list);
        if (depth == 0 || program->is_full) {
            return;
        }
        now = stack[--depth];
        unsigned distance = program->len - now.jump - 1u;
        program->is_full |= distance > UINT8_MAX;
        program->code[now.jump].jt = (uint8_t)distance;
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
    struct segments segments;

    qsort(calls, nr, sizeof(*calls), compare_numbers);
    find_segments(&segments, calls, nr);
    put_load(program, offsetof(struct seccomp_data, arch));
    put(program, BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0);
    put_answer(program, REFUSE);
    put_load(program, offsetof(struct seccomp_data, nr));
    put_search(program, &segments);
    program->is_full |= segments.nr == SEGMENTS_MAX;
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
                        "the filter of system calls becomes too long");
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
