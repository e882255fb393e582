/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A decoder in an attacker's hands: what tests/cli/sandbox.sh runs.
 *
 * tests/CMakeLists.txt links the command's own objects once more, with some
 * decoders led through hijack.c (the linker's --wrap). When the first cluster
 * of an image has the words "IMGCHAIN-HIJACK:WHERE" at its byte 4096, the
 * decoder of that name does all of attacks.c the first time it is called, and
 * then what it should. Nothing of this is part of the program that is
 * installed, nor known to its sources.
 */
#ifndef HIJACK_H
#define HIJACK_H

/* Before main: a ring without restrictions, a descriptor that can be written
   to, and a thread that waits. */
void attacks_prepare(void);
/* Try everything, from this thread, from a new one and from the old one. One
   line each on stderr: "hijack THREAD WHAT: done" or "... denied". */
void attacks_run(void);

#endif
