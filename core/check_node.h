/* SPDX-License-Identifier: BSD-2-Clause */
/* What is checked of the node itself, whatever the plugins are. */
#ifndef KAT_CHECK_NODE_H
#define KAT_CHECK_NODE_H

#include "end.h"

/*
 * Whether QEMU's descriptors are within reach, and, on the destination, whether
 * QEMU will be able to listen: found out by bind(2), never by a connection.
 */
void kat_check_node(struct kat_end *end);

#endif /* KAT_CHECK_NODE_H */
