# SPDX-License-Identifier: BSD-2-Clause
# What plugins share.  The functions katamaran_*() come from the program.
noinst_LTLIBRARIES += plugins/lib/libkatplug.la
plugins_lib_libkatplug_la_SOURCES = \
	plugins/lib/addr.c plugins/lib/addr.h \
	plugins/lib/buffer.c plugins/lib/buffer.h \
	plugins/lib/frames.c plugins/lib/frames.h \
	plugins/lib/guest_check.c plugins/lib/guest_check.h \
	plugins/lib/holder.c plugins/lib/holder.h \
	plugins/lib/kernel.c plugins/lib/kernel.h \
	plugins/lib/leaving.c plugins/lib/leaving.h \
	plugins/lib/netlink.c plugins/lib/netlink.h \
	plugins/lib/offload.c plugins/lib/offload.h \
	plugins/lib/pin.c plugins/lib/pin.h \
	plugins/lib/qdisc.c plugins/lib/qdisc.h \
	plugins/lib/redirect.c plugins/lib/redirect.h \
	plugins/lib/redirect_check.c plugins/lib/redirect_check.h \
	plugins/lib/redirect_dest.c plugins/lib/redirect_dest.h \
	plugins/lib/redirect_probe.c plugins/lib/redirect_probe.h \
	plugins/lib/redirect_source.c plugins/lib/redirect_source.h \
	plugins/lib/returning.c plugins/lib/returning.h \
	plugins/lib/rpfilter.c plugins/lib/rpfilter.h \
	plugins/lib/rtnl.c plugins/lib/rtnl.h \
	plugins/lib/salvage.c plugins/lib/salvage.h \
	plugins/lib/tap.c plugins/lib/tap.h \
	plugins/lib/tunnel.c plugins/lib/tunnel.h \
	plugins/lib/tunnel_check.c plugins/lib/tunnel_check.h \
	plugins/lib/tunnel_kind.c plugins/lib/tunnel_kind.h \
	plugins/lib/tunnel_lock.c plugins/lib/tunnel_lock.h \
	plugins/lib/tunnel_plug.c plugins/lib/tunnel_plug.h \
	plugins/lib/undo.c plugins/lib/undo.h
plugins_lib_libkatplug_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBMNL_CFLAGS)
plugins_lib_libkatplug_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
plugins_lib_libkatplug_la_LIBADD = $(LIBMNL_LIBS)

# A plugin exports the one symbol that KATAMARAN_REGISTER_PLUGIN() makes.
KAT_PLUGIN_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-export-symbols-regex '^katamaran_plugin_init$$'

plugins_LTLIBRARIES = announce-garp.la announce-script.la announce-self.la \
	cutover-script.la storage-script.la \
	cutover-gre.la cutover-ipip.la cutover-nftables.la \
	storage-nbd.la storage-none.la storage-shared.la

cutover_gre_la_SOURCES = plugins/cutover/gre.c
cutover_gre_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBMNL_CFLAGS)
cutover_gre_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
cutover_gre_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
cutover_gre_la_LIBADD = plugins/lib/libkatplug.la

cutover_ipip_la_SOURCES = plugins/cutover/ipip.c
cutover_ipip_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBMNL_CFLAGS)
cutover_ipip_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
cutover_ipip_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
cutover_ipip_la_LIBADD = plugins/lib/libkatplug.la

cutover_nftables_la_SOURCES = plugins/cutover/nftables.c \
	plugins/lib/arrivals.c plugins/lib/arrivals.h \
	plugins/lib/nft.c plugins/lib/nft.h \
	plugins/lib/relay.c plugins/lib/relay.h \
	plugins/lib/segment.c plugins/lib/segment.h
cutover_nftables_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBMNL_CFLAGS) $(LIBNFTNL_CFLAGS)
cutover_nftables_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
cutover_nftables_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
cutover_nftables_la_LIBADD = plugins/lib/libkatplug.la $(LIBNFTNL_LIBS)

announce_garp_la_SOURCES = plugins/announce/garp.c \
	plugins/lib/fabric.c plugins/lib/fabric.h
announce_garp_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBMNL_CFLAGS)
announce_garp_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
announce_garp_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
announce_garp_la_LIBADD = plugins/lib/libkatplug.la

announce_self_la_SOURCES = plugins/announce/self.c
announce_self_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS)
announce_self_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
announce_self_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
announce_self_la_LIBADD = $(JSON_C_LIBS)

storage_nbd_la_SOURCES = plugins/storage/nbd.c plugins/lib/drives.c plugins/lib/drives.h \
	plugins/lib/nbd.c plugins/lib/nbd.h plugins/lib/nbd_dest.c plugins/lib/nbd_dest.h \
	plugins/lib/nbd_check.c plugins/lib/nbd_check.h \
	plugins/lib/nbd_probe.c plugins/lib/nbd_probe.h \
	plugins/lib/nbd_recover.c plugins/lib/nbd_recover.h \
	plugins/lib/nbd_socket.c plugins/lib/nbd_socket.h \
	plugins/lib/nbd_source.c plugins/lib/nbd_source.h \
	plugins/lib/nbd_undo.c plugins/lib/nbd_undo.h
storage_nbd_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS)
storage_nbd_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
storage_nbd_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
storage_nbd_la_LIBADD = $(JSON_C_LIBS)

storage_none_la_SOURCES = plugins/storage/none.c plugins/lib/drives.c plugins/lib/drives.h
storage_none_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS)
storage_none_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
storage_none_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
storage_none_la_LIBADD = $(JSON_C_LIBS)

storage_shared_la_SOURCES = plugins/storage/shared.c plugins/lib/drives.c plugins/lib/drives.h
storage_shared_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS)
storage_shared_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
storage_shared_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
storage_shared_la_LIBADD = $(JSON_C_LIBS)

# A site's executable, for each kind of plugin.
KAT_SCRIPT_SOURCES = plugins/lib/job.c plugins/lib/job.h plugins/lib/script.c \
	plugins/lib/script.h plugins/lib/script_setup.c plugins/lib/script_setup.h
announce_script_la_SOURCES = plugins/announce/script.c $(KAT_SCRIPT_SOURCES)
announce_script_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
announce_script_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
announce_script_la_LIBADD =
cutover_script_la_SOURCES = plugins/cutover/script.c $(KAT_SCRIPT_SOURCES)
cutover_script_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
cutover_script_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
cutover_script_la_LIBADD =
storage_script_la_SOURCES = plugins/storage/script.c $(KAT_SCRIPT_SOURCES)
storage_script_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
storage_script_la_LDFLAGS = $(KAT_PLUGIN_LDFLAGS)
storage_script_la_LIBADD =

# hook_driver runs one plugin's functions without a guest, for people and tests.
check_PROGRAMS += tests/unit/hook_driver
tests_unit_hook_driver_SOURCES = tests/unit/hook_driver.c
tests_unit_hook_driver_LDFLAGS = $(AM_LDFLAGS) -export-dynamic
tests_unit_hook_driver_LDADD =
