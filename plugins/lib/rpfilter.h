/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rpfilter.h - lets a device take IPv4 packets whose sender is reached through
 * another device.
 *
 * While a redirect stands, the way back to a guest leads into the tunnel and
 * no longer to its tap, and the reverse path filter would drop what the guest
 * still sends; on the other end it would drop what comes out of the tunnel.
 * The kernel applies max(all, device), and in its loose mode drops everything
 * on a device without any address (fib_frontend.c, __fib_validate_source()).
 */
#ifndef KAT_RPFILTER_H
#define KAT_RPFILTER_H

#include "plugins/lib/rtnl.h"

/* What was changed; starts zeroed. */
struct kat_rpfilter {
	int index;
	int before;	/* rp_filter of the device */
	bool changed;	/* and to be put back */
	bool address;	/* the dummy address was added */
	char name[128]; /* our share of the change, "": it is nobody else's */
};

/*
 * Turns the filter of the device off, or where "all" forbids that, makes it
 * loose and gives the device the dummy address if it has none.  0, or -1 with
 * errno and kat_nl_error(); what was done by then is undone by
 * kat_rpfilter_restore().
 */
int kat_rpfilter_relax(struct kat_nl *nl, int index, struct kat_rpfilter *saved,
		       int64_t deadline_ns);

/*
 * The same for a device that other migrations may want relaxed too, as two
 * guests behind one bridge do.  What it was before stands in a second name of
 * the device, "kat-rpf-INDEX-ID-BEFORE-ADDRESS", one a migration, and the last
 * to restore it puts that back.  `id` is the migration's.  Asked for again by
 * the same migration it is nothing.  May wait for a lock.
 */
int kat_rpfilter_share(struct kat_nl *nl, int index, const char *id,
		       struct kat_rpfilter *saved, int64_t deadline_ns);

/*
 * Puts back what was changed; may be called twice.  0, or -1 as above, or 1 if
 * the dummy address had to stay: it is the device's last one, and with that the
 * kernel would forget the routes that lead through the device.
 */
int kat_rpfilter_restore(struct kat_nl *nl, struct kat_rpfilter *saved,
			 int64_t deadline_ns);

/*
 * The same for the share `id` of a migration whose process was killed.
 * `before` and `has` (an IPv4 address) are what it found at first, for a kill
 * that came before it had its second name.
 */
int kat_rpfilter_recover(struct kat_nl *nl, int index, const char *id, int before,
			 bool has, int64_t deadline_ns);

#endif /* KAT_RPFILTER_H */
