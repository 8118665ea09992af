/* SPDX-License-Identifier: BSD-2-Clause */
#define KATAMARAN_API_VERSION 1
#include "plugins/lib/redirect.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <syslog.h>
#include "plugins/lib/pin.h"
#include "plugins/lib/redirect_dest.h"
#include "plugins/lib/redirect_probe.h"
#include "plugins/lib/redirect_source.h"
#include "plugins/lib/undo.h"

#define SECOND_NS 1000000000

int kat_redirect_fail(struct katamaran_ctx *ctx, const struct kat_nl *nl,
		      const char *object, const char *act)
{
	int error = errno;

	katamaran_error(ctx, "%s: cannot %s: %s%s", object, act, kat_nl_error(nl),
			kat_hint(error));
	return -1;
}

int kat_redirect_pin(struct katamaran_ctx *ctx, struct kat_pin *pin, struct kat_nl *nl,
		     const char *netns, int index, const struct kat_guest_ip *ip,
		     const uint8_t *mac)
{
	if (!mac) {
		katamaran_error(ctx,
				"network card %zu of the guest: its MAC is not known, "
				"set nics.mac",
				ip->nic);
		return -1;
	}
	if (kat_announce_pin(ctx, nl, netns, index, &ip->addr, mac) < 0)
		return -1;
	if (kat_pin_set(pin, nl, index, &ip->addr, mac, katamaran_deadline_ns(ctx)) < 0)
		return kat_redirect_fail(ctx, nl, ip->text, "fix its neighbour entry");
	return 0;
}

bool kat_hold_on(struct kat_hold *hold, uint64_t packets, int64_t now_ns)
{
	int64_t age, quiet;

	if (!hold->start) {
		hold->start = hold->changed = now_ns;
		hold->seen = packets;
	}
	if (packets != hold->seen) {
		hold->seen = packets;
		hold->changed = now_ns;
	}
	age = now_ns - hold->start;
	quiet = now_ns - hold->changed;
	if (age >= hold->most)
		return false;
	return age < hold->least || quiet < hold->quiet;
}

void kat_hold_needed(struct kat_hold *hold, size_t nic)
{
	if (nic < hold->nics)
		hold->needed[nic] = kat_now_ns();
}

static void tell_learned(struct katamaran_ctx *ctx, const struct kat_hold *hold,
			 size_t nic)
{
	const char *tap = katamaran_nic_tap(ctx, nic);
	int64_t ns = hold->needed[nic] - hold->start;

	if (ns < 0)
		ns = 0;
	katamaran_learned(ctx, nic, ns / 1000000);
	katamaran_log(ctx, LOG_INFO,
		      "%s: the last packet needed the redirect %.1f s after the guest's "
		      "resume",
		      tap ? tap : "the guest", (double)ns / 1e9);
}

int kat_redirect_held(struct katamaran_ctx *ctx, struct kat_hold *hold, uint64_t packets)
{
	int64_t now = kat_now_ns();

	if (kat_hold_on(hold, packets, now))
		return KAT_REDIRECT_ROUND_MS;
	for (size_t nic = 0; nic < hold->nics; nic++)
		tell_learned(ctx, hold, nic);
	if (now - hold->changed < hold->quiet)
		katamaran_doubt(
			ctx,
			"the network still sent packets to the source when the redirect "
			"ended (hold_max_s)");
	return 0;
}

/* Why no router would ever send packets to the address, or NULL. */
static const char *never_routed(const struct kat_addr *addr)
{
	const struct in6_addr *six = (const void *)addr->bytes;

	if (addr->family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(six))
		return "is link-local, which no node forwards; give the guest's global "
		       "or unique local addresses (fc00::/7) and leave this one out";
	if (addr->family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(six))
		return "is an IPv4 address in IPv6 clothes; write it as 192.0.2.1";
	if (addr->family == AF_INET6 ? IN6_IS_ADDR_MULTICAST(six)
				     : (addr->bytes[0] & 0xf0) == 0xe0)
		return "is a multicast address, not that of one guest; leave it out";
	return NULL;
}

static int add_ip(struct katamaran_ctx *ctx, struct kat_redirect *r, size_t nic,
		  const char *text)
{
	struct kat_guest_ip *ip = &r->ips[r->count];
	const char *why;

	if (kat_addr_parse(text, &ip->addr) < 0) {
		katamaran_error(ctx, "guest address %s: is not a numeric address", text);
		return -1;
	}
	why = never_routed(&ip->addr);
	if (why) {
		katamaran_error(ctx, "guest address %s: %s", text, why);
		return -1;
	}
	ip->nic = nic;
	kat_addr_text(&ip->addr, ip->text);
	r->count++;
	return 0;
}

bool kat_redirect_has(const struct kat_redirect *r, int family)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->ips[i].addr.family == family)
			return true;
	return false;
}

int kat_redirect_acquire(struct katamaran_ctx *ctx, struct kat_redirect *r,
			 const struct kat_tunnel *tunnel, const struct kat_addr *to,
			 uint32_t mtu, size_t *use)
{
	struct kat_tunnel_need need = {
		.mtu = mtu,
		.from = &r->local,
		.to = to,
		.ipv6 = tunnel->guest != AF_INET && kat_redirect_has(r, AF_INET6),
	};
	size_t i = 0;
	int ret;

	while (i < r->uses && r->use[i].tunnel != tunnel)
		i++;
	if (use)
		*use = i;
	if (i < r->uses)
		return 0;
	if (i == KAT_REDIRECT_TUNNELS) {
		katamaran_error(ctx, "device %s: is one more than this program can use",
				tunnel->device);
		return -1;
	}
	ret = kat_tunnel_acquire(ctx, r->nl, tunnel, &need, &r->use[i]);
	/* A share that is not whole is to be released too. */
	if (ret == 0 || r->use[i].index)
		r->uses++;
	return ret;
}

static int read_ips(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	size_t nics = katamaran_nic_count(ctx), total = 0;
	const char *const *ips;

	for (size_t nic = 0; nic < nics; nic++)
		total += katamaran_nic_ips(ctx, nic, &ips);
	if (!total && katamaran_role(ctx) == KATAMARAN_SOURCE) {
		katamaran_error(ctx,
				"the guest has no address to redirect: set nics.ips");
		return -1;
	}
	if (!total) {
		katamaran_log(
			ctx, LOG_WARNING,
			"no address of the guest is known (nics.ips): the first packet "
			"to it may have to wait for an ARP answer");
		katamaran_doubt(ctx,
				"the guest's neighbour entry was not prepared, since no "
				"address of it was told");
	}
	r->ips = calloc(total + 1, sizeof(*r->ips));
	if (!r->ips) {
		katamaran_error(ctx, "guest addresses: cannot store them: %m");
		return -1;
	}
	for (size_t nic = 0; nic < nics; nic++) {
		size_t n = katamaran_nic_ips(ctx, nic, &ips);

		for (size_t i = 0; i < n; i++)
			if (add_ip(ctx, r, nic, ips[i]) < 0)
				return -1;
	}
	return 0;
}

static int read_hold(struct katamaran_ctx *ctx, struct kat_hold *hold)
{
	hold->nics = katamaran_nic_count(ctx);
	hold->needed = calloc(hold->nics + 1, sizeof(*hold->needed));
	if (!hold->needed) {
		katamaran_error(ctx, "cutover: %m");
		return -1;
	}
	hold->least = katamaran_conf_int(ctx, "hold_s") * SECOND_NS;
	hold->quiet = katamaran_conf_int(ctx, "hold_quiet_s") * SECOND_NS;
	hold->most = katamaran_conf_int(ctx, "hold_max_s") * SECOND_NS;
	if (katamaran_role(ctx) == KATAMARAN_SOURCE)
		return 0;
	/* The decapsulation must outlive every redirect that leads here. */
	hold->least += 2 * hold->quiet + 2ll * SECOND_NS;
	hold->quiet = 2 * hold->quiet + 2ll * SECOND_NS;
	hold->most += 10ll * SECOND_NS;
	return 0;
}

static int check_family(struct katamaran_ctx *ctx, struct kat_redirect *r, int family)
{
	const char *sysctl = family == AF_INET6 ? "net.ipv6.conf.all.forwarding"
						: "net.ipv4.ip_forward";
	bool on;

	if (kat_forwarding_get(r->nl, family, &on, katamaran_deadline_ns(ctx)) < 0)
		return kat_redirect_fail(ctx, r->nl, sysctl, "read it");
	if (on)
		return 0;
	katamaran_error(ctx,
			"%s is 0: this node does not forward %s packets; set it to 1 "
			"(sysctl %s=1)",
			sysctl, kat_family_name(family), sysctl);
	return -1;
}

static int check_forwarding(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	bool six = kat_redirect_has(r, AF_INET6);

	if (six && check_family(ctx, r, AF_INET6) < 0)
		return -1;
	if (six && !kat_redirect_has(r, AF_INET))
		return 0;
	return check_family(ctx, r, AF_INET);
}

static int read_local(struct katamaran_ctx *ctx, struct kat_redirect *r)
{
	const char *local = katamaran_conf_string(ctx, "local");

	if (!local || !*local || kat_addr_parse(local, &r->local) == 0)
		return 0;
	katamaran_error(ctx, "option local = \"%s\": is not a numeric address", local);
	return -1;
}

static void free_redirect(struct kat_redirect *r)
{
	kat_redirect_source_free(r->source);
	kat_redirect_dest_free(r->dest);
	kat_redirect_probe_free(r->probe);
	kat_nl_close(r->nl);
	free(r->hold.needed);
	free(r->ips);
	free(r);
}

int kat_redirect_open(struct katamaran_ctx *ctx, const struct kat_tunnel *tunnels,
		      void **handle)
{
	struct kat_redirect *r = calloc(1, sizeof(*r));
	int ret;

	if (!r) {
		katamaran_error(ctx, "cutover: %m");
		return -1;
	}
	r->tunnels = tunnels;
	if (read_hold(ctx, &r->hold) < 0) {
		free_redirect(r);
		return -1;
	}
	r->nl = kat_nl_open(NULL);
	if (!r->nl) {
		katamaran_error(ctx, "netlink: cannot open a socket: %m");
		free_redirect(r);
		return -1;
	}
	ret = read_ips(ctx, r);
	if (ret == 0)
		ret = check_forwarding(ctx, r);
	if (ret == 0 && tunnels)
		ret = read_local(ctx, r);
	if (ret == 0 && katamaran_role(ctx) == KATAMARAN_DESTINATION)
		ret = kat_redirect_dest_open(ctx, r);
	else if (ret == 0 && tunnels)
		ret = kat_redirect_source_open(ctx, r);
	if (ret < 0) {
		free_redirect(r);
		return -1;
	}
	*handle = r;
	return 0;
}

int kat_redirect_pre_copy(struct katamaran_ctx *ctx, void *handle)
{
	struct kat_redirect *r = handle;

	return r->source ? kat_redirect_source_pre_copy(ctx, r)
			 : kat_redirect_dest_pre_copy(ctx, r);
}

int kat_redirect_on_stop(struct katamaran_ctx *ctx, void *handle)
{
	struct kat_redirect *r = handle;

	return r->source ? kat_redirect_source_on_stop(ctx, r)
			 : kat_redirect_dest_on_stop(ctx, r);
}

int kat_redirect_on_resume(struct katamaran_ctx *ctx, void *handle, unsigned int round)
{
	struct kat_redirect *r = handle;

	return r->source ? kat_redirect_source_on_resume(ctx, r)
			 : kat_redirect_dest_on_resume(ctx, r, round);
}

void kat_redirect_cleanup(struct katamaran_ctx *ctx, void *handle, int outcome)
{
	struct kat_redirect *r = handle;

	if (r->source)
		kat_redirect_source_cleanup(ctx, r, outcome);
	else if (r->dest)
		kat_redirect_dest_cleanup(ctx, r, outcome);
	while (r->uses)
		kat_tunnel_release(ctx, r->nl, &r->use[--r->uses]);
	free_redirect(r);
}
