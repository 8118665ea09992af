/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * back.h - the way back of packets that the destination holds for a guest which has
 * stayed: over the link as "back" messages, and on the source by its own routes to the
 * guest.
 */
#ifndef KAT_BACK_H
#define KAT_BACK_H

#include <stddef.h>

#include <json-c/json_object.h>

#include "api.h"
#include "peer.h"

/* As katamaran_give_back() says: a line of the link takes twice that, with room left. */
#define KAT_BACK_BYTES	 16384
#define KAT_BACK_PACKETS 4096

/*
 * On the destination; `peer` NULL: there is no link.  0, or -1 with errno ENOTCONN or
 * EMSGSIZE.
 */
int kat_back_send(struct kat_peer *peer, const void *packet, size_t length);

/* On the source: keeps a message, whose reference it takes, in an array; *kept may be
 * NULL. */
void kat_back_keep(struct json_object **kept, struct json_object *message);

/*
 * Sends the packets of the messages to the guest, by this node's routes, and adds them to
 * the ledger.  What is for none of the guest's addresses is left out.  Blocks for a
 * millisecond now and then, so that the ring of a tap has room.  Needs CAP_NET_RAW; a
 * packet that cannot be sent is one that was lost.  `messages` NULL: none.
 */
void kat_back_give(struct kat_migration *migration, struct json_object *messages);

#endif /* KAT_BACK_H */
