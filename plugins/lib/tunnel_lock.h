/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tunnel_lock.h - makes looking and acting one step for the migrations of a
 * node: what they share is named by the kernel, but counted by us.
 */
#ifndef KAT_TUNNEL_LOCK_H
#define KAT_TUNNEL_LOCK_H

#include <stdint.h>

/* Where the locks are; made with mode 0700 if it is not there. */
#define KAT_LOCK_FOLDER "/run/katamaran"

/*
 * Takes KAT_LOCK_FOLDER/NAME.lock, waiting for others until the deadline
 * (CLOCK_MONOTONIC, nanoseconds).  Its descriptor, to be freed by closing it
 * (kat_cleanup_close), or -1 with errno: ETIMEDOUT, EPERM if the folder is
 * somebody else's or others may write there.
 */
int kat_lock_take(const char *name, int64_t deadline_ns);

#endif /* KAT_TUNNEL_LOCK_H */
