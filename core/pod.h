/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pod around a QEMU: which taps the process has, in which network
 * namespaces they are, and which addresses the pod's own interface has there.
 * A tap need not be in the namespace of the process that holds it.
 */
#ifndef KAT_POD_H
#define KAT_POD_H

#include <stddef.h>
#include <sys/types.h>

#include <net/if.h>

#include "error.h"

struct kat_pod_tap {
	char name[IFNAMSIZ];
	char *netns; /* a path that lives as long as we do; NULL: our own namespace */
	char **ips;  /* of the pod's interface beside it; none in our own namespace */
	size_t n_ips;
};

struct kat_pod {
	struct kat_pod_tap *taps; /* each once, however many queues it has */
	size_t n;
};

/*
 * Looks at the descriptors of process `qemu`.  A process without a tap is no
 * error.  The addresses are those of scope global of "eth0", or of "ethN" for a
 * tap "tapN_kata", the names that Kata Containers gives.  Needs the right to
 * ptrace the process, and CAP_SYS_ADMIN for another namespace (Linux 5.6).
 * Enters namespaces while it runs: for a program with one thread.
 */
int kat_pod_look(struct kat_pod *pod, pid_t qemu, struct kat_error **err);

void kat_pod_free(struct kat_pod *pod);

#endif /* KAT_POD_H */
