# SPDX-License-Identifier: BSD-2-Clause
sbin_PROGRAMS = katamaran
include_HEADERS = core/katamaran-plugin.h

# All of the program but main(), so that tests can link it.
noinst_LTLIBRARIES += core/libkatcore.la
core_libkatcore_la_SOURCES = \
	core/api.c core/api.h \
	core/ask.c core/ask.h \
	core/back.c core/back.h \
	core/check.c core/check.h core/check_compare.c \
	core/check_node.c core/check_node.h \
	core/check_qemu.c core/check_qemu.h \
	core/config.c core/config.h \
	core/options.c core/options.h \
	core/settings.c core/settings.h \
	core/dest.c core/dest.h core/dest_states.c \
	core/engine.c core/engine.h core/end.h \
	core/error.c core/error.h \
	core/findings.c core/findings.h \
	core/fault.h \
	core/gate.c core/gate.h \
	core/guest.c core/guest.h \
	core/hooks.c core/hooks.h \
	core/journal.c core/journal.h \
	core/json.c core/json.h \
	core/ledger.c core/ledger.h \
	core/loader.c core/loader.h \
	core/log.c core/log.h \
	core/loop.c core/loop.h \
	core/past.c core/past.h \
	core/plan.c core/plan.h \
	core/pod.c core/pod.h \
	core/ram.c core/ram.h \
	core/sandbox.c core/sandbox.h \
	core/qmp.c core/qmp.h \
	core/summary.c core/summary.h \
	core/peer.c core/peer.h \
	core/recover.c core/recover.h core/recover_states.c core/recovery.h \
	core/source.c core/source.h core/source_machine.c core/source_states.c \
	core/source_stopped.c \
	core/status.c core/status.h \
	core/util.c core/util.h
if FAULTS
core_libkatcore_la_SOURCES += core/fault.c
endif
core_libkatcore_la_CPPFLAGS = $(AM_CPPFLAGS) -DKAT_PLUGIN_DIR='"$(pluginsdir)"' \
	$(LIBCONFIG_CFLAGS) $(JSON_C_CFLAGS)
core_libkatcore_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
core_libkatcore_la_LIBADD = $(LIBCONFIG_LIBS) $(JSON_C_LIBS)

# Plugins find the katamaran_ functions in the program: the list of them is
# what it exports, and nothing else.  Nobody in the program calls them, so the
# linker has to be asked for the object that they are in.
KAT_EXPORT = -Wl,--dynamic-list=$(top_srcdir)/core/katamaran.syms -Wl,-u,katamaran_error
katamaran_SOURCES = core/main.c
katamaran_CPPFLAGS = $(AM_CPPFLAGS) -DKAT_PLUGIN_DIR='"$(pluginsdir)"' $(JSON_C_CFLAGS)
katamaran_LDADD = core/libkatcore.la
katamaran_LDFLAGS = $(AM_LDFLAGS) $(KAT_EXPORT)
katamaran_DEPENDENCIES = core/libkatcore.la core/katamaran.syms

EXTRA_DIST += core/katamaran.pc.in core/katamaran.syms
