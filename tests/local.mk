# SPDX-License-Identifier: BSD-2-Clause
# A unit test tests/unit/test_NAME.c is two lines:
#	KAT_UNIT_TESTS += tests/unit/test_NAME
#	tests_unit_test_NAME_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
# and, where it needs more than the core, its _LDADD: $(KAT_TEST_LDADD) and the rest.
# A script is one: TESTS += and EXTRA_DIST += it; $srcdir and what is below are set.
AM_TESTS_ENVIRONMENT = \
	KATAMARAN='$(abs_top_builddir)/katamaran'; \
	KATAMARAN_PLUGIN_DIR='$(abs_top_builddir)/.libs'; \
	FAKE_QMP='$(abs_top_builddir)/tests/fake_qmp'; \
	KATAMARAN_UNIT='$(abs_top_builddir)/conf/systemd/katamaran@.service'; \
	export KATAMARAN KATAMARAN_PLUGIN_DIR KATAMARAN_UNIT FAKE_QMP;

KAT_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(JSON_C_CFLAGS)
KAT_TEST_LDADD = core/libkatcore.la $(CMOCKA_LIBS) $(JSON_C_LIBS)
LDADD = $(KAT_TEST_LDADD)

# A QEMU's monitor that follows a script; its language is described in fake_qmp.c.
check_PROGRAMS += tests/fake_qmp
tests_fake_qmp_SOURCES = tests/fake_qmp.c tests/fake_qmp.h tests/fake_qmp_schema.c \
	tests/fake_qmp_script.c
tests_fake_qmp_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS) \
	-DFAKE_QMP_SCHEMA='"$(abs_top_srcdir)/tests/fake_qmp_schema.txt"'
tests_fake_qmp_LDADD = $(JSON_C_LIBS)
EXTRA_DIST += tests/fake_qmp_schema.txt tests/make-qmp-schema

if HAVE_CMOCKA
KAT_UNIT_TESTS =
check_PROGRAMS += $(KAT_UNIT_TESTS)
TESTS += $(KAT_UNIT_TESTS)

KAT_UNIT_TESTS += tests/unit/test_ask
tests_unit_test_ask_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_back
tests_unit_test_back_CPPFLAGS = $(KAT_TEST_CPPFLAGS) $(LIBCONFIG_CFLAGS)

KAT_UNIT_TESTS += tests/unit/test_check
tests_unit_test_check_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_buffer
tests_unit_test_buffer_CPPFLAGS = $(KAT_TEST_CPPFLAGS) $(LIBMNL_CFLAGS)
tests_unit_test_buffer_LDADD = $(CMOCKA_LIBS)

KAT_UNIT_TESTS += tests/unit/test_config
tests_unit_test_config_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_error
tests_unit_test_error_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_frames
tests_unit_test_frames_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_frames_LDADD = plugins/lib/libkatplug.la $(CMOCKA_LIBS)

KAT_UNIT_TESTS += tests/unit/test_gate
tests_unit_test_gate_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_guest
tests_unit_test_guest_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_hooks
tests_unit_test_hooks_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_journal
tests_unit_test_journal_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

# Plugins that strangers may bring, good and bad.  The loader's test has what the
# program exports: api.o is asked for by name, since nothing else in a test is.
KAT_TEST_PLUGIN_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
check_LTLIBRARIES += tests/abi/cutover-good.la tests/abi/cutover-future.la \
	tests/abi/cutover-short.la tests/abi/cutover-long.la tests/abi/cutover-stranger.la
tests_abi_cutover_good_la_SOURCES = tests/abi/good.c tests/abi/katamaran-plugin-1.0.h
tests_abi_cutover_good_la_LDFLAGS = $(KAT_TEST_PLUGIN_LDFLAGS)
tests_abi_cutover_good_la_LIBADD =
tests_abi_cutover_future_la_SOURCES = tests/abi/future.c
tests_abi_cutover_future_la_LDFLAGS = $(KAT_TEST_PLUGIN_LDFLAGS)
tests_abi_cutover_future_la_LIBADD =
tests_abi_cutover_short_la_SOURCES = tests/abi/short.c
tests_abi_cutover_short_la_LDFLAGS = $(KAT_TEST_PLUGIN_LDFLAGS)
tests_abi_cutover_short_la_LIBADD =
tests_abi_cutover_long_la_SOURCES = tests/abi/long.c
tests_abi_cutover_long_la_LDFLAGS = $(KAT_TEST_PLUGIN_LDFLAGS)
tests_abi_cutover_long_la_LIBADD =
tests_abi_cutover_stranger_la_SOURCES = tests/abi/stranger.c
tests_abi_cutover_stranger_la_LDFLAGS = $(KAT_TEST_PLUGIN_LDFLAGS)
tests_abi_cutover_stranger_la_LIBADD =

KAT_UNIT_TESTS += tests/unit/test_kernel
tests_unit_test_kernel_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_kernel_LDADD = plugins/lib/libkatplug.la $(CMOCKA_LIBS)

KAT_UNIT_TESTS += tests/unit/test_loader
tests_unit_test_loader_CPPFLAGS = $(KAT_TEST_CPPFLAGS) \
	-DKAT_TEST_PLUGINS='"$(abs_top_builddir)/tests/abi/.libs"'
tests_unit_test_loader_LDFLAGS = $(AM_LDFLAGS) $(KAT_EXPORT) -Wl,-u,katamaran_error

KAT_UNIT_TESTS += tests/unit/test_ledger
tests_unit_test_ledger_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_log
tests_unit_test_log_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_loop
tests_unit_test_loop_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_matching
tests_unit_test_matching_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_matching_LDADD = core/qemu/libkatqemu.la $(KAT_TEST_LDADD)

KAT_UNIT_TESTS += tests/unit/test_nbd
tests_unit_test_nbd_SOURCES = tests/unit/test_nbd.c plugins/lib/drives.c plugins/lib/nbd.c \
	plugins/lib/nbd_source.c
tests_unit_test_nbd_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_nbd_LDADD = $(CMOCKA_LIBS) $(JSON_C_LIBS)

KAT_UNIT_TESTS += tests/unit/test_nbd_undo
tests_unit_test_nbd_undo_SOURCES = tests/unit/test_nbd_undo.c plugins/lib/drives.c \
	plugins/lib/nbd.c plugins/lib/nbd_socket.c plugins/lib/nbd_undo.c
tests_unit_test_nbd_undo_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_nbd_undo_LDADD = $(CMOCKA_LIBS) $(JSON_C_LIBS)

KAT_UNIT_TESTS += tests/unit/test_netlink
tests_unit_test_netlink_CPPFLAGS = $(KAT_TEST_CPPFLAGS) $(LIBMNL_CFLAGS)
tests_unit_test_netlink_LDADD = plugins/lib/libkatplug.la $(CMOCKA_LIBS)

KAT_UNIT_TESTS += tests/unit/test_offload
tests_unit_test_offload_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_offload_LDADD = plugins/lib/libkatplug.la $(CMOCKA_LIBS)

KAT_UNIT_TESTS += tests/unit/test_peer
tests_unit_test_peer_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_nft
tests_unit_test_nft_SOURCES = tests/unit/test_nft.c plugins/lib/nft.c plugins/lib/nft.h
tests_unit_test_nft_CPPFLAGS = $(KAT_TEST_CPPFLAGS) $(LIBMNL_CFLAGS) $(LIBNFTNL_CFLAGS)
tests_unit_test_nft_LDADD = plugins/lib/libkatplug.la $(LIBNFTNL_LIBS) $(CMOCKA_LIBS)

KAT_UNIT_TESTS += tests/unit/test_plan
tests_unit_test_plan_CPPFLAGS = $(KAT_TEST_CPPFLAGS)

KAT_UNIT_TESTS += tests/unit/test_qmp
tests_unit_test_qmp_CPPFLAGS = $(KAT_TEST_CPPFLAGS) \
	-DFAKE_QMP='"$(abs_top_builddir)/tests/fake_qmp"'

KAT_UNIT_TESTS += tests/unit/test_tap
tests_unit_test_tap_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_tap_LDADD = plugins/lib/libkatplug.la $(CMOCKA_LIBS)

KAT_UNIT_TESTS += tests/unit/test_script
tests_unit_test_script_SOURCES = tests/unit/test_script.c plugins/lib/job.c \
	plugins/lib/script.c plugins/lib/script_setup.c
tests_unit_test_script_CPPFLAGS = $(KAT_TEST_CPPFLAGS)
tests_unit_test_script_LDADD = $(CMOCKA_LIBS)
endif

KAT_SCRIPTED_TESTS = tests/cluster/node.sh tests/cluster/scripts.sh tests/conf/manifests.sh \
	tests/cli/tree.sh tests/cli/trouble.sh \
	tests/abi/exports.sh tests/abi/header.sh tests/abi/rooms.sh \
	tests/cli/cli.sh tests/cli/docs.sh tests/cli/engine.sh tests/cli/qemu.sh \
	tests/cli/recover.sh \
	tests/net/check.sh tests/net/garp.sh tests/net/salvage.sh tests/net/sandbox.sh \
	tests/net/undo.sh
TESTS += $(KAT_SCRIPTED_TESTS)
EXTRA_DIST += $(KAT_SCRIPTED_TESTS)
EXTRA_DIST += tests/net/namespaces.sh tests/cluster/mutants.sh tests/cluster/run.sh tests/cluster/stand-in

# libFuzzer targets, by hand: make fuzz && ./fuzz_qmp -max_total_time=60
FUZZ_CC = clang
fuzz: fuzz_qmp fuzz_machine
fuzz_machine: $(top_srcdir)/tests/fuzz/fuzz_machine.c $(top_srcdir)/core/qemu/machine.c \
		$(top_srcdir)/core/qemu/matching.c
	$(AM_V_CC)$(FUZZ_CC) -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined $(DEFS) \
		$(AM_CPPFLAGS) $(JSON_C_CFLAGS) $(top_srcdir)/tests/fuzz/fuzz_machine.c \
		$(top_srcdir)/core/qemu/arguments.c $(top_srcdir)/core/error.c \
		$(top_srcdir)/core/json.c $(top_srcdir)/core/qemu/machine.c \
		$(top_srcdir)/core/qemu/matching.c $(top_srcdir)/core/util.c \
		$(JSON_C_LIBS) -o $@
fuzz_qmp: $(top_srcdir)/tests/fuzz/fuzz_qmp.c $(top_srcdir)/core/qmp.c
	$(AM_V_CC)$(FUZZ_CC) -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined $(DEFS) \
		$(AM_CPPFLAGS) $(JSON_C_CFLAGS) $(top_srcdir)/tests/fuzz/fuzz_qmp.c \
		$(top_srcdir)/core/error.c $(top_srcdir)/core/json.c \
		$(top_srcdir)/core/log.c \
		$(top_srcdir)/core/loop.c $(top_srcdir)/core/util.c $(JSON_C_LIBS) -o $@
EXTRA_DIST += tests/fuzz/fuzz_machine.c tests/fuzz/fuzz_qmp.c
CLEANFILES += fuzz_machine fuzz_qmp
.PHONY: fuzz
