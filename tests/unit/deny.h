/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernels that lack a call, played by a seccomp filter on this process (each
 * test has one of its own).
 */
#ifndef TESTS_DENY_H
#define TESTS_DENY_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "unit.h"

#define DENY_ANY UINT32_MAX

/* From now on NR fails with SYS_ERRNO where its argument ARG is VALUE. */
static inline void deny_argument(long nr, unsigned arg, uint32_t value,
                                 int sys_errno)
{
    uint8_t to_arg = value == DENY_ANY ? 2 : 0;
    uint32_t arg_off = (uint32_t)offsetof(struct seccomp_data, args) +
                       arg * (uint32_t)sizeof(uint64_t);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, to_arg, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arg_off),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K,
                 SECCOMP_RET_ERRNO | ((uint32_t)sys_errno & 0xffff)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]),
                                 .filter = code};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* The same for its second argument. */
static inline void deny_call(long nr, uint32_t arg1, int sys_errno)
{
    deny_argument(nr, 1, arg1, sys_errno);
}

/* The same for the descriptor that it is called on. */
static inline void deny_call_on(long nr, uint32_t fd, int sys_errno)
{
    deny_argument(nr, 0, fd, sys_errno);
}

#endif
