/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * undo.h - the journal's records of a redirect, written before each change and
 * undone from by another process after this one was killed.
 *
 *	tunnel DEVICE                            our share of it
 *	rpfilter INDEX DEVICE BEFORE HAS_IPV4    as it was
 *	redirect ADDRESS TABLE PRIORITY          rule, and the route in its table
 *	leave ADDRESS INDEX TAP                  routes to a tap that the guest leaves
 *	hold INDEX TAP TXQLEN RING MAC QUEUE NETNS
 *	pin INDEX DEVICE ADDRESS MAC EXISTS STATE BEFORE BYTES NETNS
 *
 * A device that is no longer the one of that index and name took with it what
 * was changed.  NETNS is "-" for the program's own.
 */
#ifndef KAT_UNDO_H
#define KAT_UNDO_H

#include "katamaran-plugin.h"
#include "plugins/lib/holder.h"

/* Each writes one record.  0, or -1 after katamaran_error(). */
int kat_announce_rpfilter(struct katamaran_ctx *ctx, struct kat_nl *nl,
			  const struct kat_link *device);
int kat_announce_hold(struct katamaran_ctx *ctx, const struct kat_holder *h,
		      uint32_t ring);
int kat_announce_pin(struct katamaran_ctx *ctx, struct kat_nl *nl, const char *netns,
		     int index, const struct kat_addr *addr, const uint8_t mac[6]);

/*
 * recover() of every plugin that redirects: undoes one record, of any kind
 * above.  0, also where there was nothing left to be undone; or -1 after
 * katamaran_error().
 */
int kat_redirect_recover(struct katamaran_ctx *ctx, const char *record, int outcome);

#endif /* KAT_UNDO_H */
