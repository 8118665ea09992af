/* SPDX-License-Identifier: BSD-2-Clause */
/* The far end, in the guest: sends UDP back, and counts for itself what it got. */
#ifndef ECHO_H
#define ECHO_H

#include <stdint.h>

/* The answer to a QUERY: a struct tally behind the mark. */
_Noreturn void echo_serve(uint16_t port);

#endif
