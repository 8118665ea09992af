/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin.h - the neighbour entry of a guest that cannot answer for itself.
 *
 * While a guest is paused nobody answers when the kernel asks for its MAC: the
 * entry is made permanent.  The same entry holds packets back for the moment
 * in which a root queue is exchanged: the kernel then sends to noop_qdisc,
 * which drops (qdisc_graft(), dev_deactivate()), about a millisecond's worth.
 * An entry that is INCOMPLETE keeps packets in a list and gives them on, in
 * their order, as soon as it is valid again (__neigh_event_send()).
 */
#ifndef KAT_PIN_H
#define KAT_PIN_H

#include "plugins/lib/rtnl.h"

/* How many bytes such a list may keep: a millisecond at 100 Gbit/s, twice. */
#define KAT_PIN_QUEUE_BYTES (64u << 20)

/* One address on one device; starts zeroed. */
struct kat_pin {
	struct kat_nl *nl; /* in the device's namespace, borrowed; NULL: not pinned */
	int index;
	struct kat_addr addr;
	uint8_t mac[6];
	struct kat_neigh before;
	bool queue_set;
	uint32_t queue_before; /* bytes, NDTPA_QUEUE_LENBYTES of the device */
};

/* A neighbour entry (RTM_NEWNEIGH replaces; RTM_DELNEIGH, `mac` NULL). */
void kat_msg_neigh(struct nlmsghdr *nlh, uint16_t type, int index,
		   const struct kat_addr *addr, const uint8_t mac[6], uint16_t state);
/* Has the kernel ask for the neighbour now, if it does not know it (NTF_USE). */
void kat_msg_neigh_use(struct nlmsghdr *nlh, int index, const struct kat_addr *addr);
/* How many bytes may wait for an unresolved neighbour of the family on the device. */
void kat_msg_neigh_queue(struct nlmsghdr *nlh, int family, int index, uint32_t bytes);

/*
 * An entry of a bridge (RTM_NEWNEIGH replaces; RTM_DELNEIGH): `mac` is behind
 * `port`.  `fixed`: there it stays, also if another port sends from it
 * (NTF_STICKY, Linux 4.20); else it is as if the bridge had learned it now.
 */
void kat_msg_fdb(struct nlmsghdr *nlh, uint16_t type, int port, const uint8_t mac[6],
		 bool fixed);

/* `exists` says whether there is an entry.  0, or -1 with errno and kat_nl_error(). */
int kat_neigh_get(struct kat_nl *nl, int index, const struct kat_addr *addr,
		  struct kat_neigh *neigh, int64_t deadline_ns);
/* See kat_msg_neigh_queue(); errno ENODEV if the device has no such setting. */
int kat_neigh_queue_get(struct kat_nl *nl, int family, int index, uint32_t *bytes,
			int64_t deadline_ns);

/*
 * Makes the entry permanent and its list long.  0, or -1 with errno and
 * kat_nl_error(), and then nothing is left changed.
 */
int kat_pin_set(struct kat_pin *pin, struct kat_nl *nl, int index,
		const struct kat_addr *addr, const uint8_t mac[6], int64_t deadline_ns);

/* From the message on, packets to the address wait in the entry's list. */
void kat_msg_pin_wait(struct nlmsghdr *nlh, const struct kat_pin *pin);

/*
 * The entry's last state.  `stays`: the guest is here, and an entry that was
 * not permanent before is left as one that the kernel verifies when it is
 * used; else it is as it was before.  What waits in the list goes out.
 */
void kat_msg_pin_end(struct nlmsghdr *nlh, const struct kat_pin *pin, bool stays);

/* Puts the length of the list back.  0, or -1 with errno and kat_nl_error(). */
int kat_pin_restore_queue(struct kat_pin *pin, int64_t deadline_ns);

#endif /* KAT_PIN_H */
